//! Tables: named rows with a schema and a history.
//!
//! A table is its log. Read from a [`Snapshot`], which never changes; change by committing a
//! [`Patch`](crate::Patch), which makes a revision. There is no object that is sometimes open for
//! writing. Start at [`Table::head`] and [`Table::commit`].

mod commit;
mod create;
mod diff;
mod file;
mod in_place;
mod scan;
mod snapshot;
mod state;
mod take;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::env::Micros;
use crate::error::{Error, Result};
use crate::format::table::Entry;
use crate::id::{ProjectName, Revision, TableName};
use crate::log::Log;
use crate::store::Place;
pub use commit::{CommitOptions, Committed};
pub use diff::{CellsDiff, Diff};
use file::DataFile;
pub use scan::{Scan, ScanOptions};
use snapshot::Resolved;
pub use snapshot::Snapshot;
use state::Loaded;

/// The branch that every revision is on.
pub(crate) const MAIN: &str = "main";

/// A table of a project. Cheap to clone; clones share what was read of the log.
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    project: ProjectName,
    name: TableName,
    log: Log,
    /// Entries are immutable, so those that were read once are kept.
    entries: Mutex<Vec<Arc<Loaded>>>,
    latest: Mutex<Option<Arc<Resolved>>>,
    /// Footers of data files, which outlive snapshots.
    files: Mutex<HashMap<String, Arc<DataFile>>>,
}

/// One revision, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRecord {
    /// Its number.
    pub revision: Revision,
    /// The branch it was made on.
    pub branch: String,
    /// What it follows: none for the first.
    pub parents: Vec<Parent>,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Micros,
    /// Why.
    pub message: String,
    /// With what.
    pub tool: String,
    /// Cells set.
    pub cells: u64,
    /// Rows appended.
    pub rows_added: u64,
    /// Rows dropped.
    pub rows_dropped: u64,
    /// Bytes it added under the root: its files and its entry. Files left in place count nothing.
    pub bytes: u64,
}

/// A revision by number and by what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its number.
    pub revision: Revision,
    /// The BLAKE3 hash of its log entry, in hexadecimal.
    pub hash: String,
}

impl Table {
    /// The table in `place`, whether or not it has a log.
    pub(crate) fn new(place: Place, project: ProjectName, name: TableName) -> Self {
        let log = Log::of(&place);
        let inner = Inner {
            place,
            project,
            name,
            log,
            entries: Mutex::default(),
            latest: Mutex::default(),
            files: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.inner.name
    }

    /// The name of the project it belongs to.
    #[must_use]
    pub fn project(&self) -> &ProjectName {
        &self.inner.project
    }

    /// The newest state of the table.
    ///
    /// Asks the store whether there is a newer revision than the last one seen: one request if there
    /// is none. The first call lists the log and reads all of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such table;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the revision that cannot be read,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is of a newer format.
    pub async fn head(&self) -> Result<Snapshot> {
        let entries = self.refresh().await?;
        self.resolve_at(&entries, Revision(entries.len() as u64 - 1))
            .await
    }

    /// The state of the table at a revision.
    ///
    /// # Errors
    /// As [`Self::head`]; also [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no
    /// such revision, naming the newest.
    pub async fn at(&self, revision: impl Into<Revision> + Send) -> Result<Snapshot> {
        let revision = revision.into();
        let known = self.known();
        let entries = if revision.0 < known.len() as u64 {
            known
        } else {
            self.refresh().await?
        };
        self.resolve_at(&entries, revision).await
    }

    /// The revision that `text` names: `7`, `r7`, or `main` for the newest.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) or
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), saying what a name may be.
    pub async fn resolve(&self, text: &str) -> Result<Revision> {
        let n_entries = self.refresh().await?.len() as u64;
        if text == MAIN {
            return Ok(Revision(n_entries - 1));
        }
        let revision: Revision = text.parse()?;
        if revision.0 >= n_entries {
            let name = self.name();
            return Err(Error::not_found(format!(
                "table {name} has no revision {revision}; its newest is {}",
                n_entries - 1
            )));
        }
        Ok(revision)
    }

