//! WebTransport: the dialects over QUIC (HTTP/3), on the HTTP listener's port over UDP.
//!
//! A client opens one session on one of the addresses that a WebSocket has (`talk::mount`), and in
//! it one bidirectional stream; messages lie on it each after its length ([`stream`](crate::stream)).
//! Other streams are refused and leave the session alone. Whoever is refused is let in and then
//! closed with a code and a reason, because a page learns neither from a refused request.
//!
//! | file | holds |
//! | --- | --- |
//! | `certificates` | where the certificate comes from, and what is served and published now |
//! | `expiry` | when a certificate ends |
//! | `self_signed` | certificates of our own: made, kept, and followed by the next |
//! | `resets` | what tells clients of a killed server that it is gone |
//! | `session` | one session, from its request to its close |
//! | `duplex` | a session's stream as a transport |
//!
//! What a peer can make this side hold is bounded: handshakes, sessions (which share their places
//! with TCP), windows, streams and datagrams, all named in [`limits`](crate::limits). 0-RTT is off,
//! because what comes in it can be replayed.

pub(crate) mod certificates;
mod duplex;
mod expiry;
mod resets;
pub(crate) mod self_signed;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use observatory::Limit;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use web_transport_quinn::quinn;

use certificates::Certificates;
pub use certificates::{CertificateError, Source};
use resets::Secret;

use crate::Gateway;
use crate::limits::{
    CERTIFICATE_LOOK, DATAGRAM_BUFFER_BYTES, HANDSHAKES, QUIC_BIDI_STREAMS,
    QUIC_CONNECTION_WINDOW_BYTES, QUIC_IDLE, QUIC_KEEP_ALIVE, QUIC_SEND_WINDOW_BYTES,
    QUIC_STREAM_WINDOW_BYTES, QUIC_UNI_STREAMS,
};

/// What certificates are served over here, as the log says.
const OVER: &str = "WebTransport";

/// Whether WebTransport is served.
#[derive(Debug, Clone)]
pub enum Door {
    /// The configuration turns it off.
    Off,
    /// It could not be opened, and why; the server goes on without it.
    Shut(String),
    /// It is served.
    Open(WebTransport),
}

/// Why WebTransport cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The UDP port is taken, or the address is not this machine's.
    #[error("{address} over UDP cannot be bound: {source}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no certificate to serve.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// An endpoint that takes sessions, and its certificates.
#[derive(Debug, Clone)]
pub struct WebTransport {
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    certificates: Arc<Mutex<Certificates>>,
}

/// What `GET /webtransport.json` gives: all that a page needs to connect.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The UDP port.
    port: u16,
    /// For `serverCertificateHashes`: of the certificate that is served now and of the one after
    /// it. Empty where the certificate is from files, which a browser checks by its authority.
    certificate_hashes: Vec<CertificateHash>,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct CertificateHash {
    algorithm: &'static str,
    /// Base64, standard alphabet.
    value: String,
}

impl WebTransport {
    /// Binds `address` over UDP and makes ready what is served at `now`. Must be called within the
    /// async runtime.
    ///
    /// # Errors
    /// [`OpenError`] says whether the address or the certificate is in the way.
    pub fn open(address: SocketAddr, source: Source, now: SystemTime) -> Result<Self, OpenError> {
        let certificates = Certificates::open(source, now)?;
        let config = server_config(&certificates)?;
        certificates.warn_if_ended(OVER, now);
        let bind = |source| OpenError::Bind { address, source };
        let socket = UdpSocket::bind(address).map_err(bind)?;
        let runtime =
            quinn::default_runtime().ok_or_else(|| bind(io::Error::other("no runtime")))?;
        let resets = Secret::of(&certificates.secret()).endpoint();
        let endpoint = quinn::Endpoint::new(resets, Some(config), socket, runtime).map_err(bind)?;
        let address = endpoint.local_addr().map_err(bind)?;
        Ok(Self {
            endpoint,
            address,
            certificates: Arc::new(Mutex::new(certificates)),
        })
    }

