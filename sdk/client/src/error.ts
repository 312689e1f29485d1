/** What can go wrong, with one code for each cause. */

/**
 * Why something was not done.
 *
 * | code | what happened | what to do |
 * | --- | --- | --- |
 * | `rejected` | the server refused the operation for good | look at the reason; the operation is dropped |
 * | `closed` | the room is closed for good: no such room, no right, the wrong kind | see `code` of the `closed` event |
 * | `ended` | the client was closed, or the room left, before the server answered | the operation is in its queue, if that is durable |
 * | `full` | as many operations wait for the server as may | wait for acks |
 * | `queue` | the queue cannot be opened | use another, or memory |
 * | `unusable` | there is nothing to connect with, the address is none, or no Well answers at it | give another `url`, or `WebSocket` |
 * | `malformed` | the server sent what is no message of the protocol | nothing; the connection is made again |
 */
export type ClientErrorCode = "rejected" | "closed" | "ended" | "full" | "queue" | "unusable" | "malformed";

/** An error of this package; `code` says which. */
export class ClientError extends Error {
  override readonly name = "ClientError";

  constructor(
    readonly code: ClientErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
