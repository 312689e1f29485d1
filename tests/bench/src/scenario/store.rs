//! The store alone, without a server: a program of its own, started from here.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};

/// Runs the store's bench with `args`; its output is its own.
pub(crate) fn run(program: &Path, args: &[String]) -> anyhow::Result<()> {
    if !program.is_file() {
        bail!(
            "{} does not exist (build it, or give --store-bench)",
            program.display()
        );
    }
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    if !status.success() {
        bail!("{} ended with {status}", program.display());
    }
    Ok(())
}
