//! Images that lie outside the table: fetched by the path or URL in a cell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::{Position, Url};

use crate::alias::Aliases;
use crate::error::{Error, Result};
use crate::redact::redacted_url;
use crate::store;
use crate::table::Snapshot;

/// How many images are fetched at the same time.
const FETCHES_MAX: usize = 16;

/// The most bytes of an encoded image.
const IMAGE_BYTES_MAX: u64 = 64 << 20;

/// Opens images wherever a snapshot's cells say they are, with the options of its root.
pub(super) struct Images {
    aliases: Aliases,
    options: Arc<[(String, String)]>,
    /// By what stands before the path of a URL: a store for each bucket.
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Images {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            aliases: snapshot.resolved().aliases.clone(),
            options: Arc::clone(&snapshot.place().options),
            stores: Mutex::default(),
        }
    }

    /// The bytes of each image, in order; nothing where there is no URL. One request for each.
    ///
    /// The errors are of single images: [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it is
    /// not there, or its alias is not set; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is
    /// no URL of a known store, or larger than 64 MiB; those of its store.
    pub(super) async fn fetch(&self, urls: &[Option<&str>]) -> Vec<Result<Option<Bytes>>> {
        let fetches = urls.iter().map(|url| async move {
            match url {
                Some(url) => self.image(url).await.map(Some),
                None => Ok(None),
            }
        });
        let fetches: Vec<_> = fetches.collect();
        stream::iter(fetches).buffered(FETCHES_MAX).collect().await
    }

    async fn image(&self, text: &str) -> Result<Bytes> {
        let url = store::parse_url(&self.aliases.resolve(text)?)?;
        let named = |err: Error| err.context(format!("cannot read {}", redacted_url(&url)));
        let (store, path) = self.open(&url)?;
        let found = store.get(&path).await.map_err(|err| named(err.into()))?;
        if found.meta.size > IMAGE_BYTES_MAX {
            let bytes = found.meta.size;
            return Err(named(Error::invalid(format!(
                "an image of {bytes} bytes is larger than {IMAGE_BYTES_MAX}"
            ))));
        }
        found.bytes().await.map_err(|err| named(err.into()))
    }

    fn open(&self, url: &Url) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        // Of these the path is the object's and nothing else, so URLs that begin alike share a store.
        let bucket = match url.scheme() {
            "file" | "s3" | "s3a" | "gs" | "az" => &url[..Position::BeforePath],
            _ => url.as_str(),
        };
        if let Some(store) = stores.get(bucket) {
            let path = Path::from_url_path(url.path())
                .map_err(|err| Error::from(object_store::Error::from(err)))?;
            return Ok((Arc::clone(store), path));
        }
        let (store, path) = store::open(url, &self.options)?;
        if bucket.len() < url.as_str().len() {
            stores.insert(bucket.to_owned(), Arc::clone(&store));
        }
        Ok((store, path))
    }
}
