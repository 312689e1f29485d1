//! What a room's records mean: document kinds, and folding a log to a document.
//!
//! | module | holds |
//! | --- | --- |
//! | [`document`] | the [`Document`] contract and the kinds there are |

pub mod document;

pub use document::{Checked, Document, DocumentError, Kind};
