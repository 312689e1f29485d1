//! What has been written this month, kept in a file so that it outlives the process.
//!
//! Counting waits for no disk: the file is written every [`USAGE_EVERY`], beside the old one, and put in its
//! place. A process that is killed loses what was counted since; nothing is counted twice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use broker::Tenant;
use broker::usage::{Row, Usage};
use parking_lot::Mutex;
use protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Gateway;
use crate::limits::USAGE_EVERY;

/// Where it is kept.
#[derive(Debug)]
pub struct UsageFile {
    path: PathBuf,
    /// What stands in it.
    written: Mutex<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The month that is counted, `2026-11`, in UTC.
    month: String,
    accounts: Vec<KeptRow>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRow {
    space: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    records: u64,
    bytes: u64,
}

/// The month of a moment, `2026-11`.
pub(crate) fn month(now: Timestamp) -> String {
    let mut date = now.date();
    date.truncate(date.len() - "-01".len());
    date
}

impl UsageFile {
    /// Goes on from what the file says of the month of `now`; it need not be there.
    ///
    /// # Errors
    /// If it cannot be read, or says something else.
    pub fn open(path: &Path, usage: &Usage, now: Timestamp) -> io::Result<Self> {
        let written = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        if !written.is_empty() {
            let kept: Kept = serde_json::from_slice(&written).map_err(|error| {
                let why =
                    format!("it says nothing of usage: {error}; without it counting begins anew");
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?;
            if kept.month == month(now) {
                let rows: Vec<Row> = kept.accounts.into_iter().map(Row::from).collect();
                usage.restore(&rows, now);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            written: Mutex::new(written),
        })
    }

    /// Writes down what has been counted, unless that is there already. Waits for the disk.
    ///
    /// # Errors
    /// If it cannot be written; what was there stays.
    pub fn save(&self, usage: &Usage, now: Timestamp) -> io::Result<()> {
        // Held to the end, so that of two who write the later has the last word.
        let mut written = self.written.lock();
        let kept = Kept {
            month: month(now),
            accounts: usage.rows(now).into_iter().map(KeptRow::from).collect(),
        };
        let bytes = serde_json::to_vec(&kept)?;
        if *written == bytes {
            return Ok(());
        }
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        *written = bytes;
        Ok(())
    }
}

impl From<KeptRow> for Row {
    fn from(kept: KeptRow) -> Self {
        Self {
            space: kept.space,
            tenant: kept.tenant.as_deref().and_then(Tenant::new),
            records: kept.records,
            bytes: kept.bytes,
        }
    }
}

impl From<Row> for KeptRow {
    fn from(row: Row) -> Self {
        Self {
            space: row.space,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            records: row.records,
            bytes: row.bytes,
        }
    }
}

/// Writes down every now and then what has been counted. Never returns.
pub async fn keep(gateway: Gateway) {
    loop {
        tokio::time::sleep(USAGE_EVERY).await;
        save(&gateway).await;
    }
}

/// Writes down what has been counted, if it is kept.
pub async fn save(gateway: &Gateway) {
    let gateway = gateway.clone();
    let saving = tokio::task::spawn_blocking(move || {
        let Some(file) = gateway.usage_file() else {
            return;
        };
        let (usage, now) = (gateway.broker().usage(), gateway.wall_time());
        if let Err(error) = file.save(usage, now) {
            tracing::warn!(%error, path = %file.path.display(), "usage could not be written down; it is tried again");
        }
    });
    if let Err(error) = saving.await {
        tracing::warn!(%error, "usage could not be written down; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use broker::Monthly;

    use super::*;

    const NOVEMBER: Timestamp = Timestamp::from_micros(1_795_520_879_000_000);

    fn counted() -> Usage {
        let usage = Usage::default();
        let acme = Tenant::new("acme \"ä\"").unwrap();
        let some = Monthly::default();
        usage.of_space("pit").take(7, some, NOVEMBER).unwrap();
        let account = usage.of_tenant("pit", &acme).unwrap();
        account.take(9, some, NOVEMBER).unwrap();
        usage
    }

    #[test]
    fn what_is_counted_outlives_the_process_and_not_the_month() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.json");
        let usage = counted();
        let file = UsageFile::open(&path, &Usage::default(), NOVEMBER).unwrap();
        file.save(&usage, NOVEMBER).unwrap();
        let again = Usage::default();
        let file = UsageFile::open(&path, &again, NOVEMBER).unwrap();
        assert_eq!(again.rows(NOVEMBER), usage.rows(NOVEMBER));
        // What stands there is not written again.
        fs::remove_file(&path).unwrap();
        file.save(&again, NOVEMBER).unwrap();
        assert!(!path.exists());
        again
            .of_space("pit")
            .take(1, Monthly::default(), NOVEMBER)
            .unwrap();
        file.save(&again, NOVEMBER).unwrap();
        let december = NOVEMBER.month_end();
        let later = Usage::default();
        UsageFile::open(&path, &later, december).unwrap();
        assert_eq!(later.rows(december), []);
    }

    #[test]
    fn a_file_that_says_something_else_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.json");
        for wrong in [
            "{",
            "[]",
            r#"{"month":"2026-11"}"#,
            r#"{"month":"2026-11","accounts":[{}]}"#,
        ] {
            fs::write(&path, wrong).unwrap();
            let error = UsageFile::open(&path, &Usage::default(), NOVEMBER).unwrap_err();
            assert!(
                error.to_string().contains("begins anew"),
                "{wrong}: {error}"
            );
        }
    }
}
