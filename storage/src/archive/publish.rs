//! Putting a segment into the archive: upload, read back, publish, read back.
//!
//! Each step is tried until it succeeds, because a manifest's fate must be known before another
//! with its number may be written. Dropping the archiver ends the trying.

use std::sync::Arc;

use bytes::Bytes;
use protocol::Timestamp;
use protocol::envelope::Damage;
use xxhash_rust::xxh3::xxh3_128;

use super::ArchiveError;
use super::archiver::{Step, Stop, Work};
use super::bucket::Failure;
use super::limits::MAX_MANIFEST_BYTES;
use super::manifest::Manifest;
use super::segment::{Sealed, SegmentId};
use super::settings::Contents;

/// How a manifest came out.
enum Fate {
    Ours,
    Anothers(Manifest),
    /// It is there and cannot be read.
    Damaged,
}

impl Work {
    /// Takes the archive over: checks that it is this log's, and publishes a manifest with the
    /// next epoch. Whoever wrote before finds that manifest in its way.
    pub(super) async fn take_over(&mut self) -> Result<(), Stop> {
        let random = || getrandom::u64().map_err(|error| ArchiveError::Log(error.to_string()));
        let writer = u128::from(random()?) << 64 | u128::from(random()?);
        self.archive.refresh().await?;
        self.check_bucket().await?;
        self.shared.checked.send_replace(Some(true));
        let newest = self.archive.inner.catalogue.read().manifest.clone();
        let manifest = Manifest {
            number: newest.number + 1,
            epoch: newest.epoch + 1,
            writer,
            at: self.now(),
            segments: newest.segments.clone(),
            replaced: Vec::new(),
        };
        let sealed = Bytes::from(manifest.seal());
        match self.create_manifest(manifest.number, &sealed).await? {
            Fate::Ours => {}
            Fate::Anothers(_) | Fate::Damaged => {
                // Another server starts as well: begin again after it.
                let doing = "take the archive over".to_owned();
                let why = "another server did so at the same moment".to_owned();
                return Err(ArchiveError::Store { doing, why }.into());
            }
        }
        self.step(Step::Published)?;
        self.epoch = manifest.epoch;
        self.writer = writer;
        self.manifests = [newest, manifest.clone()].into();
        (self.archive.inner.catalogue.write()).follow(manifest, &[]);
        self.tell();
        match self.options.contents {
            Contents::Everything => {
                tracing::info!(epoch = self.epoch, "the archive is open for writing");
            }
            // It lies beside the log, and nobody else writes to it.
            Contents::SnapshotsOnly => {
                tracing::debug!(
                    epoch = self.epoch,
                    "the stored snapshots are open for writing"
                );
            }
        }
        Ok(())
    }

    /// The newest manifest of this writer. Not the newest that a reader has found: going on after
    /// another writer's would pass by the fence.
    pub(super) fn ours(&self) -> &Manifest {
        // There is one since the archive was taken over.
        static NONE: Manifest = Manifest::NONE;
        self.manifests.back().unwrap_or(&NONE)
    }

    /// Whether a reader in this process has come upon another writer's manifest.
    pub(super) fn check_fence(&self) -> Result<(), ArchiveError> {
        let catalogue = self.archive.inner.catalogue.read();
        if catalogue.manifest.number > self.ours().number {
            let (epoch, by) = (self.epoch, catalogue.manifest.epoch);
            return Err(ArchiveError::Fenced { epoch, by });
        }
        Ok(())
    }

    /// The next segment's name.
    pub(super) const fn next_segment(&mut self) -> SegmentId {
        self.counter += 1;
        SegmentId {
            epoch: self.epoch,
            counter: self.counter,
        }
    }

    /// Uploads a segment and reads it back; under another name if what came to be there is not it.
    pub(super) async fn upload(&mut self, mut sealed: Sealed) -> Result<Sealed, Stop> {
        let mut garbled = 0;
        loop {
            let path = sealed.meta.id.to_string();
            let mut attempt = 0;
            loop {
                match self.bucket.create(&path, sealed.bytes.clone()).await {
                    // If it is not ours, reading it back will tell.
                    Ok(()) | Err(Failure::Exists) => break,
                    Err(failure) => {
                        let error = self.archive.inner.failed("write", &path, failure);
                        self.fails(&error);
                        self.backoff().pause(attempt).await;
                        attempt += 1;
                    }
                }
            }
            self.shared.working();
            self.step(Step::Uploaded)?;
            let max = sealed.bytes.len();
            let found = self.read_back(&path, max).await;
            if found.is_some_and(|found| xxh3_128(&found) == sealed.meta.hash) {
                self.step(Step::Checked)?;
                return Ok(sealed);
            }
            let id = self.next_segment();
            tracing::warn!(%path, now = %id, "a segment is not what was written; written again");
            self.fails(&ArchiveError::Damaged {
                object: path,
                room: None,
                seq: None,
                damage: Damage::Checksum,
            });
            self.backoff().pause(garbled).await;
            garbled += 1;
            sealed = sealed.renamed(id);
        }
    }

