/**
 * WebTransport: messages on one bidirectional stream, each behind its length, and presence on
 * datagrams. Where it is not to be had (no such class, no server, UDP blocked) a WebSocket is opened
 * instead, within two seconds.
 */

import { ClientError } from "./error.js";
import { MAX_MESSAGE_BYTES, WEBTRANSPORT_AGAIN_FIRST_MS, WEBTRANSPORT_AGAIN_MAX_MS, WEBTRANSPORT_MS } from "./limits.js";
import { within, type Connect, type Receiver, type Transport } from "./transport.js";
import { frame } from "./wire.js";

/** What `GET /webtransport.json` says. */
interface Published {
  readonly port: number;
  readonly certificateHashes: readonly { readonly algorithm: string; readonly value: string }[];
}

type Session = InstanceType<typeof WebTransport>;

/**
 * Tries WebTransport before something else. Where only the other works that is remembered for a while,
 * longer each time; where neither does, the server is away, which says nothing of WebTransport.
 */
export class WebTransportFirst {
  /** Why it is not used. */
  failed: string | undefined;
  /** When it is to be tried again, by `performance.now()`. */
  againMs = 0;
  #failures = 0;

  constructor(private readonly connect: Connect) {}

  /** For the server of a WebSocket's address; undefined where the platform has no WebTransport. */
  static where(url: string): WebTransportFirst | undefined {
    if (typeof WebTransport === "undefined") return undefined;
    const server = new URL(url);
    return new WebTransportFirst((receiver, signal) => open(server, receiver, signal));
  }

  /** WebTransport, or else this. */
  or(other: Connect): Connect {
    return async (receiver, signal) => {
      if (performance.now() < this.againMs) return other(receiver, signal);
      try {
        return await this.#try(receiver, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        const transport = await other(receiver, signal);
        this.#missing(error);
        return transport;
      }
    };
  }

  /** Whether it works by now, for who is connected otherwise. */
  async works(): Promise<boolean> {
    this.againMs = Infinity;
    const nobody: Receiver = { message: () => undefined, broken: () => undefined };
    try {
      const transport = await this.#try(nobody, new AbortController().signal);
      transport.close();
      return true;
    } catch (error) {
      this.#missing(error);
      return false;
    }
  }

  async #try(receiver: Receiver, signal: AbortSignal): Promise<Transport> {
    const transport = await within(WEBTRANSPORT_MS, signal, (attempt) => this.connect(receiver, attempt));
    this.failed = undefined;
    this.againMs = 0;
    this.#failures = 0;
    return transport;
  }

  #missing(error: unknown): void {
    this.failed = `WebTransport: ${error instanceof Error ? error.message : String(error)}`;
    this.againMs = performance.now() + Math.min(WEBTRANSPORT_AGAIN_FIRST_MS * 2 ** this.#failures, WEBTRANSPORT_AGAIN_MAX_MS);
    this.#failures = Math.min(this.#failures + 1, 16);
  }
}

