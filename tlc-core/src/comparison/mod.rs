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
use self::differences::{differing, facts};
pub use self::samples::StreamComparison;
use crate::error::{Error, Result};
use crate::id::{Revision, RunName, TableName};
use crate::project::Project;
use crate::provenance::Provenance;
use crate::run::RunRecord;
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
    /// The first run and each of the others.
    pub pairs: Vec<Pair>,
}

/// The first run and another one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The other one.
    pub run: RunName,
    /// In what their code differs.
    pub code: CodeComparison,
    /// The tables that one of them read at another revision than the other, by name.
    pub data: Vec<TableComparison>,
    /// The streams that both have, by name.
    pub streams: Vec<StreamComparison>,
}

/// A table that two runs read at different revisions, or that only one has read.
#[derive(Clone, Debug)]
pub struct TableComparison {
    /// The table.
    pub table: TableName,
    /// What the first run read last of it.
    pub first: Option<Revision>,
    /// What the other run read last of it.
    pub other: Option<Revision>,
    /// The cells and rows that differ, if both have read it; `None` also if the table is gone.
    pub diff: Option<Diff>,
}

impl Project {
    /// What differs between `runs`, the first of which the others are compared with.
    ///
    /// Of each stream that both runs of a pair have, the last epochs are compared sample by sample, by the column `correct` if both have it,
    /// else `loss`; the `samples_max` samples that changed most are listed. Reads the log of each run, what it is made of, the cells that
    /// revisions between those that were read have set, and of each stream two columns of one epoch and the labels.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for fewer than two runs; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming the
    /// one that is not there; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming a file; those of the store. What a run is made of counts as not
    /// known if its file is gone.
    pub async fn compare(&self, runs: &[&str], samples_max: usize) -> Result<Comparison> {
        let (first_name, others) = match runs {
            [first, others @ ..] if !others.is_empty() => (*first, others),
            _ => return Err(Error::invalid("name at least two runs to compare")),
        };
        let mut records = Vec::with_capacity(runs.len());
        let mut made_of = Vec::with_capacity(runs.len());
        for run in runs {
            records.push(self.run(run).await?);
            made_of.push(self.known_provenance(run).await?);
        }
        let mut pairs = Vec::with_capacity(others.len());
        let both = records.iter().zip(&made_of);
        if let Some((first, first_of)) = both.clone().next() {
            for ((run, other), other_of) in others
                .iter()
                .zip(records.iter().skip(1))
                .zip(made_of.iter().skip(1))
            {
                pairs.push(Pair {
                    run: other.name.clone(),
                    code: self
                        .compare_code((first_name, first_of), (run, other_of))
                        .await?,
                    data: self.compare_data(first, other).await?,
                    streams: self.compare_streams(first, other, samples_max).await?,
                });
            }
        }
        let params = records.iter().map(|run| run.params.clone());
        let scalars = records.iter().map(|run| {
            let own = run
                .last
                .iter()
                .filter(|(name, _)| !name.starts_with("system/"));
            own.map(|(name, value)| (name.clone(), *value)).collect()
        });
        let (params, scalars): (Vec<_>, Vec<_>) = (params.collect(), scalars.collect());
        let environment: Vec<_> = made_of.iter().map(facts).collect();
        Ok(Comparison {
            params: differing(&params, PartialEq::eq),
            environment: differing(&environment, PartialEq::eq),
            scalars: differing(&scalars, |a: &f64, b: &f64| a.to_bits() == b.to_bits()),
            runs: records,
            pairs,
        })
    }

    /// What a run is made of; nothing if that is gone.
    async fn known_provenance(&self, run: &str) -> Result<Option<Provenance>> {
        match self.provenance(run).await {
            Err(err) if err.kind() == crate::ErrorKind::NotFound => Ok(None),
            known => known,
        }
    }

    async fn compare_code(
        &self,
        first: (&str, &Option<Provenance>),
        other: (&str, &Option<Provenance>),
    ) -> Result<CodeComparison> {
        let mut patches = Vec::with_capacity(2);
        for (run, made_of) in [first, other] {
            patches.push(match made_of {
                Some(_) => match self.code_patch(run).await {
                    Err(err) if err.kind() == crate::ErrorKind::NotFound => String::new(),
                    patch => patch?.unwrap_or_default(),
                },
                None => String::new(),
            });
        }
        let commit = |made_of: &Option<Provenance>| made_of.as_ref()?.code.as_ref()?.commit.clone();
        let [first_patch, other_patch] =
            [0, 1].map(|at| patches.get(at).map(String::as_str).unwrap_or_default());
        Ok(CodeComparison::new(
            (commit(first.1), first_patch),
            (commit(other.1), other_patch),
        ))
    }

    async fn compare_data(
        &self,
        first: &RunRecord,
        other: &RunRecord,
    ) -> Result<Vec<TableComparison>> {
        let mut compared = Vec::new();
        for (table, revisions) in differences::tables(&first.inputs, &other.inputs) {
            let diff = match revisions {
                (Some(from), Some(to)) => match self.table(table.as_str()).await {
                    Ok(opened) => Some(opened.diff(from, to).await?),
                    Err(err) if err.kind() == crate::ErrorKind::NotFound => None,
                    Err(err) => return Err(err),
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
