//! WebSocket: requests that become connections.
//!
//! Refusals are given on the socket: a browser hides the status of a refused handshake, and
//! y-websocket would retry it for ever.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::Via;
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use observatory::trace::Parent;
use observatory::{Dialect, Transport};
use protocol::CloseCode;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use super::pages;
use super::problem::Problem;
use super::traced;
use crate::Gateway;
use crate::access::caller::{Caller, Refusal};
use crate::connection::Connection;
use crate::connection::framing::Framing;
use crate::server::Place;
use crate::talk::Talk;
use crate::talk::mount::{self, Joining, Refused};
use crate::talk::well::Well;
use crate::talk::yjs::Yjs;
use crate::tls::Wire;
use crate::websocket::frame::Frames;
use crate::websocket::handshake;
use crate::websocket::packed::Packed;

/// `/yjs/{space}/{name…}`.
pub(crate) async fn yjs(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        let detail = "connect with a y-websocket client, or read the room under /api/v1/rooms";
        return Problem::upgrade_required(detail.into()).into_response();
    }
    upgrade(gateway, &caller, request).await
}

/// `/pit/{slug}`: the page, or the pit's socket.
pub(crate) async fn pit(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        return pages::index(request.uri(), request.headers());
    }
    upgrade(gateway, &caller, request).await
}

/// `/well`: the client names its rooms in messages.
pub(crate) async fn well(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        let detail = "connect with a client of the well protocol, over WebSocket";
        return Problem::upgrade_required(detail.into()).into_response();
    }
    let Ok(bits) = getrandom::u64() else {
        return Problem::bad_request("no randomness".to_owned()).into_response();
    };
    let parent = traced::parent_of(request.headers());
    if let Err(bad) = caller.grant() {
        return refuse::<Packed, Well>(gateway, request, Refusal::from(bad).into());
    }
    let inner = gateway.clone();
    upgrade_to(gateway, request, move |socket, early| {
        let now = Instant::now();
        let memory = inner.broker().memory().clone();
        let talk = Well::new(inner, caller, Transport::WebSocket, parent, bits, now);
        let connection: Connection<Wire, Packed, Well> =
            Connection::new(socket, &early, talk, &memory, now);
        connection.map(|ended| ended.code)
    })
}

/// Carries the dialect of the request's address; one that names no room hears so on the socket.
pub(crate) async fn upgrade(gateway: Gateway, caller: &Caller, request: Request<Body>) -> Response {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let joining = mount::yjs(&gateway, caller, uri.path(), query).await;
    if let Err((code, reason)) = &joining {
        log_refusal(uri.path(), *code, reason);
    }
    let parent = traced::parent_of(request.headers());
    let inner = gateway.clone();
    upgrade_to(gateway, request, move |socket, early| {
        // The gateway is let go of once the session stands.
        connect(&inner, socket, &early, joining, parent).map(|ended| ended.code)
    })
}

/// Accepts the handshake, and closes the socket for this reason, in the words of its dialect.
pub(crate) fn refuse<F, T>(
    gateway: Gateway,
    request: Request<Body>,
    (code, reason): Refused,
) -> Response
where
    F: Framing + Send + Unpin + 'static,
    T: Talk<F> + Send + 'static,
{
    log_refusal(request.uri().path(), code, &reason);
    upgrade_to(gateway, request, move |socket, _early| {
        let now = Instant::now();
        let connection: Connection<Wire, F, T> = Connection::refused(socket, code, &reason, now);
        connection.map(|ended| ended.code)
    })
}

/// Accepts the handshake, and then lets `carry` carry the connection; it is given what the client
/// has sent already, and gives its close code.
pub(crate) fn upgrade_to<C>(
    gateway: Gateway,
    mut request: Request<Body>,
    carry: impl FnOnce(Wire, Bytes) -> C + Send + 'static,
) -> Response
where
    C: Future<Output = u16> + Send,
{
    let accept = match handshake::accept(request.method(), request.headers()) {
        Ok(accept) => accept,
        Err(error) => return Problem::bad_request(error.to_string()).into_response(),
    };
    let Some(upgrading) = request.extensions_mut().remove::<OnUpgrade>() else {
        let detail = "this connection cannot become a WebSocket";
        return Problem::bad_request(detail.into()).into_response();
    };
    // The connection's place in the server moves from the request to the socket.
    let place = request.extensions_mut().remove::<Place>();
    let tracker = gateway.connections().clone();
    tracker.spawn(async move {
        drop(gateway);
        let Ok(upgraded) = upgrading.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Wire>>() else {
            tracing::error!("a WebSocket came over something else than TCP");
            return;
        };
        // Hyper's read buffer goes here: an open connection keeps none.
        let Parts { io, read_buf, .. } = parts;
        let connection = carry(io.into_inner(), read_buf);
        observatory::connection_opened(Transport::WebSocket);
        let code = connection.await;
        observatory::connection_closed(Transport::WebSocket, code);
        drop(place);
    });
    (
        StatusCode::SWITCHING_PROTOCOLS,
        [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ],
    )
        .into_response()
}

fn connect(
    gateway: &Gateway,
    socket: Wire,
    early: &Bytes,
    joining: Result<Joining, Refused>,
    parent: Option<Parent>,
) -> Instrumented<Connection<Wire, Frames, Yjs>> {
    let now = Instant::now();
    let via = Via {
        dialect: Dialect::Yjs,
        transport: Transport::WebSocket,
        parent,
    };
    match joining.and_then(|joining| joining.join(gateway, via, now)) {
        Ok((yjs, span)) => {
            let memory = gateway.broker().memory();
            Connection::new(socket, early, yjs, memory, now).instrument(span)
        }
        Err((code, reason)) => {
            Connection::refused(socket, code, &reason, now).instrument(Span::none())
        }
    }
}

/// The path names the room, and has no token in it.
fn log_refusal(path: &str, code: CloseCode, reason: &str) {
    tracing::info!(path, code = code.code(), reason, "a socket was refused");
}
