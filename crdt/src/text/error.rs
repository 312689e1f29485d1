//! What can go wrong, one enum for each operation. After any error the text is as it was.

/// Why an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The position or range is not within the text.
    #[error("position {at} is past the end of the text, which is {len} long")]
    Outside {
        /// The position.
        at: usize,
        /// The text's length, in the same measure.
        len: usize,
    },
    /// The position is inside a character: between bytes of one, or between surrogates.
    #[error("position {at} is inside a character")]
    InsideCharacter {
        /// The position.
        at: usize,
    },
    /// The text has had as many characters, ticks or clients as it can.
    #[error("the text cannot grow any more")]
    Full,
}

/// What is wrong with bytes. They are the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The first byte names no version that this build knows.
    #[error("format version {0} is not known")]
    Version(u8),
    /// The bytes end in the middle of something.
    #[error("the bytes end too early")]
    Torn,
    /// A number is padded, or larger than it may be.
    #[error("a number is padded or too large")]
    Number,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// An insertion or deletion of nothing.
    #[error("an operation of length 0")]
    Empty,
    /// A reference to a client or a tick that cannot be.
    #[error("a reference to what cannot be there")]
    Reference,
    /// Parts of a snapshot that do not fit together.
    #[error("parts do not fit together: {0}")]
    Inconsistent(&'static str),
    /// Bytes after the end.
    #[error("bytes after the end")]
    Trailing,
}

/// Why an update was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The bytes are malformed.
    #[error("malformed update: {0}")]
    Format(#[from] FormatError),
    /// The text has had as many characters, ticks or clients as it can.
    #[error("the text cannot grow any more")]
    Full,
    /// A server takes no update in which many clients delete the same over and over: see
    /// [`MAX_DELETIONS`](super::limits::MAX_DELETIONS). Send it in parts.
    #[error("it deletes far more than the text has")]
    TooMuch,
    /// It builds on what is not here, and too much waits already, or it would wait for too much. Ask for what is
    /// [missing](super::Text::missing), then send it again.
    #[error("too many updates wait for what they build on")]
    TooManyParked,
    /// A server does not have what it builds on. Send that first.
    #[error(
        "it builds on tick {clock} of client {client}, which has not come: {here} ticks of that \
         client are here"
    )]
    Missing {
        /// Whose tick is missing.
        client: u64,
        /// The tick.
        clock: u32,
        /// How many of that client's ticks are here.
        here: u32,
    },
}

/// Why updates were not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One of them is malformed.
    #[error("malformed update: {0}")]
    Format(#[from] FormatError),
    /// Ticks of a client between two of the updates are in neither.
    #[error("ticks from {clock} on of client {client} are missing between two updates")]
    Gap {
        /// Whose.
        client: u64,
        /// The first missing one.
        clock: u32,
    },
}

/// Why a past text is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// Past the last Seq that came here in the server's order.
    #[error("Seq {seq} is past {last}, the last that is known in order here")]
    Unknown {
        /// What was asked for.
        seq: u64,
        /// The last Seq known in order.
        last: u64,
    },
    /// The text was loaded from a snapshot without history.
    #[error("the history before Seq {floor} is not here")]
    Forgotten {
        /// The first Seq of which the text is known.
        floor: u64,
    },
}
