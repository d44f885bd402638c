//! Every JSON shape that is not rows, and how it comes from the library's types.
//!
//! The library's types do not serialize: a field renamed there for clarity breaks no script here.
//! Times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use serde::Serialize;
use tlc_core::arrow::datatypes::Field;
use tlc_core::artifact::{ArtifactFile, ArtifactUse, TensorRecord, Tensors};
use tlc_core::run::StreamRecord;
use tlc_core::schema::{self, Role};
use tlc_core::sql::Written;
use tlc_core::{
    ArtifactName, ArtifactRecord, Committed, Edge, Fitted, Garbage, Micros, Provenance, Reduced,
    Report, Result as CoreResult, RevisionRecord, RunName, RunRecord, StoreReport, Synced,
    VersionRecord,
};

/// What `tlc check` says of a query; the rows follow as `first_rows`.
#[derive(Clone, Debug, Serialize)]
pub struct CheckView {
    /// As it was given.
    pub query: String,
    /// How many rows it gave.
    pub rows: u64,
}

/// What a verb that writes answers.
#[derive(Clone, Debug, Serialize)]
pub struct CommitView {
    /// `PROJECT/TABLE`.
    pub table: String,
    /// The revision that was made; the one before, if nothing changed.
    pub revision: u64,
    /// The branch that now ends there.
    pub branch: String,
    /// Rows that changed, were added or were dropped.
    pub rows: u64,
    /// Cells that were set.
    pub cells: u64,
    /// What the revision added to the root.
    pub bytes: u64,
    /// The ids of inserted rows, first and last; not there if no row was inserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_ids: Option<[u64; 2]>,
}

impl CommitView {
    /// The view of a commit to a table of `project`.
    #[must_use]
    pub fn new(project: &str, committed: &Committed) -> Self {
        Self {
            table: format!("{project}/{}", committed.snapshot.table().name()),
            revision: committed.revision.0,
            branch: committed.branch.clone(),
            rows: committed.rows,
            cells: committed.cells,
            bytes: committed.bytes,
            row_ids: None,
        }
    }

    /// The view of what a statement wrote.
    #[must_use]
    pub fn of_statement(written: &Written) -> Self {
        let (committed, ids) = (&written.committed, &written.row_ids);
        let project = committed.snapshot.table().project().as_str();
        Self {
            row_ids: (!ids.is_empty()).then(|| [ids.start, ids.end - 1]),
            ..Self::new(project, committed)
        }
    }
}

/// What `tlc doctor` answers.
#[derive(Clone, Debug, Serialize)]
pub struct StoreView {
    /// Where the store is, without credentials.
    pub url: String,
    /// Whether tlc writes there, as it is configured now.
    pub is_safe: bool,
    /// Who can write safely: `many`, `one` process at a time, or `none`.
    pub writers: &'static str,
    /// What was tried.
    pub checks: Vec<StoreCheckView>,
    /// Milliseconds that a small put takes.
    pub put_ms: f64,
    /// Milliseconds that a small get takes.
    pub get_ms: f64,
    /// Seconds that the store's clock is ahead of ours.
    pub clock_ahead_secs: i64,
}

/// One thing that a store was asked to do.
#[derive(Clone, Debug, Serialize)]
pub struct StoreCheckView {
    /// What it is.
    pub name: &'static str,
    /// Whether the store did it.
    pub holds: bool,
    /// Whether tlc needs it.
    pub is_needed: bool,
    /// What was seen.
    pub detail: String,
}

impl StoreView {
    /// The view of a report; `is_safe` is the verdict.
    #[must_use]
    pub fn new(report: &StoreReport, is_safe: bool) -> Self {
        let checks = report.checks.iter().map(|check| StoreCheckView {
            name: check.name,
            holds: check.holds,
            is_needed: check.is_needed,
            detail: check.detail.clone(),
        });
        Self {
            url: report.url.clone(),
            is_safe,
            writers: report.writers.as_str(),
            checks: checks.collect(),
            put_ms: report.put.as_secs_f64() * 1_000.0,
            get_ms: report.get.as_secs_f64() * 1_000.0,
            clock_ahead_secs: report.clock_ahead_secs,
        }
    }
}

