//! Little-endian fields inside an envelope's body, shared by this crate's formats.
//!
//! What is read has passed its checksum, so a field that does not fit was written wrong:
//! [`Damage::Content`].

use protocol::envelope::Damage;
use protocol::{Chain, Head, RoomName, Seq, Timestamp};

/// Bytes of a stored [`Head`].
pub(crate) const HEAD_BYTES: usize = 24;

/// Reads fields from the front of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (front, rest) = self.0.split_at_checked(n).ok_or(Damage::Content)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Damage::Content)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damage> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Damage> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Damage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damage::Content),
        }
    }

    pub(crate) fn head(&mut self) -> Result<Head, Damage> {
        Ok(Head {
            seq: Seq::new(self.u64()?),
            at: Timestamp::from_micros(self.u64()?),
            chain: Chain::from_raw(self.u64()?),
        })
    }

    pub(crate) fn room(&mut self) -> Result<RoomName, Damage> {
        let len = usize::from(self.u16()?);
        room_from(self.bytes(len)?)
    }

    /// Everything has been read, or the body was written wrong.
    pub(crate) const fn end(self) -> Result<(), Damage> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Damage::Content)
        }
    }
}

/// A room's name from its stored bytes.
pub(crate) fn room_from(bytes: &[u8]) -> Result<RoomName, Damage> {
    let name = std::str::from_utf8(bytes).map_err(|_| Damage::Content)?;
    RoomName::parse(name).map_err(|_| Damage::Content)
}

pub(crate) fn put_head(out: &mut Vec<u8>, head: Head) {
    out.extend_from_slice(&head.seq.get().to_le_bytes());
    out.extend_from_slice(&head.at.micros().to_le_bytes());
    out.extend_from_slice(&head.chain.get().to_le_bytes());
}

/// A name has at most 288 bytes, so two bytes hold its length.
pub(crate) fn put_room(out: &mut Vec<u8>, room: &RoomName) {
    let name = room.as_str().as_bytes();
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
}
