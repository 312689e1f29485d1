//! Many y-websocket clients in one thread.
//!
//! A [`Crowd`] owns the sockets and one epoll loop; a [`Load`] decides what to say. The crowd
//! upgrades each connection, sends Step1, answers the server's Step1 with nothing to
//! give, answers pings, and hands every other message to the load. What the load wants
//! to send it puts into the [`Outbox`]; each connection's bytes leave in one write per
//! event that produced them. Reads share one buffer. A connection therefore costs a
//! system call or two per wake-up and no allocation, which keeps the load tool far below the
//! servers it measures on the same cores.
//!
//! Every byte of a connection is counted, so that what an update costs on the wire can be told.
//!
//! The tool trusts no server: a broken frame, a malformed message or an unexpected close
//! is recorded as a failure of that connection and the others go on. It does not check
//! `Sec-WebSocket-Accept`, since it talks to servers that it was told are WebSocket servers.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream, unix::SourceFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::{
    frame::{self, FrameEvent, FrameReader},
    server::Target,
    speech::{self, Speech},
    wire::{self, Incoming},
};

/// What a crowd of clients says and hears.
pub(crate) trait Load {
    /// A message has come for the connection `at`. Updates larger than a skimming
    /// connection keeps come through [`Load::skimmed`] instead.
    fn message(&mut self, at: ConnId, message: Incoming<'_>, now: Instant, out: &mut Outbox);

    /// An update of `len` bytes has come whole, but only its head was kept.
    fn skimmed(&mut self, _at: ConnId, _len: u64, _now: Instant) {}

    /// All messages of one read were handed over: a good moment to answer them together.
    fn read_done(&mut self, _at: ConnId, _now: Instant, _out: &mut Outbox) {}
}

/// A load that says nothing and ignores what it hears.
pub(crate) struct Silence;

impl Load for Silence {
    fn message(&mut self, _: ConnId, _: Incoming<'_>, _: Instant, _: &mut Outbox) {}
}

/// A connection's number: 0, 1, 2 … in the order of [`Crowd::connect`].
pub(crate) type ConnId = usize;

/// Bytes in a connection's TCP stream, the upgrade included; what TCP and IP add is not seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// To the server.
    pub(crate) sent: u64,
    /// From it.
    pub(crate) received: u64,
}

/// The clients and their event loop.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    timer: Timer,
    conns: Vec<Conn>,
    out: Outbox,
    scratch: Vec<u8>,
    joining: usize,
}

