//! TLS over TCP: the same certificate that WebTransport serves, and what carries connections with it or
//! without.
//!
//! TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only (ring's suites). The protocol is
//! agreed by ALPN: HTTP/2, or HTTP/1.1, which web sockets take.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_acme::acme::ACME_TLS_ALPN_NAME;
use rustls_acme::is_tls_alpn_challenge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::connection::transport::Transport;
use crate::limits::{CERTIFICATE_LOOK, TLS_TIME};
use crate::webtransport::certificates::Certificates;
use crate::webtransport::{CertificateError, Source};

/// HTTP/2, as ALPN names it.
const H2: &[u8] = b"h2";
/// What certificates are served over here, as the log says.
const OVER: &str = "TLS";

/// What a listener serves TLS with.
#[derive(Debug)]
pub struct Tls {
    certificates: Mutex<Certificates>,
    /// What answers an authority that looks whether names are ours.
    challenges: Option<Arc<dyn ResolvesServerCert>>,
    served: RwLock<Arc<rustls::ServerConfig>>,
}

impl Tls {
    /// With the certificate and key of these PEM files, which are read again when they change.
    ///
    /// # Errors
    /// [`CertificateError`] says which file is at fault.
    pub fn open(cert: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        Self::challenged(cert, key, None)
    }

    /// The same, where `challenges` answer an authority that looks whether names are ours (RFC 8737).
    ///
    /// # Errors
    /// As those of [`Tls::open`].
    pub fn challenged(
        cert: PathBuf,
        key: PathBuf,
        challenges: Option<Arc<dyn ResolvesServerCert>>,
    ) -> Result<Self, CertificateError> {
        let now = SystemTime::now();
        let certificates = Certificates::open(Source::Files { cert, key }, now)?;
        let served = config(&certificates, challenges.as_ref())?;
        certificates.warn_if_ended(OVER, now);
        Ok(Self {
            certificates: Mutex::new(certificates),
            challenges,
            served: RwLock::new(served),
        })
    }

    /// Does a client's handshake, within [`TLS_TIME`].
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Wire> {
        let config = Arc::clone(&self.served.read());
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = tokio::time::timeout(TLS_TIME, handshake).await;
        let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// Looks at the files again and again. Never returns.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(CERTIFICATE_LOOK).await;
            if let Err(error) = self.refresh() {
                tracing::warn!(%error, "the certificate before is served over TLS still");
            }
        }
    }

    /// Looks at the files, and serves what they hold from the next handshake on.
    ///
    /// # Errors
    /// [`CertificateError`] says what is wrong; what was served before is served still.
    pub fn refresh(&self) -> Result<(), CertificateError> {
        let now = SystemTime::now();
        let mut certificates = self.certificates.lock();
        if certificates.refresh(now)? {
            *self.served.write() = config(&certificates, self.challenges.as_ref())?;
            let certificate = certificates.describe();
            tracing::info!(certificate, "another certificate is served over TLS");
            certificates.warn_if_ended(OVER, now);
        }
        Ok(())
    }
}

fn config(
    certificates: &Certificates,
    challenges: Option<&Arc<dyn ResolvesServerCert>>,
) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let pair = certificates.pair();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = (pair.chain.clone(), pair.key.clone_key());
    let own = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Chosen {
            own,
            challenges: challenges.cloned(),
        }));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    if challenges.is_some() {
        config.alpn_protocols.push(ACME_TLS_ALPN_NAME.to_vec());
    }
    // What comes in early data can be replayed.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Which certificate a client is shown.
#[derive(Debug)]
struct Chosen {
    own: Arc<CertifiedKey>,
    challenges: Option<Arc<dyn ResolvesServerCert>>,
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.challenges {
            Some(challenges) if is_tls_alpn_challenge(&hello) => challenges.resolve(hello),
            _ => Some(Arc::clone(&self.own)),
        }
    }
}

/// What carries a client's bytes over TCP.
#[derive(Debug)]
pub enum Wire {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Whether the client has chosen HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(H2),
        }
    }
}

impl Transport for Wire {
    const BUFFERS: bool = true;
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
