//! Traces: which lives are told, and of what they are made.
//!
//! A [`Trace`] is made after the fact, from moments that were noted anyway, so what is not traced costs a
//! look at a counter for each batch of updates. There are four reasons ([`Why`]) to tell one: it is one in
//! so many, its caller traces it ([`Parent`]), it was slow, or it failed. Callers and the rest are each
//! bound to so many a second ([`Settings::per_second`]); who takes traces may refuse one that finds no
//! place. What is not told for that is counted.
//!
//! Until [`install`] is called nothing is traced.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::labels::Untold;
use crate::metrics;

/// The most bytes of a text in a trace; what is beyond is cut off.
const TEXT_BYTES: usize = 512;

/// What is traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// One in so many is; `None` for none.
    pub one_in: Option<NonZeroU64>,
    /// What takes this long is.
    pub slow: Duration,
    /// The most traces in a second: so many that callers ask for, and so many others.
    pub per_second: u32,
}

/// Why something is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is one in so many.
    Sampled,
    /// Its caller traces it.
    Caller,
    /// It was slow.
    Slow,
    /// It failed.
    Failed,
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Caller => "caller",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// Whose work this is part of: a span of a caller, as W3C Trace Context has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`: `00-{32 hex digits}-{16}-{2}`. `None` for what is none, and the work is
    /// then nobody's. Of a later version, what this one knows of it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        let mut parts = known.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)? as u64;
        let flags = hex(parts.next()?, 2)?;
        let fits = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_one = fits && parts.next().is_none() && trace != 0 && span != 0;
        is_one.then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The id of the trace.
    #[must_use]
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The id of the caller's span.
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.span
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// Which of a batch of updates are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// The first, counted from 0.
    pub first: usize,
    /// How far the others lie apart: 1 or more.
    pub step: usize,
    /// How many.
    pub count: usize,
    /// Why.
    pub mark: Mark,
}

/// That something is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Why.
    pub why: Why,
    /// Whose work it is part of.
    pub parent: Option<Parent>,
}

impl Marked {
    /// The mark of the `nth` of the batch, counted from 0.
    #[must_use]
    pub fn of(&self, nth: usize) -> Option<Mark> {
        let after = nth.checked_sub(self.first)?;
        let is_one = after.is_multiple_of(self.step) && after / self.step < self.count;
        is_one.then_some(self.mark)
    }
}

/// What somebody did, from its beginning to its end, and the stages that it went through.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id: its caller's, or a new one.
    pub id: u128,
    /// The caller's span.
    pub parent: Option<u64>,
    /// What it was.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// More about it.
    pub fields: Vec<(&'static str, Value)>,
    /// What it failed with.
    pub error: Option<String>,
    /// In order.
    pub stages: Vec<Stage>,
}

