//! Updates of others: checked as a whole, then applied as a whole.
//!
//! Every tick that an update builds on must be here first. If one is missing, the update waits in
//! [`Parked`](super::parked::Parked). Of merged updates those operations are applied that lack nothing, because
//! what the others wait for may build on them. What is here already is cut off, so that repeats change
//! nothing.

use super::content::skip;
use super::error::{ApplyError, FormatError};
use super::id::{Id, Measure, Seq};
use super::leaf::NONE;
use super::limits::{MAX_CHARS, MAX_CLIENTS, MAX_CONTENT_BYTES, MAX_TICKS};
use super::log::Void;
use super::parked::Waiting;
use super::tree::Spot;
use super::wire::{Kind, Op, Ops, Ref};
use super::{Text, quick};

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in the text now, and with it whatever waited for it.
    New,
    /// All of it was here already.
    Known,
    /// It waits for what it builds on: see [`Text::missing`]. What [`merge`](super::merge) made may be in
    /// the text in part.
    Parked,
}

/// A visible edit: at `at`, `deleted` goes and what [`Text::inserted`] gives comes.
///
/// Edits are to be carried out in the order in which they are given; positions and lengths are in
/// the measure that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub at: usize,
    /// How much of the text there goes.
    pub deleted: usize,
    pub(super) first: u32,
    pub(super) chars: u32,
}

/// Who wants to hear of visible edits.
pub(super) type Listener<'a> = Option<(Measure, &'a mut Vec<Change>)>;

/// What a check says.
pub(super) enum Verdict {
    Ready,
    Known,
    /// Ticks that are lacking and that the update does not have itself.
    Missing(Vec<Id>),
}

/// Room for one update at a time, kept so that applying allocates nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub ops: Ops,
    /// For each client of the update: its place here, how many ticks of it are here, and how many
    /// will be.
    places: Vec<u32>,
    known: Vec<u32>,
    soon: Vec<u32>,
    /// For each client, the ticks of this update that insert.
    inserts: Vec<Vec<(u32, u32)>>,
}

impl Text {
    /// Applies an update. A server gives the Seq that it has in the room; a client that hears
    /// updates in the server's order gives it too, and can then say what the text was at any Seq.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; then nothing has happened.
    pub fn apply(&mut self, update: &[u8], seq: Option<Seq>) -> Result<Applied, ApplyError> {
        self.apply_to(update, seq, None)
    }

    /// As [`Text::apply`], and appends the visible edits, counted in `measure`.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; then nothing has happened.
    pub fn apply_seen(
        &mut self,
        update: &[u8],
        seq: Option<Seq>,
        measure: Measure,
        changes: &mut Vec<Change>,
    ) -> Result<Applied, ApplyError> {
        self.apply_to(update, seq, Some((measure, changes)))
    }

    /// The text that a change inserts; empty if it only deletes.
    #[must_use]
    pub fn inserted(&self, change: &Change) -> &str {
        if change.first.saturating_add(change.chars) > self.log.chars {
            return "";
        }
        self.content.slice(change.first, change.chars)
    }

    fn apply_to(
        &mut self,
        update: &[u8],
        seq: Option<Seq>,
        mut listener: Listener<'_>,
    ) -> Result<Applied, ApplyError> {
        let before = self.log.now;
        let applied = self.apply_stamped(update, seq, &mut listener)?;
        if self.log.now > before && !self.parked.is_empty() {
            self.release(&mut listener);
        }
        Ok(applied)
    }

    /// Applies one update, and notes which moments came under its Seq.
    fn apply_stamped(
        &mut self,
        update: &[u8],
        seq: Option<Seq>,
        listener: &mut Listener<'_>,
    ) -> Result<Applied, ApplyError> {
        let from = self.log.now;
        let applied = if quick::apply(self, update, listener) {
            Applied::New
        } else {
            self.apply_one(update, seq, listener)?
        };
        // What waits has not happened yet; it is noted when its turn comes.
        if let Some(seq) = seq
            && applied != Applied::Parked
        {
            self.log.stamps.stamp(seq, from, self.log.now);
        }
        Ok(applied)
    }

