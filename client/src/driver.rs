//! The task that keeps the connection, and everything that outlives it.

mod member;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use protocol::dialect::well::{VERSION, wire};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use self::member::{Member, Since, Standing, Window};
use crate::backoff::Backoff;
use crate::limits::{CONNECT_TIME, MISSED_HEARTBEATS, REQUESTS};
use crate::queue::Queue;
use crate::room::{Event, Room, RoomError, Ticket};
#[cfg(feature = "webtransport")]
use crate::transport::certificates::Trust;
use crate::transport::{Broken, Transport, Turn};
use crate::wire::{Heard, Say, decode, encode};

/// Where and as who to connect.
#[derive(Debug, Clone)]
pub struct Options {
    url: String,
    name: String,
    token: String,
    traceparent: String,
    #[cfg(feature = "webtransport")]
    trust: Trust,
}

impl Options {
    /// To the server at `ws://host:port/well` or `wss://…` over WebSocket, or at
    /// `https://host:port/well` over WebTransport.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: concat!("well-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            token: String::new(),
            traceparent: String::new(),
            #[cfg(feature = "webtransport")]
            trust: Trust::System,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    #[cfg(feature = "webtransport")]
    pub(crate) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Over WebTransport, takes a server whose certificate has one of these SHA-256 hashes, instead of
    /// one that an authority of this system vouches for.
    #[cfg(feature = "webtransport")]
    #[must_use]
    pub fn certificate_hashes(mut self, hashes: impl IntoIterator<Item = [u8; 32]>) -> Self {
        self.trust = Trust::Hashes(hashes.into_iter().collect());
        self
    }

    /// Over WebTransport, takes a server whose certificate has one of the hashes that
    /// `http://host:port/webtransport.json` gives, asked for with each connection. Who can change
    /// that answer can be the server: for this machine, or a network that is trusted.
    #[cfg(feature = "webtransport")]
    #[must_use]
    pub fn published_certificates(mut self, url: impl Into<String>) -> Self {
        self.trust = Trust::Published(url.into());
        self
    }

    /// What the program is, for the server's log.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The token to show.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// Whose work this is part of, as W3C Trace Context's `traceparent`: the server's traces of what this
    /// client writes are then under that span, and told if it is sampled.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = traceparent.into();
        self
    }
}

/// Which room to join, and with what.
pub struct Join {
    room: String,
    kind: wire::DocumentKind,
    role: wire::Role,
    queue: Option<Box<dyn Queue>>,
    since: Option<Since>,
    version: Option<Bytes>,
}

impl Join {
    /// The room `space/name`, as an editor, with a queue in memory.
    #[must_use]
    pub fn new(room: impl Into<String>) -> Self {
        Self {
            room: room.into(),
            kind: wire::DocumentKind::Unspecified,
            role: wire::Role::Unspecified,
            queue: None,
            since: None,
            version: None,
        }
    }

    /// What the application takes the room for; another kind is refused.
    #[must_use]
    pub const fn kind(mut self, kind: wire::DocumentKind) -> Self {
        self.kind = kind;
        self
    }

    /// As a viewer.
    #[must_use]
    pub const fn viewer(mut self) -> Self {
        self.role = wire::Role::Viewer;
        self
    }

    /// Keeps operations in this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Queue + 'static) -> Self {
        self.queue = Some(Box::new(queue));
        self
    }

    /// The application has every record up to this Seq.
    #[must_use]
    pub const fn since(self, seq: u64) -> Self {
        self.since_record(seq, 0)
    }

    /// The application has every record up to this one, which the server took `at`: if the log has
    /// another there, what the application has is of another past, and a [`Event::Reset`] says so.
    #[must_use]
    pub const fn since_record(mut self, seq: u64, at: u64) -> Self {
        self.since = Some(Since { seq, at });
        self
    }

    /// What the application's document has, in its kind's encoding: used if the records since then
    /// are too many. Only for the first time that the room is joined.
    #[must_use]
    pub fn version(mut self, version: Bytes) -> Self {
        self.version = Some(version);
        self
    }
}

