//! Bringing changes that were made elsewhere to a branch: merge, revert, cherry-pick.
//!
//! All are one thing: what turned `base` into `theirs` happens to the head of the branch. Merging,
//! `base` is where both came from; reverting, what is reverted is the base and what was before it is
//! `theirs`; and a commit that comes too late brings its patch in the same way ([`Table::commit`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchIterator, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{Field, SchemaRef};
use roaring::RoaringTreemap;

use super::Table;
use super::commit::{ATTEMPTS_MAX, CommitOptions, Committed};
use super::create::write_rows;
use super::history::merge_base;
use super::scan::ScanOptions;
use super::snapshot::{Snapshot, read_row_ids};
use super::state::span;
use super::write::{Columns, Position, Written, new_entry, next_entry, no_turn, write_row_ids};
use crate::blob::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::{ParentRef, RowsAdded};
use crate::id::{Cell, ColumnName, Revision};
use crate::patch::columns::{self, Side};
use crate::patch::merge::{CellSet, Changes, conflicts};
use crate::patch::overlay::Overlay;
use crate::patch::{Value, elements};
use crate::schema;

/// How many cells a conflict's message names.
const CELLS_NAMED_MAX: usize = 20;

/// What became of a merge, a revert or a cherry-pick.
#[derive(Debug)]
pub enum Merged {
    /// A revision was made; or none, if there was nothing to do.
    Committed(Committed),
    /// Nothing was changed: somebody has to decide.
    Conflicts(Conflicts),
}

/// All that two sides changed differently.
#[derive(Clone, Debug, Default)]
pub struct Conflicts {
    /// By column.
    pub cells: Vec<CellConflicts>,
    /// Columns themselves, with the reason.
    pub columns: Vec<(String, String)>,
}

/// The cells of one column that two sides changed differently.
#[derive(Clone, Debug)]
pub struct CellConflicts {
    /// The column's name.
    pub column: ColumnName,
    /// The rows, ascending.
    pub row_ids: Vec<u64>,
    /// One value a row: what both came from. Null where the row was not there.
    pub base: ArrayRef,
    /// One value a row: the branch's own. Null where the row is not there.
    pub ours: ArrayRef,
    /// One value a row: what is to be brought in. Null where the row is not there.
    pub theirs: ArrayRef,
    /// The rows that the branch dropped.
    pub ours_dropped: Vec<u64>,
    /// The rows that are dropped by what is to be brought in.
    pub theirs_dropped: Vec<u64>,
}

impl Conflicts {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.columns.is_empty()
    }

    /// How many cells.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.cells.iter().map(|cells| cells.row_ids.len()).sum()
    }
}

/// Which side's change holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The branch's own.
    Ours,
    /// What is brought in.
    Theirs,
}

/// What to do where both sides changed the same.
///
/// ```
/// use tlc_core::{Resolution, Take};
///
/// let by_hand = Resolution::new()
///     .take(17, "label", Take::Theirs)?
///     .set(18, "label", "dog")?;
/// let ours = Resolution::all(Take::Ours);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    all: Option<Take>,
    cells: BTreeMap<Cell, Choice>,
}

#[derive(Clone, Debug)]
enum Choice {
    Take(Take),
    Set(Value),
}

impl Resolution {
    /// Nothing is decided: any conflict stops.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One side's change holds wherever nothing else is said, for cells and for columns.
    #[must_use]
    pub fn all(take: Take) -> Self {
        Self {
            all: Some(take),
            cells: BTreeMap::new(),
        }
    }

    /// One side's value for a cell.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no column can have that name.
    pub fn take(mut self, row_id: u64, column: &str, take: Take) -> Result<Self> {
        let column = column.parse()?;
        self.cells
            .insert(Cell { row_id, column }, Choice::Take(take));
        Ok(self)
    }

