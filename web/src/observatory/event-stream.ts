/**
 * Server-sent events over fetch, as the HTML standard's "event stream" has them. EventSource would put
 * the token into the address, and would not tell why it was refused.
 */

export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** No line of ours comes near it; a stream that has none is given up. */
const BUFFERED_MAX = 1_048_576;

export class EventParser {
  #rest = "";
  #event = "";
  #data: string[] = [];

  /** The events that this text completes. */
  push(text: string): readonly ServerEvent[] {
    // A carriage return at the end may be half of a line's end.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > BUFFERED_MAX) throw new Error("a line of the stream does not end");
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  #line(line: string): ServerEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return null;
  }

  #dispatch(): ServerEvent | null {
    const [event, data] = [this.#event || "message", this.#data];
    [this.#event, this.#data] = ["", []];
    return data.length === 0 ? null : { event, data: data.join("\n") };
  }
}

export async function* eventsOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<ServerEvent> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
