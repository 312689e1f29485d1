//! automerge.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ChangeHash, ObjId, ObjType, ROOT, ReadDoc};

use super::Engine;

pub struct Automerge;

pub struct Doc {
    doc: AutoCommit,
    text: ObjId,
}

impl Doc {
    fn of(doc: AutoCommit) -> Doc {
        let (_, text) = doc.get(ROOT, "text").expect("a document").expect("a text");
        Doc { doc, text }
    }
}

impl Engine for Automerge {
    const NAME: &'static str = "automerge";
    type Doc = Doc;
    type Update = Vec<u8>;
    type Version = Vec<ChangeHash>;

    fn new(agent: u64) -> Doc {
        // All replicas begin with the same text object.
        let mut base = AutoCommit::new().with_actor(ActorId::from(&[0u8; 8][..]));
        base.put_object(ROOT, "text", ObjType::Text)
            .expect("an object");
        base.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
        let mut doc = AutoCommit::load(&base.save()).expect("a document");
        doc.set_actor(ActorId::from(&agent.to_be_bytes()[..]));
        doc.save_incremental();
        Doc::of(doc)
    }

    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        doc.doc
            .splice_text(&doc.text, at, deleted as isize, inserted)
            .expect("within the text");
    }

    fn end(doc: &mut Doc) {
        doc.doc.commit();
    }

    fn take(doc: &mut Doc) -> Vec<u8> {
        doc.doc
            .get_last_local_change()
            .map(|change| change.raw_bytes().to_vec())
            .unwrap_or_default()
    }

    fn apply(doc: &mut Doc, update: &Vec<u8>) {
        doc.doc.load_incremental(update).expect("a good update");
    }

    fn text(doc: &Doc) -> String {
        doc.doc.text(&doc.text).expect("a text")
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        Some(doc.doc.save())
    }

    fn load(saved: &[u8]) -> Doc {
        Doc::of(AutoCommit::load(saved).expect("a document"))
    }

    fn version(doc: &mut Doc) -> Option<Vec<ChangeHash>> {
        Some(doc.doc.get_heads())
    }

    fn at(doc: &mut Doc, version: &Vec<ChangeHash>) -> String {
        doc.doc
            .text_at(&doc.text, version)
            .expect("a known version")
    }
}