    /// A value of one's own for a cell.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn set(mut self, row_id: u64, column: &str, value: impl Into<Value>) -> Result<Self> {
        let column = column.parse()?;
        self.cells
            .insert(Cell { row_id, column }, Choice::Set(value.into()));
        Ok(self)
    }

    fn choice(&self, row_id: u64, column: &ColumnName) -> Option<Choice> {
        let column = column.clone();
        let own = self.cells.get(&Cell { row_id, column }).cloned();
        own.or_else(|| self.all.map(Choice::Take))
    }

    fn side(&self) -> Option<Side> {
        self.all.map(|take| match take {
            Take::Ours => Side::Ours,
            Take::Theirs => Side::Theirs,
        })
    }
}

/// Changes of `base` that are to happen to `head`.
pub(super) struct Reconciling<'a> {
    pub(super) base: &'a Snapshot,
    pub(super) changes: &'a Changes,
    /// The columns of the base as the changes leave them.
    pub(super) schema: &'a SchemaRef,
    pub(super) head: &'a Snapshot,
    /// `None` for a patch, whose cells are all meant. Otherwise a cell that has the base's value is
    /// no change, and what conflicts may be decided.
    pub(super) take: Option<&'a Resolution>,
}

/// The same changes, as they apply to the head.
pub(super) struct Reconciled {
    pub(super) changes: Changes,
    pub(super) schema: SchemaRef,
    /// Whether cells are others than they were.
    pub(super) rewritten: bool,
    pub(super) conflicts: Found,
}

/// What stands in the way.
#[derive(Default)]
pub(super) struct Found {
    cells: CellSet,
    columns: Vec<(String, String)>,
    /// What the head's own side did.
    ours: Changes,
    theirs: Changes,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.columns.is_empty()
    }
}

impl Table {
    /// Brings all that led to `from` into the branch of `options`, as one revision with two parents.
    ///
    /// A cell that only one side changed since both parted has its value; a cell that both changed
    /// differently is a conflict, unless `resolution` decides. Elements of a cell that have ids are
    /// told apart. Where the branch itself has not moved, the revision changes nothing and only says
    /// so (a fast-forward). If `from` is in the branch already, there is no revision.
    ///
    /// Reads and writes the cells that differ, not the tables.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown revision or branch; those of
    /// reading and writing. Conflicts are no error.
    pub async fn merge(
        &self,
        from: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (from, options) = (from.into(), options.into());
        // Somebody is asked to decide by what this finds, so it looks at the newest.
        self.refresh().await?;
        let theirs = self.at(from).await?;
        for _ in 0..ATTEMPTS_MAX {
            let turn = self.turn(&options.branch).await?;
            let (mine, other) = (turn.1.revision, from.0);
            let base = self
                .ancestry(|known| merge_base(known, mine, other))
                .await?;
            if base == from.0 {
                let head = self.snapshot_of(self.resolved(mine).await?);
                return Ok(Merged::Committed(Committed::nothing(&options.branch, head)));
            }
            let done = if base == mine {
                self.fast_forward(turn, &theirs, &options).await?
            } else {
                let bringing = Bringing {
                    base: self.at(base).await?,
                    theirs: theirs.clone(),
                    second_parent: Some(self.entry(from.0).await?.named()),
                };
                self.bring(&bringing, turn, resolution, &options).await?
            };
            match done {
                Some(merged) => return Ok(merged),
                None => self.refresh().await?,
            }
        }
        Err(no_turn(self))
    }

    /// Undoes the revisions from `first` to `last`, both included, on the line of `last`, as a new
    /// revision of the branch of `options`.
    ///
    /// What was set since by others is a conflict, as in [`Self::merge`]. Rows and columns that were
    /// dropped come back with their values.
    ///
    /// # Errors
    /// As [`Self::merge`]; [`ErrorKind::Invalid`] for a table's first
    /// revision, or if `first` does not lead to `last`.
    pub async fn revert(
        &self,
        first: impl Into<Revision> + Send,
        last: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (first, last, options) = (first.into(), last.into(), options.into());
        let base = self.at(last).await?;
        let line = match first <= last {
            true => self.line(first.0.saturating_sub(1), last.0).await?,
            false => Vec::new(),
        };
        let Some(oldest) = line.iter().find(|loaded| loaded.number() == first.0) else {
            return Err(Error::invalid(format!(
                "revision {first} is not on the way to revision {last} of table {}",
                self.name()
            )));
        };
        let theirs = self.at(self.parent_of(oldest)?).await?;
        let bringing = Bringing {
            base,
            theirs,
            second_parent: None,
        };
        self.bring_until_done(&bringing, resolution, &options).await
    }

