//! One face for all engines.

pub mod automerge;
pub mod cola;
pub mod diamond;
pub mod loro;
pub mod rope;
pub mod well;
pub mod yrs;

/// A text engine. Positions and lengths are in characters.
pub trait Engine {
    const NAME: &'static str;
    /// Whether replicas can exchange updates.
    const REPLICATES: bool = true;
    type Doc;
    type Update;
    type Version;

    fn new(agent: u64) -> Self::Doc;
    fn splice(doc: &mut Self::Doc, at: usize, deleted: usize, inserted: &str);
    /// Ends a transaction.
    fn end(_doc: &mut Self::Doc) {}
    /// The update since the last one taken; the first time says that there will be more.
    fn take(doc: &mut Self::Doc) -> Self::Update;
    fn apply(doc: &mut Self::Doc, update: &Self::Update);
    fn text(doc: &Self::Doc) -> String;

    /// Saved to be loaded fast; none if the engine cannot.
    fn save(_doc: &mut Self::Doc) -> Option<Vec<u8>> {
        None
    }
    /// Saved with its history, as small as the engine makes it.
    fn save_small(doc: &mut Self::Doc) -> Option<Vec<u8>> {
        Self::save(doc)
    }
    fn load(_saved: &[u8]) -> Self::Doc {
        unreachable!("it was not saved")
    }
    /// The version now; none if the engine cannot look back.
    fn version(_doc: &mut Self::Doc) -> Option<Self::Version> {
        None
    }
    fn at(_doc: &mut Self::Doc, _version: &Self::Version) -> String {
        unreachable!("it has no versions")
    }
}