/// A connection to a server, made again whenever it breaks. Dropping it ends it.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<Request>,
}

/// What an application asks of the driver.
pub(crate) enum Request {
    Join {
        join: Join,
        reply: oneshot::Sender<Result<Room, RoomError>>,
        requests: mpsc::Sender<Request>,
    },
    Submit {
        room: u64,
        payload: Bytes,
        reply: oneshot::Sender<Result<Ticket, RoomError>>,
    },
    Waiting {
        room: u64,
        reply: oneshot::Sender<usize>,
    },
    Presence {
        room: u64,
        state: Option<Bytes>,
    },
    /// The application knows that it lags.
    CatchUp {
        room: u64,
    },
    Leave {
        room: u64,
    },
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Join { .. } => "Join",
            Self::Submit { .. } => "Submit",
            Self::Waiting { .. } => "Waiting",
            Self::Presence { .. } => "Presence",
            Self::CatchUp { .. } => "CatchUp",
            Self::Leave { .. } => "Leave",
        })
    }
}

impl Client {
    /// Begins to connect. Must be called in a tokio runtime. The connection lives as long as this
    /// client, its clones or a room on it.
    #[must_use]
    pub fn connect(options: Options) -> Self {
        let (requests, incoming) = mpsc::channel(REQUESTS);
        let driver = Driver {
            options,
            resume_key: random_key(),
            incoming,
            rooms: BTreeMap::new(),
            ids: 0,
            window: Window::default(),
            retry_after: Duration::ZERO,
            was_connected: false,
        };
        tokio::spawn(driver.run());
        Self { requests }
    }

    /// Joins a room. It need not be connected for that: the room takes operations at once and says
    /// by [`Event::Joined`] when it has been joined.
    ///
    /// # Errors
    /// [`RoomError::Queue`] if the queue cannot be read, [`RoomError::Closed`] if there is no server
    /// for this client.
    pub async fn join(&self, join: Join) -> Result<Room, RoomError> {
        let (reply, joined) = oneshot::channel();
        let requests = self.requests.clone();
        let request = Request::Join {
            join,
            reply,
            requests,
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RoomError::Ended)?;
        joined.await.map_err(|_| RoomError::Ended)?
    }
}

fn random_key() -> Bytes {
    let mut key = [0; 16];
    // Without randomness nothing is replaced when this client comes back.
    match getrandom::fill(&mut key) {
        Ok(()) => Bytes::copy_from_slice(&key),
        Err(_) => Bytes::new(),
    }
}

struct Driver {
    options: Options,
    resume_key: Bytes,
    incoming: mpsc::Receiver<Request>,
    rooms: BTreeMap<u64, Member>,
    ids: u64,
    window: Window,
    /// What the server has asked for when it said goodbye.
    retry_after: Duration,
    /// There was a server at this address.
    was_connected: bool,
}

/// Why a connection is over.
enum End {
    /// Nobody wants it any more.
    Dropped,
    Broken(String),
    /// The server does not want this client back, or (0) there is none at its address.
    ForGood(u32, String),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.to_string())
    }
}

