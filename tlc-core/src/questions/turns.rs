//! What changes from one epoch to the next that has the sample: predictions, and being right.

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, UInt64Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{and, not, take};

use super::samples::{Samples, moved, rounds};
use crate::error::Result;

/// Says of each sample whether it turned, by what it had before and has now.
type Turned = fn(&ArrayRef, &ArrayRef) -> Result<BooleanArray>;

/// Whether the prediction is another one.
pub(super) fn flipped(before: &ArrayRef, now: &ArrayRef) -> Result<BooleanArray> {
    Ok(cmp::neq(before, now)?)
}

/// Whether what was right is wrong.
pub(super) fn forgotten(before: &ArrayRef, now: &ArrayRef) -> Result<BooleanArray> {
    Ok(and(before.as_boolean(), &not(now.as_boolean())?)?)
}

/// How often each sample turned so far.
pub(super) struct Turns {
    turned: Turned,
    samples: Samples,
    counts: Vec<i64>,
    /// What each sample had last, null where that was null or there was nothing yet.
    last: Option<ArrayRef>,
    /// Whether each sample was ever right, null where it never was right nor wrong; only of being right.
    ever: Option<BooleanArray>,
}

impl Turns {
    pub(super) fn new(turned: Turned) -> Self {
        Self {
            turned,
            samples: Samples::default(),
            counts: Vec::new(),
            last: None,
            ever: None,
        }
    }

    /// How often each sample was forgotten, and whether it was ever learnt: of values that say what is right.
    pub(super) fn of_right() -> Self {
        Self {
            ever: Some(BooleanArray::new_null(0)),
            ..Self::new(forgotten)
        }
    }

    /// Adds the next epoch: rows with ascending row ids.
    pub(super) fn add(&mut self, row_ids: &UInt64Array, values: &ArrayRef) -> Result<()> {
        for (row_ids, values) in rounds(row_ids, values, &self.samples)? {
            let mut last = match self.last.take() {
                Some(last) => last,
                None => new_null_array(values.data_type(), self.samples.len()),
            };
            if let Some(former) = self.samples.admit(&row_ids) {
                self.counts = moved(&self.counts, &former);
                last = take(&last, &former, None)?;
                if let Some(ever) = &mut self.ever {
                    *ever = take(ever, &former, None)?.as_boolean().clone();
                }
            }
            self.last = Some(match self.samples.rows(&row_ids) {
                None => {
                    self.count(&(self.turned)(&last, &values)?);
                    self.learn(&values);
                    values
                }
                Some(rows) => {
                    let now = take(&values, &rows, None)?;
                    self.count(&(self.turned)(&last, &now)?);
                    self.learn(&now);
                    let has_row = arrow::compute::is_not_null(&rows)?;
                    zip(&has_row, &now, &last)?
                }
            });
        }
        Ok(())
    }

    /// Counts those that turned: 64 samples at a time, without a branch for each.
    fn count(&mut self, turned: &BooleanArray) {
        let turned = match turned.nulls() {
            Some(known) => turned.values() & known.inner(),
            None => turned.values().clone(),
        };
        let bits = turned.bit_chunks();
        for (counts, bits) in self.counts.chunks_mut(64).zip(bits.iter_padded()) {
            for (shift, count) in counts.iter_mut().enumerate() {
                *count += (bits >> shift & 1).cast_signed();
            }
        }
    }

    /// Remembers what is right.
    fn learn(&mut self, now: &ArrayRef) {
        if let (Some(ever), Some(now)) = (&mut self.ever, now.as_boolean_opt()) {
            *ever = either(ever, now);
        }
    }

    /// The samples, ascending, and how often each turned.
    pub(super) fn finish(self) -> (UInt64Array, Vec<i64>) {
        (self.samples.ids().clone(), self.counts)
    }

    /// The same, and whether each was ever right, null where that was never known.
    pub(super) fn finish_right(mut self) -> (UInt64Array, Vec<i64>, BooleanArray) {
        let ever = self.ever.take();
        let (ids, counts) = self.finish();
        let ever = ever.unwrap_or_else(|| BooleanArray::new_null(ids.len()));
        (ids, counts, ever)
    }
}

