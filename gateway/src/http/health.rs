//! Is it alive, is it ready, and what does it count.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::Gateway;

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
}

/// 200 while updates are taken and acked; 503 with the reason otherwise.
pub(crate) async fn readyz(State(gateway): State<Gateway>) -> Response {
    let log = gateway.broker().log();
    let reason = log
        .poisoned()
        .map(|why| format!("the log takes no more writes: {why}"))
        .or_else(|| {
            gateway
                .is_draining()
                .then(|| "the server is shutting down".to_owned())
        });
    let ready = Ready {
        ready: reason.is_none(),
        durability: log.durability(),
        reason,
        rooms_loaded: gateway.broker().rooms_loaded(),
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

/// Everything counted, in Prometheus' text format.
pub(crate) async fn metrics(State(gateway): State<Gateway>) -> Response {
    let stats = gateway.broker().log().stats();
    observatory::log_sizes(stats.disk_bytes, stats.unmoved_bytes);
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([content_type], gateway.exporter().render()).into_response()
}
