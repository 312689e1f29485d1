//! What the routes answer, asked without a socket.

use std::path::Path;
use std::sync::OnceLock;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use broker::{Broker, Limits, Snapshots};
use observatory::Exporter;
use protocol::CloseCode;
use replay::{History, Kind};
use storage::{SledLog, SledOptions};
use tower::ServiceExt;

use super::*;
use crate::Spaces;
use crate::webtransport::Door;

/// A gateway on a log that keeps `min_free_bytes` of its disk free.
fn gateway(folder: &Path, min_free_bytes: u64) -> Gateway {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    let exporter = EXPORTER.get_or_init(|| Exporter::install().unwrap());
    let options = SledOptions {
        min_free_bytes,
        ..SledOptions::default()
    };
    let log = SledLog::open(folder, options).unwrap();
    let history = History::of_log(std::sync::Arc::new(log), Kind::Yjs);
    let broker = Broker::new(history, Snapshots::none(), Limits::default());
    let spaces = Spaces::from([
        ("pit".to_owned(), Kind::Yjs),
        ("blob".to_owned(), Kind::Opaque),
    ]);
    Gateway::new(broker, exporter.clone(), spaces, false, Door::Off)
}

/// The status, the type and the body of an answer.
async fn ask(gateway: &Gateway, method: &str, path: &str) -> (StatusCode, String, String) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    let response = router(gateway.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), u64::MAX / 2);
    for (method, path, code) in [
        ("GET", "/readyz", "\"ready\":false"),
        ("POST", "/api/v1/pits", "\"code\":\"log_failed\""),
    ] {
        let (status, _, body) = ask(&gateway, method, path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {body}");
        assert!(body.contains(code), "{path}: {body}");
        assert!(body.contains("the disk is full"), "{path}: {body}");
        let folder = folder.path().to_str().unwrap();
        assert!(!body.contains(folder), "{path}: {body}");
    }
    gateway.broker().log().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yjs_client_is_turned_away_from_what_is_not_yjs() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    assert!(gateway.socket_room("pit", "a").is_ok());
    for (space, code, word) in [
        ("blob", CloseCode::Conflict, "opaque"),
        ("none", CloseCode::NoRoom, "not configured"),
    ] {
        let (closed, reason) = gateway.socket_room(space, "a").unwrap_err();
        assert_eq!(closed, code, "{reason}");
        assert!(closed.is_permanent() && reason.contains(word), "{reason}");
    }
    gateway.broker().log().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_answered_with_problems() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), 0);
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/x",
        "/yjs",
        "/yjs/",
        "/assets/x",
    ] {
        let (status, kind, body) = ask(&gateway, "GET", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
        assert_eq!(kind, "application/problem+json", "{path}: {body}");
        assert!(body.contains("\"code\":\"no_route\""), "{path}: {body}");
    }
    gateway.broker().log().close().await;
}
