//! The binary's other commands, run to their end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::server::binary;

/// What a server that has a configuration signs tokens with, unless that says otherwise.
pub const SECRET: &str = "a secret of more than 32 bytes, for tests";

/// A token of such a server, with further arguments of `well token mint`.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn token(role: &str, room: &str, more: &[&str]) -> String {
    let mut arguments = vec!["token", "mint", "--secret", SECRET];
    arguments.extend(["--role", role, "--room", room]);
    arguments.extend(more);
    well(&arguments).ok().trim().to_owned()
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The command line, for a test that fails.
    pub line: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output of a command that has done what it was asked.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        String::from_utf8(self.stdout).expect("it speaks UTF-8")
    }

    /// Everything that a command has said that ends with 1, and says why in its last line.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn fails(self) -> String {
        assert_eq!(self.code, Some(1), "{self}");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("well: "), "{self}");
        assert!(!self.stderr.contains("panicked at"), "{self}");
        format!("{}{}", String::from_utf8_lossy(&self.stdout), self.stderr)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = String::from_utf8_lossy(&self.stdout);
        let said: String = said.chars().take(4_000).collect();
        let (line, code) = (&self.line, self.code);
        write!(f, "{line} ended with {code:?}\n{said}\n{}", self.stderr)
    }
}

/// Runs `well` with these arguments.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn well(arguments: &[&str]) -> Ran {
    ran(arguments, command(arguments).output())
}

/// The same, with something on its standard input.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn well_with_input(arguments: &[&str], input: &Path) -> Ran {
    let input = std::fs::File::open(input).expect("the input is there");
    ran(arguments, command(arguments).stdin(input).output())
}

/// `well` with these arguments, not started yet.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

fn ran(arguments: &[&str], output: std::io::Result<Output>) -> Ran {
    let output =
        output.unwrap_or_else(|error| panic!("{} cannot be run: {error}", binary().display()));
    Ran {
        line: format!("well {}", arguments.join(" ")),
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
