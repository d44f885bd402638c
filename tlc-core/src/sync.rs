//! From one root to another: what a project holds there and not here, its tables, artifacts and runs with their logs.
//!
//! Everything but logs is named by its content or by the one writer it has, and logs only grow, so a
//! second time copies nothing, and a copy that was cut off goes on where it was. Files come before the entries
//! that name them: the target is complete at any moment as far as its logs say. A table, artifact or run of the
//! same name that is another one, or that went on differently on both sides, is a conflict, and nothing of it is copied.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _, WriteMultipart};

use crate::artifact::{
    CHUNKS, FOLDER, NamedChunks, is_at_hand, manifest_of, read_chunk, read_manifest_file,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::Chunk;
use crate::id::Revision;
use crate::log::{self, Append, Log};
use crate::project::{Project, Root};
use crate::run::{captured, upload_left};
use crate::store::{self, Place};

/// How many files are copied at the same time.
const COPIES_MAX: usize = 8;

/// Up to this size a file is copied in one piece.
const PIECE_BYTES: u64 = 16 << 20;

/// What a [`Project::sync_to`] copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Tables of which something was copied.
    pub tables: u64,
    /// Runs of which something was copied.
    pub runs: u64,
    /// Artifacts of which something was copied.
    pub artifacts: u64,
    /// Files that were copied, log entries among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Synced {
    /// Counts another one in.
    pub fn add(&mut self, other: Self) {
        self.tables += other.tables;
        self.runs += other.runs;
        self.artifacts += other.artifacts;
        self.files += other.files;
        self.bytes += other.bytes;
    }

    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl Root {
    /// Uploads what runs under this root have logged on this machine and could not upload themselves: because they
    /// were killed, or because the store could not be reached until they ended. What belongs to a process that lives is left to it.
    ///
    /// Of a root on a disk or in memory there is nothing. Reads a local folder, and for each run its log; nothing is done twice.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Conflict`] naming a run that is gone or another one by now, [`ErrorKind::Corrupt`] naming
    /// a file that is damaged; those of the store. What was not uploaded is kept, and tried again the next time.
    pub async fn sync_spool(&self) -> Result<Synced> {
        let Some(spool) = self.spool() else {
            return Ok(Synced::default());
        };
        let project = |name: &str| Ok(self.project(name)?.place().clone());
        let uploaded = upload_left(spool, |_| true, project).await?;
        Ok(Synced {
            runs: uploaded.runs,
            files: uploaded.files,
            bytes: uploaded.bytes,
            ..Synced::default()
        })
    }
}

impl Project {
    /// Copies to `target` the tables, artifacts and runs that it lacks, and what it lacks of those that it has.
    ///
    /// Of a run that goes on it copies what is there, and the rest the next time. Lists both sides once for each table, artifact and
    /// run, and reads one log entry on each side to know that they are the same. Bases in place are not copied: they lie
    /// elsewhere. `only` names the tables, artifacts and runs that are meant; empty means all. Of an artifact the manifests of the versions that the
    /// target lacks are read, and each of their chunks is asked for there.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] naming a table, artifact or run that went on differently in the target; what was copied before stays, and is
    /// passed over the next time. [`ErrorKind::NotFound`] naming one of `only` that is not here; those of both stores.
    pub async fn sync_to(&self, target: &Self, only: &[String]) -> Result<Synced> {
        let mut synced = Synced::default();
        let mut met: Vec<&String> = Vec::new();
        for kind in ["tables", FOLDER, "runs"] {
            let beside = Beside::of(kind, self.place(), target.place());
            let (from, to) = (self.place().child(kind), target.place().child(kind));
            for name in from.folders().await? {
                let meant = only.iter().find(|only| **only == name);
                met.extend(meant);
                if !only.is_empty() && meant.is_none() {
                    continue;
                }
                let (from, to) = (from.child(&name), to.child(&name));
                let copied = copy_logged(&from, &to, &beside).await;
                let mut copied = copied.map_err(|err| {
                    err.context(format!("cannot sync {}/{kind}/{name}", self.name()))
                })?;
                let n = match kind {
                    "runs" => &mut copied.runs,
                    FOLDER => &mut copied.artifacts,
                    _ => &mut copied.tables,
                };
                *n = u64::from(copied.files > 0);
                synced.add(copied);
            }
        }
        match only.iter().find(|only| !met.contains(only)) {
            Some(missing) => Err(Error::not_found(format!(
                "no table, artifact or run {missing} in project {}",
                self.name()
            ))),
            None => Ok(synced),
        }
    }
}

/// The files of a table, a run or an artifact by their paths in its folder, and the number of its log entries.
struct Listing {
    files: BTreeMap<String, ObjectMeta>,
    n_entries: u64,
}

async fn list(place: &Place) -> Result<Listing> {
    let mut listing = Listing {
        files: BTreeMap::new(),
        n_entries: 0,
    };
    let mut objects = place.store.list(Some(&place.path));
    while let Some(object) = objects.try_next().await? {
        let path = object.location.as_ref().strip_prefix(place.path.as_ref());
        let Some(path) = path.map(store::decoded) else {
            continue;
        };
        match path.split_once('/') {
            Some(("log", name)) => {
                if let Some(number) = log::number(name) {
                    listing.n_entries = listing.n_entries.max(number.saturating_add(1));
                }
            }
            // A cache, and made anew where it is missed.
            Some(("checkpoints", _)) => {}
            _ => drop(listing.files.insert(path, object)),
        }
    }
    Ok(listing)
}

/// What the entries of a log name that lies in the project, and not in the folder of the log.
enum Beside<'a> {
    Nothing,
    Chunks(Chunks<'a>),
    /// What runs are made of.
    Provenance(&'a Place, &'a Place),
}

impl<'a> Beside<'a> {
    fn of(kind: &str, from: &'a Place, to: &'a Place) -> Self {
        match kind {
            FOLDER => Self::Chunks(Chunks::new(from, to)),
            "runs" => Self::Provenance(from, to),
            _ => Self::Nothing,
        }
    }

    /// Compares the last entry that both sides have. A stamp is in one entry only: where these are the same, so are all before.
    fn check_same(&self, last: Revision, here: Option<&[u8]>, there: Option<&[u8]>) -> Result<()> {
        if here == there {
            return Ok(());
        }
        if let Self::Chunks(_) = self {
            // Damage on one side is no other history.
            for (entry, side) in [(here, "source"), (there, "target")] {
                let what = format!("entry {last} in the {side}");
                entry.map(|entry| manifest_of(&what, entry)).transpose()?;
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "entry {last} is another one in the target; rename one of both, or sync to another root"
            ),
        ))
    }

    /// Copies what an entry names, for whoever appends it after.
    async fn bring(&self, from: &Place, to: &Place, what: &str, entry: &[u8]) -> Result<Synced> {
        let mut synced = Synced::default();
        match self {
            Self::Nothing => {}
            Self::Chunks(chunks) => {
                if let Some(manifest) = manifest_of(what, entry)? {
                    synced = chunks.bring(from, to, &manifest).await?;
                }
            }
            Self::Provenance(from, to) => {
                let copied = captured::bring(from, to, entry).await?;
                copied.into_iter().for_each(|bytes| synced.count(bytes));
            }
        }
        Ok(synced)
    }
}

