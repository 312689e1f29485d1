//! Traces on their way to an OpenTelemetry collector: OTLP over HTTP, in protobuf.
//!
//! Whoever has a trace to tell puts it into a queue with [`TRACES_WAITING`] places and goes on; one that
//! finds no place is dropped and counted. One task takes them out and sends them, so a collector that is
//! slow or gone holds up nothing but its own traces.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use observatory::trace::{self, Settings, Trace, Value};
use observatory::{Untold, traces_untold};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How many traces may wait to be sent.
const TRACES_WAITING: usize = 1024;
/// How many traces are sent in one request at most.
const BATCH: usize = 128;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const EXPORT_TIME: Duration = Duration::from_secs(10);
/// How long the last traces may take when the server ends.
const LAST_TIME: Duration = Duration::from_secs(2);

/// Sends what is traced.
pub(crate) struct Traces {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Traces {
    /// Traces from here on, and sends it to the collector at `endpoint` in the `background`.
    ///
    /// # Errors
    /// When `endpoint` is no address.
    pub(crate) fn start(
        endpoint: &str,
        settings: Settings,
        background: &Handle,
    ) -> anyhow::Result<Self> {
        let exporter = exporter(endpoint)?;
        let (queue, waiting) = mpsc::channel(TRACES_WAITING);
        let (stop, stopped) = oneshot::channel();
        let task = background.spawn(send(waiting, exporter, stopped));
        trace::install(settings, move |trace| queue.try_send(trace).is_ok());
        Ok(Self { task, stop })
    }

    /// Sends what waits, as far as that is done soon.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        // What the collector has not taken by then it does not get.
        let _ = tokio::time::timeout(LAST_TIME, self.task).await;
    }
}

fn exporter(endpoint: &str) -> anyhow::Result<SpanExporter> {
    let no = || format!("traces cannot be sent to {endpoint:?}");
    // Its TLS is the process's, on ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(EXPORT_TIME)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .with_context(no)?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIME)
        .with_endpoint(address(endpoint).with_context(no)?)
        .build()
        .with_context(no)?;
    exporter.set_resource(&resource());
    Ok(exporter)
}

/// Where traces go: below the collector's address, unless it says so itself.
fn address(endpoint: &str) -> anyhow::Result<String> {
    const PATH: &str = "/v1/traces";
    let url = url::Url::parse(endpoint)?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https"),
        "it is an address like http://localhost:4318"
    );
    let bare = endpoint.trim_end_matches('/');
    Ok(if bare.ends_with(PATH) {
        bare.to_owned()
    } else {
        format!("{bare}{PATH}")
    })
}

/// Who sends them: `well`, unless `OTEL_SERVICE_NAME` says otherwise.
fn resource() -> Resource {
    let resource = Resource::builder();
    let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => resource,
        None => resource.with_service_name("well"),
    };
    resource
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Sends what comes until it is told to stop, and then what is there.
async fn send(
    mut waiting: mpsc::Receiver<Trace>,
    exporter: SpanExporter,
    mut stop: oneshot::Receiver<()>,
) {
    let mut stopping = false;
    while !stopping {
        let mut traces = Vec::new();
        tokio::select! {
            biased;
            _ = &mut stop => stopping = true,
            _ = waiting.recv_many(&mut traces, BATCH) => {
                // A little later there may be more for the same request.
                tokio::select! {
                    _ = &mut stop => stopping = true,
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
        while let Ok(trace) = waiting.try_recv() {
            traces.push(trace);
            if traces.len() >= BATCH {
                export(&exporter, std::mem::take(&mut traces)).await;
            }
        }
        export(&exporter, traces).await;
    }
}

async fn export(exporter: &SpanExporter, traces: Vec<Trace>) {
    if traces.is_empty() {
        return;
    }
    let count = traces.len();
    let clock = Clock::now();
    let spans = traces.into_iter().flat_map(|trace| spans(trace, clock));
    let exporting = exporter.export(spans.collect());
    let exported = match tokio::time::timeout(EXPORT_TIME, exporting).await {
        Ok(exported) => exported.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {EXPORT_TIME:?}")),
    };
    if let Err(error) = exported {
        traces_untold(Untold::Export, count);
        tracing::warn!(traces = count, error, "the collector did not take traces");
    }
}

/// One moment by both clocks: a trace is timed by the one that never jumps.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn wall(&self, at: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(at);
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// A trace as OpenTelemetry has it: a span for the whole, and one below it for each stage.
fn spans(trace: Trace, clock: Clock) -> Vec<SpanData> {
    let context = |id| {
        let (trace, span) = (TraceId::from(trace.id), SpanId::from(id));
        let state = TraceState::NONE;
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, state)
    };
    let scope = InstrumentationScope::builder("well")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let span = |name, began, ended, fields: Vec<(&'static str, Value)>| SpanData {
        span_context: context(trace::new_id()),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: std::borrow::Cow::Borrowed(name),
        start_time: clock.wall(began),
        end_time: clock.wall(ended),
        attributes: fields.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    };
    let mut whole = span(trace.name, trace.began, trace.ended, trace.fields);
    whole.span_kind = SpanKind::Server;
    if let Some(parent) = trace.parent {
        whole.parent_span_id = SpanId::from(parent);
        whole.parent_span_is_remote = true;
    }
    if let Some(error) = trace.error {
        whole.status = Status::error(error);
    }
    let parent = whole.span_context.span_id();
    let stages = trace.stages.into_iter().map(|stage| SpanData {
        parent_span_id: parent,
        ..span(stage.name, stage.began, stage.ended, stage.fields)
    });
    let stages: Vec<SpanData> = stages.collect();
    std::iter::once(whole).chain(stages).collect()
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, i64::try_from(number).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_below_the_collectors_address() {
        for (said, meant) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            (
                "https://a.example/otlp/",
                "https://a.example/otlp/v1/traces",
            ),
            ("http://b:1/v1/traces", "http://b:1/v1/traces"),
        ] {
            assert_eq!(address(said).unwrap(), meant);
        }
        for wrong in ["localhost:4318", "grpc://localhost:4317", "", "/v1/traces"] {
            assert!(address(wrong).is_err(), "{wrong:?}");
        }
    }
}
