//! Tables with sparse revisions, training runs with per-sample metrics, and SQL over both, in a
//! folder or a bucket.
//!
//! Six nouns make the library:
//!
//! - a [`Table`] is named rows with a history; you read from
//! - a [`Snapshot`], the table at one revision, which never changes; you change it by committing
//! - a [`Patch`]: cells and elements set, rows appended or dropped, columns added or changed;
//! - a [`Run`] is one execution of a training program: its parameters, its inputs, its scalars, and
//! - for every sample what the model thought of it, as a [`Collector`] worked it out; an [`Artifact`] is
//! - a file or a folder with a history of versions, such as the model that a run made.
//!
//! Tables, runs and artifacts live in a [`Project`], projects under a [`Root`]: the URL of a folder on disk or
//! in a bucket. Calls that touch storage are `async`; a synchronous program runs them with
//! [`block_on`]. A [`Run`] and a [`Loader`] are synchronous: they belong to the training loop.
//!
//! No environment variable and no configuration file changes what the library does, and it prints nothing.

mod alias;
pub mod artifact;
mod blob;
pub mod collect;
mod comparison;
mod env;
mod error;
mod format;
mod id;
pub mod import;
mod lineage;
pub mod loader;
mod log;
mod patch;
mod project;
mod provenance;
pub mod quality;
pub mod questions;
mod redact;
pub mod reduction;
pub mod run;
mod runtime;
pub mod schema;
#[cfg(feature = "sql")]
pub mod sql;
mod store;
mod sync;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use arrow;
pub use object_store;

pub use alias::Aliases;
pub use artifact::{
    Artifact, ArtifactRecord, ArtifactSource, ArtifactVersion, GetOptions, PutOptions,
    VersionRecord,
};
pub use collect::Collector;
pub use comparison::{
    CodeComparison, Comparison, Difference, FileComparison, Pair, StreamComparison,
    TableComparison, Unknown,
};
pub use env::{Env, Micros, Process};
pub use error::{Error, ErrorKind, Result};
pub use id::{
    ArtifactName, Cell, ColumnName, ProjectName, ROWID, Revision, RunName, StreamName, TableName,
};
pub use lineage::{Edge, EdgeKind, EdgeRole, OpenLineageEvent, OpenLineageKind};
pub use loader::Loader;
pub use log::{Append, Log};
pub use patch::{Patch, Value};
pub use project::{Project, Root, RootOptions};
pub use provenance::{
    Build, CODE_WAIT_MAX, Change, ChangeKind, Code, Gpu, LockFile, Machine, PatchFile, Provenance,
};
pub use quality::{
    AreaOptions, BoxOptions, Distance, IssueAction, IssueRanking, IssueSelection,
    LabelIssueOptions, NeighbourOptions, TrendOptions,
};
pub use questions::{ClassOptions, Top};
pub use redact::{REDACTED, Secrets, redacted, redacted_arguments, redacted_environment};
pub use reduction::{Fitted, ReduceOptions, Reduced, Reducer, Reduction};
#[cfg(feature = "reduction")]
pub use reduction::{Pca, Umap};
#[cfg(feature = "tracing")]
pub use run::EventLayer;
pub use run::{Fork, ItemKind, Rows, Run, RunCode, RunOptions, RunRecord, RunStatus, StreamRecord};
pub use runtime::block_on;
pub use schema::{Class, Role};
#[cfg(feature = "sql")]
pub use sql::{PlanCodec, Sql};
pub use store::{StoreCheck, StoreReport, Writers};
pub use sync::Synced;
pub use table::{
    Blame, BlameOptions, Branch, CellConflicts, CellsDiff, Checked, ColumnDiff, CommitOptions,
    Committed, Conflicts, Diff, Finding, Garbage, GarbageFile, GcOptions, Keep, Merged, Parent,
    Report, Resolution, RevisionRecord, Scan, ScanOptions, Severity, Snapshot, Table, Tag, Take,
    VerifiedTable, VerifyOptions,
};