    /// Does what one revision did once more, to the branch of `options`.
    ///
    /// # Errors
    /// As [`Self::revert`].
    pub async fn cherry_pick(
        &self,
        revision: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (revision, options) = (revision.into(), options.into());
        let theirs = self.at(revision).await?;
        let loaded = self.entry(revision.0).await?;
        let base = self.at(self.parent_of(&loaded)?).await?;
        let bringing = Bringing {
            base,
            theirs,
            second_parent: None,
        };
        self.bring_until_done(&bringing, resolution, &options).await
    }

    fn parent_of(&self, loaded: &super::history::Loaded) -> Result<Revision> {
        let parent = loaded.entry.parents.first();
        let parent = parent.map(|parent| Revision(parent.revision));
        parent.ok_or_else(|| {
            Error::invalid(format!(
                "revision {} made table {}; there is nothing before it",
                loaded.number(),
                self.name()
            ))
        })
    }

    async fn bring_until_done(
        &self,
        bringing: &Bringing,
        resolution: &Resolution,
        options: &CommitOptions,
    ) -> Result<Merged> {
        self.refresh().await?;
        for _ in 0..ATTEMPTS_MAX {
            let turn = self.turn(&options.branch).await?;
            match self.bring(bringing, turn, resolution, options).await? {
                Some(merged) => return Ok(merged),
                None => self.refresh().await?,
            }
        }
        Err(no_turn(self))
    }

    /// Moves the branch to `theirs`, which builds on it. `None` if the number was taken.
    async fn fast_forward(
        &self,
        (position, ours): (Position, ParentRef),
        theirs: &Snapshot,
        options: &CommitOptions,
    ) -> Result<Option<Merged>> {
        let theirs_named = self.entry(theirs.revision().0).await?.named();
        let position = position.after([theirs_named, ours]);
        let columns = Columns {
            schema: Arc::clone(theirs.schema()),
            defaults: BTreeMap::new(),
        };
        let template = new_entry(&self.place().env, options);
        let entry = next_entry(&template, &Written::default(), &columns, theirs, position)?;
        let done = self.append(&entry, &Changes::default(), theirs).await?;
        Ok(done.map(Merged::Committed))
    }

    /// One attempt to bring changes to the head `ours`. `None` if the number was taken.
    async fn bring(
        &self,
        bringing: &Bringing,
        (position, ours): (Position, ParentRef),
        resolution: &Resolution,
        options: &CommitOptions,
    ) -> Result<Option<Merged>> {
        let Bringing {
            base,
            theirs,
            second_parent,
        } = bringing;
        let head = self.snapshot_of(self.resolved(ours.revision).await?);
        let changes = self.changes(base, theirs).await?;
        let found = self
            .reconcile(Reconciling {
                base,
                changes: &changes,
                schema: theirs.schema(),
                head: &head,
                take: Some(resolution),
            })
            .await?;
        if !found.conflicts.is_empty() {
            let conflicts = self
                .conflict_table(&found.conflicts, base, &head, theirs)
                .await?;
            return Ok(Some(Merged::Conflicts(conflicts)));
        }
        let mut changes = found.changes;
        let cells = changes
            .cells
            .iter()
            .map(|(column, set)| (*column, set.row_ids().to_vec()));
        let news = self
            .really_changed(cells.collect(), &changes, &head)
            .await?;
        changes.retain_cells(|column, row_id| has(&news, column, row_id))?;
        let rows = self.rows_from(theirs, &head, &mut changes).await?;
        let unchanged = changes.cells.is_empty()
            && changes.added.is_empty()
            && changes.dropped.is_empty()
            && found.schema == *head.schema();
        if unchanged && second_parent.is_none() {
            return Ok(Some(Merged::Committed(Committed::nothing(
                &options.branch,
                head,
            ))));
        }
        let columns = Columns {
            defaults: new_defaults(theirs, &found.schema),
            schema: found.schema,
        };
        self.check_kept_columns(&head, &columns)?;
        let written = Written {
            brought: rows.brought,
            restored: write_row_ids(self.place(), &rows.restored).await?,
            ..Written::write(self.place(), &changes).await?
        };
        let position = position.after(std::iter::once(ours).chain(second_parent.clone()));
        let template = new_entry(&self.place().env, options);
        let entry = next_entry(&template, &written, &columns, &head, position)?;
        let done = self.append(&entry, &changes, &head).await?;
        Ok(done.map(Merged::Committed))
    }

