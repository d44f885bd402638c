//! Counting pairs of label and prediction.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::compute::{SortOptions, cast, max, min};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::row::{Row, RowConverter, SortField};

use crate::error::Result;

/// The most cells of a table that counts pairs of small numbers.
const CELLS_MAX: usize = 1 << 20;

/// How often each pair is there; by the first, then the second of it, nulls last.
pub(super) fn count(
    label: (Field, &ArrayRef),
    predicted: (Field, &ArrayRef),
) -> Result<RecordBatch> {
    let (labels, predictions, counts) = match dense(label.1, predicted.1)? {
        Some(counted) => counted,
        None => sparse(label.1, predicted.1)?,
    };
    let field = |field: Field, values: &ArrayRef| {
        let field = field.with_data_type(values.data_type().clone());
        field.with_nullable(true)
    };
    let fields = vec![
        field(label.0, &labels),
        field(predicted.0, &predictions),
        Field::new("count", DataType::Int64, false),
    ];
    let columns = vec![labels, predictions, Arc::new(counts) as ArrayRef];
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

type Counted = (ArrayRef, ArrayRef, Int64Array);

/// By a table with a cell for each pair; `None` if these are no numbers, or of too wide a range.
fn dense(labels: &ArrayRef, predictions: &ArrayRef) -> Result<Option<Counted>> {
    let (Some(rows), Some(columns)) = (Side::new(labels)?, Side::new(predictions)?) else {
        return Ok(None);
    };
    let Some(n_cells) = rows.n.checked_mul(columns.n).filter(|n| *n <= CELLS_MAX) else {
        return Ok(None);
    };
    let mut cells = vec![0_i64; n_cells];
    let mut add = |row: usize, column: usize| {
        if let Some(cell) = cells.get_mut(row * columns.n + column) {
            *cell += 1;
        }
    };
    if rows.values.null_count() == 0 && columns.values.null_count() == 0 {
        let pairs = rows.values.values().iter().zip(columns.values.values());
        pairs.for_each(|(row, column)| add(rows.at(*row), columns.at(*column)));
    } else {
        let at = |side: &Side, value: Option<i64>| value.map_or(side.n - 1, |value| side.at(value));
        let pairs = rows.values.iter().zip(&columns.values);
        pairs.for_each(|(row, column)| add(at(&rows, row), at(&columns, column)));
    }
    let met = cells.iter().enumerate().filter(|(_, count)| **count > 0);
    let met: Vec<(usize, i64)> = met.map(|(cell, count)| (cell, *count)).collect();
    let found = |side: &Side, at: &dyn Fn(usize) -> usize, as_type: &DataType| {
        let values: Int64Array = met.iter().map(|(cell, _)| side.value(at(*cell))).collect();
        cast(&values, as_type)
    };
    Ok(Some((
        found(&rows, &|cell| cell / columns.n, labels.data_type())?,
        found(&columns, &|cell| cell % columns.n, predictions.data_type())?,
        met.iter().map(|(_, count)| *count).collect(),
    )))
}

/// Whole numbers from some lowest one on, and a place for null after them.
struct Side {
    values: Int64Array,
    lowest: i64,
    n: usize,
}

impl Side {
    /// `None` if these are no numbers of 64 bits with a sign, or far apart.
    fn new(values: &ArrayRef) -> Result<Option<Self>> {
        if !values.data_type().is_integer() || *values.data_type() == DataType::UInt64 {
            return Ok(None);
        }
        let values = cast(values, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>().clone();
        let (lowest, highest) = (min(&values).unwrap_or(0), max(&values).unwrap_or(0));
        let n = highest.checked_sub(lowest);
        let n = n.and_then(|n| usize::try_from(n).ok()?.checked_add(2));
        Ok(n.filter(|n| *n <= CELLS_MAX)
            .map(|n| Self { values, lowest, n }))
    }

    fn at(&self, value: i64) -> usize {
        usize::try_from(value - self.lowest).unwrap_or(usize::MAX)
    }

    fn value(&self, at: usize) -> Option<i64> {
        let at = i64::try_from(at).ok().filter(|_| at + 1 < self.n)?;
        Some(self.lowest + at)
    }
}

/// By comparing pairs, of whatever types.
fn sparse(labels: &ArrayRef, predictions: &ArrayRef) -> Result<Counted> {
    let order = SortOptions::new(false, false);
    let field = |values: &ArrayRef| SortField::new_with_options(values.data_type().clone(), order);
    let converter = RowConverter::new(vec![field(labels), field(predictions)])?;
    let pairs = converter.convert_columns(&[Arc::clone(labels), Arc::clone(predictions)])?;
    let mut counts: BTreeMap<Row<'_>, i64> = BTreeMap::new();
    for pair in &pairs {
        *counts.entry(pair).or_default() += 1;
    }
    let columns = converter.convert_rows(counts.keys().copied())?;
    let mut columns = columns.into_iter();
    let mut next = |of: &ArrayRef| columns.next().unwrap_or_else(|| of.slice(0, 0));
    let (labels, predictions) = (next(labels), next(predictions));
    Ok((labels, predictions, counts.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, UInt8Array, UInt64Array};
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn text(counted: &Counted) -> String {
        let rows = (0..counted.2.len()).map(|row| {
            let cells = [
                &counted.0,
                &counted.1,
                &(Arc::new(counted.2.clone()) as ArrayRef),
            ];
            let cells = cells.map(|cell| match cell.is_null(row) {
                true => "-".to_owned(),
                false => array_value_to_string(cell, row).unwrap(),
            });
            cells.join(":")
        });
        rows.collect::<Vec<_>>().join(" ")
    }

    /// Pairs of numbers and nulls, counted in both ways.
    #[track_caller]
    fn check(pairs: &[(Option<i32>, Option<u8>)], expected: &str) {
        let (labels, predictions): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
        let labels: ArrayRef = Arc::new(Int32Array::from(labels));
        let predictions: ArrayRef = Arc::new(UInt8Array::from(predictions));
        let found = dense(&labels, &predictions).unwrap().unwrap();
        assert_eq!(found.0.data_type(), &DataType::Int32);
        assert_eq!(text(&found), expected);
        let found = sparse(&labels, &predictions).unwrap();
        assert_eq!(text(&found), expected);
    }

    #[test]
    fn pairs_are_counted_in_order_and_nulls_are_last() {
        check(&[], "");
        check(&[(Some(1), Some(2)); 3], "1:2:3");
        check(
            &[
                (Some(7), Some(0)),
                (None, Some(9)),
                (Some(-1), Some(9)),
                (Some(7), None),
                (Some(7), Some(0)),
                (None, None),
            ],
            "-1:9:1 7:0:2 7:-:1 -:9:1 -:-:1",
        );
        check(&[(None, None); 2], "-:-:2");
    }

    #[test]
    fn numbers_that_are_far_apart_or_too_large_are_compared() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX, i64::MAX]));
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 0, 0]));
        assert!(dense(&wide, &wide).unwrap().is_none());
        assert!(dense(&unsigned, &unsigned).unwrap().is_none());
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let rows = count((field("a"), &wide), (field("b"), &unsigned)).unwrap();
        let counted = (Arc::clone(rows.column(0)), Arc::clone(rows.column(1)));
        let counts = rows.column(2).as_primitive::<Int64Type>().clone();
        assert_eq!(
            text(&(counted.0, counted.1, counts)),
            format!("{}:{}:1 {}:0:2", i64::MIN, u64::MAX, i64::MAX)
        );
    }
}
