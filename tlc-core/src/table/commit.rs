//! The one way to change a table: files first, then the next entry, created if absent.
//!
//! ```text
//! patch ── check its rows ── write its files ──┐
//!                                              ▼
//!        ┌──── read what is new ──── the log's next entry, create ── written ─→ done
//!        │                                     │
//!        └── no cell in common ◄── taken ──────┘
//!        └── a cell in common ──→ Conflict, nothing of the patch is visible
//! ```
//!
//! The files are named by their content and hold row ids, not positions, so a patch that has to
//! follow a newer head is not written again: only its entry is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, UInt64Array};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, FieldRef, Int64Type, UInt64Type};
use futures::TryStreamExt as _;
use roaring::RoaringTreemap;

use super::history::Loaded;
use super::log::record;
use super::reconcile::{Reconciled, Reconciling};
use super::scan::ScanOptions;
use super::snapshot::Snapshot;
use super::write::{Columns, Position, Written, check_rows, new_entry, next_entry, no_turn};
use super::{MAIN, Table};
use crate::error::{Error, Result};
use crate::format;
use crate::format::table::{Entry, ParentRef};
use crate::id::{ROWID, Revision};
use crate::log::Append;
use crate::patch::merge::Changes;
use crate::patch::overlay::Overlay;
use crate::patch::{Patch, elements};
use crate::schema;

/// How often a commit follows a newer head before it gives up.
pub(super) const ATTEMPTS_MAX: usize = 1_000;

/// Why a revision is made, by whom, with what, and on which branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOptions {
    pub(super) message: String,
    pub(super) author: Option<String>,
    pub(super) tool: String,
    pub(super) branch: String,
}

impl CommitOptions {
    /// A message; the author is the root's, the tool this library, the branch `main`.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        let tool = concat!("tlc-core ", env!("CARGO_PKG_VERSION")).to_owned();
        Self {
            message: message.into(),
            author: None,
            tool,
            branch: MAIN.to_owned(),
        }
    }

    /// Another author than the root's.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// The tool that makes the revision.
    #[must_use]
    pub fn tool(mut self, tool: impl Into<String>) -> Self {
        self.tool = tool.into();
        self
    }

    /// The branch that moves.
    #[cfg(feature = "sql")]
    pub(crate) fn to_branch(&self) -> &str {
        &self.branch
    }

    /// The branch that moves. It must be there.
    #[must_use]
    pub fn branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = branch.into();
        self
    }
}

