//! Real Yjs v1 updates, written by hand.
//!
//! An [`Author`] types into the text at the document's root `text`: each update is one
//! item holding a string, with the author's client id, its next clock and, as origin,
//! the item before it, followed by an empty delete set. That is what a Yjs client sends
//! for a keystroke or a paste at the end of a text. No CRDT engine is needed to write
//! it, so a load client can produce millions a second.
//!
//! [`scan`] reads updates back just far enough to tell which clocks they cover. A server
//! may merge updates on the way, so a reader that knows the highest clock it has seen
//! knows how many updates have arrived, whatever they were packed in.

use crate::{
    frame,
    wire::{self, Cursor, Malformed, var_uint_len, write_var_uint},
};

/// One client of a document, and where it will write next.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    client: u64,
    clock: u64,
}

impl Author {
    /// An author that has written nothing.
    pub(crate) fn new(client: u32) -> Self {
        Self {
            client: u64::from(client),
            clock: 0,
        }
    }

    /// Its client id.
    pub(crate) fn client(&self) -> u64 {
        self.client
    }

    /// The id of the last character it wrote.
    pub(crate) fn last(&self) -> Option<Id> {
        self.clock.checked_sub(1).map(|clock| Id {
            client: self.client,
            clock,
        })
    }

    /// Appends to `out` a frame with an update that puts `text` (ASCII, not empty) after the
    /// character `after`; `None` is the start of an empty text.
    pub(crate) fn type_after(&mut self, out: &mut Vec<u8>, text: &str, after: Option<Id>) {
        debug_assert!(
            text.is_ascii() && !text.is_empty(),
            "clocks count UTF-16 units"
        );
        let place_len = match after {
            Some(id) => var_uint_len(id.client) + var_uint_len(id.clock),
            None => 1 + 1 + ROOT.len(),
        };
        let update_len = 1 // clients
            + 1 // structs
            + var_uint_len(self.client)
            + var_uint_len(self.clock)
            + 1 // info
            + place_len
            + var_uint_len(text.len() as u64)
            + text.len()
            + 1; // clients in the delete set
        frame::write_header(out, 2 + var_uint_len(update_len as u64) + update_len);
        out.extend_from_slice(&[0, 2]); // sync, update
        write_var_uint(out, update_len as u64);
        out.extend_from_slice(&[1, 1]);
        write_var_uint(out, self.client);
        write_var_uint(out, self.clock);
        if let Some(id) = after {
            out.push(STRING | HAS_ORIGIN);
            write_var_uint(out, id.client);
            write_var_uint(out, id.clock);
        } else {
            out.push(STRING);
            out.push(1); // the parent is a root, by name
            out.push(ROOT.len() as u8);
            out.extend_from_slice(ROOT.as_bytes());
        }
        write_var_uint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
        out.push(0);
        self.clock += text.len() as u64;
    }
}

/// Appends a frame that asks for the durable ack `n`.
pub(crate) fn write_ack_request(out: &mut Vec<u8>, n: u64) {
    frame::write_header(out, wire::ack_request_len(n));
    wire::write_ack_request(out, n);
}

/// A character of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id {
    client: u64,
    clock: u64,
}

/// A run of one client's clocks that an update carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Whose.
    pub(crate) client: u64,
    /// The first.
    pub(crate) clock: u64,
    /// How many.
    pub(crate) len: u64,
}

impl Run {
    /// The clock after the last.
    pub(crate) fn end(self) -> u64 {
        self.clock + self.len
    }
}

