//! Accepting connections, and ending: the loop between a listener and the routes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use protocol::RoomName;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::Gateway;
use crate::http::answer::Cut;
use crate::http::router;
use crate::limits::{
    BACKLOG, CONNECTIONS, ENDPOINT_IDLE, HEAD_BYTES, HEAD_TIME, HTTP2_KEEP_ALIVE, HTTP2_STREAMS,
    TIDY_EVERY, TIDY_PAUSE,
};
use crate::proxy;
use crate::tls::{Tls, Wire};
use crate::webtransport::Door;

/// Listens on `address`, with a queue long enough for a crowd that comes at once: a connection
/// that finds it full waits a second before it tries again.
///
/// # Errors
/// What the operating system says, when the address is taken or not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `listener`, over TLS if there is some, until [`drain`] is called. Accept errors that pass (a full file table, a
/// client that left) are waited out.
pub async fn serve(gateway: Gateway, listener: TcpListener, tls: Option<Arc<Tls>>) {
    let mut routes = router(gateway.clone());
    if tls.is_some() {
        routes = routes.layer(axum::middleware::map_response(only_over_tls));
    }
    let requests = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = gateway.draining().cancelled() => break,
            accepted = accept(&listener, gateway.places()) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let routes = routes.clone();
                let gateway = gateway.clone();
                let tls = tls.clone();
                requests.spawn(async move {
                    match greet(&gateway, stream, peer, tls).await {
                        Ok((wire, peer)) => {
                            let draining = gateway.draining().clone();
                            connection(wire, routes, (peer, place), draining).await;
                        }
                        // The client speaks something else, or was too slow.
                        Err(error) => tracing::debug!(%error, "a handshake failed"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    requests.close();
    requests.wait().await;
}

/// What comes before the first request: what a proxy says of a connection, and TLS. Gives whose it is.
async fn greet(
    gateway: &Gateway,
    mut stream: TcpStream,
    peer: Peer,
    tls: Option<Arc<Tls>>,
) -> io::Result<(Wire, Peer)> {
    let client = if gateway.expects_proxy_header(peer.0) {
        proxy::client(&mut stream).await?
    } else {
        None
    };
    let wire = match tls {
        Some(tls) => tls.accept(stream).await?,
        None => Wire::Plain(stream),
    };
    Ok((wire, client.map_or(peer, Peer)))
}

/// Looks keys up again when they are due, and ends sessions when their tokens expire. Never returns.
pub async fn watch(gateway: Gateway) {
    let now = || gateway.wall_time().micros() as f64 / 1e6;
    gateway.keeper().watch(now).await;
}

/// Makes rooms go whose time is over or whose space has too much. Never returns.
pub async fn tidy(gateway: Gateway) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        let began = Instant::now();
        match gateway.broker().tidy(gateway.age()).await {
            Ok(gone) => gone.iter().for_each(|gone| gateway.note_gone(gone)),
            Err(error) => tracing::warn!(%error, "rooms could not be tidied up"),
        }
        // Spaces with very many rooms are looked through less often.
        tokio::time::sleep(began.elapsed() * TIDY_PAUSE).await;
    }
}

/// Ends the server within `patience`: no more connections, every room settles what is on its way,
/// connections are closed with 1012, the log is closed. Gives the rooms that did not end in time.
pub async fn drain(gateway: &Gateway, patience: Duration) -> Vec<RoomName> {
    gateway.draining().cancel();
    let late = gateway.broker().shut_down(patience / 2).await;
    gateway.connections().close();
    // Connections end by themselves: each has its close frame and a bound on waiting for the peer.
    let waited = tokio::time::timeout(patience / 2, gateway.connections().wait()).await;
    if waited.is_err() {
        let left = gateway.connections().len();
        tracing::warn!(left, "connections did not end in time and are cut");
    }
    if let Door::Open(door) = gateway.webtransport() {
        door.close(ENDPOINT_IDLE).await;
    }
    late
}

/// The places of connections: there are [`CONNECTIONS`].
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS)))
    }

    /// A place, once there is one.
    async fn wait(&self) -> Result<Place, AcquireError> {
        let permit = Arc::clone(&self.0).acquire_owned().await?;
        Ok(Place::of(permit))
    }

    /// A place, if there is one.
    pub(crate) fn try_take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Place::of(permit))
    }
}

/// One of the [`CONNECTIONS`] there may be: held by each request, and by the socket it becomes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Place {
    fn of(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Arc::new(permit),
        }
    }
}

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(TcpStream, Peer, Place)> {
    let place = places.wait().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer(peer.ip()), place))
}

/// Tells a browser to come back over TLS only (RFC 6797).
async fn only_over_tls(mut response: Response) -> Response {
    const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
    let headers = response.headers_mut();
    headers.insert(header::STRICT_TRANSPORT_SECURITY, YEAR);
    response
}

async fn connection(
    wire: Wire,
    routes: Router,
    (peer, place): (Peer, Place),
    draining: CancellationToken,
) {
    let cut = Cut::default();
    let cutting = cut.0.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(cut.clone());
        request.extensions_mut().insert(place.clone());
        routes.clone().oneshot(request)
    });
    let ended = if wire.is_http2() {
        let serving = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HEAD_BYTES as u32)
            .keep_alive_interval(HTTP2_KEEP_ALIVE)
            .keep_alive_timeout(HTTP2_KEEP_ALIVE)
            .serve_connection(TokioIo::new(wire), service);
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = cutting.cancelled() => return,
            () = draining.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = serving.as_mut() => ended,
                    () = cutting.cancelled() => return,
                }
            }
        }
    } else {
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades();
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = cutting.cancelled() => return,
            () = draining.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = serving.as_mut() => ended,
                    () = cutting.cancelled() => return,
                }
            }
        }
    };
    if let Err(error) = ended {
        // The peer broke off or was too slow; nothing of ours depends on it.
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
