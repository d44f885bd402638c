//! From what files hold to what the table has: columns by id, defaults, and over them the edits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;

use crate::alias::Aliases;
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::patch::overlay::Overlay;
use crate::schema::{self, column_index};
use crate::table::Table;
use crate::table::file::Opened;
use crate::table::snapshot::Resolved;

/// What the output's columns are, in order.
#[derive(Debug)]
pub(crate) struct Projection {
    pub(crate) schema: SchemaRef,
    pub(super) columns: Vec<Column>,
    aliases: Aliases,
}

#[derive(Debug)]
pub(super) enum Column {
    RowId,
    Stored { id: i32, field: FieldRef },
}

impl Projection {
    /// The named columns, or `_rowid` and all; paths in them are expanded by `aliases`.
    pub(crate) fn new(table: &Schema, names: Option<&[String]>, aliases: Aliases) -> Result<Self> {
        let row_id = Arc::new(Field::new(ROWID, DataType::UInt64, false));
        let mut fields = Vec::new();
        match names {
            None => {
                fields.push(row_id);
                fields.extend(table.fields().iter().cloned());
            }
            Some(names) => {
                for name in names {
                    fields.push(match name == ROWID {
                        true => Arc::clone(&row_id),
                        false => Arc::clone(&table.fields()[column_index(table, name)?]),
                    });
                }
            }
        }
        let columns = fields.iter().map(|field| match schema::field_id(field) {
            None if field.name() == ROWID => Ok(Column::RowId),
            None => Err(Error::corrupt(format!(
                "column {:?} has no id",
                field.name()
            ))),
            Some(id) => Ok(Column::Stored {
                id,
                field: Arc::clone(field),
            }),
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            schema: Arc::new(Schema::new(fields)),
            aliases,
        })
    }

    /// The ids of the columns that files hold.
    pub(super) fn stored(&self) -> impl Iterator<Item = i32> {
        self.columns.iter().filter_map(|column| match column {
            Column::Stored { id, .. } => Some(*id),
            Column::RowId => None,
        })
    }

    /// The edits of the projected columns, by column id.
    pub(crate) async fn overlays(&self, table: &Table, resolved: &Resolved) -> Result<Overlays> {
        let mut overlays = HashMap::new();
        for id in self.stored() {
            if let Some(overlay) = resolved.overlay(table, id).await? {
                overlays.insert(id, overlay);
            }
        }
        Ok(overlays)
    }

    /// Puts a batch together: row ids, decoded columns, defaults, and over them the edits.
    pub(crate) fn assemble(
        &self,
        row_ids: &[u64],
        decoded: &Decoded<'_>,
        defaults: &BTreeMap<i32, ArrayRef>,
        overlays: &Overlays,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let Column::Stored { id, field } = column else {
                columns.push(Arc::new(UInt64Array::from(row_ids.to_vec())));
                continue;
            };
            let base = match decoded.column(*id) {
                Some(values) => schema::fit(values, field)?,
                None => repeated(defaults.get(id), field, row_ids.len())?,
            };
            let values = match overlays.get(id) {
                Some(overlay) => overlay.apply(row_ids, &base)?,
                None => base,
            };
            columns.push(self.aliases.expand_array(&values, field)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(row_ids.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

pub(crate) type Overlays = HashMap<i32, Arc<Overlay>>;

/// The columns of a file to decode, and where each lands in the decoded batch.
pub(crate) struct Decoding {
    /// Top-level positions in the file, ascending.
    pub(crate) roots: Vec<usize>,
    /// Positions in the decoded batch by column id.
    columns: HashMap<i32, usize>,
}

impl Decoding {
    /// What `projections` need of the file, each column once.
    pub(crate) fn new(opened: &Opened, projections: &[&Projection]) -> Self {
        let stored = projections
            .iter()
            .flat_map(|projection| projection.stored())
            .filter_map(|id| Some((*opened.columns.get(&id)?, id)));
        let mut wanted: Vec<(usize, i32)> = stored.collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self {
            roots: wanted.iter().map(|(root, _)| *root).collect(),
            columns: wanted
                .into_iter()
                .enumerate()
                .map(|(at, (_, id))| (id, at))
                .collect(),
        }
    }

    /// A batch that was decoded in this way.
    pub(crate) fn of<'a>(&'a self, batch: &'a RecordBatch) -> Decoded<'a> {
        Decoded {
            batch: Some(batch),
            decoding: Some(self),
        }
    }

    pub(crate) fn mask(&self, opened: &Opened) -> ProjectionMask {
        ProjectionMask::roots(opened.metadata.parquet_schema(), self.roots.iter().copied())
    }
}

/// A batch as a file gives it, and which of its columns is which.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    pub(crate) batch: Option<&'a RecordBatch>,
    decoding: Option<&'a Decoding>,
}

impl<'a> Decoded<'a> {
    /// For rows of which the file holds no column.
    pub(crate) fn nothing() -> Self {
        Self {
            batch: None,
            decoding: None,
        }
    }

    /// The same columns of other rows.
    pub(super) fn with<'b>(self, batch: Option<&'b RecordBatch>) -> Decoded<'b>
    where
        'a: 'b,
    {
        Decoded {
            batch,
            decoding: self.decoding,
        }
    }

    fn column(&self, id: i32) -> Option<&ArrayRef> {
        let at = *self.decoding?.columns.get(&id)?;
        self.batch?.columns().get(at)
    }
}

/// `n_rows` times the default; null without one.
pub(super) fn repeated(
    default: Option<&ArrayRef>,
    field: &Field,
    n_rows: usize,
) -> Result<ArrayRef> {
    match default {
        Some(value) if value.is_valid(0) => {
            let first = UInt64Array::from(vec![0; n_rows]);
            schema::fit(&take(value, &first, None)?, field)
        }
        _ => Ok(new_null_array(field.data_type(), n_rows)),
    }
}
