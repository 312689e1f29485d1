//! The servers under load: how each is started, addressed, watched and stopped.
//!
//! Every server is a process of its own on a free loopback port. It is ready when it
//! prints a line with `listening on http://ADDRESS`. Its processor time and memory are
//! read from `/proc`. What it writes to standard error is kept, so that a server that dies can
//! be quoted. Dropping a [`Server`] kills it, and the kernel does if this program is killed
//! itself: no run leaves one behind.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::{
    client,
    link::{self, Link},
    meter,
    speech::{Kind, Speech},
};

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The Well, on its default store.
    Well,
    /// The Well without snapshots, for what they cost.
    WellBare,
    /// The Well with an archive in a folder.
    WellArchiving,
    /// The Well that measures nothing of what it does.
    WellUnobserved,
    /// The Well in its own protocol, in Yjs rooms.
    WellYjs,
    /// The Well in its own protocol, in text rooms.
    WellText,
    /// The Well in its own protocol, in rooms that it does not look into.
    WellOpaque,
    /// `@y/websocket-server` in memory.
    Yjs,
    /// `@y/websocket-server` on `LevelDB`, which nothing waits for.
    YjsLeveldb,
    /// The bare relay, one write per message and member.
    Relay,
    /// The bare relay, one write per read and member.
    RelayCoalescing,
    /// A server that runs already; `{room}` in its URL stands for the room's name.
    External {
        name: String,
        url: String,
        pid: Option<u32>,
    },
}

impl Peer {
    /// Reads a peer's name, or `NAME=ws://host:port/path/{room}` (`NAME@PID=…` to have its process
    /// watched).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "well" => Ok(Self::Well),
            "well-bare" => Ok(Self::WellBare),
            "well-archiving" => Ok(Self::WellArchiving),
            "well-unobserved" => Ok(Self::WellUnobserved),
            "well:yjs" => Ok(Self::WellYjs),
            "well:text" => Ok(Self::WellText),
            "well:opaque" => Ok(Self::WellOpaque),
            "yjs" => Ok(Self::Yjs),
            "yjs-leveldb" => Ok(Self::YjsLeveldb),
            "relay" => Ok(Self::Relay),
            "relay-coalescing" => Ok(Self::RelayCoalescing),
            _ => {
                let unknown = || {
                    "expected well, well-bare, well-archiving, well-unobserved, well:yjs, well:text, well:opaque, yjs, yjs-leveldb, relay, relay-coalescing \
                     or NAME[@PID]=ws://host:port/path/{room}"
                        .to_owned()
                };
                let (name, url) = text.split_once('=').ok_or_else(unknown)?;
                if !url.contains("{room}") {
                    return Err(unknown());
                }
                let (name, pid) = match name.split_once('@') {
                    Some((name, pid)) => (name, Some(pid.parse().map_err(|_| unknown())?)),
                    None => (name, None),
                };
                Ok(Self::External {
                    name: name.to_owned(),
                    url: url.to_owned(),
                    pid,
                })
            }
        }
    }

    /// Whether it makes updates durable and says so with the durable ack.
    pub(crate) fn acks(&self) -> bool {
        self.is_well()
    }

    /// Whether it is the Well, however it is set up.
    fn is_well(&self) -> bool {
        self.speech() != Speech::Yjs
            || matches!(
                self,
                Self::Well | Self::WellBare | Self::WellArchiving | Self::WellUnobserved
            )
    }

    /// The protocol it is spoken to in.
    pub(crate) fn speech(&self) -> Speech {
        match self {
            Self::WellYjs => Speech::Well(Kind::Yjs),
            Self::WellText => Speech::Well(Kind::Text),
            Self::WellOpaque => Speech::Well(Kind::Opaque),
            _ => Speech::Yjs,
        }
    }

    /// Whether it holds documents, and so answers Step1 with Step2.
    pub(crate) fn has_documents(&self) -> bool {
        !matches!(self, Self::Relay | Self::RelayCoalescing)
    }

    /// Whether documents survive a restart.
    pub(crate) fn keeps(&self) -> bool {
        self.is_well() || *self == Self::YjsLeveldb
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "well",
            Self::WellBare => "well-bare",
            Self::WellArchiving => "well-archiving",
            Self::WellUnobserved => "well-unobserved",
            Self::WellYjs => "well:yjs",
            Self::WellText => "well:text",
            Self::WellOpaque => "well:opaque",
            Self::Yjs => "yjs",
            Self::YjsLeveldb => "yjs-leveldb",
            Self::Relay => "relay",
            Self::RelayCoalescing => "relay-coalescing",
            Self::External { name, .. } => name,
        })
    }
}

