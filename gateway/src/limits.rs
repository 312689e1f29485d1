//! Named bounds of connections.

use std::time::Duration;

/// How many bytes one read takes at the most: the size of the scratch buffer that all connections
/// of a thread share.
pub const READ_BYTES: usize = 64 << 10;
/// How many reads one connection makes before others have their turn.
pub const READS_PER_TURN: usize = 4;
/// How many datagrams one connection takes in before it does something else.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// How much a connection takes from its room before it has written it.
pub const WRITE_AHEAD_BYTES: usize = 128 << 10;
/// How much may wait to be written before a connection stops reading: a client that does not
/// listen is not listened to.
pub const UNREAD_BYTES: usize = 256 << 10;
/// What a connection holds of its own is counted in steps of so many bytes.
pub const COUNTED_BYTES: usize = 4 << 10;
/// How much of a message that is not whole is taken in while a connection closes, to find its end.
pub const MAX_IGNORED_BYTES: usize = 2 * READ_BYTES;
/// How long nothing may come from a client before it is taken for dead; it is pinged twice
/// meanwhile.
pub const DEAD_AFTER: Duration = Duration::from_secs(45);
/// After how long a silence a client is pinged.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// How long a client that does not read may hold up what is to be written to it.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// How long a closing connection waits for its client.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);
/// How long a request's head may take to arrive.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// How large a request's head may be.
pub const HEAD_BYTES: usize = 16 << 10;
/// How many connections are held at once; past it new ones wait in the kernel's queue.
pub const CONNECTIONS: usize = 50_000;
/// How many connections may wait to be accepted.
pub const BACKLOG: u32 = 4_096;
/// How many bytes of sealed records a stream of records reads at once.
pub const RECORDS_PAGE_BYTES: usize = 256 << 10;
/// How long after its last moment a stream of records waits for what is still being written.
pub const FOLLOW_GRACE: Duration = Duration::from_secs(1);
/// How long a stream of events may be silent.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How much memory reading the past takes for all clients together: the documents that answers are
/// made of, answers until their clients have them, and the documents of playback.
pub const PAST_BYTES: usize = 256 << 20;
/// … and which part of what clients may make the process hold.
pub const PAST_PART: usize = 8;
/// The pieces in which answers go out that take of [`PAST_BYTES`].
pub const ANSWER_PIECE_BYTES: usize = 64 << 10;
/// How long such an answer may wait for its client to take a piece of it before the connection is
/// cut; twice as long for what has reached the socket.
pub const ANSWER_STALL: Duration = Duration::from_secs(60);
/// How many bytes playback gathers before it writes them.
pub const PLAY_BATCH_BYTES: usize = 256 << 10;
/// How many bytes of records a fork copies in one go.
pub const FORK_PAGE_BYTES: usize = 1 << 20;
/// How many bytes a text may have that is put into a room: less than one record holds.
pub const TEXT_BYTES: usize = 8 << 20;
/// How many rooms one page of a list has.
pub const ROOMS_PER_PAGE: usize = 100;
/// The most rooms one page of a list may be asked to have.
pub const ROOMS_PER_PAGE_MAX: usize = 1_000;
/// How many accounts one page of usage has.
pub const USAGE_PER_PAGE: usize = 100;
/// The most accounts one page may be asked to have.
pub const USAGE_PER_PAGE_MAX: usize = 1_000;
/// How often it is written down what has been counted: a process that is killed loses so much of it.
pub const USAGE_EVERY: Duration = Duration::from_secs(10);
/// How many clients one page of a room's table has.
pub const CLIENTS_PER_PAGE: usize = 100;
/// The most clients one page may be asked to have.
pub const CLIENTS_PER_PAGE_MAX: usize = 1_000;
/// How much of a present replica's name is told.
pub const PRESENT_NAME_CHARS: usize = 64;

