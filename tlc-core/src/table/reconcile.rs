//! What two sides that parted have in common: changes of cells, elements and columns brought together,
//! and those that cannot be.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{Field, SchemaRef};
use roaring::RoaringTreemap;

use super::Table;
use super::resolution::{CellConflicts, Choice, Conflicts, Resolution, Take};
use super::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ColumnName;
use crate::patch::columns;
use crate::patch::elements;
use crate::patch::merge::{CellSet, Changes, conflicts};
use crate::patch::overlay::Overlay;
use crate::schema;

/// How many cells a conflict's message names.
const CELLS_NAMED_MAX: usize = 20;

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
    pub(super) async fn conflict_table(
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

pub(super) fn schema_has(schema: &SchemaRef, column: i32) -> bool {
    schema
        .fields()
        .iter()
        .any(|field| schema::field_id(field) == Some(column))
}

pub(super) fn has(cells: &CellSet, column: i32, row_id: u64) -> bool {
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
