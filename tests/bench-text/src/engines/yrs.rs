//! yrs. It forgets deleted text.

use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::{
    Doc as Inner, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    Update,
};

use super::Engine;

pub struct Yrs;

pub struct Doc {
    doc: Inner,
    text: TextRef,
    /// The updates since the last one taken, once anyone takes them.
    recorded: Option<Vec<Vec<u8>>>,
    wide: bool,
}

impl Doc {
    /// Characters as UTF-16 units, once there is any that is not ASCII.
    fn units(&self, at: usize, len: usize) -> (u32, u32) {
        if !self.wide {
            return (at as u32, len as u32);
        }
        let text = Yrs::text(self);
        let units =
            |part: &mut dyn Iterator<Item = char>| part.map(char::len_utf16).sum::<usize>() as u32;
        let mut characters = text.chars();
        let before = units(&mut characters.by_ref().take(at));
        (before, units(&mut characters.take(len)))
    }
}

impl Engine for Yrs {
    const NAME: &'static str = "yrs";
    type Doc = Doc;
    type Update = Vec<Vec<u8>>;
    type Version = ();

    fn new(agent: u64) -> Doc {
        let doc = Inner::with_options(Options {
            client_id: ClientID::new(agent),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let text = doc.get_or_insert_text("text");
        Doc {
            doc,
            text,
            recorded: None,
            wide: false,
        }
    }

    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        let (at, deleted) = doc.units(at, deleted);
        doc.wide |= !inserted.is_ascii();
        let mut transaction = doc.doc.transact_mut();
        if deleted > 0 {
            doc.text.remove_range(&mut transaction, at, deleted);
        }
        if !inserted.is_empty() {
            doc.text.insert(&mut transaction, at, inserted);
        }
        if let Some(recorded) = &mut doc.recorded {
            recorded.push(transaction.encode_update_v1());
        }
    }

    fn take(doc: &mut Doc) -> Vec<Vec<u8>> {
        std::mem::take(doc.recorded.get_or_insert_default())
    }

    fn apply(doc: &mut Doc, update: &Vec<Vec<u8>>) {
        let mut transaction = doc.doc.transact_mut();
        for update in update {
            let update = Update::decode_v1(update).expect("a good update");
            transaction.apply_update(update).expect("a good update");
        }
    }

    fn text(doc: &Doc) -> String {
        doc.text.get_string(&doc.doc.transact())
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        Some(doc.doc.transact().encode_diff_v1(&StateVector::default()))
    }

    fn load(saved: &[u8]) -> Doc {
        let mut doc = Self::new(1 << 21);
        Self::apply(&mut doc, &vec![saved.to_vec()]);
        doc
    }
}