impl Driver {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let end = match self.connect().await {
                Ok((transport, heartbeat)) => {
                    backoff.reset();
                    self.talk(transport, heartbeat).await
                }
                Err(end) => end,
            };
            match end {
                End::Dropped => return,
                End::ForGood(code, reason) => return self.refuse_all(code, &reason).await,
                End::Broken(reason) => {
                    tracing::debug!(reason, "the connection broke");
                    self.lost(&reason);
                    let pause = backoff.next(std::mem::take(&mut self.retry_after));
                    if !self.wait(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// There will be no connection any more.
    async fn refuse_all(mut self, code: u32, reason: &str) {
        for room in std::mem::take(&mut self.rooms).into_values() {
            room.close(code, reason);
        }
        while let Some(request) = self.incoming.recv().await {
            let reason = reason.to_owned();
            let closed = RoomError::Closed { code, reason };
            // Who asked may have gone.
            match request {
                Request::Join { reply, .. } => drop(reply.send(Err(closed))),
                Request::Submit { reply, .. } => drop(reply.send(Err(closed))),
                _ => {}
            }
        }
    }

    /// Connects and greets, while applications go on handing in operations.
    async fn connect(&mut self) -> Result<(Transport, Duration), End> {
        let hello = encode(Say::Hello(wire::Hello {
            versions: vec![VERSION],
            token: self.options.token.clone(),
            client_name: self.options.name.clone(),
            resume_key: self.resume_key.clone(),
            traceparent: self.options.traceparent.clone(),
        }));
        let options = self.options.clone();
        let was_connected = self.was_connected;
        let end = move |broken: Broken| match broken {
            // Where there was a server there may be one again.
            broken if broken.is_for_good() && !was_connected => End::ForGood(0, broken.to_string()),
            broken => broken.into(),
        };
        let connecting = async move {
            let mut transport = Transport::connect(&options).await.map_err(end)?;
            transport.push(&[hello]);
            let foreign = || end(Broken::Foreign(options.url().to_owned()));
            loop {
                let message = match transport.turn().await {
                    Ok(Turn::Message(message)) => message,
                    Ok(Turn::Space) => continue,
                    Err(Broken::Malformed(_)) => return Err(foreign()),
                    Err(broken) => return Err(broken.into()),
                };
                match decode(message) {
                    Ok(Some(Heard::Welcome(welcome))) => return Ok((transport, welcome)),
                    Ok(Some(Heard::Goodbye(goodbye))) => {
                        return Err(end_of(goodbye.code, goodbye.reason));
                    }
                    Ok(_) => {}
                    Err(_) => return Err(foreign()),
                }
            }
        };
        let connecting = timeout(CONNECT_TIME, connecting);
        tokio::pin!(connecting);
        let (transport, welcome) = loop {
            tokio::select! {
                connected = &mut connecting => match connected {
                    Ok(connected) => break connected?,
                    Err(_) => return Err(End::Broken("the server did not answer in time".into())),
                },
                request = self.incoming.recv() => match request {
                    Some(request) => self.take(request, &mut Vec::new()),
                    None => return Err(End::Dropped),
                },
            }
        };
        self.was_connected = true;
        let limits = welcome.limits.unwrap_or_default();
        self.window = Window {
            operations: limits.window_operations.max(1) as usize,
            bytes: limits.window_bytes as usize,
        };
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(1_000)));
        Ok((transport, heartbeat))
    }

    /// Waits, while applications go on. Gives whether anybody still wants a connection.
    async fn wait(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                request = self.incoming.recv() => match request {
                    Some(request) => self.take(request, &mut Vec::new()),
                    None => return false,
                },
            }
        }
    }

    /// Carries one connection until it is over.
    async fn talk(&mut self, mut transport: Transport, heartbeat: Duration) -> End {
        let mut heard = Instant::now();
        let mut pinged = heard;
        let mut say = Vec::new();
        loop {
            // What there is no space for waits where it is, and the latest presence with it.
            let has_space = transport.has_space();
            if has_space {
                self.fill(&mut say, &transport);
            }
            transport.push(&say);
            say.clear();
            let quiet = heard.max(pinged) + heartbeat;
            let due = if has_space { self.next_due() } else { None };
            let again = due.map_or(quiet, |at| at.min(quiet));
            tokio::select! {
                turn = transport.turn() => {
                    let message = match turn {
                        Ok(Turn::Message(message)) => message,
                        Ok(Turn::Space) => continue,
                        Err(broken) => return broken.into(),
                    };
                    heard = Instant::now();
                    match decode(message) {
                        Ok(Some(message)) => if let Some(end) = self.hear(message, &mut say) {
                            return end;
                        },
                        Ok(None) => {}
                        Err(error) => return End::Broken(error.to_string()),
                    }
                }
                request = self.incoming.recv() => match request {
                    Some(request) => {
                        self.take(request, &mut say);
                        while let Ok(request) = self.incoming.try_recv() {
                            self.take(request, &mut say);
                        }
                    }
                    None => {
                        transport.close().await;
                        return End::Dropped;
                    }
                },
                () = sleep_until(again) => {
                    let silent = heard.elapsed();
                    if silent >= heartbeat * MISSED_HEARTBEATS {
                        return End::Broken("the server has been silent for too long".into());
                    }
                    if quiet <= Instant::now() {
                        pinged = Instant::now();
                        say.push(encode(Say::Ping(wire::Ping { sent: 0 })));
                    }
                }
            }
        }
    }

    /// When something is to be said again: a join, or presence.
    fn next_due(&self) -> Option<Instant> {
        let due = self.rooms.values().filter_map(|room| match room.standing {
            Standing::Away(at) => Some(at),
            Standing::Asked(_) => None,
            Standing::In(_) => room.presence_repeat,
        });
        due.min()
    }

    /// Everything that can be said now: joins that are due, operations as far as the window goes,
    /// presence.
    fn fill(&mut self, say: &mut Vec<Bytes>, transport: &Transport) {
        let now = Instant::now();
        let window = self.window;
        for (id, room) in &mut self.rooms {
            match room.standing {
                Standing::Away(at) if at <= now => {
                    let request = *id as u32;
                    room.standing = Standing::Asked(request);
                    say.push(encode(Say::Join(room.join(request))));
                }
                Standing::In(number) => {
                    room.fill(number, window, say);
                    room.say_presence(number, now, say, transport);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, request: Request, say: &mut Vec<Bytes>) {
        match request {
            Request::Join {
                join,
                reply,
                requests,
            } => {
                self.ids += 1;
                let id = self.ids;
                let room = Member::new(join).map(|(room, events)| {
                    let client = room.client;
                    let waiting = room.pending.iter();
                    let waiting = waiting.map(|it| it.operation.payload.clone()).collect();
                    self.rooms.insert(id, room);
                    Room {
                        id,
                        client,
                        requests,
                        events,
                        lags: false,
                        waiting,
                    }
                });
                // Who asked may have gone: dropping the room leaves it.
                drop(reply.send(room.map_err(RoomError::Queue)));
            }
            Request::Submit {
                room,
                payload,
                reply,
            } => {
                let kept = match self.rooms.get_mut(&room) {
                    Some(room) => room.submit(payload),
                    None => Err(RoomError::Ended),
                };
                drop(reply.send(kept));
            }
            Request::Waiting { room, reply } => {
                if let Some(room) = self.rooms.get(&room) {
                    // Who asked may have gone.
                    let _ = reply.send(room.pending.len());
                }
            }
            Request::Presence { room, state } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.presence_clock += 1;
                    room.presence = state;
                    room.presence_sent = false;
                }
            }
            Request::CatchUp { room } => {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.catch_up(say);
                }
            }
            Request::Leave { room } => {
                if let Some(room) = self.rooms.remove(&room)
                    && let Standing::In(number) = room.standing
                {
                    say.push(encode(Say::Leave(wire::Leave { number })));
                }
            }
        }
    }

    /// Takes what the server says; gives the end if this is one.
    fn hear(&mut self, message: Heard, say: &mut Vec<Bytes>) -> Option<End> {
        match message {
            Heard::Joined(joined) => {
                let asked = Standing::Asked(joined.request);
                let found = self
                    .rooms
                    .iter_mut()
                    .find(|(_, room)| room.standing == asked);
                match found {
                    Some((_, room)) => room.joined(joined, say),
                    // It was left while it was being joined.
                    None => say.push(encode(Say::Leave(wire::Leave {
                        number: joined.number,
                    }))),
                }
            }
            Heard::Left(left) => self.left(&left),
            Heard::Ack(ack) => {
                if let Some(room) = self.number(ack.number) {
                    for event in room.acked(&ack) {
                        room.tell(event);
                    }
                }
            }
            Heard::Reject(reject) => {
                if let Some(room) = self.number(reject.number)
                    && let Some(event) = room.rejected(reject)
                {
                    room.tell(event);
                }
            }
            Heard::Records(records) => {
                if let Some(room) = self.number(records.number) {
                    match room.records(records) {
                        Ok(Some(event)) => room.tell(event),
                        Ok(None) => {}
                        Err(reason) => return Some(End::Broken(reason)),
                    }
                }
            }
            Heard::Reset(reset) => {
                if let Some(room) = self.number(reset.number) {
                    let event = room.reset(reset);
                    room.tell(event);
                }
            }
            Heard::Presence(presence) => {
                if let Some(room) = self.number(presence.number) {
                    let news = room.hear_presence(presence.entries);
                    if !news.is_empty() {
                        room.tell(Event::Presence(news));
                    }
                }
            }
            Heard::Ping(ping) => {
                let pong = wire::Pong {
                    sent: ping.sent,
                    time: 0,
                };
                say.push(encode(Say::Pong(pong)));
            }
            Heard::Goodbye(goodbye) => {
                self.retry_after = Duration::from_millis(u64::from(goodbye.retry_after_ms));
                return Some(end_of(goodbye.code, goodbye.reason));
            }
            Heard::Error(error) => {
                tracing::warn!(
                    code = error.code,
                    error.message,
                    "the server did not take something"
                );
            }
            Heard::Welcome(_) | Heard::Pong(_) => {}
        }
        None
    }

    fn number(&mut self, number: u32) -> Option<&mut Member> {
        let standing = Standing::In(number);
        self.rooms
            .values_mut()
            .find(|room| room.standing == standing)
    }

    fn left(&mut self, left: &wire::Left) {
        let standing = match left.number {
            0 => Standing::Asked(left.request),
            number => Standing::In(number),
        };
        let found = self
            .rooms
            .iter_mut()
            .find(|(_, room)| room.standing == standing);
        let Some((id, room)) = found else {
            return;
        };
        let for_good = is_permanent(left.code) && !std::mem::take(&mut room.refused);
        if for_good {
            let id = *id;
            if let Some(room) = self.rooms.remove(&id) {
                room.close(left.code, &left.reason);
            }
            return;
        }
        let retry_after = Duration::from_millis(u64::from(left.retry_after_ms));
        let pause = room.backoff.next(retry_after);
        room.away(Instant::now() + pause);
        room.tell_disconnected(&left.reason);
    }

    /// The connection is gone: every room is to be joined anew.
    fn lost(&mut self, reason: &str) {
        let now = Instant::now();
        for room in self.rooms.values_mut() {
            room.tell_disconnected(reason);
            room.away(now);
        }
    }
}

const fn is_permanent(code: u32) -> bool {
    matches!(code, 4400..=4499) && code != 4429
}

fn end_of(code: u32, reason: String) -> End {
    if is_permanent(code) {
        End::ForGood(code, reason)
    } else {
        End::Broken(format!("the server said goodbye with {code}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_comes_after_the_end_hears_why_it_came() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/well", listener.local_addr().unwrap());
        let client = Client::connect(Options::new(url));
        let mut room = client.join(Join::new("blob/a")).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        assert!(matches!(
            room.next().await,
            Some(Event::Closed { code: 0, .. })
        ));
        let why = "no server of the well protocol answers";
        let joined = client.join(Join::new("blob/b")).await.map(drop);
        let submitted = room.submit(Bytes::from_static(b"x")).await.map(drop);
        for answer in [joined, submitted] {
            let said = answer.unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
