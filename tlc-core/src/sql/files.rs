//! `scalars` and `samples`: the Parquet files that runs wrote, read by the engine's own scan.
//!
//! What is the same for all rows of a file (its run; for samples its stream and epoch too) is known
//! without opening it. Filters on these decide which files are opened at all;
//! the engine takes the other filters, the projection and the limit into the files.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{DFSchema, Result as EngineResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

use crate::error::Result;
use crate::id::{ProjectName, ROWID, RunName};
use crate::project::Project;
use crate::run::{SampleFile, ScalarFile, scalar_schema};

use super::runs::{self, Records};
use super::superset::{Superset, field};

/// How many folders are listed at the same time.
const LISTS_MAX: usize = 32;

/// The root's store, as the engine's scans find it.
pub(super) fn root_url() -> Result<ObjectStoreUrl> {
    Ok(ObjectStoreUrl::parse("tlc://root")?)
}

/// The files of all runs of a project, of one kind.
pub(super) struct RunFiles {
    project: Project,
    runs: Vec<RunName>,
    kind: Kind,
    /// The columns in the order that users see.
    schema: SchemaRef,
    /// The columns in the files, and those that are the same for all rows of a file.
    columns: TableSchema,
}

enum Kind {
    Scalars,
    Samples,
}

/// A file, and the values of the columns that its rows share.
struct Candidate {
    path: Path,
    bytes: u64,
    shared: Vec<ScalarValue>,
}

impl RunFiles {
    pub(super) async fn scalars(project: Project) -> Result<Self> {
        let runs = project.runs().await?;
        let shared = vec![field("run", DataType::Utf8, false)];
        let stored: Vec<FieldRef> = scalar_schema().fields().iter().cloned().collect();
        let schema = [shared.clone(), stored.clone()].concat();
        Ok(Self::new(
            project,
            runs,
            Kind::Scalars,
            schema,
            stored,
            shared,
        ))
    }

    pub(super) async fn samples(project: Project) -> Result<Self> {
        let runs = project.runs().await?;
        let records = runs::records(&project, &runs).await?;
        let [run, stream] = ["run", "stream"].map(|name| field(name, DataType::Utf8, false));
        let epoch = field("epoch", DataType::Int64, true);
        let [step, row_id] = [
            field("step", DataType::Int64, true),
            field(ROWID, DataType::UInt64, true),
        ];
        let [table, revision] = [
            field("table", DataType::Utf8, true),
            field("revision", DataType::Int64, true),
        ];
        let system = [&run, &stream, &epoch, &step, &row_id, &table, &revision]
            .map(Arc::clone)
            .to_vec();
        let mut metrics = Superset::new(&system);
        for record in &records {
            for stream in &record.streams {
                metrics.add(
                    &format!(
                        "stream {:?} of run {:?}",
                        stream.name.as_str(),
                        record.name.as_str()
                    ),
                    &stream.schema,
                )?;
            }
        }
        let metrics = metrics.fields();
        let schema = [system, metrics.clone()].concat();
        let stored = [vec![step, row_id, table, revision], metrics].concat();
        Ok(Self::new(
            project,
            runs,
            Kind::Samples,
            schema,
            stored,
            vec![run, stream, epoch],
        ))
    }

    fn new(
        project: Project,
        runs: Vec<RunName>,
        kind: Kind,
        schema: Vec<FieldRef>,
        stored: Vec<FieldRef>,
        shared: Vec<FieldRef>,
    ) -> Self {
        let columns = TableSchema::builder(Arc::new(Schema::new(stored)))
            .with_table_partition_cols(shared)
            .build();
        Self {
            project,
            runs,
            kind,
            schema: Arc::new(Schema::new(schema)),
            columns,
        }
    }

    /// Of which project, and which of its records.
    pub(super) fn named(&self) -> (ProjectName, Records) {
        let kind = match self.kind {
            Kind::Scalars => Records::Scalars,
            Kind::Samples => Records::Samples,
        };
        (self.project.name().clone(), kind)
    }

    fn shared(&self) -> Vec<&str> {
        self.columns
            .table_partition_cols()
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    }

