//! `GET …/play`: a room's past as a live session that an unmodified y-websocket client can watch.
//!
//! The session begins with the document as it was at `from`; records then come as updates when the
//! pace says so, and the socket stays open after the last one. The watcher is a viewer: what it
//! sends is refused. A client that knows more may send text messages, each a JSON object with any
//! of `{"paused": bool, "speed": number, "seek": moment}`; from its first one on it is told where
//! playback stands, as `{"seq", "at", "paused", "speed", "end"}`. A Yjs document cannot go back, so
//! seeking to an earlier moment is answered with `"reset": true`, and then with the whole state as
//! it was: the client begins a new document.
//!
//! What cannot be played is refused on the socket, as everywhere: it is accepted, and closed with a
//! code and the reason.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use observatory::metrics::Counted;
use observatory::{Dialect, Transport};
use protocol::dialect::{Command, Event, Output, Refusal, yjs};
use protocol::limits::MAX_PRESENCE_STATE_BYTES;
use protocol::record::Kind as RecordKind;
use protocol::{CloseCode, Head, Record, Role, RoomName, Seq, Timestamp};
use replay::play::Pace;
use replay::{Folded, Moment, Span, StretchError};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::past;
use super::problem::Problem;
use super::rooms::RoomPath;
use super::sockets;
use crate::access::caller::Caller;
use crate::access::tickets::Ticket;
use crate::budget::Share;
use crate::connection::framing::Incoming;
use crate::limits::{CLOSE_TIME, PLAY_BATCH_BYTES, READ_BYTES, RECORDS_PAGE_BYTES, WRITE_STALL};
use crate::talk::yjs::Yjs;
use crate::tls::Wire;
use crate::websocket::frame::{self, Frames};
use crate::websocket::handshake;
use crate::{Gateway, not_yjs};

/// How playback begins.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayQuery {
    from: Option<String>,
    to: Option<String>,
    speed: Option<f64>,
    /// Whether stretches in which nothing happened are cut to a second.
    skip_idle: Option<bool>,
    /// y-websocket clients add it; a watcher is a viewer whatever it says.
    #[serde(rename = "role")]
    _role: Option<String>,
}

/// An idle stretch is cut to this.
const IDLE: Duration = Duration::from_secs(1);
/// The largest message from a watcher: it has nothing to say but how to play.
const MAX_FROM_WATCHER: usize = 64 << 10;

const _: () = assert!(MAX_FROM_WATCHER >= MAX_PRESENCE_STATE_BYTES);

/// `GET …/play?from=&to=&speed=&skip_idle=`, and the same with a name after it: a y-websocket
/// client appends its room to the address that it is given.
pub(crate) async fn play(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    path: RoomPath,
    request: Request<Body>,
) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        let detail = "connect with a y-websocket client, or read the room's records";
        return Problem::upgrade_required(detail.into()).into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    match begin(&gateway, &caller, path, query).await {
        Ok(player) => {
            sockets::upgrade_to(gateway, request, |socket, early| player.run(socket, early))
        }
        Err(problem) => sockets::refuse::<Frames, Yjs>(gateway, request, problem.refusal()),
    }
}

async fn begin(
    gateway: &Gateway,
    caller: &Caller,
    path: RoomPath,
    query: &str,
) -> Result<Player, Problem> {
    let query: PlayQuery = serde_urlencoded::from_str(query)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let (room, span) = past::open(gateway, path).await?;
    let history = gateway.broker().history();
    if let Some(why) = not_yjs(history.kind_of(&room)) {
        return Err(Problem::not_yjs(why));
    }
    let from = query
        .from
        .as_deref()
        .map(str::parse::<Moment>)
        .transpose()?;
    let from = match from {
        Some(from) => history.resolve(&room, &span, from).await?,
        None if span.from_nothing => Head::EMPTY,
        None => span.start,
    };
    let to = query.to.as_deref().map(str::parse::<Moment>).transpose()?;
    let to = match to {
        Some(to) => history.resolve(&room, &span, to).await?,
        None => span.head,
    };
    if from.seq > to.seq {
        return Err(Problem::from(StretchError::Backwards));
    }
    let speed = speed_of(query.speed.unwrap_or(1.0))?;
    let folded = history.document_at(&room, from.seq).await?;
    let share = gateway.past_memory().take(folded.document.memory_bytes())?;
    let now = clock();
    let ticket = gateway.ticket(caller, &room)?;
    let mut player = Player {
        gateway: gateway.clone(),
        ticket,
        room,
        span,
        to: to.seq,
        skip_idle: query.skip_idle.unwrap_or(false),
        folded,
        share,
        at: from,
        speed,
        pace: Pace::new(from.at, now, speed),
        ahead: VecDeque::new(),
        read_to: from.seq,
        dialect: yjs::Session::new(now),
        frames: Frames::new(MAX_FROM_WATCHER),
        out: Vec::new(),
        talks: false,
        closing: None,
        _counted: Counted::new(Dialect::Play, Transport::WebSocket),
    };
    player.begin_at(from, now).await?;
    Ok(player)
}

