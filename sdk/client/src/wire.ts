/** The protocol's messages, as bytes and back. */

import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { ClientError } from "./error.js";
import { ClientMessageSchema, ServerMessageSchema, type ServerMessage } from "./gen/well/v1/well_pb.js";

/** The version of the protocol that is spoken. */
export const VERSION = 1;

/** What a client says. */
export type Say = Exclude<MessageInitShape<typeof ClientMessageSchema>["message"], undefined>;

/** What a server says; its `case` is undefined for a kind of message that this client does not know. */
export type Heard = ServerMessage["message"];

/** A message to the server, without its length. */
export function encode(message: Say): Uint8Array<ArrayBuffer> {
  return toBinary(ClientMessageSchema, create(ClientMessageSchema, { message }));
}

/**
 * A message from the server. Its payloads share `bytes`.
 *
 * @throws {@link ClientError} `malformed`
 */
export function decode(bytes: Uint8Array): Heard {
  try {
    return fromBinary(ServerMessageSchema, bytes).message;
  } catch (error) {
    throw new ClientError("malformed", `the server sent what is no message of the protocol: ${String(error)}`, { cause: error });
  }
}

/**
 * A number of the wire as JavaScript counts.
 *
 * @throws {@link ClientError} `malformed` above 2^53 - 1
 */
export function numberOf(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ClientError("malformed", `the server sent a number that is too large: ${value.toString()}`);
  return Number(value);
}

/** Messages one after the other, each behind its length, a `u32` in big-endian order. */
export function frame(messages: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(messages.reduce((sum, message) => sum + 4 + message.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const message of messages) {
    view.setUint32(at, message.length);
    bytes.set(message, at + 4);
    at += 4 + message.length;
  }
  return bytes;
}

/**
 * The messages of one frame, which holds them whole.
 *
 * @throws {@link ClientError} `malformed`
 */
export function unframe(bytes: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.length - at < 4 ? Infinity : at + 4 + view.getUint32(at);
    if (end > bytes.length) throw new ClientError("malformed", "the server sent a message that is cut off");
    messages.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return messages;
}
