//! Whom a WebTransport client trusts: the authorities of its system, or certificates that it knows
//! by their hash.
//!
//! A server without a certificate from an authority makes its own, each for a fortnight, and says
//! their hashes at `/webtransport.json`: of the one it serves and of the next. A hash is worth as
//! much as the way it came: over `http://` from another machine it proves nothing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;
use web_transport_quinn::crypto::sha256;
use web_transport_quinn::quinn::crypto::rustls::QuicClientConfig;

use super::Broken;
use crate::limits::PUBLISHED_BYTES;

/// Whom to trust.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// The authorities that the operating system knows.
    System,
    /// Certificates with one of these SHA-256 hashes.
    Hashes(Vec<[u8; 32]>),
    /// Certificates of which this address gives the hashes, asked for with each connection.
    Published(String),
}

impl Trust {
    /// TLS that takes these and no others.
    pub(super) async fn crypto(&self) -> Result<Arc<QuicClientConfig>, Broken> {
        let unreachable = |error: &dyn std::fmt::Display| Broken::Unreachable(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unreachable(&error))?;
        let hashes = match self {
            Self::System => None,
            Self::Hashes(hashes) => Some(hashes.clone()),
            Self::Published(url) => Some(published(url).await?),
        };
        let mut tls = if let Some(hashes) = hashes {
            let known = Known { provider, hashes };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(known))
                .with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        tls.alpn_protocols = vec![web_transport_quinn::ALPN.into()];
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| unreachable(&error))?;
        Ok(Arc::new(crypto))
    }
}

/// Takes a certificate by its hash alone, as browsers do with `serverCertificateHashes`.
#[derive(Debug)]
struct Known {
    provider: Arc<CryptoProvider>,
    hashes: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hash = sha256(&self.provider, end_entity);
        if self.hashes.iter().any(|known| known == hash.as_ref()) {
            Ok(ServerCertVerified::assertion())
        } else {
            let why = CertificateError::ApplicationVerificationFailure;
            Err(rustls::Error::InvalidCertificate(why))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Asks `http://host:port/webtransport.json` for its hashes.
async fn published(url: &str) -> Result<Vec<[u8; 32]>, Broken> {
    let bad = |why| Broken::Address(url.to_owned(), why);
    let parsed = Url::parse(url).map_err(|_| bad("it is no URL"))?;
    let host = parsed.host_str().unwrap_or_default();
    if parsed.scheme() != "http" || host.is_empty() {
        return Err(bad("hashes are asked for over http://"));
    }
    let port = parsed.port().unwrap_or(80);
    let asking = async {
        let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        // An answer to HTTP/1.0 ends with its connection and comes in one piece.
        let request = format!(
            "GET {} HTTP/1.0\r\nhost: {host}:{port}\r\n\r\n",
            parsed.path()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let mut bounded = stream.take(PUBLISHED_BYTES);
        bounded.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = asking.await.map_err(|error| {
        Broken::Unreachable(format!(
            "{url} does not give the certificate's hash: {error}"
        ))
    })?;
    hashes_in(&answer).ok_or_else(|| bad("what it answers is no list of certificate hashes"))
}

/// The hashes in an HTTP answer.
fn hashes_in(answer: &[u8]) -> Option<Vec<[u8; 32]>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let status = answer[..end].split(|byte| *byte == b' ').nth(1)?;
    let body: serde_json::Value = serde_json::from_slice(&answer[end + 4..]).ok()?;
    let listed = body.get("certificateHashes")?.as_array()?;
    let hashes = listed
        .iter()
        .filter(|it| it.get("algorithm").and_then(|it| it.as_str()) == Some("sha-256"))
        .map(|it| {
            let value = STANDARD.decode(it.get("value")?.as_str()?).ok()?;
            value.try_into().ok()
        });
    (status == b"200").then(|| hashes.collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_hashes_is_told_from_one_that_has_them() {
        let value = STANDARD.encode([7; 32]);
        let body = format!(
            "{{\"port\":1,\"certificateHashes\":[{{\"algorithm\":\"sha-256\",\"value\":\"{value}\"}}]}}"
        );
        let answer = |status, body: &str| format!("HTTP/1.1 {status} X\r\na: b\r\n\r\n{body}");
        let read = |text: String| hashes_in(text.as_bytes());
        assert_eq!(read(answer(200, &body)), Some(vec![[7; 32]]));
        assert_eq!(read(answer(404, &body)), None);
        assert_eq!(read(answer(200, "<html>")), None);
        assert_eq!(read(answer(200, &body.replace(&value, "c2hvcnQ="))), None);
        assert_eq!(read("HTTP/1.1 200".to_owned()), None);
    }
}
