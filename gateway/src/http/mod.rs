//! The HTTP side: pages, rooms, health and metrics, and the doors of the WebSocket dialects.

pub mod admin;
pub(crate) mod answer;
pub mod change;
pub mod clients;
mod cors;
pub mod guard;
pub mod health;
pub mod observatory;
pub mod pages;
pub mod past;
pub mod play;
pub mod presence;
pub mod problem;
pub mod records;
pub mod rooms;
pub mod share;
pub mod sockets;
#[cfg(test)]
mod tests;
pub mod text;
pub(crate) mod traced;
pub mod usage;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};

use crate::Gateway;
use crate::access::rule::Action;
use crate::limits::TEXT_BYTES;
use problem::Problem;

/// Every route of the server. Beside each of a room stands what it takes to reach it.
pub(crate) fn router(gateway: Gateway) -> Router {
    use Action::{Delete, Read, Restore, Share, Write};
    let to = |action, route| guard::guarded(&gateway, action, route);
    let room = Router::new()
        .route(
            "/",
            to(Read, get(rooms::show)).merge(to(Delete, delete(rooms::delete))),
        )
        .route("/snapshot", to(Read, get(rooms::snapshot)))
        .route("/state", to(Read, get(past::state)))
        .route("/records", to(Read, get(records::records)))
        .route("/timeline", to(Read, get(past::timeline)))
        .route("/diff", to(Read, get(past::diff)))
        .route("/play", to(Read, get(play::play)))
        .route("/presence", to(Read, get(presence::presence)))
        .route("/clients", to(Read, get(clients::clients)))
        // What it makes is another room, for which it asks itself.
        .route("/fork", to(Read, post(change::fork)))
        .route("/restore", to(Restore, post(change::restore)))
        .route(
            "/text",
            to(
                Write,
                put(text::put).layer(DefaultBodyLimit::max(TEXT_BYTES)),
            ),
        )
        .route("/tokens", to(Share, post(share::mint)))
        .route("/tokens/{jti}", to(Share, delete(share::take_back)));
    let observatory = Router::new()
        .route("/now", get(observatory::now))
        .route("/live", get(observatory::live))
        .route("/history", get(observatory::history))
        .route("/events", get(observatory::events))
        .route("/rooms", get(observatory::rooms))
        .route("/rooms/{space}/{name}", get(observatory::room));
    let api = Router::new()
        .route("/pits", post(rooms::new_pit))
        .route("/rooms", get(rooms::list))
        .nest("/rooms/{space}/{name}", room)
        .nest("/observatory", observatory)
        .route("/usage", get(usage::list))
        .route("/admin/revoke", post(admin::revoke))
        .route("/admin/evict", post(admin::evict))
        .route("/admin/reload", post(admin::reload))
        .route("/admin/log", post(admin::log))
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
        .layer(middleware::from_fn_with_state(
            gateway.clone(),
            guard::identify,
        ))
        .layer(middleware::map_response(harden))
        .layer(middleware::from_fn(traced::requests))
        .with_state(gateway)
}

/// How many a page of a list has: as many as were asked for, or as usual.
fn page_size(asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Problem> {
    let size = asked.unwrap_or(usual);
    if (1..=most).contains(&size) {
        return Ok(size);
    }
    let detail = format!("limit is 1 to {most}, not {size}");
    Err(Problem::bad_request(detail))
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