/// A speed that there is.
fn speed_of(speed: f64) -> Result<f64, Problem> {
    let (least, most) = (replay::play::MIN_SPEED, replay::play::MAX_SPEED);
    if (least..=most).contains(&speed) {
        return Ok(speed);
    }
    let detail = format!("speed is {least} to {most}, not {speed}");
    Err(Problem::bad_request(detail))
}

/// A past that is being watched.
struct Player {
    gateway: Gateway,
    /// Ends the session with its token.
    ticket: Option<Ticket>,
    room: RoomName,
    span: Span,
    to: Seq,
    skip_idle: bool,
    folded: Folded,
    /// What the document and what waits to be written take.
    share: Share,
    /// The last record that has been played.
    at: Head,
    speed: f64,
    pace: Pace,
    /// Records that have been read and are not due.
    ahead: VecDeque<Record>,
    read_to: Seq,
    dialect: yjs::Session,
    frames: Frames,
    out: Vec<u8>,
    /// The watcher has sent a text message, and so understands them.
    talks: bool,
    closing: Option<u16>,
    _counted: Counted,
}

/// What a watcher asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    paused: Option<bool>,
    speed: Option<f64>,
    seek: Option<serde_json::Value>,
}

/// The runtime's own clock, by which it also sleeps.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns once a token is over; never without one.
async fn over(ticket: Option<&Ticket>) {
    match ticket {
        Some(ticket) => ticket.until_over().await,
        None => std::future::pending().await,
    }
}

impl Player {
    /// Carries the session. Gives its close code.
    async fn run(mut self, mut socket: Wire, early: Bytes) -> u16 {
        let mut now = clock();
        self.event(
            Event::Joined {
                version: self.folded.document.version(),
                role: Role::Viewer,
            },
            now,
        );
        self.take_bytes(&early, now).await;
        let mut buffer = vec![0; READ_BYTES.min(8 << 10)];
        let draining = self.gateway.draining().clone();
        loop {
            if let Err(problem) = self.play_due(now).await {
                let reason = format!("the past cannot be read: {problem:?}");
                self.close(CloseCode::Internal, &reason);
            }
            self.take_share();
            if !self.out.is_empty() {
                let out = std::mem::take(&mut self.out);
                let writing = async {
                    socket.write_all(&out).await?;
                    socket.flush().await
                };
                let written = timeout(WRITE_STALL, writing).await;
                if !matches!(written, Ok(Ok(()))) {
                    return 1006;
                }
                self.dialect.note_sent(now);
            }
            if let Some(code) = self.closing {
                // The peer's own close, or the end of its stream, is waited for a while.
                let rest = async { while matches!(socket.read(&mut buffer).await, Ok(1..)) {} };
                let _ = timeout(CLOSE_TIME, rest).await;
                return code;
            }
            let due = self.next_due(now);
            tokio::select! {
                read = socket.read(&mut buffer) => {
                    now = clock();
                    match read {
                        Ok(0) | Err(_) => return 1006,
                        Ok(n) => self.take_bytes(&buffer[..n], now).await,
                    }
                }
                () = tokio::time::sleep_until(due.into()) => now = clock(),
                () = over(self.ticket.as_ref()) => {
                    if let Some((code, reason)) = self.ticket.take().and_then(|it| it.ended()) {
                        self.close(code, &reason);
                    }
                }
                () = draining.cancelled() => {
                    self.close(CloseCode::Restart, "the server is restarting, come back soon");
                }
            }
        }
    }

