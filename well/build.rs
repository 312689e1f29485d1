//! Tells the binary which build it is: `WELL_COMMIT`, from the environment or from Git, and the compiler.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=WELL_COMMIT");
    println!("cargo::rerun-if-changed=../.git/HEAD");
    println!("cargo::rerun-if-changed=../.git/logs/HEAD");
    let commit = env::var("WELL_COMMIT").ok();
    let commit = commit.or_else(|| said_by("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = said_by(&rustc, &["--version"]);
    let version = rustc.as_deref().and_then(|said| said.split(' ').nth(1));
    let unknown = "unknown";
    println!(
        "cargo::rustc-env=WELL_COMMIT={}",
        commit.as_deref().unwrap_or(unknown)
    );
    println!("cargo::rustc-env=WELL_RUSTC={}", version.unwrap_or(unknown));
}

/// What a command says, if it can be run.
fn said_by(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let said = said.trim();
    (output.status.success() && !said.is_empty()).then(|| said.to_owned())
}