/// What `tlc verify` answers.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyView {
    /// Whether anything is worse than harmless.
    pub damaged: bool,
    /// What is not as it should be, the worst first.
    pub findings: Vec<FindingView>,
    /// The tables that were looked at.
    pub tables: Vec<VerifiedTableView>,
    /// How many runs were.
    pub runs: u64,
    /// How many artifacts were.
    pub artifacts: u64,
    /// How many files of tables and artifacts there are.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct FindingView {
    /// `harmless`, `source changed` or `damage`.
    pub severity: &'static str,
    /// The folder of the table or run in the store.
    pub folder: String,
    /// The file in it, or the URL of one that is used in place.
    pub file: String,
    /// What is wrong, and what helps.
    pub what: String,
    /// The first and last number of each range of revisions that cannot be read because of it.
    pub unreadable: Vec<(u64, u64)>,
}

/// A table that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedTableView {
    /// `PROJECT/TABLE`.
    pub table: String,
    /// How many revisions it has.
    pub revisions: u64,
    /// Those that cannot be read.
    pub unreadable: Vec<u64>,
}

impl From<&Report> for VerifyView {
    fn from(report: &Report) -> Self {
        let findings = report.findings.iter().map(|finding| FindingView {
            severity: finding.severity.as_str(),
            folder: finding.folder.clone(),
            file: finding.file.clone(),
            what: finding.what.clone(),
            unreadable: finding
                .unreadable
                .iter()
                .map(|range| (*range.start(), *range.end()))
                .collect(),
        });
        let tables = report.tables.iter().map(|table| VerifiedTableView {
            table: format!("{}/{}", table.project, table.table),
            revisions: table.n_revisions,
            unreadable: table.unreadable.iter().map(|revision| revision.0).collect(),
        });
        Self {
            damaged: report.is_damaged(),
            findings: findings.collect(),
            tables: tables.collect(),
            runs: report.n_runs,
            artifacts: report.n_artifacts,
            files: report.n_files,
            bytes: report.bytes,
        }
    }
}

/// What `tlc gc` answers.
#[derive(Clone, Debug, Serialize)]
pub struct GcView {
    /// Whether the files were deleted; otherwise they would be.
    pub deleted: bool,
    /// The files that no kept revision needs.
    pub files: Vec<GarbageFileView>,
    /// Their sizes together.
    pub bytes: u64,
    /// Files that no revision needs either, but too young.
    pub young: u64,
    /// Files that are none of tlc's, and stay.
    pub unknown: Vec<String>,
    /// The revisions that are not kept, as `PROJECT/TABLE@N`.
    pub given_up: Vec<String>,
}

/// One file that nobody needs.
#[derive(Clone, Debug, Serialize)]
pub struct GarbageFileView {
    /// Where it lies in the store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl From<&Garbage> for GcView {
    fn from(garbage: &Garbage) -> Self {
        let files = garbage.files.iter().map(|file| GarbageFileView {
            path: file.path.clone(),
            bytes: file.bytes,
        });
        let given_up = garbage.given_up.iter();
        Self {
            deleted: garbage.is_deleted,
            files: files.collect(),
            bytes: garbage.bytes(),
            young: garbage.n_young,
            unknown: garbage.unknown.clone(),
            given_up: given_up
                .map(|(project, table, revision)| format!("{project}/{table}@{revision}"))
                .collect(),
        }
    }
}

