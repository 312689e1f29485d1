//! The upper bound: a bare relay, with no document and no disk.
//!
//! One WebSocket frame in, the same frame out to every other member of the room that the
//! path names. It runs as its own process, one thread, one epoll loop. Two manners:
//! *plain* writes each message to each member at once, as most servers do; *coalescing*
//! gathers what one read brought and writes it to each member once. A member that cannot
//! take more has its bytes queued, up to a limit at which it is dropped.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::SocketAddr,
};

use anyhow::Context;
use base64::Engine as _;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use sha1::{Digest, Sha1};

use crate::frame::{self, CLOSE, Header};

/// Serves for ever. Prints its address when it is ready.
pub(crate) fn serve(listen: SocketAddr, coalesce: bool) -> anyhow::Result<()> {
    let mut relay = Relay::bind(listen, coalesce)?;
    let addr = relay
        .listener
        .local_addr()
        .context("the relay's own address")?;
    writeln!(io::stdout(), "listening on http://{addr}").context("say where the relay listens")?;
    relay.run()
}

struct Relay {
    poll: Poll,
    listener: TcpListener,
    coalesce: bool,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    rooms: HashMap<String, Vec<usize>>,
    scratch: Vec<u8>,
    /// Frames on their way to the other members.
    outgoing: Vec<u8>,
}

struct Member {
    stream: TcpStream,
    /// Empty until the upgrade.
    room: String,
    /// Bytes of an unfinished frame or request.
    partial: Vec<u8>,
    /// What the socket would not take.
    pending: Vec<u8>,
}

