//! The HTTP side: pages, rooms, health and metrics, and the doors of the WebSocket dialects.

pub mod change;
pub mod health;
pub mod pages;
pub mod past;
pub mod play;
pub mod problem;
pub mod records;
pub mod rooms;
pub mod sockets;
#[cfg(test)]
mod tests;
pub mod text;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use crate::Gateway;
use crate::limits::TEXT_BYTES;
use problem::Problem;

/// Every route of the server.
pub(crate) fn router(gateway: Gateway) -> Router {
    let api = Router::new()
        .route("/pits", post(rooms::new_pit))
        .route("/rooms", get(rooms::list))
        .route(
            "/rooms/{space}/{name}",
            get(rooms::show).delete(rooms::delete),
        )
        .route("/rooms/{space}/{name}/snapshot", get(rooms::snapshot))
        .route("/rooms/{space}/{name}/state", get(past::state))
        .route("/rooms/{space}/{name}/records", get(records::records))
        .route("/rooms/{space}/{name}/timeline", get(past::timeline))
        .route("/rooms/{space}/{name}/diff", get(past::diff))
        .route("/rooms/{space}/{name}/play", get(play::play))
        .route("/rooms/{space}/{name}/fork", post(change::fork))
        .route("/rooms/{space}/{name}/restore", post(change::restore))
        .route(
            "/rooms/{space}/{name}/text",
            put(text::put).layer(DefaultBodyLimit::max(TEXT_BYTES)),
        )
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method);
    Router::new()
        .nest("/api/v1", api)
        .route("/yjs/{*room}", get(sockets::yjs))
        .route("/pit/{*slug}", get(sockets::pit))
        .route("/webtransport.json", get(health::webtransport))
        .route("/well", get(sockets::well))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(pages::page)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::map_response(harden))
        .with_state(gateway)
}

async fn no_route(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::no_route(uri.path())
}

async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> Response {
    Problem::method(method.as_str(), uri.path()).into_response()
}

/// Headers that keep a browser from reading more into an answer than it says.
async fn harden(mut response: Response) -> Response {
    const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
                          connect-src 'self' ws: wss:; img-src 'self' data: \
                          blob:; style-src 'self'; object-src 'none'; base-uri 'none'; \
                          form-action 'self'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (health::RESOURCE_POLICY, "same-origin"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