/// What `tlc sync` answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SyncedView {
    /// Tables of which something was copied.
    pub tables: u64,
    /// Runs of which something was copied.
    pub runs: u64,
    /// Artifacts of which something was copied.
    pub artifacts: u64,
    /// Files that were copied.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl From<Synced> for SyncedView {
    fn from(synced: Synced) -> Self {
        Self {
            tables: synced.tables,
            runs: synced.runs,
            artifacts: synced.artifacts,
            files: synced.files,
            bytes: synced.bytes,
        }
    }
}

/// One revision of `tlc table log`.
#[derive(Clone, Debug, Serialize)]
pub struct RevisionView {
    /// Its number.
    pub revision: u64,
    /// The branch it was made on.
    pub branch: String,
    /// The numbers of the revisions before it.
    pub parents: Vec<u64>,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: String,
    /// Why.
    pub message: String,
    /// Cells that were set.
    pub cells: u64,
    /// Rows that were added.
    pub rows_added: u64,
    /// Rows that were dropped.
    pub rows_dropped: u64,
    /// Rows that had been dropped and are there again.
    pub rows_restored: u64,
    /// The branches that end there.
    pub heads: Vec<String>,
    /// The tags it has.
    pub tags: Vec<String>,
    /// The program that made it.
    pub tool: String,
    /// What it added to the root.
    pub bytes: u64,
}

impl RevisionView {
    /// The view of a revision with its names.
    #[must_use]
    pub fn new(record: &RevisionRecord, heads: Vec<String>, tags: Vec<String>) -> Self {
        Self {
            revision: record.revision.0,
            branch: record.branch.clone(),
            parents: record
                .parents
                .iter()
                .map(|parent| parent.revision.0)
                .collect(),
            author: record.author.clone(),
            time: record.time.to_rfc3339(),
            message: record.message.clone(),
            cells: record.cells,
            rows_added: record.rows_added,
            rows_dropped: record.rows_dropped,
            rows_restored: record.rows_restored,
            heads,
            tags,
            tool: record.tool.clone(),
            bytes: record.bytes,
        }
    }
}

/// What `tlc table branch` and `tlc table tag` answer for one name.
#[derive(Clone, Debug, Serialize)]
pub struct NameView {
    /// `PROJECT/TABLE`.
    pub table: String,
    /// `branch` or `tag`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The revision that it names, or named until it was dropped.
    pub revision: u64,
    /// Whether it was taken away.
    pub dropped: bool,
}

/// One name of the list that `tlc table branch` or `tlc table tag` answers.
#[derive(Clone, Debug, Serialize)]
pub struct NamedView {
    /// The name.
    pub name: String,
    /// The revision that it names.
    pub revision: u64,
    /// Who made the revision; of a tag, who set it.
    pub author: String,
    /// When.
    pub time: String,
    /// Why.
    pub message: String,
}

/// What `tlc table merge`, `revert` and `cherry-pick` answer.
#[derive(Clone, Debug, Serialize)]
pub struct BroughtView {
    /// The commit; of what changed nothing, the head.
    #[serde(flatten)]
    pub commit: CommitView,
    /// `merged`, `fast-forward`, `reverted`, `picked` or `nothing`.
    pub result: &'static str,
}

/// What `tlc table fix` answers.
#[derive(Clone, Debug, Serialize)]
pub struct FixedView {
    /// The commit; the head, if there was nothing to fix.
    #[serde(flatten)]
    pub commit: CommitView,
    /// Issues that were left out, since their label was changed after it was judged.
    pub left_out: u64,
}

/// One cell of `tlc table blame`, after `_rowid` and `value`.
#[derive(Clone, Debug, Serialize)]
pub struct BlamedView {
    /// The revision that gave the cell its value.
    pub revision: u64,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: String,
    /// Why.
    pub message: String,
}

impl From<&RevisionRecord> for BlamedView {
    fn from(record: &RevisionRecord) -> Self {
        Self {
            revision: record.revision.0,
            author: record.author.clone(),
            time: record.time.to_rfc3339(),
            message: record.message.clone(),
        }
    }
}

