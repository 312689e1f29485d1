//! Telling clients of a server that is gone that it is: QUIC's stateless resets (RFC 9000 §10.3).
//!
//! A server that was killed says nothing, and its clients would wait until silence tells them. The
//! server that is started in its place does not know their connections, but answers what they send
//! with a token that only their server could know: it follows from a secret that outlives both, and
//! from the connection's id. A client that gets it gives its connection up at once, and comes back.
//!
//! The secret is a file beside the certificates of our own, or follows from the key of the certificate
//! that is served from files.

use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use web_transport_quinn::quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};

use crate::limits::QUIC_RESET_PAUSE;

/// What tokens are made of.
pub(super) struct Secret(hmac::Key);

impl Secret {
    /// From bytes that nobody else knows.
    pub(super) fn of(bytes: &[u8]) -> Self {
        // Not the key itself: what it is used for elsewhere is none of our business.
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let derived = hmac::sign(&key, b"The Well: stateless resets");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// An endpoint that resets what it does not know.
    pub(super) fn endpoint(self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.0));
        config
            .cid_generator(|| Box::new(AnyId::default()))
            .min_reset_interval(QUIC_RESET_PAUSE);
        config
    }
}

/// Random connection ids. The library's own carry a mark of their endpoint, by which it drops what a
/// former one gave out instead of resetting it.
#[derive(Default)]
struct AnyId(u64);

impl ConnectionIdGenerator for AnyId {
    fn generate_cid(&mut self) -> ConnectionId {
        // Without randomness they still differ: the library draws again until they do.
        let random = getrandom::u64().unwrap_or_default();
        self.0 = self.0.wrapping_add(1);
        ConnectionId::new(&random.wrapping_add(self.0).to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