impl From<&str> for CommitOptions {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for CommitOptions {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The new revision, or the patch's base if the patch was empty.
    pub revision: Revision,
    /// The branch that moved.
    pub branch: String,
    /// Rows that the revision touches: with a cell set, added, dropped or restored.
    pub rows: u64,
    /// Cells set.
    pub cells: u64,
    /// Bytes added under the root.
    pub bytes: u64,
    /// The table as it is now.
    pub snapshot: Snapshot,
}

impl Committed {
    /// What a commit that had nothing to do did.
    pub(super) fn nothing(branch: &str, snapshot: Snapshot) -> Self {
        Self {
            revision: snapshot.revision(),
            branch: branch.to_owned(),
            rows: 0,
            cells: 0,
            bytes: 0,
            snapshot,
        }
    }
}

impl Table {
    /// Makes a revision of `patch`, which was made against any earlier snapshot of this table.
    ///
    /// Where the branch has moved on, the patch follows it, unless a revision since then set one of
    /// its cells to another value, dropped a row that it sets, set a cell of a row that it drops, or
    /// changed the same of a column. Elements of a cell that have ids are told apart. An empty patch
    /// makes no revision. Writes one file for each column with cells set, one for dropped rows, and
    /// the entry: two requests for one cell.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) naming the cells,
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming a row that is not in the table, or a
    /// branch; those of the store. After any error the table is as it was; a file that was written is
    /// one that no revision names.
    pub async fn commit(
        &self,
        patch: &Patch,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Committed> {
        let options = options.into();
        let base = self.at(patch.base()).await?;
        if self.branch_head(&options.branch).is_err() {
            // Perhaps made since the log was last read.
            self.refresh().await?;
            self.branch_head(&options.branch)?;
        }
        if patch.is_empty() {
            return Ok(Committed::nothing(&options.branch, base));
        }
        let mine = self.prepare(patch, &base).await?;
        check_rows(&base, &mine)?;
        self.inner.log.check_store().await?;
        let mut written = Written::write(self.place(), &mine).await?;
        written.append(self.place(), patch).await?;
        let mut columns = Columns {
            schema: Arc::clone(patch.schema()),
            defaults: stored_defaults(patch, &base)?,
        };
        let template = new_entry(&self.place().env, &options);
        let mut applied = mine.clone();
        let mut checked = base.revision();
        for _ in 0..ATTEMPTS_MAX {
            // The head may have moved on unseen: then the number is taken, and the log is read again.
            let (position, parent) = self.turn(&options.branch).await?;
            let before = self.snapshot_of(self.resolved(parent.revision).await?);
            if before.revision() != checked {
                let found = match self.follow(&mine, patch, &base, &before).await {
                    Ok(found) => found,
                    // What is known may be behind: a newer revision may hold what the patch asks for.
                    Err(err) => {
                        self.refresh().await?;
                        if self.branch_head(&options.branch)?.revision == parent.revision {
                            return Err(err);
                        }
                        continue;
                    }
                };
                if found.rewritten {
                    let appended = written.appended;
                    written = Written::write(self.place(), &found.changes).await?;
                    written.appended = appended;
                }
                (applied, columns.schema) = (found.changes, found.schema);
                checked = before.revision();
            }
            let position = position.after([parent]);
            let entry = next_entry(&template, &written, &columns, &before, position)?;
            if let Some(committed) = self.append(&entry, &applied, &before).await? {
                return Ok(committed);
            }
            self.refresh().await?;
        }
        Err(no_turn(self))
    }

    /// The patch after all that happened since its base, or the conflict.
    async fn follow(
        &self,
        mine: &Changes,
        patch: &Patch,
        base: &Snapshot,
        head: &Snapshot,
    ) -> Result<Reconciled> {
        let reconciling = Reconciling {
            base,
            changes: mine,
            schema: patch.schema(),
            head,
            take: None,
        };
        let found = self.reconcile(reconciling).await?;
        match found.conflicts.is_empty() {
            true => Ok(found),
            false => Err(self.conflict(&found.conflicts, base, head).await),
        }
    }

    /// Where the next entry goes, and the head of `branch`, as they are known at one moment: whoever
    /// writes there without having seen a later entry finds the number taken.
    pub(super) async fn turn(&self, branch: &str) -> Result<(Position, ParentRef)> {
        let turn = self.with_known(|known| {
            let head = known.refs().branches.get(branch).cloned();
            (known.next(), known.next_ids(), head)
        });
        let (number, (next_row_id, next_column_id), head) =
            turn.ok_or_else(|| Error::corrupt("a log has no entries"))?;
        let head = head.ok_or_else(|| self.no_ref("branch", branch))?;
        let next_column_id = match next_column_id {
            Some(next) => next,
            // Entries of version 1 do not say it; they are all of one line.
            None => self.resolved(head.revision).await?.state.next_column_id,
        };
        let position = Position {
            number,
            branch: branch.to_owned(),
            parents: Vec::new(),
            next_row_id,
            next_column_id,
        };
        Ok((position, head))
    }

    /// Creates the entry; `None` if its number is taken. What it did to the table as it was `before`
    /// is known without a request: a revision that is there is never answered with an error of a
    /// later one.
    pub(super) async fn append(
        &self,
        entry: &Entry,
        changes: &Changes,
        before: &Snapshot,
    ) -> Result<Option<Committed>> {
        let bytes = format::encode(entry)?;
        let own = self.loaded(entry.revision, &bytes)?;
        let dropped = before.resolved().dropped_after(changes);
        let resolved = before.resolved().followed_by_own(self, &own, dropped)?;
        if self
            .inner
            .log
            .append(Revision(entry.revision), bytes)
            .await?
            == Append::Taken
        {
            return Ok(None);
        }
        self.keep(&own);
        let resolved = Arc::new(resolved);
        self.cache(&resolved);
        self.checkpoint_if_due();
        Ok(Some(committed(&own, changes, self.snapshot_of(resolved))))
    }

    /// What the patch does to rows and cells of its base: elements and classes as whole cells.
    async fn prepare(&self, patch: &Patch, base: &Snapshot) -> Result<Changes> {
        let mut changes = Changes {
            dropped: patch.dropped().clone(),
            ..Changes::default()
        };
        for (column, merges) in patch.class_merges() {
            if let Some(cells) = relabelled(base, *column, merges).await? {
                changes.set(*column, cells)?;
            }
        }
        for (column, cells) in patch.cells()? {
            changes.set(column, cells)?;
        }
        for column in patch.elements().keys() {
            let cells = self.with_elements(patch, *column, base, &changes).await?;
            if let Some(cells) = cells {
                changes.set(*column, cells)?;
            }
        }
        for (column, overlay) in std::mem::take(&mut changes.cells) {
            let stored = match field_of(patch, column) {
                Some(field) => {
                    let aliases = &base.resolved().aliases;
                    let values = aliases.shorten_array(overlay.values(), field)?;
                    overlay.with_values(values)
                }
                None => overlay,
            };
            changes.cells.insert(column, stored);
        }
        Ok(changes)
    }

    /// The cells of a column in which the patch sets elements, as they are then.
    async fn with_elements(
        &self,
        patch: &Patch,
        column: i32,
        base: &Snapshot,
        changes: &Changes,
    ) -> Result<Option<Overlay>> {
        let edits = patch.elements().get(&column).map_or(&[][..], Vec::as_slice);
        let rows: BTreeSet<u64> = edits.iter().map(|edit| edit.row_id).collect();
        let rows: Vec<u64> = rows.into_iter().collect();
        if let Some(row_id) = rows.iter().find(|row_id| !base.contains(**row_id)) {
            return Err(Error::not_found(format!(
                "revision {} of table {} has no row {row_id}; nothing was changed",
                base.revision(),
                self.name()
            )));
        }
        let field = field_of(patch, column);
        let Some(field) = field else { return Ok(None) };
        let stored = self.values(base, column, &rows).await?;
        let set = changes.cells.get(&column);
        let mut cells: Vec<ArrayRef> = Vec::with_capacity(rows.len());
        for row_id in &rows {
            let earlier = set.and_then(|set| set.get(*row_id));
            let earlier =
                earlier.or_else(|| stored.as_ref().and_then(|stored| stored.get(*row_id)));
            let earlier = earlier.or_else(|| patch.added().get(&column).cloned());
            let earlier = earlier.ok_or_else(|| Error::corrupt("a cell has no value"))?;
            let own = edits.iter().filter(|edit| edit.row_id == *row_id);
            cells.push(elements::edited(&earlier, own, field)?);
        }
        let cells: Vec<&dyn arrow::array::Array> = cells.iter().map(AsRef::as_ref).collect();
        Overlay::of(rows, arrow::compute::concat(&cells)?)
    }
}

/// A column as the patch leaves it.
fn field_of(patch: &Patch, column: i32) -> Option<&FieldRef> {
    let mut fields = patch.schema().fields().iter();
    fields.find(|field| schema::field_id(field) == Some(column))
}

/// What rows hold in the columns that the patch adds; paths as they are stored.
fn stored_defaults(patch: &Patch, base: &Snapshot) -> Result<BTreeMap<i32, ArrayRef>> {
    let stored = |(column, default): (&i32, &ArrayRef)| {
        let stored = match field_of(patch, *column) {
            Some(field) => base.resolved().aliases.shorten_array(default, field)?,
            None => Arc::clone(default),
        };
        Ok((*column, stored))
    };
    patch.added().iter().map(stored).collect()
}

/// The cells of a label that hold one of the merged classes, with the class that it became.
async fn relabelled(
    base: &Snapshot,
    column: i32,
    merges: &[(i64, i64)],
) -> Result<Option<Overlay>> {
    let Some(field) = base.resolved().state.field(column) else {
        return Ok(None);
    };
    let becomes = |class: i64| {
        merges.iter().fold(
            class,
            |class, (from, into)| if class == *from { *into } else { class },
        )
    };
    let mut chunks = Vec::new();
    let mut rows = base.scan(ScanOptions::new().columns([ROWID, field.name()]))?;
    while let Some(batch) = rows.try_next().await? {
        let classes = cast(batch.column(1), &DataType::Int64)?;
        let classes = classes.as_primitive::<Int64Type>();
        let becoming: Int64Array = classes.iter().map(|class| class.map(becomes)).collect();
        let changed = arrow::compute::kernels::cmp::distinct(classes, &becoming)?;
        if changed.true_count() > 0 {
            let ids = filter(batch.column(0), &changed)?;
            let ids: &UInt64Array = ids.as_primitive::<UInt64Type>();
            let becoming: ArrayRef = Arc::new(becoming);
            let values = schema::fit(&filter(&becoming, &changed)?, field)?;
            chunks.push((ids.values().to_vec(), values));
        }
    }
    Overlay::fold(&chunks)
}

fn committed(own: &Arc<Loaded>, changes: &Changes, snapshot: Snapshot) -> Committed {
    let mut set = RoaringTreemap::new();
    for overlay in changes.cells.values() {
        set.extend(overlay.row_ids());
    }
    set -= &changes.added;
    let record = record(own);
    let rows = record.rows_added + record.rows_dropped + record.rows_restored;
    Committed {
        revision: record.revision,
        branch: record.branch,
        rows: set.len() + rows,
        cells: record.cells,
        bytes: record.bytes,
        snapshot,
    }
}
