/** Named bounds and times; those of the Rust client where it has them. */

/** How long connecting may take, greeting included. */
export const CONNECT_MS = 10_000;
/** How long WebTransport may take before a WebSocket is opened instead. */
export const WEBTRANSPORT_MS = 1_500;
/** Where only WebSocket works, WebTransport is tried again after so long, then after twice that … */
export const WEBTRANSPORT_AGAIN_FIRST_MS = 30_000;
/** … and at last as seldom as this. */
export const WEBTRANSPORT_AGAIN_MAX_MS = 5 * 60_000;
/** The first pause after a break. */
export const BACKOFF_FIRST_MS = 100;
/** The longest pause after a break. */
export const BACKOFF_MAX_MS = 15_000;
/** A server that has not been heard of for so many of its heartbeats is taken for gone. */
export const MISSED_HEARTBEATS = 3;
/** How many operations may wait in a queue; submitting one more is an error. */
export const QUEUED_OPERATIONS = 1 << 20;
/** How many bytes of payloads one message carries at most, unless one payload is larger. */
export const SUBMIT_BYTES = 64 << 10;
/** The largest message that is taken from a server: a whole document, and what stands around it. */
export const MAX_MESSAGE_BYTES = 300 << 20;
/** While so many bytes wait to be sent, presence waits too: the last word counts. */
export const PRESENCE_BACKLOG_BYTES = 64 << 10;
/** When presence that waited is looked at again. */
export const PRESENCE_AGAIN_MS = 50;
/** What was said on a datagram, which may be lost, is said on the stream too so much later. */
export const PRESENCE_SETTLE_MS = 1_000;
/** The largest presence clock that the protocol knows. */
export const MAX_PRESENCE_CLOCK = 2 ** 52;
/** How many replicas that have left are remembered, so that a late message does not bring them back. */
export const GONE_REMEMBERED = 1_024;
/** The largest client number, and the largest Seq, that JavaScript and the protocol share. */
export const MAX_CLIENT = Number.MAX_SAFE_INTEGER;