    /// Finds what of the changes cannot hold at the head, and brings together what can be.
    pub(super) async fn reconcile(&self, r: Reconciling<'_>) -> Result<Reconciled> {
        let ours = self.changes(r.base, r.head).await?;
        let mut changes = r.changes.clone();
        let mut cells = conflicts(&changes, &ours);
        for (column, missing) in rows_not_there(&changes, r.head, &ours) {
            let rows = cells.entry(column).or_default();
            rows.extend(missing);
            rows.sort_unstable();
        }
        let mut rewritten = false;
        if r.take.is_some() {
            cells = self.really_changed(cells, &ours, r.base).await?;
            let meant = self.really_changed(cells.clone(), &changes, r.base).await?;
            changes.retain_cells(|column, row_id| {
                !has(&cells, column, row_id) || has(&meant, column, row_id)
            })?;
            (cells, rewritten) = (meant, true);
        }
        if self
            .join_elements(&r, &mut changes, &ours, &mut cells)
            .await?
        {
            rewritten = true;
        }
        let mut named = Vec::new();
        if let Some(resolution) = r.take {
            resolve(resolution, &r, &mut changes, &mut cells)?;
        }
        let side = r.take.and_then(Resolution::side);
        let base = r.base.schema();
        let schema = match columns::joined(base, r.head.schema(), r.schema, side) {
            Ok(schema) => schema,
            Err(conflicts) => {
                let shown = |found: columns::ColumnConflict| (found.column, found.why.to_owned());
                named.extend(conflicts.into_iter().map(shown));
                Arc::clone(r.head.schema())
            }
        };
        let gone = gone_columns(&r, &schema, &changes, &ours);
        match side {
            Some(_) => changes
                .cells
                .retain(|column, _| schema_has(&schema, *column)),
            None => named.extend(gone),
        }
        cells.retain(|column, _| schema_has(&schema, *column));
        Ok(Reconciled {
            schema,
            rewritten,
            conflicts: Found {
                cells,
                columns: named,
                ours,
                theirs: changes.clone(),
            },
            changes,
        })
    }

    /// Takes cells out of `cells` whose elements can be brought together. True if there were any.
    async fn join_elements(
        &self,
        r: &Reconciling<'_>,
        changes: &mut Changes,
        ours: &Changes,
        cells: &mut CellSet,
    ) -> Result<bool> {
        let mut any = false;
        for (column, rows) in cells.iter_mut() {
            let (Some(field), Some(mine), Some(other)) = (
                r.head.resolved().state.field(*column).cloned(),
                changes.cells.get(column).cloned(),
                ours.cells.get(column),
            ) else {
                continue;
            };
            if elements::check(&field).is_err() {
                continue;
            }
            let there: Vec<u64> = rows
                .iter()
                .copied()
                .filter(|id| r.base.contains(*id))
                .collect();
            let before = self.values(r.base, *column, &there).await?;
            let mut joined = Vec::new();
            for row_id in there {
                let before = before.as_ref().and_then(|before| before.get(row_id));
                let (Some(before), Some(own), Some(their)) =
                    (before, other.get(row_id), mine.get(row_id))
                else {
                    continue;
                };
                if let Some(cell) = elements::joined(&before, &own, &their, &field)? {
                    joined.push((vec![row_id], cell));
                }
            }
            if let Some(joined) = Overlay::fold(&joined)? {
                rows.retain(|row_id| joined.get(*row_id).is_none());
                changes.set(*column, joined)?;
                any = true;
            }
        }
        cells.retain(|_, rows| !rows.is_empty());
        Ok(any)
    }

