//! The certificate that WebTransport serves: from files, or one of our own.
//!
//! Whoever serves it takes [`Certificates::pair`], asks [`Certificates::refresh`] with the time, as
//! often as it likes, and takes it again if that changed it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use observatory::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::expiry::not_after;
use super::self_signed::SelfSigned;

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// PEM files: a chain that begins with the server's certificate, and its key. Read again when
    /// they change.
    Files {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Made here. Kept in a folder, so that a restart serves what pages hold the hashes of; in
    /// memory only without one.
    SelfSigned(Option<PathBuf>),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file of the configuration.
    #[error("the file {path} of [tls] cannot be read: {source}")]
    Read {
        /// Which file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file of the configuration that is no PEM of what it should be.
    #[error("the file {path} of [tls] holds no PEM that can be used: {reason}")]
    Pem {
        /// Which file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificate and the key do not belong together, or are of a kind that TLS 1.3 has not.
    #[error("the certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
    /// One of our own could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// QUIC needs one cipher suite, and the provider has it.
    #[error("the TLS provider has no cipher suite for QUIC's first packets")]
    Cipher,
}

/// What is served and published now.
#[derive(Debug)]
pub(crate) struct Certificates {
    served: Served,
}

#[derive(Debug)]
enum Served {
    Files {
        cert: PathBuf,
        key: PathBuf,
        /// The files as they were when they were last looked at.
        seen: (Vec<u8>, Vec<u8>),
        pair: Pair,
    },
    SelfSigned(SelfSigned),
}

/// A chain and its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Certificates {
    pub(crate) fn open(source: Source, now: SystemTime) -> Result<Self, CertificateError> {
        let served = match source {
            Source::Files { cert, key } => {
                let seen = (read(&cert)?, read(&key)?);
                let pair = Pair::from_pem(&cert, &key, &seen)?;
                Served::Files {
                    cert,
                    key,
                    seen,
                    pair,
                }
            }
            Source::SelfSigned(folder) => Served::SelfSigned(SelfSigned::open(folder, now)?),
        };
        let certificates = Self { served };
        certificates.tell_end();
        Ok(certificates)
    }

    /// Tells the metrics when the certificate ends that is served now.
    fn tell_end(&self) {
        let which = match &self.served {
            Served::Files { .. } => Certificate::Tls,
            Served::SelfSigned(_) => Certificate::WebTransport,
        };
        if let Some(end) = self.end() {
            observatory::certificate(which, end as f64);
        }
    }

    /// When the certificate ends that is served now, as Unix time.
    fn end(&self) -> Option<u64> {
        not_after(self.pair().chain.first()?)
    }

    /// Says so in the log if what is served over this has ended by `now`.
    pub(crate) fn warn_if_ended(&self, over: &str, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.end().is_some_and(|end| end <= now.as_secs()) {
            let certificate = self.describe();
            tracing::warn!(
                certificate,
                "the certificate that is served over {over} has ended: clients turn away until there is another"
            );
        }
    }

    /// Brings what is served up to `now`. Gives whether it changed. After an error it has not, and a
    /// file that is at fault is not told of again until it changes.
    pub(crate) fn refresh(&mut self, now: SystemTime) -> Result<bool, CertificateError> {
        let changed = self.refresh_served(now)?;
        if changed {
            self.tell_end();
        }
        Ok(changed)
    }

    fn refresh_served(&mut self, now: SystemTime) -> Result<bool, CertificateError> {
        match &mut self.served {
            Served::SelfSigned(own) => own.refresh(now),
            Served::Files {
                cert,
                key,
                seen,
                pair,
            } => {
                let fresh = (read(cert)?, read(key)?);
                if fresh == *seen {
                    return Ok(false);
                }
                *seen = fresh;
                *pair = Pair::from_pem(cert, key, seen)?;
                Ok(true)
            }
        }
    }

    /// What is served now.
    pub(crate) const fn pair(&self) -> &Pair {
        match &self.served {
            Served::Files { pair, .. } => pair,
            Served::SelfSigned(own) => own.current(),
        }
    }

    /// Bytes that nobody else knows, and that are the same after a restart.
    pub(crate) fn secret(&self) -> Vec<u8> {
        match &self.served {
            Served::Files { pair, .. } => pair.key.secret_der().to_vec(),
            Served::SelfSigned(own) => own.secret(),
        }
    }

    /// The SHA-256 of the certificates that pages may meet, in base64: this one and the next.
    pub(crate) fn hashes(&self) -> Vec<String> {
        match &self.served {
            Served::Files { .. } => Vec::new(),
            Served::SelfSigned(own) => own.hashes(),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match &self.served {
            Served::Files { cert, .. } => format!("from {}", cert.display()),
            Served::SelfSigned(own) => own.describe(),
        }
    }
}

impl Pair {
    fn from_pem(
        cert: &Path,
        key: &Path,
        (cert_pem, key_pem): &(Vec<u8>, Vec<u8>),
    ) -> Result<Self, CertificateError> {
        let fault = |path: &Path, reason: String| CertificateError::Pem {
            path: path.display().to_string(),
            reason,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert_pem).collect();
        let chain = chain.map_err(|error| fault(cert, error.to_string()))?;
        if chain.is_empty() {
            return Err(fault(cert, "it has no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| fault(key, error.to_string()))?;
        let pair = Self { chain, key };
        pair.tls()?;
        Ok(pair)
    }

    /// TLS 1.3 for HTTP/3, with this pair. 0-RTT is off.
    pub(crate) fn tls(&self) -> Result<rustls::ServerConfig, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        tls.alpn_protocols = vec![web_transport_quinn::ALPN.into()];
        tls.max_early_data_size = 0;
        Ok(tls)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read {
        path: path.display().to_string(),
        source,
    })
}
