//! A room's rules as a pure state machine: no IO, no clock, no task.
//!
//! Inputs go in with the time they came, [`Output`]s come out in order. The life of an update:
//!
//! ```text
//!  submit ─▶ unchecked ─▶ integrate ─▶ staged run ─▶ in flight ─▶ durable ─▶ feed, settled
//!                │            │                          │
//!             refused    adds nothing                 failed: the room ends, nothing is acked
//! ```
//!
//! The document takes an update before the log does: integrating is the check. It may therefore
//! be ahead of what is durable, and so everything that shows it (a state for a joiner, an ack for
//! an update that was already there) waits for the newest run that is still on its way. If that
//! run fails, the document is wrong, and the room ends: its members are closed without an ack, and
//! the next join loads what the log really holds.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use observatory::Owner;
use observatory::trace::{Mark, Marked};
use protocol::dialect::{Command, Content, Event, Placed, Refusal, Submission};
use protocol::limits::MAX_PAYLOAD_BYTES;
use protocol::record::RunBuilder;
use protocol::{
    Author, ClientId, CloseCode, Draft, Head, Kind, OpId, Record, Role, RoomName, Run, Seq,
    SessionId, Site, Timestamp, UserId,
};
use replay::{Checked, Clients, Document, DocumentError, EditSize, Folded, Known};
use storage::Durable;

use crate::committer::Committed;
use crate::feed::Update;
use crate::limits::{
    CACHED_STATE_TAIL_BYTES, CACHED_STATE_TAIL_RUNS, ROOM_COMMITS_IN_FLIGHT, STATE_CACHE_TIME,
};
use crate::memory::{FULL, Memory};
use crate::room::inbox::{self, Restore, weigh};
use crate::room::lives::{self, Journey};
use crate::room::measure::Measure;
use crate::rules::SpaceRule;
use crate::usage::{Account, Allowance, Monthly};

/// The session of what the server itself writes; a client's is never zero.
const SERVER: SessionId = SessionId::new(0);

/// A room's state and rules.
pub(crate) struct Core {
    room: RoomName,
    /// The most memory of the document, unless its space says otherwise.
    usual_memory: usize,
    document_limit: usize,
    /// What encoded documents are counted to.
    memory: Memory,
    /// Whether nothing may be taken that stays in memory.
    crowded: bool,
    measure: Measure,
    denies_binary: bool,
    /// What each account may write in a month, and where those are counted who have none.
    monthly: Monthly,
    own: Allowance,
    document: Box<dyn Document>,
    clients: Clients,
    sessions: HashMap<SessionId, Session>,
    /// How what is submitted next came.
    came: Came,
    unchecked: Vec<Unchecked>,
    staged: Staged,
    in_flight: VecDeque<InFlight>,
    durable: Head,
    state: Option<CachedState>,
    ending: Ending,
    /// Bytes of submissions that have been settled or refused since the shell last asked.
    released: usize,
    now: Instant,
    at: Timestamp,
    outputs: VecDeque<Output>,
}

/// What the shell is to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Hand the run to the committer; its result comes back through [`Core::committed`].
    Append(Run),
    /// A commit is durable and may be seen: put it into the feed. So many bytes are held for it.
    Publish(Durable<Head>, Vec<Update>, usize),
    /// Put this into a member's mailbox.
    Mail(SessionId, Mail),
    /// The answer to a request that the shell numbered.
    Answer(u64, Answer),
    /// A batch was checked: how many updates are new, and what was refused why.
    Checked(usize),
    /// A submission was refused, and whether it is traced.
    Refused(Box<Journey>, Option<Box<Mark>>, Refusal),
    /// So many submissions were taken and not stored.
    NotStored(usize),
    /// An operation was staged whose client had not seen so many records before it.
    Stale(u64),
    /// The oldest update of a durable commit arrived then.
    Settled(Instant),
    /// Nothing is on its way any more: delete the room's log. The result comes back through
    /// [`Core::deleted`].
    Delete,
    /// The room has ended; nothing more comes.
    Ended,
}

/// Something for one member.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// What happened.
    pub(crate) event: Event,
    /// Where the member's cursor into the feed stands after it.
    pub(crate) cursor: Option<Seq>,
}

/// An answer to a numbered request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The whole document, and the end of the log it was folded from.
    State(Head, Bytes),
    /// What was written is durable; the log ends here.
    Recorded(Head),
    /// An edit is durable, or there was none to make; the log ends here.
    Edited(Head, EditSize),
    /// The log does not end where it was expected to, but here; nothing was written.
    Moved(Head),
    /// The room has records already, and nothing was written.
    Exists,
    /// It was not written, and why.
    Refused(String),
    /// It was not written: there is no more of it this month.
    Spent(Refusal),
    /// The log did not take it, and why.
    NotStored(String),
    /// There is no memory for it now.
    Full,
}

/// What the log has for a client that enters.
#[derive(Debug)]
pub(crate) enum Missing {
    /// These records, which end at this Seq, of this time; they may be none, and the feed has more.
    Records(Vec<Record>, (Seq, Timestamp)),
    /// Too much, or the client did not say what it has: the document is the shorter way.
    Document,
    /// Another record where the client says that it has one, or none.
    AnotherPast,
}