/// One column of a table.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnView {
    /// Its name.
    pub name: String,
    /// Arrow's name of its type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What it means.
    pub role: Option<&'static str>,
    /// The classes of a label; the position is the stored integer.
    pub classes: Vec<ClassView>,
}

/// One class of a label.
#[derive(Clone, Debug, Serialize)]
pub struct ClassView {
    /// What people see.
    pub name: String,
    /// `#rrggbb`.
    pub color: String,
    /// The class that it became part of, by position; not there if it stands for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<usize>,
}

impl From<&Field> for ColumnView {
    fn from(field: &Field) -> Self {
        let classes = schema::classes(field).unwrap_or_default();
        Self {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            role: Role::of(field).map(Role::as_str),
            classes: classes
                .into_iter()
                .map(|class| ClassView {
                    name: class.name,
                    color: class.color,
                    merged_into: class.merged_into,
                })
                .collect(),
        }
    }
}

/// One alias of `tlc alias`.
#[derive(Clone, Debug, Serialize)]
pub struct AliasView {
    /// Its name.
    pub name: String,
    /// What it was set to.
    pub value: String,
    /// What it stands for in the end; null if it begins with an alias that is not set.
    pub path: Option<String>,
    /// Who set it: a file, a variable, a flag.
    pub from: String,
    /// Why it may not do what is expected of it.
    pub warning: Option<String>,
}

/// What `tlc table show` answers, before the first rows.
#[derive(Clone, Debug, Serialize)]
pub struct TableView {
    /// `PROJECT/TABLE`.
    pub table: String,
    /// The revision that is shown.
    pub revision: u64,
    /// The branches that end there.
    pub heads: Vec<String>,
    /// The tags it has.
    pub tags: Vec<String>,
    /// Rows of the revision.
    pub rows: u64,
    /// What the table takes in the root, all revisions up to this one.
    pub bytes: u64,
    /// Its columns.
    pub columns: Vec<ColumnView>,
}

/// One project of `tlc ls`.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectView {
    /// Its name.
    pub project: String,
    /// How many tables it holds.
    pub tables: usize,
    /// How many runs it holds.
    pub runs: usize,
    /// How many artifacts it holds.
    pub artifacts: usize,
}

/// What `tlc ls PROJECT` answers.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectContentView {
    /// Its name.
    pub project: String,
    /// Its tables by name.
    pub tables: Vec<TableEntryView>,
    /// Its runs by name.
    pub runs: Vec<RunEntryView>,
    /// Its artifacts by name.
    pub artifacts: Vec<ArtifactEntryView>,
}

/// One table of `tlc ls PROJECT`.
#[derive(Clone, Debug, Serialize)]
pub struct TableEntryView {
    /// Its name.
    pub table: String,
    /// The head of `main`.
    pub revision: Option<u64>,
    /// Rows of the head.
    pub rows: Option<u64>,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

/// One run of `tlc ls PROJECT`.
#[derive(Clone, Debug, Serialize)]
pub struct RunEntryView {
    /// Its name.
    pub run: String,
    /// `running`, `completed`, `failed` or `interrupted`.
    pub status: Option<&'static str>,
    /// When it started.
    pub started: Option<String>,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

/// What `tlc run show` answers.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    /// `PROJECT/RUN`.
    pub run: String,
    /// `running`, `completed`, `failed` or `interrupted`.
    pub status: &'static str,
    /// Why it failed.
    pub reason: Option<String>,
    /// How often it was begun.
    pub attempts: u32,
    /// Where it begins, if it is the fork of another run.
    pub forked: Option<ForkView>,
    /// Who started it.
    pub author: String,
    /// When it started.
    pub started: String,
    /// When it ended, if it did.
    pub finished: Option<String>,
    /// How long it took, if it ended.
    pub duration_secs: Option<f64>,
    /// The code that it is of; null if that is not known.
    pub code: Option<CodeView>,
    /// The table revisions it used, as `TABLE@REV`.
    pub inputs: Vec<InputView>,
    /// The table revisions it wrote.
    pub outputs: Vec<InputView>,
    /// The versions of artifacts that it read and made.
    pub artifacts: Vec<ArtifactUseView>,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
    /// The last value of each scalar; one that is no number is null.
    pub scalars: BTreeMap<String, f64>,
    /// Its sample metrics.
    pub streams: Vec<StreamView>,
    /// Metrics that were dropped because storage did not keep up.
    pub lost: LostView,
}

/// The code that a run is of, in short.
#[derive(Clone, Debug, Serialize)]
pub struct CodeView {
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// The branch that it was on.
    pub branch: Option<String>,
    /// Whether files were not as the commit has them; null if that is not known.
    pub dirty: Option<bool>,
}

/// What `tlc run compare` answers, without its pairs: these follow as `pairs`.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonView {
    /// The runs, in the order they were asked for.
    pub runs: Vec<String>,
    /// Parameters that are not the same in all.
    pub params: Vec<DifferenceView>,
    /// How the programs were built, called and where they ran.
    pub environment: Vec<DifferenceView>,
    /// The last values of scalars.
    pub scalars: Vec<ScalarDifferenceView>,
    /// What could not be compared.
    pub unknown: Vec<UnknownView>,
}

