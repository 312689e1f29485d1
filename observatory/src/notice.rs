//! What the samples say that belongs on the ribbon: a limit that is hit far more than usual, and certificates
//! that are near their end or are replaced.
//!
//! A limit surges when it was hit more than once a second over a minute, and over [`SURGE_TIMES`] times as often as
//! usual; what is usual follows within an hour. A certificate is told of when it comes near its end, when it is
//! about to end, and when another one takes its place.

use std::collections::VecDeque;

use crate::labels::{Certificate, Label, Limit};
use crate::live::Scrape;
use crate::ribbon::{EventKind, Severity};

/// Hits within a minute of which nobody is told.
const SURGE_HITS: f64 = 60.0;
const SURGE_TIMES: f64 = 5.0;
const MINUTE: f64 = 60.0;
/// How long what is usual takes to follow, in seconds.
const USUAL_OVER: f64 = 3600.0;

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
/// Authorities' certificates are renewed long before this.
const TLS_SOON: f64 = 14.0 * DAY;
const TLS_NOW: f64 = 2.0 * DAY;
/// Those that are made here have a successor a day before their end.
const OWN_NOW: f64 = 12.0 * HOUR;

/// Something for the ribbon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) kind: EventKind,
    pub(crate) severity: Severity,
    pub(crate) text: String,
}

/// What has been told, and what it takes to see more.
#[derive(Debug)]
pub(crate) struct Notices {
    limits: Vec<Surge>,
    certificates: Vec<Option<Validity>>,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self {
            limits: Limit::ALL.iter().map(|_| Surge::default()).collect(),
            certificates: Certificate::ALL.iter().map(|_| None).collect(),
        }
    }

    /// What there is to tell of a scrape at `now`, in Unix seconds.
    pub(crate) fn look(&mut self, now: f64, scrape: &Scrape) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (limit, surge) in Limit::ALL.iter().zip(&mut self.limits) {
            let limit = limit.text();
            let hits = scrape.get(&format!("well_limits_hit_total{{limit=\"{limit}\"}}"));
            notices.extend(surge.look(now, hits, limit));
        }
        for (which, seen) in Certificate::ALL.iter().zip(&mut self.certificates) {
            let name = "well_certificate_expiry_timestamp_seconds";
            let ends = scrape.get(&format!("{name}{{kind=\"{}\"}}", which.text()));
            if !ends.is_nan() {
                let found = Validity::of(*which, ends, now);
                notices.extend(found.notice(*which, seen.replace(found), now));
            }
        }
        notices
    }
}

/// How often a limit is hit.
#[derive(Debug, Default)]
struct Surge {
    /// When there were how many hits in all, over the last minute.
    minute: VecDeque<(f64, f64)>,
    /// Hits a minute.
    usual: f64,
    surging: bool,
}

impl Surge {
    fn look(&mut self, now: f64, hits: f64, limit: &str) -> Option<Notice> {
        if hits.is_nan() {
            return None;
        }
        let passed = self.minute.back().map_or(0.0, |(then, _)| now - then);
        self.minute.push_back((now, hits));
        while self.minute.len() > 2 && self.minute[0].0 < now - MINUTE {
            self.minute.pop_front();
        }
        let lately = hits - self.minute[0].1;
        let surges = lately > SURGE_HITS && lately > SURGE_TIMES * self.usual;
        self.usual += (lately - self.usual) * (passed / USUAL_OVER).clamp(0.0, 1.0);
        if surges == self.surging {
            return None;
        }
        self.surging = surges;
        let (severity, text) = if surges {
            let text = format!("the limit {limit} was hit {lately:.0} times within a minute");
            (Severity::Warn, text)
        } else {
            let text = format!("the limit {limit} is hit no more than usual");
            (Severity::Info, text)
        };
        Some(Notice {
            kind: EventKind::LimitSurge,
            severity,
            text,
        })
    }
}

/// A certificate's end, in Unix seconds, and how near it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Validity {
    ends: f64,
    near: Near,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Far,
    Soon,
    Now,
}

/// Whether a certificate that holds for so many seconds still should have been replaced: as long before its end as
/// the alerts of `deploy/prometheus` say.
#[must_use]
pub fn is_near_its_end(which: Certificate, seconds: f64) -> bool {
    Near::of(which, seconds) > Near::Far
}

impl Near {
    fn of(which: Certificate, left: f64) -> Self {
        match which {
            Certificate::Tls if left < TLS_NOW => Self::Now,
            Certificate::Tls if left < TLS_SOON => Self::Soon,
            Certificate::WebTransport if left < OWN_NOW => Self::Now,
            Certificate::Tls | Certificate::WebTransport => Self::Far,
        }
    }
}

impl Validity {
    fn of(which: Certificate, ends: f64, now: f64) -> Self {
        let near = Near::of(which, ends - now);
        Self { ends, near }
    }

