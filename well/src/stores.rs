//! Opening what a data folder and an archive hold.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use broker::{Awaited, Snapshots};
use protocol::{RoomName, Seq};
use replay::{History, Stores};
use storage::archive::{self, Archive, Archiver, ArchiverOptions, Contents};
use storage::{Log, SledLog, SledOptions, SplitLog};
use tokio::runtime::Handle;

use crate::config::{Config, Store};

/// Where the data folder keeps snapshots.
const SNAPSHOTS: &str = "snapshots";
/// Where damaged ones are set aside.
const SNAPSHOTS_ASIDE: &str = "snapshots.damaged";
/// There while a restore is not finished, with the address of the archive.
const RESTORING: &str = "restoring";
/// How long a snapshot waits for others to share its segment.
const SNAPSHOTS_ROLL_AFTER: Duration = Duration::from_secs(10);
/// How long the start waits for an archive within reach to be compared with the log.
const COMPARE_TIME: Duration = Duration::from_secs(1);
/// The longest pause between two tries to reach the archive at the start.
const REACH_AGAIN: Duration = Duration::from_secs(30);

/// The most that pages of the log take in memory.
const LOG_CACHE_BYTES: usize = 64 << 20;

/// What caches take of the memory that clients may make the process hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caches {
    /// Documents of the past.
    pub(crate) frames: usize,
    /// Indexes of one archive, and as much for its blocks. The snapshots of this machine are another.
    pub(crate) archive: usize,
    /// Pages of the log.
    pub(crate) log: usize,
}

impl Caches {
    /// A quarter of `memory` for the past and a sixteenth for the log, as long as that is not more than is
    /// of use.
    pub(crate) fn of(memory: usize) -> Self {
        let usual = archive::Options::default();
        Self {
            frames: (memory / 8).min(replay::limits::FRAME_CACHE_BYTES),
            archive: (memory / 32).min(usual.block_cache_bytes),
            log: (memory / 16).min(LOG_CACHE_BYTES),
        }
    }

    /// What they take together.
    pub(crate) const fn bytes(self) -> usize {
        self.frames + 4 * self.archive + self.log
    }

    fn archive_options(self) -> archive::Options {
        archive::Options {
            index_cache_bytes: self.archive,
            block_cache_bytes: self.archive,
            ..archive_options()
        }
    }
}

/// How archives are opened: with the environment's credentials.
pub(crate) fn archive_options() -> archive::Options {
    archive::Options {
        variables: std::env::vars().collect(),
        ..archive::Options::default()
    }
}

/// The log of a data folder.
pub(crate) fn open_log(data: &Path, options: SledOptions) -> anyhow::Result<Arc<dyn Log>> {
    let log =
        SledLog::open(data, options).with_context(|| format!("the log in {}", data.display()))?;
    Ok(Arc::new(log))
}

/// Whether a log has been begun in a folder.
pub(crate) fn holds_log(data: &Path) -> bool {
    data.join("sled").is_dir() || data.join("sled.new").is_dir()
}

/// Notes that a data folder is being filled from an archive; [`restored`] takes it back.
pub(crate) fn begin_restore(data: &Path, archive: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(data)
        .and_then(|()| std::fs::write(data.join(RESTORING), archive))
        .with_context(|| format!("{} cannot be written", data.display()))
}

/// Notes that a data folder has all that the archive had.
pub(crate) fn restored(data: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(data.join(RESTORING))
        .with_context(|| format!("{} cannot be removed", data.join(RESTORING).display()))
}

/// The archive from which a data folder is still to be filled: a room of it may lack its end, whose Seqs
/// a server would give again.
pub(crate) fn restores_from(data: &Path) -> Option<String> {
    match std::fs::read(data.join(RESTORING)) {
        Ok(archive) => Some(String::from_utf8_lossy(&archive).into_owned()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            None
        }
        // It is there, whatever it says.
        Err(_) => Some("URL".to_owned()),
    }
}

