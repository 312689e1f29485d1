//! jumprope: a text and nothing else, the floor.

use jumprope::JumpRope;

use super::Engine;

pub struct Rope;

impl Engine for Rope {
    const NAME: &'static str = "jumprope";
    const REPLICATES: bool = false;
    type Doc = JumpRope;
    type Update = ();
    type Version = ();

    fn new(_agent: u64) -> JumpRope {
        JumpRope::new()
    }

    #[inline]
    fn splice(doc: &mut JumpRope, at: usize, deleted: usize, inserted: &str) {
        if deleted > 0 {
            doc.remove(at..at + deleted);
        }
        if !inserted.is_empty() {
            doc.insert(at, inserted);
        }
    }

    fn take(_doc: &mut JumpRope) {}

    fn apply(_doc: &mut JumpRope, _update: &()) {}

    fn text(doc: &JumpRope) -> String {
        doc.to_string()
    }
}