impl Relay {
    fn bind(listen: SocketAddr, coalesce: bool) -> anyhow::Result<Self> {
        let poll = Poll::new().context("create an epoll instance")?;
        // The standard library's backlog of 128 would refuse part of a thousand joiners at once.
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .context("create a socket")?;
        rustix::net::bind(&socket, &listen).with_context(|| format!("bind to {listen}"))?;
        rustix::net::listen(&socket, 4096).with_context(|| format!("listen on {listen}"))?;
        let listener = std::net::TcpListener::from(socket);
        listener
            .set_nonblocking(true)
            .context("make the listener non-blocking")?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("watch the listener")?;
        Ok(Self {
            poll,
            listener,
            coalesce,
            members: Vec::new(),
            free: Vec::new(),
            rooms: HashMap::new(),
            scratch: vec![0; 256 * 1024],
            outgoing: Vec::new(),
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.context("wait for events")?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(id) => {
                        if event.is_writable() {
                            self.flush(id);
                        }
                        if event.is_readable() {
                            self.read(id, event.is_read_closed());
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            let id = self.free.pop().unwrap_or(self.members.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(id), interest)
                .context("watch a member")?;
            let member = Member {
                stream,
                room: String::new(),
                partial: Vec::new(),
                pending: Vec::new(),
            };
            if id == self.members.len() {
                self.members.push(Some(member));
            } else {
                self.members[id] = Some(member);
            }
        }
    }

    fn read(&mut self, id: usize, closing: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(member) = self.members[id].as_mut() {
            match member.stream.read(&mut scratch) {
                Ok(n @ 1..) => {
                    if self.take(id, &scratch[..n]).is_err() {
                        self.drop_member(id);
                        break;
                    }
                    if n < scratch.len() && !closing {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.drop_member(id);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Takes bytes from a member; an error means that it has to go.
    fn take(&mut self, id: usize, bytes: &[u8]) -> Result<(), Leaves> {
        let Some(member) = self.members[id].as_mut() else {
            return Ok(());
        };
        // What came before is put in front; the usual read starts at a frame and needs no copy.
        let joined;
        let mut rest = bytes;
        if !member.partial.is_empty() {
            member.partial.extend_from_slice(bytes);
            joined = std::mem::take(&mut member.partial);
            rest = &joined;
        }
        if member.room.is_empty() {
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
                member.partial = rest.to_vec();
                return if rest.len() > 16 * 1024 {
                    Err(Leaves)
                } else {
                    Ok(())
                };
            };
            let (path, response) = upgrade(&rest[..end]).ok_or(Leaves)?;
            member.room.clone_from(&path);
            self.rooms.entry(path).or_default().push(id);
            self.write(id, response.as_bytes());
            rest = &rest[end + 4..];
        }
        self.outgoing.clear();
        let left = self.forward(id, &mut rest);
        if !self.outgoing.is_empty() {
            self.broadcast(id);
        }
        if let (Some(member), false) = (self.members[id].as_mut(), rest.is_empty()) {
            member.partial = rest.to_vec();
        }
        left
    }

    /// Turns the whole frames at the start of `bytes` into outgoing ones.
    fn forward(&mut self, id: usize, bytes: &mut &[u8]) -> Result<(), Leaves> {
        loop {
            let Some(header) = Header::read_any(bytes).map_err(|_| Leaves)? else {
                return Ok(());
            };
            let key = header.mask.ok_or(Leaves)?;
            let end = header.size + usize::try_from(header.len).map_err(|_| Leaves)?;
            let Some(payload) = bytes.get(header.size..end) else {
                return Ok(());
            };
            if header.opcode == CLOSE {
                return Err(Leaves);
            }
            // Pings and pongs are of no interest here; fragments are what no y-websocket client
            // sends.
            if header.is_data() {
                frame::write_server_header(&mut self.outgoing, payload.len());
                let start = self.outgoing.len();
                self.outgoing.extend_from_slice(payload);
                if key != [0; 4] {
                    for (byte, key) in self.outgoing[start..].iter_mut().zip(key.iter().cycle()) {
                        *byte ^= key;
                    }
                }
                if !self.coalesce {
                    self.broadcast(id);
                }
            }
            *bytes = &bytes[end..];
        }
    }

    /// Writes the outgoing frames to everybody else in the room.
    fn broadcast(&mut self, from: usize) {
        let outgoing = std::mem::take(&mut self.outgoing);
        let room = match self.members[from].as_mut() {
            Some(member) => std::mem::take(&mut member.room),
            None => return,
        };
        // By index, since a member that has to be dropped leaves the list on the way.
        let mut place = self.rooms.get(&room).map_or(0, Vec::len);
        while place > 0 {
            place -= 1;
            let Some(&to) = self.rooms.get(&room).and_then(|members| members.get(place)) else {
                continue;
            };
            if to != from {
                self.write(to, &outgoing);
            }
        }
        if let Some(member) = self.members[from].as_mut() {
            member.room = room;
        }
        self.outgoing = outgoing;
        self.outgoing.clear();
    }

    fn write(&mut self, id: usize, bytes: &[u8]) {
        let Some(member) = self.members[id].as_mut() else {
            return;
        };
        let mut sent = 0;
        if member.pending.is_empty() {
            match member.stream.write(bytes) {
                Ok(n) => sent = n,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => return self.drop_member(id),
            }
        }
        if sent < bytes.len() {
            member.pending.extend_from_slice(&bytes[sent..]);
            if member.pending.len() > MAX_PENDING_BYTES {
                self.drop_member(id);
            }
        }
    }

    fn flush(&mut self, id: usize) {
        let Some(member) = self.members.get_mut(id).and_then(Option::as_mut) else {
            return;
        };
        while !member.pending.is_empty() {
            match member.stream.write(&member.pending) {
                Ok(n) => drop(member.pending.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.drop_member(id),
            }
        }
        member.pending = Vec::new();
    }

    fn drop_member(&mut self, id: usize) {
        let Some(mut member) = self.members[id].take() else {
            return;
        };
        // The socket is closed next; there is nothing to do about a failure.
        let _ = self.poll.registry().deregister(&mut member.stream);
        if let Some(members) = self.rooms.get_mut(&member.room) {
            members.retain(|&other| other != id);
            if members.is_empty() {
                self.rooms.remove(&member.room);
            }
        }
        self.free.push(id);
    }
}

/// The member said goodbye or broke the protocol.
struct Leaves;

/// The path of an upgrade request and the response to it.
fn upgrade(request: &[u8]) -> Option<(String, String)> {
    let request = std::str::from_utf8(request).ok()?;
    let mut lines = request.split("\r\n");
    let path = lines.next()?.strip_prefix("GET ")?.split(' ').next()?;
    let key = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))?
        .1
        .trim();
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some((path.split('?').next()?.to_owned(), response))
}

const LISTENER: Token = Token(usize::MAX >> 1);
const MAX_PENDING_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        client::{Crowd, Silence},
        load::{Ack, ClosedLoop, InFlight},
        server::Target,
        story::Hand,
    };

    #[test]
    fn a_load_runs_through_a_relay_and_loses_nothing() {
        for coalesce in [false, true] {
            let mut relay = Relay::bind("127.0.0.1:0".parse().unwrap(), coalesce).unwrap();
            let addr = relay.listener.local_addr().unwrap();
            std::thread::spawn(move || relay.run());
            let mut crowd = Crowd::new().unwrap();
            let target = |room: &str| Target {
                addr,
                path: room.to_owned(),
                answers_step1: false,
                speech: crate::speech::Speech::Yjs,
                room: String::new(),
            };
            let targets = [target("/a"), target("/a"), target("/b"), target("/b")];
            let timeout = Duration::from_secs(10);
            let ids = crowd
                .join_all(&targets, 2, false, timeout, &mut Silence)
                .unwrap();
            let mut load = ClosedLoop::new(Ack::Peer, None, InFlight::PerRoom(8), Hand::Woven, 300);
            load.add_room(ids[0], Some(ids[1]));
            load.add_room(ids[2], Some(ids[3]));
            load.measure();
            crowd.say(|out| load.start(out));
            crowd
                .run_until(Instant::now() + Duration::from_millis(100), &mut load)
                .unwrap();
            let figures = load.pause();
            assert!(
                crowd
                    .run_while(timeout, &mut load, |load| load.outstanding() > 0)
                    .unwrap()
            );
            crowd.check().unwrap();
            assert!(figures.finished > 16, "{}", figures.finished);
            assert_eq!(figures.finished, figures.seen.count());
        }
    }

    #[test]
    fn the_upgrade_is_that_of_rfc_6455() {
        let request =
            b"GET /doc/a?x=1 HTTP/1.1\r\nHost: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let (path, response) = upgrade(request).unwrap();
        assert_eq!(path, "/doc/a");
        assert!(
            response.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{response}"
        );
        assert!(upgrade(b"POST / HTTP/1.1").is_none());
    }
}