/// A part of a trace.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What it was.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// More about it.
    pub fields: Vec<(&'static str, Value)>,
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Words, of a bounded length.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(bounded(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

impl Trace {
    /// Of what began then, under its caller's trace if it has one.
    #[must_use]
    pub fn new(name: &'static str, mark: Mark, began: Instant) -> Self {
        let random = || u128::from(new_id()) << 64 | u128::from(new_id());
        Self {
            id: mark.parent.map_or_else(random, |parent| parent.trace),
            parent: mark.parent.map(|parent| parent.span),
            name,
            began,
            ended: began,
            fields: vec![("well.why", mark.why.name().into())],
            error: None,
            stages: Vec::new(),
        }
    }

    /// Says more about it.
    pub fn field(&mut self, key: &'static str, value: impl Into<Value>) {
        self.fields.push((key, value.into()));
    }

    /// It went through this then, and ended no earlier.
    pub fn stage(&mut self, name: &'static str, began: Instant, ended: Instant) -> &mut Stage {
        let ended = ended.max(began);
        self.ended = self.ended.max(ended);
        self.stages.push(Stage {
            name,
            began,
            ended,
            fields: Vec::new(),
        });
        let last = self.stages.len() - 1;
        &mut self.stages[last]
    }

    /// It failed with this.
    pub fn fail(&mut self, error: String) {
        self.error = Some(bounded(error));
    }
}

/// An id that no other span has; not zero, which stands for none.
#[must_use]
pub fn new_id() -> u64 {
    // Without randomness a trace is worth less than going on.
    getrandom::u64().unwrap_or(1).max(1)
}

/// Takes a trace to where it is looked at; false if there is no place for it.
type Sink = Box<dyn Fn(Trace) -> bool + Send + Sync>;

struct Tracer {
    settings: Settings,
    sink: Sink,
    /// How many updates have come, and requests.
    seen: AtomicU64,
    callers: Budget,
    others: Budget,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Traces from here on, and hands what is told to `sink`, which does not wait. Only the first call counts.
pub fn install(settings: Settings, sink: impl Fn(Trace) -> bool + Send + Sync + 'static) {
    let _ = TRACER.set(Tracer::new(settings, Box::new(sink)));
}

/// Whether anything is traced.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Whether what took this long is slow, and so traced; never while nothing is.
#[must_use]
pub fn is_slow(took: Duration) -> bool {
    TRACER.get().is_some_and(|it| took >= it.settings.slow)
}

/// Which of `count` things that have just come are traced from the start: those that their caller traces,
/// or one in so many.
#[must_use]
pub fn mark(count: usize, parent: Option<Parent>, now: Instant) -> Option<Marked> {
    TRACER.get()?.mark(count, parent, now)
}

/// Whether what turned out to be slow or to fail may be told; it is counted if not.
#[must_use]
pub fn may_tell(now: Instant) -> bool {
    TRACER.get().is_some_and(|it| it.may_tell(now))
}

/// Tells of it.
pub fn tell(trace: Trace) {
    if let Some(tracer) = TRACER.get() {
        tracer.tell(trace);
    }
}

impl Tracer {
    fn new(settings: Settings, sink: Sink) -> Self {
        let began = Instant::now();
        Self {
            settings,
            sink,
            seen: AtomicU64::new(0),
            callers: Budget::new(settings.per_second, began),
            others: Budget::new(settings.per_second, began),
        }
    }

    fn mark(&self, count: usize, parent: Option<Parent>, now: Instant) -> Option<Marked> {
        if parent.is_some_and(|parent| parent.sampled) {
            let may = self.callers.take(count, now);
            if may > 0 {
                let why = Why::Caller;
                return Some(Marked {
                    first: 0,
                    step: 1,
                    count: may,
                    mark: Mark { why, parent },
                });
            }
        }
        let one_in = self.settings.one_in?.get();
        let before = self.seen.fetch_add(count as u64, Ordering::Relaxed);
        let first = usize::try_from(one_in - 1 - before % one_in).ok()?;
        let step = usize::try_from(one_in).unwrap_or(usize::MAX);
        let hits = count.saturating_sub(first).div_ceil(step);
        if hits == 0 {
            return None;
        }
        let count = self.others.take(hits, now);
        let why = Why::Sampled;
        (count > 0).then_some(Marked {
            first,
            step,
            count,
            mark: Mark { why, parent },
        })
    }

    fn may_tell(&self, now: Instant) -> bool {
        self.others.take(1, now) == 1
    }

    fn tell(&self, trace: Trace) {
        if (self.sink)(trace) {
            metrics::trace_told();
        } else {
            metrics::traces_untold(Untold::Queue, 1);
        }
    }
}

/// So many a second.
struct Budget {
    per_second: usize,
    began: Instant,
    /// The second, and what has been taken in it.
    taken: Mutex<(u64, usize)>,
}

impl Budget {
    const fn new(per_second: u32, began: Instant) -> Self {
        Self {
            per_second: per_second as usize,
            began,
            taken: Mutex::new((0, 0)),
        }
    }

    /// As many of `wanted` as may be; the others are counted.
    fn take(&self, wanted: usize, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.began).as_secs();
        let mut taken = self.taken.lock();
        if taken.0 != second {
            *taken = (second, 0);
        }
        let may = wanted.min(self.per_second - taken.1);
        taken.1 += may;
        drop(taken);
        if may < wanted {
            metrics::traces_untold(Untold::Rate, wanted - may);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(one_in: u64) -> Tracer {
        let settings = Settings {
            one_in: NonZeroU64::new(one_in),
            slow: Duration::from_millis(250),
            per_second: 5,
        };
        Tracer::new(settings, Box::new(|_| true))
    }

    #[test]
    fn a_traceparent_is_what_w3c_says() {
        let parent = Parent::parse(TEXT).unwrap();
        assert_eq!(parent.trace(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parent.span(), 0xb7ad_6b71_6920_3331);
        assert!(parent.sampled);
        let with = |from: &str, to: &str| Parent::parse(&TEXT.replacen(from, to, 1));
        assert_eq!(with("-01", "-00").map(|it| it.sampled), Some(false));
        assert_eq!(with("-01", "-03").map(|it| it.sampled), Some(true));
        assert_eq!(with("-01", "-01-more"), None, "version 0 has four parts");
        let later = Parent::parse(&format!("cc{}-more", &TEXT[2..]));
        assert_eq!(
            later,
            Some(parent),
            "a later version is read as far as it is known"
        );
        for (from, to) in [
            ("00-", "ff-"),
            ("00-", "0-"),
            ("0af7", "0AF7"),
            ("0af7", "+af7"),
            ("0af7", "0a-7"),
            (
                "0af7651916cd43dd8448eb211c80319c",
                "00000000000000000000000000000000",
            ),
            ("b7ad6b7169203331", "0000000000000000"),
            ("-01", "-0"),
            ("-01", "-01 "),
            ("00-", "cc-0"),
        ] {
            assert_eq!(with(from, to), None, "{from:?} as {to:?}");
        }
        assert_eq!(Parent::parse(""), None);
        assert_eq!(Parent::parse(&"ü".repeat(40)), None);
    }

    #[test]
    fn one_in_so_many_is_marked_however_they_come() {
        let now = Instant::now();
        for (one_in, batch) in [1, 3, 7, 99, 100, 101, 250, 500].map(|batch| (100, batch)) {
            let tracer = tracer(one_in);
            let (mut came, mut marked) = (0, Vec::new());
            while came < 1_000 {
                // A second apart, so that the bound is not what is tried here.
                let at = now + Duration::from_secs(came as u64);
                if let Some(it) = tracer.mark(batch, None, at) {
                    let those = (0..batch).filter(|nth| it.of(*nth).is_some());
                    marked.extend(those.map(|nth| came + nth));
                }
                came += batch;
            }
            let expected = (1..=came / 100).map(|nth| nth * 100 - 1);
            assert_eq!(
                marked,
                expected.collect::<Vec<_>>(),
                "in batches of {batch}"
            );
        }
        let each = tracer(1).mark(3, None, now).unwrap();
        assert!((0..3).all(|nth| each.of(nth).is_some()));
        assert_eq!(each.of(3), None);
        let never = Settings {
            one_in: None,
            slow: Duration::MAX,
            per_second: 5,
        };
        let never = Tracer::new(never, Box::new(|_| true));
        assert!((0..5000).all(|_| never.mark(1, None, now).is_none()));
    }

    #[test]
    fn a_caller_forces_as_many_as_there_may_be_in_a_second() {
        let tracer = tracer(1_000_000);
        // The seconds are the tracer's own.
        let now = tracer.callers.began;
        let parent = Parent::parse(TEXT);
        let forced = |count, at| tracer.mark(count, parent, at).map_or(0, |it| it.count);
        assert_eq!(forced(3, now), 3);
        assert_eq!(forced(3, now), 2, "the bound cuts a batch");
        assert_eq!(forced(3, now), 0);
        assert!(tracer.may_tell(now), "others have a bound of their own");
        let next = now + Duration::from_secs(1);
        assert_eq!(forced(100, next), 5);
        assert_eq!((0..9).filter(|_| tracer.may_tell(next)).count(), 5);
        let quiet = Parent::parse(&TEXT.replace("-01", "-00"));
        assert_eq!(tracer.mark(3, quiet, next + Duration::from_secs(1)), None);
    }

    #[test]
    fn what_finds_no_place_is_dropped() {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let sink = move |_| count.fetch_add(1, Ordering::Relaxed) < 2;
        let settings = tracer(1).settings;
        let tracer = Tracer::new(settings, Box::new(sink));
        for _ in 0..5 {
            let why = Why::Failed;
            let mark = Mark { why, parent: None };
            tracer.tell(Trace::new("update", mark, Instant::now()));
        }
        assert_eq!(
            told.load(Ordering::Relaxed),
            5,
            "the sink says so each time"
        );
    }

    #[test]
    fn a_trace_ends_with_the_last_of_its_stages_and_its_texts_are_bounded() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mark = Mark {
            why: Why::Caller,
            parent: Parent::parse(TEXT),
        };
        let mut trace = Trace::new("update", mark, began);
        trace.stage("ack", at(1), at(9));
        trace.stage("fan-out", at(1), at(5));
        trace.stage("never back", at(7), at(3));
        assert_eq!(trace.ended, at(9));
        assert_eq!(trace.stages[2].ended, at(7));
        assert_eq!(trace.id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(trace.parent, Some(0xb7ad_6b71_6920_3331));
        trace.fail("ü".repeat(1000));
        assert_eq!(trace.error.map(|it| it.len()), Some(TEXT_BYTES));
        let other = Trace::new(
            "update",
            Mark {
                parent: None,
                ..mark
            },
            began,
        );
        assert!(other.id != 0 && other.id != trace.id && other.parent.is_none());
    }
}
