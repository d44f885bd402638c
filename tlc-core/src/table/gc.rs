//! Collecting garbage: files that no revision names.
//!
//! They come from writers that were cut off, from patches that met a conflict, and, where fewer
//! revisions are kept than there are, from the others. Log entries are never deleted, nor is anything
//! whose name this library does not give.
//!
//! It may run beside writers. The files are listed first and the log is read after, to its end; what
//! is then named by nobody and old was not written by a commit that is still under way. A commit that
//! finds an old file of the name that it wants does not rely on it (`blob::put`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::Table;
use super::checkpoint::{FOLDER, NEWEST};
use super::history::{Ancestry as _, Known, line};
use super::named::{FOLDERS, Named, is_entry, of_entry, of_folded, of_state};
use super::state::State;
use crate::blob::COLLECTED_AFTER_MIN;
use crate::env::{Env, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::GivenUp;
use crate::format::{self, VERSION};
use crate::id::{ProjectName, Revision, TableName};
use crate::store;

/// How many files are deleted at the same time.
const DELETES_MAX: usize = 16;

/// The file that says which revisions were given up.
pub(super) const GIVEN_UP: &str = "given-up.json";

/// What is garbage, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcOptions {
    older_than: Duration,
    keep: Keep,
    delete: bool,
}

/// Which revisions can be read afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// The newest so many of the table, and those that branches and tags name. While it runs nobody
    /// should branch from, merge or revert to older ones: their files are going.
    Newest(u64),
}

impl GcOptions {
    /// Says what would be deleted, and deletes nothing: files older than 7 days that no revision
    /// names.
    #[must_use]
    pub fn new() -> Self {
        Self {
            older_than: Duration::from_secs(7 * 24 * 60 * 60),
            keep: Keep::All,
            delete: false,
        }
    }

    /// How old a file must be: at least a day, and longer than any commit or import takes.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = age;
        self
    }

    /// Which revisions can be read afterwards; all, unless told otherwise.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Really deletes.
    #[must_use]
    pub fn delete(mut self) -> Self {
        self.delete = true;
        self
    }

    /// Whether files may be judged that are so young.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if not.
    pub(crate) fn check(&self, env: &Env) -> Result<()> {
        if self.older_than < COLLECTED_AFTER_MIN && !env.is_manual() {
            return Err(Error::invalid(
                "files younger than a day may belong to a commit that is under way; take a longer time",
            ));
        }
        Ok(())
    }

    pub(crate) fn age(&self) -> Duration {
        self.older_than
    }

    pub(crate) fn deletes(&self) -> bool {
        self.delete
    }
}

impl Default for GcOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What is garbage, or was until just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// The files, by name.
    pub files: Vec<GarbageFile>,
    /// Whether they were deleted.
    pub is_deleted: bool,
    /// Files that nobody names either, but too young to be judged.
    pub n_young: u64,
    /// Files that are none of this library's. They are left alone.
    pub unknown: Vec<String>,
    /// Revisions that are not kept: they can no longer be read, or not for sure.
    pub given_up: Vec<(ProjectName, TableName, Revision)>,
}

/// One file that nobody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbageFile {
    /// Where it lies in the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl Garbage {
    /// The sizes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Adds what was found elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.files.extend(other.files);
        self.is_deleted |= other.is_deleted;
        self.n_young += other.n_young;
        self.unknown.extend(other.unknown);
        self.given_up.extend(other.given_up);
    }
}

impl Table {
    /// Finds the files of the table that no kept revision names, and deletes them if told so.
    ///
    /// Lists the table's folder, then reads its whole log. A table whose creation was cut off has
    /// only garbage.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if files younger than a day were to be deleted;
    /// [`ErrorKind::Corrupt`] if the log or the newest checkpoint cannot be read: then nothing is
    /// deleted; those of the store.
    pub async fn gc(&self, options: impl Into<GcOptions> + Send) -> Result<Garbage> {
        let options = options.into();
        let env = &self.place().env;
        options.check(env)?;
        // In this order: what a commit names that lands in between is young, or was named before.
        let listed = self.files().await?;
        let kept = self.kept(&listed, options.keep).await?;
        let judged = judge(&listed, &kept.files, env.now(), options.older_than);
        let mut garbage = Garbage {
            is_deleted: options.delete,
            n_young: judged.n_young,
            unknown: judged
                .unknown
                .iter()
                .map(|file| file.location.to_string())
                .collect(),
            files: judged
                .garbage
                .iter()
                .map(|file| garbage_file(file))
                .collect(),
            given_up: Vec::new(),
        };
        let named = |number: &u64| {
            (
                self.project().clone(),
                self.name().clone(),
                Revision(*number),
            )
        };
        garbage.given_up.extend(kept.given_up.iter().map(named));
        if options.delete && !judged.garbage.is_empty() {
            self.note_given_up(&kept.given_up).await?;
            self.delete(judged.garbage).await?;
        }
        Ok(garbage)
    }

