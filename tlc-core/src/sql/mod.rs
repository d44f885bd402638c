//! SQL over the tables and runs of a root, on DataFusion.
//!
//! A caller opens a [`Sql`] on a [`Root`], asks it with [`Sql::query`] or [`Sql::collect`], and
//! changes tables with [`Sql::execute`] or, by expressions alone, [`Sql::edit`]. Projects are schemas:
//!
//! | name | rows |
//! |---|---|
//! | `<project>.<table>` | the head of `main`; `_rowid` comes first |
//! | `<project>."<table>@7"`, `"<table>@gold"` | another snapshot: a revision, a branch, a tag or a time |
//! | `<project>.runs`, `.params`, `.scalars`, `.samples`, `.texts`, `.histograms`, `.files` | the project's runs and what they logged |
//! | `<project>.revisions`, `.lineage` | how the tables came to be, and what was made from what |
//! | `diff('<project>/<table>', a, b)` | what differs between two revisions, by number or name |
//! | `blame('<project>/<table>', 'column', a)` | who gave each cell its value, as of `a` or of the head |
//! | `compare('<project>/<run>', 'run', …)` | in what runs differ: one row for each parameter, scalar, file of code, table, stream and run |
//! | `compare_classes('<project>/<run>', 'run', 'stream')` | what became of the samples of a stream, by label |
//! | `compare_samples('<project>/<run>', 'run', 'stream', n)` | the samples of a stream that changed most |
//! | `epoch_means('<project>/<run>', 'stream', 'column')` | the mean of a column of sample metrics in each epoch |
//! | `top_samples('<project>/<run>', 'stream', 'column', n)` | the samples with the highest means over epochs; with `'lowest'` the lowest |
//! | `confusion('<project>/<run>', 'stream', epoch)` | how often each label was predicted as what |
//! | `flips('<project>/<run>', 'stream', n)` | the samples whose prediction changed most often |
//! | `forgotten('<project>/<run>', 'stream', n)` | the samples that were never right, and those that were right and became wrong most often |
//! | `embeddings('<project>/<run>', 'stream', epoch)` | row ids and vectors of an epoch |
//! | `label_issues('<project>/<run>', 'stream', epoch, n)` | the samples whose label is probably wrong, and what it should be; more arguments say by which columns, of which revision, and by which rule |
//! | `label_noise('<project>/<run>', 'stream', epoch)` | how many labels are estimated to be wrong, by pairs of classes |
//! | `area_under_margin('<project>/<run>', 'stream', n, class)` | the samples with the lowest mean margins over epochs; of threshold samples of a class, those below them |
//! | `box_issues('<project>/<run>', 'stream', epoch, n)` | boxes that are probably missing, of the wrong class or badly placed |
//! | `loss_trend('<project>/<run>', 'stream', n)` | the samples whose loss is high and does not fall |
//! | `nearest('<project>/<run>', 'stream', epoch, 'ids', n)` | the nearest samples by their vectors |
//! | `near_duplicates('<project>/<run>', 'stream', epoch)` | samples that are almost the same, by their vectors |
//! | `outliers('<project>/<run>', 'stream', epoch)` | samples that are like no others, by their vectors |
//! | `label_name(column)` | the name of the class that a label column holds |
//!
//! The names of the last lists win over a table of the same name, which stays within reach as
//! `"runs@main"`. Each query sees one state of each table it names, however often it names it.
//!
//! `query` and `collect` only read. `execute` takes one `UPDATE`, `DELETE` or `INSERT` of one table
//! and makes at most one revision of it, by a [`Patch`](crate::Patch) like everybody else. What would
//! change settings, files or the set of tables, or read a file by its path, is refused before
//! anything is planned.

mod blame;
mod calls;
mod catalog;
mod check;
mod codec;
mod compare;
mod diff;
mod edit;
mod error;
mod exec;
mod files;
mod functions;
mod named;
mod pinned;
mod predicate;
mod provider;
mod quality;
mod questions;
mod rowids;
mod runs;
mod statement;
mod statistics;
mod superset;
mod told;
mod write;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProviderList as _, MemoryCatalogProviderList};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::id::ProjectName;
use crate::project::Root;
use crate::runtime;