struct Session {
    role: Role,
    user: Option<UserId>,
    /// What its records are taken from.
    allowance: Allowance,
    submitted: u64,
    /// A submission was refused for good: nothing later is taken or settled.
    refused: bool,
    /// Its joining has been answered; until then nothing else may be.
    joined: bool,
}

/// How submissions come, and how many of them have been taken.
struct Came {
    at: Instant,
    marked: Option<Box<Marked>>,
    seen: usize,
}

/// A submission with what its session was when it arrived: a session that leaves meanwhile takes
/// nothing with it and gains nothing.
struct Unchecked {
    session: SessionId,
    role: Role,
    user: Option<UserId>,
    number: u64,
    submission: Submission,
    received: Instant,
    mark: Option<Box<Mark>>,
}

/// The run that is being built while earlier ones are on their way.
struct Staged {
    run: RunBuilder,
    updates: Vec<StagedUpdate>,
    waiting: Vec<Waiting>,
    /// Of what clients submitted; there may be none.
    lives: Option<lives::Run>,
    bytes: usize,
}

/// An update whose payload lies in the run that is being built, and nowhere else: what it came in may be
/// much larger.
struct StagedUpdate {
    seq: Seq,
    at: Timestamp,
    author: Author,
    payload: Range<usize>,
}

struct InFlight {
    head: Head,
    run_bytes: usize,
    updates: Vec<Update>,
    waiting: Vec<Waiting>,
    lives: Option<lives::Run>,
    bytes: usize,
}

/// What is to be told once a run is durable.
enum Waiting {
    Settle(SessionId, u64),
    Place(SessionId, Placed),
    Mail(SessionId, Mail),
    Answer(u64, Answer),
}

struct CachedState {
    head: Head,
    bytes: Bytes,
    used: Instant,
    /// What has been staged since: it must still lie in the feed.
    tail_bytes: usize,
    tail_runs: usize,
}

enum Ending {
    /// The room lives.
    No,
    /// Nothing new is taken; once nothing is on its way, members are closed with this.
    When(CloseCode, String),
    /// Nothing new is taken; once nothing is on its way, the log is deleted, and whoever is here is
    /// closed with this. Nobody hears of that before it is durable.
    Deleting {
        asked: bool,
        code: CloseCode,
        reason: &'static str,
    },
    /// Members have been closed with this.
    Ended(CloseCode, String),
}

/// Why a session's submissions may be settled: the proof that what they hold is durable.
enum Proof<'a> {
    /// The commit that holds them, or that was on its way when they turned out to add nothing.
    Committed(&'a Durable<Head>),
    /// They add nothing to what had been read back from the log or made durable before.
    NothingNew,
}

impl Core {
    /// A room as its log has it, under its space's rule and with its space's account. Its document takes
    /// at most `document_bytes` of memory, unless the rule says otherwise.
    pub(crate) fn new(
        room: RoomName,
        folded: Folded,
        (document_bytes, memory): (usize, Memory),
        (rule, account): (&SpaceRule, Arc<Account>),
        now: Instant,
    ) -> Self {
        Self {
            room,
            usual_memory: document_bytes,
            document_limit: rule.room_memory.unwrap_or(document_bytes),
            memory,
            crowded: false,
            measure: Measure::new(rule.max_document),
            denies_binary: rule.denies_binary,
            monthly: rule.monthly,
            own: Allowance {
                account,
                own: Monthly::default(),
            },
            document: folded.document,
            clients: folded.clients,
            sessions: HashMap::new(),
            came: Came::new(now),
            unchecked: Vec::new(),
            staged: Staged::after(folded.head),
            in_flight: VecDeque::new(),
            durable: folded.head,
            state: None,
            ending: Ending::No,
            released: 0,
            now,
            at: folded.head.at,
            outputs: VecDeque::new(),
        }
    }

    /// The time at which things happen.
    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    /// What follows happens at this time.
    pub(crate) fn tick(&mut self, now: Instant, at: Timestamp) {
        self.now = now;
        self.at = at;
    }

    /// What is submitted next came like this.
    pub(crate) fn came(&mut self, came: inbox::Came) {
        self.came = Came {
            at: came.at,
            marked: came.marked,
            seen: 0,
        };
    }

    /// Everything that has arrived had been checked by then.
    pub(crate) fn note_checked(&mut self, at: Instant) {
        let staged = self.staged.lives.iter_mut();
        let in_flight = self.in_flight.iter_mut();
        for run in in_flight.filter_map(|run| run.lives.as_mut()).chain(staged) {
            run.note_checked(at);
        }
    }

    /// The lives of the oldest run in flight, if clients submitted any of it.
    pub(crate) fn oldest_lives(&mut self) -> Option<&mut lives::Run> {
        self.in_flight.front_mut()?.lives.as_mut()
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the document's encoding is all of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.document.is_whole()
    }

    /// A bound on the document's memory.
    pub(crate) fn document_bytes(&self) -> usize {
        self.document.memory_bytes()
    }

