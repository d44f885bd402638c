//! What is known of rows without reading them: bounds and null counts of row groups and pages.
//!
//! All of it describes what the *files* hold. Whoever prunes by it must still read rows that were
//! edited, and what is said here wrongly loses rows without an error: what is not sure is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::{ColumnOrder, SortOrder, Type};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use super::projection::{Column, Projection, repeated};
use crate::id::ROWID;
use crate::schema::{self, Role};
use crate::table::file::Opened;

/// Sets of rows of one file, each a range, and what is known of their values by column name.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "only SQL has conditions")
)]
#[derive(Debug, Default)]
pub(crate) struct Containers {
    /// Positions in the file.
    pub(crate) rows: Vec<Range<u64>>,
    pub(crate) columns: HashMap<String, Bounds>,
    /// Bloom filters of the only container there is.
    pub(crate) blooms: HashMap<String, Bloom>,
}

/// One value for each container; null where it is unknown.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "only SQL has conditions")
)]
#[derive(Debug)]
pub(crate) struct Bounds {
    /// No value is smaller. In the column's own type.
    pub(crate) min: Option<ArrayRef>,
    /// No value is larger.
    pub(crate) max: Option<ArrayRef>,
    pub(crate) nulls: UInt64Array,
}

/// Which values a column of a row group may hold.
#[cfg_attr(
    not(feature = "sql"),
    expect(dead_code, reason = "only SQL has conditions")
)]
pub(crate) struct Bloom {
    pub(crate) filter: Sbbf,
    pub(crate) physical: Type,
    pub(crate) type_length: i32,
}

impl std::fmt::Debug for Bloom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bloom").finish_non_exhaustive()
    }
}

/// Whether statistics of files say anything about what a scan gives for the column. Text that
/// stands for an image does not: what is read need not be what is stored.
pub(crate) fn is_prunable(field: &Field) -> bool {
    let data_type = field.data_type();
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
    let is_alias = is_text && Role::of(field) == Some(Role::Image);
    !data_type.is_nested() && !is_alias
}

/// Whether bounds hold for all values of the type. Those of floats leave NaN out, which compares as
/// larger (or, with its sign set, smaller) than everything else.
fn has_bounds(data_type: &DataType) -> bool {
    !data_type.is_floating()
}

/// A file as its statistics are read: what it holds of which column, and what it is without.
pub(super) struct Source<'a> {
    pub(super) opened: &'a Opened,
    pub(super) defaults: &'a BTreeMap<i32, ArrayRef>,
    pub(super) first_row_id: u64,
}

impl Containers {
    /// One container for each of the row groups `groups`.
    pub(super) fn of_groups(
        source: &Source<'_>,
        projection: &Projection,
        groups: &[(usize, Range<u64>)],
    ) -> Self {
        let rows: Vec<_> = groups.iter().map(|(_, rows)| rows.clone()).collect();
        let metadata = source.metadata();
        let chosen: Vec<&RowGroupMetaData> = groups
            .iter()
            .filter_map(|(at, _)| metadata.row_groups().get(*at))
            .collect();
        let bounds = |leaf: &Leaf<'_>| leaf.of_groups(&chosen);
        Self::build(source, projection, rows, bounds)
    }

    /// One container for each stretch of row group `group` without the end of a page in it.
    pub(super) fn of_pages(
        source: &Source<'_>,
        projection: &Projection,
        group: usize,
        rows: &Range<u64>,
    ) -> Self {
        let leaves = projection.columns.iter().filter_map(|column| match column {
            Column::Stored { id, field } => source.leaf(*id, field),
            Column::RowId => None,
        });
        let n_rows = rows.end - rows.start;
        let starts: BTreeSet<u64> = leaves
            .filter_map(|leaf| leaf.page_starts(group, n_rows))
            .flatten()
            .collect();
        let ends = starts.iter().copied().skip(1).chain([n_rows]);
        let stretches: Vec<Range<u64>> = starts
            .iter()
            .copied()
            .zip(ends)
            .map(|(start, end)| start..end)
            .collect();
        let bounds = |leaf: &Leaf<'_>| leaf.of_pages(group, n_rows, &stretches);
        let rows = stretches
            .iter()
            .map(|own| rows.start + own.start..rows.start + own.end)
            .collect();
        Self::build(source, projection, rows, bounds)
    }

