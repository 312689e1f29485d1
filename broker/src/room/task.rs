//! The task that owns a room: it loads it, feeds its core, and carries out what the core says.
//!
//! One loop: take everything that has arrived, hand it to the core in order, do what comes out,
//! wake whom it concerns. The task ends when the room has been idle for a while, was deleted, or
//! failed; the directory lets go of it in the same step in which it decides so. A panic is caught
//! here: it ends this room, as a failure does, and no other.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use observatory::Limit;
use observatory::trace::{self, Mark, Why};
use protocol::dialect::{Command, Event, Refusal, Since};
use protocol::{CloseCode, Head, Run, Seq, SessionId, Timestamp};
use replay::{FoldError, Folded, Span};
use storage::archive::Snapshot;
use storage::{Batch, Entry};
use tokio::sync::oneshot;
use tokio::time::Instant as TokioInstant;

use super::core::{Answer, Core, Mail, Missing, Output};
use super::inbox::{Edited, Input, RoomError, weigh_presence};
use super::lives::Journey;
use super::wave::{Members, Wave};
use super::{Room, State};
use crate::broker::Shared;
use crate::committer::{Commit, Committed};
use crate::feed::Update;
use crate::limits::{
    CATCH_UP_BYTES, HEAVY_DOCUMENT_BYTES, STATE_CACHE_TIME, WAKE_COST, WAKE_PAUSE_MAX,
};
use crate::member::count_refused;
use crate::memory;
use crate::rules::{Lifetime, SpaceRule};
use crate::snapshotter::Unsaved;

/// Why members of a deleted room are closed.
const DELETED: &str = "the room has been deleted";

/// A request that waits for an answer of the core.
enum Pending {
    State(oneshot::Sender<Result<State, RoomError>>),
    Written(oneshot::Sender<Result<protocol::Head, RoomError>>),
    Edited(oneshot::Sender<Result<Edited, RoomError>>),
    /// A snapshot that is due, with its table of clients.
    Snapshot(Bytes),
}

struct Task {
    shared: Arc<Shared>,
    room: Arc<Room>,
    core: Core,
    /// What has been taken out of the inbox and not been handled.
    inputs: VecDeque<Input>,
    members: Members,
    pending: HashMap<u64, Pending>,
    next_request: u64,
    deletions: Vec<oneshot::Sender<Result<(), RoomError>>>,
    rule: SpaceRule,
    /// The feed moved and the members have not been woken yet.
    moved: bool,
    wave: Wave,
    /// Before this the members are not woken again.
    quiet_until: Instant,
    /// The directory knows that there is nothing to do for anybody.
    resting: bool,
    /// Since when nobody is here.
    idle_since: Option<Instant>,
    /// When the feed last moved; it is emptied after a while.
    published: Option<Instant>,
    ended: bool,
    unsaved: Unsaved,
    /// A snapshot has been asked for and has not come.
    snapshot_asked: Option<Instant>,
    title: Option<String>,
    created: Timestamp,
}

/// Loads `room` and runs it until it ends.
pub(crate) async fn run(shared: Arc<Shared>, room: Arc<Room>) {
    match AssertUnwindSafe(load(&shared, &room)).catch_unwind().await {
        Ok(Ok(mut task)) => {
            if AssertUnwindSafe(task.run()).catch_unwind().await.is_err() {
                task.end_after_panic().await;
            }
        }
        Ok(Err((code, error))) => refuse_all(&shared, &room, code, &error),
        Err(_) => {
            tracing::error!(room = %room.name, "loading the room panicked");
            let error = RoomError::Log("the room could not be loaded".to_owned());
            refuse_all(&shared, &room, CloseCode::Internal, &error);
        }
    }
}

