//! `scalars`, `samples`, `texts`, `histograms` and `files`, and with all attempts `all_scalars` and so on: the files that
//! runs wrote.
//!
//! What is the same for all rows of a file (its run and attempt; for samples its stream and epoch too) is known
//! without opening it. Filters on these decide which files are opened at all. Parquet files are read by the engine's own scan,
//! which takes the other filters, the projection and the limit into them. Rows that are not folded yet,
//! and of resumed runs those of files of which not all rows count, are read when the plan is made. So are the scalars of forks, with
//! those that they took over of other runs, which are their attempt 0.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, new_null_array};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{DFSchema, Result as EngineResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use futures::future::try_join;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

use crate::error::Result;
use crate::id::{ProjectName, ROWID, RunName};
use crate::project::Project;
use crate::run::{ItemKind, ScalarFile, Winning, item_schema, scalar_schema, winning_named};

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
    /// Also rows that a later attempt took the place of.
    all_attempts: bool,
    /// The columns in the order that users see.
    schema: SchemaRef,
    /// The columns in the files, and those that are the same for all rows of a file.
    columns: TableSchema,
}

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalars,
    Items(ItemKind),
    Samples,
}

/// A file, or rows of other runs, and the values of the columns that its rows share.
struct Candidate {
    path: Path,
    bytes: u64,
    shared: Vec<ScalarValue>,
    rows: Counting,
}

/// Which rows of a file are rows of the table.
enum Counting {
    /// All, and the file is Parquet, perhaps in the order of name and step.
    Parquet { is_sorted: bool },
    /// All of a segment, or those before a step.
    Read(Option<Box<Winning>>),
    /// These, of a file of scalars or items of a run that was resumed or forked; or what a fork took over.
    Known(Vec<RecordBatch>),
}

impl RunFiles {
    pub(super) async fn of(project: Project, kind: Kind, all_attempts: bool) -> Result<Self> {
        match kind {
            Kind::Scalars => Self::named_rows(project, kind, &scalar_schema(), all_attempts).await,
            Kind::Items(items) => {
                Self::named_rows(project, kind, &item_schema(items), all_attempts).await
            }
            Kind::Samples => Self::samples(project, all_attempts).await,
        }
    }

    async fn named_rows(
        project: Project,
        kind: Kind,
        stored: &Schema,
        all_attempts: bool,
    ) -> Result<Self> {
        let runs = project.runs().await?;
        let run = field("run", DataType::Utf8, false);
        let attempt = field("attempt", DataType::Int32, false);
        let mut stored: Vec<FieldRef> = stored.fields().iter().cloned().collect();
        stored.retain(|field| field.name() != attempt.name());
        let schema = [
            vec![Arc::clone(&run)],
            stored.clone(),
            vec![Arc::clone(&attempt)],
        ];
        Ok(Self {
            project,
            runs,
            kind,
            all_attempts,
            schema: Arc::new(Schema::new(schema.concat())),
            columns: columns(stored, vec![run, attempt]),
        })
    }

    async fn samples(project: Project, all_attempts: bool) -> Result<Self> {
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
        let [rank, attempt] = ["rank", "attempt"].map(|name| field(name, DataType::Int32, true));
        let system = [
            &run, &stream, &epoch, &step, &row_id, &table, &revision, &rank, &attempt,
        ];
        let system = system.map(Arc::clone).to_vec();
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
        let stored = [vec![step, row_id, table, revision, rank], metrics].concat();
        Ok(Self {
            project,
            runs,
            kind: Kind::Samples,
            all_attempts,
            schema: Arc::new(Schema::new(schema)),
            columns: columns(stored, vec![run, attempt, stream, epoch]),
        })
    }