    /// Where the rows that come lie: in a file that the head has (then they were dropped and are
    /// restored), in a file of `theirs`, or in one that is written now.
    async fn rows_from(
        &self,
        theirs: &Snapshot,
        head: &Snapshot,
        changes: &mut Changes,
    ) -> Result<RowsFrom> {
        let (ours, theirs_state) = (head.resolved(), &theirs.resolved().state);
        changes.dropped &= ours.rows();
        changes.added -= ours.rows();
        let mut rest = changes.added.clone();
        let mut found = RowsFrom::default();
        for file in ours.state.files.iter() {
            let mut here = RoaringTreemap::new();
            here.insert_range(span(&file.file));
            found.restored |= &rest & &here;
            rest -= here;
        }
        if let Some(left) = ours
            .state
            .left_behind
            .as_ref()
            .filter(|_| !found.restored.is_empty())
        {
            let left = read_row_ids(self.place(), left).await?;
            if let Some(row_id) = (&left & &found.restored).min() {
                return Err(Error::invalid(format!(
                    "row {row_id} cannot come back to {head:?}: it was dropped before a compaction, which left it behind; read it at an earlier revision"
                )));
            }
        }
        let left = match &theirs_state.left_behind {
            Some(left) if !rest.is_empty() => read_row_ids(self.place(), left).await?,
            _ => RoaringTreemap::new(),
        };
        for file in theirs_state.files.iter() {
            let range = span(&file.file);
            let mut here = RoaringTreemap::new();
            here.insert_range(range.clone());
            let wanted = &rest & &here;
            if wanted.is_empty() {
                continue;
            }
            let meets =
                |other: &RowsAdded| span(other).start < range.end && range.start < span(other).end;
            // Rows that a compaction left behind must not come here as if they had values.
            let has_left = left.range_cardinality(range.clone()) > 0;
            if has_left || ours.state.files.iter().any(|other| meets(&other.file)) {
                found.brought.extend(self.copied(theirs, &wanted).await?);
            } else {
                found.brought.push(file.file.clone());
                changes.dropped |= here - &wanted;
            }
        }
        Ok(found)
    }

    /// Writes rows of a snapshot anew, under the ids they have: one file for each run of ids.
    async fn copied(&self, theirs: &Snapshot, wanted: &RoaringTreemap) -> Result<Vec<RowsAdded>> {
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        for row_id in wanted {
            match runs.last_mut() {
                Some(run) if run.end == row_id => run.end += 1,
                _ => runs.push(row_id..row_id + 1),
            }
        }
        let schema = theirs.schema();
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut files = Vec::new();
        for run in runs {
            let first_row_id = run.start;
            let rows = theirs
                .read(ScanOptions::new().columns(names.clone()).row_ids(run))
                .await?;
            let rows = RecordBatchIterator::new([Ok(rows)], Arc::clone(schema));
            files.extend(
                write_rows(
                    self.place(),
                    Rows::new(Box::new(rows)),
                    schema,
                    first_row_id,
                )
                .await?,
            );
        }
        Ok(files)
    }

    /// A column that comes back must have kept its values. One that the head never had is new to it.
    fn check_kept_columns(&self, head: &Snapshot, columns: &Columns) -> Result<()> {
        let state = &head.resolved().state;
        let is_new =
            |id: &i32| columns.defaults.contains_key(id) && !state.defaults.contains_key(id);
        let is_left = |id: i32| state.columns_left.contains(&id) && !is_new(&id);
        let back = columns
            .schema
            .fields()
            .iter()
            .find(|field| schema::field_id(field).is_some_and(is_left));
        match back {
            None => Ok(()),
            Some(field) => Err(Error::invalid(format!(
                "column {:?} cannot come back to table {}: it was dropped before a compaction, which left it behind; read it at an earlier revision",
                field.name(),
                self.name()
            ))),
        }
    }

