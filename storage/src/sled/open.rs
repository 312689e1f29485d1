//! Making, locking and opening a log's folder.
//!
//! ```text
//! folder/
//!   acked     how far the log had been acked
//!   lock      held while the log is open, with the process id of who holds it
//!   sled/     the store, with FORMAT: which format it has
//!   sled.new/ a store that was being made when the machine stopped; removed
//! ```
//!
//! A store is made under another name, synced and then renamed, so that one that is there is
//! whole: a power cut while it is made leaves nothing that does not open.

use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::acked::Acked;
use super::chunk::Chunks;
use super::mover::BALLAST;
use super::{Disk, FLUSH_EVERY_MS, SEGMENT_BYTES, SledOptions, ahead};

const FORMAT: &str = "the-well sled log, format 1\n";
/// sled lets go of its own lock when its last thread has ended, a moment after it was closed.
const SLED_LOCK_WAIT: Duration = Duration::from_secs(5);

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another log of this one, has the folder open.
    #[error("{folder} is in use by process {holder}; a log has one server at a time", folder = .folder.display())]
    Locked {
        /// The log's folder.
        folder: PathBuf,
        /// Its process id, or what stands in its place.
        holder: String,
    },
    /// The folder may not be read or written.
    #[error("no permission to {doing} {path}; give the folder to the server's user", path = .path.display())]
    Permission {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// There is no space.
    #[error("the disk is full: could not {doing} {path}", path = .path.display())]
    DiskFull {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The store was written by another version.
    #[error("{path} says {found:?}, and this build reads {FORMAT:?}; use the build that wrote it, or export and import", path = .path.display())]
    Version {
        /// The file that names the format.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// What is stored is damaged, and not only at its very end.
    #[error("the log in {folder} is damaged {at}: {what}; restore it from its archive or a backup", folder = .folder.display())]
    Damaged {
        /// The log's folder.
        folder: PathBuf,
        /// Where: a commit, a room, a file.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// The system refused something else.
    #[error("could not {doing} {path}: {error}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { doing, path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { doing, path }
            }
            _ => Self::Io {
                doing,
                path,
                error: error.to_string(),
            },
        }
    }

    pub(super) fn sled(doing: &'static str, folder: &Path, error: &sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::io(doing, folder, error),
            other => Self::Damaged {
                folder: folder.to_owned(),
                at: format!("where sled had to {doing} it"),
                what: other.to_string(),
            },
        }
    }
}

pub(super) fn open(folder: &Path, options: &SledOptions) -> Result<Disk, OpenError> {
    make_folder(folder)?;
    let lock = take_lock(folder)?;
    let store = folder.join("sled");
    if !store.exists() {
        create(folder, &store, options)?;
    }
    let format = store.join("FORMAT");
    let found = fs::read(&format).map_err(|error| OpenError::io("read", &format, &error))?;
    if found != FORMAT.as_bytes() {
        return Err(OpenError::Version {
            path: format,
            found: String::from_utf8_lossy(&found).into_owned(),
        });
    }
    remove_unfinished_snapshots(&store)?;
    let path = store.join("db");
    ahead::cut_off(&path).map_err(|error| OpenError::io("shorten", &path, &error))?;
    let db = open_sled(&store, options)?;
    // Left by a mover that stopped while it shrank the file.
    db.drop_tree(BALLAST)
        .map_err(|error| OpenError::sled("open", &store, &error))?;
    // Opening writes too: a torn end is cut off, a snapshot of sled's is renewed.
    sync_tree(&store)?;
    let file = File::open(&path).map_err(|error| OpenError::io("open", &path, &error))?;
    let append = File::options().append(true).open(&path);
    let append = append.map_err(|error| OpenError::io("open", &path, &error))?;
    let tree = |name: &str| {
        db.open_tree(name)
            .map_err(|error| OpenError::sled("open", &store, &error))
    };
    Ok(Disk {
        rooms: tree("rooms")?,
        chunks: Chunks {
            index: tree("chunks")?,
            bodies: tree("bodies")?,
        },
        db,
        file,
        append,
        acked: Acked::open(folder)?,
        path: folder.to_owned(),
        _lock: lock,
    })
}

