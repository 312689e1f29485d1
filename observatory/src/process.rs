//! What the operating system and the runtime say of the process, read when it is asked for.
//!
//! Counters with fractions stand here as text, because the recorder counts in whole numbers.

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::Unit;
use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::{Metric, disk, head};

/// What the runtime says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Runtime {
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Threads that run them.
    pub workers: usize,
    /// Tasks that wait in the queue that all workers share.
    pub queue_depth: usize,
    /// How long the workers have been busy, all together.
    pub busy: Duration,
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
static STARTED: LazyLock<f64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0.0, |since| since.as_secs_f64())
});

/// The process starts now.
pub(crate) fn started() {
    LazyLock::force(&STARTED);
}

/// The runtime says this of itself.
pub fn runtime(now: Runtime) {
    *RUNTIME.lock() = Some(now);
}

/// Looks at the file system that holds `folder`.
pub(crate) fn look_at_disk(folder: &Path) {
    if let Ok(stat) = rustix::fs::statvfs(folder) {
        disk(stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    }
}

/// The memory that this process may take: the machine's, or its control group's if that is less.
/// Nothing where neither is told.
#[must_use]
pub fn memory_limit_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| line_kib(&text, "MemTotal:"));
    let own = std::fs::read_to_string("/proc/self/cgroup").ok();
    let own = own
        .as_deref()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::")));
    let group = std::fs::read_to_string(format!(
        "/sys/fs/cgroup{}/memory.max",
        own.unwrap_or_default()
    ));
    let group = group.ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// Appends what is known, as Prometheus' text.
pub(crate) fn render(out: &mut String) {
    for (row, value) in values() {
        if let Some(value) = value {
            head(row.name, row.kind, row.about, out);
            // Writing to a string does not fail.
            let _ = writeln!(out, "{} {value}\n", row.name);
        }
    }
}

/// The metrics of this file, by name.
pub(crate) fn table() -> Vec<Metric> {
    values().into_iter().map(|(row, _)| row).collect()
}

fn values() -> Vec<(Metric, Option<f64>)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let files = std::fs::read_dir("/proc/self/fd").map(|files| files.count() as f64);
    let most = getrlimit(Resource::Nofile).current.map(|most| most as f64);
    let runtime = *RUNTIME.lock();
    let row = |name, kind, unit, about| Metric {
        name,
        kind,
        unit,
        labels: String::new(),
        about,
    };
    let of = |told: fn(Runtime) -> f64| runtime.map(told);
    vec![
        (
            row(
                "process_cpu_seconds_total",
                "counter",
                Unit::Seconds,
                "Processor time of the process, in user and system mode.",
            ),
            Some(cpu),
        ),
        (
            row(
                "process_max_fds",
                "gauge",
                Unit::Count,
                "How many files the process may have open.",
            ),
            most,
        ),
        (
            row(
                "process_open_fds",
                "gauge",
                Unit::Count,
                "Open files of the process.",
            ),
            files.ok(),
        ),
        (
            row(
                "process_resident_memory_bytes",
                "gauge",
                Unit::Bytes,
                "Resident memory of the process.",
            ),
            line_kib(&status, "VmRSS:").map(|bytes| bytes as f64),
        ),
        (
            row(
                "process_threads",
                "gauge",
                Unit::Count,
                "Threads of the process.",
            ),
            line(&status, "Threads:").map(|threads| threads as f64),
        ),
        (
            row(
                "well_runtime_busy_seconds_total",
                "counter",
                Unit::Seconds,
                "How long the runtime's workers have been busy, all together.",
            ),
            of(|it| it.busy.as_secs_f64()),
        ),
        (
            row(
                "well_runtime_queue_depth",
                "gauge",
                Unit::Count,
                "Tasks in the queue that the runtime's workers share.",
            ),
            of(|it| it.queue_depth as f64),
        ),
        (
            row(
                "well_runtime_tasks",
                "gauge",
                Unit::Count,
                "Tasks of the runtime that have not ended.",
            ),
            of(|it| it.tasks as f64),
        ),
        (
            row(
                "well_runtime_workers",
                "gauge",
                Unit::Count,
                "The runtime's workers.",
            ),
            of(|it| it.workers as f64),
        ),
        (
            row(
                "well_start_time_seconds",
                "gauge",
                Unit::Seconds,
                "When the server started, as Unix time.",
            ),
            Some(*STARTED),
        ),
    ]
}

fn line(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn line_kib(text: &str, name: &str) -> Option<u64> {
    line(text, name).map(|kib| kib << 10)
}
