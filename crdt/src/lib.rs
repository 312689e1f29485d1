//! The Well's own replicated data types.
//!
//! This crate is pure: no clock, no randomness, no network and no disk. Bytes that come from
//! outside are hostile until they have been validated; nothing here panics on them, and what they
//! make this crate hold is bounded by their length.
//!
//! | module | holds |
//! | --- | --- |
//! | [`text`] | a sequence of characters that many clients edit at once, with its whole history |

pub mod text;
