//! Accepting connections, and ending: the loop between a listener and the routes.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use protocol::RoomName;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Gateway;
use crate::http::router;
use crate::limits::{CONNECTIONS, HEAD_BYTES, HEAD_TIME};

/// Serves `listener` until [`drain`] is called. Accept errors that pass (a full file table, a
/// client that left) are waited out.
pub async fn serve(gateway: Gateway, listener: TcpListener) {
    let routes = router(gateway.clone());
    let requests = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = gateway.draining().cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let routes = routes.clone();
                let draining = gateway.draining().clone();
                requests.spawn(async move {
                    connection(stream, routes, draining).await;
                    drop(place);
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

/// Ends the server within `patience`: no more connections, every room settles what is on its way,
/// sockets are closed with 1012, the log is closed. Gives the rooms that did not end in time.
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
    late
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Place)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection(
    stream: TcpStream,
    routes: Router,
    draining: tokio_util::sync::CancellationToken,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = draining.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // The peer broke off or was too slow; nothing of ours depends on it.
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
