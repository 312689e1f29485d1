//! What a room's records mean: document kinds, and folding a log to a document.
//!
//! | module | holds |
//! | --- | --- |
//! | [`document`] | the [`Document`] contract and the kinds there are |
//! | [`yjs`] | Yjs documents |
//! | [`opaque`] | documents that the server cannot read |
//! | [`fold`](mod@fold) | reading a room's log to its document |

pub mod document;
pub mod fold;
pub mod opaque;
pub mod yjs;

pub use document::{Checked, Document, DocumentError, Kind};
pub use fold::{FoldError, Folded, RoomFacts, fold};
pub use opaque::OpaqueDocument;
pub use yjs::YjsDocument;
