/** A connection that carries whole messages. */

import { ClientError } from "./error.js";
import { frame, unframe } from "./wire.js";

/** Which of the two. */
export type TransportKind = "websocket" | "webtransport";

/** An open connection. */
export interface Transport {
  readonly kind: TransportKind;
  /** Sends messages, in order. */
  send(messages: readonly Uint8Array[]): void;
  /** Sends one that may be lost; gives whether it could. */
  sendDatagram(message: Uint8Array): boolean;
  /** How many bytes wait to be sent. */
  readonly backlog: number;
  /** Ends it; what was sent before arrives. */
  close(): void;
}

/** Who hears what a connection brings. After `broken` comes nothing more. */
export interface Receiver {
  message(bytes: Uint8Array): void;
  /** `malformed`: it broke because what came is no message of the protocol. */
  broken(reason: string, malformed?: boolean): void;
}

/** Opens a connection. Fulfilled when it is open; `signal` gives it up. */
export type Connect = (receiver: Receiver, signal: AbortSignal) => Promise<Transport>;

/** As much of the browser's WebSocket as is used; that of the package `ws` has it too. */
export interface Socket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

/** A class of WebSockets: the browser's, Node's (from 22 on), or that of the package `ws`. */
export type SocketClass = new (url: string) => Socket;

/**
 * How to connect to `ws://host:port/well`, or `wss://…`.
 *
 * @throws {@link ClientError} `unusable`
 */
export function overWebSocket(url: string, given?: SocketClass): Connect {
  const Class = given ?? (globalThis as { WebSocket?: SocketClass }).WebSocket;
  if (Class === undefined) throw new ClientError("unusable", "there is no WebSocket here: give `WebSocket` of the package ws in the options");
  if (!/^wss?:\/\/[^/]/i.test(url)) throw new ClientError("unusable", `${JSON.stringify(url)} is no address to connect to: ws://host:port/well and wss://… are`);
  return (receiver, signal) =>
    new Promise((resolve, reject) => {
      const socket = new Class(url);
      socket.binaryType = "arraybuffer";
      let opened = false;
      let ended = false;
      let failed = "";
      const end = (reason: string, malformed = false): void => {
        if (ended) return;
        ended = true;
        signal.removeEventListener("abort", abort);
        if (opened) receiver.broken(reason, malformed);
        else reject(new Error(reason));
      };
      const abort = (): void => {
        end("connecting was given up");
        socket.close();
      };
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort);
      socket.onopen = () => {
        if (ended) return socket.close();
        signal.removeEventListener("abort", abort);
        opened = true;
        resolve({
          kind: "websocket",
          send: (messages) => {
            if (!ended) socket.send(frame(messages));
          },
          sendDatagram: () => false,
          get backlog() {
            return socket.bufferedAmount;
          },
          close: () => {
            ended = true;
            socket.close(1000);
          },
        });
      };
      socket.onmessage = ({ data }: { data: unknown }) => {
        if (ended) return;
        try {
          if (!(data instanceof ArrayBuffer)) throw new ClientError("malformed", "the server sent a text message");
          for (const message of unframe(new Uint8Array(data))) {
            receiver.message(message);
          }
        } catch (error) {
          socket.close();
          end(error instanceof Error ? error.message : String(error), true);
        }
      };
      // A browser says nothing here, and why in the close that follows; ws does it the other way round.
      socket.onerror = ({ message }: { message?: string }) => {
        failed = message ?? "";
      };
      socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
        end(failed !== "" ? failed : `the connection was closed with ${code}${reason === "" ? "" : `: ${reason}`}`);
      };
    });
}

/** A server that is restarted, or has too much to do, answers so, and a Well that is asked for no WebSocket (426). */
const MAY_BE_WELL: ReadonlySet<number> = new Set([408, 425, 426, 429]);

/**
 * How an ordinary request is answered at a WebSocket's address, if that shows that there is no Well: a browser
 * does not tell why a WebSocket could not be opened. Undefined where nobody answers, or it may be one.
 */
export async function answerOfStranger(url: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { status, body } = await fetch(url.replace(/^ws/i, "http"), { signal, cache: "no-store", redirect: "manual" });
    await body?.cancel();
    if (status >= 500 || MAY_BE_WELL.has(status)) return undefined;
    // Where a redirect leads is not told to pages.
    return `it says ${status === 0 ? "that it is elsewhere" : status}`;
  } catch {
    return undefined;
  }
}

/** Gives up what takes too long. */
export async function within<T>(ms: number, outer: AbortSignal, begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, ms);
  outer.addEventListener("abort", abort);
  try {
    return await begin(controller.signal);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener("abort", abort);
  }
}
