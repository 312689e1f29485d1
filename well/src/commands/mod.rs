//! One file for each command.

pub(crate) mod archive;
mod asking;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod export;
mod export_lines;
pub(crate) mod health;
pub(crate) mod import;
mod lines;
pub(crate) mod live;
pub(crate) mod past;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod verify;

use std::io::Write;

/// So many of something: "1 room", "2 rooms".
pub(crate) fn count(many: u64, what: &str) -> String {
    let s = if many == 1 { "" } else { "s" };
    format!("{many} {what}{s}")
}

/// A line on standard output. One that nobody reads any more ends the command.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())
}