/// What is not known of a run.
#[derive(Clone, Debug, Serialize)]
pub struct UnknownView {
    /// The run.
    pub run: String,
    /// What, and why.
    pub what: String,
}

/// What is not the same in all runs.
#[derive(Clone, Debug, Serialize)]
pub struct DifferenceView {
    /// Its name.
    pub name: String,
    /// One for each run.
    pub values: Vec<Option<String>>,
}

/// A scalar that is not the same in all runs.
#[derive(Clone, Debug, Serialize)]
pub struct ScalarDifferenceView {
    /// Its name.
    pub name: String,
    /// One for each run.
    pub values: Vec<Option<f64>>,
    /// From the first run to each of the others.
    pub changes: Vec<Option<f64>>,
}

/// A file that two runs have changed differently.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedFileView {
    /// The file.
    pub path: String,
    /// The patch of the first run.
    pub first: Option<String>,
    /// The patch of the other run.
    pub other: Option<String>,
}

/// One thing came from another.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeView {
    /// What was there.
    pub source: String,
    /// What came of it.
    pub target: String,
    /// What the target is.
    pub kind: &'static str,
    /// The revision or version that it is about.
    pub revision: Option<u64>,
    /// What the source is to the target.
    pub role: &'static str,
}

impl From<&Edge> for EdgeView {
    fn from(edge: &Edge) -> Self {
        Self {
            source: edge.source.clone(),
            target: edge.target.clone(),
            kind: edge.kind.as_str(),
            revision: edge.revision.map(|revision| revision.0),
            role: edge.role.as_str(),
        }
    }
}

/// What `tlc lineage --open-lineage` answers.
#[derive(Clone, Debug, Serialize)]
pub struct SentView {
    /// Where the events were sent, without credentials.
    pub target: String,
    /// How many runs they are of.
    pub runs: u64,
    /// How many there were.
    pub events: u64,
}

/// What `tlc report` answers.
#[derive(Clone, Debug, Serialize)]
pub struct ReportView {
    /// The report.
    pub markdown: String,
}

/// What `tlc run code` answers.
#[derive(Clone, Debug, Serialize)]
pub struct ProvenanceView {
    /// `PROJECT/RUN`.
    pub run: String,
    /// What it is made of; null if it says nothing of that.
    pub provenance: Option<Provenance>,
    /// The difference to the commit.
    pub patch: Option<String>,
}

/// Where a fork begins.
#[derive(Clone, Debug, Serialize)]
pub struct ForkView {
    /// The run of the same project that it goes on from.
    pub run: String,
    /// The step before which that run's curves are its own.
    pub step: i64,
}