    /// The files that must stay, and the revisions that need not.
    async fn kept(&self, listed: &BTreeMap<String, ObjectMeta>, keep: Keep) -> Result<Kept> {
        match self.refresh().await {
            Ok(()) => self.read_back_to(0).await?,
            Err(err)
                if err.kind() == ErrorKind::NotFound
                    && !listed.keys().any(|name| is_entry(name)) =>
            {
                return Ok(Kept::default());
            }
            Err(err) => return Err(err),
        }
        let known = self.with_known(Known::clone).unwrap_or_default();
        let mut kept = match keep {
            Keep::All => Kept::all(&known),
            Keep::Newest(n) => Kept::newest(&known, n)?,
        };
        for special in [NEWEST, GIVEN_UP] {
            kept.files.insert(format!("{FOLDER}/{special}"));
        }
        for file in self.kept_checkpoints(listed, keep).await? {
            let Some(checkpoint) = self.read_checkpoint(&file).await else {
                continue;
            };
            let record = &checkpoint.record;
            let states = record.states.iter().flat_map(of_folded);
            kept.files
                .extend(states.map(|named| named.file().to_owned()));
            kept.files
                .extend(record.blocks.iter().map(|block| block.file.clone()));
            kept.files.insert(file);
        }
        Ok(kept)
    }

    /// Where all revisions are kept all checkpoints are: states that were folded later may share
    /// their files. Otherwise the newest alone.
    async fn kept_checkpoints(
        &self,
        listed: &BTreeMap<String, ObjectMeta>,
        keep: Keep,
    ) -> Result<Vec<String>> {
        let own = self.place().path.clone().join(FOLDER).join(NEWEST);
        let newest = store::read(&*self.place().store, &own).await?;
        let newest = newest.and_then(|hint| {
            let newest: format::checkpoint::Newest = format::decode(NEWEST, &hint).ok()?;
            Some(newest.file)
        });
        let is_json = |name: &&String| name.starts_with(FOLDER) && name.ends_with(".json");
        let all = listed.keys().filter(is_json).filter(|_| keep == Keep::All);
        Ok(newest.into_iter().chain(all.cloned()).collect())
    }

    /// Says which revisions were given up, before their files go.
    async fn note_given_up(&self, numbers: &BTreeSet<u64>) -> Result<()> {
        let n_entries = self.with_known(|known| known.next()).unwrap_or(0);
        let mut all: BTreeSet<u64> = self.given_up(n_entries).await?;
        if numbers.is_subset(&all) {
            return Ok(());
        }
        all.extend(numbers);
        let mut revisions: Vec<(u64, u64)> = Vec::new();
        for number in all {
            match revisions.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => revisions.push((number, number)),
            }
        }
        let record = GivenUp {
            format: VERSION,
            revisions,
        };
        let path = self.place().path.clone().join(FOLDER).join(GIVEN_UP);
        let bytes = format::encode(&record)?;
        self.place().store.put(&path, bytes.into()).await?;
        Ok(())
    }

    /// The revisions that were given up so far. Where nobody can tell, none.
    pub(super) async fn given_up(&self, n_entries: u64) -> Result<BTreeSet<u64>> {
        let path = self.place().path.clone().join(FOLDER).join(GIVEN_UP);
        let bytes = store::read(&*self.place().store, &path).await?;
        let record = bytes.and_then(|bytes| format::decode::<GivenUp>(GIVEN_UP, &bytes).ok());
        let ranges = record.unwrap_or_default().revisions.into_iter();
        Ok(ranges
            .flat_map(|(first, last)| first..=last.min(n_entries))
            .collect())
    }

    async fn delete(&self, files: Vec<&ObjectMeta>) -> Result<()> {
        // A checkpoint goes before the files that it names.
        let (first, then): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| file.location.extension() == Some("json"));
        for files in [first, then] {
            delete_files(&*self.place().store, files).await?;
        }
        Ok(())
    }
}

/// Deletes files, several at a time, begun in their order; one that is gone is no error.
pub(crate) async fn delete_files(store: &dyn ObjectStore, files: Vec<&ObjectMeta>) -> Result<()> {
    let deletes = files.into_iter().map(|file| async move {
        match store.delete(&file.location).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(err) => {
                let message = format!("cannot delete {}", file.location);
                Err(Error::from(err).context(message))
            }
        }
    });
    stream::iter(deletes)
        .buffer_unordered(DELETES_MAX)
        .try_collect::<()>()
        .await
}

