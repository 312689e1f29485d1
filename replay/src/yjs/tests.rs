//! Invariants of Yjs documents.