    /// What the document and the table of clients take in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.document_bytes() + self.clients.memory_bytes()
    }

    /// What the space asks of the document from here on.
    pub(crate) fn set_rule(&mut self, rule: &SpaceRule) {
        self.measure.set_limit(rule.max_document);
        self.denies_binary = rule.denies_binary;
        self.monthly = rule.monthly;
        self.document_limit = rule.room_memory.unwrap_or(self.usual_memory);
    }

    /// Whether there is memory for nothing that stays from here on.
    pub(crate) const fn set_crowded(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    /// Whether checking what has arrived takes encoding the document.
    pub(crate) fn must_measure(&self) -> bool {
        let arrived = self.unchecked.iter();
        let bytes = arrived.map(|item| item.submission.payload.len()).sum();
        bytes > 0 && self.measure.must_encode(bytes)
    }

    /// Nobody is here and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.sessions.is_empty() && !self.is_outstanding()
    }

    /// A session becomes a member. It is told so, with what the room has. What it writes is counted to
    /// its allowance, or to its space.
    pub(crate) fn join(
        &mut self,
        session: SessionId,
        role: Role,
        user: Option<UserId>,
        allowance: Option<Allowance>,
    ) {
        if let Ending::When(code, reason) | Ending::Ended(code, reason) = &self.ending {
            let mail = closed(*code, reason.clone());
            self.outputs.push_back(Output::Mail(session, mail));
            return;
        }
        let member = Session {
            role,
            user,
            allowance: allowance.unwrap_or_else(|| self.own.clone()),
            submitted: 0,
            refused: false,
            joined: !self.is_outstanding(),
        };
        self.sessions.insert(session, member);
        let event = Event::Joined {
            version: self.document.version(),
            role,
        };
        let cursor = Some(self.applied().seq);
        // The version may name what is not durable yet: the client would then hold it back as
        // known, so it hears the version when that is true for good.
        self.when_durable(Waiting::Mail(session, Mail { event, cursor }));
    }

    /// What a member may do.
    pub(crate) fn role(&self, session: SessionId) -> Option<Role> {
        self.sessions.get(&session).map(|member| member.role)
    }

    /// A session is gone. What it submitted goes on; what it waited for is dropped.
    pub(crate) fn leave(&mut self, session: SessionId) {
        self.check();
        self.sessions.remove(&session);
    }

    /// Takes a session's commands but presence, which is not the log's business.
    pub(crate) fn command(&mut self, session: SessionId, command: Command) {
        match command {
            Command::Submit(submission) => self.submit(session, submission),
            Command::Sync { version } => {
                self.check();
                self.sync(session, &version);
            }
            // Answered by [`Core::enter`], once it is known what the log has for it.
            Command::Enter { .. } | Command::Presence(_) | Command::QueryPresence => {}
        }
    }

    /// Operation ids of `commands` whose clients may have been forgotten: the shell looks them up in
    /// the log and tells [`Core::learn_op`] before it hands the commands over.
    pub(crate) fn ops_to_find(&self, commands: &[Command]) -> Vec<OpId> {
        let ids = commands.iter().filter_map(|command| match command {
            Command::Submit(submission) => submission.op_id,
            Command::Sync { .. }
            | Command::Enter { .. }
            | Command::Presence(_)
            | Command::QueryPresence => None,
        });
        ids.filter(|id| self.clients.find(*id) == Known::Perhaps)
            .collect()
    }

    /// What the log says about an operation id.
    pub(crate) fn learn_op(&mut self, id: OpId, seq: Seq) {
        self.clients.take(id, seq, None);
    }

    /// The clients that have written, as of what a state that is asked for next holds.
    pub(crate) fn clients_checked(&mut self) -> &Clients {
        self.check();
        &self.clients
    }

    /// The end of what is durable.
    pub(crate) fn durable(&self) -> Head {
        self.durable
    }

    /// Answers a client that enters: with the records it lacks if the log or the feed has them, else
    /// with what its document lacks, or with all of it if that is of another past.
    pub(crate) fn enter(
        &mut self,
        session: SessionId,
        client: ClientId,
        missing: Missing,
        version: Option<&Bytes>,
    ) {
        self.check();
        let began_anew = matches!(missing, Missing::AnotherPast);
        let version = version.filter(|it| !began_anew && !self.document.is_empty_version(it));
        let ((head, at), content) = if let Missing::Records(records, end) = missing {
            (end, Content::Records(records))
        } else if let Some(version) = version {
            let Head { seq, at, .. } = self.applied();
            match self.document.diff(version) {
                Ok(difference) => ((seq, at), Content::Difference(self.held(difference))),
                Err(error) => {
                    let reason = format!("the version is malformed: {error}");
                    let mail = closed(CloseCode::BadMessage, reason);
                    self.outputs.push_back(Output::Mail(session, mail));
                    return;
                }
            }
        } else if let Some((head, snapshot)) = self.encoded_state() {
            ((head.seq, head.at), Content::Snapshot(snapshot))
        } else {
            return self.turn_away(session);
        };
        let known = self.clients.get(client.get());
        let event = Event::Entered {
            head,
            at,
            began_anew,
            last_op: known.map_or(0, replay::Client::last),
            content,
        };
        let mail = Mail {
            event,
            cursor: Some(head),
        };
        // Its last operation may be on its way still.
        self.mail_when_durable(session, self.applied().seq, mail);
    }

    /// The member fell off the feed and wants the whole state.
    pub(crate) fn catch_up(&mut self, session: SessionId) {
        self.check();
        self.send_whole(session);
    }

    /// Answers `request` with the whole document.
    pub(crate) fn read_state(&mut self, request: u64) {
        self.check();
        let applied = self.applied().seq;
        self.state.take_if(|state| state.head.seq < applied);
        let Some((head, bytes)) = self.encoded_state() else {
            let answer = Output::Answer(request, Answer::Full);
            self.outputs.push_back(answer);
            return;
        };
        let answer = Answer::State(head, bytes);
        if head.seq <= self.durable.seq {
            self.outputs.push_back(Output::Answer(request, answer));
        } else {
            self.when_durable(Waiting::Answer(request, answer));
        }
    }

    /// Appends the server's own records and answers `request` when they are durable. An update
    /// that adds nothing is not written; one that is refused ends the writing there.
    pub(crate) fn write(
        &mut self,
        request: u64,
        items: Vec<(Kind, Bytes)>,
        allowance: Option<&Allowance>,
    ) {
        self.check();
        for (kind, payload) in items {
            if let Err(answer) = self.write_one(kind, payload, allowance) {
                self.outputs.push_back(Output::Answer(request, answer));
                return;
            }
        }
        let head = self.applied();
        self.when_durable(Waiting::Answer(request, Answer::Recorded(head)));
    }

    /// As [`Core::write`], for a room that has no record yet: of two who begin it, one learns that
    /// the other has.
    pub(crate) fn begin(
        &mut self,
        request: u64,
        items: Vec<(Kind, Bytes)>,
        allowance: Option<&Allowance>,
    ) {
        self.check();
        if self.applied() == Head::EMPTY {
            self.write(request, items, allowance);
        } else {
            self.outputs
                .push_back(Output::Answer(request, Answer::Exists));
        }
    }

    /// Writes the edit that makes the document show what is wanted, and before it the event that says
    /// so, if there is one.
    pub(crate) fn restore(&mut self, request: u64, restore: Restore) {
        self.check();
        let head = self.applied();
        if restore.expects.is_some_and(|seq| seq != head.seq) {
            self.when_durable(Waiting::Answer(request, Answer::Moved(head)));
            return;
        }
        let edit = match self.document.restore(&restore.wanted, restore.replica) {
            Ok(edit) => edit,
            Err(error) => {
                let answer = Answer::Refused(error.to_string());
                self.outputs.push_back(Output::Answer(request, answer));
                return;
            }
        };
        let size = edit.as_ref().and_then(|edit| edit.size).unwrap_or_default();
        let event = restore.details.map(|details| (Kind::Restored, details));
        let edit = edit.map(|edit| (Kind::Update, edit.payload));
        for (kind, payload) in event.into_iter().chain(edit) {
            if let Err(answer) = self.write_one(kind, payload, restore.allowance.as_ref()) {
                self.outputs.push_back(Output::Answer(request, answer));
                return;
            }
        }
        let head = self.applied();
        self.when_durable(Waiting::Answer(request, Answer::Edited(head, size)));
    }

    /// The error is what to answer.
    fn write_one(
        &mut self,
        kind: Kind,
        payload: Bytes,
        allowance: Option<&Allowance>,
    ) -> Result<(), Answer> {
        let refused = |why: String| Err(Answer::Refused(why));
        let mut site = None;
        if payload.len() > MAX_PAYLOAD_BYTES {
            let bytes = payload.len();
            return refused(format!(
                "it takes {bytes} bytes, and one record holds {MAX_PAYLOAD_BYTES}"
            ));
        }
        if kind == Kind::Update {
            if self.crowded {
                return refused(FULL.to_owned());
            }
            if let Some((bytes, limit)) = self.excess(payload.len()) {
                return refused(format!(
                    "the document would take {bytes} bytes, and may take {limit}"
                ));
            }
            if let Some(path) = self.binary(&payload) {
                return refused(Refusal::Binary { path }.to_string());
            }
            let allowance = allowance.unwrap_or(&self.own);
            allowance
                .take(payload.len(), self.monthly, self.at)
                .map_err(Answer::Spent)?;
            let unused = || allowance.account.give_back(payload.len());
            match self
                .document
                .integrate(std::slice::from_ref(&payload))
                .pop()
            {
                Some(Ok(checked)) if checked.adds => {
                    self.measure.grew(checked.growth);
                    site = checked.site;
                }
                Some(Ok(_)) | None => {
                    unused();
                    return Ok(());
                }
                Some(Err(error)) => {
                    unused();
                    return refused(error.to_string());
                }
            }
        }
        let bytes = payload.len();
        let draft = Draft {
            author: Author {
                user: None,
                session: SERVER,
                site,
            },
            op_id: None,
            base: None,
            kind,
            payload,
        };
        let head = self.staged.run.push(self.at, &draft);
        if kind == Kind::Update {
            self.document.recorded(head.seq);
            if let Some(state) = &mut self.state {
                state.tail_bytes += bytes;
            }
            self.staged.add(head, draft.author, bytes);
        }
        Ok(())
    }

    /// Stops taking anything new; once nothing is on its way, closes every member and ends.
    pub(crate) fn end(&mut self, code: CloseCode, reason: &str) {
        if matches!(self.ending, Ending::No) {
            self.ending = Ending::When(code, reason.to_owned());
        }
        self.advance();
    }

    /// Stops taking anything new; once nothing is on its way, has the log deleted, and then closes
    /// every member.
    pub(crate) fn delete(&mut self, code: CloseCode, reason: &'static str) {
        if matches!(self.ending, Ending::No) {
            self.ending = Ending::Deleting {
                asked: false,
                code,
                reason,
            };
        }
        self.advance();
    }

    /// What became of the deletion. The room ends either way: what was submitted meanwhile has not
    /// been taken, so whoever is still here after a failure is to come back and send it again.
    pub(crate) fn deleted(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                if let Ending::Deleting { code, reason, .. } = self.ending {
                    self.close_all(code, reason);
                }
            }
            Err(why) => {
                let reason = format!("the room could not be deleted and goes on: {why}");
                self.close_all(CloseCode::TryLater, &reason);
            }
        }
    }

    /// Everything that arrived has been handed over: check it and send what may be sent.
    pub(crate) fn advance(&mut self) {
        self.check();
        self.append_if_free();
        self.end_if_settled();
    }

    /// What became of the oldest run in flight.
    pub(crate) fn committed(&mut self, result: Committed) {
        let Some(run) = self.in_flight.pop_front() else {
            return;
        };
        let durable = match result {
            Ok(durable) => durable,
            Err(error) => {
                self.in_flight.push_front(run);
                self.fail(error.to_string());
                return;
            }
        };
        assert_eq!(
            *durable.get(),
            run.head,
            "{}: the log acked another run than the one in flight",
            self.room
        );
        self.durable = run.head;
        self.released += run.bytes;
        // Told before it can be seen: so a session that hears of its own operations hears of them
        // before whatever came after.
        for waiting in run.waiting {
            match waiting {
                Waiting::Settle(session, count) => {
                    self.settle(session, count, &Proof::Committed(&durable));
                }
                Waiting::Place(session, placed) => {
                    self.place(session, placed, &Proof::Committed(&durable));
                }
                Waiting::Mail(session, mail) => {
                    if let Some(member) = self.sessions.get_mut(&session) {
                        member.joined |= matches!(mail.event, Event::Joined { .. });
                        self.outputs.push_back(Output::Mail(session, mail));
                    }
                }
                Waiting::Answer(request, answer) => {
                    self.outputs.push_back(Output::Answer(request, answer));
                }
            }
        }
        self.outputs
            .push_back(Output::Publish(durable, run.updates, run.run_bytes));
        if let Some(lives) = run.lives {
            let since = lives.first.begun;
            self.outputs.push_back(Output::Settled(since));
        }
        self.append_if_free();
        self.end_if_settled();
    }

    /// When [`Core::expire`] is next due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.state
            .as_ref()
            .map(|state| state.used + STATE_CACHE_TIME)
    }

    /// Drops an encoded state that nobody asked for lately.
    pub(crate) fn expire(&mut self) {
        if self.next_timeout().is_some_and(|at| at <= self.now) {
            self.state = None;
        }
    }

    /// The feed is empty now: a cached state that needs a tail from it is of no use.
    pub(crate) fn feed_cleared(&mut self) {
        let durable = self.durable.seq;
        self.state.take_if(|state| state.head.seq < durable);
    }

    /// How many bytes of submissions have been settled or refused since the last call.
    pub(crate) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    fn submit(&mut self, session: SessionId, submission: Submission) {
        let mark = self.came.next();
        let member = self.sessions.get_mut(&session);
        let (Ending::No, Some(member)) = (&self.ending, member) else {
            self.released += weigh(&submission.payload);
            return;
        };
        if member.refused {
            self.released += weigh(&submission.payload);
            return;
        }
        member.submitted += 1;
        self.unchecked.push(Unchecked {
            session,
            role: member.role,
            user: member.user.clone(),
            number: member.submitted,
            submission,
            received: self.came.at,
            mark,
        });
    }

    /// Checks everything that has arrived, in order, each against what came before it.
    fn check(&mut self) {
        if self.unchecked.is_empty() {
            return;
        }
        let before = self.staged.run.head().seq;
        for item in std::mem::take(&mut self.unchecked) {
            let bytes = weigh(&item.submission.payload);
            let (session, number) = (item.session, item.number);
            match self.admit(&item) {
                Ok(Some(checked)) if checked.adds => {
                    self.measure.grew(checked.growth);
                    self.stage(item, checked.site);
                    continue;
                }
                Ok(_) => self.settle_after_newest(session, number),
                Err(None) => {}
                Err(Some(refusal)) => self.refuse(item, refusal),
            }
            self.released += bytes;
        }
        let new = self.staged.run.head().seq.since(before) as usize;
        self.outputs.push_back(Output::Checked(new));
    }

    /// Lets the document take a submission; viewers, limits and operations that are in the log
    /// already stop before it. `Ok(None)`: it is there already. `Err(None)`: its session was
    /// refused earlier, so nothing later of it is taken.
    fn admit(&mut self, item: &Unchecked) -> Result<Option<Checked>, Option<Refusal>> {
        if self
            .sessions
            .get(&item.session)
            .is_some_and(|member| member.refused)
        {
            return Err(None);
        }
        let payload = &item.submission.payload;
        if !item.role.can_write() {
            return match self.document.adds_nothing(payload) {
                Ok(true) => Ok(None),
                Ok(false) => Err(Some(Refusal::ReadOnly)),
                Err(error) => Err(Some(refusal(error))),
            };
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Some(Refusal::TooLarge {
                what: "the update",
                bytes: payload.len(),
                limit: MAX_PAYLOAD_BYTES,
            }));
        }
        if let Some(id) = item.submission.op_id {
            match self.clients.find(id) {
                Known::New | Known::Perhaps => {}
                Known::At(seq) => {
                    self.place_again(item.session, id, seq);
                    return Ok(None);
                }
                // One that added nothing has never been in the log, and adds nothing now.
                Known::Passed if self.document.adds_nothing(payload) == Ok(true) => {
                    return Ok(None);
                }
                Known::Passed => {
                    let last = self.clients.get(id.client());
                    return Err(Some(Refusal::OutOfOrder {
                        op: id.number(),
                        last: last.map_or(0, replay::Client::last),
                    }));
                }
            }
        }
        let room = self.room_for(payload.len());
        let allowance = match self.sessions.get(&item.session) {
            Some(member) => &member.allowance,
            None => &self.own,
        };
        let taken = room.and_then(|()| allowance.take(payload.len(), self.monthly, self.at));
        if let Err(refusal) = taken {
            // Whoever comes back says what it has, and is to read on.
            if self.document.adds_nothing(payload) == Ok(true) {
                return Ok(None);
            }
            return Err(Some(refusal));
        }
        let checked = if let Some(path) = self.binary(payload) {
            Err(Refusal::Binary { path })
        } else {
            let checked = self.document.integrate(std::slice::from_ref(payload)).pop();
            let gone = || Refusal::Malformed("the document gave no answer for it".to_owned());
            checked.ok_or_else(gone).and_then(|it| it.map_err(refusal))
        };
        if !checked.as_ref().is_ok_and(|checked| checked.adds) {
            allowance.account.give_back(payload.len());
        }
        checked.map(Some).map_err(Some)
    }

    /// Whether the document may grow by so many bytes.
    fn room_for(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.crowded {
            return Err(Refusal::NotStored(FULL.to_owned()));
        }
        let what = "the document";
        self.excess(bytes).map_or(Ok(()), |(bytes, limit)| {
            Err(Refusal::TooLarge { what, bytes, limit })
        })
    }

    /// What the document would take with so many bytes more, and what it may, if that is less: in
    /// memory, and encoded.
    fn excess(&mut self, bytes: usize) -> Option<(usize, usize)> {
        let memory = self.document.memory_bytes() + bytes;
        if memory > self.document_limit {
            return Some((memory, self.document_limit));
        }
        self.measure.excess(self.document.as_ref(), bytes)
    }

    /// Where an update has binary content that may not come in.
    fn binary(&self, payload: &Bytes) -> Option<String> {
        self.denies_binary.then(|| self.document.binary(payload))?
    }

    fn stage(&mut self, item: Unchecked, site: Option<Site>) {
        let is_told = self.staged.lives.is_none() || item.mark.is_some();
        let journey = is_told.then(|| item.journey(self.now));
        let payload = item.submission.payload;
        let draft = Draft {
            author: Author {
                user: item.user,
                session: item.session,
                site,
            },
            op_id: item.submission.op_id,
            base: item.submission.base,
            kind: Kind::Update,
            payload: payload.clone(),
        };
        let head = self.staged.run.push(self.at, &draft);
        self.document.recorded(head.seq);
        if let Some(id) = draft.op_id {
            self.clients.take(id, head.seq, draft.base);
            let stale = draft.base.map_or(0, |base| head.seq.previous().since(base));
            self.outputs.push_back(Output::Stale(stale));
            let placed = Placed {
                op: id.number(),
                seq: head.seq,
                count: 1,
                at: Some(head.at),
                stale,
            };
            add_place(&mut self.staged.waiting, item.session, placed);
        }
        if let Some(state) = &mut self.state {
            state.tail_bytes += payload.len();
        }
        if let Some(mut journey) = journey {
            journey.seq = Some(head.seq);
            let lives = &mut self.staged.lives;
            let lives = lives.get_or_insert_with(|| lives::Run::new(journey));
            lives.marked.extend(item.mark.map(|mark| (journey, *mark)));
        }
        self.staged.bytes += weigh(&payload);
        self.staged.add(head, draft.author, payload.len());
        add_settle(&mut self.staged.waiting, item.session, item.number);
    }

    fn refuse(&mut self, item: Unchecked, refusal: Refusal) {
        let (session, submission) = (item.session, item.number);
        if let Some(member) = self.sessions.get_mut(&session) {
            member.refused |= refusal.close_code().is_some();
        }
        let journey = Box::new(item.journey(self.now));
        self.outputs
            .push_back(Output::Refused(journey, item.mark, refusal.clone()));
        let event = Event::Refused {
            submission,
            refusal,
        };
        let mail = Mail {
            event,
            cursor: None,
        };
        self.outputs.push_back(Output::Mail(session, mail));
        self.settle_after_newest(session, submission);
    }

    /// Settles what adds nothing: now, if everything the document holds is durable, else with the
    /// newest run on its way, which may be the one that already holds it.
    fn settle_after_newest(&mut self, session: SessionId, count: u64) {
        if self.is_outstanding() {
            self.when_durable(Waiting::Settle(session, count));
        } else {
            self.settle(session, count, &Proof::NothingNew);
        }
    }

    fn settle(&mut self, session: SessionId, count: u64, proof: &Proof<'_>) {
        if let Proof::Committed(durable) = proof {
            debug_assert!(durable.get().seq <= self.durable.seq);
        }
        // After a refusal nothing more is settled: the client is to come back and resend.
        if self
            .sessions
            .get(&session)
            .is_none_or(|member| member.refused)
        {
            return;
        }
        let mail = Mail {
            event: Event::Settled { count },
            cursor: None,
        };
        self.outputs.push_back(Output::Mail(session, mail));
    }

    /// Says where operations are that have just become durable.
    fn place(&mut self, session: SessionId, placed: Placed, proof: &Proof<'_>) {
        if let Proof::Committed(durable) = proof {
            debug_assert!(durable.get().seq <= self.durable.seq);
        }
        let member = self.sessions.get(&session);
        if member.is_some_and(|member| !member.refused) {
            let mail = Mail {
                event: Event::Placed(placed),
                cursor: None,
            };
            self.outputs.push_back(Output::Mail(session, mail));
        }
    }

    /// Says where an operation is that was sent before: now, if that is durable.
    fn place_again(&mut self, session: SessionId, id: OpId, seq: Seq) {
        let placed = Placed {
            op: id.number(),
            seq,
            count: 1,
            at: None,
            stale: 0,
        };
        if self.is_outstanding() {
            self.when_durable(Waiting::Place(session, placed));
        } else {
            self.place(session, placed, &Proof::NothingNew);
        }
    }

    fn sync(&mut self, session: SessionId, version: &Bytes) {
        if self.document.is_empty_version(version) {
            return self.send_whole(session);
        }
        match self.document.diff(version) {
            Ok(payload) => self.send_state(session, self.applied(), self.held(payload)),
            Err(error) => {
                let reason = format!("the state vector is malformed: {error}");
                let mail = closed(CloseCode::BadMessage, reason);
                self.outputs.push_back(Output::Mail(session, mail));
            }
        }
    }

    fn send_whole(&mut self, session: SessionId) {
        match self.encoded_state() {
            Some((head, payload)) => self.send_state(session, head, payload),
            None => self.turn_away(session),
        }
    }

    /// There is no memory to encode the document in: the session is to come back.
    fn turn_away(&mut self, session: SessionId) {
        let mail = closed(CloseCode::TryLater, FULL.to_owned());
        self.outputs.push_back(Output::Mail(session, mail));
    }

    /// An encoding, counted until the last client has it.
    fn held(&self, encoding: Bytes) -> Bytes {
        self.memory.hold(Owner::States, encoding)
    }

    fn send_state(&mut self, session: SessionId, head: Head, payload: Bytes) {
        let Head { seq, at, .. } = head;
        let mail = Mail {
            event: Event::State { seq, at, payload },
            cursor: Some(seq),
        };
        self.mail_when_durable(session, seq, mail);
    }

    /// Tells a member something that shows the room up to `seq`.
    fn mail_when_durable(&mut self, session: SessionId, seq: Seq, mail: Mail) {
        let joined = self
            .sessions
            .get(&session)
            .is_some_and(|member| member.joined);
        if joined && seq <= self.durable.seq {
            self.outputs.push_back(Output::Mail(session, mail));
        } else {
            self.when_durable(Waiting::Mail(session, mail));
        }
    }

    /// The whole state, encoded once for everyone who comes within a while: a cached one serves as
    /// long as what came after it is short beside it and lies in the feed. `None` if there is no memory
    /// for another.
    fn encoded_state(&mut self) -> Option<(Head, Bytes)> {
        if let Some(state) = &mut self.state {
            let short = (state.bytes.len() / 4).min(CACHED_STATE_TAIL_BYTES);
            if state.tail_bytes <= short && state.tail_runs < CACHED_STATE_TAIL_RUNS {
                state.used = self.now;
                return Some((state.head, state.bytes.clone()));
            }
        }
        if self.memory.is_full() {
            return None;
        }
        let head = self.applied();
        let bytes = self.held(self.document.encode());
        self.state = Some(CachedState {
            head,
            bytes: bytes.clone(),
            used: self.now,
            tail_bytes: 0,
            tail_runs: 0,
        });
        Some((head, bytes))
    }

    fn when_durable(&mut self, waiting: Waiting) {
        if self.staged.run.head().seq > self.in_flight_head().seq {
            add(&mut self.staged.waiting, waiting);
        } else if let Some(newest) = self.in_flight.back_mut() {
            add(&mut newest.waiting, waiting);
        } else {
            match waiting {
                Waiting::Settle(session, count) => {
                    self.settle(session, count, &Proof::NothingNew);
                }
                Waiting::Place(session, placed) => {
                    self.place(session, placed, &Proof::NothingNew);
                }
                Waiting::Mail(session, mail) => {
                    self.outputs.push_back(Output::Mail(session, mail));
                }
                Waiting::Answer(request, answer) => {
                    self.outputs.push_back(Output::Answer(request, answer));
                }
            }
        }
    }

    fn append_if_free(&mut self) {
        if self.in_flight.len() >= ROOM_COMMITS_IN_FLIGHT
            || self.staged.run.head() == self.in_flight_head()
        {
            return;
        }
        let head = self.staged.run.head();
        let staged = std::mem::replace(&mut self.staged, Staged::after(head));
        if let Some(run) = staged.run.finish() {
            let updates = staged.updates.into_iter();
            self.in_flight.push_back(InFlight {
                head,
                run_bytes: run.bytes().len(),
                updates: updates.map(|update| update.of(&run)).collect(),
                waiting: staged.waiting,
                lives: staged.lives,
                bytes: staged.bytes,
            });
            if let Some(state) = &mut self.state {
                state.tail_runs += 1;
            }
            self.outputs.push_back(Output::Append(run));
        }
    }

    /// The log did not take a run: the document is ahead of it for good. Nobody is acked.
    fn fail(&mut self, why: String) {
        let staged = std::mem::replace(&mut self.staged, Staged::after(self.durable));
        let in_flight = self.in_flight.drain(..).flat_map(|run| run.waiting);
        let mut lost = 0;
        for waiting in in_flight.chain(staged.waiting) {
            match waiting {
                Waiting::Answer(request, _) => {
                    let answer = Answer::NotStored(why.clone());
                    self.outputs.push_back(Output::Answer(request, answer));
                }
                Waiting::Settle(..) | Waiting::Place(..) => lost += 1,
                Waiting::Mail(..) => {}
            }
        }
        self.outputs.push_back(Output::NotStored(lost));
        self.unchecked.clear();
        self.close_all(CloseCode::TryLater, &Refusal::NotStored(why).to_string());
    }

    fn end_if_settled(&mut self) {
        if self.is_outstanding() {
            return;
        }
        match &mut self.ending {
            Ending::When(code, reason) => {
                let (code, reason) = (*code, reason.clone());
                self.close_all(code, &reason);
            }
            Ending::Deleting { asked, .. } if !*asked => {
                *asked = true;
                self.outputs.push_back(Output::Delete);
            }
            Ending::No | Ending::Deleting { .. } | Ending::Ended(..) => {}
        }
    }

    fn close_all(&mut self, code: CloseCode, reason: &str) {
        for session in self.sessions.keys() {
            let mail = closed(code, reason.to_owned());
            self.outputs.push_back(Output::Mail(*session, mail));
        }
        self.sessions.clear();
        self.ending = Ending::Ended(code, reason.to_owned());
        self.outputs.push_back(Output::Ended);
    }

    fn is_outstanding(&self) -> bool {
        self.applied().seq > self.durable.seq
    }

    /// The end of what the document holds.
    fn applied(&self) -> Head {
        self.staged.run.head()
    }

    fn in_flight_head(&self) -> Head {
        self.in_flight.back().map_or(self.durable, |run| run.head)
    }
}

