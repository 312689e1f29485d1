//! Zeros kept ahead of sled's log, so that a sync has nothing to do but data.
//!
//! A sync of a file that has grown must also commit its new size and blocks to the file system's
//! journal, which takes as long again as the data. sled lets its file grow with every write. So a
//! thread of ours appends written zeros beyond what sled has reached, and sled then overwrites
//! them. Appending (`O_APPEND`) cannot hurt: the kernel places it at the end of the file under the
//! file's own lock, so bytes that sled has written are never overwritten, wherever it stands.
//!
//! To sled a segment of zeros is one that was never used. It would fill such segments when it
//! opens the file, so they are cut off before that, and when the log is closed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Disk, SEGMENT_BYTES, Shared};

/// More is appended when less than this is ahead.
const LOW_BYTES: u64 = 2 * SEGMENT_BYTES as u64;
/// This much is appended at a time.
const STEP_BYTES: u64 = 3 * SEGMENT_BYTES as u64;
/// Written and synced in pieces, so that no commit waits long behind one.
const PIECE_BYTES: usize = 512 << 10;
/// A segment's header has this many bytes, and is never all zeros.
const HEADER_BYTES: usize = 20;

/// Appends zeros whenever the syncer asks, until the log closes.
pub(super) fn run(shared: &Shared) {
    let disk = shared.disk.read();
    let Some(disk) = disk.as_ref() else { return };
    let zeros = vec![0; PIECE_BYTES];
    loop {
        {
            let mut wanted = shared.ahead_wanted.lock();
            while !*wanted {
                if shared.state.lock().closing || shared.is_poisoned() {
                    return;
                }
                shared.ahead.wait(&mut wanted);
            }
            *wanted = false;
        }
        if let Err(error) = extend(shared, disk, &zeros) {
            // It is only for speed.
            tracing::warn!(%error, "space ahead of the log could not be prepared");
        }
    }
}

/// Asks for more if there is little left; called between syncs, and cheap.
pub(super) fn look(shared: &Shared, disk: &Disk) {
    if zeros_ahead(&disk.file).is_ok_and(|ahead| ahead < LOW_BYTES) {
        *shared.ahead_wanted.lock() = true;
        shared.ahead.notify_all();
    }
}

fn extend(shared: &Shared, disk: &Disk, zeros: &[u8]) -> io::Result<()> {
    let mut left = STEP_BYTES;
    while left > 0 {
        let spare = shared.options.min_free_bytes + 2 * STEP_BYTES;
        if disk.free_bytes() < spare || shared.is_poisoned() || shared.state.lock().closing {
            return Ok(());
        }
        (&disk.append).write_all(zeros)?;
        left = left.saturating_sub(zeros.len() as u64);
        shared.sync_through(&disk.append)?;
    }
    Ok(())
}

/// Bytes at the end of the file that sled has not reached.
fn zeros_ahead(file: &File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    Ok(len - used_end(file, len)?)
}

/// Where the last segment with a header ends.
fn used_end(file: &File, len: u64) -> io::Result<u64> {
    let segment = SEGMENT_BYTES as u64;
    let mut segments = len.div_ceil(segment);
    while segments > 0 {
        let mut header = [0; HEADER_BYTES];
        let at = (segments - 1) * segment;
        let read = file.read_at(&mut header, at)?;
        if header[..read].iter().any(|byte| *byte != 0) {
            break;
        }
        segments -= 1;
    }
    Ok((segments * segment).min(len))
}

/// Cuts off what sled has not reached; it must not be open.
pub(super) fn cut_off(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let end = used_end(&file, len)?;
    if end < len {
        file.set_len(end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_without_a_header_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let file = File::create(&path).unwrap();
        let segment = SEGMENT_BYTES as u64;
        file.set_len(4 * segment + 5).unwrap();
        file.write_all_at(&[7], segment + 3).unwrap();
        assert_eq!(
            zeros_ahead(&File::open(&path).unwrap()).unwrap(),
            2 * segment + 5
        );
        cut_off(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2 * segment);
        cut_off(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 2 * segment);
    }
}
