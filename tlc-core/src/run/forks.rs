//! Forks: runs that go on from another one, and what they take over of it.
//!
//! The first entry of a fork says which run it goes on from, and before which step. Parameters, inputs and last
//! values of that run are in the entry; its curves stay where they are, and are read there as attempt 0 of the
//! fork. The run may be a fork too, so that a line of runs leads back to one that began with nothing; where one of them is gone, or
//! is another run of its name, the line ends, and nothing is taken over from there on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, BooleanArray, Int32Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, TimestampMicrosecondType};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::attempts::{keys, winning_named};
use super::columns::{each_scalar, scalar_schema};
use super::read::{Runs, ScalarFile};
use super::record::{self, Lasts, as_logged, keep_last_of_some};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::run::{Entry, Event, Fork, Input, Last};
use crate::id::{Revision, RunName, TableName};
use crate::log::Log;

/// How many files are read at the same time.
const READS_MAX: usize = 16;

/// How the names of scalars begin that count in seconds, not in steps.
const SYSTEM: &str = "system/";

/// What the first entry of a run says that others look for.
pub(crate) struct First {
    /// The process that began the run, and no other run.
    writer: String,
    fork: Option<Box<Fork>>,
}

/// A run that a fork goes back to, and how far it counts there.
struct Ancestor {
    run: RunName,
    /// Up to this one.
    attempt: u32,
    /// Not from this one on.
    step: i64,
}

impl Runs {
    /// The first entry of a run; `None` if there is no such run. One request.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is damaged; [`ErrorKind::Invalid`] if a newer version wrote it; those of the store.
    pub(crate) async fn first(&self, run: &RunName) -> Result<Option<First>> {
        let entry = Log::of(&self.place(run)).read(Revision::FIRST).await?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        match format::decode::<Entry>(&record::what(run, 0), &entry)?.event {
            Event::Started { writer, fork, .. } => Ok(Some(First { writer, fork })),
            _ => Err(record::not_started(run)),
        }
    }

    /// The scalars that a run took over, as its attempt 0; none if it is no fork. One request; of a fork, reads all files of
    /// scalars of the runs that it goes back to.
    ///
    /// # Errors
    /// Those of [`Self::first`]; [`ErrorKind::Corrupt`] naming a file that is damaged, or the runs if they lead in a circle.
    pub(crate) async fn inherited(&self, run: &RunName) -> Result<Vec<RecordBatch>> {
        match self.first(run).await? {
            Some(First {
                fork: Some(fork), ..
            }) => self.taken_over(fork).await,
            _ => Ok(Vec::new()),
        }
    }

    /// What a fork of the run `source` at `step` begins with. Reads the run's log, and all files of scalars of it and of the runs
    /// that it goes back to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run; as [`Self::inherited`].
    pub(crate) async fn fork(&self, source: &str, step: i64) -> Result<Fork> {
        let source: RunName = source.parse()?;
        let record = self.folded(&source).await?.record;
        let first = self.first(&source).await?;
        let first = first.ok_or_else(|| Error::not_found(format!("run {source} is gone")))?;
        let input = |(table, Revision(revision)): (TableName, Revision)| Input {
            table: table.to_string(),
            revision,
        };
        let mut fork = Fork {
            run: source.to_string(),
            writer: first.writer,
            attempt: record.attempts,
            step,
            params: record.params,
            inputs: record.inputs.into_iter().map(input).collect(),
            last: BTreeMap::new(),
        };
        fork.last = lasts(&self.taken_over(Box::new(fork.clone())).await?)?;
        Ok(fork)
    }

    async fn taken_over(&self, fork: Box<Fork>) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for ancestor in self.line(fork).await?.iter().rev() {
            rows.extend(self.logged(ancestor).await?);
            rows = taken_over(&rows, ancestor.step)?;
        }
        Ok(rows)
    }

    /// The runs that a fork goes back to, the nearest first. A request for each.
    async fn line(&self, fork: Box<Fork>) -> Result<Vec<Ancestor>> {
        let mut line: Vec<Ancestor> = Vec::new();
        let (mut next, mut step) = (Some(fork), i64::MAX);
        while let Some(fork) = next.take() {
            let run: RunName = fork.run.parse().map_err(|err| {
                Error::corrupt("what a run was forked from is no name").with_source(err)
            })?;
            match self.first(&run).await? {
                Some(first) if first.writer == fork.writer => next = first.fork,
                _ => break,
            }
            if line.iter().any(|ancestor| ancestor.run == run) {
                let message = format!("run {run} is said to be forked from itself");
                return Err(Error::corrupt(message));
            }
            step = step.min(fork.step);
            line.push(Ancestor {
                run,
                attempt: fork.attempt,
                step,
            });
        }
        Ok(line)
    }

    /// All rows of an ancestor's own files, up to its attempt.
    async fn logged(&self, ancestor: &Ancestor) -> Result<Vec<RecordBatch>> {
        let mut files = self.scalar_files(&ancestor.run).await?;
        files.retain(|file| file.attempt <= ancestor.attempt);
        let reads = files.into_iter().map(|file| self.scalars_of(file));
        let rows: Vec<Vec<RecordBatch>> = stream::iter(reads)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        Ok(rows.concat())
    }

    async fn scalars_of(&self, file: ScalarFile) -> Result<Vec<RecordBatch>> {
        let rows = match self.rows(&file.path).await {
            Ok(rows) => rows,
            // The run was deleted since it was listed.
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let labelled = rows.iter().map(|rows| labelled(rows, file.attempt));
        let labelled: Result<Vec<RecordBatch>> = labelled.collect();
        labelled.map_err(|err| err.context(format!("cannot read {}", file.path)))
    }
}

