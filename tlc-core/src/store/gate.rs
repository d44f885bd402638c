//! What must be known of a store before a log entry is created in it.
//!
//! Disk and memory are known. Any other store is tried once ([`super::probe`]): the answer is kept
//! for the process and, if it is good, as an object in the root, for the next process. A store that
//! breaks its word is refused, unless only one process writes: that is for the user to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme};
use tokio::sync::{OnceCell, OwnedMutexGuard};
use url::Url;

use super::probe;
use crate::env::{Env, Micros};
use crate::error::{Error, Result};
use crate::format;
use crate::format::store::StoreRecord;
use crate::redact::redacted_url;

/// The folder of a root that holds what is known of its store. No project has such a name.
pub(super) const FOLDER: &str = ".tlc";

/// How long, by the store's own clock, after the objects were tried their record may be written.
/// A record that is younger than what it says was copied here, from a store of the same address.
const RECORD_SECS_MAX: u64 = 600;

/// Lets log entries through to a store that keeps its word. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate(Option<Arc<Kept>>);

/// The gate of a store that must be tried first.
struct Kept {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    env: Env,
    /// The store as a person knows it.
    shown: String,
    identity: String,
    single_writer: bool,
    known: Arc<Known>,
}

/// What this process knows of a store, whichever root or handle it is reached by.
#[derive(Default)]
struct Known {
    keeps_word: OnceCell<()>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// All stores that this process has had to do with, by identity.
static KNOWN: Mutex<BTreeMap<String, Arc<Known>>> = Mutex::new(BTreeMap::new());

/// The turn of the one writer there is. Others of this process wait for it.
#[must_use]
pub(crate) struct Alone(#[expect(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Gate {
    /// Always open: for a store whose owner answers for it.
    pub(crate) fn open() -> Self {
        Self(None)
    }

    /// The gate of the root at `path` of `store`. Nothing is requested.
    pub(crate) fn new(
        (store, path): (&Arc<dyn ObjectStore>, &Path),
        url: &Url,
        options: &[(String, String)],
        (env, single_writer): (&Env, bool),
    ) -> Self {
        if let Ok((ObjectStoreScheme::Local | ObjectStoreScheme::Memory, _)) =
            ObjectStoreScheme::parse(url)
        {
            return Self::open();
        }
        Self(Some(Arc::new(kept(
            (store, path),
            url,
            options,
            (env, single_writer),
        ))))
    }

    /// Comes back when an entry may be created: with the turn of a single writer, who must then look
    /// before he writes, since his store does not.
    ///
    /// Costs nothing on disk and in memory, and nothing after the first time; that is one request, or
    /// about thirty on a store that no process has tried before.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the store breaks its word, saying how;
    /// those of the store.
    pub(crate) async fn pass(&self) -> Result<Option<Alone>> {
        let Some(kept) = &self.0 else {
            return Ok(None);
        };
        if kept.single_writer {
            let turn = Arc::clone(&kept.known.turn).lock_owned().await;
            return Ok(Some(Alone(turn)));
        }
        // A breach is not kept: the next attempt may find a server that was put right.
        let tried = kept.known.keeps_word.get_or_try_init(|| kept.try_out());
        tried.await?;
        Ok(None)
    }

    /// Removes the record of a store that was seen to break its word after all.
    pub(super) async fn forget(&self) {
        if let Some(kept) = &self.0 {
            probe::clean(&*kept.store, &[kept.record_path()]).await;
        }
    }
}

fn kept(
    (store, path): (&Arc<dyn ObjectStore>, &Path),
    url: &Url,
    options: &[(String, String)],
    (env, single_writer): (&Env, bool),
) -> Kept {
    let identity = identity(url, options);
    let mut stores = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = Arc::clone(stores.entry(identity.clone()).or_default());
    Kept {
        store: Arc::clone(store),
        folder: path.clone().join(FOLDER),
        env: env.clone(),
        shown: shown(url, options),
        identity,
        single_writer,
        known,
    }
}

impl Kept {
    async fn try_out(&self) -> Result<()> {
        let record = self.record_path();
        if self.is_recorded(&record).await {
            return Ok(());
        }
        let folder = self.folder.clone().join(self.env.fresh_id());
        let unknown = |err: Error| {
            let shown = &self.shown;
            err.context(format!("cannot try whether two can write to {shown}"))
        };
        let creation = probe::create_twice(&*self.store, &folder).await;
        let [first, ..] = &probe::names(&folder);
        let tried = self.store.head(first).await;
        probe::clean(&*self.store, &probe::names(&folder)).await;
        if let Some(breach) = creation.map_err(unknown)?.breach() {
            let shown = &self.shown;
            return Err(Error::invalid(format!(
                "the store {shown} {breach}; two writers would both believe that their revision is in, and one \
                 would be lost. Use a store that keeps conditional puts, or set `single_writer` if only one process writes at a time"
            )));
        }
        if let Ok(tried) = tried {
            self.record(&record, Micros(tried.last_modified.timestamp_micros()))
                .await;
        }
        Ok(())
    }