/// The room's owner, or why it cannot be had.
async fn load(shared: &Arc<Shared>, room: &Arc<Room>) -> Result<Task, (CloseCode, RoomError)> {
    let started = Instant::now();
    let (span, folded) = fold(shared, room).await.map_err(|error| {
        tracing::error!(room = %room.name, %error, "the room could not be loaded");
        let error = RoomError::Log(format!("the room could not be loaded: {error}"));
        (CloseCode::Internal, error)
    })?;
    if span.deleted {
        return Err((CloseCode::NoRoom, RoomError::NoRoom));
    }
    // Others may have been loaded meanwhile, and none counted before it was there.
    room.document
        .set(folded.document.memory_bytes() + folded.clients.memory_bytes());
    if shared.is_crowded() {
        return Err((CloseCode::TryLater, memory::full()));
    }
    observatory::room_loaded(started.elapsed());
    tracing::debug!(room = %room.name, seq = %folded.head.seq, records = folded.records,
        took = ?started.elapsed(), "room loaded");
    room.feed.start_at(folded.head);
    room.is_loaded.store(true, Ordering::Relaxed);
    let now = Instant::now();
    let rule = (shared.snapshots.rule_of)(room.name.space());
    // Whatever it began from had at most as many bytes as the document has now.
    let last = if folded.records == folded.head.seq.get() {
        0
    } else {
        folded.document.memory_bytes() as u64
    };
    let unsaved = Unsaved::loaded(rule, last, folded.bytes, folded.records, now);
    let (title, created) = (folded.facts.title.clone(), span.created);
    let space = shared.rules.of(&room.name);
    if space.lifetime == Lifetime::Ephemeral && folded.head == Head::EMPTY {
        shared.history.forget(&room.name);
    }
    let core = Core::new(
        room.name.clone(),
        folded,
        (shared.limits.document_bytes, shared.memory.clone()),
        (&space, shared.usage.of_space(room.name.space())),
        now,
    );
    Ok(Task {
        shared: Arc::clone(shared),
        room: Arc::clone(room),
        core,
        inputs: VecDeque::new(),
        members: Members::new(),
        pending: HashMap::new(),
        next_request: 0,
        deletions: Vec::new(),
        rule: space,
        moved: false,
        wave: Wave::new(now),
        quiet_until: now,
        resting: false,
        idle_since: Some(now),
        published: None,
        ended: false,
        unsaved,
        snapshot_asked: None,
        title,
        created,
    })
}

async fn fold(shared: &Shared, room: &Room) -> Result<(Span, Folded), FoldError> {
    let span = shared.history.span(&room.name).await?;
    let folded = shared.history.load(&room.name, &span).await?;
    Ok((span, folded))
}

/// Turns away everyone who waits for a room that cannot be had, and lets go of it.
fn refuse_all(shared: &Shared, room: &Arc<Room>, code: CloseCode, error: &RoomError) {
    shared.rooms.forget(room, || true);
    refuse(room.inbox.take(), code, error);
}

fn refuse(inputs: impl IntoIterator<Item = Input>, code: CloseCode, error: &RoomError) {
    for input in inputs {
        match input {
            Input::Join { mailbox, .. } => {
                mailbox.put(closed(code, error.to_string()));
            }
            Input::ReadState(reply) => drop(reply.send(Err(error.clone()))),
            Input::Write(writing) | Input::Begin(writing) => {
                drop(writing.reply.send(Err(error.clone())));
            }
            Input::Restore(_, reply) => {
                drop(reply.send(Err(error.clone())));
            }
            Input::Delete(reply) | Input::DeleteIdle(reply) => drop(reply.send(match error {
                RoomError::NoRoom => Ok(()),
                other => Err(other.clone()),
            })),
            Input::Commands { .. }
            | Input::CatchUp(_)
            | Input::Leave { .. }
            | Input::Committed(..)
            | Input::Rule(_)
            | Input::End(..) => {}
        }
    }
}

impl Task {
    async fn run(&mut self) {
        loop {
            let now = Instant::now();
            self.core.tick(now, self.shared.clock.now());
            self.inputs.extend(self.room.inbox.take());
            let none = self.inputs.is_empty();
            // Before anything is checked.
            self.core.set_crowded(self.shared.is_crowded());
            while let Some(input) = self.inputs.pop_front() {
                self.handle(input).await;
            }
            if self.core.must_measure() {
                self.encoding(Core::advance).await;
            } else {
                self.core.advance();
            }
            self.core.expire();
            self.ask_for_snapshot(now, self.members.is_empty()).await;
            self.carry_out(now).await;
            if self.ended {
                return;
            }
            self.resting &= none;
            if !self.resting && self.core.is_idle() {
                self.resting = self.shared.rooms.rest(&self.room);
            }
            if none && self.may_unload(now) && self.deletes_when_idle() {
                self.delete_idle();
                continue;
            }
            if none && self.may_unload(now) {
                let room = Arc::clone(&self.room);
                if self.shared.rooms.forget(&room, || room.inbox.is_empty()) {
                    tracing::debug!(room = %room.name, "room unloaded");
                    return;
                }
            }
            let next = self.next_timeout();
            tokio::select! {
                biased;
                () = self.room.inbox.arrived() => {}
                () = tokio::time::sleep_until(TokioInstant::from_std(next)) => {}
            }
        }
    }

