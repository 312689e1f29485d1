//! A lossy link to a server: two network interfaces between which `peers/link.py` carries packets.
//!
//! The server runs in a network namespace that has the far one. Whatever goes there, TCP of the kernel
//! or QUIC, meets the same delay and loses packets by the same dice. Needs root, `ip` and Python.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

/// The address at the far end.
pub(crate) const FAR: &str = "10.177.0.2:0";

/// A link in fair weather. Dropping it takes it away.
pub(crate) struct Link {
    namespace: String,
    carrier: Child,
}

impl Link {
    /// Makes the interfaces; `peers` is the folder with the program.
    pub(crate) fn open(peers: &Path) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("network interfaces are made by root");
        }
        let namespace = format!("well-bench-{}", std::process::id());
        let mut carrier = Command::new("python3")
            .arg(peers.join("link.py"))
            .arg(&namespace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("run python3")?;
        let mut said = String::new();
        if let Some(stdout) = carrier.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut said)
                .context("listen to link.py")?;
        }
        if said.trim() == "ready" {
            return Ok(Self { namespace, carrier });
        }
        let mut why = String::new();
        if let Some(mut stderr) = carrier.stderr.take() {
            // What it has said counts, however far it could be read.
            let _ = stderr.read_to_string(&mut why);
        }
        let _ = carrier.wait();
        bail!(
            "no link: {}",
            why.trim().lines().last().unwrap_or("link.py has ended")
        )
    }

    /// The namespace that has the far end.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// From now on packets take `delay` in each direction, and so many of a hundred are lost.
    pub(crate) fn set(&mut self, delay: Duration, percent: u32) -> anyhow::Result<()> {
        let stdin = self.carrier.stdin.as_mut().context("link.py listens")?;
        writeln!(stdin, "{} {percent}", delay.as_millis()).context("tell link.py the weather")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Its input ends, and it takes everything away.
        drop(self.carrier.stdin.take());
        let _ = self.carrier.wait();
    }
}
