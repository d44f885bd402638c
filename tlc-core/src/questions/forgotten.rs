//! What was forgotten, and what was never learnt, as rows.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema};

use super::top::best;
use super::turns::Turns;
use crate::error::Result;
use crate::id::ROWID;

/// A sample that was never learnt, or was forgotten.
struct Forgotten {
    is_learnt: bool,
    count: i64,
    row_id: u64,
}

impl Forgotten {
    /// From 0 for the worst: what was forgotten once has a half, twice a third.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 epochs")]
    fn score(&self) -> f64 {
        match self.is_learnt {
            true => 1.0 / (1.0 + self.count as f64),
            false => 0.0,
        }
    }
}

/// The samples that were never learnt, then those that were forgotten, most often first; of equal ones the lowest row id.
pub(super) fn rows(
    turns: Turns,
    rows_max: Option<usize>,
    table: Option<&str>,
) -> Result<RecordBatch> {
    let (ids, counts, ever) = turns.finish_right();
    let samples = ids.values().iter().copied().zip(counts).zip(&ever);
    let samples = samples.filter_map(|((row_id, count), is_learnt)| {
        let is_learnt = is_learnt?;
        (count > 0 || !is_learnt).then_some(Forgotten {
            is_learnt,
            count,
            row_id,
        })
    });
    let key = |one: &Forgotten| (one.is_learnt, Reverse(one.count), one.row_id);
    let found = best(samples.collect(), rows_max, |a, b| key(a).cmp(&key(b)));
    let fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("forgotten", DataType::Int64, false),
        Field::new("issue", DataType::Utf8, false),
        Field::new("score", DataType::Float64, false),
        Field::new("learnt", DataType::Boolean, false),
    ];
    let ids = UInt64Array::from_iter_values(found.iter().map(|one| one.row_id));
    let counts = Int64Array::from_iter_values(found.iter().map(|one| one.count));
    let issues = StringArray::from_iter_values(found.iter().map(|_| "forgotten"));
    let scores = Float64Array::from_iter_values(found.iter().map(Forgotten::score));
    let learnt: Vec<bool> = found.iter().map(|one| one.is_learnt).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(counts),
        Arc::new(issues),
        Arc::new(scores),
        Arc::new(BooleanArray::from(learnt)),
    ];
    let metadata = table.map(|table| ("table".to_owned(), table.to_owned()));
    let schema = Schema::new_with_metadata(fields, metadata.into_iter().collect());
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}
