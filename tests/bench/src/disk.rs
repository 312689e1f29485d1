//! What the disk itself can do: the reference for durable updates.
//!
//! A file is filled with zeros and synced, so that neither its length nor its blocks change
//! later; then groups of bytes are written one after the other, each followed by
//! `fdatasync`. No store that makes the same groups durable can be faster on this disk
//! than that. When the file's end is reached, writing goes on at its start.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::load::Latency;

/// The file.
pub(crate) struct Disk {
    file: File,
}

/// What a disk has done.
pub(crate) struct Syncs {
    /// How long one write and sync took.
    pub(crate) latency: Latency,
    /// In all.
    pub(crate) elapsed: Duration,
}

impl Disk {
    /// Prepares a file in `dir`.
    pub(crate) fn prepare(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("disk");
        let file = File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        let zeros = vec![0; 1 << 20];
        for place in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, place)
                .with_context(|| format!("fill {}", path.display()))?;
        }
        file.sync_all()
            .with_context(|| format!("sync {}", path.display()))?;
        Ok(Self { file })
    }

    /// Writes and syncs groups of `bytes` bytes for about `time`.
    pub(crate) fn write(&self, bytes: usize, time: Duration) -> anyhow::Result<Syncs> {
        let group = vec![0x5a; bytes.min(FILE_BYTES as usize)];
        let mut latency = Latency::new();
        let mut place = 0;
        let start = Instant::now();
        while start.elapsed() < time {
            if place + group.len() as u64 > FILE_BYTES {
                place = 0;
            }
            let before = Instant::now();
            self.file
                .write_all_at(&group, place)
                .context("write the reference file")?;
            self.file.sync_data().context("sync the reference file")?;
            latency.record(before.elapsed().as_nanos() as u64);
            place += group.len() as u64;
        }
        Ok(Syncs {
            latency,
            elapsed: start.elapsed(),
        })
    }
}

/// Whether files in `dir` live in memory only: no sync means anything there.
pub(crate) fn is_memory(dir: &Path) -> anyhow::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let stat = rustix::fs::statfs(dir)
        .with_context(|| format!("look at the file system of {}", dir.display()))?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the field's type differs between architectures"
    )]
    let kind = stat.f_type as i64;
    Ok(kind == TMPFS || kind == RAMFS)
}

const FILE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_larger_and_smaller_than_the_file_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::prepare(dir.path()).unwrap();
        for bytes in [100, FILE_BYTES as usize * 2] {
            let syncs = disk.write(bytes, Duration::from_millis(20)).unwrap();
            assert!(syncs.latency.count() > 0 && syncs.elapsed >= Duration::from_millis(20));
        }
    }
}
