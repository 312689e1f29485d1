//! Is it alive, is it ready, and what does it count.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::Problem;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::access::rule;
use crate::acme::Status;
use crate::observation;
use crate::webtransport::Door;

/// Who may read an answer into a page.
pub(super) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// 200 as long as the process answers at all.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// What an acked update survives, in the log's own words.
    durability: &'static str,
    /// Why the server is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    rooms_loaded: usize,
    /// How the archive keeps up, where there is one. Its failures make the server not unready: it
    /// serves on, and archives later.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<Archive>,
    /// Whether WebTransport is served. Its failure makes the server not unready: clients have
    /// WebSocket.
    webtransport: WebTransport,
    /// Why no certificate could be had from the authority when that was last tried. What was served
    /// before is served on.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    /// What stands in the way of the snapshots on this machine. Rooms are served without, and take
    /// longer to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshots: Option<String>,
}

/// Why snapshots are not kept, or cannot be read.
fn snapshots(gateway: &Gateway) -> Option<String> {
    let broker = gateway.broker();
    let status = broker
        .snapshots()
        .local()
        .map(storage::archive::Archiver::status);
    let kept = status.and_then(|status| {
        let failing = status.failing.map(|failing| failing.error);
        status.stopped.or(failing).map(|error| error.to_string())
    });
    kept.or_else(|| broker.history().snapshot_failed())
}

#[derive(Serialize)]
struct WebTransport {
    ok: bool,
    /// In one line.
    state: String,
}

impl WebTransport {
    fn of(door: &Door) -> Self {
        let (ok, state) = match door {
            Door::Off => (true, "off".to_owned()),
            Door::Shut(why) => (false, format!("not served since the start: {why}")),
            Door::Open(door) => {
                let state = format!("udp {}, certificate {}", door.address(), door.certificate());
                (true, state)
            }
        };
        Self { ok, state }
    }
}

#[derive(Serialize)]
struct Archive {
    ok: bool,
    /// In one line, with what to do.
    state: String,
    /// Null until the archive has been reached: it is not known what is in it.
    lag_records: Option<u64>,
    lag_bytes: Option<u64>,
    /// Until then, how long nothing has been archived: since the start.
    lag_seconds: Option<f64>,
}

impl Archive {
    fn of(gateway: &Gateway) -> Option<Self> {
        let snapshots = gateway.broker().snapshots();
        let Some(archiver) = snapshots.archiver() else {
            let state = "the archive has not been reached since the start; it is tried again";
            let why = snapshots.unreached().map(|error| format!(": {error}"));
            return gateway.has_archive().then(|| Self {
                ok: false,
                state: format!("{state}{}", why.unwrap_or_default()),
                lag_records: None,
                lag_bytes: None,
                lag_seconds: Some(gateway.age().as_secs_f64()),
            });
        };
        let status = archiver.status();
        let (ok, state) = match (&status.stopped, &status.failing) {
            (Some(error), _) => (false, format!("stopped for good: {error}")),
            (None, Some(failing)) => (
                false,
                format!(
                    "failing, tried {} times: {}",
                    failing.attempts, failing.error
                ),
            ),
            (None, None) => (true, "archiving".to_owned()),
        };
        Some(Self {
            ok,
            state,
            lag_records: Some(status.lag_records),
            lag_bytes: Some(status.lag_bytes),
            lag_seconds: Some(status.lag_age.as_secs_f64()),
        })
    }
}

/// 200 while updates are taken and acked; 503 with the reason otherwise.
pub(crate) async fn readyz(State(gateway): State<Gateway>) -> Response {
    let log = gateway.broker().log();
    let reason = gateway.not_ready();
    let ready = Ready {
        ready: reason.is_none(),
        durability: log.durability(),
        reason,
        rooms_loaded: gateway.broker().rooms_loaded(),
        archive: Archive::of(&gateway),
        webtransport: WebTransport::of(gateway.webtransport()),
        certificate: gateway.acme().and_then(Status::failing),
        snapshots: snapshots(&gateway),
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

/// What a page needs to connect over WebTransport. Any page may ask: it is told to every peer in
/// the handshake anyway.
pub(crate) async fn webtransport(State(gateway): State<Gateway>) -> Response {
    let why = match gateway.webtransport() {
        Door::Open(door) => {
            let headers = [
                (header::CACHE_CONTROL, "no-store"),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
                (RESOURCE_POLICY, "cross-origin"),
            ];
            return (headers, Json(door.published())).into_response();
        }
        Door::Off => "it is turned off",
        Door::Shut(_) => "it could not be opened; /readyz says why",
    };
    Problem::no_webtransport(why).into_response()
}

/// Everything counted, in Prometheus' text format, or in OpenMetrics', with exemplars, for who asks for
/// that. Where not every space is open it takes an admin's token for `*/*`.
pub(crate) async fn metrics(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !gateway.is_open() {
        let grant = caller.grant().map_err(Refusal::from)?;
        rule::admin(grant.map(AsRef::as_ref), true).map_err(Refusal::from)?;
    }
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let openmetrics = accept.is_some_and(|it| it.contains("application/openmetrics-text"));
    let content_type = if openmetrics {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4"
    };
    let mut text = observation::render(&gateway);
    if openmetrics {
        text = observatory::openmetrics::of(&text);
    }
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