    /// What is at a path; `None` when nothing is, or something that cannot be what was written.
    async fn read_back(&self, path: &str, max: usize) -> Option<Bytes> {
        let mut attempt = 0;
        loop {
            match self.bucket.get(path, None, max).await {
                Ok(bytes) => return Some(bytes),
                // A store that does not show at once what it took will, and one that lost it
                // will not.
                Err(Failure::NotFound) if attempt > 8 => return None,
                Err(Failure::Exists) => return None,
                Err(failure @ (Failure::NotFound | Failure::Other(_))) => {
                    let error = self.archive.inner.failed("read back", path, failure);
                    self.fails(&error);
                    self.backoff().pause(attempt).await;
                    attempt += 1;
                }
            }
        }
    }

    /// Creates a manifest and finds out whose it is that is there then.
    async fn create_manifest(&self, number: u64, sealed: &Bytes) -> Result<Fate, Stop> {
        let path = Manifest::path(number);
        let mut attempt = 0;
        loop {
            match self.bucket.create(&path, sealed.clone()).await {
                Ok(()) | Err(Failure::Exists) => {}
                Err(failure) => {
                    let error = self.archive.inner.failed("write", &path, failure);
                    self.fails(&error);
                    self.backoff().pause(attempt).await;
                    attempt += 1;
                    continue;
                }
            }
            self.step(Step::Named)?;
            let Some(found) = self.read_back(&path, MAX_MANIFEST_BYTES).await else {
                attempt += 1;
                continue;
            };
            self.shared.working();
            if found == *sealed {
                return Ok(Fate::Ours);
            }
            return Ok(match Manifest::open(number, &found) {
                Ok(manifest) => Fate::Anothers(manifest),
                Err(_) => Fate::Damaged,
            });
        }
    }

    /// Publishes new segments in place of others.
    pub(super) async fn publish(
        &mut self,
        new: &[Sealed],
        replaced: Vec<SegmentId>,
    ) -> Result<(), Stop> {
        let mut manifest = self.ours().clone();
        manifest.segments.retain(|s| !replaced.contains(&s.id));
        manifest
            .segments
            .extend(new.iter().map(|sealed| sealed.meta));
        manifest.replaced = replaced;
        manifest.epoch = self.epoch;
        manifest.writer = self.writer;
        manifest.at = self.now();
        loop {
            manifest.number += 1;
            let sealed = Bytes::from(manifest.seal());
            match self.create_manifest(manifest.number, &sealed).await? {
                Fate::Ours => break,
                Fate::Anothers(other) if other.writer == self.writer => {
                    // Only this task writes with this name, and it knows each one's fate.
                    return Err(ArchiveError::Stopped.into());
                }
                Fate::Anothers(other) => {
                    let (epoch, by) = (self.epoch, other.epoch);
                    return Err(ArchiveError::Fenced { epoch, by }.into());
                }
                // Ours or not, nobody can read it: the next number counts.
                Fate::Damaged => tracing::warn!(
                    number = manifest.number,
                    "a manifest is not what was written; written again with the next number"
                ),
            }
        }
        self.step(Step::Published)?;
        let new: Vec<_> = (new.iter())
            .map(|sealed| (sealed.meta, Arc::new(sealed.index.clone())))
            .collect();
        {
            let mut indexes = self.archive.inner.indexes.lock();
            for (meta, index) in &new {
                indexes.put(meta.id, Arc::clone(index), index.bytes);
            }
        }
        (self.archive.inner.catalogue.write()).follow(manifest.clone(), &new);
        self.manifests.push_back(manifest);
        while self.manifests.len() > self.options.keep_manifests.max(1) {
            self.manifests.pop_front();
        }
        self.tell();
        Ok(())
    }

    /// Brings the status up to what is published.
    fn tell(&self) {
        let catalogue = self.archive.inner.catalogue.read();
        let mut state = self.shared.state.lock();
        state.status.epoch = Some(self.epoch);
        state.status.manifest = catalogue.manifest.number;
        state.status.segments = catalogue.manifest.segments.len() as u64;
        state.status.stored_bytes = (catalogue.manifest.segments.iter())
            .map(|segment| segment.length)
            .sum();
    }

    pub(super) fn now(&self) -> Timestamp {
        let since = (self.options.clock)()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(since.as_micros().min(u128::from(u64::MAX)) as u64)
    }
}
