//! Where a command finds rooms: a data folder, an archive, or both.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use protocol::RoomName;
use replay::{History, Span, Stores};
use storage::archive::{self, Archive, ArchivedLog, Snapshot};
use storage::{Log, SledOptions};

use crate::config::Places;
use crate::stores;

/// Where records are that are not here.
pub(crate) const GONE: &str =
    "they are in the archive, if one was kept (--archive), or gone for good";

/// What is said where a command needs an archive.
pub(crate) const NO_ARCHIVE: &str =
    "which archive? Say --archive URL, or [archive] url in the configuration";

/// Which rooms' history a command reads.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// The data folder; no server may have it open [default: `data` of the configuration, else
    /// ./well-data; none where --archive is said and this is not]
    #[arg(long, env = "WELL_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// An archive: beside the data folder, or alone; "" for none [default: `[archive] url` of the
    /// configuration]
    #[arg(long, env = "WELL_ARCHIVE", value_name = "URL")]
    pub(crate) archive: Option<String>,
    /// A configuration file, for its data folder, archive and spaces; without one, well.toml is read
    /// if it is there
    #[arg(long, env = "WELL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// An open source.
pub(crate) struct Opened {
    pub(crate) history: History,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) archive: Option<Archive>,
    pub(crate) snapshots: Option<Archive>,
}

impl Source {
    /// Opens what there is; for reading only, though a log is recovered when it is opened.
    pub(crate) async fn open(&self) -> anyhow::Result<Opened> {
        let (data, archive) = (self.data.as_ref(), self.archive.as_ref());
        let places = Places::find(self.config.as_deref(), data, archive)?;
        let alone = data.is_none() && archive.is_some_and(|url| !url.is_empty());
        let archive = match &places.archive {
            Some(url) => Some(open_archive(url).await?),
            None => None,
        };
        let (log, snapshots): (Arc<dyn Log>, _) = match &archive {
            Some(archive) if alone => (Arc::new(ArchivedLog::new(archive.clone())), None),
            _ => {
                let data = places.data;
                if !data.is_dir() {
                    bail!("there is no data folder {}", data.display());
                }
                if !stores::holds_log(&data) {
                    bail!("{} holds no log: no server has run on it", data.display());
                }
                if stores::restores_from(&data).is_some() {
                    eprintln!(
                        "{} is restored only in part: rooms may lack records",
                        data.display()
                    );
                }
                let log = stores::open_log(&data, SledOptions::default())?;
                let options = stores::archive_options();
                (log, Some(stores::open_snapshots(&data, options).await?))
            }
        };
        let stores = Stores {
            log: Arc::clone(&log),
            snapshots: snapshots.clone(),
            archive: Arc::default(),
            awaits_archive: false,
        };
        if let Some(archive) = archive.clone() {
            // It is set here only.
            let _ = stores.archive.set(archive);
        }
        let spaces = places.spaces;
        let kind_of = move |space: &str| {
            let space = spaces.get(space);
            space.map_or(replay::Kind::Opaque, |space| space.kind)
        };
        Ok(Opened {
            history: History::new(stores, Arc::new(kind_of)),
            log,
            archive,
            snapshots,
        })
    }
}

/// An archive by its address, to read: one that is not there is an error, and is not made.
pub(crate) async fn open_archive(url: &str) -> anyhow::Result<Archive> {
    let options = archive::Options {
        must_exist: true,
        ..stores::archive_options()
    };
    let archive = Archive::open(url, options).await;
    let archive = archive.with_context(|| format!("the archive {url}"))?;
    if !archive.is_begun() {
        bail!("there is no archive at {url}: nothing has ever been archived there");
    }
    Ok(archive)
}

impl Opened {
    /// Lets go of the log; nothing that it holds is lost without.
    pub(crate) async fn close(&self) {
        self.log.close().await;
    }

    /// What a room begins with whose first records are gone, and says that they are. `None` if there
    /// is nothing, so that no document can be had of the rest.
    pub(crate) async fn base(
        &self,
        room: &RoomName,
        span: &Span,
    ) -> anyhow::Result<Option<Snapshot>> {
        let start = span.start.seq;
        let gone = format!("the records of {room} up to seq {start} are not here: {GONE}");
        match self.history.first_snapshot(room, span).await {
            Ok(Some(base)) => {
                let seq = base.head.seq;
                eprintln!("{gone}. The snapshot at seq {seq} stands for them");
                Ok(Some(base))
            }
            Ok(None) => {
                eprintln!("{gone}. No snapshot stands for them, so {room} is not exported");
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("the snapshots of {room}")),
        }
    }

    /// The rooms that are chosen, one page after another.
    pub(crate) async fn rooms(
        &self,
        chosen: &Chosen,
        after: Option<&RoomName>,
    ) -> anyhow::Result<Vec<RoomName>> {
        if let Chosen::Room(room) = chosen {
            return Ok(if after.is_none_or(|after| room > after) {
                vec![room.clone()]
            } else {
                Vec::new()
            });
        }
        let mut after = after.cloned();
        loop {
            let page = self.log.rooms(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(Vec::new());
            };
            after = Some(last.room.clone());
            let rooms = page.into_iter().map(|row| row.room);
            let rooms: Vec<RoomName> = rooms.filter(|room| chosen.has(room)).collect();
            if !rooms.is_empty() {
                return Ok(rooms);
            }
        }
    }
}

/// How many rooms are looked up at once.
const PAGE: usize = 1_000;

/// Which rooms: one, a space, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    Room(RoomName),
    Space(String),
    All,
}

impl Chosen {
    /// `space/name`, `space/*` or `*`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        if text == "*" || text == "*/*" {
            return Ok(Self::All);
        }
        if let Some(space) = text.strip_suffix("/*") {
            RoomName::new(space, "name").with_context(|| format!("the space {space:?}"))?;
            return Ok(Self::Space(space.to_owned()));
        }
        let room = RoomName::parse(text);
        Ok(Self::Room(room.with_context(|| {
            format!("{text:?} is no room (space/name), space (space/*) or \"*\"")
        })?))
    }

    fn has(&self, room: &RoomName) -> bool {
        match self {
            Self::Room(chosen) => room == chosen,
            Self::Space(space) => room.space() == space,
            Self::All => true,
        }
    }
}
