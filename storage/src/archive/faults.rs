//! Any object store, wrapped in seeded faults.
//!
//! What goes wrong between a server and its bucket: an error with nothing done, throttling, an
//! answer that never comes, and the two that are hard: a request that was carried out and whose
//! answer was an error or never came. On demand, it stores something else than it was given. The
//! same seed and calls give the same faults.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, future, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::suite::Rng;

/// A store that fails on purpose.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    rng: Mutex<Rng>,
    /// In parts of a thousand requests.
    rate: u16,
    on: AtomicBool,
    /// The next object whose path holds this is stored with a flipped bit.
    garble: Mutex<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Error,
    Throttled,
    Hangs,
    DoneThenError,
    DoneThenHangs,
}

impl FaultyStore {
    /// Wraps a store; `rate` of a thousand requests fail.
    pub fn new(inner: Arc<dyn ObjectStore>, rate: u16, seed: u64) -> Self {
        Self {
            inner,
            rng: Mutex::new(Rng::new(seed)),
            rate,
            on: AtomicBool::new(true),
            garble: Mutex::default(),
        }
    }

    /// Turns the faults on or off.
    pub fn set(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// The next object whose path holds `part` is stored with a flipped bit, and acknowledged.
    pub fn garble(&self, part: &str) {
        *self.garble.lock() = Some(part.to_owned());
    }

    fn garbled(&self, location: &Path, payload: PutPayload) -> PutPayload {
        let mut garble = self.garble.lock();
        if garble
            .as_ref()
            .is_none_or(|part| !location.as_ref().contains(part))
        {
            return payload;
        }
        *garble = None;
        let mut bytes = Vec::from(Bytes::from(payload));
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        bytes.into()
    }

    fn draw(&self) -> Fault {
        let mut rng = self.rng.lock();
        if !self.on.load(Ordering::SeqCst) || rng.below(1000) >= usize::from(self.rate) {
            return Fault::None;
        }
        [
            Fault::Error,
            Fault::Throttled,
            Fault::Hangs,
            Fault::DoneThenError,
            Fault::DoneThenHangs,
        ][rng.below(5)]
    }

    async fn through<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.draw() {
            Fault::None => work.await,
            Fault::Error => Err(error("the connection was reset")),
            Fault::Throttled => Err(error("503 slow down")),
            Fault::Hangs => future::pending().await,
            Fault::DoneThenError => {
                let _ = work.await;
                Err(error("the connection was reset before the answer"))
            }
            Fault::DoneThenHangs => {
                let _ = work.await;
                future::pending().await
            }
        }
    }
}

fn error(why: &str) -> Error {
    Error::Generic {
        store: "a faulty store",
        source: why.to_owned().into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let payload = self.garbled(location, payload);
        self.through(self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.through(self.inner.put_multipart_opts(location, opts))
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.through(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.through(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.draw() {
            Fault::None => self.inner.delete_stream(locations),
            Fault::Error | Fault::Throttled => {
                stream::once(future::ready(Err(error("503 slow down")))).boxed()
            }
            Fault::Hangs => stream::pending().boxed(),
            Fault::DoneThenError | Fault::DoneThenHangs => self
                .inner
                .delete_stream(locations)
                .map(|_| Err(error("the connection was reset before the answer")))
                .boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.draw() {
            Fault::None => self.inner.list(prefix),
            Fault::Hangs | Fault::DoneThenHangs => stream::pending().boxed(),
            _ => {
                let listed = self.inner.list(prefix).take(1);
                let broken = stream::once(future::ready(Err(error("the listing broke off"))));
                listed.chain(broken).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.through(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.through(self.inner.copy_opts(from, to, options)).await
    }
}
