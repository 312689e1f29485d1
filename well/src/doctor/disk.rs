//! Whether the data folder keeps what it is given, and how fast.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use rustix::fs::{StatVfs, statfs, statvfs};
use tempfile::NamedTempFile;

use super::Finding;

/// How many syncs are timed.
const SYNCS: usize = 100;
/// Bytes before each sync: about what a small commit has.
const COMMIT_BYTES: usize = 4096;
/// The slowest syncs that are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever answers faster has not asked a device: a system call alone takes a microsecond or two.
pub(crate) const TOO_FAST: Duration = Duration::from_micros(8);
/// A 99th percentile over this is felt: the objective for acks is 50 ms.
pub(crate) const SLOW: Duration = Duration::from_millis(20);
/// So much must be free, or commits will soon fail.
const LEAST_FREE: u64 = 512 << 20;

/// File systems that are not on a medium, by the magic numbers of statfs(2).
const VOLATILE: [(i64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
/// Those of which a sync's promise is another machine's, and locks are not to be relied on.
const REMOTE: [(i64, &str); 4] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
];

pub(super) fn examine(data: &Path) -> Vec<Finding> {
    let folder = match writable(data) {
        Ok(folder) => folder,
        Err(finding) => return vec![finding],
    };
    let found = format!("{} can be written", data.display());
    let mut findings = vec![Finding::good("data folder", found)];
    findings.push(medium(&folder));
    findings.push(match statvfs(&folder) {
        Ok(stat) => space(&stat),
        Err(error) => Finding::poor(
            "disk space",
            format!("it cannot be told: {error}"),
            "look with `df`",
        ),
    });
    findings.push(syncs(&folder));
    findings
}

/// The folder, or the nearest one above it that is there: on the same disk, as a rule.
pub(crate) fn nearest(data: &Path) -> PathBuf {
    let mut folder = data.to_path_buf();
    while !folder.exists() && folder.pop() {}
    if folder.as_os_str().is_empty() {
        folder = PathBuf::from(".");
    }
    folder
}

/// The nearest folder, if a file can be made in it.
fn writable(data: &Path) -> Result<PathBuf, Finding> {
    let advice = "give --data a folder that the server's user owns";
    let folder = nearest(data);
    if !folder.is_dir() {
        let found = format!("{} is not a folder", folder.display());
        return Err(Finding::bad("data folder", found, advice));
    }
    match tempfile::Builder::new()
        .prefix(".doctor")
        .tempfile_in(&folder)
    {
        Ok(_) => Ok(folder),
        Err(error) => {
            let found = format!("nothing can be made in {}: {error}", folder.display());
            Err(Finding::bad("data folder", found, advice))
        }
    }
}

fn medium(folder: &Path) -> Finding {
    let Ok(stat) = statfs(folder) else {
        return Finding::poor("medium", "it cannot be told", "look with `df -T`");
    };
    let of = |kinds: &[(i64, &'static str)]| {
        let kind = kinds.iter().find(|(magic, _)| *magic == stat.f_type);
        kind.map(|(_, name)| *name)
    };
    if let Some(name) = of(&VOLATILE) {
        let found = format!("the data folder is on {name}, which is memory");
        return Finding::bad("medium", found, "put the data folder on a disk");
    }
    if let Some(name) = of(&REMOTE) {
        let found = format!("the data folder is on {name}: a sync is as good as the other side's");
        return Finding::poor("medium", found, "put the data folder on a local disk");
    }
    Finding::good("medium", "a local file system")
}

fn space(stat: &StatVfs) -> Finding {
    let (free, size) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let found = format!("{} free of {}", ByteSize(free), ByteSize(size));
    let advice = "make room, or archive (--archive) and let retention trim";
    if free < LEAST_FREE || free < size / 50 {
        return Finding::bad("disk space", found, advice);
    }
    if stat.f_files > 0 && stat.f_favail < stat.f_files / 100 {
        let found = format!("{found}, but {} inodes", stat.f_favail);
        return Finding::bad(
            "disk space",
            found,
            "remove small files from that file system",
        );
    }
    if free < size / 10 {
        return Finding::poor("disk space", found, advice);
    }
    Finding::good("disk space", found)
}

/// Times appends with a sync each, as the log makes them.
fn syncs(folder: &Path) -> Finding {
    let preloaded = std::env::var("LD_PRELOAD").unwrap_or_default();
    if preloaded.contains("eatmydata") {
        let found = format!("LD_PRELOAD={preloaded} makes every sync a lie");
        return Finding::bad("sync", found, "start the server without it");
    }
    let began = Instant::now();
    let go_on = |done| done < SYNCS && began.elapsed() < PATIENCE;
    let timed = Bare::new(folder, COMMIT_BYTES).and_then(|file| file.time(go_on));
    match timed {
        Ok(mut times) => {
            times.sort_unstable();
            judged(&times)
        }
        Err(error) => Finding::bad(
            "sync",
            format!("fdatasync fails: {error}"),
            "look into the kernel's log: the disk may be failing",
        ),
    }
}

/// A bare file that is written to and synced. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Bare {
    file: NamedTempFile,
    bytes: usize,
}

impl Bare {
    /// A file in this folder that takes so many bytes at once.
    pub(crate) fn new(folder: &Path, bytes: usize) -> std::io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".doctor")
            .tempfile_in(folder)?;
        // A file that is there already, as the log's is: growing costs another sync of its own.
        for place in 0..SYNCS {
            let place = (place * bytes) as u64;
            file.as_file().write_all_at(&vec![1; bytes], place)?;
        }
        file.as_file().sync_all()?;
        Ok(Self { file, bytes })
    }

    /// Writes and syncs as long as it is to go on, by how often it has. Gives how long each time took.
    pub(crate) fn time(&self, go_on: impl Fn(usize) -> bool) -> std::io::Result<Vec<Duration>> {
        let commit = vec![7; self.bytes];
        let mut times = Vec::new();
        while go_on(times.len()) {
            let place = (times.len() % SYNCS * self.bytes) as u64;
            let started = Instant::now();
            self.file.as_file().write_all_at(&commit, place)?;
            self.file.as_file().sync_data()?;
            times.push(started.elapsed());
        }
        Ok(times)
    }
}

