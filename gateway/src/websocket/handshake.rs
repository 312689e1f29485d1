//! The opening handshake (RFC 6455 §4.2), as far as the HTTP layer leaves it to us.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Why a request cannot become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not a GET, or no key.
    #[error("a WebSocket begins with a GET that has a Sec-WebSocket-Key of 16 base64 bytes")]
    Key,
    /// Another version than 13.
    #[error("only WebSocket version 13 is spoken")]
    Version,
}

/// Whether the client asks for a WebSocket at all.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
}

/// The `Sec-WebSocket-Accept` that answers the request.
///
/// # Errors
/// [`HandshakeError`] says what is wrong with the request.
pub fn accept(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(HandshakeError::Version);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(HandshakeError::Key)?;
    let decoded = STANDARD.decode(key).map_err(|_| HandshakeError::Key)?;
    if method != Method::GET || decoded.len() != 16 {
        return Err(HandshakeError::Key);
    }
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    HeaderValue::from_str(&STANDARD.encode(hash.finalize())).map_err(|_| HandshakeError::Key)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_example_of_the_rfc() {
        let headers = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ]);
        assert!(is_upgrade(&headers));
        assert_eq!(
            accept(&Method::GET, &headers).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(accept(&Method::POST, &headers), Err(HandshakeError::Key));
    }

    #[test]
    fn a_bad_key_or_version_is_refused() {
        let bad_key = headers(&[
            ("sec-websocket-key", "c2hvcnQ="),
            ("sec-websocket-version", "13"),
        ]);
        assert_eq!(accept(&Method::GET, &bad_key), Err(HandshakeError::Key));
        let old = headers(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        assert_eq!(accept(&Method::GET, &old), Err(HandshakeError::Version));
    }
}