    /// Of which project, and which of its records.
    pub(super) fn named(&self) -> (ProjectName, Records) {
        let records = match self.all_attempts {
            true => Records::AllLogged(self.kind),
            false => Records::Logged(self.kind),
        };
        (self.project.name().clone(), records)
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
        match self.kind {
            Kind::Scalars => {
                let runs = self.project.run_files();
                let own = self.project.scalar_files(&run);
                let (files, inherited) = try_join(own, runs.inherited(&run).boxed()).await?;
                self.named_files(&run, files, inherited).await
            }
            Kind::Items(kind) => {
                let files = self.project.run_files().item_files(&run, kind).await?;
                self.named_files(&run, files, Vec::new()).await
            }
            Kind::Samples => self.sample_files(&run).await,
        }
    }

    async fn named_files(
        &self,
        run: &RunName,
        files: Vec<ScalarFile>,
        inherited: Vec<RecordBatch>,
    ) -> Result<Vec<Candidate>> {
        let all_count = inherited.is_empty() && files.iter().all(|file| file.attempt == 1);
        let (known, inherited) = match all_count || self.all_attempts {
            true => (None, inherited),
            false => {
                let (known, inherited) = self.winning_named(&files, inherited).await?;
                (Some(known), inherited)
            }
        };
        let mut known = known.map(Vec::into_iter);
        let candidate = |file: ScalarFile| Candidate {
            path: file.path,
            bytes: file.bytes,
            shared: vec![run.as_str().into(), attempt(file.attempt)],
            rows: match known.as_mut().map(|known| known.next().unwrap_or_default()) {
                Some(rows) => Counting::Known(rows),
                None if file.is_folded => Counting::Parquet {
                    is_sorted: file.is_sorted,
                },
                None => Counting::Read(None),
            },
        };
        let mut candidates: Vec<Candidate> = files.into_iter().map(candidate).collect();
        if !inherited.is_empty() {
            candidates.push(Candidate {
                path: Path::default(),
                bytes: 0,
                shared: vec![run.as_str().into(), attempt(0)],
                rows: Counting::Known(inherited),
            });
        }
        Ok(candidates)
    }

    /// For each file the rows that count, and those of the ones that were taken over.
    async fn winning_named(
        &self,
        files: &[ScalarFile],
        inherited: Vec<RecordBatch>,
    ) -> Result<(Vec<Vec<RecordBatch>>, Vec<RecordBatch>)> {
        let reads = files
            .iter()
            .map(|file| self.project.read_metrics(&file.path).boxed());
        let rows: Vec<Vec<RecordBatch>> = stream::iter(reads.collect::<Vec<_>>())
            .buffered(LISTS_MAX)
            .try_collect()
            .await?;
        let mut winning = winning_named(&[rows.concat(), inherited].concat())?.into_iter();
        let by_file = rows
            .iter()
            .map(|rows| winning.by_ref().take(rows.len()).collect());
        let by_file = by_file.collect();
        Ok((by_file, winning.collect()))
    }

    async fn sample_files(&self, run: &RunName) -> Result<Vec<Candidate>> {
        let files = self.project.sample_files(run).await?;
        let whole = |file| Winning {
            file,
            before_step: None,
        };
        let winning = match self.all_attempts {
            true => files.into_iter().map(whole).collect(),
            false => self.project.run_files().winning(files).await?,
        };
        let candidate = |winning: Winning| {
            let file = &winning.file;
            let (stream, epoch) = (file.stream.as_str().into(), file.epoch.into());
            Candidate {
                path: file.path.clone(),
                bytes: file.bytes,
                shared: vec![run.as_str().into(), attempt(file.attempt), stream, epoch],
                rows: match file.is_folded && winning.before_step.is_none() {
                    true => Counting::Parquet { is_sorted: false },
                    false => Counting::Read(Some(Box::new(winning))),
                },
            }
        };
        Ok(winning.into_iter().map(candidate).collect())
    }

    /// The rows of a file that the engine does not scan itself, as the table shows them.
    async fn read(&self, file: Candidate) -> EngineResult<Vec<RecordBatch>> {
        let rows = match file.rows {
            Counting::Known(rows) => rows,
            Counting::Read(Some(winning)) => {
                self.project.run_files().winning_rows(&winning).await?
            }
            _ => self.project.read_metrics(&file.path).await?,
        };
        let shown = rows.iter().map(|rows| self.shown(rows, &file.shared));
        shown.collect()
    }