    async fn handle(&mut self, input: Input) {
        match input {
            Input::Join {
                session,
                mailbox,
                role,
                user,
                allowance,
            } => {
                mailbox.show_presence(self.room.presence.version());
                self.members.insert(session, mailbox);
                self.core.join(session, role, user, allowance);
            }
            Input::Commands {
                session,
                commands,
                came,
            } => {
                if let Some(came) = came {
                    self.core.came(came);
                }
                self.commands(session, commands).await;
            }
            Input::CatchUp(session) => {
                self.encoding(|core| core.catch_up(session)).await;
            }
            Input::Leave { session, clean } => self.leave(session, clean),
            Input::Committed(result, commit) => {
                if let Err(error) = &result {
                    observatory::room_poisoned();
                    tracing::error!(room = %self.room.name, seq = %self.core.durable().seq, %error,
                        "what came after this could not be stored; the room ends");
                }
                self.follow(&result, commit);
                self.core.committed(result);
            }
            Input::ReadState(reply) => {
                let request = self.request(Pending::State(reply));
                self.encoding(|core| core.read_state(request)).await;
            }
            Input::Write(writing) => {
                let request = self.request(Pending::Written(writing.reply));
                let allowance = writing.allowance.as_ref();
                self.core.write(request, writing.items, allowance);
            }
            Input::Begin(writing) => {
                let request = self.request(Pending::Written(writing.reply));
                let allowance = writing.allowance.as_ref();
                self.core.begin(request, writing.items, allowance);
            }
            Input::Restore(restore, reply) => {
                let request = self.request(Pending::Edited(reply));
                self.encoding(|core| core.restore(request, restore)).await;
            }
            Input::Delete(reply) => {
                self.deletions.push(reply);
                self.core.delete(CloseCode::NoRoom, DELETED);
            }
            Input::DeleteIdle(reply) => {
                if self.members.is_empty() {
                    self.deletions.push(reply);
                    self.delete_idle();
                } else {
                    drop(reply.send(Err(RoomError::InUse)));
                }
            }
            Input::End(code, reason) => {
                self.ask_for_snapshot(Instant::now(), true).await;
                self.core.end(code, reason);
            }
            Input::Rule(rule) => {
                self.core.set_rule(&rule);
                let lifetime = self.rule.lifetime;
                self.rule = SpaceRule { lifetime, ..rule };
            }
        }
    }

    async fn commands(&mut self, session: SessionId, commands: Vec<Command>) {
        for id in self.core.ops_to_find(&commands) {
            let log = &self.shared.history.stores().log;
            match log.find_op(&self.room.name, id).await {
                Ok(Some(seq)) => self.core.learn_op(id, seq),
                Ok(None) => {}
                Err(error) => {
                    // Without the answer the operation might enter the log twice.
                    tracing::error!(room = %self.room.name, %session, op = %id, %error, "an operation could not be looked up");
                    self.core.end(CloseCode::TryLater, "the log cannot be read");
                    return;
                }
            }
        }
        for command in commands {
            self.room.inbox.release(weigh_presence(&command));
            match command {
                Command::Presence(entries) => {
                    if let Some(role) = self.core.role(session) {
                        let changed = self.room.presence.update(session, role, entries);
                        if changed > 0 {
                            observatory::presence_changed(changed);
                            self.wave.moved();
                        }
                    }
                }
                // The member's cursor is its own; there is nothing to do for the room.
                Command::QueryPresence => {}
                Command::Enter {
                    client,
                    since,
                    version,
                } => {
                    let missing = match since {
                        Some(since) => self.missing_since(since).await,
                        None => Missing::Document,
                    };
                    self.encoding(|core| core.enter(session, client, missing, version.as_ref()))
                        .await;
                }
                command @ Command::Sync { .. } => {
                    self.encoding(|core| core.command(session, command)).await;
                }
                command @ Command::Submit(_) => self.core.command(session, command),
            }
        }
    }

