/** Records as the HTTP API shows them, read from JSON lines. What a line says is checked here. */

import { isRecord } from "../room/browser-storage";

export interface PastRecord {
  readonly seq: number;
  /** RFC 3339 with microseconds, as the server wrote it. */
  readonly at: string;
  readonly atMs: number;
  /** As the timeline names authors: `user:…`, `site:…` or `session:…`. */
  readonly author: string;
  readonly kind: string;
  readonly payload: Uint8Array;
}

/** What a stream of records says as its last line when it cannot go on. */
export class BrokenStream extends Error {}

export function readRecord(line: string): PastRecord {
  const value: unknown = JSON.parse(line);
  if (!isRecord(value)) throw new BrokenStream("a line is no record");
  if (isRecord(value["problem"])) throw new BrokenStream(String(value["problem"]["detail"] ?? value["problem"]["title"]));
  const { seq, at, kind, payload, author } = value;
  if (typeof seq !== "number" || typeof at !== "string" || typeof kind !== "string" || typeof payload !== "string") {
    throw new BrokenStream("a line is no record");
  }
  return { seq, at, atMs: Date.parse(at), author: authorOf(author), kind, payload: bytesOf(payload) };
}

/** The records of a body, as they arrive. */
export async function* readRecords(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<PastRecord> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const lines = (rest + (value ?? "")).split("\n");
      rest = done ? "" : (lines.pop() ?? "");
      for (const line of lines) if (line !== "") yield readRecord(line);
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function authorOf(author: unknown): string {
  if (!isRecord(author)) return "session:?";
  if (typeof author["user"] === "string") return `user:${author["user"]}`;
  if (typeof author["site"] === "number") return `site:${author["site"]}`;
  return `session:${String(author["session"])}`;
}

function bytesOf(base64: string): Uint8Array {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
