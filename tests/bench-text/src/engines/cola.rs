//! cola, which keeps no text itself, with a jumprope for it. It forgets deleted text. Its edits travel
//! in its own encoding, with the text that it leaves to the caller.

use cola::{Deletion, EncodedReplica, Insertion, Replica};
use jumprope::JumpRope;
use serde::{Deserialize, Serialize};

use super::Engine;

pub struct Cola;

pub struct Doc {
    replica: Replica,
    rope: JumpRope,
    taken: Vec<Edit>,
}

#[derive(Serialize, Deserialize)]
pub enum Edit {
    Insert(Insertion, String),
    Delete(Deletion),
}

impl Engine for Cola {
    const NAME: &'static str = "cola";
    type Doc = Doc;
    type Update = Vec<u8>;
    type Version = ();

    fn new(agent: u64) -> Doc {
        Doc {
            replica: Replica::new(u64::MAX, 0).fork(agent + 1),
            rope: JumpRope::new(),
            taken: Vec::new(),
        }
    }

    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        if deleted > 0 {
            doc.rope.remove(at..at + deleted);
            let edit = doc.replica.deleted(at..at + deleted);
            doc.taken.push(Edit::Delete(edit));
        }
        if !inserted.is_empty() {
            doc.rope.insert(at, inserted);
            let edit = doc.replica.inserted(at, inserted.chars().count());
            doc.taken.push(Edit::Insert(edit, inserted.to_owned()));
        }
    }

    fn end(doc: &mut Doc) {
        // Nobody keeps the edits of a local run.
        if doc.taken.len() > 1024 {
            doc.taken.clear();
        }
    }

    fn take(doc: &mut Doc) -> Vec<u8> {
        let update = postcard::to_stdvec(&doc.taken).expect("bytes");
        doc.taken.clear();
        update
    }

    fn apply(doc: &mut Doc, update: &Vec<u8>) {
        let edits: Vec<Edit> = postcard::from_bytes(update).expect("a good update");
        for edit in edits {
            match edit {
                Edit::Insert(insertion, text) => {
                    if let Some(at) = doc.replica.integrate_insertion(&insertion) {
                        doc.rope.insert(at, &text);
                    }
                }
                Edit::Delete(deletion) => {
                    let ranges = doc.replica.integrate_deletion(&deletion);
                    for range in ranges.into_iter().rev() {
                        doc.rope.remove(range);
                    }
                }
            }
        }
    }

    fn text(doc: &Doc) -> String {
        doc.rope.to_string()
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        let saved = (
            doc.replica.encode().as_bytes().to_vec(),
            doc.rope.to_string(),
        );
        Some(postcard::to_stdvec(&saved).expect("bytes"))
    }

    fn load(saved: &[u8]) -> Doc {
        let (replica, text): (Vec<u8>, &str) =
            postcard::from_bytes(saved).expect("a saved document");
        let replica = EncodedReplica::from_bytes(&replica);
        Doc {
            replica: Replica::decode(1 << 21, &replica).expect("a replica"),
            rope: JumpRope::from(text),
            taken: Vec::new(),
        }
    }
}
