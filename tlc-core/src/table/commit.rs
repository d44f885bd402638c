//! The one way to change a table: files first, then the next entry, created if absent.
//!
//! ```text
//! patch ── check its rows ── write its files ──┐
//!                                              ▼
//!        ┌──── read what is new ──── entry = head + 1, create ── written ─→ done
//!        │                                     │
//!        └── no cell in common ◄── taken ──────┘
//!        └── a cell in common ──→ Conflict, nothing of the patch is visible
//! ```
//!
//! The files are named by their content and hold row ids, not positions, so a patch that has to
//! follow a newer head is not written again: only its entry is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, RecordBatchIterator, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use roaring::RoaringTreemap;

use super::create::write_rows;
use super::snapshot::{Resolved, Snapshot, VALUE, read_cells, read_dropped};
use super::state::{Loaded, State, history};
use super::{MAIN, Table, lock, record};
use crate::blob::{self, Rows};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::table::{CellsSet, ColumnAdded, Entry, ParentRef, RowsAdded, RowsDropped};
use crate::id::{ROWID, Revision};
use crate::log::Append;
use crate::patch::Patch;
use crate::patch::merge::{Changes, Conflicts, conflicts};
use crate::patch::overlay::Overlay;
use crate::schema::{field_id, with_field_id};
use crate::store::Place;

/// How often a commit follows a newer head before it gives up.
const ATTEMPTS_MAX: usize = 1_000;

/// How many cells a conflict's message names.
const CELLS_NAMED_MAX: usize = 20;

/// Why a revision is made, by whom and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOptions {
    message: String,
    author: Option<String>,
    tool: String,
}

