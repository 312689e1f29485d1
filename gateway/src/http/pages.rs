//! The pages, embedded in the binary.
//!
//! Assets have a hash in their name and may be kept for ever; the one page that leads to them is
//! asked for anew each time. Every address that is not an asset gets that page, which shows what
//! belongs there, or that nothing does; but programs are answered as programs: under `/api` and
//! `/yjs` with a problem document, a WebSocket with a close code.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::Problem;
use super::sockets;
use crate::Gateway;
use crate::access::caller::Caller;
use crate::websocket::handshake;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Pages;

/// Answers any address that no other route takes.
pub(crate) async fn page(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    if handshake::is_upgrade(request.headers()) {
        return sockets::upgrade(gateway, &caller, request).await;
    }
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    let path = uri.path().trim_start_matches('/');
    if matches!(path.split('/').next(), Some("api" | "yjs")) {
        return Problem::no_route(uri.path()).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return Problem::method(method.as_str(), uri.path()).into_response();
    }
    if let Some(file) = Pages::get(path).filter(|_| path != "index.html") {
        let cache = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return answer(StatusCode::OK, &file, cache, headers);
    }
    if path.starts_with("assets/") {
        return Problem::no_route(uri.path()).into_response();
    }
    index(uri, headers)
}

/// The page itself, for an address that it knows or not.
pub(crate) fn index(uri: &Uri, headers: &HeaderMap) -> Response {
    let Some(file) = Pages::get("index.html") else {
        let text = "This build has no pages: run `make pages` (or `make run`), then build again.\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let first = uri.path().split('/').nth(1).unwrap_or_default();
    let known = matches!(
        first,
        "" | "admin" | "observatory" | "pit" | "replay" | "text"
    );
    let status = if known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    answer(status, &file, "no-cache", headers)
}

fn answer(status: StatusCode, file: &EmbeddedFile, cache: &str, headers: &HeaderMap) -> Response {
    use std::fmt::Write;
    let hash = &file.metadata.sha256_hash()[..16];
    let mut etag = String::from("\"");
    for byte in hash {
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    let same = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == etag.as_bytes());
    if same && status == StatusCode::OK {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let kind = file.metadata.mimetype().to_owned();
    let body = Body::from(file.data.clone().into_owned());
    (
        status,
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, cache.to_owned()),
            (header::ETAG, etag),
        ],
        body,
    )
        .into_response()
}