/// Calls `on` for each run of characters in an update that [`Author`]s made, possibly
/// merged by a server on the way. Content of any other kind is an error: nobody else
/// writes into a room under load.
pub(crate) fn scan(update: &[u8], mut on: impl FnMut(Run)) -> Result<(), Malformed> {
    let mut cursor = Cursor(update);
    for _ in 0..cursor.var_uint()? {
        let structs = cursor.var_uint()?;
        let client = cursor.var_uint()?;
        let mut clock = cursor.var_uint()?;
        for _ in 0..structs {
            let info = cursor.byte()?;
            let (len, is_text) = match info & CONTENT {
                STRING => {
                    let has_right_origin = info & HAS_RIGHT_ORIGIN != 0;
                    if info & HAS_ORIGIN != 0 {
                        cursor.var_uint()?;
                        cursor.var_uint()?;
                    }
                    if has_right_origin {
                        cursor.var_uint()?;
                        cursor.var_uint()?;
                    }
                    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
                        if cursor.var_uint()? == 1 {
                            cursor.var_bytes()?;
                        } else {
                            cursor.var_uint()?;
                            cursor.var_uint()?;
                        }
                    }
                    (cursor.var_bytes()?.len() as u64, true)
                }
                SKIP => (cursor.var_uint()?, false),
                _ => return Err(Malformed("content that no load client wrote")),
            };
            if is_text {
                on(Run { client, clock, len });
            }
            clock = clock
                .checked_add(len)
                .ok_or(Malformed("a clock over 64 bits"))?;
        }
    }
    Ok(())
}

/// Printable ASCII of `len` bytes; its characters vary, so that nothing compresses to
/// nothing.
pub(crate) fn sample_text(len: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b' ' + (state % 95) as u8)
        })
        .collect()
}

/// The document's text.
const ROOT: &str = "text";
const STRING: u8 = 4;
const SKIP: u8 = 10;
const CONTENT: u8 = 0x1f;
const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Header;
    use crate::wire::Incoming;
    use yrs::{
        Doc, GetString, ReadTxn, StateVector, Text, Transact, Update, updates::decoder::Decode,
    };

    /// The update inside one frame.
    fn update_of(frame: &[u8]) -> Vec<u8> {
        let header = Header::read_any(frame).unwrap().unwrap();
        assert_eq!(frame.len() as u64, header.size as u64 + header.len);
        match wire::read(&frame[header.size..]).unwrap() {
            Incoming::Update(update) => update.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn apply(doc: &Doc, update: &[u8]) {
        let update = Update::decode_v1(update).unwrap();
        doc.transact_mut().apply_update(update).unwrap();
    }

    fn runs(update: &[u8]) -> Vec<(u64, u64, u64)> {
        let mut seen = Vec::new();
        scan(update, |run| seen.push((run.client, run.clock, run.len))).unwrap();
        seen
    }

    #[test]
    fn an_engine_reads_what_an_author_types() {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("text");
        let mut author = Author::new(4_000_000_007);
        let mut expected = String::new();
        for i in 0..500 {
            let piece = format!("{i} {}", sample_text(20 + i % 80));
            let before = author.clock;
            let mut frame = Vec::new();
            let last = author.last();
            author.type_after(&mut frame, &piece, last);
            let update = update_of(&frame);
            assert_eq!(runs(&update), [(4_000_000_007, before, piece.len() as u64)]);
            apply(&doc, &update);
            expected.push_str(&piece);
        }
        let txn = doc.transact();
        assert_eq!(text.get_string(&txn), expected);
        assert!(txn.store().pending_update().is_none());
        let whole = txn.encode_state_as_update_v1(&StateVector::default());
        let total: u64 = runs(&whole).iter().map(|run| run.2).sum();
        assert_eq!(total, author.clock);
    }

    #[test]
    fn two_authors_weave_one_text() {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("text");
        let mut authors = [Author::new(1), Author::new(2)];
        let mut last = None;
        for i in 0..100 {
            let mut frame = Vec::new();
            authors[i % 2].type_after(&mut frame, ["ab", "xyz"][i % 2], last);
            last = authors[i % 2].last();
            apply(&doc, &update_of(&frame));
        }
        let txn = doc.transact();
        assert_eq!(text.get_string(&txn), "abxyz".repeat(50));
        let whole = txn.encode_state_as_update_v1(&StateVector::default());
        assert_eq!(runs(&whole).len(), 100, "nothing could be merged");
    }

    #[test]
    fn foreign_content_is_refused() {
        let doc = Doc::new();
        let array = doc.get_or_insert_array("array");
        let text = doc.get_or_insert_text("text");
        {
            let mut txn = doc.transact_mut();
            yrs::Array::push_back(&array, &mut txn, 7);
            text.push(&mut txn, "hello");
        }
        let update = doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default());
        assert!(scan(&update, |_| {}).is_err());
        for cut in 0..update.len() {
            let _ = scan(&update[..cut], |_| {});
        }
    }
}