    /// Rows of a file with the columns of the table.
    fn shown(&self, rows: &RecordBatch, shared: &[ScalarValue]) -> EngineResult<RecordBatch> {
        let keys = self.columns.table_partition_cols();
        let column = |field: &FieldRef| {
            let key = keys.iter().position(|key| key.name() == field.name());
            if let Some(value) = key.and_then(|at| shared.get(at)) {
                return value.to_array_of_size(rows.num_rows());
            }
            match rows.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
                Some(column) => Ok(cast(column, field.data_type())?),
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            }
        };
        let columns = self.schema.fields().iter().map(column);
        let columns = columns.collect::<EngineResult<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

fn attempt(attempt: u32) -> ScalarValue {
    ScalarValue::Int32(Some(attempt.cast_signed()))
}

fn columns(stored: Vec<FieldRef>, shared: Vec<FieldRef>) -> TableSchema {
    TableSchema::builder(Arc::new(Schema::new(stored)))
        .with_table_partition_cols(shared)
        .build()
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
        let is_parquet = |file: &Candidate| matches!(file.rows, Counting::Parquet { .. });
        let (parquet, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_parquet);
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !parquet.is_empty() {
            parts.push(self.scan_parquet(session, projection, parquet, limit)?);
        }
        if !others.is_empty() {
            let reads: Vec<_> = others
                .into_iter()
                .map(|file| self.read(file).boxed())
                .collect();
            let rows: Vec<Vec<RecordBatch>> = stream::iter(reads)
                .buffered(LISTS_MAX)
                .try_collect()
                .await?;
            let rows = MemorySourceConfig::try_new_exec(
                &[rows.concat()],
                self.schema(),
                Some(projection.clone()),
            )?;
            parts.push(rows);
        }
        match parts.pop() {
            None => Ok(Arc::new(EmptyExec::new(Arc::new(
                self.schema.project(projection)?,
            )))),
            Some(only) if parts.is_empty() => Ok(only),
            Some(last) => {
                parts.push(last);
                Ok(UnionExec::try_new(parts)?)
            }
        }
    }
}

impl RunFiles {
    fn scan_parquet(
        &self,
        session: &dyn Session,
        projection: &[usize],
        files: Vec<Candidate>,
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let stored = self.columns.table_schema();
        let projection = projection
            .iter()
            .map(|at| Ok(stored.index_of(self.schema.field(*at).name())?))
            .collect::<EngineResult<_>>()?;
        let is_sorted =
            |file: &Candidate| matches!(file.rows, Counting::Parquet { is_sorted } if is_sorted);
        let order = match files.iter().all(is_sorted) {
            true => self.by_name()?,
            false => None,
        };
        let files = files.into_iter().map(|file| {
            PartitionedFile::new(file.path.to_string(), file.bytes)
                .with_partition_values(file.shared)
        });
        let groups =
            FileGroup::new(files.collect()).split_files(session.config().target_partitions());
        let config = FileScanConfigBuilder::new(root_url()?, self.source(session)?)
            .with_file_groups(groups)
            .with_projection_indices(Some(projection))?
            .with_limit(limit)
            .with_output_ordering(order.into_iter().collect())
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// The order of name and step, by which one series needs no sorting.
    fn by_name(&self) -> EngineResult<Option<LexOrdering>> {
        let ascending = SortOptions {
            descending: false,
            nulls_first: true,
        };
        let key = |name| {
            let column = Column::new_with_schema(name, self.columns.table_schema())?;
            Ok(PhysicalSortExpr::new(Arc::new(column), ascending))
        };
        let keys = ["name", "step"].into_iter().map(key);
        Ok(LexOrdering::new(keys.collect::<EngineResult<Vec<_>>>()?))
    }

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
