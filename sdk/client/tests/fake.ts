/**
 * A server in memory that speaks as the real one does, as far as a client can tell: one room with a
 * log, operations that enter it once, acks, records to others. It can cut a connection at any message.
 */

import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import type { Connect, Receiver } from "../src/index.js";
import { ClientMessageSchema, DocumentKind, Role, ServerMessageSchema, type ClientMessage } from "../src/gen/well/v1/well_pb.js";

export type Tell = Exclude<MessageInitShape<typeof ServerMessageSchema>["message"], undefined>;
export type Said = ClientMessage["message"];

interface Entry {
  readonly client: number;
  readonly operation: number;
  readonly payload: string;
}

/** One connection, from the server's side. */
export class Line {
  readonly said: Said[] = [];
  /** Who has joined, by number. */
  readonly members = new Map<number, { readonly client: number; cursor: number }>();
  open = true;
  /** The number of the last that joined. */
  number = 0;

  constructor(
    readonly server: Fake,
    readonly receiver: Receiver,
  ) {}

  /** How far records were sent to the last that joined. */
  set cursor(cursor: number) {
    const member = this.members.get(this.number);
    if (member !== undefined) member.cursor = cursor;
  }

  /** Later, as over a network. */
  tell(message: Tell): void {
    if (!this.server.passes(this)) return;
    this.tellNow(message);
  }

  tellNow(message: Tell): void {
    const bytes = toBinary(ServerMessageSchema, create(ServerMessageSchema, { message }));
    setTimeout(() => {
      if (this.open) this.receiver.message(bytes);
    }, 0);
  }

  break(reason = "cut"): void {
    if (!this.open) return;
    this.open = false;
    setTimeout(() => this.receiver.broken(reason), 0);
  }
}

export class Fake {
  readonly log: Entry[] = [];
  readonly lines: Line[] = [];
  /** The connection breaks in place of the message with this number, counting both ways; -1 never. */
  cutAt = -1;
  passed = 0;
  heartbeatMs = 15_000;
  private era = 1_000;
  window = { windowOperations: 4, windowBytes: 1_000 };
  /** Takes a message before the server does; true keeps it from it. */
  script: (line: Line, said: Said) => boolean = () => false;
  /** Whether it takes datagrams: each is lost. */
  losesDatagrams = false;
  /** What Hello is answered with. */
  refuse: Tell | undefined;

  readonly connect: Connect = (receiver) => {
    const line = new Line(this, receiver);
    this.lines.push(line);
    return Promise.resolve({
      kind: "websocket",
      backlog: 0,
      send: (messages) => {
        for (const message of messages) {
          if (!this.passes(line)) return;
          const { message: said } = fromBinary(ClientMessageSchema, message);
          setTimeout(() => {
            if (line.open) this.hear(line, said);
          }, 0);
        }
      },
      sendDatagram: () => this.losesDatagrams,
      close: () => {
        line.open = false;
      },
    });
  };

  get line(): Line {
    const line = this.lines.at(-1);
    if (line === undefined) throw new Error("nobody has connected");
    return line;
  }

  passes(line: Line): boolean {
    if (!line.open) return false;
    this.passed += 1;
    if (this.passed - 1 !== this.cutAt) return true;
    line.break();
    return false;
  }

  /** Somebody else writes. */
  write(payload: string): void {
    this.log.push({ client: 0, operation: 0, payload });
    this.publish();
  }

  hear(line: Line, said: Said): void {
    line.said.push(said);
    if (this.script(line, said)) return;
    switch (said.case) {
      case "hello":
        return line.tell(this.refuse ?? { case: "welcome", value: { version: 1, session: 7n, heartbeatMs: this.heartbeatMs, limits: this.window, durability: "memory" } });
      case "join": {
        const { request, client, since, sinceAt } = said.value;
        line.number = this.lines.length * 10 + line.members.size;
        line.members.set(line.number, { client: Number(client), cursor: this.log.length });
        const own = this.log.filter((entry) => entry.client === Number(client));
        const lastOperation = BigInt(own.at(-1)?.operation ?? 0);
        const head = BigInt(this.log.length);
        const beganAnew = since !== undefined && (since > head || (sinceAt !== 0n && since > 0n && sinceAt !== this.at(Number(since))));
        const joined = { request, number: line.number, kind: DocumentKind.OPAQUE, role: Role.EDITOR, session: 5n, head, lastOperation, beganAnew, headAt: this.at(this.log.length) };
        if (since === undefined || beganAnew) return line.tell({ case: "joined", value: { ...joined, content: { case: "snapshot", value: bytes(this.log.map(({ payload }) => payload).join("|")) } } });
        const spans = this.spans(Number(since), this.log.length);
        return line.tell({ case: "joined", value: { ...joined, content: { case: "records", value: { spans } } } });
      }
      case "submit": {
        const { number, operation, base, payloads } = said.value;
        const client = line.members.get(number)?.client;
        if (client === undefined) return;
        const placed = [];
        for (const [n, payload] of payloads.entries()) {
          const op = Number(operation) + n;
          const there = this.log.findIndex((entry) => entry.client === client && entry.operation === op);
          if (there < 0) this.log.push({ client, operation: op, payload: text(payload) });
          const seq = there < 0 ? this.log.length : there + 1;
          placed.push({ operation: BigInt(op), seq: BigInt(seq), count: 1n, at: there < 0 ? this.at(seq) : 0n, stale: BigInt(Math.max(0, seq - 1 - Number(base))) });
        }
        line.tell({ case: "ack", value: { number, operation: operation + BigInt(payloads.length - 1), placed } });
        return this.publish();
      }
      case "leave":
        line.members.delete(said.value.number);
        return;
      case "ping":
        return line.tell({ case: "pong", value: { sent: said.value.sent, time: 0n } });
    }
  }

  private publish(): void {
    for (const line of this.lines) {
      if (!line.open) continue;
      for (const [number, member] of line.members) {
        const after = BigInt(member.cursor);
        const spans = this.spans(member.cursor, this.log.length).filter(({ client }) => client !== member.client);
        member.cursor = this.log.length;
        line.tell({ case: "records", value: { number, after, through: BigInt(this.log.length), spans } });
      }
    }
  }

  /** When a record was taken; 0 of none. */
  at(seq: number): bigint {
    return seq === 0 ? 0n : BigInt(this.era + seq);
  }

  /** The log is lost, and begins anew at another time. */
  beginAnew(): void {
    this.log.length = 0;
    this.era += 1_000_000;
  }

  /** Own records are among them when a client has joined: it is for the client to know them. */
  spans(after: number, through: number) {
    return this.log.slice(after, through).map(({ client, payload }, n) => ({ client, seq: BigInt(after + n + 1), at: this.at(after + n + 1), session: 1n, payloads: [bytes(payload)] }));
  }
}

export const bytes = (words: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(words);
export const text = (payload: Uint8Array): string => new TextDecoder().decode(payload);

/** Looks again and again until it holds. */
export async function until(what: string, holds: () => unknown, ms = 5_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 1));
  }
}
