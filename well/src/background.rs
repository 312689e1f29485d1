//! Work that nobody waits for, on threads of its own that give way where the processors are busy.

use tokio::runtime::{Builder, Runtime};

/// How much its threads give way, as `nice` counts: beside a thread of the usual priority each gets
/// about a ninth of a busy processor, and all of one that is idle.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// How many blocking jobs, as packing a segment and reading a log's file, it does at once.
const BLOCKING: usize = 8;

/// The runtime that archives.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .max_blocking_threads(BLOCKING)
        .thread_name("background")
        .enable_all();
    give_way(&mut builder);
    builder.build()
}

/// Lowers the priority of a runtime's threads.
#[cfg(target_os = "linux")]
fn give_way(threads: &mut Builder) {
    use rustix::process::{getpriority_process, setpriority_process};

    // Of the thread that asks. A thread begins with the priority of the one that starts it, which may
    // be one of these, so that each sets it and none adds to it.
    let usual = getpriority_process(None).unwrap_or(0);
    threads.on_thread_start(move || {
        if let Err(error) = setpriority_process(None, usual + NICE) {
            tracing::debug!(%error, "background work has the usual priority");
        }
    });
}

/// Elsewhere a priority is that of a whole process.
#[cfg(not(target_os = "linux"))]
fn give_way(_threads: &mut Builder) {}