impl Staged {
    fn after(head: Head) -> Self {
        Self {
            run: RunBuilder::new(head),
            updates: Vec::new(),
            waiting: Vec::new(),
            lives: None,
            bytes: 0,
        }
    }

    /// The record that was pushed last is an update with a payload of so many bytes.
    fn add(&mut self, head: Head, author: Author, bytes: usize) {
        self.updates.push(StagedUpdate {
            seq: head.seq,
            at: head.at,
            author,
            payload: self.run.last_payload(bytes),
        });
    }
}

impl StagedUpdate {
    fn of(self, run: &Run) -> Update {
        Update {
            seq: self.seq,
            at: self.at,
            author: self.author,
            payload: run.bytes().slice(self.payload),
        }
    }
}

impl Unchecked {
    fn journey(&self, begun: Instant) -> Journey {
        Journey {
            session: self.session,
            number: self.number,
            op: self.submission.op_id,
            bytes: self.submission.payload.len(),
            seq: None,
            received: self.received,
            begun,
            checked: None,
        }
    }
}

impl Came {
    const fn new(at: Instant) -> Self {
        Self {
            at,
            marked: None,
            seen: 0,
        }
    }

    /// The mark of the next submission.
    fn next(&mut self) -> Option<Box<Mark>> {
        let marked = self.marked.as_ref()?;
        let mark = marked.of(self.seen);
        self.seen += 1;
        mark.map(Box::new)
    }
}

