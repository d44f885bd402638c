//! What differs between runs: parameters, code, data, environment, results, and what became of each sample.
//!
//! The first run is what the others are compared with. Everything is as the runs say it: the code is compared by commits and by the
//! changes to them, data as the cells that differ between the revisions that were read.
//!
//! Whoever reads the code finds the pure rules in `differences` and `code`; `samples` compares the rows of streams.

mod code;
mod differences;
mod samples;

pub use self::code::{CodeComparison, FileComparison};
pub use self::differences::Difference;
use self::differences::{differing, facts, not_known};
pub use self::samples::StreamComparison;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Revision, RunName, TableName};
use crate::project::Project;
use crate::provenance::Provenance;
use crate::run::{RunRecord, captured};
use crate::table::Diff;

/// What [`Project::compare`] found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The runs, in the order they were asked for.
    pub runs: Vec<RunRecord>,
    /// Parameters that are not the same in all runs, by name.
    pub params: Vec<Difference<String>>,
    /// How the programs were built, called and where they ran, as far as that is not the same in all runs.
    pub environment: Vec<Difference<String>>,
    /// The last values of scalars that are not the same in all runs, by name; without those of the machine (`system/…`).
    pub scalars: Vec<Difference<f64>>,
    /// What is not known of the runs, so that nothing says whether it differs.
    pub unknown: Vec<Unknown>,
    /// The first run and each of the others.
    pub pairs: Vec<Pair>,
}

/// What is not known of a run, such as a changed file that its patch does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The run.
    pub run: RunName,
    /// What, and why.
    pub what: String,
}

/// The first run and another one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The other one.
    pub run: RunName,
    /// In what their code differs.
    pub code: CodeComparison,
    /// The tables of which they did not read the same revisions, by name.
    pub data: Vec<TableComparison>,
    /// The streams that both have, by name.
    pub streams: Vec<StreamComparison>,
}

/// A table of which two runs did not read the same revisions, or that only one has read.
#[derive(Clone, Debug)]
pub struct TableComparison {
    /// The table.
    pub table: TableName,
    /// What the first run read of it last, of that which the other one did not read if there is any.
    pub first: Option<Revision>,
    /// The same of the other run.
    pub other: Option<Revision>,
    /// The cells and rows that differ, if both have read it; `None` also if the table is gone, or has no such revision any more.
    pub diff: Option<Diff>,
}

/// All that is known of a run.
struct Known {
    record: RunRecord,
    made_of: Option<Provenance>,
    /// The changes to its commit; `None` if there are none, or they are not known.
    patch: Option<String>,
}

/// What was read, if it is there.
fn there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

impl Project {
    /// What differs between `runs`, the first of which the others are compared with.
    ///
    /// Of each stream that both runs of a pair have, the last epochs are compared sample by sample, by the column `correct` if both have it,
    /// else `loss`; the `samples_max` samples that changed most are listed. A sample is a row id of a table. Its class is its `label`, or what the only column of its table with the role of a
    /// label says, if that has another name. Reads the log of each run, what it is made of, the cells that
    /// revisions between those that were read have set, and of each stream three columns of one epoch and the labels.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for fewer than two runs; [`ErrorKind::NotFound`] naming the
    /// one that is not there; [`ErrorKind::Corrupt`] naming a file; those of the store. What a run is made of counts as not
    /// known if its file is gone; whatever is not known is in [`Comparison::unknown`].
    pub async fn compare(&self, runs: &[&str], samples_max: usize) -> Result<Comparison> {
        if runs.len() < 2 {
            return Err(Error::invalid("name at least two runs to compare"));
        }
        let mut all = Vec::with_capacity(runs.len());
        for run in runs {
            all.push(self.known(run).await?);
        }
        let mut pairs = Vec::with_capacity(runs.len() - 1);
        if let [first, others @ ..] = all.as_slice() {
            for other in others {
                pairs.push(self.pair(first, other, samples_max).await?);
            }
        }
        let params = all.iter().map(|run| run.record.params.clone());
        let scalars = all.iter().map(|run| {
            let own = run
                .record
                .last
                .iter()
                .filter(|(name, _)| !name.starts_with("system/"));
            own.map(|(name, value)| (name.clone(), *value)).collect()
        });
        let (params, scalars): (Vec<_>, Vec<_>) = (params.collect(), scalars.collect());
        let unknown = all.iter().flat_map(|known| {
            let run = &known.record.name;
            let what = not_known(known.made_of.as_ref(), known.patch.is_some());
            what.into_iter().map(|what| Unknown {
                run: run.clone(),
                what,
            })
        });
        let unknown = unknown.collect();
        let environment: Vec<_> = all.iter().map(|run| facts(run.made_of.as_ref())).collect();
        Ok(Comparison {
            params: differing(&params, PartialEq::eq),
            environment: differing(&environment, PartialEq::eq),
            scalars: differing(&scalars, |a: &f64, b: &f64| a.to_bits() == b.to_bits()),
            unknown,
            runs: all.into_iter().map(|run| run.record).collect(),
            pairs,
        })
    }

    async fn known(&self, run: &str) -> Result<Known> {
        let record = self.run(run).await?;
        let made_of = match &record.code {
            Some(code) => there(captured::read(self.place(), code).await)?,
            None => None,
        };
        let code = made_of.as_ref().and_then(|made_of| made_of.code.as_ref());
        let patch = match code.and_then(|code| code.patch.as_ref()) {
            Some(patch) => there(captured::read_patch(self.place(), &patch.blake3).await)?,
            None => None,
        };
        Ok(Known {
            record,
            made_of,
            patch,
        })
    }

    async fn pair(&self, first: &Known, other: &Known, samples_max: usize) -> Result<Pair> {
        let code = |run: &Known| run.record.code.as_ref()?.commit.clone();
        let (one, two) = (&first.record, &other.record);
        Ok(Pair {
            run: two.name.clone(),
            code: CodeComparison::new(
                (code(first), first.patch.as_deref().unwrap_or_default()),
                (code(other), other.patch.as_deref().unwrap_or_default()),
            ),
            data: self.compare_data(one, two).await?,
            streams: self.compare_streams(one, two, samples_max).await?,
        })
    }

    async fn compare_data(
        &self,
        first: &RunRecord,
        other: &RunRecord,
    ) -> Result<Vec<TableComparison>> {
        let mut compared = Vec::new();
        for (table, revisions) in differences::tables(&first.inputs, &other.inputs) {
            let diff = match revisions {
                (Some(from), Some(to)) => match there(self.table(table.as_str()).await)? {
                    Some(opened) => there(opened.diff(from, to).await)?,
                    None => None,
                },
                _ => None,
            };
            compared.push(TableComparison {
                table,
                first: revisions.0,
                other: revisions.1,
                diff,
            });
        }
        Ok(compared)
    }
}