/// What starting servers needs.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// The Well's binary.
    pub(crate) well: PathBuf,
    /// The folder of the Node peers.
    pub(crate) peers: PathBuf,
    /// Where data folders go.
    pub(crate) scratch: PathBuf,
    /// Where the Well sends its traces; nowhere without.
    pub(crate) collector: Option<String>,
}

impl Launcher {
    /// Why a peer cannot be started here, if it cannot.
    pub(crate) fn lacks(&self, peer: &Peer) -> Option<String> {
        match peer {
            peer if peer.is_well() && !self.well.is_file() => Some(format!(
                "{} does not exist (build it, or give --well or WELL_BIN)",
                self.well.display()
            )),
            Peer::Yjs | Peer::YjsLeveldb => {
                self.install_peers().err().map(|error| format!("{error:#}"))
            }
            _ => None,
        }
    }

    /// An empty folder for one server's data; it goes when dropped.
    pub(crate) fn data_dir(&self) -> anyhow::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("well-bench-")
            .tempdir_in(&self.scratch)
            .with_context(|| format!("create a data folder in {}", self.scratch.display()))
    }

    /// Starts a server on data in `dir` and waits until it is ready.
    pub(crate) fn start(&self, peer: &Peer, dir: &Path) -> anyhow::Result<Server> {
        self.launch(peer, dir, None)
    }

    /// The same, for the Well at the far end of a link.
    pub(crate) fn start_behind(
        &self,
        link: &Link,
        peer: &Peer,
        dir: &Path,
    ) -> anyhow::Result<Server> {
        self.launch(peer, dir, Some(link))
    }

    fn launch(&self, peer: &Peer, dir: &Path, link: Option<&Link>) -> anyhow::Result<Server> {
        let this = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(&this);
        command.arg("tied");
        match peer {
            Peer::Well
            | Peer::WellBare
            | Peer::WellArchiving
            | Peer::WellUnobserved
            | Peer::WellYjs
            | Peer::WellText
            | Peer::WellOpaque => {
                if let Some(link) = link {
                    command.args(["ip", "netns", "exec", link.namespace()]);
                }
                let listen = link.map_or("127.0.0.1:0", |_| link::FAR);
                let serve = command.arg(&self.well);
                // One room that takes everything for seconds has a larger document than rooms may.
                let config = dir.join("well.toml");
                let text = "allow_open = true\n[limits]\ndocument_bytes = 8589934592\n\
                            [spaces.blob]\nkind = \"opaque\"\n";
                fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
                let serve = serve.args(["serve", "--listen", listen, "--config"]);
                serve.arg(config).arg("--data").arg(dir.join("well"));
                if *peer == Peer::WellBare {
                    serve.arg("--snapshots=false");
                }
                if *peer == Peer::WellArchiving {
                    serve.arg("--archive");
                    serve.arg(format!("file://{}", dir.join("archive").display()));
                }
                if *peer == Peer::WellUnobserved {
                    serve.arg("--observe=false");
                } else if let Some(collector) = &self.collector {
                    serve.args(["--trace-endpoint", collector]);
                }
                serve
            }
            Peer::Yjs => command
                .arg("node")
                .arg(self.peers.join("server.mjs"))
                .arg("memory"),
            Peer::YjsLeveldb => command
                .arg("node")
                .arg(self.peers.join("server.mjs"))
                .arg("leveldb")
                .arg(dir.join("leveldb")),
            Peer::Relay => command.arg(&this).arg("relay"),
            Peer::RelayCoalescing => command.arg(&this).args(["relay", "--coalesce"]),
            Peer::External { url, pid, .. } => {
                let (addr, _) = client::parse_ws_url(url)?;
                return Ok(Server {
                    peer: peer.clone(),
                    addr,
                    pid: *pid,
                    process: None,
                });
            }
        };
        let errors = dir.join("stderr.log");
        let log = File::create(&errors).with_context(|| format!("create {}", errors.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("start {peer} ({command:?})"))?;
        let stdout = child
            .stdout
            .take()
            .context("the server's standard output")?;
        let mut process = Process {
            child,
            lines: read_lines(stdout),
            errors,
        };
        let addr = process.wait_until_ready(peer)?;
        Ok(Server {
            peer: peer.clone(),
            addr,
            pid: Some(process.child.id()),
            process: Some(process),
        })
    }

    /// Installs the Node peers from their lockfile, once.
    fn install_peers(&self) -> anyhow::Result<()> {
        if self.peers.join("node_modules/@y/websocket-server").is_dir() {
            return Ok(());
        }
        eprintln!("installing the Node peers in {}", self.peers.display());
        let status = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&self.peers)
            .stdout(Stdio::null())
            .status()
            .context("run npm (Node.js is needed for the yjs peers)")?;
        if !status.success() {
            bail!("npm ci failed in {}: {status}", self.peers.display());
        }
        Ok(())
    }
}

