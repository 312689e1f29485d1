//! Ours.

use crdt::text::{Client, History, Measure, Seq, Text, Update};

use super::Engine;

pub struct Well;

pub struct Doc {
    text: Text,
    taken: u32,
    seq: u64,
}

impl Engine for Well {
    const NAME: &'static str = "well";
    type Doc = Doc;
    type Update = Vec<u8>;
    type Version = Seq;

    fn new(agent: u64) -> Doc {
        Doc {
            text: Text::new(Client::new(agent)),
            taken: 0,
            seq: 0,
        }
    }

    #[inline]
    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        if deleted > 0 {
            doc.text
                .delete(Measure::Chars, at, deleted)
                .expect("within the text");
        }
        if !inserted.is_empty() {
            doc.text
                .insert(Measure::Chars, at, inserted)
                .expect("within the text");
        }
    }

    fn take(doc: &mut Doc) -> Vec<u8> {
        let client = doc.text.client();
        let to = doc.text.version().get(client);
        let update = Update {
            client,
            from: doc.taken,
            to,
        };
        doc.taken = to;
        doc.text.encode(&update)
    }

    fn apply(doc: &mut Doc, update: &Vec<u8>) {
        doc.seq += 1;
        doc.text
            .apply(update, Some(Seq::new(doc.seq)))
            .expect("a good update");
    }

    fn text(doc: &Doc) -> String {
        doc.text.to_string()
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        Some(doc.text.snapshot(History::With))
    }

    fn save_small(doc: &mut Doc) -> Option<Vec<u8>> {
        Some(doc.text.archive())
    }

    fn load(saved: &[u8]) -> Doc {
        let text = Text::load(Client::new(1 << 21), saved).expect("a snapshot");
        Doc {
            text,
            taken: 0,
            seq: 0,
        }
    }

    fn version(doc: &mut Doc) -> Option<Seq> {
        Some(Seq::new(doc.seq))
    }

    fn at(doc: &mut Doc, version: &Seq) -> String {
        doc.text.at(*version).expect("a known moment")
    }
}
