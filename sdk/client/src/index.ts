/**
 * A client of The Well: many rooms on one connection, every operation in the log once.
 *
 * @packageDocumentation
 */

export { Client, type ClientEvents, type ClientOptions } from "./client.js";
export { Emitter, type Listener } from "./emitter.js";
export { ClientError, type ClientErrorCode } from "./error.js";
export { RejectCode } from "./gen/well/v1/well_pb.js";
export { IndexedDbQueue, sendOrphans } from "./indexeddb-queue.js";
export { MemoryQueue, randomClient, type Operation, type Queue, type Waiting } from "./queue.js";
export { Room } from "./room.js";
export type { Acked, JoinOptions, PresenceChange, Record, Rejected, RoomEvents, State, Ticket } from "./room.js";
export type { Connect, Receiver, Socket, SocketClass, Transport, TransportKind } from "./transport.js";