/// A running server.
pub(crate) struct Server {
    /// Which kind.
    pub(crate) peer: Peer,
    addr: SocketAddr,
    pid: Option<u32>,
    process: Option<Process>,
}

/// Where one connection goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The server.
    pub(crate) addr: SocketAddr,
    /// The path of the upgrade request.
    pub(crate) path: String,
    /// Whether a Step2 is to be expected.
    pub(crate) answers_step1: bool,
    /// The protocol to speak.
    pub(crate) speech: Speech,
    /// The room's name, for a protocol that says it in a message.
    pub(crate) room: String,
}

impl Server {
    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.addr
    }

    /// Where to connect for a room.
    pub(crate) fn target(&self, room: &str) -> Target {
        let name = match self.peer.speech() {
            Speech::Well(Kind::Opaque) => format!("blob/{room}"),
            Speech::Well(Kind::Text) => format!("text/{room}"),
            Speech::Yjs | Speech::Well(Kind::Yjs) => format!("doc/{room}"),
        };
        let path = match &self.peer {
            peer if peer.speech() != Speech::Yjs => "/well".to_owned(),
            peer if peer.is_well() => format!("/yjs/doc/{room}"),
            Peer::External { url, .. } => match client::parse_ws_url(url) {
                Ok((_, path)) => path.replace("{room}", room),
                Err(_) => format!("/{room}"),
            },
            _ => format!("/{room}"),
        };
        Target {
            addr: self.addr,
            path,
            answers_step1: self.peer.has_documents(),
            speech: self.peer.speech(),
            room: name,
        }
    }

    /// The processor time the process has used, user and system, if its process is known.
    pub(crate) fn cpu(&self) -> anyhow::Result<Option<Duration>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| self.gone(&path))?;
        let used = cpu_ticks(&stat).with_context(|| format!("read {path}"))?;
        Ok(Some(meter::ticks(used)))
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let Some(pid) = self.pid else {
            return Ok(Memory::default());
        };
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path).with_context(|| self.gone(&path))?;
        Ok(Memory {
            rss: kib_field(&rollup, "Rss:"),
            pss: kib_field(&rollup, "Pss:"),
        })
    }

    /// Forgets the highest memory so far, so that [`Server::peak_rss`] counts from now.
    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        fs::write(format!("/proc/{pid}/clear_refs"), "5")
            .context("reset the peak of the server's memory")
    }

    /// The highest resident memory since [`Server::reset_peak`], in bytes.
    pub(crate) fn peak_rss(&self) -> anyhow::Result<u64> {
        let Some(pid) = self.pid else { return Ok(0) };
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| self.gone(&path))?;
        Ok(kib_field(&status, "VmHWM:"))
    }

    /// Asks the process to end and waits; one that does not is killed, and that is an error.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pid = rustix::process::Pid::from_child(&process.child);
        rustix::process::kill_process(pid, Signal::TERM).context("signal the server")?;
        // Its standard output closes when it ends.
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            match process
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{} did not end {STOP_TIMEOUT:?} after SIGTERM: {}",
                        self.peer,
                        process.last_words()
                    )
                }
            }
        }
        let status = process.child.wait().context("wait for the server")?;
        // The Node peers and the relay do not handle the signal; the Well drains and exits with 0.
        if self.peer.is_well() && !status.success() {
            bail!("well ended with {status}: {}", process.last_words());
        }
        Ok(())
    }

    fn gone(&self, path: &str) -> String {
        let last = self
            .process
            .as_ref()
            .map(Process::last_words)
            .unwrap_or_default();
        format!("read {path}: has {} died? {last}", self.peer)
    }
}