    /// Where sessions are taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a page needs to connect.
    #[must_use]
    pub fn published(&self) -> Published {
        let hash = |value| CertificateHash {
            algorithm: "sha-256",
            value,
        };
        let hashes = self.certificates.lock().hashes();
        Published {
            port: self.address.port(),
            certificate_hashes: hashes.into_iter().map(hash).collect(),
        }
    }

    /// Which certificate is served, in words.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.certificates.lock().describe()
    }

    /// Looks whether another certificate is to be served at `now`, and serves it to new sessions;
    /// those that stand keep theirs. A certificate that cannot be had leaves the last one in place.
    pub fn refresh(&self, now: SystemTime) {
        let mut certificates = self.certificates.lock();
        let refreshed = certificates
            .refresh(now)
            .and_then(|changed| changed.then(|| server_config(&certificates)).transpose());
        match refreshed {
            Ok(None) => {}
            Ok(Some(config)) => {
                self.endpoint.set_server_config(Some(config));
                let certificate = certificates.describe();
                tracing::info!(certificate, "WebTransport has another certificate");
                certificates.warn_if_ended(OVER, now);
            }
            Err(error) => {
                tracing::warn!(%error, "WebTransport keeps the certificate that it has");
            }
        }
    }

    /// Ends the endpoint, after its sessions were closed: what is on its way to peers has `patience`.
    pub(crate) async fn close(&self, patience: Duration) {
        let idle = tokio::time::timeout(patience, self.endpoint.wait_idle()).await;
        if idle.is_err() {
            tracing::warn!("WebTransport sessions did not end in time and are cut");
        }
        self.endpoint.close(0_u32.into(), b"the server has ended");
    }
}

/// Takes sessions until the server drains. Returns at once where there is no WebTransport.
pub async fn serve(gateway: Gateway) {
    let Door::Open(door) = gateway.webtransport().clone() else {
        return;
    };
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut look = tokio::time::interval(CERTIFICATE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let incoming = tokio::select! {
            biased;
            () = gateway.draining().cancelled() => break,
            _ = look.tick() => {
                door.refresh(SystemTime::now());
                continue;
            }
            incoming = door.endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            break;
        };
        // Past half of the places an address has to show that it is its sender's.
        let crowded = handshakes.available_permits() < HANDSHAKES / 2;
        if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
            // It was asked for what it may do.
            let _ = incoming.retry();
            continue;
        }
        let handshake = Arc::clone(&handshakes).try_acquire_owned();
        match (handshake, gateway.places().try_take()) {
            (Ok(handshake), Some(place)) => {
                let carried = session::carry(gateway.clone(), incoming, handshake, place);
                gateway.connections().spawn(carried);
            }
            (handshake, _) => {
                let limit = match handshake {
                    Ok(_) => Limit::Connections,
                    Err(_) => Limit::Handshake,
                };
                observatory::limit_hit(limit);
                incoming.refuse();
            }
        }
    }
    // New ones are refused while those that stand are closed.
    door.endpoint.set_server_config(None);
}

fn server_config(certificates: &Certificates) -> Result<quinn::ServerConfig, CertificateError> {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_idle_timeout(quinn::IdleTimeout::try_from(QUIC_IDLE).ok())
        .keep_alive_interval(Some(QUIC_KEEP_ALIVE))
        .stream_receive_window(QUIC_STREAM_WINDOW_BYTES.into())
        .receive_window(QUIC_CONNECTION_WINDOW_BYTES.into())
        .send_window(QUIC_SEND_WINDOW_BYTES)
        .max_concurrent_bidi_streams(QUIC_BIDI_STREAMS.into())
        .max_concurrent_uni_streams(QUIC_UNI_STREAMS.into())
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(certificates.pair().tls()?)
        .map_err(|_| CertificateError::Cipher)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(HANDSHAKES);
    Ok(config)
}
