//! The numbers a text is made of: clients, ticks, Seqs, and what a version is.
//!
//! Every character that a client inserts and every character that it deletes takes one **tick** of
//! that client's clock, so that ticks are dense and any prefix of a client's ticks is a state of
//! its own. A character's [`Id`] is the tick that inserted it.

use super::error::FormatError;
use super::map::Map;
use super::varint::{Reader, write};

/// Who edits: 64 bits that no other editor of the same text uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u64);

impl Client {
    /// The client of this number; every number is one.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The position that a server gave an update in its room: gap-free and growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The Seq of this number; every number is one.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One tick of one client: the name of a character if the tick inserted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Whose tick it is.
    pub client: Client,
    /// Which of that client's ticks, from 0.
    pub clock: u32,
}

/// Consecutive ticks of one client: the name of an update.
///
/// An edit returns one of these instead of bytes, so that typing allocates nothing;
/// [`Text::encode`](super::Text::encode) makes the bytes when someone wants to send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// Whose ticks.
    pub client: Client,
    /// The first.
    pub from: u32,
    /// One after the last.
    pub to: u32,
}

impl Update {
    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// What a replica has: for every client, how many of its ticks.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// By client; 0 is as good as nothing.
    ticks: Map,
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Version {}

impl Version {
    /// The version that has nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many ticks of this client there are.
    #[must_use]
    pub fn get(&self, client: Client) -> u32 {
        self.ticks.get(u128::from(client.0)).unwrap_or(0)
    }

    /// Says how many ticks of a client there are; 0 forgets the client.
    pub fn set(&mut self, client: Client, ticks: u32) {
        self.ticks.set(u128::from(client.0), ticks);
    }

    /// Every client of which there are ticks, ascending, with their number.
    pub fn iter(&self) -> impl Iterator<Item = (Client, u32)> + '_ {
        self.ticks
            .iter()
            .filter(|(_, ticks)| *ticks > 0)
            .map(|(client, ticks)| (Client(client as u64), ticks))
    }

    /// Its bytes: how many clients, and for each its number and its ticks, as varints, ascending.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.ticks.len() * 8);
        write(&mut out, self.iter().count() as u64);
        for (client, ticks) in self.iter() {
            write(&mut out, client.get());
            write(&mut out, u64::from(ticks));
        }
        out
    }

    /// The version of these bytes.
    ///
    /// # Errors
    ///
    /// [`FormatError`] if they are not those of a version: clients ascend, and each has ticks.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut version = Self::new();
        let mut last = None;
        for _ in 0..reader.u64()? {
            let (client, ticks) = (Client(reader.u64()?), reader.u32()?);
            if ticks == 0 || last >= Some(client) {
                return Err(FormatError::Reference);
            }
            version.set(client, ticks);
            last = Some(client);
        }
        reader.end()?;
        Ok(version)
    }

    /// Whether everything that `other` has is here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .iter()
            .all(|(client, ticks)| self.get(client) >= ticks)
    }
}

/// How positions and lengths are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// UTF-8 bytes, as Rust counts.
    Bytes,
    /// UTF-16 code units, as JavaScript counts.
    Units,
    /// Unicode code points: what this engine calls characters.
    Chars,
}
