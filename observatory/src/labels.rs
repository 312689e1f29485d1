//! The values that labels may have: closed sets, so that the number of series is known when it is built.

/// A label: its key, and every value.
pub trait Label: Copy + Sized + 'static {
    /// The key.
    const KEY: &'static str;
    /// Every value, in the order of their numbers.
    const ALL: &'static [Self];
    /// The value, as it stands in a series.
    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$about:meta])* $name:ident $key:literal { $($(#[$note:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$note])* $value,)* }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn text(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }
    )*};
}

labels! {
    /// What carries a connection.
    Transport "transport" {
        /// WebSocket frames over TCP.
        WebSocket = "websocket",
        /// A stream of a WebTransport session over QUIC.
        WebTransport = "webtransport",
    }

    /// What a session speaks.
    Dialect "dialect" {
        /// y-websocket.
        Yjs = "yjs",
        /// The Well's own.
        Well = "well",
        /// y-websocket, shown a past.
        Play = "play",
    }

    /// A limit that turns somebody or something away.
    Limit "limit" {
        /// Records or their bytes of a space or tenant, by month.
        Month = "month",
        /// Updates of a connection, by time.
        Updates = "updates",
        /// Bytes of updates of a connection, by time.
        Bytes = "bytes",
        /// The size of one update.
        UpdateSize = "update_size",
        /// The size of a room's document.
        DocumentSize = "document_size",
        /// Rooms: of a space, or loaded at once.
        Rooms = "rooms",
        /// What a space's rooms take together.
        TotalBytes = "total_bytes",
        /// Rooms that an address begins, by time.
        NewRooms = "new_rooms",
        /// Connections of an address, or of the server.
        Connections = "connections",
        /// Joins and downloads by an address, by time.
        Joins = "joins",
        /// Handshakes at once, or a handshake's time.
        Handshake = "handshake",
        /// Sessions of a room.
        Sessions = "sessions",
        /// Memory, for documents or for reading the past.
        Memory = "memory",
    }

    /// Why a submission was refused.
    Reason "reason" {
        /// A viewer's.
        ReadOnly = "read_only",
        /// It is no update of the room's document.
        Malformed = "malformed",
        /// It, or the document with it, is too large.
        TooLarge = "too_large",
        /// Binary content where that is denied.
        Binary = "binary",
        /// It came too fast.
        TooFast = "too_fast",
        /// The month's are used up.
        Spent = "spent",
        /// Its number was not the next.
        OutOfOrder = "out_of_order",
        /// The log did not take it, or could not.
        NotStored = "not_stored",
    }

    /// Where a room's past was read from.
    Tier "tier" {
        /// Documents of the past that are held in memory.
        Cache = "cache",
        /// The log, and snapshots beside it.
        Log = "log",
        /// The archive.
        Archive = "archive",
    }

    /// What a room was when somebody came.
    RoomWas "room" {
        /// Loaded.
        Warm = "warm",
        /// Not loaded.
        Cold = "cold",
    }

    /// Which session, by how far it is behind.
    Which "which" {
        /// As many are farther as are not.
        Median = "median",
        /// The one that is farthest.
        Slowest = "slowest",
    }

    /// Who holds memory.
    Owner "owner" {
        /// Documents of loaded rooms.
        Documents = "documents",
        /// What feeds have for sessions.
        Feeds = "feeds",
        /// Documents of the past, kept for the next who asks.
        Caches = "caches",
        /// Submissions on their way to the log.
        Inboxes = "inboxes",
        /// Answers about the past.
        Past = "past",
        /// Documents that are encoded for who joins.
        States = "states",
        /// States of presence, and messages of them.
        Presence = "presence",
        /// What connections have read of messages that are not whole, and have to say.
        Connections = "connections",
    }

    /// Why a trace was not told.
    Untold "reason" {
        /// There were as many in that second as there may be.
        Rate = "rate",
        /// As many wait for the collector as may.
        Queue = "queue",
        /// The collector did not take it.
        Export = "export",
    }

    /// Which certificate.
    Certificate "kind" {
        /// Of TLS over TCP, and of WebTransport where both share it.
        Tls = "tls",
        /// Of WebTransport, made by the server itself.
        WebTransport = "webtransport",
    }
}
