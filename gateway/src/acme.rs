//! A certificate from an authority that speaks ACME (RFC 8555), for the names of this server.
//!
//! The authority is shown on the server's own port that the names are ours (`tls-alpn-01`, RFC 8737), so
//! nothing else need listen. What it signs is written, chain and key in one file, into a folder beside the
//! account's key; TLS and WebTransport serve that file as they serve any other of `[tls]`, and take it when
//! it changes. It is renewed when a third of its time is left. Until there is one the file holds a
//! certificate of our own, which no client believes.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::StreamExt;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::ResolvesServerCert;
use rustls_acme::{AccountCache, AcmeConfig, AcmeState, CertCache, EventOk};

use crate::webtransport::CertificateError;
use crate::webtransport::self_signed::{placeholder, write_secret};

/// Who is asked for which certificate, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The names of the server, as DNS has them.
    pub domains: Vec<String>,
    /// How the authority reaches the operator: `mailto:` and an address.
    pub contact: Vec<String>,
    /// Where the certificate and the account are kept.
    pub folder: PathBuf,
    /// The authority's directory.
    pub directory: String,
}

impl Order {
    /// The file that has the certificate's chain and key.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        certificate_in(&self.folder)
    }
}

/// The file of a folder that has a certificate's chain and key.
#[must_use]
pub fn certificate_in(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

/// Why no certificate can be ordered.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The folder cannot be used.
    #[error("the folder {path} of [tls.acme] cannot be used: {source}")]
    Folder {
        /// Which.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The system has no authorities by which the ACME server could be believed.
    #[error("no certificate authorities are installed, by which {directory} could be believed")]
    NoRoots {
        /// The directory.
        directory: String,
    },
    /// The client's TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// There is nothing to serve meanwhile.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What orders certificates.
#[derive(Debug)]
pub struct Acme {
    state: AcmeState<io::Error>,
    status: Status,
}

/// How ordering goes: nothing, or what went wrong last.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Mutex<Option<String>>>);

impl Status {
    /// Why there is no new certificate, if that is so.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

impl Acme {
    /// Makes the folder ready, with a file that can be served. Nothing is asked yet.
    ///
    /// # Errors
    /// [`AcmeError`] says what is in the way.
    pub fn open(order: &Order) -> Result<Self, AcmeError> {
        let folder = |source| AcmeError::Folder {
            path: order.folder.display().to_string(),
            source,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&order.folder).map_err(folder)?;
        let file = order.file();
        if !file.try_exists().map_err(folder)? {
            let own = placeholder(SystemTime::now())?;
            write_secret(&file, own.as_bytes()).map_err(folder)?;
        }
        let client = client_config(&order.directory)?;
        let config = AcmeConfig::new_with_client_config(&order.domains, client)
            .contact(&order.contact)
            .directory(&order.directory)
            .cache(Kept(order.folder.clone()));
        Ok(Self {
            state: AcmeState::new(config),
            status: Status::default(),
        })
    }

    /// What answers the authority when it asks on the server's port.
    #[must_use]
    pub fn challenges(&self) -> Arc<dyn ResolvesServerCert> {
        self.state.resolver()
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Orders certificates when they are due, and calls `renewed` when the file has another. Never returns.
    pub async fn run(mut self, renewed: impl Fn()) {
        while let Some(event) = self.state.next().await {
            match event {
                Ok(EventOk::CertCacheStore) => {
                    tracing::info!("the authority has given a certificate");
                    *self.status.0.lock() = None;
                    renewed();
                }
                Ok(EventOk::DeployedCachedCert) => *self.status.0.lock() = None,
                Ok(EventOk::DeployedNewCert | EventOk::AccountCacheStore) => {}
                Err(error) => {
                    tracing::warn!(%error, "no certificate could be had; it is tried again");
                    *self.status.0.lock() = Some(error.to_string());
                }
            }
        }
    }
}

/// Believes the system's authorities.
fn client_config(directory: &str) -> Result<Arc<rustls::ClientConfig>, AcmeError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let directory = directory.to_owned();
        return Err(AcmeError::NoRoots { directory });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The folder in which a certificate and an account are kept, both secret.
struct Kept(PathBuf);

impl Kept {
    fn account(&self) -> PathBuf {
        self.0.join("account.key")
    }
}

#[async_trait]
impl CertCache for Kept {
    type EC = io::Error;

    async fn load_cert(&self, domains: &[String], directory: &str) -> io::Result<Option<Vec<u8>>> {
        let pem = read(&certificate_in(&self.0))?;
        // Of our own, or for other names, or from another authority: another is ordered.
        let origin = origin(domains, directory);
        Ok(pem.filter(|pem| pem.starts_with(origin.as_bytes())))
    }

    async fn store_cert(&self, domains: &[String], directory: &str, pem: &[u8]) -> io::Result<()> {
        let origin = origin(domains, directory);
        write_secret(&certificate_in(&self.0), &[origin.as_bytes(), pem].concat())
    }
}

#[async_trait]
impl AccountCache for Kept {
    type EA = io::Error;

    async fn load_account(&self, _: &[String], directory: &str) -> io::Result<Option<Vec<u8>>> {
        let kept = read(&self.account())?;
        // Its first line is the authority that knows it.
        let of_it = kept.and_then(|kept| {
            let key = kept.strip_prefix(directory.as_bytes())?;
            Some(key.strip_prefix(b"\n")?.to_vec())
        });
        Ok(of_it)
    }

    async fn store_account(&self, _: &[String], directory: &str, key: &[u8]) -> io::Result<()> {
        let line = [directory.as_bytes(), b"\n", key].concat();
        write_secret(&self.account(), &line)
    }
}

/// The line before a certificate that says whose it is and who signed it.
fn origin(domains: &[String], directory: &str) -> String {
    format!("{} by {directory}\n", domains.join(", "))
}

/// What a file has, if there is one.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIRECTORY: &str = "https://authority.example/directory";

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_certificate_is_kept_for_its_names_and_authority_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept(folder.path().to_owned());
        let (one, two) = (names(&["a.example"]), names(&["a.example", "b.example"]));
        assert_eq!(kept.load_cert(&one, DIRECTORY).await.unwrap(), None);
        kept.store_cert(&one, DIRECTORY, b"PEM").await.unwrap();
        let loaded = kept.load_cert(&one, DIRECTORY).await.unwrap().unwrap();
        assert!(loaded.ends_with(b"\nPEM"));
        assert_eq!(kept.load_cert(&two, DIRECTORY).await.unwrap(), None);
        assert_eq!(kept.load_cert(&one, "https://other/").await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_account_is_its_authoritys_alone_and_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept(folder.path().to_owned());
        let key = [0, b'\n', 255];
        kept.store_account(&[], DIRECTORY, &key).await.unwrap();
        let loaded = kept.load_account(&[], DIRECTORY).await.unwrap();
        assert_eq!(loaded.as_deref(), Some(&key[..]));
        assert_eq!(
            kept.load_account(&[], "https://other/").await.unwrap(),
            None
        );
        let mode = std::fs::metadata(kept.account()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}