/// Of all scalars of a run, what a fork at `step` begins with: of those that count, the ones before the step.
///
/// Of a scalar that never reaches the step, because it counts epochs, it is what was logged before those had reached it that do:
/// what came later is the run's future, as the fork sees it. Times are compared within an attempt and rank,
/// since these have one clock; what is of attempt 0 already was judged before.
fn taken_over(rows: &[RecordBatch], step: i64) -> Result<Vec<RecordBatch>> {
    let reached = reached(rows, step)?;
    let kept = winning_named(rows)?.into_iter().map(|batch| {
        let rows = keys(&batch)?.zip(times(&batch)?);
        let kept = rows.map(|(((name, rank), attempt, own), time)| {
            let reached = reached.get(&(attempt, rank));
            own.is_some_and(|own| own < step)
                && !name.starts_with(SYSTEM)
                && reached.is_none_or(|reached| reached.has(name) || *time <= reached.time)
        });
        let kept: BooleanArray = kept.map(Some).collect();
        labelled(&filter_record_batch(&batch, &kept)?, 0)
    });
    let kept = kept.collect::<Result<Vec<_>>>()?.into_iter();
    Ok(kept.filter(|rows| rows.num_rows() > 0).collect())
}

/// The scalars of an attempt and rank that reached a step, and when the last of them did.
struct Reached<'a> {
    names: HashSet<&'a str>,
    time: i64,
}

impl Reached<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// By attempt and rank; there is none where no scalar reached the step.
fn reached(rows: &[RecordBatch], step: i64) -> Result<HashMap<(u32, i32), Reached<'_>>> {
    let mut firsts: BTreeMap<_, i64> = BTreeMap::new();
    for batch in rows {
        for (((name, rank), attempt, own), time) in keys(batch)?.zip(times(batch)?) {
            if attempt > 0 && own.is_some_and(|own| own >= step) && !name.starts_with(SYSTEM) {
                let first = firsts.entry((attempt, rank, name)).or_insert(*time);
                *first = (*time).min(*first);
            }
        }
    }
    let mut reached: HashMap<_, Reached<'_>> = HashMap::new();
    for ((attempt, rank, name), time) in firsts {
        let names = HashSet::new();
        let reached = reached
            .entry((attempt, rank))
            .or_insert(Reached { names, time });
        reached.names.insert(name);
        reached.time = reached.time.max(time);
    }
    Ok(reached)
}

fn times(batch: &RecordBatch) -> Result<impl Iterator<Item = &i64>> {
    let times = batch.column_by_name("time");
    let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| Error::corrupt("the rows have no time"))?;
    Ok(times.values().iter())
}

/// The columns of scalars, all rows of this attempt.
fn labelled(rows: &RecordBatch, attempt: u32) -> Result<RecordBatch> {
    let attempts = Int32Array::from_value(attempt.cast_signed(), rows.num_rows());
    let attempts: ArrayRef = Arc::new(attempts);
    let column = |field: &FieldRef| match field.name().as_str() {
        "attempt" => Ok(Arc::clone(&attempts)),
        name => rows.column_by_name(name).map(Arc::clone).ok_or_else(wrong),
    };
    let schema = scalar_schema();
    let columns = schema.fields().iter().map(column);
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema, columns).map_err(|err| wrong().with_source(err))
}

fn wrong() -> Error {
    Error::corrupt("not a file of scalars: its columns are others")
}