/// How much a run lost of its metrics.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LostView {
    /// Values of scalars.
    pub scalars: u64,
    /// Rows of sample metrics.
    pub sample_rows: u64,
    /// Texts, histograms and files.
    pub items: u64,
}

/// A table revision that a run used or wrote.
#[derive(Clone, Debug, Serialize)]
pub struct InputView {
    /// The table.
    pub table: String,
    /// The revision.
    pub revision: u64,
}

/// A version of an artifact that a run read or made.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactUseView {
    /// The artifact.
    pub artifact: String,
    /// The number of the version.
    pub version: u64,
    /// `input` or `output`.
    pub role: &'static str,
}

impl From<&ArtifactUse> for ArtifactUseView {
    fn from(used: &ArtifactUse) -> Self {
        Self {
            artifact: used.artifact.to_string(),
            version: used.version,
            role: used.role.as_str(),
        }
    }
}

/// One stream of sample metrics.
#[derive(Clone, Debug, Serialize)]
pub struct StreamView {
    /// Its name.
    pub stream: String,
    /// The table whose rows it is about.
    pub table: Option<String>,
    /// The revision of that table.
    pub revision: Option<u64>,
    /// What was logged of each sample.
    pub columns: Vec<String>,
}

impl RunView {
    /// The view of a run of `project`.
    #[must_use]
    pub fn new(project: &str, record: &RunRecord) -> Self {
        let input = |(table, revision): &(_, tlc_core::Revision)| InputView {
            table: ToString::to_string(table),
            revision: revision.0,
        };
        Self {
            run: format!("{project}/{}", record.name),
            status: record.status.as_str(),
            attempts: record.attempts,
            forked: record.forked.as_ref().map(|fork| ForkView {
                run: fork.run.to_string(),
                step: fork.step,
            }),
            author: record.author.clone(),
            reason: record.reason.clone(),
            started: record.started.to_rfc3339(),
            finished: record.finished.map(Micros::to_rfc3339),
            duration_secs: record
                .finished
                .map(|finished| finished.since(record.started).as_secs_f64()),
            code: record.code.as_ref().map(|code| CodeView {
                commit: code.commit.clone(),
                branch: code.branch.clone(),
                dirty: code.is_dirty,
            }),
            inputs: record.inputs.iter().map(input).collect(),
            outputs: record.outputs.iter().map(input).collect(),
            artifacts: record.artifacts.iter().map(ArtifactUseView::from).collect(),
            params: record.params.clone(),
            scalars: record.last.clone(),
            streams: record.streams.iter().map(StreamView::from).collect(),
            lost: LostView {
                scalars: record.lost.scalars,
                sample_rows: record.lost.sample_rows,
                items: record.lost.items,
            },
        }
    }
}

impl From<&StreamRecord> for StreamView {
    fn from(record: &StreamRecord) -> Self {
        Self {
            stream: record.name.to_string(),
            table: record.table.as_ref().map(ToString::to_string),
            revision: record.revision.map(|revision| revision.0),
            columns: record
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
        }
    }
}

/// What `tlc artifact put` answers.
#[derive(Clone, Debug, Serialize)]
pub struct PutView {
    /// `PROJECT/NAME`.
    pub artifact: String,
    /// The version that was made.
    #[serde(flatten)]
    pub version: VersionView,
    /// The aliases that it was given.
    pub aliases: Vec<String>,
}

impl PutView {
    /// The view of a version of `artifact` that was put.
    #[must_use]
    pub fn new(artifact: &str, put: &VersionRecord, aliases: &[String]) -> Self {
        Self {
            artifact: artifact.to_owned(),
            version: put.into(),
            aliases: aliases.to_vec(),
        }
    }
}

