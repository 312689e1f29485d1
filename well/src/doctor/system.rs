//! The process's surroundings: its clock, its limits, its memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};

use super::Finding;

/// Ten thousand connections and the log's files.
const OPEN_FILES: u64 = 16_384;
/// Below this a server is of no use.
const OPEN_FILES_LEAST: u64 = 1_024;
/// What caches and folds may take by default, and rooms beside them.
const MEMORY: u64 = 1 << 30;
/// When this version did not exist yet: 2026-01-01.
const NOT_BEFORE: Duration = Duration::from_secs(1_767_225_600);
/// What a clock may be behind what was written by it.
const TOLERANCE: Duration = Duration::from_secs(5);

pub(super) fn version() -> Finding {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    Finding::good(
        "version",
        format!("well {version}, kernel {}", kernel.trim()),
    )
}

/// The wall clock, beside when the data folder was last written.
pub(super) fn clock(data: &Path) -> Finding {
    let advice =
        "set the clock and keep it with NTP (chrony, systemd-timesyncd): records are dated by it";
    let now = SystemTime::now();
    let told = humantime::format_rfc3339_seconds(now);
    if now < SystemTime::UNIX_EPOCH + NOT_BEFORE {
        return Finding::bad("clock", format!("it says {told}, which is past"), advice);
    }
    match newest(data) {
        Some(written) if written > now + TOLERANCE => {
            let written = humantime::format_rfc3339_seconds(written);
            let found = format!("it says {told}, and the data was written at {written}");
            Finding::bad("clock", found, advice)
        }
        _ => Finding::good("clock", format!("it says {told}")),
    }
}

/// When anything in the data folder or right below it was last written.
fn newest(data: &Path) -> Option<SystemTime> {
    let within = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut paths = within(data);
    let below: Vec<_> = paths.iter().flat_map(|path| within(path)).collect();
    paths.extend(below);
    let times = paths
        .iter()
        .filter_map(|path| path.metadata().ok()?.modified().ok());
    times.max()
}

pub(super) fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    let advice =
        "raise it: `LimitNOFILE=` in a systemd unit, `ulimits` of a container, limits.conf";
    match limit {
        None => Finding::good("open files", "no limit"),
        Some(limit) => {
            let found = format!("at most {limit}; each connection takes one");
            match limit {
                0..OPEN_FILES_LEAST => Finding::bad("open files", found, advice),
                OPEN_FILES_LEAST..OPEN_FILES => Finding::poor("open files", found, advice),
                _ => Finding::good("open files", found),
            }
        }
    }
}

pub(super) fn memory() -> Finding {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    });
    match available {
        None => Finding::poor("memory", "it cannot be told", "look with `free`"),
        Some(bytes) if bytes < MEMORY => Finding::poor(
            "memory",
            format!("{} available", ByteSize(bytes)),
            "lower `[limits] rooms_loaded`, or give the machine a gigabyte more",
        ),
        Some(bytes) => Finding::good("memory", format!("{} available", ByteSize(bytes))),
    }
}