    /// Where the record of this store lies; that of another store has another name.
    fn record_path(&self) -> Path {
        let hash = blake3::hash(self.identity.as_bytes()).to_hex();
        self.folder.clone().join(format!("store-{hash}.json"))
    }

    /// Whether a process before this one found that the store keeps its word. What cannot be read
    /// says nothing: then the store is tried again.
    async fn is_recorded(&self, path: &Path) -> bool {
        let Ok(found) = self.store.get(path).await else {
            return false;
        };
        let written = Micros(found.meta.last_modified.timestamp_micros());
        let Ok(bytes) = found.bytes().await else {
            return false;
        };
        let Ok(record) = format::decode::<StoreRecord>(path.as_ref(), &bytes) else {
            return false;
        };
        Micros::from_rfc3339(&record.tried)
            .is_some_and(|tried| written.since(tried).as_secs() <= RECORD_SECS_MAX)
    }

    /// Tells the next process. If that fails, the next process finds out by itself.
    async fn record(&self, path: &Path, tried: Micros) {
        let record = StoreRecord {
            format: format::VERSION,
            tried: tried.to_rfc3339(),
            tool: concat!("tlc-core ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        if let Ok(bytes) = format::encode(&record) {
            self.store
                .put(path, bytes.into())
                .await
                .map(drop)
                .unwrap_or_default();
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Gate(open)"),
            Some(kept) => write!(f, "Gate({})", kept.shown),
        }
    }
}

/// Which store this is: its address, and the options that say where it is or how it is spoken to.
/// The path in it is not part of it, and no credentials are.
fn identity(url: &Url, options: &[(String, String)]) -> String {
    const PLACES: [&str; 7] = [
        "endpoint",
        "region",
        "account",
        "emulator",
        "bucket",
        "container",
        "conditional",
    ];
    const SECRETS: [&str; 5] = ["key", "secret", "token", "sas", "service_account"];
    let has = |key: &str, words: &[&str]| words.iter().any(|word| key.contains(word));
    let mut lines: Vec<String> = options
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| is_for(url, key) && has(key, &PLACES) && !has(key, &SECRETS))
        .map(|(key, value)| format!("\n{key}={value}"))
        .collect();
    lines.sort();
    let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
    let port = url.port().map(|port| format!(":{port}"));
    let port = port.unwrap_or_default();
    // `abfss://container@account.host` names the container as a user.
    let user = url.username();
    format!("{scheme}://{user}@{host}{port}{}", lines.concat())
}

/// Whether an option is for a store of this kind. A root may be opened with those of others too, for
/// files that its tables refer to.
fn is_for(url: &Url, key: &str) -> bool {
    let own = match url.scheme() {
        "s3" | "s3a" => "aws_",
        "gs" => "google_",
        "az" | "adl" | "azure" | "abfs" | "abfss" => "azure_",
        _ => "",
    };
    let mut kinds = ["aws_", "google_", "azure_"].into_iter();
    !kinds.any(|kind| kind != own && key.starts_with(kind))
}

/// The store for a message: its URL, and the server where that is not the scheme's own.
fn shown(url: &Url, options: &[(String, String)]) -> String {
    let mut store = url.clone();
    store.set_path("");
    let endpoint = options
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .filter(|(key, _)| is_for(url, key) && key.contains("endpoint"))
        .find_map(|(_, value)| Url::parse(value).ok());
    match endpoint {
        Some(endpoint) => format!("{} at {}", redacted_url(&store), redacted_url(&endpoint)),
        None => redacted_url(&store),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::memory::InMemory;

    use super::*;
    use crate::runtime::block_on;
    use crate::testing::{Faults, FaultyStore, When};

    /// Whether two stores, each as a URL and options, are taken for one.
    #[track_caller]
    fn check(a: &str, b: &str, same: bool) {
        let identity = |text: &str| {
            let mut words = text.split(' ');
            let url = Url::parse(words.next().unwrap()).unwrap();
            let options = words.map(|word| word.split_once('=').unwrap());
            let options: Vec<_> = options
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            identity(&url, &options)
        };
        assert_eq!(identity(a) == identity(b), same, "{a} and {b}");
    }

    #[test]
    fn a_store_is_its_address_and_not_its_keys() {
        check("s3://a/x", "s3://a/y/z", true);
        check("s3://a", "s3://b", false);
        check("s3://a", "gs://a", false);
        check("s3://a aws_endpoint=http://h", "s3://a", false);
        check("s3://a aws_region=x", "s3://a AWS_REGION=x", true);
        check("s3://a aws_access_key_id=x", "s3://a", true);
        check("s3://a azure_endpoint=http://h", "s3://a", true);
        check("abfss://a@x.net/", "abfss://b@x.net/", false);
        let (a, b) = ("aws_region=x aws_endpoint=y", "aws_endpoint=y aws_region=x");
        check(&format!("s3://a {a}"), &format!("s3://a {b}"), true);
        let keys = "azure_storage_account_key=hush google_service_account=hush";
        check(&format!("az://a {keys}"), "az://a", true);
    }

    #[test]
    fn a_message_names_the_server_and_no_secret() {
        let url = Url::parse("s3://key:hush@bucket/x?token=hush").unwrap();
        let options = [("aws_endpoint".to_owned(), "http://u:hush@h:1".to_owned())];
        let text = shown(&url, &options);
        assert!(text.contains("bucket") && text.contains("h:1"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }

    /// How many requests it takes a process that knows nothing yet to pass.
    fn first_pass(store: &Arc<dyn ObjectStore>, url: &str) -> u64 {
        let faults = Faults::at(0, When::Before);
        let store: Arc<dyn ObjectStore> =
            Arc::new(FaultyStore::new(Arc::clone(store), Arc::clone(&faults)));
        let env = Env::system("ada");
        let (url, path) = (Url::parse(url).unwrap(), Path::from("root"));
        let kept = Kept {
            known: Arc::default(),
            ..kept((&store, &path), &url, &[], (&env, false))
        };
        let gate = Gate(Some(Arc::new(kept)));
        assert!(block_on(gate.pass()).unwrap().is_none());
        let requests = faults.n_requests();
        block_on(gate.pass()).unwrap();
        assert_eq!(faults.n_requests(), requests, "it is known now");
        requests
    }

    /// The only object under the root.
    fn record(store: &Arc<dyn ObjectStore>) -> Path {
        let found: Vec<_> = block_on(store.list(None).try_collect()).unwrap();
        let [record] = found.as_slice() else {
            panic!("{found:?}");
        };
        record.location.clone()
    }

    #[test]
    fn what_a_process_found_out_the_next_reads_in_one_request() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        assert!(first_pass(&store, "s3://a/x") > 25);
        record(&store);
        assert_eq!(first_pass(&store, "s3://a/x"), 1);
        assert!(first_pass(&store, "s3://b/x") > 25, "another store");
        let (place, url) = ((&store, &Path::from("root")), Url::parse("s3://a").unwrap());
        block_on(Gate::new(place, &url, &[], (&Env::manual(), false)).forget());
        assert!(first_pass(&store, "s3://a/x") > 25, "it was forgotten");
        assert_eq!(first_pass(&store, "s3://b/x"), 1, "the other is not");
    }

    #[test]
    fn a_record_that_is_damaged_or_was_copied_here_says_nothing() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = first_pass(&store, "s3://a/x");
        let path = record(&store);
        let good = block_on(async { store.get(&path).await?.bytes().await }).unwrap();
        let good = String::from_utf8(good.to_vec()).unwrap();
        let year = Env::system("").now().to_rfc3339()[..4].to_owned();
        let damaged = [
            good.replace(&year, "2001"),
            good.replace("tried", "tired"),
            String::new(),
        ];
        for text in damaged {
            block_on(store.put(&path, text.clone().into())).unwrap();
            assert_eq!(first_pass(&store, "s3://a/x"), first, "{text:?}");
            assert_eq!(first_pass(&store, "s3://a/x"), 1, "it was written anew");
        }
    }

    #[test]
    fn disk_and_memory_are_asked_nothing() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for url in ["file:///x", "memory:///"] {
            let place = (&store, &Path::from("root"));
            let gate = Gate::new(
                place,
                &Url::parse(url).unwrap(),
                &[],
                (&Env::manual(), false),
            );
            assert!(gate.0.is_none(), "{url}");
        }
    }
}