impl Crowd {
    /// An empty crowd.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let poll = Poll::new().context("create an epoll instance")?;
        let timer = Timer::new(&poll).context("create a timer")?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            timer,
            conns: Vec::new(),
            out: Outbox::default(),
            scratch: vec![0; READ_BYTES],
            joining: 0,
        })
    }

    /// Starts to connect to `target`. With `skim`, large messages are counted, not kept.
    pub(crate) fn connect(&mut self, target: &Target, skim: bool) -> anyhow::Result<ConnId> {
        let id = self.conns.len();
        let mut stream = TcpStream::connect(target.addr)
            .with_context(|| format!("connect to {} as connection {id}", target.addr))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(id), interest)
            .context("register a socket")?;
        let reader = if skim {
            FrameReader::skimming(SKIMMED_HEAD_BYTES)
        } else {
            FrameReader::default()
        };
        self.conns.push(Conn {
            stream,
            reader,
            state: State::Connecting,
            answers_step1: target.answers_step1,
            speech: target.speech,
            room: target.room.clone(),
            joined: false,
            traffic: Traffic::default(),
        });
        self.out.outs.push(Out::default());
        upgrade_request(&mut self.out.outs[id].bytes, target);
        self.joining += 1;
        Ok(id)
    }

    /// Connects to all `targets`, at most `at_once` at a time, and waits until each has
    /// joined (has the server's Step2) or failed. Only a timeout is an error here:
    /// see [`Crowd::failures`].
    pub(crate) fn join_all(
        &mut self,
        targets: &[Target],
        at_once: usize,
        skim: bool,
        timeout: Duration,
        load: &mut impl Load,
    ) -> anyhow::Result<Vec<ConnId>> {
        let deadline = Instant::now() + timeout;
        let mut ids = Vec::with_capacity(targets.len());
        let mut waiting = targets.iter();
        loop {
            while self.joining < at_once {
                let Some(target) = waiting.next() else { break };
                ids.push(self.connect(target, skim)?);
            }
            if self.joining == 0 {
                return Ok(ids);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} of {} connections had not joined after {timeout:?}",
                    self.joining + waiting.len(),
                    targets.len()
                );
            }
            self.turn(deadline, load)?;
        }
    }

    /// Serves the connections until `deadline`.
    pub(crate) fn run_until(
        &mut self,
        deadline: Instant,
        load: &mut impl Load,
    ) -> anyhow::Result<()> {
        while Instant::now() < deadline {
            self.turn(deadline, load)?;
        }
        Ok(())
    }

    /// Serves the connections until `done` says so; false if `timeout` came first.
    pub(crate) fn run_while<L: Load>(
        &mut self,
        timeout: Duration,
        load: &mut L,
        mut going_on: impl FnMut(&L) -> bool,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + timeout;
        while going_on(load) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.turn(deadline, load)?;
        }
        Ok(true)
    }

    /// Gives the load the chance to speak first.
    pub(crate) fn say(&mut self, speak: impl FnOnce(&mut Outbox)) {
        speak(&mut self.out);
        self.flush_dirty();
    }

    /// Connections that are open and joined.
    pub(crate) fn open(&self) -> usize {
        self.conns
            .iter()
            .filter(|conn| matches!(conn.state, State::Open) && conn.joined)
            .count()
    }

    /// What has gone over a connection so far.
    pub(crate) fn traffic(&self, id: ConnId) -> Traffic {
        self.conns[id].traffic
    }

    /// What has gone wrong so far: each reason and how often.
    pub(crate) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.out.failures
    }

    /// An error naming the failures, if there are any.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.out.failures.is_empty() {
            return Ok(());
        }
        let reasons: Vec<_> = self
            .out
            .failures
            .iter()
            .take(5)
            .map(|(why, n)| format!("{n} × {why}"))
            .collect();
        bail!("connections failed: {}", reasons.join("; "));
    }

    /// One wait for events and their handling.
    fn turn(&mut self, deadline: Instant, load: &mut impl Load) -> anyhow::Result<()> {
        self.timer.arm(deadline)?;
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result.context("wait for events")?,
        }
        // The list is taken out while the connections are served, and put back.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                TIMER => self.timer.fired()?,
                Token(id) => self.serve(id, event, load),
            }
        }
        self.events = events;
        Ok(())
    }

    fn serve(&mut self, id: ConnId, event: &Event, load: &mut impl Load) {
        if matches!(self.conns[id].state, State::Closed) {
            return;
        }
        if matches!(self.conns[id].state, State::Connecting)
            && (event.is_writable() || event.is_error())
        {
            match self.conns[id].stream.take_error() {
                Ok(None) => {
                    // A load client's small writes must leave at once.
                    if let Err(error) = self.conns[id].stream.set_nodelay(true) {
                        return self.fail(id, format!("connect: {error}"));
                    }
                    self.conns[id].state = State::Upgrading(Vec::new());
                }
                Ok(Some(error)) | Err(error) => return self.fail(id, format!("connect: {error}")),
            }
        }
        if event.is_readable() {
            self.read(id, event.is_read_closed(), load);
        }
        if event.is_writable() && !self.out.outs[id].is_empty() {
            self.flush(id);
        }
        self.flush_dirty();
    }

    /// Reads what has arrived. The events are edge-triggered: it goes on until a read comes
    /// back short, or, when the peer has closed, until the end.
    fn read(&mut self, id: ConnId, closing: bool, load: &mut impl Load) {
        let mut scratch = std::mem::take(&mut self.scratch);
        loop {
            match self.conns[id].stream.read(&mut scratch) {
                Ok(0) => {
                    self.fail(id, "the server closed the connection".to_owned());
                    break;
                }
                Ok(n) => {
                    let now = Instant::now();
                    self.conns[id].traffic.received += n as u64;
                    if let Err(why) = self.take(id, &scratch[..n], now, load) {
                        self.fail(id, why);
                        break;
                    }
                    load.read_done(id, now, &mut self.out);
                    if n < scratch.len() && !closing {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.fail(id, format!("read: {error}"));
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn take(
        &mut self,
        id: ConnId,
        bytes: &[u8],
        now: Instant,
        load: &mut impl Load,
    ) -> Result<(), String> {
        let conn = &mut self.conns[id];
        let behind;
        let mut bytes = bytes;
        if let State::Upgrading(response) = &mut conn.state {
            response.extend_from_slice(bytes);
            let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
                return if response.len() > MAX_RESPONSE_BYTES {
                    Err("an endless HTTP response".to_owned())
                } else {
                    Ok(())
                };
            };
            if !response.starts_with(b"HTTP/1.1 101") {
                let line = response
                    .split(|&byte| byte == b'\r')
                    .next()
                    .unwrap_or_default();
                return Err(format!(
                    "the upgrade was refused: {}",
                    String::from_utf8_lossy(line)
                ));
            }
            behind = response.split_off(end + 4);
            bytes = &behind;
            conn.state = State::Open;
            if let Speech::Well(kind) = conn.speech {
                let room = std::mem::take(&mut conn.room);
                // A client of its own for each connection.
                let client = id as u64 + 1;
                self.out
                    .send(id, |out| speech::write_hello(out, &room, kind, client));
            } else if conn.answers_step1 {
                self.out
                    .send(id, |out| frame::write(out, wire::STEP_1_EMPTY));
            } else {
                // A relay would hand Step1 to every member, and every member's answer to all.
                conn.joined = true;
                self.joining -= 1;
            }
        }
        let (joining, out) = (&mut self.joining, &mut self.out);
        let mut trouble = None;
        let is_well = conn.speech != Speech::Yjs;
        let fed = conn.reader.feed(bytes, |event| match event {
            FrameEvent::Message { head, len } if is_well && head.len() as u64 == len => {
                let heard = speech::read(head, &mut |message| {
                    if let Incoming::Ping(sent) = message {
                        return out.send(id, |out| speech::write_pong(out, sent));
                    }
                    if matches!(message, Incoming::Step2(_)) && !conn.joined {
                        conn.joined = true;
                        *joining -= 1;
                    }
                    load.message(id, message, now, out);
                });
                if let Err(malformed) = heard {
                    trouble = Some(malformed.to_string());
                }
            }
            FrameEvent::Message { head, len } if head.len() as u64 == len => match wire::read(head)
            {
                Ok(Incoming::Step1) => out.send(id, |out| frame::write(out, wire::STEP_2_EMPTY)),
                Ok(message) => {
                    if matches!(message, Incoming::Step2(_)) && !conn.joined {
                        conn.joined = true;
                        *joining -= 1;
                    }
                    load.message(id, message, now, out);
                }
                Err(malformed) => trouble = Some(malformed.to_string()),
            },
            FrameEvent::Message { head, .. } => match wire::update_len(head) {
                Ok(Some(len)) => {
                    if !conn.joined {
                        conn.joined = true;
                        *joining -= 1;
                    }
                    load.skimmed(id, len, now);
                }
                Ok(None) => {}
                Err(malformed) => trouble = Some(malformed.to_string()),
            },
            FrameEvent::Ping(payload) => out.send(id, |out| frame::write_pong(out, payload)),
            FrameEvent::Close(code, reason) => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                trouble = Some(format!(
                    "the server closed with {code} {}",
                    String::from_utf8_lossy(reason)
                ));
            }
        });
        match (trouble, fed) {
            (Some(why), _) => Err(why),
            (None, Err(broken)) => Err(broken.to_string()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn flush_dirty(&mut self) {
        while let Some(id) = self.out.dirty.pop() {
            self.out.outs[id].dirty = false;
            self.flush(id);
        }
    }

    fn flush(&mut self, id: ConnId) {
        if matches!(self.conns[id].state, State::Connecting) {
            return;
        }
        if matches!(self.conns[id].state, State::Closed) {
            self.out.outs[id] = Out::default();
            return;
        }
        let out = &mut self.out.outs[id];
        while !out.is_empty() {
            match self.conns[id].stream.write(&out.bytes[out.sent..]) {
                Ok(n) => {
                    out.sent += n;
                    self.conns[id].traffic.sent += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(id, format!("write: {error}")),
            }
        }
        out.bytes.clear();
        out.bytes.shrink_to(KEPT_OUT_BYTES);
        out.sent = 0;
    }

    /// Closes a connection that cannot go on.
    fn fail(&mut self, id: ConnId, why: String) {
        let conn = &mut self.conns[id];
        conn.state = State::Closed;
        conn.reader = FrameReader::default();
        if !conn.joined {
            self.joining -= 1;
        }
        // Both only tidy up: the connection is lost either way.
        let _ = self.poll.registry().deregister(&mut conn.stream);
        let _ = conn.stream.shutdown(std::net::Shutdown::Both);
        self.out.fail(why);
    }
}

impl Drop for Crowd {
    /// Leaves politely where that costs nothing: a close frame, no wait for the answer.
    fn drop(&mut self) {
        let mut bye = Vec::new();
        frame::write_close(&mut bye);
        for (conn, out) in self.conns.iter_mut().zip(&self.out.outs) {
            if matches!(conn.state, State::Open) && out.is_empty() {
                let _ = conn.stream.write(&bye);
            }
        }
    }
}

/// What each connection has still to send, and what has gone wrong.
#[derive(Default)]
pub(crate) struct Outbox {
    outs: Vec<Out>,
    dirty: Vec<ConnId>,
    failures: BTreeMap<String, u64>,
}

impl Outbox {
    /// One that no sockets stand behind.
    #[cfg(test)]
    pub(crate) fn for_test(connections: usize) -> Self {
        Self {
            outs: (0..connections).map(|_| Out::default()).collect(),
            ..Self::default()
        }
    }

    /// How many failures were recorded.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.values().sum()
    }

    /// What was put in for a connection, taken out.
    #[cfg(test)]
    pub(crate) fn take(&mut self, id: ConnId) -> Vec<u8> {
        std::mem::take(&mut self.outs[id]).bytes
    }

    /// Lets `write` append whole frames to what connection `id` sends.
    pub(crate) fn send(&mut self, id: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.outs[id];
        write(&mut out.bytes);
        if !out.dirty {
            out.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Records that the server did something wrong.
    pub(crate) fn fail(&mut self, why: String) {
        // Reasons are few, but a server's text is not ours to trust without a bound.
        let why = if self.failures.len() < MAX_REASONS {
            why
        } else {
            "other".to_owned()
        };
        *self.failures.entry(why).or_default() += 1;
    }
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    sent: usize,
    dirty: bool,
}

impl Out {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }
}

struct Conn {
    stream: TcpStream,
    reader: FrameReader,
    state: State,
    answers_step1: bool,
    speech: Speech,
    /// The room's name, until it has been said.
    room: String,
    joined: bool,
    traffic: Traffic,
}

enum State {
    Connecting,
    /// The HTTP response so far.
    Upgrading(Vec<u8>),
    Open,
    Closed,
}

/// A timer in the epoll set. `epoll_wait` itself counts in milliseconds, too coarse to pace
/// a thousand updates a second.
struct Timer {
    fd: OwnedFd,
    armed: Option<Instant>,
}

impl Timer {
    fn new(poll: &Poll) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self { fd, armed: None })
    }

    fn arm(&mut self, at: Instant) -> anyhow::Result<()> {
        if self.armed == Some(at) {
            return Ok(());
        }
        // Zero would disarm it.
        let wait = at
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::time::timerfd_settime(
            &self.fd,
            TimerfdTimerFlags::empty(),
            &Itimerspec {
                it_interval: interval,
                it_value: value,
            },
        )
        .context("set the timer")?;
        self.armed = Some(at);
        Ok(())
    }

    fn fired(&mut self) -> anyhow::Result<()> {
        self.armed = None;
        let mut count = [0; 8];
        match rustix::io::read(&self.fd, &mut count) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error).context("read the timer"),
        }
    }
}

fn upgrade_request(out: &mut Vec<u8>, target: &Target) {
    let Target { addr, path, .. } = target;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    out.extend_from_slice(request.as_bytes());
}

/// Raises the limit of open files to what the system allows this process, and says how
/// many that is. Servers started later inherit it.
pub(crate) fn raise_open_files() -> anyhow::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )
        .context("raise the limit of open files")?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Where `ws://host:port/path` is; used for servers the tool did not start.
pub(crate) fn parse_ws_url(url: &str) -> anyhow::Result<(SocketAddr, String)> {
    let rest = url
        .strip_prefix("ws://")
        .with_context(|| format!("{url}: only ws:// is supported"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let addr = std::net::ToSocketAddrs::to_socket_addrs(host)
        .with_context(|| format!("{url}: resolve {host} (host:port is needed)"))?
        .next()
        .with_context(|| format!("{url}: {host} has no address"))?;
    Ok((
        addr,
        if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
    ))
}

const TIMER: Token = Token(usize::MAX >> 1);
const READ_BYTES: usize = 256 * 1024;
const SKIMMED_HEAD_BYTES: usize = 64;
const KEPT_OUT_BYTES: usize = 64 * 1024;
const MAX_RESPONSE_BYTES: usize = 16 * 1024;
const MAX_REASONS: usize = 32;