    /// All revisions, newest first. Costs what [`Self::head`] costs.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn log(&self) -> Result<Vec<RevisionRecord>> {
        let entries = self.refresh().await?;
        Ok(entries.iter().rev().map(|loaded| record(loaded)).collect())
    }

    /// Reads what the log has beyond the entries known so far, and gives them all. Never empty.
    async fn refresh(&self) -> Result<Vec<Arc<Loaded>>> {
        let known = self.known();
        let first = Revision(known.len() as u64);
        let unreadable = |err: Error| {
            err.context(format!(
                "cannot read the log of table {}/{}",
                self.project(),
                self.name()
            ))
        };
        let bytes = self.inner.log.entries(first).await.map_err(unreadable)?;
        if bytes.is_empty() && known.is_empty() {
            let (project, name) = (self.project(), self.name());
            return Err(Error::not_found(format!(
                "project {project} has no table {name}"
            )));
        }
        let mut entries = known;
        for bytes in bytes {
            let revision = Revision(entries.len() as u64);
            entries.push(Arc::new(Loaded::read(
                self.name().as_str(),
                revision,
                &bytes,
            )?));
        }
        self.keep(&entries);
        Ok(entries)
    }

    /// Remembers entries that were read or written, unless more are known by now.
    fn keep(&self, entries: &[Arc<Loaded>]) {
        let mut shared = lock(&self.inner.entries);
        if entries.len() > shared.len() {
            *shared = entries.to_vec();
        }
    }

    fn known(&self) -> Vec<Arc<Loaded>> {
        lock(&self.inner.entries).clone()
    }

    async fn resolve_at(&self, entries: &[Arc<Loaded>], revision: Revision) -> Result<Snapshot> {
        let latest = lock(&self.inner.latest).clone();
        if let Some(resolved) = latest.filter(|resolved| resolved.revision == revision) {
            return Ok(Snapshot::new(self.clone(), resolved));
        }
        let history = state::history(self.name().as_str(), entries, revision)?;
        let resolved = Arc::new(Resolved::load(self, revision, &history).await?);
        *lock(&self.inner.latest) = Some(Arc::clone(&resolved));
        Ok(Snapshot::new(self.clone(), resolved))
    }

    fn place(&self) -> &Place {
        &self.inner.place
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}/{})", self.inner.project, self.inner.name)
    }
}

/// Takes a lock that protects a value which is never left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(loaded: &Loaded) -> RevisionRecord {
    let entry = &loaded.entry;
    let parents = entry.parents.iter();
    RevisionRecord {
        revision: Revision(entry.revision),
        branch: entry.branch.clone(),
        parents: parents
            .map(|parent| Parent {
                revision: Revision(parent.revision),
                hash: parent.hash.clone(),
            })
            .collect(),
        author: entry.author.clone(),
        time: Micros::from_rfc3339(&entry.time).unwrap_or_default(),
        message: entry.message.clone(),
        tool: entry.tool.clone(),
        cells: entry.cells_set.iter().map(|set| set.cells).sum(),
        rows_added: entry.rows_added.iter().map(|rows| rows.rows).sum(),
        rows_dropped: entry
            .rows_dropped
            .as_ref()
            .map_or(0, |dropped| dropped.rows),
        bytes: loaded.bytes + file_bytes(entry),
    }
}

/// Bytes of the files that a revision wrote, beside its entry.
fn file_bytes(entry: &Entry) -> u64 {
    let rows = entry
        .rows_added
        .iter()
        .filter(|rows| rows.in_place.is_none())
        .map(|rows| rows.bytes);
    let dropped = entry.rows_dropped.iter().map(|dropped| dropped.bytes);
    let cells = entry.cells_set.iter().map(|cells| cells.bytes);
    rows.chain(dropped).chain(cells).sum()
}
