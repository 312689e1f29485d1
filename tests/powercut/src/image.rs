//! A disk with a volatile cache, made of two file systems one in the other.
//!
//! ```text
//! log ─▶ inner ext4 ─▶ loop ─▶ inner.img in the outer ext4 ─▶ loop ─▶ disk.img
//!        page cache            page cache = the disk's cache        = the platter
//! ```
//!
//! What the inner file system writes to its device lands in the outer one's page cache, and only a
//! flush of that device (which `fsync` and `fdatasync` send, and `sync_file_range` does not) makes
//! the outer one write it to `disk.img`. So a copy of `disk.img` lacks what a real disk would lose
//! from its own cache, too.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const INNER_BYTES: u64 = 240 << 20;
const IMAGE_BYTES: u64 = INNER_BYTES + (80 << 20);
const BLOCK_BYTES: usize = 1 << 20;
/// Writeback that is under way ends within a few copies.
const MAX_COPIES: usize = 50;

/// The two mounted file systems; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    /// Mount points, the outer one first.
    mounted: Vec<PathBuf>,
}

impl Image {
    /// A fresh disk.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let file = folder.join("disk.img");
        let _ = fs::remove_file(&file);
        let made = File::create(&file).and_then(|image| image.set_len(IMAGE_BYTES));
        made.map_err(|error| format!("no image: {error}"))?;
        make_file_system(&file)?;
        let mut image = Self::mount_outer(file, folder)?;
        let inner = image.inner();
        let made = File::create(&inner).and_then(|file| {
            // Allocated, so that the outer file system has nothing to say but data.
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, INNER_BYTES)?;
            file.sync_all()
        });
        made.map_err(|error| format!("no inner image: {error}"))?;
        make_file_system(&inner)?;
        image.mount_inner(folder)?;
        Ok(image)
    }

    /// Mounts a copied disk; both file systems recover by their journals.
    pub(crate) fn mount(file: PathBuf, folder: &Path) -> Result<Self, String> {
        let mut image = Self::mount_outer(file, folder)?;
        image.mount_inner(folder)?;
        Ok(image)
    }

    fn mount_outer(file: PathBuf, folder: &Path) -> Result<Self, String> {
        let outer = folder.join("outer");
        mount(&file, &outer)?;
        Ok(Self {
            file,
            mounted: vec![outer],
        })
    }

    fn mount_inner(&mut self, folder: &Path) -> Result<(), String> {
        let at = folder.join("inner");
        mount(&self.inner(), &at)?;
        self.mounted.push(at);
        Ok(())
    }

    fn inner(&self) -> PathBuf {
        self.mounted[0].join("inner.img")
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.mounted[1].join("log")
    }

    /// Copies what has reached the device, as of one moment: again until two looks agree, for the
    /// kernel may be in the middle of a write that the frozen process began.
    pub(crate) fn copy(&self, folder: &Path) -> Result<PathBuf, String> {
        // Two names take turns: one is mounted while the other is written.
        let names = ["disk.img", "copy.img"].map(|name| folder.join(name));
        let [path, other] = names;
        let path = if path == self.file { other } else { path };
        let _ = fs::remove_file(&path);
        let error = |error| format!("the image could not be copied: {error}");
        let from = File::open(&self.file).map_err(error)?;
        let to = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let to = to.map_err(error)?;
        to.set_len(IMAGE_BYTES).map_err(error)?;
        for _ in 0..MAX_COPIES {
            if copy_changed(&from, &to).map_err(error)? == 0 {
                return Ok(path);
            }
        }
        Err("the frozen writer's disk does not come to rest".to_owned())
    }

    pub(crate) fn unmount(&mut self) {
        while let Some(at) = self.mounted.pop() {
            if let Err(error) = run("umount", &[&at.to_string_lossy()]) {
                println!("{error}");
            }
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// ext4 as on a real disk, its tables written at once.
fn make_file_system(file: &Path) -> Result<(), String> {
    let options = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    run(
        "mkfs.ext4",
        &[&options[..], &[&file.to_string_lossy()]].concat(),
    )
}

fn mount(file: &Path, at: &Path) -> Result<(), String> {
    fs::create_dir_all(at).map_err(|error| format!("no mount point: {error}"))?;
    run(
        "mount",
        &["-o", "loop", &file.to_string_lossy(), &at.to_string_lossy()],
    )
}

/// Copies the blocks that differ and counts them. Holes stay holes.
fn copy_changed(mut from: &File, to: &File) -> std::io::Result<usize> {
    let mut changed = 0;
    let mut new = vec![0; BLOCK_BYTES];
    let mut old = vec![0; BLOCK_BYTES];
    let mut at = 0;
    while at < IMAGE_BYTES {
        // Skip to the next block that has data.
        match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => at = data / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        }
        let len = BLOCK_BYTES.min((IMAGE_BYTES - at) as usize);
        from.seek(SeekFrom::Start(at))?;
        from.read_exact(&mut new[..len])?;
        to.read_exact_at(&mut old[..len], at)?;
        if new[..len] != old[..len] {
            to.write_all_at(&new[..len], at)?;
            changed += 1;
        }
        at += len as u64;
    }
    Ok(changed)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program} could not be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.trim()))
}
