//! The files of a revision, and its entry: what is written before, and at, the one visible request.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, RecordBatch, RecordBatchIterator, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use roaring::RoaringTreemap;

use super::commit::CommitOptions;
use super::create::write_rows;
use super::snapshot::{Snapshot, VALUE};
use super::stage::with_staged;
use crate::blob::{self, Rows};
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::table::{CellsSet, ColumnAdded, Entry, ParentRef, RowIds, RowsAdded};
use crate::id::ROWID;
use crate::patch::Patch;
use crate::patch::merge::Changes;
use crate::patch::overlay::Overlay;
use crate::schema::{field_id, with_field_id};
use crate::store::Place;

/// The files of a revision, written once; their entry may be made several times.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// First row ids count from 0: the entry adds where they really begin.
    pub(super) appended: Vec<RowsAdded>,
    /// Rows of another branch, under the ids they have.
    pub(super) brought: Vec<RowsAdded>,
    pub(super) dropped: Option<RowIds>,
    pub(super) restored: Option<RowIds>,
    /// By column id; that of a new column is negative.
    pub(super) cells: BTreeMap<i32, CellsSet>,
}

impl Written {
    /// Writes the cells and the ids of dropped rows: one request for each column, one for the rows.
    pub(super) async fn write(place: &Place, changes: &Changes) -> Result<Self> {
        let mut cells = BTreeMap::new();
        for (column, overlay) in &changes.cells {
            cells.insert(*column, write_cells(place, *column, overlay).await?);
        }
        Ok(Self {
            dropped: write_row_ids(place, &changes.dropped).await?,
            cells,
            ..Self::default()
        })
    }

    /// Writes the rows that a patch appends.
    pub(super) async fn append(&mut self, place: &Place, patch: &Patch) -> Result<()> {
        let batches = patch.appended().iter().filter(|batch| batch.num_rows() > 0);
        let batches: Vec<_> = batches.cloned().map(Ok).collect();
        let mut appended = Vec::new();
        if !batches.is_empty() {
            let rows = RecordBatchIterator::new(batches, Arc::clone(patch.base_schema()));
            appended = write_rows(place, Rows::new(Box::new(rows)), patch.base_schema(), 0).await?;
        }
        self.appended = with_staged(place, patch, appended).await?;
        Ok(())
    }
}

/// What an entry follows: where in the log it goes, and which ids are free.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) number: u64,
    pub(super) branch: String,
    pub(super) parents: Vec<ParentRef>,
    pub(super) next_row_id: u64,
    pub(super) next_column_id: i32,
}

impl Position {
    /// The same, for an entry that builds on `parents`.
    pub(super) fn after(self, parents: impl IntoIterator<Item = ParentRef>) -> Self {
        let parents = parents.into_iter().collect();
        Self { parents, ..self }
    }
}

/// The columns as an entry leaves them, and what rows hold in those that are new.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) defaults: BTreeMap<i32, ArrayRef>,
}

/// An entry that says who makes it, when and why, and nothing yet of what changes.
pub(super) fn new_entry(env: &Env, options: &CommitOptions) -> Entry {
    Entry {
        format: format::VERSION,
        stamp: env.fresh_id(),
        author: options
            .author
            .clone()
            .unwrap_or_else(|| env.author().to_owned()),
        time: env.now().to_rfc3339(),
        message: options.message.clone(),
        tool: options.tool.clone(),
        ..Entry::default()
    }
}

