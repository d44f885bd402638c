//! What a store can do, tried on the store itself: for a person who wants to know before there is a
//! table.

use std::fmt;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _};
use url::Url;

use super::{Place, disk, gate, probe};
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::redact::redacted_url;

/// How often a put and a get are timed.
const TIMED: usize = 5;

/// What objects hold that are read in part.
const CONTENT: &str = "0123456789";

/// One thing that a store was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreCheck {
    /// What it is, in a few words.
    pub name: &'static str,
    /// Whether the store did it.
    pub holds: bool,
    /// Whether nothing can be kept in a store that does not.
    pub is_needed: bool,
    /// What was seen, and what it means where the store failed.
    pub detail: String,
}

/// How many may write to a store at the same time without losing each other's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Any number, on any number of machines.
    Many,
    /// One process at a time, and only if it says so
    /// ([`RootOptions::single_writer`](crate::RootOptions::single_writer)).
    One,
    /// None: the store lacks something that reading or writing needs.
    None,
}

impl Writers {
    /// In lower-case words, as scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Many => "many",
            Self::One => "one",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a store can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReport {
    /// Where it is, without credentials.
    pub url: String,
    /// What was tried, in order.
    pub checks: Vec<StoreCheck>,
    /// Who can write to it safely.
    pub writers: Writers,
    /// What a put of a few bytes takes: the median of five.
    pub put: Duration,
    /// What a get of them takes.
    pub get: Duration,
    /// Seconds that the store's clock is ahead of ours. Stores tell whole seconds.
    pub clock_ahead_secs: i64,
}

/// Tries what the store of the root at `place` can do, with objects in a folder of its own that are
/// deleted in the end. About sixty requests.
///
/// # Errors
/// Those of the store, if not even a first object can be written.
pub(crate) async fn examine(place: &Place, url: &Url) -> Result<StoreReport> {
    let shown = redacted_url(url);
    let trial = Trial {
        store: &*place.store,
        folder: place.child(gate::FOLDER).child(&place.env.fresh_id()).path,
    };
    let first = trial.path("first");
    let begun = place.env.now();
    let put = place.store.put(&first, CONTENT.into()).await;
    put.map_err(|err| Error::from(err).context(format!("cannot write to {shown}")))?;
    let clock = trial.modified(&first).await;
    let ahead = |at: Micros| at.0.div_euclid(1_000_000) - begun.0.div_euclid(1_000_000);
    let mut report = StoreReport {
        url: shown,
        checks: trial.checks().await,
        writers: Writers::None,
        put: Duration::ZERO,
        get: Duration::ZERO,
        clock_ahead_secs: clock.map_or(0, ahead),
    };
    report.writers = writers(&report.checks);
    if report
        .checks
        .iter()
        .any(|check| check.name == CREATE && !check.holds)
    {
        place.gate.forget().await;
    }
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..TIMED {
        let started = place.env.now();
        let put = place.store.put(&first, CONTENT.into()).await;
        let between = place.env.now();
        let got = trial.read(&first).await;
        if put.is_ok() && got.is_ok() {
            puts.push(between.since(started));
            gets.push(place.env.now().since(between));
        }
    }
    (report.put, report.get) = (median(puts), median(gets));
    trial.remove_all().await;
    disk::remove_empty_folders(url, &[&trial.folder, &place.child(gate::FOLDER).path]);
    Ok(report)
}

/// The rule: what is needed for reading and writing at all, and what for more than one writer.
fn writers(checks: &[StoreCheck]) -> Writers {
    let mut lacking = checks
        .iter()
        .filter(|check| check.is_needed && !check.holds);
    match (lacking.next(), lacking.next()) {
        (None, _) => Writers::Many,
        (Some(only), None) if only.name == CREATE => Writers::One,
        _ => Writers::None,
    }
}

/// The check that decides between one writer and many.
const CREATE: &str = "create if absent";

/// A folder to try things in.
struct Trial<'a> {
    store: &'a dyn ObjectStore,
    folder: Path,
}

