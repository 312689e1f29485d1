//! Answers that hold memory of the past for as long as their clients take to read them, and no longer
//! than a client may that does not read.
//!
//! An answer goes out in pieces, so that it shows whether its client reads. One of which no piece is
//! taken within [`ANSWER_STALL`] has its connection cut: whatever holds its bytes then lets go of
//! them. Over HTTP/2 that ends the connection's other requests too; nothing smaller frees what the
//! connection has taken over already.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::limits::{ANSWER_PIECE_BYTES, ANSWER_STALL};

/// Cuts the connection that a request came on; in the request's extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut(pub(crate) CancellationToken);

/// A body of these bytes, which may be held by a client for as long as it goes on reading.
pub(crate) fn watched(bytes: Bytes, cut: Cut) -> Body {
    let gone = CancellationToken::new();
    let taken = Arc::new(AtomicUsize::new(0));
    tokio::spawn(watch(gone.clone(), Arc::clone(&taken), cut));
    let rest = Bytes::from_owner(Held {
        bytes,
        _gone: gone.drop_guard(),
    });
    Body::new(Answer { rest, taken })
}

/// Returns when nobody holds the bytes any more, or has cut the connection.
async fn watch(gone: CancellationToken, taken: Arc<AtomicUsize>, cut: Cut) {
    let mut before = 0;
    while tokio::time::timeout(ANSWER_STALL, gone.cancelled())
        .await
        .is_err()
    {
        let now = taken.load(Ordering::Relaxed);
        if now == before {
            tracing::info!("a client did not read its answer; its connection is cut");
            cut.0.cancel();
            return;
        }
        before = now;
    }
}

/// Bytes that tell when nobody holds them any more.
struct Held {
    bytes: Bytes,
    _gone: DropGuard,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is left of an answer.
struct Answer {
    rest: Bytes,
    /// How many pieces have been taken.
    taken: Arc<AtomicUsize>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            // What has been taken may wait to be written still.
            self.rest = Bytes::new();
            return Poll::Ready(None);
        }
        let piece = self.rest.len().min(ANSWER_PIECE_BYTES);
        let piece = self.rest.split_to(piece);
        self.taken.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