use catalog::{CATALOG, Catalog, NO_PROJECT, Opened, Projects};
pub use codec::PlanCodec;
pub use write::Written;

/// The memory that all queries of a [`Sql`] may hold at one time, unless it is opened with another limit.
const MEMORY_BYTES_MAX: usize = 1 << 30;

/// How to open a [`Sql`].
#[derive(Clone, Debug)]
pub struct SqlOptions {
    memory_bytes_max: usize,
    n_partitions: Option<usize>,
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SqlOptions {
    /// One gibibyte of memory, and as many partitions as there are processors.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory_bytes_max: MEMORY_BYTES_MAX,
            n_partitions: None,
        }
    }

    /// The memory that sorts, joins and aggregations of all queries may hold together. What can
    /// spill to temporary files does so before a query is refused.
    #[must_use]
    pub fn memory_bytes_max(mut self, bytes: usize) -> Self {
        self.memory_bytes_max = bytes;
        self
    }

    /// How many parts of a query run at one time.
    #[must_use]
    pub fn partitions(mut self, n: usize) -> Self {
        self.n_partitions = Some(n.max(1));
        self
    }
}

/// A session for statements over one root. Cheap to clone; clones share the memory limit, and what was
/// read of tables: each query sees the newest state, and asks only for what is new. A change of a
/// project's aliases is seen by sessions that are opened later.
///
/// ```
/// use tlc_core::{Root, Sql, block_on};
///
/// let root = block_on(Root::open("memory:///"))?;
/// let rows = block_on(async { Sql::open(&root).await?.collect("SELECT 1 + 1 AS two").await })?;
/// assert_eq!(rows[0].num_rows(), 1);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Sql {
    root: Root,
    state: SessionState,
    project: Option<ProjectName>,
    opened: Opened,
}

impl Sql {
    /// Opens a session. Makes no request: what a query names is looked up when it is asked.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the engine refuses its settings.
    pub async fn open(root: &Root) -> Result<Self> {
        Self::open_with(root, SqlOptions::new()).await
    }

    /// Opens a session with a memory limit or a number of partitions of its own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(root: &Root, options: SqlOptions) -> Result<Self> {
        let mut builder = SessionStateBuilder::new()
            .with_config(config(&options))
            .with_runtime_env(runtime_env(root, options.memory_bytes_max)?)
            .with_default_features();
        functions::register(&mut builder, root);
        Ok(Self {
            root: root.clone(),
            state: builder.build(),
            project: None,
            opened: Opened::default(),
        })
    }

    /// Lets names without a project mean those of `project`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it cannot be a project's name.
    pub fn with_project(mut self, project: &str) -> Result<Self> {
        self.project = Some(project.parse()?);
        Ok(self)
    }

    /// Runs a query; its rows come as they are made.
    ///
    /// The query is planned when this returns, and works only while the stream is polled. Dropping
    /// the stream ends it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown project, table or
    /// revision; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for wrong SQL and for anything
    /// but queries, `EXPLAIN`, `SHOW` and `DESCRIBE`; those of reading.
    pub async fn query(&self, sql: &str) -> Result<SqlStream> {
        let statement = self.parsed(sql, check::parse).await?;
        self.query_in(
            statement,
            Catalog::new(&self.root, self.project.clone(), &self.opened),
        )
        .await
    }

    /// Runs a query and waits for all its rows.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.query(sql).await?.try_collect().await
    }

    /// The engine's own session over the root, for programs that use DataFusion themselves: its names
    /// are those of queries here, and it runs plans that a [`PlanCodec`] read.
    ///
    /// Names are looked up each time that a query is planned. What [`Self::query`] refuses is not
    /// refused there.
    #[must_use]
    pub fn context(&self) -> SessionContext {
        let catalog = Catalog::new(&self.root, self.project.clone(), &self.opened);
        SessionContext::new_with_state(self.session(Arc::new(catalog)).state)
    }

    /// Reads text away from the calling task, whose stack may be too small for the parser.
    async fn parsed<T: Send + 'static>(
        &self,
        sql: &str,
        read: fn(&SessionState, &str) -> Result<T>,
    ) -> Result<T> {
        let (session, sql) = (self.clone(), sql.to_owned());
        let reading = runtime::handle()?.spawn(async move { read(&session.state, &sql) });
        reading
            .await
            .map_err(|err| engine_fault().with_source(err))?
    }

    /// Plans a query away from the calling task, so that the engine has its runtime around it and
    /// a fault of its planner is an error.
    async fn query_in(&self, statement: Statement, catalog: Catalog) -> Result<SqlStream> {
        let handle = runtime::handle()?;
        let session = self.session(Arc::new(catalog));
        let planning = handle.spawn(async move { session.plan(statement).await });
        let (schema, rows) = planning
            .await
            .map_err(|err| engine_fault().with_source(err))??;
        Ok(SqlStream {
            schema,
            rows: Some(rows),
            handle,
        })
    }

    /// The engine's state for one query: the session's functions and settings, its own catalog.
    fn session(&self, catalog: Arc<Catalog>) -> Session {
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(Projects(Arc::clone(&catalog))));
        let mut state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_catalog_list(Arc::new(catalogs))
            .build();
        if let Some(project) = &self.project {
            state.config_mut().options_mut().catalog.default_schema = project.to_string();
        }
        Session { state, catalog }
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql")
            .field("root", &self.root)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