    /// What the log has for a client that comes back. What the feed still has is not read: it follows
    /// from there.
    async fn missing_since(&mut self, since: Since) -> Missing {
        let durable = self.core.durable();
        if since.seq > durable.seq {
            return Missing::AnotherPast;
        }
        let held = if since.seq == durable.seq {
            Some(durable.at)
        } else {
            self.room.feed.time_at(since.seq)
        };
        match held {
            Some(at) if since.is_at(at) => Missing::Records(Vec::new(), (since.seq, at)),
            Some(_) => Missing::AnotherPast,
            None => self.read_since(since, durable).await,
        }
    }

    /// What the log has up to `durable`, which is not all in the feed.
    async fn read_since(&mut self, since: Since, durable: Head) -> Missing {
        let log = &self.shared.history.stores().log;
        let runs = log.read(&self.room.name, since.seq, CATCH_UP_BYTES).await;
        let Ok(runs) = runs else {
            return Missing::Document;
        };
        let before = runs.first().map(Run::before);
        if before.is_some_and(|it| it.seq == since.seq && !since.is_at(it.at)) {
            return Missing::AnotherPast;
        }
        let mut records = Vec::new();
        for record in runs.iter().flat_map(Run::records) {
            let Ok(record) = record else {
                return Missing::Document;
            };
            let (seq, at) = (record.seq, record.at);
            if record.draft.kind == protocol::Kind::Update {
                records.push(record);
            }
            // What has become durable meanwhile is in the feed.
            if seq == durable.seq {
                return Missing::Records(records, (seq, at));
            }
        }
        Missing::Document
    }

    /// Follows those updates of the oldest run that are traced, which is known by now; before anyone can
    /// be told of them.
    fn follow(&mut self, result: &Committed, commit: Commit) {
        let now = self.core.now().max(commit.ended);
        let Some(run) = self.core.oldest_lives() else {
            return;
        };
        for (journey, mark) in run.told(now, result.is_err()) {
            let mark = self.with_parent(mark, journey.session);
            let mut trace = journey.committed(&self.room.name, mark, commit);
            match result {
                Ok(_) => {
                    let members = self.members.keys().copied();
                    self.room.lives.begin(&journey, trace, members);
                }
                Err(error) => {
                    trace.fail(error.to_string());
                    trace::tell(trace);
                }
            }
        }
    }

    fn tell_of_refusal(&self, mut journey: Journey, mark: Option<Box<Mark>>, refusal: &Refusal) {
        let now = Instant::now();
        let mark = match mark {
            Some(mark) => *mark,
            None if trace::is_on() && trace::may_tell(now) => {
                let why = Why::Failed;
                self.with_parent(Mark { why, parent: None }, journey.session)
            }
            None => return,
        };
        journey.checked = Some(now);
        let mut trace = journey.trace(&self.room.name, mark);
        trace.fail(refusal.to_string());
        trace::tell(trace);
    }

    /// What turned out to be worth telling is part of its session's work too.
    fn with_parent(&self, mark: Mark, session: SessionId) -> Mark {
        let parent = mark.parent.or_else(|| self.room.guests.parent(session));
        Mark { parent, ..mark }
    }

    /// Does what may encode the document; a large one where it holds up no other room, when it is its
    /// turn.
    async fn encoding(&mut self, work: impl FnOnce(&mut Core)) {
        if self.core.document_bytes() > HEAVY_DOCUMENT_BYTES {
            // It is never closed.
            let _turn = self.shared.heavy.acquire().await;
            tokio::task::block_in_place(|| work(&mut self.core));
        } else {
            work(&mut self.core);
        }
    }

    fn leave(&mut self, session: SessionId, clean: bool) {
        if self.members.remove(&session).is_none() {
            return;
        }
        self.core.leave(session);
        self.room
            .sessions
            .store(self.members.len(), Ordering::Relaxed);
        if self.room.presence.leave(session, clean, Instant::now()) {
            self.wave.moved();
        }
    }