    /// The files that can hold a row that passes the filters.
    async fn candidates(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> EngineResult<Vec<Candidate>> {
        let values = self
            .runs
            .iter()
            .map(|run| vec![ScalarValue::from(run.as_str())])
            .collect::<Vec<_>>();
        let keep = matching(session, filters, &self.keys(&values, 1)?)?;
        let runs = self
            .runs
            .iter()
            .zip(keep)
            .filter(|(_, keep): &(&RunName, bool)| *keep)
            .map(|(run, _)| run.clone());
        let lists = runs.map(|run| self.files(run).boxed()).collect::<Vec<_>>();
        let listed: Vec<Vec<Candidate>> = stream::iter(lists)
            .buffered(LISTS_MAX)
            .try_collect()
            .await?;
        let files: Vec<Candidate> = listed.into_iter().flatten().collect();
        let values = files
            .iter()
            .map(|file| file.shared.clone())
            .collect::<Vec<_>>();
        let keep = matching(session, filters, &self.keys(&values, self.shared().len())?)?;
        Ok(files
            .into_iter()
            .zip(keep)
            .filter_map(|(file, keep)| keep.then_some(file))
            .collect())
    }

    /// The first `n` shared columns with one row for each of `rows`.
    fn keys(&self, rows: &[Vec<ScalarValue>], n: usize) -> EngineResult<RecordBatch> {
        let fields: Vec<FieldRef> = self
            .columns
            .table_partition_cols()
            .iter()
            .take(n)
            .cloned()
            .collect();
        let column = |(at, field): (usize, &FieldRef)| -> EngineResult<ArrayRef> {
            if rows.is_empty() {
                return Ok(arrow::array::new_empty_array(field.data_type()));
            }
            ScalarValue::iter_to_array(rows.iter().filter_map(|row| row.get(at).cloned()))
        };
        let columns = fields
            .iter()
            .enumerate()
            .map(column)
            .collect::<EngineResult<Vec<_>>>()?;
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    async fn files(&self, run: RunName) -> Result<Vec<Candidate>> {
        match &self.kind {
            Kind::Scalars => {
                let candidate = |file: ScalarFile| Candidate {
                    path: file.path,
                    bytes: file.bytes,
                    shared: vec![run.as_str().into()],
                };
                Ok(self
                    .project
                    .scalar_files(&run)
                    .await?
                    .into_iter()
                    .map(candidate)
                    .collect())
            }
            Kind::Samples => {
                let candidate = |file: SampleFile| {
                    let (stream, epoch) = (file.stream.as_str().into(), file.epoch.into());
                    Candidate {
                        path: file.path,
                        bytes: file.bytes,
                        shared: vec![run.as_str().into(), stream, epoch],
                    }
                };
                Ok(self
                    .project
                    .sample_files(&run)
                    .await?
                    .into_iter()
                    .map(candidate)
                    .collect())
            }
        }
    }
}

impl fmt::Debug for RunFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFiles")
            .field("project", &self.project.name())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for RunFiles {
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
            &self.shared(),
            &TableProviderFilterPushDown::Inexact,
        ))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let positions = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&positions);
        let candidates = self.candidates(session, filters).await?;
        if candidates.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(
                self.schema.project(projection)?,
            ))));
        }
        let stored = self.columns.table_schema();
        let projection = projection
            .iter()
            .map(|at| Ok(stored.index_of(self.schema.field(*at).name())?))
            .collect::<EngineResult<_>>()?;
        let files = candidates.into_iter().map(|file| {
            PartitionedFile::new(file.path.to_string(), file.bytes)
                .with_partition_values(file.shared)
        });
        let groups =
            FileGroup::new(files.collect()).split_files(session.config().target_partitions());
        let config = FileScanConfigBuilder::new(root_url()?, self.source(session)?)
            .with_file_groups(groups)
            .with_projection_indices(Some(projection))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl RunFiles {
    /// The engine's reader of Parquet. Files never change, so their footers are kept.
    fn source(&self, session: &dyn Session) -> EngineResult<Arc<ParquetSource>> {
        let runtime = session.runtime_env();
        let store = runtime.object_store(root_url()?)?;
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(store, footers);
        let source = ParquetSource::new(self.columns.clone())
            .with_table_parquet_options(session.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(reader));
        Ok(Arc::new(source))
    }
}

/// For each filter whether it is settled by choosing among files by the columns `keys`; `other`
/// for the rest.
pub(super) fn key_filters(
    filters: &[&Expr],
    keys: &[&str],
    other: &TableProviderFilterPushDown,
) -> Vec<TableProviderFilterPushDown> {
    let settled = |filter: &&Expr| match reads_only(filter, keys) {
        true => TableProviderFilterPushDown::Exact,
        false => other.clone(),
    };
    filters.iter().map(settled).collect()
}

/// Which rows of `keys` pass every filter that reads no other column.
pub(super) fn matching(
    session: &dyn Session,
    filters: &[Expr],
    keys: &RecordBatch,
) -> EngineResult<Vec<bool>> {
    let schema = keys.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let engine_schema = DFSchema::try_from(Arc::clone(&schema))?;
    let mut keep = vec![true; keys.num_rows()];
    for filter in filters.iter().filter(|filter| reads_only(filter, &names)) {
        let passes = session.create_physical_expr(filter.clone(), &engine_schema)?;
        let passes = passes.evaluate(keys)?.into_array(keys.num_rows())?;
        for (keep, passes) in keep.iter_mut().zip(passes.as_boolean()) {
            *keep &= passes == Some(true);
        }
    }
    Ok(keep)
}

/// Whether the filter can be evaluated with the columns `names` alone, to the same answer each time.
fn reads_only(filter: &Expr, names: &[&str]) -> bool {
    let foreign = |expr: &Expr| {
        Ok(match expr {
            Expr::Column(column) => !names.contains(&column.name.as_str()),
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::ScalarVariable(..)
            | Expr::Placeholder(_) => true,
            _ => false,
        })
    };
    !filter.is_volatile() && !filter.exists(foreign).unwrap_or(true)
}
