//! Tables with sparse revisions, training runs with per-sample metrics, and SQL over both, in a
//! folder or a bucket.
//!
//! Five nouns make the library:
//!
//! - a [`Table`] is named rows with a history; you read from
//! - a [`Snapshot`], the table at one revision, which never changes; you change it by committing
//! - a [`Patch`]: cells and elements set, rows appended or dropped, columns added or changed;
//! - a [`Run`] is one execution of a training program: its parameters, its inputs, its scalars, and
//! - for every sample what the model thought of it, as a [`Collector`] worked it out.
//!
//! Tables and runs live in a [`Project`], projects under a [`Root`]: the URL of a folder on disk or
//! in a bucket. Calls that touch storage are `async`; a synchronous program runs them with
//! [`block_on`]. A [`Run`] and a [`Loader`] are synchronous: they belong to the training loop.
//!
//! The library reads no environment variable and no configuration file, and prints nothing.

mod alias;
mod blob;
pub mod collect;
mod env;
mod error;
mod format;
mod id;
pub mod import;
pub mod loader;
mod log;
mod patch;
mod project;
pub mod quality;
pub mod questions;
mod redact;
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
pub use collect::Collector;
pub use env::{Env, Micros, Process};
pub use error::{Error, ErrorKind, Result};
pub use id::{Cell, ColumnName, ProjectName, ROWID, Revision, RunName, StreamName, TableName};
pub use loader::Loader;
pub use log::{Append, Log};
pub use patch::{Patch, Value};
pub use project::{Project, Root, RootOptions};
pub use quality::{
    AreaOptions, BoxOptions, Distance, IssueAction, IssueRanking, IssueSelection,
    LabelIssueOptions, NeighbourOptions, TrendOptions,
};
pub use questions::{ClassOptions, Top};
pub use redact::{REDACTED, redacted, redacted_arguments, redacted_environment};
#[cfg(feature = "tracing")]
pub use run::EventLayer;
pub use run::{Fork, ItemKind, Rows, Run, RunOptions, RunRecord, RunStatus, StreamRecord};
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
