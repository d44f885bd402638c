//! What every project has besides its tables: the records of its runs and of its revisions.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Builder, Int32Array, Int64Array, Int64Builder, ListBuilder,
    MapBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as EngineResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::artifact::{self, ArtifactRecord};
use crate::env::Micros;
use crate::error::Result;
use crate::id::{ProjectName, Revision, RunName};
use crate::lineage::{Edge, TableLog, edges, logs};
use crate::project::Project;
use crate::run::{ItemKind, RunRecord};
use crate::table::RevisionRecord;

use super::files::{Kind, RunFiles, key_filters, matching};

/// Up to how many new rows, or which part of all, are made beside those that were made before.
const NEW_ROWS_MIN: usize = 16;
const NEW_ROWS_PART: usize = 8;

/// What every project has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Runs,
    Params,
    /// What runs logged and what counts of it.
    Logged(Kind),
    /// Also what later attempts took the place of.
    AllLogged(Kind),
    Revisions,
    Lineage,
}

impl Records {
    pub(super) const ALL: [Self; 14] = [
        Self::Runs,
        Self::Params,
        Self::Logged(Kind::Scalars),
        Self::AllLogged(Kind::Scalars),
        Self::Logged(Kind::Samples),
        Self::AllLogged(Kind::Samples),
        Self::Logged(Kind::Items(ItemKind::Texts)),
        Self::AllLogged(Kind::Items(ItemKind::Texts)),
        Self::Logged(Kind::Items(ItemKind::Histograms)),
        Self::AllLogged(Kind::Items(ItemKind::Histograms)),
        Self::Logged(Kind::Items(ItemKind::Files)),
        Self::AllLogged(Kind::Items(ItemKind::Files)),
        Self::Revisions,
        Self::Lineage,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Params => "params",
            Self::Logged(Kind::Scalars) => "scalars",
            Self::AllLogged(Kind::Scalars) => "all_scalars",
            Self::Logged(Kind::Samples) => "samples",
            Self::AllLogged(Kind::Samples) => "all_samples",
            Self::Logged(Kind::Items(items)) => items.name(),
            Self::AllLogged(Kind::Items(ItemKind::Texts)) => "all_texts",
            Self::AllLogged(Kind::Items(ItemKind::Histograms)) => "all_histograms",
            Self::AllLogged(Kind::Items(ItemKind::Files)) => "all_files",
            Self::Revisions => "revisions",
            Self::Lineage => "lineage",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The table that answers for `kind` in `project`.
pub(super) async fn provider(project: Project, kind: Records) -> Result<Arc<dyn TableProvider>> {
    Ok(match kind {
        Records::Logged(logged) => Arc::new(RunFiles::of(project, logged, false).await?),
        Records::AllLogged(logged) => Arc::new(RunFiles::of(project, logged, true).await?),
        kind => Arc::new(RecordTable {
            schema: kind.rows(&[], &[], &[])?.schema(),
            project,
            kind,
        }),
    })
}

/// What `provider` is, if it is one of these tables: of which project, and which.
pub(super) fn named(provider: &dyn TableProvider) -> Option<(ProjectName, Records)> {
    if let Some(files) = provider.downcast_ref::<RunFiles>() {
        return Some(files.named());
    }
    let table = provider.downcast_ref::<RecordTable>()?;
    Some((table.project.name().clone(), table.kind))
}

/// The records of all runs of `names`.
pub(super) async fn records(project: &Project, names: &[RunName]) -> Result<Vec<Arc<RunRecord>>> {
    project.run_files().records_of(names).await
}

/// Rows made from logs when they are asked for. A filter on the name of the run or table decides
/// which logs are read.
struct RecordTable {
    project: Project,
    kind: Records,
    schema: SchemaRef,
}

impl fmt::Debug for RecordTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project.name(), self.kind.name())
    }
}