/// A server's memory in bytes. Kernel socket buffers are in neither figure.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: u64,
    /// Resident, shared pages divided among those who share them.
    pub(crate) pss: u64,
}

struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: PathBuf,
}

impl Process {
    /// Waits for the line that names the address, on standard output or among the logs.
    fn wait_until_ready(&mut self, peer: &Peer) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let found = match self.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => listening_address(&line),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{peer} ended before it was ready: {}", self.last_words())
                }
                Err(RecvTimeoutError::Timeout) => {
                    let log = fs::read(&self.errors).unwrap_or_default();
                    String::from_utf8_lossy(&log)
                        .lines()
                        .find_map(listening_address)
                }
            };
            if let Some(addr) = found {
                return Ok(addr);
            }
        }
        bail!(
            "{peer} was not ready after {START_TIMEOUT:?}: {}",
            self.last_words()
        )
    }

    /// The end of what it wrote to standard error.
    fn last_words(&self) -> String {
        let text = fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.trim().lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes `program`, which is killed when the process that started this one dies.
pub(crate) fn tied(program: &Path, args: &[OsString]) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow::Error::new(error).context("tie this process to its parent");
    }
    let error = Command::new(program).args(args).exec();
    anyhow::Error::new(error).context(format!("run {}", program.display()))
}

/// Reads lines in a thread until the other side closes; those nobody waits for are dropped.
fn read_lines(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (send, receive) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            // A full channel only means that nobody listens any more; keep reading so that
            // the server never blocks on its output.
            let _ = send.try_send(line);
        }
    });
    receive
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)))
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// `utime + stime` of `/proc/PID/stat`. The command's name may hold spaces and
/// parentheses, so fields are counted after the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A field in KiB, as bytes.
fn kib_field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.split_ascii_whitespace().next())
        .and_then(|value| value.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(35);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_names_the_address() {
        let line = "2026-01-01 INFO listening on http://127.0.0.1:4000, data in ./x";
        assert_eq!(
            listening_address(line),
            Some("127.0.0.1:4000".parse().unwrap())
        );
        assert_eq!(listening_address("starting"), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(kib_field("Rss:    12 kB\nPss:  7 kB\n", "Pss:"), 7 * 1024);
        assert_eq!(kib_field("", "Pss:"), 0);
    }

    #[test]
    fn peers_are_named_or_given_by_url() {
        assert_eq!(Peer::parse("yjs"), Ok(Peer::Yjs));
        let external = Peer::External {
            name: "x".into(),
            url: "ws://h:1/a/{room}".into(),
            pid: Some(7),
        };
        assert_eq!(Peer::parse("x@7=ws://h:1/a/{room}"), Ok(external));
        assert!(Peer::parse("x=ws://h:1/a").is_err());
        assert!(Peer::parse("nonsense").is_err());
    }
}
