//! What a room's records mean: document kinds, folding a log to a document, and the past.
//!
//! | module | holds |
//! | --- | --- |
//! | [`document`] | the [`Document`] contract and the kinds there are |
//! | [`yjs`] | Yjs documents |
//! | [`opaque`] | documents that the server cannot read |
//! | [`text`] | texts of our own CRDT |
//! | [`clients`] | what a log holds of each client that numbers its operations |
//! | [`fold`](mod@fold) | folding records into a document |
//! | [`history`] | a room's whole past over log, snapshots and archive; documents as they were |
//! | [`shown`] | what a room showed at a moment |
//! | [`moment`] | naming a moment: a Seq, a time, now |
//! | [`timeline`] | activity over time, by author |
//! | [`play`] | the pace of playback |
//! | [`lines`] | records as JSON lines |
//! | [`limits`] | named bounds |

pub mod clients;
pub mod document;
pub mod fold;
mod frames;
pub mod history;
pub mod limits;
pub mod lines;
pub mod moment;
pub mod opaque;
pub mod play;
pub mod shown;
pub mod text;
pub mod timeline;
mod whole;
pub mod yjs;

pub use clients::{Client, Clients, Known};
pub use document::{
    Checked, Document, DocumentError, Edit, EditSize, Kind, Position, Remembers, Wanted,
};
pub use fold::{Base, FoldError, Folded, RoomFacts};
pub use history::{History, KindOf, Span, Stores, StretchError, Tier};
pub use moment::{Moment, MomentError};
pub use opaque::OpaqueDocument;
pub use shown::Shown;
pub use text::TextDocument;
pub use whole::WholeLog;
pub use yjs::YjsDocument;
