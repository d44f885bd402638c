//! Which attempt counts where a run was resumed.
//!
//! A restarted program goes on from its last checkpoint, so it logs again what the attempt before had
//! logged after that. From the first step on that an attempt logs a scalar at, this attempt counts for the
//! scalar (of each rank for itself), and what earlier ones logged there does not. For sample metrics it is
//! the first epoch, and in it the first step, that an attempt logs of a stream. What a fork took over of
//! another run is its attempt 0.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};

use crate::error::{Error, Result};

/// By attempts, where each begins.
#[derive(Debug, Default)]
pub(crate) struct Starts<K>(BTreeMap<u32, K>);

impl<K: Copy + Ord> Starts<K> {
    /// Attempt `attempt` logged something at `key`.
    pub(crate) fn add(&mut self, attempt: u32, key: K) {
        let start = self.0.entry(attempt).or_insert(key);
        *start = key.min(*start);
    }

    /// Where `attempt` begins.
    pub(crate) fn start(&self, attempt: u32) -> Option<K> {
        self.0.get(&attempt).copied()
    }

    /// Where what `attempt` logged stops to count; `None` if nowhere.
    pub(crate) fn end(&self, attempt: u32) -> Option<K> {
        let later = self.0.range(attempt.saturating_add(1)..);
        later.map(|(_, start)| *start).min()
    }
}

/// Of the scalars or the items of a kind of one run those that count: those without a step all do. Needs the columns `name`, `step`, `rank` and `attempt`.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if these are not there (the last may lack).
pub(crate) fn winning_named(rows: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let mut starts: HashMap<(&str, i32), Starts<i64>> = HashMap::new();
    for batch in rows {
        for (key, attempt, step) in keys(batch)? {
            if let Some(step) = step {
                starts.entry(key).or_default().add(attempt, step);
            }
        }
    }
    let winning = rows.iter().map(|batch| {
        let wins = keys(batch)?.map(|(key, attempt, step)| {
            let end = starts.get(&key).and_then(|starts| starts.end(attempt));
            end.is_none_or(|end| step.is_none_or(|step| step < end))
        });
        let wins: BooleanArray = wins.map(Some).collect();
        Ok(filter_record_batch(batch, &wins)?)
    });
    winning.collect()
}

/// Name and rank, attempt, and step of each row.
pub(super) fn keys(
    batch: &RecordBatch,
) -> Result<impl Iterator<Item = ((&str, i32), u32, Option<i64>)>> {
    let wrong = || Error::corrupt("the rows have no name, step, rank or attempt");
    let column = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
    let names = column("name")?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let steps = column("step")?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(wrong)?;
    let ranks = column("rank")?
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(wrong)?;
    // Before version 3 of the format there was one attempt, and no such column.
    let attempts = match batch.column_by_name("attempt") {
        None => vec![1; batch.num_rows()],
        Some(attempts) => {
            let attempts = attempts.as_primitive_opt::<Int32Type>();
            attempts.ok_or_else(wrong)?.values().to_vec()
        }
    };
    let numbers = ranks.values().iter().zip(attempts).zip(steps);
    let keys = names.iter().zip(numbers);
    Ok(keys.map(|(name, ((rank, attempt), step))| {
        (
            (name.unwrap_or_default(), *rank),
            attempt.cast_unsigned(),
            step,
        )
    }))
}

/// Of sample metrics of one epoch those before `step`.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if they have no steps.
pub(crate) fn before_step(rows: &[RecordBatch], step: i64) -> Result<Vec<RecordBatch>> {
    let before = rows.iter().map(|batch| {
        let before: BooleanArray = steps(batch)?.map(|own| Some(own < step)).collect();
        Ok(filter_record_batch(batch, &before)?)
    });
    before.collect()
}

/// The first step in sample metrics.
///
/// # Errors
/// As [`before_step`].
pub(crate) fn first_step(rows: &[RecordBatch]) -> Result<Option<i64>> {
    let mut first: Option<i64> = None;
    for batch in rows {
        first = first.into_iter().chain(steps(batch)?).min();
    }
    Ok(first)
}

fn steps(batch: &RecordBatch) -> Result<impl Iterator<Item = i64>> {
    let steps = batch.column_by_name("step");
    let steps = steps.and_then(|steps| steps.as_primitive_opt::<Int64Type>());
    let steps = steps.ok_or_else(|| Error::corrupt("sample metrics have no step"))?;
    Ok(steps.values().iter().copied())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::buffer::Scalars;
    use crate::run::columns::{Labels, scalar_batch};

    /// One batch for each attempt and rank, `attempt.rank: name+step name+step …`.
    fn batches(text: &str) -> Vec<RecordBatch> {
        let batch = |line: &str| {
            let (labels, rows) = line.split_once(':').unwrap();
            let (attempt, rank) = labels.trim().split_once('.').unwrap();
            let (attempt, rank) = (attempt.parse().unwrap(), rank.parse().unwrap());
            let mut scalars = Scalars::default();
            let names: [Arc<str>; 2] = ["a".into(), "b".into()];
            for row in rows.split_whitespace() {
                let (name, step) = row.split_at(1);
                scalars.push(u32::from(name == "b"), step.parse().unwrap(), 0, 0.0);
            }
            let labels = Labels {
                epoch: 0,
                rank,
                attempt,
            };
            scalar_batch(&scalars, &names, &labels).unwrap()
        };
        text.lines().map(batch).collect()
    }

    #[track_caller]
    fn check(rows: &str, expected: &str) {
        let winning = winning_named(&batches(rows)).unwrap();
        let lines = winning.iter().map(|batch| {
            let rows = keys(batch)
                .unwrap()
                .map(|((name, _), _, step)| format!("{name}{}", step.unwrap()));
            rows.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(lines.collect::<Vec<_>>().join(" | "), expected);
    }

    #[test]
    fn an_attempt_counts_from_its_first_step_on() {
        check("1.0: a0 a1 a2 a3", "a0 a1 a2 a3");
        check("1.0: a0 a1 a2 a3\n2.0: a2 a4", "a0 a1 | a2 a4");
        check("2.0: a2 a4\n1.0: a0 a1 a2 a3", "a2 a4 | a0 a1");
        // Whatever the third wrote over, the second had written over before.
        check("1.0: a0 a1 a2 a3\n2.0: a1\n3.0: a3", "a0 | a1 | a3");
        check("1.0: a0 a9\n3.0: a1\n2.0: a5", "a0 | a1 | ");
        check("1.0: a0 a1\n2.0: a-1", " | a-1");
        check("0.0: a0 a1 a2\n1.0: a2\n2.0: a1", "a0 |  | a1");
    }

    #[test]
    fn each_scalar_and_rank_has_its_own_steps() {
        check("1.0: a0 a5 b0 b5\n2.0: a4", "a0 b0 b5 | a4");
        check("1.0: a0 a5\n1.1: a0 a5\n2.1: a3", "a0 a5 | a0 | a3");
    }

    #[test]
    fn epochs_and_steps_are_compared_together() {
        let mut starts = Starts::default();
        for (attempt, key) in [(1, (0, 0)), (2, (3, 20)), (2, (3, 10)), (2, (4, 0))] {
            starts.add(attempt, key);
        }
        assert_eq!((starts.end(1), starts.end(2)), (Some((3, 10)), None));
    }
}