    /// The error of a commit whose cells another has changed.
    pub(super) async fn conflict(&self, found: &Found, base: &Snapshot, head: &Snapshot) -> Error {
        let name = |column: &i32| {
            let state = |snapshot: &Snapshot| snapshot.resolved().state.field(*column).cloned();
            let field = state(head).or_else(|| state(base));
            field.map_or_else(|| "?".to_owned(), |field| field.name().clone())
        };
        let cells = found.cells.iter().flat_map(|(column, rows)| {
            let name = name(column);
            rows.iter().map(move |row_id| format!("{name}[{row_id}]"))
        });
        let columns = found
            .columns
            .iter()
            .map(|(column, why)| format!("column {column:?} ({why})"));
        let mut named: Vec<String> = cells.chain(columns).collect();
        let more = named.len().saturating_sub(CELLS_NAMED_MAX);
        named.truncate(CELLS_NAMED_MAX);
        let mut named = named.join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        let (table, revision) = (self.name(), head.revision());
        let author = match self.entry(revision.0).await {
            Ok(loaded) => loaded.entry.author.clone(),
            Err(_) => "another".to_owned(),
        };
        let message = format!(
            "revision {revision} of table {table}, by {author}, or one shortly before it changed the same: {named}; read the table again and decide"
        );
        Error::new(ErrorKind::Conflict, message)
    }

    /// The conflicting cells with the values of all three.
    async fn conflict_table(
        &self,
        found: &Found,
        base: &Snapshot,
        ours: &Snapshot,
        theirs: &Snapshot,
    ) -> Result<Conflicts> {
        let mut cells = Vec::new();
        for (column, row_ids) in &found.cells {
            let field = [ours, theirs, base]
                .map(|snapshot| snapshot.resolved().state.field(*column).cloned());
            let Some(field) = field.into_iter().flatten().next() else {
                continue;
            };
            let dropped = |changes: &Changes, other: &Snapshot| {
                let gone = row_ids.iter().copied();
                gone.filter(|id| changes.dropped.contains(*id) || !other.contains(*id))
                    .collect()
            };
            cells.push(CellConflicts {
                column: field.name().parse()?,
                base: self.column_at(base, *column, &field, row_ids).await?,
                ours: self.column_at(ours, *column, &field, row_ids).await?,
                theirs: self.column_at(theirs, *column, &field, row_ids).await?,
                ours_dropped: dropped(&found.ours, ours),
                theirs_dropped: dropped(&found.theirs, theirs),
                row_ids: row_ids.clone(),
            });
        }
        Ok(Conflicts {
            cells,
            columns: found.columns.clone(),
        })
    }

    /// One value for each row; null where the snapshot has no such row.
    async fn column_at(
        &self,
        snapshot: &Snapshot,
        column: i32,
        field: &Field,
        row_ids: &[u64],
    ) -> Result<ArrayRef> {
        let there: Vec<u64> = row_ids
            .iter()
            .copied()
            .filter(|id| snapshot.contains(*id))
            .collect();
        let Some(values) = self.values(snapshot, column, &there).await? else {
            return Ok(arrow::array::new_null_array(
                field.data_type(),
                row_ids.len(),
            ));
        };
        let positions = row_ids
            .iter()
            .map(|id| values.row_ids().binary_search(id).ok().map(|at| at as u64));
        let values = take(values.values(), &UInt64Array::from_iter(positions), None)?;
        snapshot.resolved().aliases.expand_array(&values, field)
    }
}

/// What turned `base` into `theirs`, and the revision that says it came from there.
struct Bringing {
    base: Snapshot,
    theirs: Snapshot,
    second_parent: Option<ParentRef>,
}

#[derive(Default)]
struct RowsFrom {
    brought: Vec<RowsAdded>,
    restored: RoaringTreemap,
}