fn make_folder(folder: &Path) -> Result<(), OpenError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|error| OpenError::io("create", folder, &error))?;
    // Every folder above may be new; syncing one that is not costs nothing.
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        match File::open(above).and_then(|above| above.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(OpenError::io("sync", above, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn take_lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut lock = opened.map_err(|error| OpenError::io("open", &path, &error))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            let holder = match holder.trim() {
                "" => "unknown".to_owned(),
                holder => holder.to_owned(),
            };
            return Err(OpenError::Locked {
                folder: folder.to_owned(),
                holder,
            });
        }
        Err(error) => return Err(OpenError::io("lock", &path, &error.into())),
    }
    // Only for people who wonder who has it; the lock itself is the kernel's.
    let noted = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    noted.map_err(|error| OpenError::io("write", &path, &error))?;
    Ok(lock)
}

fn create(folder: &Path, store: &Path, options: &SledOptions) -> Result<(), OpenError> {
    let new = folder.join("sled.new");
    if new.exists() {
        fs::remove_dir_all(&new).map_err(|error| OpenError::io("remove", &new, &error))?;
    }
    fs::create_dir(&new).map_err(|error| OpenError::io("create", &new, &error))?;
    let format = new.join("FORMAT");
    fs::write(&format, FORMAT).map_err(|error| OpenError::io("write", &format, &error))?;
    let db = open_sled(&new, options)?;
    for name in ["rooms", "chunks", "bodies"] {
        db.open_tree(name)
            .map_err(|error| OpenError::sled("create", &new, &error))?;
    }
    db.flush()
        .map_err(|error| OpenError::sled("create", &new, &error))?;
    drop(db);
    sync_tree(&new)?;
    fs::rename(&new, store).map_err(|error| OpenError::io("rename", &new, &error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| OpenError::io("sync", folder, &error))
}

fn open_sled(store: &Path, options: &SledOptions) -> Result<sled::Db, OpenError> {
    let since = Instant::now();
    loop {
        let config = sled::Config::default()
            .path(store)
            .cache_capacity(options.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(flush_every_ms(options)))
            .use_compression(false);
        // Damage makes sled panic in places.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(error)))
                if error.to_string().contains("could not acquire lock")
                    && since.elapsed() < SLED_LOCK_WAIT =>
            {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            Ok(Err(error)) => return Err(OpenError::sled("open", store, &error)),
            Err(panic) => {
                let what = panic.downcast_ref::<String>().cloned();
                let what = what.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                return Err(OpenError::Damaged {
                    folder: store.to_owned(),
                    at: "where sled read it".to_owned(),
                    what: what.unwrap_or_else(|| "sled panicked".to_owned()),
                });
            }
        }
    }
}

/// sled's thread syncs now and then, too: not when a test leaves syncing out.
const fn flush_every_ms(options: &SledOptions) -> u64 {
    #[cfg(any(test, feature = "testing"))]
    if matches!(options.sync, super::SyncMode::FlushOnly) {
        return 3_600_000;
    }
    let _ = options;
    FLUSH_EVERY_MS
}

/// A snapshot of sled's page table that was being written when the machine stopped keeps sled
/// from opening (spacejam/sled#1527), and is not needed.
fn remove_unfinished_snapshots(store: &Path) -> Result<(), OpenError> {
    for entry in entries(store)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let path = entry.path();
            tracing::warn!(path = %path.display(), "removing an unfinished snapshot of sled's");
            fs::remove_file(&path).map_err(|error| OpenError::io("remove", &path, &error))?;
        }
    }
    Ok(())
}

/// Makes every file of the store, and its folder, durable.
fn sync_tree(store: &Path) -> Result<(), OpenError> {
    let sync = |path: &Path| {
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(|error| OpenError::io("sync", path, &error))
    };
    for entry in entries(store)? {
        let path = entry.path();
        match sync(&path) {
            // sled removes old snapshots in its own time.
            Err(OpenError::Io { .. }) if !path.exists() => {}
            other => other?,
        }
    }
    sync(store)
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, OpenError> {
    fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(|error| OpenError::io("list", folder, &error))
}
