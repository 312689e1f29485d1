//! Lines that come too often.
//!
//! Each place in the code that logs may say [`LINES`] lines in [`WINDOW`]; what it says beyond is left
//! out and counted, and the count is logged. That is for what is logged unasked: lines of `debug` and
//! `trace` are there because somebody looks for one among many. The table has a row for each place that
//! has logged, so the code bounds it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How many lines one place may say in a [`WINDOW`].
pub(super) const LINES: u32 = 50;
/// How long it takes until a place may say as many again.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// How much each place has said lately.
#[derive(Debug, Default)]
pub(super) struct Storms(Mutex<HashMap<Identifier, Place>>);

/// A place in the code that logs.
#[derive(Debug)]
struct Place {
    /// When the window began.
    since: Instant,
    /// What it has said in the window.
    said: u32,
    /// What has been left out and not been told of.
    left_out: u64,
    /// What it says, of the first line that was left out.
    line: String,
}

/// How many lines like this were left out.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    lines: u64,
    like: String,
}

impl Storms {
    /// Whether a line may be written.
    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO {
            return true;
        }
        let mut places = self.0.lock();
        let place = places.entry(about.callsite()).or_insert_with(|| Place {
            since: now,
            said: 0,
            left_out: 0,
            line: String::new(),
        });
        if now.saturating_duration_since(place.since) >= WINDOW {
            place.since = now;
            place.said = 0;
        }
        if place.said < LINES {
            place.said += 1;
            return true;
        }
        if place.left_out == 0 {
            place.line = message(event);
        }
        place.left_out += 1;
        false
    }

    /// What was left out since the last call.
    fn take_left_out(&self) -> Vec<LeftOut> {
        let mut places = self.0.lock();
        let stormy = places.values_mut().filter(|place| place.left_out > 0);
        let told = stormy.map(|place| LeftOut {
            lines: std::mem::take(&mut place.left_out),
            like: std::mem::take(&mut place.line),
        });
        told.collect()
    }

    /// Logs what was left out since the last call.
    pub(super) fn tell(&self) {
        for LeftOut { lines, like } in self.take_left_out() {
            observatory::log_lines_left_out(lines);
            tracing::warn!(
                lines,
                like,
                "log lines were left out: too many in a short time"
            );
        }
    }
}

/// A format that leaves out what [`Storms`] does not admit.
pub(super) struct Calm<F> {
    storms: Arc<Storms>,
    format: F,
}

impl<F> Calm<F> {
    pub(super) fn new(storms: &Arc<Storms>, format: F) -> Self {
        let storms = Arc::clone(storms);
        Self { storms, format }
    }
}

impl<S, N, F> FormatEvent<S, N> for Calm<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // What is not written is an empty line, without its end.
        if self.storms.admit(event, Instant::now()) {
            self.format.format_event(context, writer, event)
        } else {
            Ok(())
        }
    }
}

/// What a line says, without its fields.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// Counts what a table lets through, at a time that the test says.
    #[derive(Clone)]
    struct Count {
        storms: Arc<Storms>,
        now: Arc<Mutex<Instant>>,
        admitted: Arc<Mutex<u32>>,
    }

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            if self.storms.admit(event, *self.now.lock()) {
                *self.admitted.lock() += 1;
            }
        }
    }

    fn count() -> (Count, impl Subscriber + Send + Sync) {
        let count = Count {
            storms: Arc::default(),
            now: Arc::new(Mutex::new(Instant::now())),
            admitted: Arc::default(),
        };
        let subscriber = tracing_subscriber::registry().with(count.clone());
        (count, subscriber)
    }

    fn say(times: u32) {
        for session in 0..times {
            tracing::info!(session, "a thing happened");
        }
    }

    #[test]
    fn a_storm_is_cut_short_and_counted_and_hides_nothing_else() {
        let (count, subscriber) = count();
        let took = || std::mem::take(&mut *count.admitted.lock());
        tracing::subscriber::with_default(subscriber, || {
            say(LINES + 30);
            assert_eq!(took(), LINES);
            tracing::error!("something else");
            assert_eq!(took(), 1, "another place has lines of its own");
            let told = LeftOut {
                lines: 30,
                like: "a thing happened".to_owned(),
            };
            assert_eq!(count.storms.take_left_out(), [told]);
            assert_eq!(count.storms.take_left_out(), [], "it is told of once");
            say(1);
            assert_eq!(took(), 0, "the window goes on");
            *count.now.lock() += WINDOW;
            say(2);
            assert_eq!(took(), 2, "and ends");
            let rest: u64 = count.storms.take_left_out().iter().map(|it| it.lines).sum();
            assert_eq!(rest, 1, "what was left out before is not forgotten");
        });
    }

    #[test]
    fn what_somebody_looks_for_is_not_a_storm() {
        let (count, subscriber) = count();
        tracing::subscriber::with_default(subscriber, || {
            for seq in 0..2 * LINES {
                tracing::debug!(seq, "update durable");
            }
        });
        assert_eq!(*count.admitted.lock(), 2 * LINES);
    }
}
