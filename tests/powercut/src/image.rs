//! A file system in a file, mounted through a loop device.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const IMAGE_BYTES: u64 = 320 << 20;
const BLOCK_BYTES: usize = 1 << 20;
/// Writeback that is under way ends within a few copies.
const MAX_COPIES: usize = 50;

/// A mounted image; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Image {
    /// A fresh ext4 file system.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let file = folder.join("disk.img");
        let _ = fs::remove_file(&file);
        let made = File::create(&file).and_then(|image| image.set_len(IMAGE_BYTES));
        made.map_err(|error| format!("no image: {error}"))?;
        // As on a real disk, but for its size: the inode tables are written at once.
        let image = file.to_string_lossy();
        let options = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image];
        run("mkfs.ext4", &options)?;
        Self::mount(file, folder)
    }

    pub(crate) fn mount(file: PathBuf, folder: &Path) -> Result<Self, String> {
        let mount = folder.join("mnt");
        fs::create_dir_all(&mount).map_err(|error| format!("no mount point: {error}"))?;
        run("mount", &["-o", "loop", &file.to_string_lossy(), &mount.to_string_lossy()])?;
        Ok(Self {
            file,
            mount,
            mounted: true,
        })
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.mount.join("log")
    }

    /// Copies what has reached the device, as of one moment: again until two looks agree, for the
    /// kernel may be in the middle of a write that the frozen process began.
    pub(crate) fn copy(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = folder.join("copy.img");
        let _ = fs::remove_file(&path);
        let error = |error| format!("the image could not be copied: {error}");
        let from = File::open(&self.file).map_err(error)?;
        let to = File::options().read(true).write(true).create_new(true).open(&path);
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
        if std::mem::take(&mut self.mounted)
            && let Err(error) = run("umount", &[&self.mount.to_string_lossy()])
        {
            println!("{error}");
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.unmount();
    }
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
