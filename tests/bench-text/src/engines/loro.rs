//! loro.

use loro::{ExportMode, Frontiers, LoroDoc, LoroText, VersionVector};

use super::Engine;

pub struct Loro;

pub struct Doc {
    doc: LoroDoc,
    text: LoroText,
    taken: VersionVector,
}

impl Engine for Loro {
    const NAME: &'static str = "loro";
    type Doc = Doc;
    type Update = Vec<u8>;
    type Version = Frontiers;

    fn new(agent: u64) -> Doc {
        let doc = LoroDoc::new();
        doc.set_peer_id(agent).expect("a peer id");
        let text = doc.get_text("text");
        let taken = doc.oplog_vv();
        Doc { doc, text, taken }
    }

    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        if deleted > 0 {
            doc.text.delete(at, deleted).expect("within the text");
        }
        if !inserted.is_empty() {
            doc.text.insert(at, inserted).expect("within the text");
        }
    }

    fn end(doc: &mut Doc) {
        doc.doc.commit();
    }

    fn take(doc: &mut Doc) -> Vec<u8> {
        let update = doc
            .doc
            .export(ExportMode::updates(&doc.taken))
            .expect("an update");
        doc.taken = doc.doc.oplog_vv();
        update
    }

    fn apply(doc: &mut Doc, update: &Vec<u8>) {
        doc.doc.import(update).expect("a good update");
        doc.taken = doc.doc.oplog_vv();
    }

    fn text(doc: &Doc) -> String {
        doc.text.to_string()
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        doc.doc.checkout_to_latest();
        Some(doc.doc.export(ExportMode::Snapshot).expect("a snapshot"))
    }

    fn load(saved: &[u8]) -> Doc {
        let doc = LoroDoc::from_snapshot(saved).expect("a snapshot");
        let text = doc.get_text("text");
        let taken = doc.oplog_vv();
        Doc { doc, text, taken }
    }

    fn version(doc: &mut Doc) -> Option<Frontiers> {
        Some(doc.doc.oplog_frontiers())
    }

    fn at(doc: &mut Doc, version: &Frontiers) -> String {
        doc.doc.checkout(version).expect("a known version");
        doc.text.to_string()
    }
}