/// `written` as the entry at `position`: row ids and column ids are given here.
pub(super) fn next_entry(
    template: &Entry,
    written: &Written,
    columns: &Columns,
    before: &Snapshot,
    position: Position,
) -> Result<Entry> {
    let state = &before.resolved().state;
    let mut next_column_id = position.next_column_id;
    let (schema, given) = give_ids(&columns.schema, &mut next_column_id);
    let real = |id: i32| given.get(&id).copied().unwrap_or(id);
    let fresh = columns
        .defaults
        .iter()
        .filter(|(id, _)| !state.defaults.contains_key(id));
    let columns_added = fresh.map(|(id, default)| {
        Ok(ColumnAdded {
            column: real(*id),
            default: format::encode_value(default)?,
        })
    });
    let cells_set = written.cells.iter().map(|(id, set)| CellsSet {
        column: real(*id),
        ..set.clone()
    });
    let mut rows_added = written.brought.clone();
    let mut next_row_id = position.next_row_id;
    for rows in &written.appended {
        let mut rows = rows.clone();
        rows.first_row_id += position.next_row_id;
        next_row_id = rows.first_row_id + rows.rows;
        rows_added.push(rows);
    }
    Ok(Entry {
        revision: position.number,
        branch: position.branch,
        parents: position.parents,
        next_row_id,
        next_column_id: Some(next_column_id),
        schema: (schema != state.schema)
            .then(|| format::encode_schema(&schema))
            .transpose()?,
        columns_added: columns_added.collect::<Result<_>>()?,
        rows_added,
        rows_dropped: written.dropped.clone(),
        rows_restored: written.restored.clone(),
        cells_set: cells_set.collect(),
        ..template.clone()
    })
}

/// The schema with an id for each column that has a provisional one, and which got which.
fn give_ids(schema: &SchemaRef, next: &mut i32) -> (SchemaRef, BTreeMap<i32, i32>) {
    let mut given = BTreeMap::new();
    let fields: Vec<FieldRef> = schema
        .fields()
        .iter()
        .map(|field| match field_id(field) {
            Some(id) if id < 0 => {
                given.insert(id, *next);
                let field = with_field_id(field, *next);
                *next += 1;
                Arc::new(field)
            }
            _ => Arc::clone(field),
        })
        .collect();
    match given.is_empty() {
        true => (Arc::clone(schema), given),
        false => (Arc::new(Schema::new(fields)), given),
    }
}

/// Every row that is set or dropped must be in the snapshot that the patch was made against, and
/// none may be both.
pub(super) fn check_rows(base: &Snapshot, changes: &Changes) -> Result<()> {
    for (column, overlay) in &changes.cells {
        let dropped = |id: &&u64| changes.dropped.contains(**id);
        if let Some(row_id) = overlay.row_ids().iter().find(dropped) {
            let name = base.resolved().state.field(*column);
            let name = name.map_or("", |field| field.name().as_str());
            let message = format!("cell {name}[{row_id}] is both set and dropped by one patch");
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
        Some(row_id) => {
            let (revision, table) = (base.revision(), base.table().name());
            Err(Error::not_found(format!(
                "revision {revision} of table {table} has no row {row_id}; nothing was changed"
            )))
        }
    }
}

/// A number was taken so often that no turn was found.
pub(super) fn no_turn(table: &super::Table) -> Error {
    let message = format!(
        "table {} is changed by so many writers that this commit found no turn; try again",
        table.name()
    );
    Error::new(ErrorKind::Unavailable, message)
}

/// Writes the cells of one column, sorted by row.
pub(super) async fn write_cells(place: &Place, column: i32, overlay: &Overlay) -> Result<CellsSet> {
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
    let folder = place.path.clone().join("edits");
    let name = blob::put(place, &folder, "parquet", bytes).await?;
    Ok(CellsSet {
        column,
        file: format!("edits/{name}"),
        cells: overlay.values().len() as u64,
        bytes: size,
    })
}

/// Writes row ids as a bitmap; nothing if there are none.
pub(super) async fn write_row_ids(place: &Place, rows: &RoaringTreemap) -> Result<Option<RowIds>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    rows.serialize_into(&mut bytes)
        .map_err(|err| Error::invalid("the row ids cannot be written").with_source(err))?;
    let size = bytes.len() as u64;
    let folder = place.path.clone().join("deletes");
    let name = blob::put(place, &folder, "bin", bytes.into()).await?;
    Ok(Some(RowIds {
        file: format!("deletes/{name}"),
        rows: rows.len(),
        bytes: size,
    }))
}