    fn notice(self, which: Certificate, before: Option<Self>, now: f64) -> Option<Notice> {
        let renewed = before.is_some_and(|before| before.ends.total_cmp(&self.ends).is_ne());
        let nearer = self.near > before.map_or(Near::Far, |before| before.near);
        if !renewed && !nearer {
            return None;
        }
        let left = self.ends - now;
        let left = if left <= 0.0 {
            "has ended".to_owned()
        } else if left < TLS_NOW {
            format!("ends in {:.0} hours", left / HOUR)
        } else {
            format!("ends in {:.0} days", left / DAY)
        };
        let which = which.text();
        Some(Notice {
            kind: EventKind::Certificate,
            severity: match self.near {
                Near::Far => Severity::Info,
                Near::Soon => Severity::Warn,
                Near::Now => Severity::Error,
            },
            text: if renewed {
                format!("another {which} certificate is served, which {left}")
            } else {
                format!("the {which} certificate {left}")
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(hits: u64) -> Scrape {
        Scrape::parse(&format!("well_limits_hit_total{{limit=\"joins\"}} {hits}"))
    }

    fn tls(ends: f64) -> Scrape {
        let name = "well_certificate_expiry_timestamp_seconds";
        Scrape::parse(&format!("{name}{{kind=\"tls\"}} {ends}"))
    }

    fn told(notices: &[Notice]) -> Vec<(&str, Severity)> {
        let told = notices.iter().map(|it| (it.text.as_str(), it.severity));
        told.collect()
    }

    #[test]
    fn a_surge_is_told_once_and_so_is_its_end() {
        let mut notices = Notices::new();
        let mut told_of = Vec::new();
        let mut hits = 0;
        for second in 0..600 {
            // One a second is no surge; for a minute there are ten.
            hits += if (300..360).contains(&second) { 10 } else { 1 };
            for notice in notices.look(f64::from(second), &limits(hits)) {
                assert_eq!(notice.kind, EventKind::LimitSurge);
                told_of.push((second, notice.severity));
            }
        }
        let [(began, Severity::Warn), (ended, Severity::Info)] = told_of[..] else {
            panic!("{told_of:?}");
        };
        assert!((300..310).contains(&began) && (360..425).contains(&ended));
    }

    #[test]
    fn what_goes_on_for_long_is_usual() {
        let mut notices = Notices::new();
        let all: Vec<_> = (0..7200_u32)
            .flat_map(|second| notices.look(f64::from(second), &limits(u64::from(second) * 3)))
            .collect();
        assert_eq!(all.len(), 2, "{all:?}");
        // Twice as much as usual is none either.
        let all: Vec<_> = (7200..7300_u32)
            .flat_map(|second| {
                let hits = 7200 * 3 + u64::from(second - 7200) * 6;
                notices.look(f64::from(second), &limits(hits))
            })
            .collect();
        assert_eq!(all, []);
    }

    #[test]
    fn hits_of_before_the_start_are_no_surge() {
        let mut notices = Notices::new();
        assert_eq!(notices.look(0.0, &limits(1_000_000)), []);
        assert_eq!(notices.look(1.0, &limits(1_000_001)), []);
    }

    #[test]
    fn a_certificate_is_told_of_as_its_end_comes_near_and_when_it_is_replaced() {
        let mut notices = Notices::new();
        let mut look = |now: f64, ends: f64| notices.look(now * DAY, &tls(ends * DAY));
        assert_eq!(look(0.0, 30.0), []);
        assert_eq!(
            told(&look(17.0, 30.0)),
            [("the tls certificate ends in 13 days", Severity::Warn)]
        );
        assert_eq!(look(18.0, 30.0), []);
        assert_eq!(
            told(&look(29.0, 30.0)),
            [("the tls certificate ends in 24 hours", Severity::Error)]
        );
        assert_eq!(look(31.0, 30.0), []);
        let renewed = "another tls certificate is served, which ends in 90 days";
        assert_eq!(told(&look(31.0, 121.0)), [(renewed, Severity::Info)]);
    }

    #[test]
    fn what_is_near_depends_on_who_renews_it() {
        use Certificate::{Tls, WebTransport};
        assert!(is_near_its_end(Tls, 14.0 * DAY - 1.0) && !is_near_its_end(Tls, 14.0 * DAY));
        let half = 0.5 * DAY;
        assert!(is_near_its_end(WebTransport, half - 1.0) && !is_near_its_end(WebTransport, half));
        assert_eq!(Near::of(Tls, 2.0 * DAY), Near::Soon);
        assert_eq!(Near::of(Tls, 2.0 * DAY - 1.0), Near::Now);
    }

    #[test]
    fn one_that_has_ended_at_the_start_is_told_of() {
        let mut notices = Notices::new();
        let notices = notices.look(10.0, &tls(1.0));
        assert_eq!(
            told(&notices),
            [("the tls certificate has ended", Severity::Error)]
        );
    }
}
