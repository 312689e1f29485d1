//! lib0's encoding, of which the Yjs protocols are made.
//!
//! A varUint is LEB128, least significant group first, at most 2^53 − 1 (JavaScript's largest safe
//! integer). varBytes is a varUint length and that many bytes; varString the same with UTF-8.
//! Source: lib0 `encoding.js` and `decoding.js`.
//!
//! Reading is strict where lib0 is lax: a number has exactly one encoding, so one that is padded
//! with zero groups is refused. No client writes such a number, and what has one encoding can be
//! kept as a number and written again byte for byte.

/// The largest varUint.
pub(super) const MAX_VAR_UINT: u64 = (1 << 53) - 1;

/// Reads lib0's encodings from the front of borrowed bytes.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the start of `bytes`.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A number.
    pub(super) fn var_uint(&mut self) -> Result<u64, Malformed> {
        let mut n = 0;
        // Eight groups of seven bits hold every number up to the limit.
        for (i, &byte) in self.rest.iter().enumerate().take(8) {
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if byte == 0 && i > 0 {
                    return Err(Malformed::Overlong);
                }
                if n > MAX_VAR_UINT {
                    return Err(Malformed::Range);
                }
                self.rest = &self.rest[i + 1..];
                return Ok(n);
            }
        }
        Err(if self.rest.len() < 8 {
            Malformed::Truncated
        } else {
            Malformed::Range
        })
    }

    /// A length and that many bytes.
    pub(super) fn var_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.var_uint()?;
        let len = usize::try_from(len).map_err(|_| Malformed::Truncated)?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub(super) fn var_string(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.var_bytes()?).map_err(|_| Malformed::Utf8)
    }
}

/// Bytes that are not lib0's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// The message ends inside a value.
    #[error("it ends too early")]
    Truncated,
    /// A number over 2^53 − 1.
    #[error("a number is over 2^53 − 1")]
    Range,
    /// A number padded with zeroes.
    #[error("a number is not in its shortest encoding")]
    Overlong,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
}

/// Appends a number, which is at most [`MAX_VAR_UINT`].
pub(super) fn put_var_uint(out: &mut Vec<u8>, n: u64) {
    debug_assert!(n <= MAX_VAR_UINT, "JavaScript cannot hold this number");
    let mut rest = n;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`put_var_uint`] appends.
pub(super) const fn var_uint_len(n: u64) -> usize {
    (63 - (n | 1).leading_zeros() as usize) / 7 + 1
}

/// Appends a length and the bytes.
pub(super) fn put_var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_encodings_of_lib0() {
        for (n, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (
                MAX_VAR_UINT,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
            ),
        ] {
            let mut out = Vec::new();
            put_var_uint(&mut out, n);
            assert_eq!(out, bytes);
            assert_eq!(var_uint_len(n), bytes.len());
            assert_eq!(Reader::new(bytes).var_uint(), Ok(n));
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let max_plus_one = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        for (bytes, error) in [
            (&[][..], Malformed::Truncated),
            (&[0x80], Malformed::Truncated),
            (&[0xff; 7], Malformed::Truncated),
            (&[0x80, 0x00], Malformed::Overlong),
            (&[0xff, 0x80, 0x00], Malformed::Overlong),
            (&max_plus_one, Malformed::Range),
            (&[0xff; 8], Malformed::Range),
            (&[0xff; 20], Malformed::Range),
        ] {
            assert_eq!(Reader::new(bytes).var_uint(), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_length_past_the_end_is_refused_and_costs_nothing() {
        for bytes in [
            &[1][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2],
        ] {
            assert_eq!(Reader::new(bytes).var_bytes(), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn a_string_is_utf_8() {
        assert_eq!(Reader::new(&[2, 0xc3, 0xbc]).var_string(), Ok("ü"));
        assert_eq!(Reader::new(&[1, 0xc3]).var_string(), Err(Malformed::Utf8));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(n in 0..=MAX_VAR_UINT, bytes: Vec<u8>, tail: Vec<u8>) {
            let mut out = Vec::new();
            put_var_uint(&mut out, n);
            prop_assert_eq!(out.len(), var_uint_len(n));
            put_var_bytes(&mut out, &bytes);
            out.extend_from_slice(&tail);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.var_uint(), Ok(n));
            prop_assert_eq!(reader.var_bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.is_empty(), tail.is_empty());
        }

        #[test]
        fn a_number_has_one_encoding(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            if let Ok(n) = reader.var_uint() {
                let mut again = Vec::new();
                put_var_uint(&mut again, n);
                prop_assert!(bytes.starts_with(&again));
                prop_assert_eq!(var_uint_len(n), again.len());
            }
        }
    }
}