/// Whether either is true, as far as one of them is known.
fn either(a: &BooleanArray, b: &BooleanArray) -> BooleanArray {
    let known = |values: &BooleanArray| match values.nulls() {
        Some(known) => known.inner().clone(),
        None => BooleanBuffer::new_set(values.len()),
    };
    let (known_a, known_b) = (known(a), known(b));
    let values = &(a.values() & &known_a) | &(b.values() & &known_b);
    BooleanArray::new(values, Some(NullBuffer::new(&known_a | &known_b)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;

    /// Epochs such as `1:a 2:-` one after the other; how often each sample turned, as `1:0 2:3`.
    #[track_caller]
    fn check(epochs: &[&str], expected: &str) {
        let mut turns = Turns::new(flipped);
        for epoch in epochs {
            let rows = epoch.split_whitespace().map(|row| {
                let (id, value) = row.split_once(':').unwrap();
                (
                    id.parse::<u64>().unwrap(),
                    Some(value).filter(|v| *v != "-"),
                )
            });
            let (ids, values): (Vec<u64>, Vec<Option<&str>>) = rows.unzip();
            let values: ArrayRef = Arc::new(StringArray::from(values));
            turns.add(&UInt64Array::from(ids), &values).unwrap();
        }
        let (ids, counts) = turns.finish();
        let rows = ids.values().iter().zip(counts);
        let rows: Vec<_> = rows.map(|(id, count)| format!("{id}:{count}")).collect();
        assert_eq!(rows.join(" "), expected, "{epochs:?}");
    }

    #[test]
    fn a_prediction_is_compared_with_the_last_one_that_the_sample_had() {
        check(&["1:a 2:a", "1:b 2:a", "1:a 2:a"], "1:2 2:0");
        check(&["1:a 2:a", "2:b", "1:b 2:b"], "1:1 2:1");
        check(&["2:a", "1:a 3:a", "1:b 2:b 3:a"], "1:1 2:1 3:0");
        check(&["1:a 1:b 1:a", "1:a"], "1:2");
        check(&["1:a", "1:b 1:a", "1:b"], "1:3");
    }

    #[test]
    fn a_null_prediction_is_no_change_and_the_next_is_none_either() {
        check(&["1:a", "1:-", "1:b", "1:a"], "1:1");
        check(&["1:a 2:a", "1:- ", "1:b 2:b"], "1:0 2:1");
        check(&["1:-", "1:-"], "1:0");
    }

    /// Epochs such as `1:+ 2:-`, right and wrong; how often each sample was forgotten, and whether it was ever learnt.
    #[track_caller]
    fn check_right(epochs: &[&str], expected: &str) {
        let mut turns = Turns::of_right();
        for epoch in epochs {
            let rows = epoch.split_whitespace().map(|row| {
                let (id, value) = row.split_once(':').unwrap();
                let is_right = match value {
                    "+" => Some(true),
                    "-" => Some(false),
                    _ => None,
                };
                (id.parse::<u64>().unwrap(), is_right)
            });
            let (ids, values): (Vec<u64>, Vec<Option<bool>>) = rows.unzip();
            let values: ArrayRef = Arc::new(BooleanArray::from(values));
            turns.add(&UInt64Array::from(ids), &values).unwrap();
        }
        let (ids, counts, ever) = turns.finish_right();
        let rows = ids.values().iter().zip(counts).zip(&ever);
        let rows = rows.map(|((id, count), ever)| {
            let ever = ever.map_or("?", |ever| if ever { "+" } else { "-" });
            format!("{id}:{count}{ever}")
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.join(" "), expected, "{epochs:?}");
    }

    #[test]
    fn what_was_ever_right_was_learnt() {
        check_right(&["1:+ 2:- 3:?", "1:- 2:- 3:?"], "1:1+ 2:0- 3:0?");
        check_right(&["1:+", "1:?", "1:-"], "1:0+");
        check_right(&["1:?", "1:-", "1:?"], "1:0-");
        check_right(&["5:-", "1:+ 9:-", "5:+ 9:-", "5:-"], "1:0+ 5:1+ 9:0-");
        check_right(&["1:- 1:+ 1:-", "1:-"], "1:1+");
        check_right(&[], "");
    }

    #[test]
    fn more_than_64_samples_are_counted_each_for_itself() {
        let epoch = |value: &dyn Fn(u64) -> u64| {
            let rows = (0..131).map(|id| format!("{id}:{}", value(id)));
            rows.collect::<Vec<_>>().join(" ")
        };
        let epochs = [epoch(&|_| 0), epoch(&|id| id % 2), epoch(&|id| id % 3)];
        let epochs: Vec<&str> = epochs.iter().map(String::as_str).collect();
        let expected = (0..131_u64).map(|id| {
            let turned = u64::from(id % 2 != 0) + u64::from(id % 2 != id % 3);
            format!("{id}:{turned}")
        });
        check(&epochs, &expected.collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn forgotten_is_right_before_and_wrong_now() {
        let states = [Some(true), Some(false), None];
        let pairs = states
            .iter()
            .flat_map(|a| states.iter().map(move |b| (*a, *b)));
        let (before, now): (Vec<_>, Vec<_>) = pairs.unzip();
        let array =
            |values: Vec<Option<bool>>| -> ArrayRef { Arc::new(BooleanArray::from(values)) };
        let found = forgotten(&array(before), &array(now)).unwrap();
        let found: Vec<bool> = found.iter().map(|found| found == Some(true)).collect();
        let expected = (0..9).map(|at| at == 1);
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