impl CommitOptions {
    /// A message; the author is the root's, the tool this library.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        let tool = concat!("tlc-core ", env!("CARGO_PKG_VERSION")).to_owned();
        Self {
            message: message.into(),
            author: None,
            tool,
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
    /// Rows that the patch touches: with a cell set, appended, or dropped.
    pub rows: u64,
    /// Cells set.
    pub cells: u64,
    /// Bytes added under the root.
    pub bytes: u64,
    /// The table as it is now.
    pub snapshot: Snapshot,
}

impl Table {
    /// Makes a revision of `patch`, which was made against any earlier snapshot of this table.
    ///
    /// Where the table has moved on, the patch follows it, unless a revision since then set one of
    /// its cells to another value, dropped a row that it sets, or set a cell of a row that it drops.
    /// An empty patch makes no revision. Writes one file for each column with cells set, one for
    /// dropped rows, and the entry: two requests for one cell.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] naming the cells, [`ErrorKind::NotFound`] naming a row that is not in
    /// the table; those of the store. After any error the table is as it was; a file that was written
    /// is one that no revision names.
    pub async fn commit(
        &self,
        patch: &Patch,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Committed> {
        let options = options.into();
        let base = self.at(patch.base()).await?;
        if patch.is_empty() {
            let branch = MAIN.to_owned();
            return Ok(Committed {
                revision: base.revision(),
                branch,
                rows: 0,
                cells: 0,
                bytes: 0,
                snapshot: base,
            });
        }
        let changes = patch.changes()?;
        check_rows(&base, &changes)?;
        self.inner.log.check_store().await?;
        let written = Written::write(self.place(), patch, &changes).await?;
        let template = new_entry(&self.place().env, options);
        let mut checked = patch.base();
        // The head may have moved on unseen: then the number is taken, and the log is read again.
        let mut entries = self.known();
        for _ in 0..ATTEMPTS_MAX {
            let head = Revision(entries.len() as u64 - 1);
            let unseen = usize::try_from(checked.next().0).unwrap_or(usize::MAX);
            for newer in entries.iter().skip(unseen) {
                self.check_conflicts(&changes, newer, head).await?;
            }
            checked = head;
            let before = self.resolve_at(&entries, head).await?;
            let entry = next_entry(&template, &written, patch, &entries, &before)?;
            let bytes = format::encode(&entry)?;
            if self.inner.log.append(head.next(), bytes.clone()).await? == Append::Written {
                entries.push(Arc::new(Loaded::read(
                    self.name().as_str(),
                    head.next(),
                    &bytes,
                )?));
                return self.committed(&changes, &entries, &before);
            }
            entries = self.refresh().await?;
        }
        let message = format!(
            "table {} is changed by so many writers that this commit found no turn; try again",
            self.name()
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// What the last of `entries`, our own, did to the table as it was `before`. Asks the store for
    /// nothing: a revision that is there is never answered with an error of a later request.
    fn committed(
        &self,
        changes: &Changes,
        entries: &[Arc<Loaded>],
        before: &Snapshot,
    ) -> Result<Committed> {
        self.keep(entries);
        let own = entries
            .last()
            .ok_or_else(|| Error::corrupt("a log has no entries"))?;
        let set: BTreeSet<u64> = changes
            .cells
            .values()
            .flat_map(Overlay::row_ids)
            .copied()
            .collect();
        let record = record(own);
        let history = history(self.name().as_str(), entries, record.revision)?;
        let state = State::fold(self.name().as_str(), &history)?;
        let dropped = &before.resolved().dropped | &changes.dropped;
        let resolved = Arc::new(Resolved::assemble(self, record.revision, state, dropped)?);
        *lock(&self.inner.latest) = Some(Arc::clone(&resolved));
        Ok(Committed {
            revision: record.revision,
            branch: record.branch,
            rows: set.len() as u64 + record.rows_added + record.rows_dropped,
            cells: record.cells,
            bytes: record.bytes,
            snapshot: Snapshot::new(self.clone(), resolved),
        })
    }

    /// Whether revision `newer`, made after the patch's base, excludes the patch.
    async fn check_conflicts(
        &self,
        mine: &Changes,
        newer: &Arc<Loaded>,
        head: Revision,
    ) -> Result<()> {
        let theirs = self.changes_of(newer, head).await?;
        let found = conflicts(mine, &theirs);
        if found.is_empty() {
            return Ok(());
        }
        Err(self.conflict(&found, newer))
    }

    /// What a revision did to rows and cells that were there before it.
    async fn changes_of(&self, loaded: &Arc<Loaded>, head: Revision) -> Result<Changes> {
        let snapshot = self.at(head).await?;
        let schema = snapshot.schema();
        let name_of = |id: i32| {
            schema
                .fields()
                .iter()
                .find(|field| field_id(field) == Some(id))
        };
        let mut changes = Changes::default();
        for set in &loaded.entry.cells_set {
            let Some(field) = name_of(set.column) else {
                continue;
            };
            let (ids, values) = read_cells(self.place(), set).await?;
            let values = crate::schema::fit(&values, field)?;
            if let Some(overlay) = Overlay::fold(&[(ids, values)])? {
                changes.cells.insert(field.name().parse()?, overlay);
            }
        }
        if let Some(dropped) = &loaded.entry.rows_dropped {
            changes.dropped = read_dropped(self.place(), dropped).await?;
        }
        for added in &loaded.entry.columns_added {
            if let Some(field) = name_of(added.column) {
                changes
                    .columns_added
                    .insert(field.name().parse()?, Arc::clone(field));
            }
        }
        Ok(changes)
    }

    fn conflict(&self, found: &Conflicts, newer: &Loaded) -> Error {
        let cells = found
            .cells
            .iter()
            .take(CELLS_NAMED_MAX)
            .map(ToString::to_string);
        let columns = found
            .columns
            .iter()
            .map(|column| format!("column {column:?}", column = column.as_str()));
        let mut named = cells.chain(columns).collect::<Vec<_>>().join(", ");
        if let Some(more) = found
            .cells
            .len()
            .checked_sub(CELLS_NAMED_MAX)
            .filter(|more| *more > 0)
        {
            named.push_str(&format!(" and {more} more"));
        }
        let (table, revision, author) = (self.name(), newer.entry.revision, &newer.entry.author);
        let message = format!(
            "revision {revision} of table {table}, by {author}, changed the same: {named}; read the table again and decide"
        );
        Error::new(ErrorKind::Conflict, message)
    }
}

/// The patch as the entry after `before`: row ids and column ids are given here.
fn next_entry(
    template: &Entry,
    written: &Written,
    patch: &Patch,
    entries: &[Arc<Loaded>],
    before: &Snapshot,
) -> Result<Entry> {
    let (head, state) = (before.revision(), &before.resolved().state);
    let parent = entries.last().map(|last| ParentRef {
        revision: head.0,
        hash: last.hash.clone(),
    });
    let (schema, columns_added) = add_columns(&state.schema, patch)?;
    let mut rows_added = written.rows.clone();
    for rows in &mut rows_added {
        rows.first_row_id += state.next_row_id;
    }
    let cells_set = written.cells.iter().map(|(column, set)| {
        let field = schema.field_with_name(column).ok();
        let id = field.and_then(field_id);
        let gone = || {
            Error::new(
                ErrorKind::Conflict,
                format!("column {column:?}, in which cells are set, is no longer there"),
            )
        };
        Ok(CellsSet {
            column: id.ok_or_else(gone)?,
            ..set.clone()
        })
    });
    Ok(Entry {
        revision: head.next().0,
        branch: MAIN.to_owned(),
        parents: parent.into_iter().collect(),
        next_row_id: rows_added
            .last()
            .map_or(state.next_row_id, |last| last.first_row_id + last.rows),
        schema: (!columns_added.is_empty())
            .then(|| format::encode_schema(&schema))
            .transpose()?,
        columns_added,
        rows_added,
        rows_dropped: written.dropped.clone(),
        cells_set: cells_set.collect::<Result<_>>()?,
        ..template.clone()
    })
}

/// An entry that says who makes it, when and why, and nothing yet of what changes.
pub(super) fn new_entry(env: &Env, options: CommitOptions) -> Entry {
    Entry {
        format: format::VERSION,
        stamp: env.fresh_id(),
        author: options.author.unwrap_or_else(|| env.author().to_owned()),
        time: env.now().to_rfc3339(),
        message: options.message,
        tool: options.tool,
        ..Entry::default()
    }
}

/// Every row that is set or dropped must be in the snapshot that the patch was made against, and
/// none may be both.
fn check_rows(base: &Snapshot, changes: &Changes) -> Result<()> {
    for (column, overlay) in &changes.cells {
        if let Some(row_id) = overlay
            .row_ids()
            .iter()
            .find(|id| changes.dropped.contains(**id))
        {
            let message = format!("cell {column}[{row_id}] is both set and dropped by one patch");
            return Err(Error::invalid(message));
        }
    }
    let set = changes
        .cells
        .values()
        .flat_map(|overlay| overlay.row_ids().iter().copied());
    match set
        .chain(changes.dropped.iter())
        .find(|row_id| !base.contains(*row_id))
    {
        None => Ok(()),
        Some(row_id) => Err(Error::not_found(format!(
            "{base:?} has no row {row_id}; nothing was changed"
        ))),
    }
}

/// The schema with the patch's new columns, each under the next free id.
fn add_columns(schema: &SchemaRef, patch: &Patch) -> Result<(SchemaRef, Vec<ColumnAdded>)> {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let mut columns = Vec::new();
    let next = fields
        .iter()
        .filter_map(|field| field_id(field))
        .max()
        .unwrap_or(0)
        + 1;
    for (next, (field, default)) in (next..).zip(patch.added()) {
        fields.push(Arc::new(with_field_id(field, next)));
        columns.push(ColumnAdded {
            column: next,
            default: format::encode_value(default)?,
        });
    }
    Ok((Arc::new(Schema::new(fields)), columns))
}

/// The files of a patch, written once; their entry may be made several times.
struct Written {
    /// First row ids count from 0: the entry adds where they really begin.
    rows: Vec<RowsAdded>,
    dropped: Option<RowsDropped>,
    /// By column name; the column's id is the entry's to know.
    cells: BTreeMap<String, CellsSet>,
}

impl Written {
    async fn write(place: &Place, patch: &Patch, changes: &Changes) -> Result<Self> {
        let mut cells = BTreeMap::new();
        for (column, overlay) in &changes.cells {
            cells.insert(
                column.as_str().to_owned(),
                write_cells(place, overlay).await?,
            );
        }
        let dropped = match changes.dropped.is_empty() {
            true => None,
            false => Some(write_dropped(place, &changes.dropped).await?),
        };
        let batches: Vec<_> = patch
            .appended()
            .iter()
            .filter(|batch| batch.num_rows() > 0)
            .cloned()
            .map(Ok)
            .collect();
        let rows = match batches.is_empty() {
            true => Vec::new(),
            false => {
                let rows = RecordBatchIterator::new(batches, Arc::clone(patch.schema()));
                write_rows(place, Rows::new(Box::new(rows)), patch.schema(), 0).await?
            }
        };
        Ok(Self {
            rows,
            dropped,
            cells,
        })
    }
}

async fn write_cells(place: &Place, overlay: &Overlay) -> Result<CellsSet> {
    let ids: ArrayRef = Arc::new(UInt64Array::from(overlay.row_ids().to_vec()));
    let fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new(VALUE, overlay.values().data_type().clone(), true),
    ];
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![ids, Arc::clone(overlay.values())],
    )?;
    let bytes = blob::encode_small(&batch)?;
    let size = bytes.len() as u64;
    let name = blob::put(
        &*place.store,
        &place.path.clone().join("edits"),
        "parquet",
        bytes,
    )
    .await?;
    Ok(CellsSet {
        column: 0,
        file: format!("edits/{name}"),
        cells: overlay.values().len() as u64,
        bytes: size,
    })
}

async fn write_dropped(place: &Place, dropped: &RoaringTreemap) -> Result<RowsDropped> {
    let mut bytes = Vec::with_capacity(dropped.serialized_size());
    dropped
        .serialize_into(&mut bytes)
        .map_err(|err| Error::invalid("the row ids cannot be written").with_source(err))?;
    let size = bytes.len() as u64;
    let name = blob::put(
        &*place.store,
        &place.path.clone().join("deletes"),
        "bin",
        bytes.into(),
    )
    .await?;
    Ok(RowsDropped {
        file: format!("deletes/{name}"),
        rows: dropped.len(),
        bytes: size,
    })
}