/// The time that so many of a hundred took at most, of times in order; none of none.
pub(crate) fn percentile(times: &[Duration], of: usize) -> Option<Duration> {
    let last = times.len().checked_sub(1)?;
    times.get((times.len() * of / 100).min(last)).copied()
}

fn judged(times: &[Duration]) -> Finding {
    let (Some(p50), Some(p99)) = (percentile(times, 50), percentile(times, 99)) else {
        return Finding::poor("sync", "it was not timed", "try again");
    };
    let found = format!("p50 {p50:.0?}, p99 {p99:.0?} of {} syncs", times.len());
    if p50 < TOO_FAST {
        return Finding::bad(
            "sync",
            format!("{found}: faster than any disk, so it does not reach one"),
            "find out who answers for the disk: a write cache, a hypervisor, a file system in memory",
        );
    }
    if p99 > SLOW {
        let advice = "an ack waits for a sync: use a faster disk, or one that others use less";
        return Finding::poor("sync", found, advice);
    }
    Finding::good("sync", found)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn verdict(each: Duration) -> Verdict {
        judged(&[each; 100]).verdict
    }

    #[test]
    fn a_sync_is_neither_too_fast_nor_too_slow() {
        assert_eq!(verdict(Duration::from_micros(2)), Verdict::Bad);
        assert_eq!(verdict(Duration::from_micros(100)), Verdict::Good);
        assert_eq!(verdict(Duration::from_millis(30)), Verdict::Poor);
        let mut times = vec![Duration::from_micros(100); 98];
        times.extend([Duration::from_millis(90); 2]);
        assert_eq!(judged(&times).verdict, Verdict::Poor, "by the slowest");
        assert_eq!(judged(&times[..1]).verdict, Verdict::Good);
    }
}
