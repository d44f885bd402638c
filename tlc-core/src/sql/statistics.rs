//! What the planner is told about a scan before it runs: how many rows, between which values.

use arrow::array::{Array as _, ArrayRef};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use crate::id::ROWID;
use crate::schema::field_id;
use crate::table::{Containers, Snapshot};

/// The statistics of all rows of `schema`, some columns of the snapshot.
///
/// The number of rows is exact. What is known of a column is so only as long as no cell of it was
/// set, no row dropped and no file lacks it; else nothing is said.
pub(super) fn statistics(snapshot: &Snapshot, schema: &Schema) -> Statistics {
    let mut statistics = n_rows(schema, Precision::Exact(snapshot.n_rows()));
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let Ok(files) = snapshot.containers(&names) else {
        return statistics;
    };
    let Some(files) = files.into_iter().collect::<Option<Vec<_>>>() else {
        return statistics;
    };
    if snapshot.has_dropped() {
        return statistics;
    }
    for (field, column) in schema
        .fields()
        .iter()
        .zip(&mut statistics.column_statistics)
    {
        let is_edited = field_id(field).is_none_or(|id| snapshot.n_edits(id) > 0);
        if field.name() == ROWID || !is_edited {
            *column = of_column(&files, field.name(), field.data_type());
        }
    }
    statistics
}

/// Only a number of rows.
pub(super) fn n_rows(schema: &Schema, n: Precision<u64>) -> Statistics {
    let n = n.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    Statistics::new_unknown(schema).with_num_rows(n)
}

fn of_column(files: &[Containers], name: &str, data_type: &DataType) -> ColumnStatistics {
    let bounds = files.iter().map(|file| file.columns.get(name));
    let Some(bounds) = bounds.collect::<Option<Vec<_>>>() else {
        return ColumnStatistics::new_unknown();
    };
    let nulls = bounds.iter().map(|bounds| {
        let counts = (bounds.nulls.null_count() == 0).then(|| bounds.nulls.values());
        counts.map(|counts| counts.iter().sum::<u64>())
    });
    let nulls = nulls.sum::<Option<u64>>();
    let extreme = |values: fn(&crate::table::Bounds) -> Option<&ArrayRef>, wanted| {
        let values = bounds.iter().map(|bounds| values(bounds));
        let value = values
            .collect::<Option<Vec<_>>>()
            .and_then(|all| of_all(&all, wanted));
        value.map_or(Precision::Absent, |value| precise(value, data_type))
    };
    ColumnStatistics {
        null_count: nulls
            .and_then(|n| usize::try_from(n).ok())
            .map_or(Precision::Absent, Precision::Exact),
        min_value: extreme(|bounds| bounds.min.as_ref(), std::cmp::Ordering::Less),
        max_value: extreme(|bounds| bounds.max.as_ref(), std::cmp::Ordering::Greater),
        ..ColumnStatistics::new_unknown()
    }
}

/// The smallest or largest of all values; nothing if one is unknown.
fn of_all(arrays: &[&ArrayRef], wanted: std::cmp::Ordering) -> Option<ScalarValue> {
    let mut found: Option<ScalarValue> = None;
    for values in arrays {
        for row in 0..values.len() {
            let value = ScalarValue::try_from_array(values, row).ok()?;
            if value.is_null() {
                return None;
            }
            match &found {
                Some(best) if value.partial_cmp(best)? != wanted => {}
                _ => found = Some(value),
            }
        }
    }
    found
}

/// Files may cut the bounds of text short, never those of numbers and times.
fn precise(value: ScalarValue, data_type: &DataType) -> Precision<ScalarValue> {
    if data_type.is_integer() || data_type.is_temporal() {
        Precision::Exact(value)
    } else {
        Precision::Inexact(value)
    }
}
