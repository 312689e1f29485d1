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
//! | [`exporter`] | the recorder, and the text that `/metrics` answers |

pub mod exporter;
pub mod metrics;

pub use exporter::{Exporter, InstallError};
pub use metrics::*;