/// How long a proxy may take to say whose a connection is.
pub const PROXY_TIME: Duration = Duration::from_secs(5);
/// How long a client's TLS handshake over TCP may take.
pub const TLS_TIME: Duration = Duration::from_secs(10);
/// How many requests an HTTP/2 client may have under way.
pub const HTTP2_STREAMS: u32 = 128;
/// After how long a silence an HTTP/2 client is asked whether it lives, and how long it may take to say so.
pub const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How many rooms of the list one request looks at, to find those that its caller may see.
pub const ROOMS_EXAMINED: usize = 10_000;
/// For how long a token is valid that a room's creator makes, unless they say.
pub const TOKEN_TIME: Duration = Duration::from_secs(7 * 86_400);
/// The longest that one may be valid.
pub const TOKEN_TIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// How long a WebTransport session is left alone before it is told why it ends.
pub const CLOSE_REST: Duration = Duration::from_millis(20);
/// How long a WebTransport client may take for its handshake and request, and then to open its
/// stream: enough for a network that delays everything by a second and loses some.
pub const ACCEPT_TIME: Duration = Duration::from_secs(10);
/// How many WebTransport handshakes are under way at once; past it new ones are refused, and from
/// half of it on addresses are checked first.
pub const HANDSHAKES: usize = 512;
/// How long nothing may come from a QUIC peer before it is taken for dead.
pub const QUIC_IDLE: Duration = Duration::from_secs(30);
/// After how long a silence a QUIC peer is asked whether it lives.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long there is between two resets of QUIC connections that are not known. Each is smaller than
/// the packet that it answers.
pub const QUIC_RESET_PAUSE: Duration = Duration::from_millis(1);
/// How many bytes of one QUIC stream may be on their way to us.
pub const QUIC_STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// How many bytes of all streams of a QUIC connection may be on their way to us.
pub const QUIC_CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// How many bytes a QUIC connection holds for its peer, sent or not.
pub const QUIC_SEND_WINDOW_BYTES: u64 = 256 << 10;
/// How many bidirectional streams a QUIC peer may have open: the request, the session's one, and
/// some that are being refused.
pub const QUIC_BIDI_STREAMS: u32 = 16;
/// How many unidirectional streams a QUIC peer may have open: HTTP/3 has three of its own.
pub const QUIC_UNI_STREAMS: u32 = 8;
/// How many bytes of datagrams wait in a QUIC connection, in each direction.
pub const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
/// After how long the stream repeats what a datagram has said of presence and may have lost. The
/// schema promises it within a second.
pub const PRESENCE_REPEAT: Duration = Duration::from_millis(900);
/// How long the QUIC endpoint waits, at the end, for its peers to know.
pub const ENDPOINT_IDLE: Duration = Duration::from_secs(1);
/// How often the server looks whether it needs another certificate.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(30);

const _: () = assert!(2 * QUIC_KEEP_ALIVE.as_secs() < QUIC_IDLE.as_secs());
const _: () = assert!(QUIC_STREAM_WINDOW_BYTES <= QUIC_CONNECTION_WINDOW_BYTES);

const _: () = assert!(TEXT_BYTES < protocol::limits::MAX_PAYLOAD_BYTES / 2 + 1);
const _: () = assert!(2 * PING_AFTER.as_secs() < DEAD_AFTER.as_secs());
/// How many lines may wait for the audit log to be written.
pub const AUDIT_LINES: usize = 8192;
/// How often rooms are looked for whose time is over.
pub const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How many times as long as looking took the pause after it is at least.
pub const TIDY_PAUSE: u32 = 20;

/// What an operator may bound of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a client may take to say who it is, in dialects that say so in a message.
    pub handshake: Duration,
    /// How many rooms a connection may be in, in dialects that carry several.
    pub rooms: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            handshake: protocol::dialect::well::HELLO_TIME,
            rooms: protocol::limits::MAX_ROOMS_PER_CONNECTION,
        }
    }
}
