//! Where WebSocket dialects are mounted: `/yjs/{space}/{name}`, `/pit/{slug}` and `/well`.
//!
//! A dialect's room stands in the path as the client wrote it, so it is read from the raw path and
//! decoded once. Refusals are given on the socket: a browser hides the status of a refused
//! handshake, and y-websocket would retry it for ever.

use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker::RoomError;
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use protocol::{CloseCode, Role, RoomName, SessionId};
use tokio::net::TcpStream;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use super::pages;
use super::problem::Problem;
use crate::Gateway;
use crate::connection::Connection;
use crate::server::Place;
use crate::talk::well::Well;
use crate::talk::yjs::Yjs;
use crate::websocket::frame::Frames;
use crate::websocket::handshake;
use crate::websocket::packed::Packed;

/// `/yjs/{space}/{name…}`: everything after the space is the name.
pub(crate) async fn yjs(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        let detail = "connect with a y-websocket client, or read the room under /api/v1/rooms";
        return Problem::upgrade_required(detail.into()).into_response();
    }
    let path = request.uri().path();
    let rest = path.strip_prefix("/yjs/").unwrap_or_default();
    let (space, name) = rest.split_once('/').unwrap_or((rest, ""));
    let room = gateway.socket_room(space, name);
    upgrade(gateway, request, room)
}

/// `/pit/{slug}`: the page, or the pit's socket.
pub(crate) async fn pit(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        return pages::index(request.uri(), request.headers());
    }
    let path = request.uri().path();
    let slug = path.strip_prefix("/pit/").unwrap_or_default();
    let room = gateway.socket_room("pit", slug);
    upgrade(gateway, request, room)
}

/// `/well`: the client names its rooms in messages.
pub(crate) async fn well(State(gateway): State<Gateway>, request: Request<Body>) -> Response {
    if !handshake::is_upgrade(request.headers()) {
        let detail = "connect with a client of the well protocol, over WebSocket";
        return Problem::upgrade_required(detail.into()).into_response();
    }
    let Ok(bits) = getrandom::u64() else {
        return Problem::bad_request("no randomness".to_owned()).into_response();
    };
    let inner = gateway.clone();
    upgrade_to(gateway, request, move |socket, early| {
        let now = Instant::now();
        let talk = Well::new(inner, bits, now);
        let connection: Connection<TcpStream, Packed, Well> =
            Connection::new(socket, &early, talk, now);
        connection.map(|ended| ended.code)
    })
}

/// A socket of an address that names no room: it hears so, like every other that is refused.
pub(crate) fn nowhere(gateway: Gateway, request: Request<Body>) -> Response {
    let reason = "this address names no room; connect to /yjs/{space}/{name}, /pit/{slug} or /well";
    let refused = Err((CloseCode::NoRoom, reason.to_owned()));
    upgrade(gateway, request, refused)
}

/// Why a socket is closed right after it was accepted.
pub(crate) type Refused = (CloseCode, String);

fn upgrade(gateway: Gateway, request: Request<Body>, room: Result<RoomName, Refused>) -> Response {
    let role = Role::from_query(request.uri().query().unwrap_or_default());
    let admitted = room.and_then(|room| {
        let bits = getrandom::u64().map_err(|error| {
            let reason = format!("no randomness: {error}");
            (CloseCode::Internal, reason)
        })?;
        Ok((room, SessionId::new(bits.max(1)), role))
    });
    let inner = gateway.clone();
    upgrade_to(gateway, request, move |socket, early| {
        // The gateway is let go of once the session stands.
        connect(&inner, socket, &early, admitted).map(|ended| ended.code)
    })
}

/// Accepts the handshake, and then lets `carry` carry the connection; it is given what the client
/// has sent already, and gives its close code.
pub(crate) fn upgrade_to<C>(
    gateway: Gateway,
    mut request: Request<Body>,
    carry: impl FnOnce(TcpStream, Bytes) -> C + Send + 'static,
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
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("a WebSocket came over something else than TCP");
            return;
        };
        // Hyper's read buffer goes here: an open connection keeps none.
        let Parts { io, read_buf, .. } = parts;
        let connection = carry(io.into_inner(), read_buf);
        observatory::connection_opened();
        let code = connection.await;
        observatory::connection_closed(code);
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
    socket: TcpStream,
    early: &Bytes,
    admitted: Result<(RoomName, SessionId, Role), Refused>,
) -> Instrumented<Connection<TcpStream, Frames, Yjs>> {
    let now = Instant::now();
    let (room, session, role) = match admitted {
        Ok(admitted) => admitted,
        Err((code, reason)) => {
            tracing::info!(code = code.code(), reason, "a socket was refused");
            return Connection::refused(socket, code, &reason, now).instrument(Span::none());
        }
    };
    match gateway.broker().join(&room, session, role, None) {
        Ok(member) => {
            let span = tracing::debug_span!("session", %room, %session, %role);
            tracing::debug!(parent: &span, "joined");
            Connection::new(socket, early, Yjs::new(member, now), now).instrument(span)
        }
        Err(error) => {
            let (code, reason) = refusal_of(&error);
            tracing::info!(%room, %session, %error, "a join was refused");
            Connection::refused(socket, code, &reason, now).instrument(Span::none())
        }
    }
}

/// What a client hears whose join the broker refuses.
pub(crate) fn refusal_of(error: &RoomError) -> Refused {
    let code = match error {
        RoomError::NoRoom => CloseCode::NoRoom,
        RoomError::Ending => CloseCode::Restart,
        RoomError::Full(_) => CloseCode::TryLater,
        RoomError::Log(_) | RoomError::Exists | RoomError::Refused(_) => CloseCode::Internal,
    };
    (code, error.to_string())
}