/// The chunks of two projects.
struct Chunks<'a> {
    from: &'a Place,
    to: &'a Place,
    /// Those that versions in the target name; read when it matters.
    named: NamedChunks,
}

impl<'a> Chunks<'a> {
    fn new(from: &'a Place, to: &'a Place) -> Self {
        Self {
            from,
            to,
            named: NamedChunks::new(),
        }
    }

    /// Copies a manifest of an artifact, and before it the chunks that it names and that the target does not have, all verified. What is there and is
    /// cut off is copied as well, and what is old and named by no version of the target: there it is garbage, and may be collected.
    async fn bring(&self, from: &Place, to: &Place, manifest: &str) -> Result<Synced> {
        let (bytes, named) = read_manifest_file(from, manifest).await?;
        let chunks = named.chunks.into_iter().map(|chunk| (chunk.file(), chunk));
        let chunks: BTreeMap<String, Chunk> = chunks.collect();
        let copies = chunks.into_values().map(|chunk| self.copy_one(chunk));
        let mut copies = stream::iter(copies.collect::<Vec<_>>()).buffer_unordered(COPIES_MAX);
        let mut synced = Synced::default();
        while let Some(bytes) = copies.try_next().await? {
            bytes.into_iter().for_each(|bytes| synced.count(bytes));
        }
        synced.count(bytes.len() as u64);
        to.store.put(&to.below(manifest), bytes.into()).await?;
        Ok(synced)
    }