impl RecordTable {
    /// The column that says which log a row is from.
    fn key(&self) -> &'static str {
        match self.kind {
            Records::Runs => "name",
            Records::Revisions => "table",
            _ => "run",
        }
    }

    async fn rows(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> EngineResult<Vec<RecordBatch>> {
        let runs = match self.kind {
            Records::Revisions => Vec::new(),
            _ => {
                let names = self.wanted(session, filters, self.project.runs().await?)?;
                records(&self.project, &names).await?
            }
        };
        let logs = match self.kind {
            Records::Runs | Records::Params => Vec::new(),
            _ => {
                let names = self.wanted(session, filters, self.project.tables().await?)?;
                logs(&self.project, names).await?
            }
        };
        let artifacts = match self.kind {
            Records::Lineage => artifact::records(self.project.place()).await?,
            _ => Vec::new(),
        };
        Ok(match self.kind {
            Records::Runs => {
                let place = self.project.place();
                place.remembered.of::<RunRows>(&place.path).of_runs(&runs)?
            }
            kind => vec![kind.rows(&runs, &logs, &artifacts)?],
        })
    }

    /// The names whose logs have to be read.
    fn wanted<N: AsRef<str>>(
        &self,
        session: &dyn Session,
        filters: &[Expr],
        names: Vec<N>,
    ) -> EngineResult<Vec<N>> {
        if self.kind == Records::Lineage {
            return Ok(names);
        }
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(&names));
        let keys = RecordBatch::try_from_iter_with_nullable([(self.key(), column, false)])?;
        let keep = matching(session, filters, &keys)?;
        Ok(names
            .into_iter()
            .zip(keep)
            .filter_map(|(name, keep)| keep.then_some(name))
            .collect())
    }
}

#[async_trait]
impl TableProvider for RecordTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        Ok(key_filters(
            filters,
            &[self.key()],
            &TableProviderFilterPushDown::Unsupported,
        ))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut rows = self.rows(session, filters).await?;
        for batch in &mut rows {
            *batch = batch.slice(0, left.min(batch.num_rows()));
            left -= batch.num_rows();
        }
        Ok(MemorySourceConfig::try_new_exec(
            &[rows],
            self.schema(),
            projection.cloned(),
        )?)
    }
}

/// The rows of `runs` as they were made last. Whose record is the same value as then has the same row.
#[derive(Default)]
struct RunRows(Mutex<Option<(Vec<Arc<RunRecord>>, RecordBatch)>>);

impl RunRows {
    /// One row for each of `runs`, which are in the order of their names, in as many batches as there are stretches of new and of known rows.
    fn of_runs(&self, runs: &[Arc<RunRecord>]) -> Result<Vec<RecordBatch>> {
        let made = self.lock().clone();
        if let Some((known, rows)) = made {
            let stretches = stretches(&known, runs);
            let n_new: usize = stretches
                .iter()
                .filter(|(start, _)| start.is_none())
                .map(|(_, runs)| runs.len())
                .sum();
            if n_new <= NEW_ROWS_MIN.max(runs.len() / NEW_ROWS_PART) {
                let rows = stretches.into_iter().map(|(start, runs)| match start {
                    Some(start) => Ok(rows.slice(start, runs.len())),
                    None => run_rows(runs),
                });
                return rows.collect();
            }
        }
        let rows = run_rows(runs)?;
        if runs.len() > NEW_ROWS_MIN {
            *self.lock() = Some((runs.to_vec(), rows.clone()));
        }
        Ok(vec![rows])
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<Arc<RunRecord>>, RecordBatch)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `runs` cut into stretches of which all are `known`, one after the other from the given place on, and of which none is. Both are in the order of names.
fn stretches<'a>(
    known: &[Arc<RunRecord>],
    runs: &'a [Arc<RunRecord>],
) -> Vec<(Option<usize>, &'a [Arc<RunRecord>])> {
    let mut next = 0;
    let mut place = |run: &Arc<RunRecord>| {
        let rest = known.get(next..).unwrap_or_default();
        next += rest
            .iter()
            .take_while(|known| known.name < run.name)
            .count();
        let is_same = known.get(next).is_some_and(|known| Arc::ptr_eq(known, run));
        is_same.then_some(next)
    };
    let places: Vec<Option<usize>> = runs.iter().map(&mut place).collect();
    let cut = places.chunk_by(|first, second| match (first, second) {
        (Some(first), Some(second)) => first + 1 == *second,
        (first, second) => first == second,
    });
    let mut rest = runs;
    let stretch = |places: &[Option<usize>]| {
        let (stretch, after) = rest.split_at_checked(places.len()).unwrap_or((rest, &[]));
        rest = after;
        (places.first().copied().flatten(), stretch)
    };
    cut.map(stretch).collect()
}

impl Records {
    fn rows(
        self,
        runs: &[Arc<RunRecord>],
        logs: &[TableLog],
        artifacts: &[ArtifactRecord],
    ) -> Result<RecordBatch> {
        match self {
            Self::Params => params(runs),
            Self::Revisions => revisions(logs),
            Self::Lineage => lineage(runs, logs, artifacts),
            _ => run_rows(runs),
        }
    }
}

