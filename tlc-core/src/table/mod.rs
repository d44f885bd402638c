//! Tables: named rows with a schema and a history.
//!
//! A table is its log. Read from a [`Snapshot`], which never changes; change by committing a
//! [`Patch`](crate::Patch), which makes a revision. There is no object that is sometimes open for
//! writing. Start at [`Table::head`] and [`Table::commit`].

mod blame;
mod changes;
mod checkpoint;
mod commit;
mod compact;
mod compare;
mod create;
mod diff;
mod file;
mod gc;
mod history;
mod in_place;
mod log;
mod merge;
mod named;
mod paths;
mod recent;
mod reconcile;
mod refs;
mod resolution;
mod rows;
mod scan;
mod snapshot;
mod stage;
mod state;
mod take;
mod verify;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::id::{ProjectName, Revision, TableName};
use crate::log::Log;
use crate::store::Place;
pub use blame::{Blame, BlameOptions};
use checkpoint::Checkpoint;
pub use commit::{CommitOptions, Committed};
pub use diff::{CellsDiff, ColumnDiff, Diff};
use file::DataFile;
pub use gc::{Garbage, GarbageFile, GcOptions, Keep};
pub(crate) use gc::{delete_files, garbage_file};
use history::Known;
pub use log::{Parent, RevisionRecord};
use recent::Recent;
pub use refs::{Branch, Tag};
pub use resolution::{CellConflicts, Conflicts, Merged, Resolution, Take};
#[cfg(feature = "sql")]
pub(crate) use scan::{Bounds, Containers, Counts, Pruner, RowFilter, Wanted};
pub use scan::{Scan, ScanOptions};
use snapshot::Resolved;
pub use snapshot::Snapshot;
pub use verify::{Checked, Finding, Report, Severity, VerifiedTable, VerifyOptions};

/// The branch that every table has.
pub(crate) const MAIN: &str = "main";

/// How many snapshots a table remembers: those that were asked for last.
const SNAPSHOTS_MAX: usize = 16;

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
    known: Mutex<Option<Known>>,
    /// The hash of the first entry, once it was asked for.
    #[cfg(feature = "sql")]
    first: std::sync::OnceLock<Option<String>>,
    /// The newest that was found or written.
    checkpoint: Mutex<Option<Arc<Checkpoint>>>,
    /// The last ones asked for, the newest use last.
    snapshots: Mutex<Vec<Arc<Resolved>>>,
    /// Footers of data files, which outlive snapshots.
    files: Mutex<HashMap<String, Arc<DataFile>>>,
    /// Columns of data files that were decoded whole.
    recent: Recent,
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
            known: Mutex::default(),
            #[cfg(feature = "sql")]
            first: std::sync::OnceLock::new(),
            checkpoint: Mutex::default(),
            snapshots: Mutex::default(),
            files: Mutex::default(),
            recent: Recent::default(),
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

    /// The newest state of the branch `main`.
    ///
    /// Asks the store whether there is a newer revision than the last one seen: one request if there
    /// is none. The first call reads the newest checkpoint and the entries since then.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such table;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the revision that cannot be read,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is of a newer format.
    pub async fn head(&self) -> Result<Snapshot> {
        self.branch(MAIN).await
    }

    /// The newest state of a branch. Costs what [`Self::head`] costs.
    ///
    /// # Errors
    /// As [`Self::head`]; also [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no
    /// such branch, naming those there are.
    pub async fn branch(&self, name: &str) -> Result<Snapshot> {
        self.refresh().await?;
        let revision = self.branch_head(name)?.revision;
        Ok(self.snapshot_of(self.resolved(revision).await?))
    }

    /// The state of the table at a revision.
    ///
    /// # Errors
    /// As [`Self::head`]; also [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no
    /// such revision, naming the newest.
    pub async fn at(&self, revision: impl Into<Revision> + Send) -> Result<Snapshot> {
        let revision = revision.into();
        if revision.0 >= self.with_known(|known| known.next()).unwrap_or(0) {
            self.refresh().await?;
        }
        Ok(self.snapshot_of(self.resolved(revision.0).await?))
    }

    fn snapshot_of(&self, resolved: Arc<Resolved>) -> Snapshot {
        Snapshot::new(self.clone(), resolved)
    }

    fn cached(&self, revision: u64) -> Option<Arc<Resolved>> {
        let mut snapshots = lock(&self.inner.snapshots);
        let at = snapshots
            .iter()
            .position(|resolved| resolved.revision.0 == revision)?;
        let found = snapshots.remove(at);
        snapshots.push(Arc::clone(&found));
        Some(found)
    }

    /// Remembers a snapshot, in place of one of the same revision.
    fn cache(&self, resolved: &Arc<Resolved>) {
        let mut snapshots = lock(&self.inner.snapshots);
        snapshots.retain(|known| known.revision != resolved.revision);
        if snapshots.len() >= SNAPSHOTS_MAX {
            snapshots.remove(0);
        }
        snapshots.push(Arc::clone(resolved));
    }

    fn place(&self) -> &Place {
        &self.inner.place
    }

    fn recent(&self) -> &Recent {
        &self.inner.recent
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
