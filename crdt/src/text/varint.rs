//! Numbers as LEB128: least significant group first, the shortest encoding only.

use super::error::FormatError;

/// Bytes being read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where `bytes` begin in the whole input.
    base: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            base: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Where the next byte lies in the whole input.
    pub(super) fn position(&self) -> usize {
        self.base + self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, FormatError> {
        let byte = *self.bytes.get(self.at).ok_or(FormatError::Torn)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        // One to three bytes are nearly all there is.
        match self.bytes.get(self.at..) {
            Some([a, ..]) if *a < 0x80 => {
                self.at += 1;
                Ok(u64::from(*a))
            }
            Some([a, b @ 1..0x80, ..]) => {
                self.at += 2;
                Ok(u64::from(a & 0x7F) | u64::from(*b) << 7)
            }
            Some([a, b, c @ 1..0x80, ..]) if *b >= 0x80 => {
                self.at += 3;
                Ok(u64::from(a & 0x7F) | u64::from(b & 0x7F) << 7 | u64::from(*c) << 14)
            }
            _ => {
                let first = self.byte()?;
                self.long(first)
            }
        }
    }

    #[cold]
    fn long(&mut self, first: u8) -> Result<u64, FormatError> {
        let mut value = u64::from(first & 0x7F);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7F);
            if (shift == 63 && group > 1) || byte == 0 {
                return Err(FormatError::Number);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FormatError::Number)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        u32::try_from(self.u64()?).map_err(|_| FormatError::Number)
    }

    /// A signed number, zigzag.
    #[inline]
    pub(super) fn i64(&mut self) -> Result<i64, FormatError> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    #[inline]
    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], FormatError> {
        if len > self.remaining() as u64 {
            return Err(FormatError::Torn);
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// A length and a part of that many bytes, to be read by itself.
    pub(super) fn part(&mut self) -> Result<Self, FormatError> {
        let len = self.u64()?;
        let base = self.position();
        Ok(Self {
            bytes: self.take(len)?,
            at: 0,
            base,
        })
    }

    pub(super) fn end(&self) -> Result<(), FormatError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(FormatError::Trailing)
        }
    }
}

#[inline]
pub(super) fn write(out: &mut Vec<u8>, value: u64) {
    let mut value = value;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn write_signed(out: &mut Vec<u8>, value: i64) {
    write(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// A length and these bytes.
pub(super) fn write_part(out: &mut Vec<u8>, part: &[u8]) {
    write(out, part.len() as u64);
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_padding_is_refused() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                write(&mut out, value);
                write_signed(&mut out, value as i64);
                let mut reader = Reader::new(&out);
                assert_eq!(reader.u64(), Ok(value));
                assert_eq!(reader.i64(), Ok(value as i64));
                assert!(reader.is_empty());
            }
        }
        for bad in [
            &[0x80, 0][..],
            &[0xFF; 10],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2],
        ] {
            assert_eq!(Reader::new(bad).u64(), Err(FormatError::Number));
        }
        assert_eq!(Reader::new(&[0x80]).u64(), Err(FormatError::Torn));
    }
}