fn run_rows<R: Deref<Target = RunRecord>>(runs: &[R]) -> Result<RecordBatch> {
    let attempts = runs.iter().map(|run| run.attempts.cast_signed());
    let mut parameters = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    let mut scalars = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    let mut inputs = ListBuilder::new(StringBuilder::new());
    for run in runs {
        for (name, value) in &run.params {
            parameters.keys().append_value(name);
            parameters.values().append_value(value);
        }
        parameters.append(true)?;
        for (name, value) in &run.last {
            scalars.keys().append_value(name);
            scalars.values().append_value(*value);
        }
        scalars.append(true)?;
        for (table, revision) in &run.inputs {
            inputs.values().append_value(format!("{table}@{revision}"));
        }
        inputs.append(true);
    }
    let columns: [(&str, ArrayRef, bool); 10] = [
        (
            "name",
            text(runs.iter().map(|run| Some(run.name.as_str()))),
            false,
        ),
        (
            "status",
            text(runs.iter().map(|run| Some(run.status.as_str()))),
            false,
        ),
        (
            "author",
            text(runs.iter().map(|run| Some(run.author.as_str()))),
            false,
        ),
        (
            "reason",
            text(runs.iter().map(|run| run.reason.as_deref())),
            true,
        ),
        (
            "started",
            times(runs.iter().map(|run| Some(run.started))),
            false,
        ),
        ("finished", times(runs.iter().map(|run| run.finished)), true),
        ("parameters", Arc::new(parameters.finish()), false),
        ("inputs", Arc::new(inputs.finish()), false),
        ("scalars", Arc::new(scalars.finish()), false),
        (
            "attempts",
            Arc::new(Int32Array::from_iter_values(attempts)),
            false,
        ),
    ];
    let columns = columns.into_iter().chain(origin_columns(runs));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// What runs go on from, and which code they are of.
fn origin_columns<R: Deref<Target = RunRecord>>(runs: &[R]) -> [(&'static str, ArrayRef, bool); 5] {
    let forks = || runs.iter().map(|run| run.forked.as_ref());
    let codes = || runs.iter().map(|run| run.code.as_ref());
    [
        (
            "forked_run",
            text(forks().map(|fork| fork.map(|fork| fork.run.as_str()))),
            true,
        ),
        (
            "forked_step",
            Arc::new(Int64Array::from_iter(
                forks().map(|fork| fork.map(|fork| fork.step)),
            )),
            true,
        ),
        (
            "commit",
            text(codes().map(|code| code?.commit.as_deref())),
            true,
        ),
        (
            "branch",
            text(codes().map(|code| code?.branch.as_deref())),
            true,
        ),
        (
            "dirty",
            Arc::new(BooleanArray::from_iter(codes().map(|code| code?.is_dirty))),
            true,
        ),
    ]
}

fn params(runs: &[Arc<RunRecord>]) -> Result<RecordBatch> {
    let rows = || {
        runs.iter().flat_map(|run| {
            run.params
                .iter()
                .map(move |(name, value)| (run, name, value))
        })
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "run",
            text(rows().map(|(run, _, _)| Some(run.name.as_str()))),
            false,
        ),
        (
            "name",
            text(rows().map(|(_, name, _)| Some(name.as_str()))),
            false,
        ),
        (
            "value",
            text(rows().map(|(_, _, value)| Some(value.as_str()))),
            false,
        ),
    ])?)
}

fn revisions(logs: &[TableLog]) -> Result<RecordBatch> {
    let rows = || {
        logs.iter()
            .flat_map(|(table, log)| log.iter().map(move |record| (table, record)))
    };
    let numbers = |number: fn(&RevisionRecord) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(
            rows().map(|(_, record)| number(record)),
        ))
    };
    let mut parents = ListBuilder::new(Int64Builder::new());
    for (_, record) in rows() {
        parents.append_value(
            record
                .parents
                .iter()
                .map(|parent| Some(parent.revision.0.cast_signed())),
        );
    }
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "table",
            text(rows().map(|(table, _)| Some(table.as_str()))),
            false,
        ),
        (
            "revision",
            signed(rows().map(|(_, record)| record.revision)),
            false,
        ),
        (
            "branch",
            text(rows().map(|(_, record)| Some(record.branch.as_str()))),
            false,
        ),
        ("parents", Arc::new(parents.finish()), false),
        (
            "author",
            text(rows().map(|(_, record)| Some(record.author.as_str()))),
            false,
        ),
        (
            "time",
            times(rows().map(|(_, record)| Some(record.time))),
            false,
        ),
        (
            "message",
            text(rows().map(|(_, record)| Some(record.message.as_str()))),
            false,
        ),
        (
            "tool",
            text(rows().map(|(_, record)| Some(record.tool.as_str()))),
            false,
        ),
        ("cells", numbers(|record| record.cells), false),
        ("rows_added", numbers(|record| record.rows_added), false),
        ("rows_dropped", numbers(|record| record.rows_dropped), false),
        ("bytes", numbers(|record| record.bytes), false),
    ])?)
}

