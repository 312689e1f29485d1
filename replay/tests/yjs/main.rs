//! Yjs documents against real histories, hostile bytes and yrs as an oracle.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod histories;
mod hostile;
mod load;
mod made;
mod oracle;
mod tree;

use bytes::Bytes;
use replay::{Document, YjsDocument};

/// The histories in `tests/fixtures`, by name, made by the real Yjs.
fn histories() -> Vec<(String, Vec<Bytes>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "history")
        {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((name, split(&std::fs::read(path).unwrap())));
        }
    }
    assert!(found.len() >= 10, "the histories are there");
    found.sort();
    found
}

/// Updates end to end, each behind a varUint length.
fn split(bytes: &[u8]) -> Vec<Bytes> {
    let mut updates = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut len = 0;
        for shift in (0..).step_by(7) {
            len |= usize::from(bytes[at] & 0x7f) << shift;
            at += 1;
            if bytes[at - 1] < 0x80 {
                break;
            }
        }
        updates.push(Bytes::copy_from_slice(&bytes[at..at + len]));
        at += len;
    }
    updates
}

/// A document that has taken all of `updates`.
fn folded(updates: &[Bytes]) -> YjsDocument {
    let mut document = YjsDocument::new();
    for answer in document.integrate(updates) {
        answer.unwrap();
    }
    document
}
