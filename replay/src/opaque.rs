//! A document that the server cannot read: its state is all of its payloads, in order.
//!
//! Clients that encrypt end to end store here. Nothing is inspected and nothing can be compacted;
//! the version of a replica is how many payloads it has, and a difference is the rest of them.
//!
//! ```text
//! state, difference  ( varUint length, bytes )*
//! version            varUint: how many payloads, counted from the first
//! ```
//! Integers are lib0 varUints: seven bits a byte, least significant first.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use crate::document::{Checked, Document, DocumentError, Edit, Wanted};

/// Payloads end to end, never looked into.
#[derive(Debug, Default, Clone)]
pub struct OpaqueDocument {
    /// All payloads, each behind its length. A chunk that is full stays where it is: in one growing
    /// buffer a fifth of a busy server's time goes into moving it.
    chunks: Vec<Vec<u8>>,
    /// How many bytes the chunks have.
    len: usize,
    /// Where each payload's length begins, counted over all chunks.
    starts: Vec<usize>,
}

/// How much room a new chunk has: as much as all before it, but no less and no more than this, and
/// what it is made for.
const CHUNK_BYTES: std::ops::RangeInclusive<usize> = 64..=256 << 10;

impl OpaqueDocument {
    /// A document without payloads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The document that `encoding` is the state of.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] if a payload's length is no varUint, or over what follows.
    pub fn load(encoding: &Bytes) -> Result<Self, DocumentError> {
        let payloads = split(encoding)?;
        let starts = payloads.iter().map(|(start, _)| *start).collect();
        Ok(Self {
            chunks: vec![encoding.to_vec()],
            len: encoding.len(),
            starts,
        })
    }

    fn push(&mut self, payload: &[u8]) {
        let len = payload.len();
        let most = len + MAX_VAR_BYTES;
        let fits = |chunk: &&mut Vec<u8>| chunk.capacity() - chunk.len() >= most;
        let before = self.len;
        self.starts.push(before);
        let chunk = match self.chunks.last_mut().filter(fits) {
            Some(chunk) => chunk,
            None => {
                let room = before.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
                self.chunks.push(Vec::with_capacity(room.max(most)));
                let last = self.chunks.len() - 1;
                &mut self.chunks[last]
            }
        };
        let filled = chunk.len();
        write_var(chunk, len as u64);
        chunk.extend_from_slice(payload);
        self.len += chunk.len() - filled;
    }

    /// What stands from byte `start` on.
    fn from(&self, start: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len.saturating_sub(start));
        let mut at = 0;
        for chunk in &self.chunks {
            let skip = start.saturating_sub(at).min(chunk.len());
            out.extend_from_slice(&chunk[skip..]);
            at += chunk.len();
        }
        out
    }
}

/// Where each payload's length begins in a state, and the payload.
fn split(state: &[u8]) -> Result<Vec<(usize, &[u8])>, DocumentError> {
    let mut payloads = Vec::new();
    let mut rest = state;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let len = rest.get(..digits).and_then(read_var);
        let payload = len
            .and_then(|len| usize::try_from(len).ok())
            .and_then(|len| rest[digits..].get(..len))
            .ok_or_else(|| {
                let at = state.len() - rest.len();
                DocumentError::Malformed(format!("byte {at}: no length of a payload"))
            })?;
        payloads.push((state.len() - rest.len(), payload));
        rest = &rest[digits + payload.len()..];
    }
    Ok(payloads)
}

impl Document for OpaqueDocument {
    fn integrate(&mut self, payloads: &[Bytes]) -> Vec<Result<Checked, DocumentError>> {
        let taken = payloads.iter().map(|payload| {
            self.push(payload);
            Ok(Checked {
                adds: true,
                site: None,
                growth: payload.len() + MAX_VAR_BYTES,
            })
        });
        taken.collect()
    }

    /// Always `false`: what cannot be read may always be new.
    fn adds_nothing(&self, _payload: &Bytes) -> Result<bool, DocumentError> {
        Ok(false)
    }

    fn version(&self) -> Bytes {
        let mut out = Vec::new();
        write_var(&mut out, self.starts.len() as u64);
        out.into()
    }

    fn diff(&self, version: &Bytes) -> Result<Bytes, DocumentError> {
        let known = read_var(version)
            .ok_or_else(|| DocumentError::Malformed("a version is one varUint".into()))?;
        let start = usize::try_from(known)
            .ok()
            .and_then(|known| self.starts.get(known).copied())
            .unwrap_or(self.len);
        Ok(self.from(start).into())
    }

    fn is_empty_version(&self, version: &Bytes) -> bool {
        read_var(version) == Some(0)
    }

    fn encode(&self) -> Bytes {
        self.from(0).into()
    }

    fn json(&self) -> Result<Value, DocumentError> {
        let whole = self.from(0);
        let payloads = split(&whole)?;
        let payloads = payloads.iter();
        Ok(payloads
            .map(|(_, payload)| Value::String(STANDARD.encode(payload)))
            .collect())
    }