fn lineage(
    runs: &[Arc<RunRecord>],
    logs: &[TableLog],
    artifacts: &[ArtifactRecord],
) -> Result<RecordBatch> {
    let edges = edges(runs, logs, artifacts);
    let revisions = edges.iter().map(|edge| edge.revision);
    let revisions = revisions.map(|revision| revision.map(|revision| revision.0.cast_signed()));
    let column = |of: fn(&Edge) -> &str| text(edges.iter().map(|edge| Some(of(edge))));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("source", column(|edge| &edge.source), false),
        ("target", column(|edge| &edge.target), false),
        ("kind", column(|edge| edge.kind.as_str()), false),
        (
            "revision",
            Arc::new(Int64Array::from_iter(revisions)) as ArrayRef,
            true,
        ),
        ("role", column(|edge| edge.role.as_str()), false),
    ])?)
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// Revisions as SQL counts: signed, as in the files of samples, so that the two can be joined.
fn signed(revisions: impl Iterator<Item = Revision>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        revisions.map(|revision| revision.0.cast_signed()),
    ))
}

fn times(values: impl Iterator<Item = Option<Micros>>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = values
        .map(|time| time.map(|Micros(micros)| micros))
        .collect();
    Arc::new(micros.with_timezone("UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::run::{Lost, RunStatus};

    fn record(name: &str) -> Arc<RunRecord> {
        Arc::new(RunRecord {
            name: name.parse().unwrap(),
            status: RunStatus::Completed,
            reason: None,
            author: "ada".to_owned(),
            started: Micros(0),
            finished: None,
            process: Env::manual().process(),
            attempts: 1,
            forked: None,
            reduced: None,
            params: [("lr".to_owned(), name.to_owned())].into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            code: None,
            artifacts: Vec::new(),
            streams: Vec::new(),
            last: [("loss".to_owned(), 0.5)].into(),
            lost: Lost::default(),
        })
    }

    /// Runs by names of one letter; in capitals those whose record is another value than before.
    fn runs(names: &str, known: &[Arc<RunRecord>]) -> Vec<Arc<RunRecord>> {
        let run = |letter: char| {
            let name = letter.to_lowercase().to_string();
            let known = known.iter().find(|known| known.name.as_str() == name);
            match known.filter(|_| letter.is_lowercase()) {
                Some(known) => Arc::clone(known),
                None => record(&name),
            }
        };
        names.chars().map(run).collect()
    }

    /// The stretches of `names`, of each where its known rows begin.
    #[track_caller]
    fn check(known: &str, names: &str, expected: &str) {
        let known = runs(known, &[]);
        let runs = runs(names, &known);
        let cut = stretches(&known, &runs).into_iter().map(|(start, runs)| {
            let names: String = runs.iter().map(|run| run.name.as_str()).collect();
            format!(
                "{}{names}",
                start.map(|at| at.to_string()).unwrap_or_default()
            )
        });
        assert_eq!(cut.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn known_rows_are_found_in_stretches() {
        check("", "", "");
        check("abc", "", "");
        check("", "abc", "abc");
        check("abc", "abc", "0abc");
        check("abcd", "bc", "1bc");
        check("abcd", "acd", "0a 2cd");
        check("abcd", "aBcd", "0a b 2cd");
        check("bd", "abcde", "a 0b c 1d e");
        check("abcd", "ABcD", "ab 2c d");
    }

    #[test]
    fn rows_that_are_made_in_part_are_those_that_are_made_at_once() {
        let letters: String = ('a'..='z').collect();
        let (made, known) = (RunRows::default(), runs(&letters, &[]));
        for names in [
            letters.as_str(),
            "abcdefghijklmnopqrstuvwxyz",
            "bcdxyz",
            "aBcdefGHijklmnopqrstuvwxyz",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "abcdefghijklmnopqrstuvwxyz",
        ] {
            let runs = runs(names, &known);
            let rows = made.of_runs(&runs).unwrap();
            let all = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
            assert_eq!(all, run_rows(&runs).unwrap(), "{names}");
        }
    }
}