/// Defaults of `theirs` in the columns of `schema`.
fn new_defaults(theirs: &Snapshot, schema: &SchemaRef) -> BTreeMap<i32, ArrayRef> {
    let defaults = theirs.resolved().state.defaults.iter();
    let used = defaults.filter(|(column, _)| schema_has(schema, **column));
    used.map(|(column, default)| (*column, Arc::clone(default)))
        .collect()
}

fn schema_has(schema: &SchemaRef, column: i32) -> bool {
    schema
        .fields()
        .iter()
        .any(|field| schema::field_id(field) == Some(column))
}

fn has(cells: &CellSet, column: i32, row_id: u64) -> bool {
    cells
        .get(&column)
        .is_some_and(|rows| rows.binary_search(&row_id).is_ok())
}

/// Cells to set in rows that the head never had, or lost before the base.
fn rows_not_there(changes: &Changes, head: &Snapshot, ours: &Changes) -> CellSet {
    let mut missing = CellSet::new();
    for (column, overlay) in &changes.cells {
        let there = |row_id: &u64| {
            head.contains(*row_id)
                || changes.added.contains(*row_id)
                || ours.dropped.contains(*row_id)
        };
        let rows: Vec<u64> = overlay
            .row_ids()
            .iter()
            .copied()
            .filter(|id| !there(id))
            .collect();
        if !rows.is_empty() {
            missing.insert(*column, rows);
        }
    }
    missing
}

/// Columns that one side dropped and in which the other set cells.
fn gone_columns(
    r: &Reconciling<'_>,
    schema: &SchemaRef,
    changes: &Changes,
    ours: &Changes,
) -> Vec<(String, String)> {
    let set: BTreeSet<i32> = changes
        .cells
        .keys()
        .chain(ours.cells.keys())
        .copied()
        .collect();
    let gone = set
        .into_iter()
        .filter(|column| *column > 0 && !schema_has(schema, *column));
    let name = |column| {
        r.base
            .resolved()
            .state
            .field(column)
            .map(|field| field.name().clone())
    };
    let gone = gone.filter_map(name);
    gone.map(|name| (name, "set by one and dropped by the other".to_owned()))
        .collect()
}

/// Decides conflicting cells as `resolution` says, and takes them out of `cells`.
fn resolve(
    resolution: &Resolution,
    r: &Reconciling<'_>,
    changes: &mut Changes,
    cells: &mut CellSet,
) -> Result<()> {
    for (column, rows) in std::mem::take(cells) {
        let own = r.head.resolved().state.field(column);
        let mut theirs = r.schema.fields().iter();
        let theirs = || theirs.find(|field| schema::field_id(field) == Some(column));
        let Some(field) = own.or_else(theirs).cloned() else {
            cells.insert(column, rows);
            continue;
        };
        let name: ColumnName = field.name().parse()?;
        let mut ours = RoaringTreemap::new();
        let mut set = Vec::new();
        let mut open = Vec::new();
        for row_id in rows {
            match resolution.choice(row_id, &name) {
                None => open.push(row_id),
                Some(Choice::Take(Take::Ours)) => {
                    ours.insert(row_id);
                    changes.dropped.remove(row_id);
                }
                Some(Choice::Take(Take::Theirs)) => restore(r.head, changes, row_id),
                Some(Choice::Set(value)) => {
                    let value = value.fit(&field)?;
                    let stored = r.head.resolved().aliases.shorten_array(&value, &field)?;
                    set.push((vec![row_id], stored));
                    changes.dropped.remove(row_id);
                    restore(r.head, changes, row_id);
                }
            }
        }
        if let Some(overlay) = changes.cells.remove(&column)
            && let Some(kept) = overlay.filtered(|row_id| !ours.contains(row_id))?
        {
            changes.cells.insert(column, kept);
        }
        if let Some(set) = Overlay::fold(&set)? {
            changes.set(column, set)?;
        }
        if !open.is_empty() {
            cells.insert(column, open);
        }
    }
    Ok(())
}

/// A row that the head dropped comes back for a cell that is set in it.
fn restore(head: &Snapshot, changes: &mut Changes, row_id: u64) {
    if !head.contains(row_id) && !changes.dropped.contains(row_id) {
        changes.added.insert(row_id);
    }
}