fn add(waiting: &mut Vec<Waiting>, new: Waiting) {
    match new {
        Waiting::Settle(session, count) => add_settle(waiting, session, count),
        Waiting::Place(session, placed) => add_place(waiting, session, placed),
        new @ (Waiting::Mail(..) | Waiting::Answer(..)) => waiting.push(new),
    }
}

/// Settling a later submission settles the earlier ones, so one row for each session will do.
fn add_settle(waiting: &mut Vec<Waiting>, session: SessionId, count: u64) {
    if let Some(Waiting::Settle(last, counted)) = waiting.last_mut()
        && *last == session
    {
        *counted = count;
        return;
    }
    waiting.push(Waiting::Settle(session, count));
}

/// Operations that follow one another in number, Seq and time are told as one.
fn add_place(waiting: &mut Vec<Waiting>, session: SessionId, new: Placed) {
    // The last settling of the same run stands behind the last placing.
    let place = match waiting.as_mut_slice() {
        [.., Waiting::Place(by, place), Waiting::Settle(settled, _)] if settled == by => {
            Some((by, place))
        }
        [.., Waiting::Place(by, place)] => Some((by, place)),
        _ => None,
    };
    if let Some((by, last)) = place
        && *by == session
        && last.op + last.count == new.op
        && last.seq.get() + last.count == new.seq.get()
        && last.at == new.at
    {
        last.count += new.count;
        last.stale = last.stale.max(new.stale);
        return;
    }
    waiting.push(Waiting::Place(session, new));
}

fn closed(code: CloseCode, reason: String) -> Mail {
    Mail {
        event: Event::Closed { code, reason },
        cursor: None,
    }
}

fn refusal(error: DocumentError) -> Refusal {
    match error {
        DocumentError::Malformed(what)
        | DocumentError::Missing(what)
        | DocumentError::Unsupported(what) => Refusal::Malformed(what),
    }
}

#[cfg(test)]
mod tests;
