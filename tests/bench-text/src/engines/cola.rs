//! cola, which keeps no text itself, with a jumprope for it. It forgets deleted text.

use cola::{Deletion, Insertion, Replica};
use jumprope::JumpRope;

use super::Engine;

pub struct Cola;

pub struct Doc {
    replica: Replica,
    rope: JumpRope,
    taken: Vec<Edit>,
}

#[derive(Clone)]
pub enum Edit {
    Insert(Insertion, String),
    Delete(Deletion),
}

impl Engine for Cola {
    const NAME: &'static str = "cola";
    type Doc = Doc;
    type Update = Vec<Edit>;
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

    fn take(doc: &mut Doc) -> Vec<Edit> {
        std::mem::take(&mut doc.taken)
    }

    fn apply(doc: &mut Doc, update: &Vec<Edit>) {
        for edit in update {
            match edit {
                Edit::Insert(insertion, text) => {
                    if let Some(at) = doc.replica.integrate_insertion(insertion) {
                        doc.rope.insert(at, text);
                    }
                }
                Edit::Delete(deletion) => {
                    let ranges = doc.replica.integrate_deletion(deletion);
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
}
