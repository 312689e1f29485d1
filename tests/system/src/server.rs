//! A server of one's own: the real binary on a free port with a fresh folder.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use crate::command::SECRET;

const START_TIME: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(30);
const STDERR_KEPT: usize = 64 << 10;

/// A running server, or one that has been killed and may be started again on the same port with
/// the same folder. Dropping it kills it and removes the folder, and fails the test if anything in
/// it has panicked.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    store: &'static str,
    /// Its `well.toml`, if it has one.
    config: Option<NamedTempFile>,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stderr: Arc<Mutex<String>>,
    /// Hears of it when the process has closed its standard error: when it has ended.
    ended: Option<mpsc::Receiver<()>>,
}

impl Server {
    /// Starts a server on the default store and waits until it listens.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on("sled")
    }

    /// Starts a server on `store`.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_on(store: &'static str) -> Self {
        let mut server = Self::new(store);
        server.start_again();
        server
    }

    /// Starts a server on `store` with this `well.toml`, for [`token`](crate::command::token)s.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn configured(store: &'static str, config: impl AsRef<str>) -> Self {
        let mut server = Self::new(store);
        server.configure(config);
        server.start_again();
        server
    }

    /// A server that has not been started.
    ///
    /// # Panics
    /// If there is no place for its folder.
    #[must_use]
    pub fn new(store: &'static str) -> Self {
        Self {
            child: None,
            port: 0,
            folder: TempDir::with_prefix("well-system-").expect("a temporary folder"),
            store,
            config: None,
            arguments: Vec::new(),
            variables: Vec::new(),
            stderr: Arc::default(),
            ended: None,
        }
    }

    /// Writes its `well.toml`, which it reads at its next start, and when it is told to read it again.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&mut self, config: impl AsRef<str>) {
        let file = self.config.get_or_insert_with(|| {
            NamedTempFile::with_suffix(".toml").expect("a file for the configuration")
        });
        std::fs::write(file, config.as_ref()).expect("the configuration can be written");
    }

    /// Gives `serve` further arguments from its next start on, in place of earlier ones.
    pub fn set_arguments<T: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = T>) {
        let arguments = arguments.into_iter();
        self.arguments = arguments.map(|text| text.as_ref().to_owned()).collect();
    }

    /// Gives it an environment variable from its next start on.
    pub fn set_variable(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let variable = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.variables.push(variable);
    }

    /// Starts it, or starts it again. Gives how long it took until it listened.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) -> Duration {
        self.spawn(Command::new(binary()))
    }

    /// Starts it with another log filter than the default.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with_log(&mut self, filter: &str) -> Duration {
        let mut command = Command::new(binary());
        command.env("WELL_LOG", filter);
        self.spawn(command)
    }

    /// Starts it with a limit on how large any of its files may grow: past it a write fails, as it
    /// does on a full disk.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with_file_limit(&mut self, kib: u64) -> Duration {
        // A shell's `ulimit -f` counts in 512-byte blocks where it follows POSIX. The signal that
        // comes with the failed write is ignored, and stays so in the server.
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
        shell.arg("-c").arg(script).arg("sh").arg(binary());
        self.spawn(shell)
    }

    /// Starts it on a disk whose syncs can be held up and made to fail.
    ///
    /// # Panics
    /// If it does not come up, or there is no C compiler to build the shim with.
    pub fn start_with_switches(&mut self, switches: &Switches) -> Duration {
        let mut command = Command::new(binary());
        command.env("LD_PRELOAD", switches.folder.path().join("sync.so"));
        command.env("SYNC_SWITCHES", switches.folder.path());
        self.spawn(command)
    }

    /// The folder that holds its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and gives how long it took until it listened.
    ///
    /// # Errors
    /// How it ended, if it ends before it listens.
    ///
    /// # Panics
    /// If it neither listens nor ends.
    pub fn try_start(&mut self) -> Result<Duration, ExitStatus> {
        let began = Instant::now();
        if self.launch(Command::new(binary())) {
            return Ok(began.elapsed());
        }
        // Not before all that it said has arrived.
        Err(self.ends(STOP_TIME))
    }

    fn spawn(&mut self, command: Command) -> Duration {
        let began = Instant::now();
        assert!(
            self.launch(command),
            "it does not listen:\n{}",
            self.stderr()
        );
        began.elapsed()
    }

    /// Starts it. False when it closes its standard output without having said that it listens.
    fn launch(&mut self, mut command: Command) -> bool {
        assert!(self.child.is_none(), "it is running already");
        if let Some(config) = &self.config {
            command.env("WELL_CONFIG", config.path());
            command.env("WELL_AUTH_SECRET", SECRET);
        }
        let mut child = command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--data")
            .arg(self.folder.path())
            .args(["--store", self.store])
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", binary().display()));
        let stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        self.child = Some(child);
        let kept = Arc::clone(&self.stderr);
        let (ending, ended) = mpsc::channel();
        self.ended = Some(ended);
        std::thread::spawn(move || {
            let _told_when_dropped: mpsc::Sender<()> = ending;
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                let mut kept = kept.lock().expect("nobody panics with it");
                kept.push_str(&String::from_utf8_lossy(&chunk[..read]));
                if kept.len() > STDERR_KEPT {
                    let cut = kept.floor_char_boundary(kept.len() - STDERR_KEPT);
                    kept.drain(..cut);
                }
            }
        });
        let (said, listening) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = said.send(line);
        });
        let Ok(line) = listening.recv_timeout(START_TIME) else {
            self.kill();
            panic!("it neither listens nor ends:\n{}", self.stderr());
        };
        let port = line
            .trim()
            .strip_prefix("listening on http")
            .map(|rest| rest.trim_start_matches('s'))
            .and_then(|rest| rest.strip_prefix("://127.0.0.1:"))
            .and_then(|port| port.parse().ok());
        if let Some(port) = port {
            self.port = port;
        }
        port.is_some()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The end of what it has said on standard error, over all its starts.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    /// SIGKILL: nothing in the process gets to run again.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// SIGTERM. Gives how it ended.
    ///
    /// # Panics
    /// If it does not end within 30 s.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.pid();
        kill_process(pid, Signal::TERM).expect("it can be signalled");
        self.ends(STOP_TIME)
    }

    /// SIGHUP: the configuration is to be read again.
    ///
    /// # Panics
    /// If it is not running.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).expect("it can be signalled");
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not within `limit`.
    pub fn ends(&mut self, limit: Duration) -> ExitStatus {
        let ended = self.ended.take().expect("it was started");
        let late = ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        let mut child = self.child.take().expect("it was started");
        if late {
            let _ = child.kill();
            panic!("it has not ended within {limit:?}:\n{}", self.stderr());
        }
        child.wait().expect("a child can be waited for")
    }

    /// Whether it is still running.
    ///
    /// # Panics
    /// If it was not started, or cannot be asked.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("a child can be asked").is_none()
    }

    /// The names of its threads and their `nice` values.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn threads(&self) -> Vec<(String, i32)> {
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        let tasks = std::fs::read_dir(tasks).expect("the threads of a running server");
        tasks
            .flatten()
            // One that has ended meanwhile has none.
            .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
            .filter_map(|stat| {
                // proc(5): pid (name) state …; the nice value is field 19.
                let (head, rest) = stat.rsplit_once(") ")?;
                let name = head.split_once('(')?.1.to_owned();
                Some((name, rest.split(' ').nth(16)?.parse().ok()?))
            })
            .collect()
    }

    /// The most resident memory that it has had, in bytes.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.status_bytes("VmHWM:")
    }

    /// Its resident memory, in bytes.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, line: &str) -> usize {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("it is running");
        let kib = status
            .lines()
            .find_map(|told| told.strip_prefix(line))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse::<usize>().ok());
        kib.expect("a line with its resident memory") << 10
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("it is running");
        Pid::from_child(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let said = self.stderr();
        if std::thread::panicking() {
            eprintln!("--- the server's log ends with\n{said}");
        } else {
            // A panic that a task keeps to itself is a fault all the same.
            assert!(
                !said.contains("panicked at"),
                "the server panicked:\n{said}"
            );
        }
    }
}

