//! Before a route: who asks, and whether they may.
//!
//! [`identify`] stands before every route and puts the request's [`Caller`] beside it, without the
//! tokens. [`guarded`] puts an [`Action`] before a route of a room: the router shows at a glance what each
//! takes, and no handler can forget to ask.

use std::collections::HashMap;
use std::io;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, OriginalUri, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use futures_util::{StreamExt, stream};
use hyper::body::Body as _;

use super::cors;
use super::problem::Problem;
use super::sockets;
use crate::Gateway;
use crate::access::caller::{self, Caller};
use crate::access::origin::Origin;
use crate::access::rule::Action;
use crate::access::tickets::Ticket;
use crate::quota::address;
use crate::server::Peer;
use crate::talk::yjs::Yjs;
use crate::websocket::frame::Frames;
use crate::websocket::handshake;

/// Finds out who asks, and takes the tokens out of the request.
pub(super) async fn identify(
    State(gateway): State<Gateway>,
    mut request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let caller = gateway.identify(caller::tokens_of(request.headers(), query));
    let peer = request.extensions().get::<Peer>();
    let address = peer.map(|Peer(peer)| {
        let proxies = gateway.trusted_proxies();
        address::client(*peer, request.headers(), &proxies)
    });
    let origin = Origin::of(request.headers(), request.uri());
    let shown_to = cors::allowed(&gateway, &request, origin.as_ref());
    if let Some(response) = cors::preflight(&request, shown_to.as_ref()) {
        return response;
    }
    let caller = caller.at(address, origin);
    if let Some(bare) = caller::without_tokens(request.uri()) {
        request.extensions_mut().insert(OriginalUri(bare.clone()));
        *request.uri_mut() = bare;
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Some(origin) = shown_to {
        cors::show_to(response.headers_mut(), origin);
    }
    response
}

/// Lets only those reach `route` who may do `action` to the room in its path.
pub(super) fn guarded(
    gateway: &Gateway,
    action: Action,
    route: MethodRouter<Gateway>,
) -> MethodRouter<Gateway> {
    let state = (gateway.clone(), action);
    route.layer(middleware::from_fn_with_state(state, guard))
}

async fn guard(
    State((gateway, action)): State<(Gateway, Action)>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let Path(path) = match path {
        Ok(path) => path,
        Err(error) => return Problem::bad_request(error.body_text()).into_response(),
    };
    let part = |name| path.get(name).map_or("", String::as_str);
    let room = match gateway.room(part("space"), part("name")) {
        Ok(room) => room,
        Err(problem) if handshake::is_upgrade(request.headers()) => {
            return sockets::refuse::<Frames, Yjs>(gateway, request, problem.refusal());
        }
        Err(problem) => return problem.into_response(),
    };
    match gateway.authorize(&caller, action, &room).await {
        Ok(()) => match gateway.ticket(&caller, &room) {
            Ok(None) => next.run(request).await,
            Ok(Some(ticket)) => ends_with(ticket, next.run(request).await),
            Err(refusal) => Problem::from(refusal).into_response(),
        },
        Err(refusal) if handshake::is_upgrade(request.headers()) => {
            // A browser hides the status of a refused handshake.
            sockets::refuse::<Frames, Yjs>(gateway, request, refusal.into())
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}

/// An answer that is made as it goes, for as long as a token is good: then it breaks off, so that it does
/// not pass for whole. One that is there already is given.
fn ends_with(ticket: Ticket, response: Response) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let pieces = Some(body.into_data_stream());
        let pieces = stream::unfold((pieces, ticket), |(pieces, ticket)| async move {
            let mut pieces = pieces?;
            tokio::select! {
                biased;
                () = ticket.until_over() => {
                    let why = axum::Error::new(io::Error::other("the token is over"));
                    Some((Err(why), (None, ticket)))
                }
                piece = pieces.next() => Some((piece?, (Some(pieces), ticket))),
            }
        });
        Body::from_stream(pieces)
    })
}
