//! What came from what: edges between commits, revisions of tables and runs, as the logs say them. Nobody enters them by hand.
//!
//! The same of one run for catalogues of others is in `open_lineage`.

mod open_lineage;

use std::collections::HashSet;
use std::ops::Deref;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

pub use self::open_lineage::{OpenLineageEvent, OpenLineageKind};
use crate::artifact::{self, ArtifactRecord, ArtifactRole};
use crate::error::Result;
use crate::id::{ArtifactName, Revision, RunName, TableName};
use crate::project::Project;
use crate::run::RunRecord;
use crate::table::RevisionRecord;

/// How many logs are read at the same time.
const READS_MAX: usize = 32;

/// One thing came from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// What was there: `TABLE@REVISION`, `artifacts/ARTIFACT@VERSION`, the name of a run, or the hash of a commit.
    pub source: String,
    /// What came of it.
    pub target: String,
    /// What the target is.
    pub kind: EdgeKind,
    /// The revision of a table, or version of an artifact, that it is about, if it is about one.
    pub revision: Option<Revision>,
    /// What the source is to the target.
    pub role: EdgeRole,
}

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// A revision of a table.
    Revision,
    /// A run.
    Run,
    /// A version of an artifact.
    Artifact,
}

impl EdgeKind {
    /// The kind in one lower-case word, as SQL sees it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revision => "revision",
            Self::Run => "run",
            Self::Artifact => "artifact",
        }
    }
}

/// Why there is an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeRole {
    /// A revision builds on another.
    Parent,
    /// A run read a revision or a version.
    Input,
    /// A run wrote a revision or made a version.
    Output,
    /// A run is of a commit, with or without changes.
    Code,
    /// A run goes on from another.
    Fork,
    /// A run has the embeddings of another as points.
    Reduced,
}

impl EdgeRole {
    /// The role in one lower-case word, as SQL sees it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Input => "input",
            Self::Output => "output",
            Self::Code => "code",
            Self::Fork => "fork",
            Self::Reduced => "reduced",
        }
    }
}

impl Project {
    /// All edges of the project. Reads the logs of all tables, runs and artifacts.
    ///
    /// # Errors
    /// As [`Self::run_records`](Project::run_records), [`Table::log`](crate::Table::log) and [`Artifact::record`](crate::Artifact::record).
    pub async fn lineage(&self) -> Result<Vec<Edge>> {
        let runs = self.run_records().await?;
        let runs: Vec<&RunRecord> = runs.iter().collect();
        let logs = logs(self, self.tables().await?).await?;
        let artifacts = artifact::records(self.place()).await?;
        Ok(edges(&runs, &logs, &artifacts))
    }
}

/// The history of a table.
pub(crate) type TableLog = (TableName, Vec<RevisionRecord>);

/// The histories of these tables.
///
/// # Errors
/// As [`Table::log`](crate::Table::log).
pub(crate) async fn logs(project: &Project, names: Vec<TableName>) -> Result<Vec<TableLog>> {
    let log = |name: TableName| {
        let project = project.clone();
        async move {
            let table = project.table(name.as_str()).await?;
            Ok((name, table.log().await?))
        }
        .boxed()
    };
    let reads = stream::iter(names.into_iter().map(log));
    reads.buffered(READS_MAX).try_collect().await
}

/// The edges that these logs say, each once.
pub(crate) fn edges<R: Deref<Target = RunRecord>>(
    runs: &[R],
    logs: &[TableLog],
    artifacts: &[ArtifactRecord],
) -> Vec<Edge> {
    let noted: HashSet<(&RunName, &ArtifactName, u64)> = runs
        .iter()
        .flat_map(|run| run.artifacts.iter().map(move |used| (&run.name, used)))
        .filter(|(_, used)| used.role == ArtifactRole::Output)
        .map(|(run, used)| (run, &used.artifact, used.version))
        .collect();
    // A version says which run made it also where that run's log could not be written.
    let made = artifacts.iter().flat_map(|artifact| {
        let versions = artifact.versions.iter();
        versions
            .filter_map(|version| Some((version.run.as_ref()?, &artifact.name, version.version)))
    });
    let made = made.filter(|made| !noted.contains(made));
    let parents = logs
        .iter()
        .flat_map(|(table, log)| log.iter().flat_map(|record| of_revision(table, record)));
    parents
        .chain(runs.iter().flat_map(|run| of_run(run)))
        .chain(made.map(|(run, artifact, version)| made_by(run, artifact, version)))
        .collect()
}

fn spelled(table: &TableName, revision: Revision) -> String {
    format!("{table}@{revision}")
}

fn of_revision(table: &TableName, record: &RevisionRecord) -> Vec<Edge> {
    let edge = |parent: Revision| Edge {
        source: spelled(table, parent),
        target: spelled(table, record.revision),
        kind: EdgeKind::Revision,
        revision: Some(record.revision),
        role: EdgeRole::Parent,
    };
    let parents = record.parents.iter().map(|parent| parent.revision);
    parents.map(edge).collect()
}

fn made_by(run: &RunName, artifact: &ArtifactName, version: u64) -> Edge {
    Edge {
        source: run.to_string(),
        target: format!("artifacts/{artifact}@{version}"),
        kind: EdgeKind::Artifact,
        revision: Some(Revision(version)),
        role: EdgeRole::Output,
    }
}

fn of_run(run: &RunRecord) -> Vec<Edge> {
    let name = run.name.to_string();
    let into_run = |source: String, revision: Option<Revision>, role: EdgeRole| Edge {
        source,
        target: name.clone(),
        kind: EdgeKind::Run,
        revision,
        role,
    };
    let inputs = run.inputs.iter().map(|(table, revision)| {
        into_run(spelled(table, *revision), Some(*revision), EdgeRole::Input)
    });
    let commit = run.code.iter().filter_map(|code| code.commit.clone());
    let code = commit.map(|commit| into_run(commit, None, EdgeRole::Code));
    let fork = run.forked.iter();
    let fork = fork.map(|fork| into_run(fork.run.to_string(), None, EdgeRole::Fork));
    let reduced = run.reduced.iter();
    let reduced = reduced.map(|source| into_run(source.to_string(), None, EdgeRole::Reduced));
    let outputs = run.outputs.iter().map(|(table, revision)| Edge {
        source: name.clone(),
        target: spelled(table, *revision),
        kind: EdgeKind::Revision,
        revision: Some(*revision),
        role: EdgeRole::Output,
    });
    let artifacts = run.artifacts.iter().map(|used| {
        let (version, revision) = (
            format!("artifacts/{}@{}", used.artifact, used.version),
            Revision(used.version),
        );
        match used.role {
            ArtifactRole::Input => into_run(version, Some(revision), EdgeRole::Input),
            ArtifactRole::Output => made_by(&run.name, &used.artifact, used.version),
        }
    });
    let into = inputs.chain(code).chain(fork).chain(reduced);
    into.chain(outputs).chain(artifacts).collect()
}