/// What becomes of a server's syncs.
#[derive(Debug)]
pub struct Switches {
    folder: TempDir,
}

impl Switches {
    /// Builds the shim. All syncs go through.
    ///
    /// # Panics
    /// If there is no C compiler; Rust needs one to link with.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("well-switches-").expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/sync.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("sync.so"))
            .arg(source)
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cc builds the shim"
        );
        Self { folder }
    }

    /// Whether syncs are held up.
    pub fn hold(&self, on: bool) {
        self.switch("hold", on);
    }

    /// Whether syncs fail.
    pub fn fail(&self, on: bool) {
        self.switch("fail", on);
    }

    fn switch(&self, name: &str, on: bool) {
        let path = self.folder.path().join(name);
        let done = if on {
            std::fs::write(path, "")
        } else {
            std::fs::remove_file(path)
        };
        done.expect("a switch can be thrown");
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self::new()
    }
}

/// The server: `WELL_BIN`, or what stands beside the tests in the same build folder.
pub fn binary() -> PathBuf {
    std::env::var_os("WELL_BIN").map_or_else(
        || {
            let this = std::env::current_exe().expect("a test has a path");
            let folder = this.parent().and_then(std::path::Path::parent);
            folder.expect("target/<profile>/deps").join("well")
        },
        PathBuf::from,
    )
}