pub(crate) fn garbage_file(file: &ObjectMeta) -> GarbageFile {
    GarbageFile {
        path: file.location.to_string(),
        bytes: file.size,
    }
}

/// What stays.
#[derive(Debug, Default)]
struct Kept {
    files: BTreeSet<String>,
    given_up: BTreeSet<u64>,
}

impl Kept {
    fn add(&mut self, named: &[Named]) {
        let files = named.iter().map(|named| named.file().to_owned());
        self.files.extend(files);
    }

    fn all(known: &Known) -> Self {
        let mut kept = Self::default();
        for loaded in known.iter() {
            kept.add(&of_entry(&loaded.entry));
        }
        kept
    }

    /// The newest `n` revisions, and those that branches and tags name.
    fn newest(known: &Known, n: u64) -> Result<Self> {
        let revisions = known
            .iter()
            .rev()
            .filter(|loaded| loaded.entry.is_revision());
        let all: BTreeSet<u64> = revisions.map(|loaded| loaded.number()).collect();
        let refs = known.refs();
        let names = refs.branches.values().chain(refs.tags.values());
        let mut numbers: BTreeSet<u64> = names.map(|named| named.revision).collect();
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        numbers.extend(all.iter().rev().take(n));
        let mut kept = Self {
            given_up: &all - &numbers,
            ..Self::default()
        };
        for number in &numbers {
            let Some(loaded) = known.get(*number) else {
                continue;
            };
            kept.add(&of_entry(&loaded.entry));
            let before = known.parents(*number).unwrap_or_default();
            // What it shares with a kept revision before it is kept already.
            if !before
                .first()
                .is_some_and(|before| numbers.contains(before))
            {
                kept.add(&of_state(&folded(known, *number)?));
            }
        }
        Ok(kept)
    }
}

/// The state at a revision, from the entries of its line alone.
fn folded(known: &Known, revision: u64) -> Result<State> {
    let mut state = State::default();
    let later = line(known, 0, revision)
        .ok_or_else(|| Error::corrupt("a revision of the log has no beginning"))?;
    for number in std::iter::once(0).chain(later) {
        if let Some(loaded) = known.get(number) {
            state.apply(&loaded.entry)?;
        }
    }
    Ok(state)
}

#[derive(Debug, Default)]
struct Judged<'a> {
    garbage: Vec<&'a ObjectMeta>,
    n_young: u64,
    unknown: Vec<&'a ObjectMeta>,
}

/// What becomes of each file.
fn judge<'a>(
    listed: &'a BTreeMap<String, ObjectMeta>,
    kept: &BTreeSet<String>,
    now: Micros,
    older_than: Duration,
) -> Judged<'a> {
    let mut judged = Judged::default();
    for (name, file) in listed.iter().filter(|(name, _)| !kept.contains(*name)) {
        let age = now.since(Micros(file.last_modified.timestamp_micros()));
        match is_ours(name) {
            _ if is_entry(name) => {}
            false => judged.unknown.push(file),
            true if age < older_than => judged.n_young += 1,
            true => judged.garbage.push(file),
        }
    }
    judged
}

/// Whether a name is one that this library gives to a file named by its content.
pub(super) fn is_ours(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else {
        return false;
    };
    let mut parts = file.split('.');
    let hash = parts.next().unwrap_or_default();
    let is_hex = |text: &str| {
        text.bytes()
            .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let rest: Vec<&str> = parts.collect();
    FOLDERS.contains(&folder)
        && hash.len() == 64
        && is_hex(hash)
        && match &rest[..] {
            [extension] => EXTENSIONS.contains(extension),
            [id, extension] => id.len() == 32 && is_hex(id) && EXTENSIONS.contains(extension),
            _ => false,
        }
}

const EXTENSIONS: [&str; 3] = ["parquet", "bin", "json"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_by_content_are_ours() {
        let hash = "0".repeat(64);
        let id = "f".repeat(32);
        for ours in [
            format!("data/{hash}.parquet"),
            format!("deletes/{hash}.{id}.bin"),
            format!("checkpoints/{hash}.json"),
        ] {
            assert!(is_ours(&ours), "{ours}");
        }
        for other in [
            format!("log/{hash}.json"),
            format!("data/{hash}"),
            format!("data/x/{hash}.parquet"),
            format!("data/{hash}.x.parquet"),
            format!("data/{hash}.txt"),
            format!("{hash}.parquet"),
            "data/notes.parquet".to_owned(),
            "checkpoints/newest.json".to_owned(),
        ] {
            assert!(!is_ours(&other), "{other}");
        }
    }
}