/// The snapshots of a data folder, read with these options.
pub(crate) async fn open_snapshots(
    data: &Path,
    options: archive::Options,
) -> anyhow::Result<Archive> {
    let folder = data.join(SNAPSHOTS);
    let failed = || format!("the snapshots in {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(failed)?;
    let url = file_url(&folder.canonicalize().with_context(failed)?);
    let archive = Archive::open(&url, options).await;
    archive.with_context(failed)
}

/// The snapshots of a data folder; damaged ones are set aside and begun anew. They are only a
/// shorter way through the log, so they may not keep a server from starting.
async fn open_or_begin_snapshots(
    data: &Path,
    options: archive::Options,
) -> anyhow::Result<Archive> {
    match open_snapshots(data, options.clone()).await {
        Err(error) => {
            let (folder, aside) = (data.join(SNAPSHOTS), data.join(SNAPSHOTS_ASIDE));
            tracing::warn!(error = format!("{error:#}"), aside = %aside.display(),
                "the stored snapshots cannot be read; they are set aside and made anew");
            if aside.exists() {
                std::fs::remove_dir_all(&aside)
                    .with_context(|| format!("{} is in the way", aside.display()))?;
            }
            std::fs::rename(&folder, &aside)
                .with_context(|| format!("{} cannot be set aside", folder.display()))?;
            open_snapshots(data, options).await
        }
        opened => opened,
    }
}

/// The path that an address names: a path as it is, or that of a `file://` URL. `None` for another
/// URL.
pub(crate) fn path_of(address: &str) -> anyhow::Result<Option<PathBuf>> {
    if !address.contains("://") {
        return Ok(Some(PathBuf::from(address)));
    }
    let url = url::Url::parse(address).with_context(|| format!("{address} is no URL"))?;
    if url.scheme() != "file" {
        return Ok(None);
    }
    let path = url.to_file_path();
    let path = path.map_err(|()| anyhow::anyhow!("{address} names no file of this machine"))?;
    Ok(Some(path))
}

/// The URL of an absolute path.
pub(crate) fn file_url(path: &Path) -> String {
    let mut out = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// How many rooms are looked at together.
const PAGE: usize = 1000;

/// The log, with one in memory beside it for the rooms of ephemeral spaces.
///
/// A space that has had rooms on disk does not become ephemeral: they would be there, and never be seen.
async fn beside_memory(config: &Config, log: &Arc<dyn Log>) -> anyhow::Result<Arc<dyn Log>> {
    let ephemeral = config.ephemeral_spaces();
    if ephemeral.is_empty() {
        return Ok(Arc::clone(log));
    }
    let mut after = None;
    loop {
        let rooms = log.all_rooms(after.as_ref(), PAGE).await?;
        let of_it = |row: &&storage::RoomRow| ephemeral.contains(row.room.space());
        if let Some(row) = rooms.iter().find(of_it) {
            bail!(
                "the space {} is to be ephemeral, and has had rooms on disk, as {}: give it another name",
                row.room.space(),
                row.room
            );
        }
        match rooms.into_iter().last() {
            Some(last) => after = Some(last.room),
            None => break,
        }
    }
    let is_ephemeral = Arc::new(move |space: &str| ephemeral.contains(space));
    let log = SplitLog::new(Arc::clone(log), is_ephemeral, config.ephemeral_bytes);
    Ok(Arc::new(log))
}

/// Everything that a serving Well keeps.
pub(crate) struct Kept {
    pub(crate) history: History,
    pub(crate) snapshots: Snapshots,
}

/// Opens the log and the snapshots, and begins to reach for the archive; what archives runs in the
/// background.
pub(crate) async fn open(
    config: &Config,
    log: Arc<dyn Log>,
    observer: Arc<dyn archive::Observer>,
    background: &Handle,
) -> anyhow::Result<Kept> {
    let snapshots = match config.store {
        Store::Sled if config.snapshots => {
            let options = config.caches.archive_options();
            Some(open_or_begin_snapshots(&config.data, options).await?)
        }
        Store::Sled | Store::Memory => None,
    };
    let local = snapshots.clone().map(|snapshots| {
        let options = ArchiverOptions {
            contents: Contents::SnapshotsOnly,
            roll_after: SNAPSHOTS_ROLL_AFTER,
            runtime: Some(background.clone()),
            ..ArchiverOptions::default()
        };
        Archiver::start(Arc::clone(&log), snapshots, options, Arc::new(()))
    });
    let stores = Stores {
        log: beside_memory(config, &log).await?,
        snapshots: snapshots.clone(),
        archive: Arc::default(),
        awaits_archive: config.archive.url.is_some(),
    };
    let awaited = Arc::default();
    if let Some(url) = &config.archive.url {
        let reach = Reach {
            url: url.clone(),
            opening: config.caches.archive_options(),
            options: archiver_options(config, snapshots, background),
            log,
            archive: Arc::clone(&stores.archive),
            awaited: Arc::clone(&awaited),
            observer,
        };
        reach.start().await?;
    }
    let spaces = config.spaces.clone();
    // The gateway lets only configured spaces in.
    let kind_of = move |space: &str| {
        let space = spaces.get(space);
        space.map_or(replay::Kind::Opaque, |space| space.kind)
    };
    let spaces = config.spaces.clone();
    let rule_of = move |space: &str| {
        let space = spaces.get(space);
        space.map(|space| space.snapshots).unwrap_or_default()
    };
    Ok(Kept {
        history: History::with_frames(stores, Arc::new(kind_of), config.caches.frames),
        snapshots: Snapshots::new(local, awaited, Arc::new(rule_of)),
    })
}

fn archiver_options(
    config: &Config,
    snapshots: Option<Archive>,
    background: &Handle,
) -> ArchiverOptions {
    let spaces = config.spaces.clone();
    ArchiverOptions {
        bases: snapshots.clone(),
        runtime: Some(background.clone()),
        keep_local: config.archive.keep_local,
        // A room must load while the bucket is away, so what is trimmed lies before a snapshot
        // that this machine has.
        trim_floor: Arc::new(move |room: &RoomName| {
            let snapshots = snapshots.as_ref().map(|local| local.snapshots(room));
            let newest = snapshots.and_then(|heads| heads.last().copied());
            newest.map_or(Seq::ZERO, |head| head.seq)
        }),
        retention: Arc::new(move |space: &str| {
            let space = spaces.get(space);
            space.map(|space| space.retention).unwrap_or_default()
        }),
        ..ArchiverOptions::default()
    }
}

/// Reaching an archive, for as long as it takes.
struct Reach {
    url: String,
    opening: archive::Options,
    options: ArchiverOptions,
    log: Arc<dyn Log>,
    archive: Arc<OnceLock<Archive>>,
    awaited: Arc<Awaited>,
    observer: Arc<dyn archive::Observer>,
}

impl Reach {
    /// Tries once, and goes on in the background if the store does not answer. A wrong address or
    /// a damaged archive is an error: it will not mend itself.
    async fn start(self) -> anyhow::Result<()> {
        match Archive::open(&self.url, self.opening.clone()).await {
            Ok(archive) => {
                let attached = tokio::spawn(self.attach(archive));
                // It goes on by itself if that takes longer.
                let _ = tokio::time::timeout(COMPARE_TIME, attached).await;
            }
            Err(error) if error.may_pass() => {
                tracing::warn!("the archive cannot be reached yet; rooms are served without");
                self.failed(error);
                tokio::spawn(self.go_on());
            }
            Err(error) => return Err(error).context("the archive"),
        }
        Ok(())
    }

    async fn go_on(self) {
        let mut pause = Duration::from_secs(1);
        loop {
            tokio::time::sleep(pause).await;
            match Archive::open(&self.url, self.opening.clone()).await {
                Ok(archive) => {
                    tracing::info!("the archive is within reach now");
                    self.attach(archive).await;
                    return;
                }
                Err(error) => self.failed(error),
            }
            pause = (pause * 2).min(REACH_AGAIN);
        }
    }

    /// It is told at `/readyz`, counted and logged.
    fn failed(&self, error: archive::ArchiveError) {
        self.observer.failed(&error);
        self.awaited.failed(error);
    }

    /// Archives to it; and lets rooms be read from it once it is known to be that of this log. In
    /// that of another, rooms of the same names have other pasts.
    async fn attach(self, archive: Archive) {
        let archiver = Archiver::start(self.log, archive.clone(), self.options, self.observer);
        let ours = archiver.is_of_this_log();
        self.awaited.reached(archiver);
        if ours.await {
            // It is set here only, and once.
            let _ = self.archive.set(archive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_a_restore_is_one_whatever_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert_eq!(restores_from(data), None);
        assert_eq!(restores_from(&data.join("not there")), None);
        begin_restore(data, "file:///archive").unwrap();
        assert_eq!(restores_from(data).as_deref(), Some("file:///archive"));
        std::fs::write(data.join(RESTORING), [0xFF]).unwrap();
        assert!(restores_from(data).is_some());
        restored(data).unwrap();
        assert_eq!(restores_from(data), None);
    }
}