    fn build(
        source: &Source<'_>,
        projection: &Projection,
        rows: Vec<Range<u64>>,
        bounds: impl Fn(&Leaf<'_>) -> Option<Bounds>,
    ) -> Self {
        let mut columns = HashMap::new();
        for column in &projection.columns {
            let (name, known) = match column {
                Column::RowId => (ROWID, Some(row_ids(source.first_row_id, &rows))),
                Column::Stored { id, field } if source.opened.columns.contains_key(id) => {
                    let leaf = source.leaf(*id, field);
                    // A footer may say anything, also what makes its reader stop in its tracks.
                    let known = catch_unwind(AssertUnwindSafe(|| bounds(&leaf?)));
                    (field.name().as_str(), known.unwrap_or_default())
                }
                Column::Stored { id, field } => {
                    let known = default_bounds(source.defaults.get(id), field, &rows);
                    (field.name().as_str(), known)
                }
            };
            if let Some(known) = known {
                columns.insert(name.to_owned(), known);
            }
        }
        Self {
            rows,
            columns,
            blooms: HashMap::new(),
        }
    }
}

fn row_ids(first: u64, rows: &[Range<u64>]) -> Bounds {
    let ids = |id: fn(&Range<u64>) -> u64| {
        UInt64Array::from_iter_values(rows.iter().map(|r| first + id(r)))
    };
    Bounds {
        min: Some(Arc::new(ids(|rows| rows.start))),
        max: Some(Arc::new(ids(|rows| rows.end.saturating_sub(1)))),
        nulls: rows.iter().map(|_| Some(0)).collect(),
    }
}

/// All rows hold the default.
fn default_bounds(
    default: Option<&ArrayRef>,
    field: &Field,
    rows: &[Range<u64>],
) -> Option<Bounds> {
    if !is_prunable(field) {
        return None;
    }
    let values = repeated(default, field, rows.len()).ok()?;
    let is_null = values.null_count() > 0;
    let bound = (!is_null && has_bounds(field.data_type())).then_some(values);
    Some(Bounds {
        min: bound.clone(),
        max: bound,
        nulls: rows
            .iter()
            .map(|rows| Some(if is_null { rows.end - rows.start } else { 0 }))
            .collect(),
    })
}

impl Source<'_> {
    fn metadata(&self) -> &ParquetMetaData {
        self.opened.metadata.metadata()
    }

    /// The one leaf of a column that is no list and no struct.
    pub(super) fn leaf<'a>(&'a self, id: i32, field: &'a Field) -> Option<Leaf<'a>> {
        let root = *self.opened.columns.get(&id)?;
        let schema = self.opened.metadata.parquet_schema();
        let mut leaves =
            (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root);
        let (Some(at), None) = (leaves.next(), leaves.next()) else {
            return None;
        };
        let stored = self.opened.metadata.schema().fields().get(root)?;
        let is_flat = schema.column(at).max_rep_level() == 0 && !stored.data_type().is_nested();
        (is_flat && is_prunable(field)).then_some(Leaf {
            at,
            field,
            stored,
            metadata: self.opened.metadata.metadata(),
        })
    }
}

/// A column of a file that holds one value a row.
pub(super) struct Leaf<'a> {
    /// Its position among the file's leaves.
    pub(super) at: usize,
    /// The table's field.
    field: &'a Field,
    /// The file's field.
    stored: &'a Field,
    metadata: &'a ParquetMetaData,
}

impl<'a> Leaf<'a> {
    /// Whether the file's bytes for a value are those of the table's type, so that a Bloom filter
    /// can be asked.
    pub(super) fn has_same_values(&self) -> bool {
        let data_type = self.field.data_type();
        data_type == self.stored.data_type() && has_bounds(data_type)
    }