    fn apply_one(
        &mut self,
        update: &[u8],
        seq: Option<Seq>,
        listener: &mut Listener<'_>,
    ) -> Result<Applied, ApplyError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let verdict = scratch
            .ops
            .decode(update)
            .map_err(ApplyError::from)
            .and_then(|()| self.check_ops(&mut scratch, true));
        let applied = match verdict {
            Ok(Verdict::Ready) => {
                self.integrate_all(&mut scratch, update, listener);
                Ok(Applied::New)
            }
            Ok(Verdict::Known) => Ok(Applied::Known),
            Ok(Verdict::Missing(ids)) => {
                if self.parked.park(&ids, update, seq) {
                    if scratch.ops.apart {
                        self.integrate_all(&mut scratch, update, listener);
                    }
                    Ok(Applied::Parked)
                } else {
                    Err(ApplyError::TooManyParked)
                }
            }
            Err(error) => Err(error),
        };
        self.scratch = scratch;
        applied
    }

    /// Applies what waited for what is here now, and what waited for that.
    fn release(&mut self, listener: &mut Listener<'_>) {
        while let Some(waiting) = self
            .parked
            .take_ready(|client, clock| self.log.clock(client) > clock)
        {
            // What turns out to be malformed, or no longer fits, is dropped: its sender was told
            // only that it waits.
            let Waiting { update, seq, .. } = waiting;
            if self.apply_stamped(&update, seq, listener).is_err() {
                self.parked.refused += 1;
            }
        }
    }

    /// Whether everything that an update builds on is here, and names what it should. Of merged ones, if
    /// `apart`, the operations that lack something are taken out.
    pub(super) fn check_ops(
        &self,
        scratch: &mut Scratch,
        apart: bool,
    ) -> Result<Verdict, ApplyError> {
        let Scratch {
            ops,
            places,
            known,
            soon,
            inserts,
        } = scratch;
        places.clear();
        known.clear();
        soon.clear();
        for client in &ops.clients {
            let place = self.log.place(*client).unwrap_or(NONE);
            let clock = self
                .log
                .authors
                .get(place as usize)
                .map_or(0, |author| author.clock);
            places.push(place);
            known.push(clock);
            soon.push(clock);
        }
        for list in inserts.iter_mut() {
            list.clear();
        }
        if inserts.len() < ops.clients.len() {
            inserts.resize(ops.clients.len(), Vec::new());
        }
        let check = Check {
            text: self,
            places,
            known,
        };
        let apart = apart && ops.apart;
        let mut sums = Sums::default();
        let mut lacking = Vec::new();
        // From which tick on a client's operations wait; its later ones wait for that.
        let mut waits_from = Vec::new();
        let mut ready = 0;
        for at in 0..ops.ops.len() {
            let op = ops.ops[at];
            let Some(lack) = check.op(&op, soon, inserts, &mut sums)? else {
                ops.ops[ready] = op;
                ready += 1;
                continue;
            };
            waits_from.resize(ops.clients.len(), u32::MAX);
            if lack.clock < waits_from[lack.client as usize] {
                lacking.push(Id {
                    client: ops.clients[lack.client as usize],
                    clock: lack.clock,
                });
            }
            if !apart {
                return Ok(Verdict::Missing(lacking));
            }
            let from = &mut waits_from[op.author as usize];
            *from = op.clock.min(*from);
        }
        ops.ops.truncate(ready);
        let fits = sums.ticks <= u64::from(MAX_TICKS - self.log.now)
            && sums.chars <= u64::from(MAX_CHARS - self.log.chars)
            && sums.bytes <= MAX_CONTENT_BYTES - self.content.bytes()
            && ops.clients.len() <= MAX_CLIENTS as usize - self.log.authors.len();
        if sums.ticks > 0 && !fits {
            return Err(ApplyError::Full);
        }
        Ok(if !lacking.is_empty() {
            Verdict::Missing(lacking)
        } else if sums.ticks == 0 {
            Verdict::Known
        } else {
            Verdict::Ready
        })
    }

    pub(super) fn integrate_all(
        &mut self,
        scratch: &mut Scratch,
        update: &[u8],
        listener: &mut Listener<'_>,
    ) {
        let Scratch { ops, places, .. } = scratch;
        for op in &ops.ops {
            let client = ops.clients[op.author as usize];
            if places[op.author as usize] == NONE {
                places[op.author as usize] = self.log.admit(client);
            }
            let author = places[op.author as usize];
            let clock = self.log.authors[author as usize].clock;
            let Some(known) = clock.checked_sub(op.clock) else {
                continue;
            };
            if known >= op.len {
                continue;
            }
            if matches!(op.kind, Kind::GoOn | Kind::Insert) {
                let start = op.text.0 as usize;
                let text = &update[start..start + op.text.1 as usize];
                // Decoding has seen that it is UTF-8.
                let text = str::from_utf8(text).unwrap_or_default();
                self.integrate_insert(op, author, places, known, text, listener);
            } else {
                self.integrate_delete(op, author, places, known, listener);
            }
        }
    }

    fn integrate_insert(
        &mut self,
        op: &Op,
        author: u32,
        places: &[u32],
        known: u32,
        text: &str,
        listener: &mut Listener<'_>,
    ) {
        let (left, right, text) = if op.kind == Kind::GoOn || known > 0 {
            let last = self.log.authors[author as usize].last;
            (last, self.right_of(last), skip(text, known))
        } else {
            (
                self.resolve(op.left, places),
                self.resolve(op.right, places),
                text,
            )
        };
        self.integrate(author, left, right, text, listener);
    }

    /// The right origin of a character.
    #[inline]
    pub(super) fn right_of(&self, n: u32) -> u32 {
        match self.origins.runs.last() {
            Some(last) if last.n <= n => last.right,
            _ => self.origins.run(n).right,
        }
    }

    /// The character that a checked reference names.
    #[inline]
    fn resolve(&mut self, reference: Ref, places: &[u32]) -> u32 {
        if reference.client == NONE {
            return NONE;
        }
        let place = places[reference.client as usize];
        if place == NONE {
            return NONE;
        }
        self.log
            .char_of(place, reference.clock)
            .map_or(NONE, |(n, _)| n)
    }

    /// Inserts text of an author between two origins.
    #[inline]
    pub(super) fn integrate(
        &mut self,
        author: u32,
        left: u32,
        right: u32,
        text: &str,
        listener: &mut Listener<'_>,
    ) {
        let n = self.log.chars;
        let spot = if left != NONE && left + 1 == n {
            // Nothing can have the newest character as an origin yet.
            self.tree.after(left)
        } else {
            let entry = &self.log.authors[author as usize];
            let (client, clock) = (entry.client.get(), entry.clock);
            self.place(left, right, client, clock, n)
        };
        let len = self.content.push(text);
        if !self.content.is_ascii() && self.tree.extras.is_none() {
            self.tree.count_extras(&self.content);
        }
        let head = self.origins.push(n, left, right);
        self.tree.insert(spot, n, len, head, NONE, &self.content);
        self.hang(n, len);
        self.log.insert(author, len);
        if let Some((measure, changes)) = listener {
            let at = self.tree.rank(self.tree.locate(n), *measure, &self.content);
            changes.push(Change {
                at: at as usize,
                deleted: 0,
                first: n,
                chars: len,
            });
        }
    }

    fn integrate_delete(
        &mut self,
        op: &Op,
        author: u32,
        places: &[u32],
        known: u32,
        listener: &mut Listener<'_>,
    ) {
        let mut left = op.len - known;
        let target = places[op.left.client as usize];
        let back = op.kind == Kind::DeleteBack;
        let mut clock = if back {
            op.left.clock - known
        } else {
            op.left.clock + known
        };
        while left > 0 {
            let what = Void {
                author: target,
                clock,
                back,
            };
            let Some((n, follow)) = self.log.char_of(target, clock) else {
                // Cannot be after a check; the ticks must pass all the same.
                return self.log.void(author, left, what);
            };
            let piece;
            if back {
                let run = self.log.runs[self.log.run_of_tick(target, clock)];
                piece = left.min(clock - run.clock + 1);
                self.erase(author, n - (piece - 1), piece, what, listener);
                clock = clock.wrapping_sub(piece);
            } else {
                piece = left.min(follow);
                self.erase(author, n, piece, what, listener);
                clock = clock.wrapping_add(piece);
            }
            left -= piece;
        }
    }

    /// Tells that the characters `n..n + len`, which stand at a place, are about to go.
    #[inline]
    pub(super) fn tell_deleted(&self, spot: Spot, n: u32, len: u32, listener: &mut Listener<'_>) {
        let Some((measure, changes)) = listener else {
            return;
        };
        let at = self.tree.rank(spot, *measure, &self.content) as usize;
        let deleted = super::rank::weigh(&self.content, n, len, *measure) as usize;
        changes.push(Change {
            at,
            deleted,
            first: 0,
            chars: 0,
        });
    }

    /// An author deletes the characters `n..n + len`, the ticks of which `what` says, in its
    /// direction.
    pub(super) fn erase(
        &mut self,
        author: u32,
        n: u32,
        len: u32,
        what: Void,
        listener: &mut Listener<'_>,
    ) {
        let (mut n, mut left, mut what) = (n, len, what);
        let back = what.back;
        while left > 0 {
            let target = if back { n + left - 1 } else { n };
            let mut spot = self.tree.locate(target);
            let span = self.tree.leaves[spot.leaf as usize].span(spot.index as usize);
            let piece = if back {
                let piece = left.min(spot.offset + 1);
                spot.offset -= piece - 1;
                piece
            } else {
                left.min(span.chars() - spot.offset)
            };
            if span.is_dead() {
                self.log.void(author, piece, what);
            } else {
                self.tell_deleted(spot, span.first + spot.offset, piece, listener);
                self.tree
                    .kill(spot, piece, self.log.now, back, &self.content);
                self.log.delete(author, target, piece, back);
            }
            left -= piece;
            if back {
                what.clock = what.clock.wrapping_sub(piece);
            } else {
                what.clock = what.clock.wrapping_add(piece);
                n += piece;
            }
        }
    }
}

