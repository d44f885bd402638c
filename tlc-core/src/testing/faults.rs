//! A store that fails a chosen request, before it acts or after, and is slow on command.
//!
//! The way to find every unsafe moment of an operation: let request `k` fail for `k = 1, 2, 3, …`
//! until the operation succeeds, and after each look at what is left with a clean store.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::time::sleep;

/// How often a request that is held up looks whether it still is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// When a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened.
    Before,
    /// It has happened, but the answer is lost.
    After,
}

/// Which requests fail, and how many there were. Shared with the store that it steers.
#[derive(Debug)]
pub struct Faults {
    first: AtomicU64,
    last: AtomicU64,
    seen: AtomicU64,
    when: When,
    /// Milliseconds that a request takes at the least.
    delay: AtomicU64,
}

impl Faults {
    /// Request number `k` fails, counted from 1; with 0 none does.
    #[must_use]
    pub fn at(k: u64, when: When) -> Arc<Self> {
        Self::between(k, k, when)
    }

    /// Requests number `first` to `last` fail.
    #[must_use]
    pub fn between(first: u64, last: u64, when: When) -> Arc<Self> {
        let (first, last) = (AtomicU64::new(first), AtomicU64::new(last));
        Arc::new(Self {
            first,
            last,
            seen: AtomicU64::new(0),
            when,
            delay: AtomicU64::new(0),
        })
    }

    /// How many requests there were.
    #[must_use]
    pub fn n_requests(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// From now on each request takes `delay` at the least, and so do those that go on; until then, with a long one the store hangs.
    pub fn slow_down(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay.store(millis, Ordering::SeqCst);
    }

    async fn hold_up(&self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(self.delay.load(Ordering::SeqCst)) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// From now on nothing fails, and nothing is slow.
    pub fn heal(&self) {
        self.slow_down(Duration::ZERO);
        self.first.store(0, Ordering::SeqCst);
        self.last.store(0, Ordering::SeqCst);
    }

    /// From now on everything fails.
    pub fn break_down(&self) {
        self.first.store(1, Ordering::SeqCst);
        self.last.store(u64::MAX, Ordering::SeqCst);
    }

    /// Counts a request; says whether it fails, and when.
    fn next(&self) -> Option<When> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let range = self.first.load(Ordering::SeqCst)..=self.last.load(Ordering::SeqCst);
        range.contains(&number).then_some(self.when)
    }
}

/// A store around another that fails as its [`Faults`] say.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    async fn request<T>(&self, request: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.faults.hold_up().await;
        match self.faults.next() {
            Some(When::Before) => Err(broken()),
            Some(When::After) => request.await.and(Err(broken())),
            None => request.await,
        }
    }

    fn listing<T: Send + 'static>(
        &self,
        listing: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        match self.faults.next() {
            None => listing,
            Some(_) => stream::iter([Err(broken())]).boxed(),
        }
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "faulty",
        source: "this request was made to fail".into(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.request(self.inner.put_opts(path, payload, options))
            .await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.request(self.inner.put_multipart_opts(path, options))
            .await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.request(self.inner.get_opts(path, options)).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.request(self.inner.get_ranges(path, ranges)).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.listing(self.inner.delete_stream(paths))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.request(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.request(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.request(self.inner.rename_opts(from, to, options))
            .await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty({})", self.inner)
    }
}