/// Of each scalar the value at its largest step.
fn lasts(rows: &[RecordBatch]) -> Result<BTreeMap<String, Last>> {
    let mut lasts = Lasts::new();
    for batch in rows {
        each_scalar(batch, |name, step, value| {
            keep_last_of_some(&mut lasts, name, (0, step), value);
        })?;
    }
    Ok(as_logged(lasts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::buffer::Scalars;
    use crate::run::columns::{Labels, scalar_batch};

    /// One batch for each attempt and rank, `attempt.rank: name step time, name step time, …`.
    fn batches(text: &str) -> Vec<RecordBatch> {
        let batch = |line: &str| {
            let (labels, rows) = line.split_once(':').unwrap();
            let (attempt, rank) = labels.trim().split_once('.').unwrap();
            let mut scalars = Scalars::default();
            let mut names: Vec<Arc<str>> = Vec::new();
            for (row, text) in (0..).zip(rows.split(',')) {
                let words: Vec<&str> = text.split_whitespace().collect();
                names.push(words[0].into());
                scalars.push(
                    row,
                    words[1].parse().unwrap(),
                    words[2].parse().unwrap(),
                    0.5,
                );
            }
            let labels = Labels {
                epoch: 0,
                rank: rank.parse().unwrap(),
                attempt: attempt.parse().unwrap(),
            };
            scalar_batch(&scalars, &names, &labels).unwrap()
        };
        text.lines().map(batch).collect()
    }

    #[track_caller]
    fn check(step: i64, rows: &str, expected: &str) {
        let kept = taken_over(&batches(rows), step).unwrap();
        let text = kept.iter().flat_map(|batch| {
            let rows = keys(batch).unwrap().map(|((name, rank), attempt, step)| {
                assert_eq!(attempt, 0);
                format!("{name}{}.{rank}", step.unwrap())
            });
            rows.collect::<Vec<_>>()
        });
        assert_eq!(text.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_fork_begins_with_what_counts_before_its_step() {
        check(2, "1.0: a 0 0, a 1 1, a 2 2, a 3 3", "a0.0 a1.0");
        check(0, "1.0: a 0 0, a -1 1", "a-1.0");
        check(9, "1.0: a 0 0, b 1 1", "a0.0 b1.0");
        check(i64::MIN, "1.0: a 0 0", "");
        // The second attempt counts from 1 on, and the first before.
        check(
            3,
            "1.0: a 0 0, a 1 1, a 2 2\n2.0: a 1 8, a 2 9",
            "a0.0 a1.0 a2.0",
        );
        check(2, "1.0: a 0 0, a 1 1, a 2 2\n2.0: a 1 8", "a0.0 a1.0");
        check(2, "1.0: a 0 0, a 5 5\n1.1: a 1 0, a 5 5", "a0.0 a1.1");
    }

    #[test]
    fn a_scalar_of_epochs_is_taken_over_until_the_others_reach_the_step() {
        let run = "1.0: a 0 0, a 9 4, e 0 5, a 10 6, a 19 9, e 1 10, a 20 11";
        check(10, run, "a0.0 a9.0 e0.0");
        check(20, run, "a0.0 a9.0 e0.0 a10.0 a19.0 e1.0");
        check(21, run, "a0.0 a9.0 e0.0 a10.0 a19.0 e1.0 a20.0");
        // The slowest of those that reach it says when that was.
        check(10, "1.0: a 9 4, a 10 6, b 10 8, e 0 7, e 1 9", "a9.0 e0.0");
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_from_a_scalar_that_reaches_the_step() {
        check(10, "1.0: a 8 90, a 9 91, a 10 50", "a8.0 a9.0");
    }

    #[test]
    fn each_attempt_and_rank_has_a_clock_of_its_own() {
        // The first attempt was behind the step when it ended, whatever the second one's clock says.
        check(
            10,
            "1.0: a 5 50, e 0 51\n2.0: a 6 1, a 10 3, e 1 2, e 2 4",
            "a5.0 e0.0 a6.0 e1.0",
        );
        check(10, "1.0: a 10 3\n1.1: e 0 9", "e0.1");
        // What was overwritten still says where its attempt had come.
        check(
            8,
            "1.0: a 5 5, a 8 8, e 0 6, e 1 9\n2.0: a 6 20, a 7 21",
            "a5.0 e0.0 a6.0 a7.0",
        );
    }

    #[test]
    fn what_was_taken_over_before_is_judged_by_its_step_alone() {
        check(10, "0.0: a 9 99, e 0 98\n1.0: a 10 1", "a9.0 e0.0");
        check(10, "0.0: a 8 1, a 9 2\n1.0: a 9 3, a 10 4", "a8.0 a9.0");
    }

    #[test]
    fn what_the_machine_did_is_not_taken_over_and_says_nothing_about_steps() {
        check(
            10,
            "1.0: system/cpu 9 9, system/cpu 10 1, a 0 2, e 0 3",
            "a0.0 e0.0",
        );
    }

    #[test]
    fn rows_before_version_3_are_of_attempt_1() {
        let rows = batches("1.0: a 0 0, a 1 1");
        let old = rows[0].project(&[0, 1, 2, 3, 4]).unwrap();
        let later = batches("2.0: a 1 2");
        let winning = winning_named(&[old.clone(), later[0].clone()]).unwrap();
        let n_rows: Vec<usize> = winning.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(n_rows, [1, 1]);
        assert_eq!(labelled(&old, 1).unwrap(), rows[0]);
        assert_eq!(
            labelled(&old.project(&[0, 1]).unwrap(), 1)
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
    }

    #[test]
    fn the_last_value_of_each_scalar_is_that_of_its_largest_step() {
        let lasts = lasts(&batches("0.0: a 0 0, a 7 1, b 3 0\n0.1: a 5 0")).unwrap();
        let steps: Vec<_> = lasts
            .iter()
            .map(|(name, last)| (&**name, last.step))
            .collect();
        assert_eq!(steps, [("a", 7), ("b", 3)]);
    }
}