/// What `tlc reduce` answers.
#[derive(Clone, Debug, Serialize)]
pub struct ReducedView {
    /// The run that holds the points, as `PROJECT/RUN`.
    pub run: String,
    /// The run that was reduced, likewise.
    pub source: String,
    /// `pca` or `umap`.
    pub method: String,
    /// How many numbers a point has.
    pub dimensions: usize,
    /// The column of the points.
    pub column: String,
    /// The artifact that is the model, as `NAME@VERSION`.
    pub model: String,
    /// What the model was fitted on, as `RUN/STREAM@EPOCH`.
    pub fitted_on: String,
    /// How many rows have a point.
    pub rows: u64,
    /// How many have none, since they have no vector.
    pub rows_without_vector: u64,
}

impl ReducedView {
    /// The view of what came of the run `source` of `project`.
    #[must_use]
    pub fn new(project: &str, source: &RunName, fitted: &Fitted, reduced: &Reduced) -> Self {
        let model = fitted.model();
        Self {
            run: format!("{project}/{}", reduced.run.name),
            source: format!("{project}/{source}"),
            method: model.method().to_owned(),
            dimensions: fitted.reduction().n_dimensions(),
            column: reduced.column.clone(),
            model: reduced.model.clone(),
            fitted_on: model.fact("fitted_on").unwrap_or_default().to_owned(),
            rows: reduced.rows,
            rows_without_vector: reduced.rows_without_vector,
        }
    }
}

/// One version of an artifact.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// When it was put.
    pub time: String,
    /// Who put it.
    pub author: String,
    /// The run that made it.
    pub run: Option<String>,
    /// Why.
    pub message: String,
    /// How many files it has.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// What it added to the root.
    pub bytes_stored: u64,
}

impl From<&VersionRecord> for VersionView {
    fn from(record: &VersionRecord) -> Self {
        Self {
            version: record.version,
            time: record.time.to_rfc3339(),
            author: record.author.clone(),
            run: record.run.as_ref().map(ToString::to_string),
            message: record.message.clone(),
            files: record.n_files,
            bytes: record.bytes,
            bytes_stored: record.bytes_stored,
        }
    }
}

/// What `tlc artifact get` answers.
#[derive(Clone, Debug, Serialize)]
pub struct GotView {
    /// `PROJECT/NAME`.
    pub artifact: String,
    /// The number of the version.
    pub version: u64,
    /// The file or folder that it is now.
    pub target: String,
    /// How many files it has.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// One artifact of `tlc artifact list` and `tlc ls PROJECT`.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactEntryView {
    /// Its name.
    pub artifact: String,
    /// The newest version.
    pub version: Option<u64>,
    /// The sizes of that version's files together.
    pub bytes: Option<u64>,
    /// When that was put.
    pub time: Option<String>,
    /// The versions that its aliases name.
    pub aliases: BTreeMap<String, u64>,
    /// Why it cannot be read, if it cannot.
    pub error: Option<String>,
}

impl ArtifactEntryView {
    /// The view of an artifact of that name.
    #[must_use]
    pub fn new(name: &ArtifactName, record: &CoreResult<ArtifactRecord>) -> Self {
        let newest = record
            .as_ref()
            .ok()
            .and_then(|record| record.versions.last());
        let aliases = record.iter().flat_map(|record| &record.aliases);
        let named = aliases.filter_map(|alias| Some((alias.name.clone(), alias.version?)));
        Self {
            artifact: name.to_string(),
            version: newest.map(|newest| newest.version),
            bytes: newest.map(|newest| newest.bytes),
            time: newest.map(|newest| newest.time.to_rfc3339()),
            aliases: named.collect(),
            error: record.as_ref().err().map(|err| format!("{err:#}")),
        }
    }
}

/// What `tlc artifact show` answers.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactView {
    /// `PROJECT/NAME`.
    pub artifact: String,
    /// The version whose files are shown.
    pub version: u64,
    /// All versions, the first one first.
    pub versions: Vec<VersionView>,
    /// The aliases by name, also those that were taken away.
    pub aliases: Vec<AliasHistoryView>,
    /// The files of the version that is shown.
    pub files: Vec<FileView>,
    /// Of those files that are safetensors, the tensors.
    pub tensors: Vec<TensorsView>,
}

