//! One WebTransport session: its request, its stream, its close.
//!
//! ```text
//! handshake, request ─▶ accepted ─▶ the client's stream ─▶ connection ─▶ close, with code and reason
//!      10 s                │ no room, no stream in 10 s ───────────────────▲
//! ```

use std::convert::Infallible;
use std::time::Instant;

use axum::http::Uri;
use broker::Via;
use observatory::trace::Parent;
use observatory::{Dialect, Transport};
use protocol::CloseCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tracing::Instrument;
use web_transport_quinn::{Request, ServerError, Session, quinn};

use super::duplex::Duplex;
use crate::Gateway;
use crate::access::caller;
use crate::access::origin::Origin;
use crate::connection::{Connection, Ended};
use crate::http::traced;
use crate::limits::{ACCEPT_TIME, CLOSE_REST, CLOSE_TIME};
use crate::server::Place;
use crate::stream::Lengths;
use crate::talk::mount::{self, Mount, Refused};
use crate::talk::well::Well;

/// Carries what has come to the endpoint, to its end. `handshake` is given back once the session
/// stands; `place` is held as long as it does.
pub(super) async fn carry(
    gateway: Gateway,
    incoming: quinn::Incoming,
    handshake: OwnedSemaphorePermit,
    place: Place,
) {
    let accepted = timeout(ACCEPT_TIME, accept(&gateway, incoming)).await;
    drop(handshake);
    match accepted {
        Ok(Ok((session, mounted, parent))) => {
            observatory::connection_opened(Transport::WebTransport);
            let ended = talk(gateway, &session, mounted, parent).await;
            let code = ended.code;
            close(&session, ended).await;
            observatory::connection_closed(Transport::WebTransport, code);
        }
        // The peer broke off, speaks something else or was too slow.
        Ok(Err(error)) => tracing::debug!(%error, "a WebTransport session did not begin"),
        Err(_) => tracing::debug!("a WebTransport session did not begin in time"),
    }
    drop(place);
}

/// The session, what is spoken on it, and whose work it is part of.
type Accepted = (Session, Result<Mount, Refused>, Option<Parent>);

async fn accept(gateway: &Gateway, incoming: quinn::Incoming) -> Result<Accepted, ServerError> {
    let connection = incoming.accept()?.await?;
    let request = Request::accept(connection).await?;
    let query = request.url.query().unwrap_or_default();
    let peer = request.conn().remote_address().ip().to_canonical();
    let caller = gateway.identify(caller::tokens_of(&request.headers, query));
    let asked: Uri = request.url.authority().parse().unwrap_or_default();
    let caller = caller.at(Some(peer), Origin::of(&request.headers, &asked));
    let path = request.url.path();
    let mounted = mount::at(gateway, &caller, path, query).await;
    if let Err((code, reason)) = &mounted {
        let code = code.code();
        tracing::info!(path, code, reason, "a WebTransport session was refused");
    }
    // A page learns why only from a session that was let in.
    let parent = traced::parent_of(&request.headers);
    Ok((request.ok().await?, mounted, parent))
}

/// Waits for the client's stream and carries the dialect of its address on it.
async fn talk(
    gateway: Gateway,
    session: &Session,
    mounted: Result<Mount, Refused>,
    parent: Option<Parent>,
) -> Ended {
    let mounted = match mounted {
        Ok(mounted) => mounted,
        Err((code, reason)) => return ended(code, reason),
    };
    let stream = tokio::select! {
        stream = timeout(ACCEPT_TIME, session.accept_bi()) => stream,
        () = gateway.draining().cancelled() => {
            let reason = "the server is restarting, come back soon";
            return refuse((CloseCode::Restart, reason.to_owned()));
        }
    };
    let stream = match stream {
        Ok(Ok(stream)) => Duplex::new(stream, session.clone()),
        Ok(Err(_)) => return broken(),
        Err(_) => {
            let reason = format!(
                "no bidirectional stream was opened within {} s",
                ACCEPT_TIME.as_secs()
            );
            return refuse((CloseCode::AuthTimeout, reason));
        }
    };
    let now = Instant::now();
    match mounted {
        Mount::Yjs(joining) => {
            let via = Via {
                dialect: Dialect::Yjs,
                transport: Transport::WebTransport,
                parent,
            };
            let joined = joining.join(&gateway, via, now);
            let memory = gateway.broker().memory().clone();
            // The gateway is let go of once the session stands.
            drop(gateway);
            match joined {
                Ok((yjs, span)) => {
                    let connection =
                        Connection::<_, Lengths, _>::new(stream, &[], yjs, &memory, now);
                    tokio::select! {
                        ended = connection.instrument(span) => ended,
                        never = refuse_streams(session) => match never {},
                    }
                }
                // It has been told of with its room.
                Err((code, reason)) => ended(code, reason),
            }
        }
        Mount::Well(caller) => match mount::random() {
            Ok(number) => {
                let memory = gateway.broker().memory().clone();
                let well = Well::new(
                    gateway,
                    caller,
                    Transport::WebTransport,
                    parent,
                    number,
                    now,
                );
                let connection = Connection::<_, Lengths, _>::new(stream, &[], well, &memory, now);
                tokio::select! {
                    ended = connection => ended,
                    never = refuse_streams(session) => match never {},
                }
            }
            Err(refused) => refuse(refused),
        },
    }
}

/// Refuses every stream beside the first: its sender hears so, and the session goes on.
async fn refuse_streams(session: &Session) -> Infallible {
    const CODE: u32 = CloseCode::Conflict.code() as u32;
    loop {
        tokio::select! {
            stream = session.accept_bi() => match stream {
                Ok((mut send, mut recv)) => {
                    // Either fails only on a stream that its peer has given up.
                    let _ = send.reset(CODE);
                    let _ = recv.stop(CODE);
                }
                Err(_) => break,
            },
            stream = session.accept_uni() => match stream {
                Ok(mut recv) => {
                    let _ = recv.stop(CODE);
                }
                Err(_) => break,
            },
        }
    }
    // What the connection makes of the end counts; it hears of it at the same time.
    std::future::pending().await
}

/// Says why, and waits for the peer to have heard it.
async fn close(session: &Session, ended: Ended) {
    let (code, reason) = match ended.code {
        // 1005 stands for a goodbye without a code.
        1005 => (CloseCode::Normal.code(), String::new()),
        1006 => {
            let reason = "the connection was given up: nothing was read, or it broke";
            (CloseCode::TryLater.code(), reason.to_owned())
        }
        code => (code, ended.reason),
    };
    // The library writes the reason, and then that nothing more comes. If these reach Chromium in two
    // packets its page hears "Connection lost" instead of the reason. While nothing else is on its way
    // the connection's task is at rest, and takes both at once when it is woken.
    sleep(CLOSE_REST).await;
    session.close(code.into(), reason.as_bytes());
    // The library waits for an answer, within a bound, and then closes the connection.
    let _ = timeout(CLOSE_TIME, session.closed()).await;
}

fn refuse((code, reason): Refused) -> Ended {
    tracing::info!(
        code = code.code(),
        reason,
        "a WebTransport session was refused"
    );
    ended(code, reason)
}

const fn ended(code: CloseCode, reason: String) -> Ended {
    Ended {
        code: code.code(),
        reason,
    }
}

const fn broken() -> Ended {
    Ended {
        code: 1006,
        reason: String::new(),
    }
}