impl Trial<'_> {
    fn path(&self, name: &str) -> Path {
        self.folder.clone().join(name)
    }

    async fn checks(&self) -> Vec<StoreCheck> {
        vec![
            needed("read", "reads what was written", self.reads().await),
            needed("overwrite", "reads the newest", self.overwrites().await),
            needed("list", "lists what is there", self.lists().await),
            needed("read ranges", "reads parts", self.reads_ranges().await),
            needed(
                CREATE,
                "creates an object once, also when eight try",
                self.creates().await,
            ),
            optional(
                "conditional read",
                "notices a file that changes while it is read",
                self.reads_if_same().await,
            ),
            optional("delete", "deletes", self.deletes().await),
            optional(
                "multipart",
                "takes a large object in parts",
                self.takes_parts().await,
            ),
        ]
    }

    async fn read(&self, path: &Path) -> Result<String> {
        let bytes = self.store.get(path).await?.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn modified(&self, path: &Path) -> Option<Micros> {
        let found = self.store.head(path).await.ok()?;
        Some(Micros(found.last_modified.timestamp_micros()))
    }

    async fn reads(&self) -> Result<()> {
        let read = self.read(&self.path("first")).await?;
        expect(read == CONTENT, "gives other bytes than were written")
    }

    async fn overwrites(&self) -> Result<()> {
        let path = self.path("overwritten");
        for content in ["old", CONTENT] {
            self.store.put(&path, content.into()).await?;
        }
        expect(self.read(&path).await? == CONTENT, "gives an old version")
    }

    async fn lists(&self) -> Result<()> {
        let listed: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await?;
        let found = listed.iter().any(|object| {
            object.location == self.path("first") && object.size == CONTENT.len() as u64
        });
        expect(found, "does not list an object that it has")?;
        let parent = self.store.list_with_delimiter(Some(&self.folder)).await?;
        expect(!parent.objects.is_empty(), "does not list one folder alone")
    }

    async fn reads_ranges(&self) -> Result<()> {
        let path = self.path("first");
        let parts = self.store.get_ranges(&path, &[1..3, 6..9]).await?;
        let one = self.store.get_range(&path, 4..5).await?;
        let right = parts.first().is_some_and(|part| part == "12")
            && parts.last().is_some_and(|part| part == "678")
            && one == "4";
        expect(right, "gives other bytes than the range has")
    }

    async fn creates(&self) -> Result<()> {
        match probe::create_twice(self.store, &self.folder)
            .await?
            .breach()
        {
            None => Ok(()),
            Some(breach) => Err(Error::invalid(breach)),
        }
    }

    async fn reads_if_same(&self) -> Result<()> {
        let path = self.path("first");
        let etag = self.store.head(&path).await?.e_tag;
        let etag = etag.ok_or_else(|| Error::invalid("gives objects no tag"))?;
        let same = GetOptions::new().with_if_match(Some(etag));
        self.store.get_opts(&path, same).await?;
        let other = GetOptions::new().with_if_match(Some("\"another\""));
        match self.store.get_opts(&path, other).await {
            Err(object_store::Error::Precondition { .. }) => Ok(()),
            Err(err) => Err(err.into()),
            Ok(_) => expect(false, "ignores the condition of a read"),
        }
    }

    async fn deletes(&self) -> Result<()> {
        let path = self.path("overwritten");
        self.store.delete(&path).await?;
        match self.store.head(&path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(err) => Err(err.into()),
            Ok(_) => expect(false, "still has what was deleted"),
        }
    }

    async fn takes_parts(&self) -> Result<()> {
        let path = self.path("parts");
        let mut upload = self.store.put_multipart(&path).await?;
        upload.put_part(CONTENT.into()).await?;
        upload.complete().await?;
        let read = self.read(&path).await?;
        expect(read == CONTENT, "gives other bytes than were written")
    }

    async fn remove_all(&self) {
        let listed = self.store.list(Some(&self.folder));
        let listed: Vec<_> = listed
            .filter_map(|object| async { object.ok() })
            .collect()
            .await;
        let paths: Vec<Path> = listed.into_iter().map(|object| object.location).collect();
        probe::clean(self.store, &paths).await;
    }
}

fn needed(name: &'static str, does: &str, found: Result<()>) -> StoreCheck {
    StoreCheck {
        name,
        holds: found.is_ok(),
        is_needed: true,
        detail: match found {
            Ok(()) => does.to_owned(),
            Err(err) => format!("{err:#}"),
        },
    }
}

fn optional(name: &'static str, does: &str, found: Result<()>) -> StoreCheck {
    StoreCheck {
        is_needed: false,
        ..needed(name, does, found)
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::invalid(otherwise)),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds, as names; who may write then.
    #[track_caller]
    fn check(lacking: &str, expected: Writers) {
        let checks: Vec<_> = [("read", true), (CREATE, true), ("delete", false)]
            .map(|(name, is_needed)| StoreCheck {
                name,
                holds: name != lacking,
                is_needed,
                detail: String::new(),
            })
            .into();
        assert_eq!(writers(&checks), expected, "without {lacking:?}");
    }

    #[test]
    fn who_may_write_follows_from_what_the_store_lacks() {
        check("", Writers::Many);
        check("delete", Writers::Many);
        check(CREATE, Writers::One);
        check("read", Writers::None);
    }
}