    /// Takes as much of the memory for the past as it needs by now, or ends the session.
    fn take_share(&mut self) {
        let bytes = self.folded.document.memory_bytes() + self.out.len();
        if self.closing.is_none()
            && let Err(used_up) = self.share.resize(bytes)
        {
            // What was to be written does not fit either.
            self.out = Vec::new();
            let (code, reason) = Problem::from(used_up).refusal();
            self.close(code, &reason);
        }
    }

    /// When to look again.
    fn next_due(&mut self, now: Instant) -> Instant {
        let mut due = now + Duration::from_secs(3600);
        if let Some(next) = self.ahead.front() {
            if self.skip_idle {
                self.pace.skip_to(next.at, now, IDLE);
            }
            due = self.pace.due(next.at).map_or(due, |at| at.min(due));
        }
        self.dialect.poll_timeout().map_or(due, |at| at.min(due))
    }

    /// Plays what is due by now.
    async fn play_due(&mut self, now: Instant) -> Result<(), Problem> {
        let mut output = Output::default();
        self.dialect.handle_timeout(now, &mut output);
        self.apply(output, now);
        let before = self.at.seq;
        while self.out.len() < PLAY_BATCH_BYTES && self.closing.is_none() {
            if self.ahead.is_empty() && !self.read_ahead().await? {
                break;
            }
            let due = self.ahead.front().and_then(|next| self.pace.due(next.at));
            if due.is_none_or(|due| due > now) {
                break;
            }
            let Some(record) = self.ahead.pop_front() else {
                break;
            };
            self.at = record.head();
            if record.draft.kind == RecordKind::Update {
                let payload = record.draft.payload;
                frame::put_binary_header(yjs::update_len(payload.len()), &mut self.out);
                yjs::encode_update(&payload, &mut self.out);
                // It has been folded before, so it folds again.
                self.folded.document.integrate(&[payload]);
            }
        }
        if self.at.seq != before {
            self.tell(now, false);
        }
        Ok(())
    }

    async fn read_ahead(&mut self) -> Result<bool, Problem> {
        if self.read_to >= self.to {
            return Ok(false);
        }
        let history = self.gateway.broker().history();
        let page = history
            .read(&self.room, self.read_to, RECORDS_PAGE_BYTES)
            .await?;
        for run in &page {
            for record in run.records() {
                let next = self.read_to.next();
                let record = record.map_err(|damage| Problem::damaged(&self.room, next, damage))?;
                if record.seq > self.to {
                    return Ok(!self.ahead.is_empty());
                }
                self.read_to = record.seq;
                self.ahead.push_back(record);
            }
        }
        Ok(!self.ahead.is_empty())
    }

    /// Goes on from another moment.
    async fn begin_at(&mut self, head: Head, now: Instant) -> Result<(), Problem> {
        self.at = head;
        self.read_to = head.seq;
        self.ahead.clear();
        self.read_ahead().await?;
        // Before the first record there is no time: playback begins with it.
        let from = match self.ahead.front() {
            Some(next) if head == Head::EMPTY => next.at,
            _ => head.at,
        };
        self.pace.seek(from, now);
        Ok(())
    }

