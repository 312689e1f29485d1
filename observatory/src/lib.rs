//! What the Well says of itself: metric names, the recorder and the exporter.
//!
//! Every metric is a function in [`metrics`], re-exported here, so that names and units stand in
//! one file and a call site reads as what happened. Names follow Prometheus' conventions: base
//! units, `_total` for counters, and never a label by room, session or user. Pure crates report
//! nothing; the shells around them do.
//!
//! | module | holds |
//! | --- | --- |
//! | [`metrics`] | one function for each thing that is counted or timed |
//! | [`cells`] | what a thread has counted, and where all threads' stand |
//! | [`histogram`] | Prometheus' buckets of it |
//! | [`labels`] | the values that labels may have |
//! | [`exporter`] | the recorder, and the text that `/metrics` answers |
//! | [`openmetrics`] | the same text in the format that has exemplars |
//! | [`process`] | what the operating system and the runtime say of the process |
//! | [`fanout`] | which deliveries are timed |
//! | [`latency`] | latencies of the last second, for percentiles that people read |
//! | [`live`] | a sample of everything, each second |
//! | [`history`] | the samples of an hour, and a week of minutes |
//! | [`ribbon`] | what happened lately |
//! | [`trace`] | which updates and requests are traced, and of what a trace is made |

mod cells;
#[cfg(test)]
mod document;
pub mod exporter;
mod fanout;
mod histogram;
pub mod history;
pub mod labels;
pub mod latency;
pub mod live;
pub mod metrics;
mod notice;
pub mod openmetrics;
pub mod process;
pub mod ribbon;
pub mod trace;

pub use exporter::{Exporter, InstallError};
pub use fanout::timed_delivery;
pub use labels::{
    Certificate, Dialect, Label, Limit, Owner, Reason, RoomWas, Tier, Transport, Untold,
};
pub use metrics::*;
pub use notice::is_near_its_end;
pub use openmetrics::traced_ack;
pub use process::{Runtime, runtime};
pub use ribbon::{EventKind, Severity, happened};
