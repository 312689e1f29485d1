//! Named bounds and times.

use std::time::Duration;

/// How long connecting may take, greeting included: enough for a network that delays everything by a
/// second and loses some.
pub const CONNECT_TIME: Duration = Duration::from_secs(20);
/// The first pause after a break.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause after a break.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A server that has not been heard of for so many of its heartbeats is taken for gone.
pub const MISSED_HEARTBEATS: u32 = 3;
/// How many events may wait for the application; later ones are dropped.
pub const EVENTS: usize = 256;
/// How many more have space: that the application lags, and that the room is closed.
pub const LAST_EVENTS: usize = 2;
/// How many requests may wait for the connection's task.
pub const REQUESTS: usize = 256;
/// How many operations may wait in a queue; submitting one more is an error.
pub const QUEUED_OPERATIONS: usize = 1 << 20;
/// How many bytes wait to be sent before nothing is added to them.
pub const UNSENT_BYTES: usize = 256 << 10;
/// How many bytes of messages go into one frame, unless one message is larger.
pub const FRAME_BYTES: usize = 1 << 20;
/// The largest message that is taken from a server: a whole document, and what stands around it.
pub const MESSAGE_BYTES: usize = 300 << 20;
/// After how long the stream repeats what a datagram has said of presence and may have lost.
pub const PRESENCE_REPEAT: Duration = Duration::from_millis(900);
/// Of how many replicas of a room it is kept how old their presence is: more than a server has.
pub const PRESENCE_REPLICAS: usize = 20_000;
/// How long each of a server's addresses but the last may take to open a WebTransport session.
pub const ADDRESS_TIME: Duration = Duration::from_secs(4);
/// How long a WebTransport session waits, at its end, for the server to know.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);
/// How long nothing may come from a server over QUIC before it is taken for gone.
pub const QUIC_IDLE: Duration = Duration::from_secs(30);
/// After how long a silence a server is asked over QUIC whether it is there. One that was started anew
/// answers that it does not know this client.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How many bytes of datagrams wait in a QUIC connection, in each direction.
pub const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
/// How many bytes one read from a QUIC stream takes at the most.
pub const READ_BYTES: usize = 16 << 10;
/// How large an answer with certificate hashes may be.
pub const PUBLISHED_BYTES: u64 = 16 << 10;
/// How many bytes of payloads one message carries at most, unless one payload is larger.
pub const SUBMIT_BYTES: usize = 64 << 10;

const _: () = assert!(ADDRESS_TIME.as_millis() < CONNECT_TIME.as_millis());