    fn converter(&self) -> Option<StatisticsConverter<'a>> {
        let schema = self.metadata.file_metadata().schema_descr();
        let converter =
            StatisticsConverter::from_column_index(self.at, self.stored, schema).ok()?;
        Some(converter.with_missing_null_counts_as_zero(false))
    }

    fn of_groups(&self, groups: &[&'a RowGroupMetaData]) -> Option<Bounds> {
        let converter = self.converter()?;
        let each = || groups.iter().copied();
        let is_sure = self.is_ordered() && each().all(|group| self.has_sure_bounds(group));
        let bound =
            |values: Option<ArrayRef>| values.filter(|_| is_sure).and_then(|v| self.fitted(&v));
        Some(Bounds {
            min: bound(converter.row_group_mins(each()).ok()),
            max: bound(converter.row_group_maxes(each()).ok()),
            nulls: converter.row_group_null_counts(each()).ok()?,
        })
    }

    /// Where the pages of a row group begin, if there is an index of them.
    fn page_starts(&self, group: usize, n_rows: u64) -> Option<Vec<u64>> {
        let index = self.metadata.column_index()?.get(group)?.get(self.at)?;
        let pages = self.metadata.offset_index()?.get(group)?.get(self.at)?;
        let starts: Option<Vec<u64>> = pages
            .page_locations()
            .iter()
            .map(|page| u64::try_from(page.first_row_index).ok())
            .collect();
        let starts = starts?;
        let is_right = starts.first() == Some(&0)
            && starts.is_sorted_by(|a, b| a < b)
            && starts.last().is_some_and(|last| *last < n_rows)
            && !matches!(index, ColumnIndexMetaData::NONE);
        is_right.then_some(starts)
    }

    /// The bounds of the page that each of `stretches` is on.
    fn of_pages(&self, group: usize, n_rows: u64, stretches: &[Range<u64>]) -> Option<Bounds> {
        let starts = self.page_starts(group, n_rows)?;
        let converter = self.converter()?;
        let (index, pages) = (self.metadata.column_index()?, self.metadata.offset_index()?);
        let page_of = |own: &Range<u64>| starts.partition_point(|start| *start <= own.start) - 1;
        let positions: UInt64Array = stretches
            .iter()
            .map(|own| page_of(own) as u64)
            .collect::<Vec<_>>()
            .into();
        let spread = |values: Option<ArrayRef>| {
            let values = values.filter(|_| self.is_ordered())?;
            take(&self.fitted(&values)?, &positions, None).ok()
        };
        let nulls = converter
            .data_page_null_counts(index, pages, &[group])
            .ok()?;
        let nulls_of = |own: &Range<u64>| {
            let page = page_of(own);
            let end = starts.get(page + 1).copied().unwrap_or(n_rows);
            match nulls.is_valid(page).then(|| nulls.value(page))? {
                0 => Some(0),
                // Of a page that has some nulls it is not known on which of its stretches they are.
                n => (n == end - starts.get(page)?).then_some(own.end - own.start),
            }
        };
        Some(Bounds {
            min: spread(converter.data_page_mins(index, pages, &[group]).ok()),
            max: spread(converter.data_page_maxes(index, pages, &[group]).ok()),
            nulls: stretches.iter().map(nulls_of).collect(),
        })
    }

    /// Bounds in the type of the table; none if its order is another than the file's.
    fn fitted(&self, values: &ArrayRef) -> Option<ArrayRef> {
        let (from, to) = (values.data_type(), self.field.data_type());
        let alike = matches!(
            (from, to),
            (DataType::Utf8View, DataType::Utf8 | DataType::LargeUtf8)
                | (
                    DataType::BinaryView,
                    DataType::Binary | DataType::LargeBinary
                )
        );
        let keeps_order = has_bounds(to) && (from == to || alike);
        keeps_order.then(|| schema::fit(values, self.field).ok())?
    }

    /// Whether the file says in which order its bounds are.
    fn is_ordered(&self) -> bool {
        let orders = self.metadata.file_metadata().column_orders();
        match orders.and_then(|orders| orders.get(self.at)) {
            Some(ColumnOrder::TYPE_DEFINED_ORDER(order)) => *order != SortOrder::UNDEFINED,
            _ => false,
        }
    }

    /// Old writers compared text and unsigned numbers as if they were signed.
    fn has_sure_bounds(&self, group: &RowGroupMetaData) -> bool {
        let statistics = group
            .columns()
            .get(self.at)
            .and_then(|column| column.statistics());
        statistics.is_none_or(|found| !found.is_min_max_deprecated())
    }
}