    fn text(&self) -> Result<String, DocumentError> {
        Err(unsupported("has no text"))
    }

    fn changes(&self, _past: &Bytes) -> Result<Value, DocumentError> {
        Err(unsupported("does not tell what changed in it"))
    }

    fn restore(&self, _wanted: &Wanted, _client: u64) -> Result<Option<Edit>, DocumentError> {
        Err(unsupported("cannot be restored"))
    }

    fn fork(&self) -> Box<dyn Document> {
        Box::new(self.clone())
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        chunks + self.starts.capacity() * size_of::<usize>()
    }
}

fn unsupported(what: &str) -> DocumentError {
    DocumentError::Unsupported(format!("a document that the server cannot read {what}"))
}

/// The most bytes of a payload's length.
const MAX_VAR_BYTES: usize = 10;

fn write_var(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The number, if `bytes` are exactly one varUint below 2⁵⁶.
fn read_var(bytes: &[u8]) -> Option<u64> {
    let (last, rest) = bytes.split_last()?;
    if bytes.len() > 8 || *last >= 0x80 || rest.iter().any(|byte| *byte < 0x80) {
        return None;
    }
    let number = bytes.iter().rev();
    Some(number.fold(0, |n, byte| n << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(count: usize) -> Vec<Bytes> {
        (0..count).map(|n| vec![n as u8; n % 300].into()).collect()
    }

    #[test]
    fn a_difference_is_the_rest() {
        let all = payloads(400);
        let mut whole = OpaqueDocument::new();
        let mut part = OpaqueDocument::new();
        assert!(part.is_empty_version(&part.version()));
        whole.integrate(&all);
        part.integrate(&all[..150]);
        let diff = whole.diff(&part.version()).unwrap();
        assert_eq!([part.encode(), diff].concat(), whole.encode());
        assert_eq!(
            whole.diff(&Bytes::from_static(&[0])).unwrap(),
            whole.encode()
        );
        assert_eq!(part.diff(&whole.version()).unwrap(), Bytes::new());
        assert!(!part.is_empty_version(&part.version()));
    }

    #[test]
    fn chunks_do_not_show() {
        let mut all = payloads(3_000);
        all.insert(1_000, vec![7; CHUNK_BYTES.end() + 1].into());
        let mut document = OpaqueDocument::new();
        for payload in &all {
            document.integrate(std::slice::from_ref(payload));
        }
        assert!(document.chunks.len() > 3, "{}", document.chunks.len());
        let mut plain = Vec::new();
        for payload in &all {
            write_var(&mut plain, payload.len() as u64);
            plain.extend_from_slice(payload);
        }
        assert_eq!(document.encode(), plain);
        let loaded = OpaqueDocument::load(&document.encode()).unwrap();
        assert_eq!(loaded.starts, document.starts);
        for known in [0, 1, 999, 1_000, 1_001, 2_999, 3_001] {
            let mut version = Vec::new();
            write_var(&mut version, known as u64);
            let rest = document.diff(&version.into()).unwrap();
            assert_eq!(split(&rest).unwrap().len(), all.len() - known);
        }
        assert!(
            document.memory_bytes() < plain.len() * 2,
            "half of it is used"
        );
    }

    #[test]
    fn a_version_is_one_number() {
        let document = OpaqueDocument::new();
        for bad in [&[][..], &[0x80], &[0, 0], &[0xff; 9]] {
            assert!(
                document.diff(&Bytes::copy_from_slice(bad)).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_loaded_document_goes_on() {
        let all = payloads(400);
        let mut whole = OpaqueDocument::new();
        whole.integrate(&all[..300]);
        let mut loaded = OpaqueDocument::load(&whole.encode()).unwrap();
        for document in [&mut whole, &mut loaded] {
            document.integrate(&all[300..]);
        }
        assert_eq!(loaded.encode(), whole.encode());
        assert_eq!(loaded.version(), whole.version());
        let behind = Bytes::from_static(&[200, 1]);
        assert_eq!(loaded.diff(&behind), whole.diff(&behind));
        for bad in [&[1][..], &[0x80], &[2, 0], &[0xff; 9]] {
            assert!(OpaqueDocument::load(&Bytes::copy_from_slice(bad)).is_err());
        }
    }

    #[test]
    fn only_its_payloads_are_told() {
        let mut document = OpaqueDocument::new();
        document.integrate(&[Bytes::new(), Bytes::from_static(b"\x00\xff")]);
        assert_eq!(document.json().unwrap(), serde_json::json!(["", "AP8="]));
        let past = OpaqueDocument::new().encode();
        for refused in [
            document.text().map(|_| ()),
            document.changes(&past).map(|_| ()),
            document.restore(&Wanted::Past(past.clone()), 1).map(|_| ()),
        ] {
            assert!(matches!(refused, Err(DocumentError::Unsupported(_))));
        }
    }

    #[test]
    fn memory_is_counted() {
        let mut document = OpaqueDocument::new();
        document.integrate(&payloads(1000));
        assert!(document.memory_bytes() >= document.encode().len());
    }
}
