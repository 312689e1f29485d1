//! `[tls]`: a certificate from files, or from an authority.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gateway::acme::Order;
use schemars::JsonSchema;
use serde::Deserialize;

/// The directory of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The certificate that is served over TCP and over QUIC. Without one HTTP is plain, and WebTransport
/// makes its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The chain in PEM.
    pub(crate) cert: PathBuf,
    /// Its private key in PEM.
    pub(crate) key: PathBuf,
    /// Whether TCP is encrypted too: not where a proxy before the server does that.
    pub(crate) http: bool,
    /// What puts both there.
    pub(crate) acme: Option<Order>,
}

/// The certificate that is served over TCP and over QUIC, from `cert` and `key`, or by `acme`. Without
/// one HTTP is plain, and WebTransport makes its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Tls")]
#[serde(deny_unknown_fields)]
pub(super) struct FileTls {
    /// The chain in PEM.
    cert: Option<PathBuf>,
    /// Its private key in PEM.
    key: Option<PathBuf>,
    /// Whether TCP is encrypted too: not where a proxy before the server does that.
    #[serde(default = "yes")]
    pub(super) http: bool,
    /// The authority that gives the certificate, in place of `cert` and `key`.
    acme: Option<FileAcme>,
}

/// An authority that speaks ACME (RFC 8555) and looks at port 443 of the names for its proof (RFC 8737).
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Acme")]
#[serde(deny_unknown_fields)]
struct FileAcme {
    /// The names of this server.
    domains: Vec<String>,
    /// Addresses for mail from the authority.
    #[serde(default)]
    contact: Vec<String>,
    /// The folder that keeps the certificate and the account; `acme` in the data folder unless said.
    cache: Option<PathBuf>,
    /// The authority's directory; that of Let's Encrypt unless said.
    directory: Option<String>,
}

const fn yes() -> bool {
    true
}

impl FileTls {
    /// With the defaults of a server whose data folder this is.
    pub(super) fn over(self, data: &Path) -> anyhow::Result<Tls> {
        match (self.cert, self.key, self.acme) {
            (Some(cert), Some(key), None) => Ok(Tls {
                cert,
                key,
                http: self.http,
                acme: None,
            }),
            (None, None, Some(_)) if !self.http => {
                bail!(
                    "[tls.acme] is asked over TLS on this server's port, which http = false is without"
                )
            }
            (None, None, Some(acme)) => {
                let order = acme.over(data)?;
                Ok(Tls {
                    cert: order.file(),
                    key: order.file(),
                    http: true,
                    acme: Some(order),
                })
            }
            _ => bail!("[tls] takes cert and key, or acme"),
        }
    }
}

impl FileAcme {
    fn over(self, data: &Path) -> anyhow::Result<Order> {
        if self.domains.is_empty() {
            bail!("[tls.acme] domains names none");
        }
        if let Some(other) = self.domains.iter().find(|name| !is_name(name)) {
            bail!("[tls.acme] domains: {other:?} is no name like well.example");
        }
        let directory = self.directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned());
        let url = url::Url::parse(&directory).context("[tls.acme] directory")?;
        if url.scheme() != "https" {
            bail!("[tls.acme] directory: an authority is asked over https, not at {directory}");
        }
        let contact = self.contact.into_iter();
        Ok(Order {
            domains: self.domains,
            contact: contact.map(|to| format!("mailto:{to}")).collect(),
            folder: self.cache.unwrap_or_else(|| data.join("acme")),
            directory,
        })
    }
}

/// Whether an authority could look it up: addresses and patterns it cannot.
fn is_name(name: &str) -> bool {
    let of_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    !name.is_empty() && name.chars().all(of_one) && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Tls> {
        let file: FileTls = toml::from_str(text)?;
        file.over(Path::new("/data"))
    }

    #[test]
    fn a_certificate_is_from_files_or_from_an_authority() {
        let tls = read("cert = 'chain.pem'\nkey = 'key.pem'").unwrap();
        assert_eq!((tls.http, tls.acme), (true, None));
        let tls =
            read("[acme]\ndomains = ['well.example']\ncontact = ['ada@well.example']").unwrap();
        assert_eq!(tls.cert, Path::new("/data/acme/certificate.pem"));
        assert_eq!(tls.cert, tls.key);
        let order = tls.acme.unwrap();
        assert_eq!(order.contact, ["mailto:ada@well.example"]);
        assert_eq!(order.directory, LETS_ENCRYPT);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, told) in [
            ("cert = 'chain.pem'", "cert and key, or acme"),
            (
                "cert = 'c'\nkey = 'k'\n[acme]\ndomains = ['well.example']",
                "cert and key, or acme",
            ),
            ("http = false\n[acme]\ndomains = ['well.example']", "http"),
            ("[acme]\ndomains = []", "names none"),
            ("[acme]\ndomains = ['*.well.example']", "no name"),
            ("[acme]\ndomains = ['192.0.2.1']", "no name"),
            (
                "[acme]\ndomains = ['well.example']\ndirectory = 'http://authority.example'",
                "over https",
            ),
            (
                "[acme]\ndomains = ['well.example']\nport = 1",
                "unknown field",
            ),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