    async fn copy_one(&self, chunk: Chunk) -> Result<Option<u64>> {
        let (path, n) = (self.to.below(CHUNKS).join(chunk.file()), chunk.bytes);
        match self.to.store.head(&path).await {
            Ok(found) if found.size == n && is_at_hand(self.to, &found, &self.named).await? => {
                return Ok(None);
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(err) => return Err(err.into()),
        }
        let bytes = read_chunk(self.from, chunk).await?;
        self.to.store.put(&path, bytes.into()).await?;
        Ok(Some(n))
    }
}

async fn copy_logged(from: &Place, to: &Place, beside: &Beside<'_>) -> Result<Synced> {
    let (source, target) = (list(from).await?, list(to).await?);
    let (from_log, to_log) = (Log::of(from), Log::of(to));
    if let Some(last) = source.n_entries.min(target.n_entries).checked_sub(1) {
        let last = Revision(last);
        let (here, there) = (from_log.read(last).await?, to_log.read(last).await?);
        beside.check_same(last, here.as_deref(), there.as_deref())?;
    }
    let mut synced = match beside {
        // Of an artifact only what its entries name, with each of them: other manifests are garbage, and their chunks may be gone.
        Beside::Chunks(_) => Synced::default(),
        _ => copy_files(from, to, &source, &target).await?,
    };
    for number in target.n_entries..source.n_entries {
        let entry = from_log.read(Revision(number)).await?;
        let entry = entry.ok_or_else(|| Error::corrupt(format!("entry {number} is missing")))?;
        synced.count(entry.len() as u64);
        let what = format!("entry {number}");
        synced.add(beside.bring(from, to, &what, &entry).await?);
        if to_log.append(Revision(number), entry).await? == Append::Taken {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("entry {number} was written to the target by somebody else meanwhile"),
            ));
        }
    }
    Ok(synced)
}

async fn copy_files(
    from: &Place,
    to: &Place,
    source: &Listing,
    target: &Listing,
) -> Result<Synced> {
    let missing = source
        .files
        .iter()
        .filter(|(path, object)| is_missing(target, path, object));
    let copies = missing.map(|(path, object)| copy(from, to, path, object));
    let copies: Vec<_> = copies.collect();
    let mut copies = stream::iter(copies).buffer_unordered(COPIES_MAX);
    let mut synced = Synced::default();
    while let Some(bytes) = copies.try_next().await? {
        synced.count(bytes);
    }
    Ok(synced)
}

/// Segments grow, and a folded one needs no copy beside it; heartbeats change; all else is what its name says.
fn is_missing(target: &Listing, path: &str, object: &ObjectMeta) -> bool {
    let there = target.files.get(path);
    match path.rsplit_once('.') {
        Some((stem, "seg")) => {
            let is_folded = target.files.contains_key(&format!("{stem}.parquet"));
            !is_folded && there.is_none_or(|there| there.size < object.size)
        }
        None if path == "heartbeat" => {
            there.is_none_or(|there| there.last_modified < object.last_modified)
        }
        _ => there.is_none(),
    }
}

/// Copies one file; gives its bytes. One that is gone by now was folded or collected, which the next time tells.
async fn copy(from: &Place, to: &Place, path: &str, object: &ObjectMeta) -> Result<u64> {
    let (source, target) = (from.below(path), to.below(path));
    if object.size <= PIECE_BYTES {
        let Some(bytes) = store::read(&*from.store, &source).await? else {
            return Ok(0);
        };
        let n = bytes.len() as u64;
        to.store.put(&target, bytes.into()).await?;
        return Ok(n);
    }
    match from.store.get(&source).await {
        Ok(found) => write(to, target, found.into_stream()).await,
        Err(object_store::Error::NotFound { .. }) => Ok(0),
        Err(err) => Err(err.into()),
    }
}

async fn write(
    to: &Place,
    target: Path,
    mut bytes: impl futures::Stream<Item = object_store::Result<bytes::Bytes>> + Unpin + Send,
) -> Result<u64> {
    let mut upload = WriteMultipart::new(to.store.put_multipart(&target).await?);
    let mut n = 0;
    while let Some(piece) = bytes.try_next().await? {
        n += piece.len() as u64;
        upload.wait_for_capacity(COPIES_MAX).await?;
        upload.put(piece);
    }
    upload.finish().await?;
    Ok(n)
}