    fn request(&mut self, pending: Pending) -> u64 {
        self.next_request += 1;
        self.pending.insert(self.next_request, pending);
        self.next_request
    }

    /// Does what the core says, then wakes the members if it is time.
    async fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Append(run) => {
                    let room = Arc::clone(&self.room);
                    let bytes = run.bytes().len();
                    self.unsaved.add(bytes as u64, run.len(), now);
                    let committer = if self.is_ephemeral() {
                        &self.shared.ephemeral
                    } else {
                        self.shared.snapshots.moved(bytes, run.len());
                        &self.shared.committer
                    };
                    room.appending.fetch_add(1, Ordering::AcqRel);
                    committer.submit(room.name.clone(), run, move |result, commit| {
                        room.appending.fetch_sub(1, Ordering::AcqRel);
                        room.inbox.push(Input::Committed(result, commit));
                    });
                }
                Output::Publish(durable, updates, run_bytes) => {
                    if tracing::enabled!(tracing::Level::TRACE) {
                        for Update {
                            seq,
                            author,
                            payload,
                            ..
                        } in &updates
                        {
                            let bytes = payload.len();
                            tracing::trace!(room = %self.room.name, session = %author.session, %seq, bytes, "update durable");
                        }
                    }
                    self.room.feed.publish(&durable, updates, run_bytes);
                    self.published = Some(now);
                    self.moved = true;
                    self.shared.followers.moved(&self.room.name);
                }
                Output::Mail(session, mail) => {
                    if matches!(&mail.event, Event::Closed { reason, .. } if reason == memory::FULL)
                    {
                        observatory::limit_hit(Limit::Memory);
                    }
                    if let Some(mailbox) = self.members.get(&session) {
                        mailbox.put(mail);
                    }
                }
                Output::Answer(request, answer) => self.answer(request, answer),
                Output::Checked(new) => {
                    let at = Instant::now();
                    observatory::checked(new, at - now);
                    self.core.note_checked(at);
                }
                Output::Refused(journey, mark, refusal) => {
                    count_refused(&refusal);
                    match &refusal {
                        Refusal::TooLarge { .. } => observatory::limit_hit(Limit::DocumentSize),
                        Refusal::Spent { .. } => observatory::limit_hit(Limit::Month),
                        Refusal::NotStored(why) if why == memory::FULL => {
                            observatory::limit_hit(Limit::Memory);
                        }
                        _ => {}
                    }
                    let (session, op) = (journey.session, journey.op.map(tracing::field::display));
                    tracing::info!(room = %self.room.name, %session, op, %refusal, "a submission was refused");
                    self.tell_of_refusal(*journey, mark, &refusal);
                }
                Output::NotStored(submissions) => observatory::not_stored(submissions),
                Output::Stale(records) => observatory::staleness(records),
                Output::Settled(since) => observatory::acked(since.elapsed()),
                Output::Delete => self.delete().await,
                Output::Ended => {
                    self.end();
                    return;
                }
            }
        }
        self.room.inbox.release(self.core.take_released());
        self.room.document.set(self.core.memory_bytes());
        self.room.note_unsaved(self.unsaved.records());
        self.room
            .sessions
            .store(self.members.len(), Ordering::Relaxed);
        if self.room.presence.expire(now) {
            self.wave.moved();
        }
        if self.room.lives.is_any() {
            self.room.lives.expire(now);
        }
        if self
            .published
            .is_some_and(|at| now >= at + STATE_CACHE_TIME)
        {
            self.published = None;
            self.room.feed.clear();
            self.core.feed_cleared();
        }
        self.idle_since = match self.idle_since {
            _ if !self.core.is_idle() => None,
            None => Some(now),
            since => since,
        };
        if self.moved && now >= self.quiet_until {
            self.wake_members(now);
        }
        self.wave.advance(now, &self.room.presence, &self.members);
    }

    /// Has the document encoded if a snapshot is due, or would be and the room `has_time`, and its
    /// encoding would be all of it; it comes back as an answer once durable.
    async fn ask_for_snapshot(&mut self, now: Instant, has_time: bool) {
        let due = self.unsaved.is_due(now) || (has_time && self.unsaved.is_worth_it(now));
        if !due || self.snapshot_asked.is_some() || !self.keeps_snapshots() || !self.core.is_whole()
        {
            return;
        }
        self.snapshot_asked = Some(now);
        let clients = self.core.clients_checked().encode();
        let request = self.request(Pending::Snapshot(clients.into()));
        self.encoding(|core| core.read_state(request)).await;
        observatory::snapshot_encoded(now.elapsed());
    }

    fn keep_snapshot(&mut self, head: Head, clients: Bytes, content: Bytes) {
        let asked = self.snapshot_asked.take();
        let bytes = content.len();
        let snapshot = Snapshot {
            room: self.room.name.clone(),
            head,
            kind: self.shared.history.kind_of(&self.room.name).code(),
            title: self.title.clone(),
            created: self.created,
            clients,
            content,
        };
        if self.shared.snapshots.keep(&snapshot) {
            self.unsaved.taken(bytes as u64);
            if let Some(asked) = asked {
                observatory::snapshot_kept(asked.elapsed());
            }
        } else {
            self.unsaved.refused(Instant::now());
        }
    }

    fn wake_members(&mut self, now: Instant) {
        self.moved = false;
        for mailbox in self.members.values() {
            mailbox.wake();
        }
        // A timer has a resolution of a millisecond: below that there is no point in waiting.
        let pause = WAKE_COST * self.members.len() as u32;
        if pause >= Duration::from_millis(1) {
            self.quiet_until = now + pause.min(WAKE_PAUSE_MAX);
        }
    }

    fn answer(&mut self, request: u64, answer: Answer) {
        match (self.pending.remove(&request), answer) {
            (Some(Pending::State(reply)), Answer::State(head, payload)) => {
                // Whoever asked may have gone; nothing depends on it.
                drop(reply.send(Ok(State { head, payload })));
            }
            (Some(Pending::Written(reply)), Answer::Recorded(head)) => drop(reply.send(Ok(head))),
            (Some(Pending::Written(reply)), Answer::Exists) => {
                drop(reply.send(Err(RoomError::Exists)));
            }
            (Some(Pending::Written(reply)), Answer::Refused(why)) => {
                drop(reply.send(Err(RoomError::Refused(why))));
            }
            (Some(Pending::Written(reply)), Answer::Spent(refusal)) => {
                drop(reply.send(Err(RoomError::Spent(refusal))));
            }
            (Some(Pending::State(reply)), Answer::Full) => drop(reply.send(Err(memory::full()))),
            (Some(Pending::Snapshot(_)), Answer::Full) => {
                self.snapshot_asked = None;
                self.unsaved.refused(Instant::now());
            }
            (Some(Pending::State(reply)), Answer::NotStored(why)) => {
                drop(reply.send(Err(RoomError::Log(why))));
            }
            (Some(Pending::Written(reply)), Answer::NotStored(why)) => {
                drop(reply.send(Err(RoomError::Log(why))));
            }
            (Some(Pending::Edited(reply)), answer) => {
                let answer = match answer {
                    Answer::Edited(head, size) => Ok(Edited { head, size }),
                    Answer::Moved(head) => Err(RoomError::Moved(head.seq)),
                    Answer::Refused(why) => Err(RoomError::Refused(why)),
                    Answer::Spent(refusal) => Err(RoomError::Spent(refusal)),
                    Answer::NotStored(why) => Err(RoomError::Log(why)),
                    Answer::State(..) | Answer::Recorded(_) | Answer::Exists | Answer::Full => {
                        return;
                    }
                };
                drop(reply.send(answer));
            }
            (Some(Pending::Snapshot(clients)), Answer::State(head, payload)) => {
                self.keep_snapshot(head, clients, payload);
            }
            _ => {}
        }
    }

    /// Deletes the log, and tells those who asked for it; the members hear of it from the core.
    async fn delete(&mut self) {
        let entries = vec![Entry::Delete(self.room.name.clone())];
        let log = &self.shared.history.stores().log;
        let deleted = log.append(Batch { entries }).await;
        if let Err(error) = &deleted {
            tracing::error!(room = %self.room.name, %error, "the room could not be deleted");
        }
        if self.is_ephemeral() {
            self.shared.history.forget(&self.room.name);
        }
        self.shared.followers.moved(&self.room.name);
        let result = deleted.map(|_| ()).map_err(|error| error.to_string());
        for reply in self.deletions.drain(..) {
            drop(reply.send(result.clone().map_err(RoomError::Log)));
        }
        self.core.deleted(result);
    }

    /// The core has ended: let go of the room.
    fn end(&mut self) {
        self.ended = true;
        self.room.inbox.release(self.core.take_released());
        for reply in self.deletions.drain(..) {
            drop(reply.send(Err(RoomError::Ending)));
        }
        for (_, pending) in self.pending.drain() {
            match pending {
                Pending::State(reply) => drop(reply.send(Err(RoomError::Ending))),
                Pending::Written(reply) => drop(reply.send(Err(RoomError::Ending))),
                Pending::Edited(reply) => drop(reply.send(Err(RoomError::Ending))),
                Pending::Snapshot(_) => {}
            }
        }
        self.members.clear();
        self.room.sessions.store(0, Ordering::Relaxed);
        refuse_all(
            &self.shared,
            &self.room,
            CloseCode::TryLater,
            &RoomError::Ending,
        );
    }

    /// The owner panicked: what it holds is not to be trusted. Nobody is acked any more, and the
    /// next join loads what the log has, once everything that is on its way is there or is not.
    async fn end_after_panic(&mut self) {
        let room = Arc::clone(&self.room);
        observatory::room_poisoned();
        tracing::error!(room = %room.name, "the room's task panicked; its members are to come back");
        while room.appending.load(Ordering::Acquire) > 0 {
            room.inbox.arrived().await;
        }
        let reason = "the server made a mistake in this room, come back";
        for mailbox in self.members.values() {
            mailbox.put(closed(CloseCode::TryLater, reason.to_owned()));
        }
        let error = RoomError::Log(reason.to_owned());
        refuse(self.inputs.drain(..), CloseCode::TryLater, &error);
        self.end();
    }

    fn may_unload(&self, now: Instant) -> bool {
        self.room.presence.next_timeout().is_none()
            && self
                .idle_since
                .is_some_and(|since| now.saturating_duration_since(since) >= self.idle_time())
    }

    /// How long nobody may be here before the room ends.
    fn idle_time(&self) -> Duration {
        self.rule.idle.unwrap_or(self.shared.limits.idle_unload)
    }

    fn is_ephemeral(&self) -> bool {
        self.rule.lifetime == Lifetime::Ephemeral
    }

    fn keeps_snapshots(&self) -> bool {
        !self.is_ephemeral() && self.shared.snapshots.are_kept()
    }

    /// Whether the room has a log that ends with it. Where there is an archive, that of an expiring
    /// room goes there later.
    fn deletes_when_idle(&self) -> bool {
        let deletes = match self.rule.lifetime {
            Lifetime::Persistent => false,
            Lifetime::Expiring => !self.shared.has_archive(),
            Lifetime::Ephemeral => true,
        };
        deletes && self.core.durable().seq > Seq::ZERO
    }

    /// Deletes the room because nobody is here. Whoever comes meanwhile finds it gone; of an ephemeral
    /// room, which may begin anew, they are told to come back.
    fn delete_idle(&mut self) {
        if self.is_ephemeral() {
            self.core.delete(
                CloseCode::TryLater,
                "the room has been forgotten, come back",
            );
        } else {
            self.core.delete(CloseCode::NoRoom, DELETED);
        }
    }

    fn next_timeout(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        [
            self.core.next_timeout(),
            self.moved.then_some(self.quiet_until),
            self.wave.next_timeout(),
            self.published.map(|at| at + STATE_CACHE_TIME),
            self.room.presence.next_timeout(),
            self.room.lives.next_timeout(),
            self.unsaved.next_timeout().filter(|_| {
                self.snapshot_asked.is_none() && self.keeps_snapshots() && self.core.is_whole()
            }),
            self.idle_since
                .and_then(|since| since.checked_add(self.idle_time())),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(far)
    }
}

fn closed(code: CloseCode, reason: String) -> Mail {
    Mail {
        event: Event::Closed { code, reason },
        cursor: None,
    }
}