async function open(url: URL, receiver: Receiver, signal: AbortSignal): Promise<Transport> {
  const late = new Promise<never>((_, reject) => {
    const abort = (): void => reject(new Error("there was no answer in time"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
  });
  const http = url.protocol === "wss:" ? "https:" : "http:";
  const response = await fetch(`${http}//${url.host}/webtransport.json`, { signal, cache: "no-store" });
  if (!response.ok) throw new Error("the server has none");
  const { port, certificateHashes } = (await response.json()) as Published;
  const session = new WebTransport(`https://${url.hostname}:${port}${url.pathname}`, {
    // None for a certificate that the browser checks by its authority.
    ...(certificateHashes.length === 0
      ? {}
      : { serverCertificateHashes: certificateHashes.map(({ algorithm, value }) => ({ algorithm, value: bytesOf(value) })) }),
  });
  // Whoever waits for it hears by `ready`.
  session.closed.catch(() => undefined);
  try {
    await Promise.race([session.ready, late]);
    const stream = await Promise.race([session.createBidirectionalStream(), late]);
    return new WebTransportConnection(session, stream, receiver);
  } catch (error) {
    session.close();
    throw error;
  }
}

class WebTransportConnection implements Transport {
  readonly kind = "webtransport";
  readonly #session: Session;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #datagrams: WritableStreamDefaultWriter<Uint8Array>;
  #backlog = 0;
  #ended = false;

  constructor(
    session: Session,
    stream: WebTransportBidirectionalStream,
    private readonly receiver: Receiver,
  ) {
    this.#session = session;
    this.#writer = (stream.writable as WritableStream<Uint8Array>).getWriter();
    this.#datagrams = (session.datagrams.writable as WritableStream<Uint8Array>).getWriter();
    const failed = (error: unknown): void =>
      this.#end(error instanceof Error ? error.message : String(error), error instanceof ClientError && error.code === "malformed");
    this.#read(stream.readable as ReadableStream<Uint8Array>).catch(failed);
    // A datagram that cannot be read is one that was lost.
    this.#readDatagrams(session.datagrams.readable as ReadableStream<Uint8Array>).catch(() => undefined);
    session.closed.then(({ closeCode, reason }) => {
      this.#end(`the connection was closed with ${closeCode ?? 0}${reason === undefined || reason === "" ? "" : `: ${reason}`}`);
    }, failed);
  }

  get backlog(): number {
    return this.#backlog;
  }

  send(messages: readonly Uint8Array[]): void {
    if (this.#ended) return;
    const bytes = frame(messages);
    this.#backlog += bytes.length;
    this.#writer.write(bytes).then(
      () => {
        this.#backlog -= bytes.length;
      },
      (error: unknown) => this.#end(String(error)),
    );
  }

  sendDatagram(message: Uint8Array): boolean {
    if (this.#ended || message.length > this.#session.datagrams.maxDatagramSize || (this.#datagrams.desiredSize ?? 0) <= 0) return false;
    this.#datagrams.write(message).catch(() => undefined);
    return true;
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    // What was written before arrives: the stream's end is behind it.
    const close = (): void => this.#session.close();
    this.#writer.close().then(close, close);
  }

  async #read(readable: ReadableStream<Uint8Array>): Promise<void> {
    const reader = readable.getReader();
    const messages = new Assembler();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return this.#end("the server ended its stream");
      for (const message of messages.take(value)) {
        if (this.#ended) return;
        this.receiver.message(message);
      }
    }
  }

  async #readDatagrams(readable: ReadableStream<Uint8Array>): Promise<void> {
    const reader = readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#ended) return;
      this.receiver.message(value);
    }
  }

  #end(reason: string, malformed = false): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#session.close();
    this.receiver.broken(reason, malformed);
  }
}

/** Puts messages together from the pieces in which a stream brings them. */
export class Assembler {
  #pieces: Uint8Array[] = [];
  #length = 0;
  /** How many bytes the next message takes with its length; 4 before that is known. */
  #wanted = 4;

  /**
   * Takes a piece, and gives the messages that are whole by now.
   *
   * @throws {@link ClientError} `malformed` for a length that is over the limit
   */
  *take(piece: Uint8Array): Generator<Uint8Array, void, undefined> {
    this.#pieces.push(piece);
    this.#length += piece.length;
    while (this.#length >= this.#wanted) {
      const bytes = this.#joined();
      if (this.#wanted === 4) {
        const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
        if (length > MAX_MESSAGE_BYTES) throw new ClientError("malformed", `the server sent a message of ${length} bytes, which is too long`);
        this.#wanted = 4 + length;
        if (length > 0) continue;
      }
      const end = this.#wanted;
      this.#wanted = 4;
      this.#pieces = [bytes.subarray(end)];
      this.#length -= end;
      yield bytes.subarray(4, end);
    }
  }

  #joined(): Uint8Array {
    const [first] = this.#pieces;
    if (this.#pieces.length === 1 && first !== undefined) return first;
    const bytes = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [bytes];
    return bytes;
  }
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