fn config(options: &SqlOptions) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, NO_PROJECT)
        .with_information_schema(true)
        .with_collect_statistics(true);
    if let Some(n) = options.n_partitions {
        config = config.with_target_partitions(n);
    }
    let engine = config.options_mut();
    engine.execution.parquet.schema_force_view_types = false;
    engine.sql_parser.map_string_types_to_utf8view = false;
    config
}

fn runtime_env(root: &Root, memory_bytes_max: usize) -> Result<Arc<RuntimeEnv>> {
    let pool = FairSpillPool::new(memory_bytes_max);
    let env = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .build_arc()?;
    env.register_object_store(files::root_url()?.as_ref(), Arc::clone(root.store()));
    Ok(env)
}

/// One query's state and the catalog that it resolves names in.
struct Session {
    state: SessionState,
    catalog: Arc<Catalog>,
}

impl Session {
    async fn plan(&self, statement: Statement) -> Result<(SchemaRef, SendableRecordBatchStream)> {
        if self.lists_names(&statement)? {
            self.catalog.list().await?;
        }
        match self.execute(statement).await {
            Ok(rows) => Ok((rows.schema(), rows)),
            Err(err) => Err(self.catalog.explain(err).await),
        }
    }

    async fn execute(&self, statement: Statement) -> Result<SendableRecordBatchStream> {
        let plan = Box::pin(self.state.statement_to_plan(statement)).await?;
        check::reads_only(&plan)?;
        let plan = Box::pin(self.state.create_physical_plan(&plan)).await?;
        Ok(execute_stream(plan, self.state.task_ctx())?)
    }

    /// Whether the statement asks for the names of tables, which are listed only then.
    fn lists_names(&self, statement: &Statement) -> Result<bool> {
        let references = self.state.resolve_table_references(statement)?;
        Ok(references
            .iter()
            .any(|reference| reference.schema() == Some("information_schema")))
    }
}

fn engine_fault() -> Error {
    Error::invalid(
        "the query engine failed on this query; write it in another way, and please report it",
    )
}

/// The rows of a query, as a stream of batches.
pub struct SqlStream {
    schema: SchemaRef,
    rows: Option<SendableRecordBatchStream>,
    handle: Handle,
}

impl SqlStream {
    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl fmt::Debug for SqlStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStream")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Stream for SqlStream {
    type Item = Result<RecordBatch>;

    /// The engine starts tasks of its own, so it is polled inside a runtime whoever polls us.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(rows) = &mut this.rows else {
            return Poll::Ready(None);
        };
        let guard = this.handle.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| rows.poll_next_unpin(cx)));
        drop(guard);
        let item = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(item)) => item.map(|batch| batch.map_err(Error::from)),
            Err(_) => Some(Err(engine_fault())),
        };
        if !matches!(item, Some(Ok(_))) {
            this.rows = None;
        }
        Poll::Ready(item)
    }
}
