//! WebSocket close codes, one meaning each.
//!
//! y-websocket 3.1 stops reconnecting on 4400–4499, so those are permanent; every other code asks
//! the client to come back.

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// 1000: both sides are done.
    Normal,
    /// 1002: the peer broke the WebSocket protocol (RFC 6455).
    ProtocolError,
    /// 1009: a frame or message over the limit of the transport.
    MessageTooBig,
    /// 1012: the server restarts; come back soon.
    Restart,
    /// 1013: the server is full or not ready; try later.
    TryLater,
    /// 4400: a malformed message, or a text message where only binary ones make sense.
    BadMessage,
    /// 4401: no valid token.
    Unauthenticated,
    /// 4403: a valid token that does not suffice.
    Forbidden,
    /// 4404: no such room.
    NoRoom,
    /// 4408: no authentication in time.
    AuthTimeout,
    /// 4409: in conflict with what is there.
    Conflict,
    /// 4413: an update or document over its limit.
    TooLarge,
    /// 4429: over quota.
    OverQuota,
    /// 4500: a fault of the server that may pass.
    Internal,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::MessageTooBig => 1009,
            Self::Restart => 1012,
            Self::TryLater => 1013,
            Self::BadMessage => 4400,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::NoRoom => 4404,
            Self::AuthTimeout => 4408,
            Self::Conflict => 4409,
            Self::TooLarge => 4413,
            Self::OverQuota => 4429,
            Self::Internal => 4500,
        }
    }

    /// Whether coming back cannot help (4400–4499).
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self.code(), 4400..=4499)
    }
}

/// The longest reason a close frame holds (RFC 6455, section 5.5).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;

/// The longest beginning of `text` that has at most `max` bytes and ends with a whole character.
#[must_use]
pub fn bounded(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
