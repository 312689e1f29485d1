//! diamond-types.

use diamond_types::list::ListCRDT;
use diamond_types::list::encoding::{ENCODE_FULL, ENCODE_PATCH};
use diamond_types::{AgentId, LocalVersion};

use super::Engine;

pub struct Diamond;

pub struct Doc {
    list: ListCRDT,
    agent: AgentId,
    taken: LocalVersion,
}

impl Engine for Diamond {
    const NAME: &'static str = "diamond-types";
    type Doc = Doc;
    type Update = Vec<u8>;
    type Version = LocalVersion;

    fn new(agent: u64) -> Doc {
        let mut list = ListCRDT::new();
        let agent = list.get_or_create_agent_id(&agent.to_string());
        let taken = list.oplog.local_version();
        Doc { list, agent, taken }
    }

    fn splice(doc: &mut Doc, at: usize, deleted: usize, inserted: &str) {
        if deleted > 0 {
            doc.list.delete_without_content(doc.agent, at..at + deleted);
        }
        if !inserted.is_empty() {
            doc.list.insert(doc.agent, at, inserted);
        }
    }

    fn take(doc: &mut Doc) -> Vec<u8> {
        let update = doc.list.oplog.encode_from(ENCODE_PATCH, &doc.taken);
        doc.taken = doc.list.oplog.local_version();
        update
    }

    fn apply(doc: &mut Doc, update: &Vec<u8>) {
        doc.list.merge_data_and_ff(update).expect("a good update");
        doc.taken = doc.list.oplog.local_version();
    }

    fn text(doc: &Doc) -> String {
        doc.list.branch.content().to_string()
    }

    fn save(doc: &mut Doc) -> Option<Vec<u8>> {
        Some(doc.list.oplog.encode(ENCODE_FULL))
    }

    fn load(saved: &[u8]) -> Doc {
        let mut list = ListCRDT::load_from(saved).expect("a saved document");
        let agent = list.get_or_create_agent_id("loaded");
        let taken = list.oplog.local_version();
        Doc { list, agent, taken }
    }

    fn version(doc: &mut Doc) -> Option<LocalVersion> {
        Some(doc.list.oplog.local_version())
    }

    fn at(doc: &mut Doc, version: &LocalVersion) -> String {
        doc.list.oplog.checkout(version).content().to_string()
    }
}
