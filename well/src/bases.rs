//! What rooms begin with whose first records are gone: snapshots, put beside a log that was restored
//! or imported, so that it can be read without the archive that it came from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use storage::Log;
use storage::archive::{Archiver, ArchiverOptions, Contents, Snapshot};

use crate::stores;

/// How long the snapshots may take to be written.
const FLUSH_TIME: Duration = Duration::from_secs(600);

/// Writes snapshots beside a log. Each is compared with the log that it is put beside.
pub(crate) struct Bases {
    archiver: Archiver,
    kept: u64,
}

impl Bases {
    /// Of the log in `data`.
    pub(crate) async fn open(data: &Path, log: &Arc<dyn Log>) -> anyhow::Result<Self> {
        let snapshots = stores::open_snapshots(data, stores::archive_options()).await?;
        let options = ArchiverOptions {
            contents: Contents::SnapshotsOnly,
            ..ArchiverOptions::default()
        };
        let archiver = Archiver::start(Arc::clone(log), snapshots, options, Arc::new(()));
        Ok(Self { archiver, kept: 0 })
    }

    /// Puts one there; its record must be in the log.
    pub(crate) async fn keep(&mut self, snapshot: Snapshot) -> anyhow::Result<()> {
        let name = format!(
            "the snapshot of {} at seq {}",
            snapshot.room, snapshot.head.seq
        );
        snapshot.check().with_context(|| name.clone())?;
        self.kept += 1;
        if self.archiver.offer(snapshot.clone()) {
            return Ok(());
        }
        // Others wait.
        self.flush().await?;
        if !self.archiver.offer(snapshot) {
            bail!("{name} cannot be written");
        }
        Ok(())
    }

    /// All that were kept are there.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        if self.kept > 0 {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&self) -> anyhow::Result<()> {
        let flushed = self.archiver.flush(FLUSH_TIME).await;
        flushed.context("the snapshots cannot be written")?;
        if self.archiver.status().refused_snapshots > 0 {
            bail!("a snapshot is of another history than its room's");
        }
        Ok(())
    }
}
