//! How far the log had been acked, beside the store.
//!
//! A store that reads its own end from its own file cannot tell a torn end, which was never acked,
//! from one that was damaged or cut off later: both simply stop. So the number of the last durable
//! entry is written to a file of its own after each sync, before anyone is told. It is not synced:
//! after a power cut it may be old, and then proves less, but it never says more than was durable.
//! A log that ends before it has lost what was acked, and does not open.
//!
//! ```text
//! offset  size  field
//!      0     8  entry, little-endian
//!      8     4  CRC-32C of bytes 0..8, little-endian
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::open::OpenError;

/// The file that says how far the log had been acked.
#[derive(Debug)]
pub(super) struct Acked {
    file: File,
    path: PathBuf,
}

const NAME: &str = "acked";
const BYTES: usize = 12;

impl Acked {
    /// Opens the mark in the log's folder, or makes one.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(NAME);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| OpenError::io("open", &path, &error))?;
        Ok(Self { file, path })
    }

    /// Refuses a log whose last entry lies before the mark.
    pub(super) fn check(&self, folder: &Path, last_entry: u64) -> Result<(), OpenError> {
        let mut bytes = [0; BYTES];
        let read = self.file.read_at(&mut bytes, 0);
        let read = read.map_err(|error| OpenError::io("read", &self.path, &error))?;
        if read == 0 {
            return Ok(());
        }
        let (entry, crc) = bytes.split_at(8);
        if read < BYTES || crc != crc32c::crc32c(entry).to_le_bytes() {
            let path = self.path.display();
            tracing::warn!(%path, "damaged: whether the end of the log is missing cannot be told");
            return Ok(());
        }
        let mut number = [0; 8];
        number.copy_from_slice(entry);
        let acked = u64::from_le_bytes(number);
        if acked <= last_entry {
            return Ok(());
        }
        Err(OpenError::Damaged {
            folder: folder.to_owned(),
            at: format!("after entry {last_entry}"),
            what: format!(
                "entries up to {acked} had been acked and cannot be read; to go on with what is \
                 left, remove {}",
                self.path.display()
            ),
        })
    }

    /// Everything up to `entry` is durable.
    pub(super) fn put(&self, entry: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        let (number, crc) = bytes.split_at_mut(8);
        number.copy_from_slice(&entry.to_le_bytes());
        crc.copy_from_slice(&crc32c::crc32c(number).to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// Makes the mark itself durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_ends_before_its_mark_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let acked = Acked::open(folder.path()).unwrap();
        acked.check(folder.path(), 0).unwrap();
        acked.put(7).unwrap();
        let acked = Acked::open(folder.path()).unwrap();
        acked.check(folder.path(), 7).unwrap();
        acked.check(folder.path(), 9).unwrap();
        let error = acked.check(folder.path(), 6).unwrap_err().to_string();
        assert!(error.contains("after entry 6"), "{error}");
    }

    #[test]
    fn a_damaged_mark_proves_nothing_and_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let acked = Acked::open(folder.path()).unwrap();
        acked.put(7).unwrap();
        std::fs::write(folder.path().join(NAME), b"short").unwrap();
        acked.check(folder.path(), 0).unwrap();
    }
}