    async fn take_bytes(&mut self, bytes: &[u8], now: Instant) {
        let mut incoming = Vec::new();
        let fault = self.frames.read(bytes, &mut incoming).err();
        for incoming in incoming {
            if self.closing.is_some() {
                return;
            }
            match incoming {
                Incoming::Binary(message) => {
                    let mut output = Output::default();
                    self.dialect.handle_message(&message, now, &mut output);
                    self.apply(output, now);
                }
                Incoming::Text(text) => self.control(&text, now).await,
                Incoming::Ping(payload) => self.out.extend_from_slice(&frame::pong(&payload)),
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    let code = code.unwrap_or(1005);
                    let answer = if code == 1005 { 1000 } else { code };
                    self.out.extend_from_slice(&frame::close(answer, ""));
                    self.closing = Some(code);
                }
            }
        }
        if let Some(fault) = fault {
            self.close(CloseCode::ProtocolError, &fault.to_string());
        }
    }

    /// Does what a watcher's text message asks for.
    async fn control(&mut self, text: &[u8], now: Instant) {
        self.talks = true;
        let control = serde_json::from_slice(text);
        let control = control.map_err(|error| Problem::bad_request(format!("no control: {error}")));
        let checked = control.and_then(|control: Control| {
            let speed = control.speed.map(speed_of).transpose()?;
            Ok(Control { speed, ..control })
        });
        let control = match checked {
            Ok(control) => control,
            Err(problem) => {
                self.text(&json!({ "problem": problem }).to_string());
                return;
            }
        };
        if let Some(paused) = control.paused {
            self.pace.set_paused(paused, now);
        }
        if let Some(speed) = control.speed {
            self.speed = speed;
            self.pace.set_speed(self.speed, now);
        }
        let mut reset = false;
        if let Some(seek) = control.seek {
            match self.seek(&seek, now).await {
                Ok(back) => reset = back,
                Err(problem) => {
                    self.text(&json!({ "problem": problem }).to_string());
                    return;
                }
            }
        }
        self.tell(now, reset);
        if reset {
            let Head { seq, at, .. } = self.folded.head;
            let payload = self.folded.document.encode();
            self.event(Event::State { seq, at, payload }, now);
        }
    }

    /// Moves to another moment. Gives whether that was back.
    async fn seek(&mut self, seek: &serde_json::Value, now: Instant) -> Result<bool, Problem> {
        let text = seek
            .as_str()
            .map_or_else(|| seek.to_string(), str::to_owned);
        let moment: Moment = text.parse()?;
        let history = self.gateway.broker().history().clone();
        let head = history.resolve(&self.room, &self.span, moment).await?;
        let back = head.seq < self.at.seq;
        let next = history.document_at(&self.room, head.seq).await?;
        // The two documents stand beside each other for a moment.
        let _both = self
            .gateway
            .past_memory()
            .take(next.document.memory_bytes())?;
        if !back {
            let payload = next
                .document
                .diff(&self.folded.document.version())
                .map_err(Problem::from)?;
            frame::put_binary_header(yjs::update_len(payload.len()), &mut self.out);
            yjs::encode_update(&payload, &mut self.out);
        }
        self.folded = next;
        self.begin_at(head, now).await?;
        if let Moment::At(at) = moment {
            // Between two records the time that was asked for counts.
            self.pace.seek(at.max(head.at), now);
        }
        Ok(back)
    }

    /// Tells a watcher that understands it where playback stands.
    fn tell(&mut self, now: Instant, reset: bool) {
        if !self.talks {
            return;
        }
        let moment: Timestamp = self.pace.moment(now);
        let mut state = json!({
            "seq": self.at.seq.get(),
            "at": (self.at.seq > Seq::ZERO).then(|| self.at.at.to_string()),
            "moment": moment.to_string(),
            "paused": self.pace.is_paused(),
            "speed": self.speed,
            "end": self.at.seq >= self.to,
        });
        if reset {
            state["reset"] = json!(true);
        }
        self.text(&state.to_string());
    }

    fn text(&mut self, text: &str) {
        frame::put_text_header(text.len(), &mut self.out);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn event(&mut self, event: Event, now: Instant) {
        let mut output = Output::default();
        self.dialect.handle_event(event, now, &mut output);
        self.apply(output, now);
    }

    /// Answers what the dialect asks of a room, and sends what it says.
    fn apply(&mut self, output: Output, now: Instant) {
        for message in &output.messages {
            frame::put_binary_header(message.len(), &mut self.out);
            self.out.extend_from_slice(&message.head);
            self.out.extend_from_slice(&message.body);
        }
        if let Some((code, reason)) = output.close {
            self.close(code, &reason);
            return;
        }
        for command in output.commands {
            let event = match command {
                Command::Sync { version } => match self.folded.document.diff(&version) {
                    Ok(payload) => Event::State {
                        seq: self.folded.head.seq,
                        at: self.folded.head.at,
                        payload,
                    },
                    Err(error) => Event::Closed {
                        code: CloseCode::BadMessage,
                        reason: format!("the state vector is malformed: {error}"),
                    },
                },
                // The answer to our own first step holds nothing new.
                Command::Submit(submission) => {
                    let payload = &submission.payload;
                    let number = self.dialect.submitted();
                    match self.folded.document.adds_nothing(payload) {
                        Ok(true) => Event::Settled { count: number },
                        Ok(false) | Err(_) => Event::Refused {
                            submission: number,
                            refusal: Refusal::ReadOnly,
                        },
                    }
                }
                Command::Enter { .. } | Command::Presence(_) | Command::QueryPresence => continue,
            };
            self.event(event, now);
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        if self.closing.is_none() {
            self.out
                .extend_from_slice(&frame::close(code.code(), reason));
            self.closing = Some(code.code());
        }
    }
}