/// An alias of an artifact.
#[derive(Clone, Debug, Serialize)]
pub struct AliasHistoryView {
    /// Its name.
    pub alias: String,
    /// The version that it names; null if it was taken away.
    pub version: Option<u64>,
    /// Its moves, the first one first.
    pub moves: Vec<AliasMoveView>,
}

/// One move of an alias.
#[derive(Clone, Debug, Serialize)]
pub struct AliasMoveView {
    /// When.
    pub time: String,
    /// Who moved it.
    pub author: String,
    /// The version that it named before; null for none.
    pub from: Option<u64>,
    /// The version that it named afterwards; null for none.
    pub to: Option<u64>,
}

/// One file of a version.
#[derive(Clone, Debug, Serialize)]
pub struct FileView {
    /// Its path in the version.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub blake3: String,
    /// Whether it is a program.
    pub executable: bool,
}

/// The tensors of one file.
#[derive(Clone, Debug, Serialize)]
pub struct TensorsView {
    /// The file's path in the version.
    pub file: String,
    /// In the order in which they lie in the file.
    pub tensors: Vec<TensorView>,
    /// What else the file says of itself.
    pub metadata: BTreeMap<String, String>,
    /// Why no tensors could be read of it; null if they could.
    pub error: Option<String>,
}

/// One tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its size in the file.
    pub bytes: u64,
}

impl ArtifactView {
    /// The view of an artifact, and of what is in its version of that number.
    #[must_use]
    pub fn new(
        artifact: &str,
        record: &ArtifactRecord,
        version: u64,
        files: &[ArtifactFile],
        tensors: Vec<TensorsView>,
    ) -> Self {
        let file = |file: &ArtifactFile| FileView {
            path: file.path.clone(),
            bytes: file.bytes,
            blake3: file.blake3.clone(),
            executable: file.is_executable,
        };
        let aliases = record.aliases.iter().map(|alias| AliasHistoryView {
            alias: alias.name.clone(),
            version: alias.version,
            moves: alias
                .moves
                .iter()
                .map(|moved| AliasMoveView {
                    time: moved.time.to_rfc3339(),
                    author: moved.author.clone(),
                    from: moved.from,
                    to: moved.to,
                })
                .collect(),
        });
        Self {
            artifact: artifact.to_owned(),
            version,
            versions: record.versions.iter().map(VersionView::from).collect(),
            aliases: aliases.collect(),
            files: files.iter().map(file).collect(),
            tensors,
        }
    }
}

impl TensorsView {
    /// The view of the tensors in `file`.
    #[must_use]
    pub fn new(file: &str, tensors: &Tensors) -> Self {
        let tensor = |tensor: &TensorRecord| TensorView {
            name: tensor.name.clone(),
            dtype: tensor.dtype.clone(),
            shape: tensor.shape.clone(),
            bytes: tensor.bytes,
        };
        Self {
            file: file.to_owned(),
            tensors: tensors.tensors.iter().map(tensor).collect(),
            metadata: tensors.metadata.clone(),
            error: None,
        }
    }

    /// The view of a file whose tensors could not be read.
    #[must_use]
    pub fn unreadable(file: &str, err: &tlc_core::Error) -> Self {
        Self {
            file: file.to_owned(),
            tensors: Vec::new(),
            metadata: BTreeMap::new(),
            error: Some(format!("{err:#}")),
        }
    }
}

/// What `tlc artifact alias` answers.
#[derive(Clone, Debug, Serialize)]
pub struct AliasMovedView {
    /// `PROJECT/NAME`.
    pub artifact: String,
    /// The alias.
    pub alias: String,
    /// The version that it names now; null if it was taken away.
    pub version: Option<u64>,
    /// The version that it named before, the same if it stays; null for none.
    pub from: Option<u64>,
}
