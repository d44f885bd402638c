//! Means: of each epoch, and of each sample over epochs.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, UInt64Array,
};
use arrow::compute::{cast, sum, take};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};

use super::samples::{Samples, moved, rounds};
use super::top::best;
use crate::error::{Error, Result};
use crate::id::ROWID;

/// The values of a column as 64-bit floats.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column and its type if that has no mean.
pub(crate) fn numbers(column: &str, values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Float64 => Ok(Arc::clone(values)),
        found if found.is_numeric() || *found == DataType::Boolean => {
            Ok(cast(values, &DataType::Float64)?)
        }
        found => Err(Error::invalid(format!(
            "column {column:?} is {found}, which has no mean"
        ))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 values")]
fn mean(sum: f64, count: i64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

/// The mean of each epoch.
#[derive(Default)]
pub(super) struct EpochMeans {
    epochs: Vec<i64>,
    means: Vec<Option<f64>>,
    counts: Vec<i64>,
}

impl EpochMeans {
    /// Adds an epoch by the [`numbers`] of its column.
    pub(super) fn add(&mut self, epoch: i64, values: &dyn arrow::array::Array) {
        let values = values.as_primitive::<Float64Type>();
        let count = i64::try_from(values.len() - values.null_count()).unwrap_or(i64::MAX);
        self.epochs.push(epoch);
        self.means
            .push(mean(sum(values).unwrap_or_default(), count));
        self.counts.push(count);
    }

    pub(super) fn finish(self) -> Result<RecordBatch> {
        let fields = vec![
            Field::new("epoch", DataType::Int64, false),
            Field::new("mean", DataType::Float64, true),
            Field::new("count", DataType::Int64, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.epochs)),
            Arc::new(Float64Array::from(self.means)),
            Arc::new(Int64Array::from(self.counts)),
        ];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

/// The mean of each sample over all rows that were added.
#[derive(Default)]
pub(super) struct SampleMeans {
    samples: Samples,
    sums: Vec<f64>,
    counts: Vec<i64>,
}

impl SampleMeans {
    /// Adds rows with ascending row ids, by the [`numbers`] of their column.
    pub(super) fn add(&mut self, row_ids: &UInt64Array, values: &ArrayRef) -> Result<()> {
        for (row_ids, values) in rounds(row_ids, values, &self.samples)? {
            if let Some(former) = self.samples.admit(&row_ids) {
                self.sums = moved(&self.sums, &former);
                self.counts = moved(&self.counts, &former);
            }
            let values = match self.samples.rows(&row_ids) {
                Some(rows) => take(&values, &rows, None)?,
                None => values,
            };
            self.add_each(values.as_primitive::<Float64Type>());
        }
        Ok(())
    }

    /// Adds a value, or null, to each sample.
    fn add_each(&mut self, values: &Float64Array) {
        let state = self.sums.iter_mut().zip(&mut self.counts);
        if values.null_count() == 0 {
            for ((sum, count), value) in state.zip(values.values()) {
                *sum += value;
                *count += 1;
            }
            return;
        }
        for ((sum, count), value) in state.zip(values) {
            *sum += value.unwrap_or_default();
            *count += i64::from(value.is_some());
        }
    }

    /// The `n` samples with the highest or lowest means.
    pub(super) fn finish(self, n: usize, is_lowest: bool) -> Result<RecordBatch> {
        let ids = self.samples.ids().values().iter().copied();
        let state = self.sums.into_iter().zip(self.counts);
        let rows = ids.zip(state).map(|(id, (sum, count))| Row {
            id,
            mean: mean(sum, count),
            count,
        });
        let rows = best(rows.collect(), Some(n), |a, b| order(a, b, is_lowest));
        let fields = vec![
            Field::new(ROWID, DataType::UInt64, false),
            Field::new("mean", DataType::Float64, true),
            Field::new("count", DataType::Int64, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id))),
            Arc::new(rows.iter().map(|row| row.mean).collect::<Float64Array>()),
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|row| row.count),
            )),
        ];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

struct Row {
    id: u64,
    mean: Option<f64>,
    count: i64,
}

/// Which row comes first: the more extreme mean, then the lower id. NaN is above all numbers, whatever
/// sign it carries; no mean is last.
fn order(a: &Row, b: &Row, is_lowest: bool) -> Ordering {
    let plain = |mean: f64| if mean.is_nan() { f64::NAN } else { mean };
    let by_mean = match (a.mean, b.mean) {
        (Some(a), Some(b)) if is_lowest => plain(a).total_cmp(&plain(b)),
        (Some(a), Some(b)) => plain(b).total_cmp(&plain(a)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    by_mean.then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs such as `1:0.5 2:- 2:nan` one after the other; the samples as `id:mean:count`.
    #[track_caller]
    fn check(epochs: &[&str], is_lowest: bool, expected: &str) {
        let mut means = SampleMeans::default();
        for epoch in epochs {
            let rows = epoch.split_whitespace().map(|row| {
                let (id, value) = row.split_once(':').unwrap();
                (id.parse::<u64>().unwrap(), value.parse::<f64>().ok())
            });
            let (ids, values): (Vec<u64>, Vec<Option<f64>>) = rows.unzip();
            let values: ArrayRef = Arc::new(Float64Array::from(values));
            means.add(&UInt64Array::from(ids), &values).unwrap();
        }
        let rows = means.finish(9, is_lowest).unwrap();
        let ids = rows
            .column(0)
            .as_primitive::<arrow::datatypes::UInt64Type>();
        let means = rows.column(1).as_primitive::<Float64Type>();
        let counts = rows.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        let rows = ids.iter().zip(means).zip(counts);
        let rows = rows.map(|((id, mean), count)| {
            let mean = mean.map_or("-".to_owned(), |mean| mean.to_string());
            format!("{}:{mean}:{}", id.unwrap(), count.unwrap())
        });
        assert_eq!(rows.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn means_are_over_the_epochs_that_have_a_value() {
        check(&["1:1 2:5", "1:3 2:5"], false, "2:5:2 1:2:2");
        check(&["1:1 2:5", "1:3 2:5"], true, "1:2:2 2:5:2");
        check(&["2:1", "1:3", "2:2 3:0"], false, "1:3:1 2:1.5:2 3:0:1");
        check(&["1:1 1:2 1:6 2:4"], false, "2:4:1 1:3:3");
        check(&["1:- 2:-", "2:1"], true, "2:1:1 1:-:0");
        check(&["1:- 2:-", "2:1"], false, "2:1:1 1:-:0");
        check(&["3:1 4:1 7:1"], false, "3:1:1 4:1:1 7:1:1");
        check(&["3:1 4:NaN 7:inf"], false, "4:NaN:1 7:inf:1 3:1:1");
        check(
            &["3:1 4:NaN 7:inf", "7:-inf"],
            true,
            "3:1:1 4:NaN:1 7:NaN:2",
        );
        check(&[], false, "");
    }
}