/// What a check looks things up in.
struct Check<'a> {
    text: &'a Text,
    places: &'a [u32],
    known: &'a [u32],
}

/// How much an update adds.
#[derive(Default)]
struct Sums {
    ticks: u64,
    chars: u64,
    bytes: usize,
}

impl Check<'_> {
    /// Checks an operation after those before it, and counts it. Gives a tick that it lacks.
    fn op(
        &self,
        op: &Op,
        soon: &mut [u32],
        inserts: &mut [Vec<(u32, u32)>],
        sums: &mut Sums,
    ) -> Result<Option<Ref>, FormatError> {
        let author = op.author as usize;
        let end = op.clock + op.len;
        if end <= soon[author] {
            return Ok(None);
        }
        if op.clock > soon[author] {
            return Ok(Some(Ref {
                client: op.author,
                clock: op.clock - 1,
            }));
        }
        let new = u64::from(end - soon[author]);
        // Of an operation that is partly here, only the rest is looked at.
        let partly = op.clock < soon[author];
        match op.kind {
            Kind::GoOn | Kind::Insert => {
                if op.kind == Kind::Insert && !partly {
                    for reference in [op.left, op.right] {
                        let lack = self.lacks(op, reference, 1, soon, inserts)?;
                        if lack.is_some() {
                            return Ok(lack);
                        }
                    }
                } else {
                    let log = &self.text.log;
                    let place = self.places[author];
                    let before = place != NONE && log.authors[place as usize].last != NONE;
                    if !before && inserts[author].is_empty() {
                        return Err(FormatError::Reference);
                    }
                }
                match inserts[author].last_mut() {
                    Some(last) if last.1 == soon[author] => last.1 = end,
                    _ => inserts[author].push((soon[author], end)),
                }
                sums.chars += new;
                sums.bytes += op.text.1 as usize;
            }
            Kind::Delete | Kind::DeleteBack => {
                let mut first = op.left;
                if op.kind == Kind::DeleteBack {
                    first.clock -= op.len - 1;
                }
                let lack = self.lacks(op, first, op.len, soon, inserts)?;
                if lack.is_some() {
                    return Ok(lack);
                }
                // A client deletes each character at most once, so that its ticks are at most
                // twice the characters: a few bytes cannot use up a text's ticks.
                if u64::from(end) > 2 * (u64::from(self.text.log.chars) + sums.chars) {
                    return Err(FormatError::Reference);
                }
            }
        }
        sums.ticks += new;
        soon[author] = end;
        Ok(None)
    }

    /// The last of `len` ticks if some are neither here nor earlier in the update; an error if one is
    /// there and inserted nothing.
    fn lacks(
        &self,
        op: &Op,
        first: Ref,
        len: u32,
        soon: &[u32],
        inserts: &[Vec<(u32, u32)>],
    ) -> Result<Option<Ref>, FormatError> {
        if first.client == NONE {
            return Ok(None);
        }
        let client = first.client as usize;
        let end = first.clock + len;
        if end > soon[client] {
            if first.client == op.author {
                // It builds on a tick of its own that comes later.
                return Err(FormatError::Reference);
            }
            return Ok(Some(Ref {
                client: first.client,
                clock: end - 1,
            }));
        }
        let mut clock = first.clock;
        while clock < end.min(self.known[client]) {
            let Some((_, follow)) = self.text.log.char_of(self.places[client], clock) else {
                return Err(FormatError::Reference);
            };
            clock += follow;
        }
        if clock < end {
            let list = &inserts[client];
            let place = list.partition_point(|(from, _)| *from <= clock);
            let inside = place
                .checked_sub(1)
                .is_some_and(|place| end <= list[place].1);
            if !inside {
                return Err(FormatError::Reference);
            }
        }
        Ok(None)
    }
}
