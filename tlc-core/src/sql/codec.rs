//! Plans as bytes: for another process over the same root, or for later.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result as EngineResult, TableReference, not_impl_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion_proto::bytes::{
    logical_plan_from_bytes_with_extension_codec, logical_plan_to_bytes_with_extension_codec,
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde_json::{Value as Json, json};

use crate::error::Result;
use crate::format::{decode_schema, encode_schema};
use crate::id::Revision;
use crate::project::Root;

use super::check;
use super::exec::{Scanned, SnapshotExec};
use super::functions::label_name;
use super::named::{Named, NamedTable, wrong};
use super::pinned::Pinned;

/// The longest plan that is read, in bytes. Rows of a plan's own (of `VALUES`, of logs) are in it.
const PLAN_BYTES_MAX: usize = 64 << 20;

/// The most partitions of one scan.
const PARTS_MAX: usize = 1 << 16;

/// Writes plans over tables of a root as bytes, and reads them against a root.
///
/// A table is written as its project, name and revision, never as the root's URL or credentials: the
/// bytes mean the same tables of whatever root they are read with, and a revision never changes.
/// Rows that the engine had at hand when a physical plan was made (of `runs`, `params`, `diff`, …)
/// are part of its bytes; files of `samples` and `scalars` are named.
///
/// The codec is one of DataFusion's, for both kinds of plans, so that distributed engines can use it.
/// Its own methods are the doors for bytes from elsewhere: whatever these are, the answer is an error
/// or a plan that only reads. Plans run in the [context of a session](crate::Sql::context).
///
/// ```
/// use tlc_core::sql::PlanCodec;
/// use tlc_core::{Root, Sql, block_on};
///
/// block_on(async {
///     let root = Root::open("memory:///").await?;
///     let (codec, context) = (PlanCodec::new(&root), Sql::open(&root).await?.context());
///     let plan = context.sql("SELECT 1 + 1 AS two").await?.create_physical_plan().await?;
///     let bytes = codec.encode_physical(plan)?;
///     let plan = codec.decode_physical(&bytes, &context.task_ctx())?;
///     let rows = datafusion::physical_plan::collect(plan, context.task_ctx()).await?;
///     assert_eq!(rows[0].num_rows(), 1);
///     Ok::<(), tlc_core::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct PlanCodec {
    root: Root,
}

impl PlanCodec {
    /// A codec for tables of `root`. Makes no request.
    #[must_use]
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// A logical plan as bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the plan reads what is no table of a root.
    pub fn encode_logical(&self, plan: &LogicalPlan) -> Result<Bytes> {
        Ok(logical_plan_to_bytes_with_extension_codec(plan, self)?)
    }

    /// The logical plan in `bytes`. Makes no request: tables are opened when they are scanned.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the bytes are no plan, or one that does
    /// more than read tables of a root.
    pub fn decode_logical(&self, bytes: &[u8], context: &TaskContext) -> Result<LogicalPlan> {
        let plan = guarded(bytes, || {
            logical_plan_from_bytes_with_extension_codec(bytes, context, self)
        })?;
        check::reads_only(&plan)?;
        check::reads_tables(&plan)?;
        Ok(plan)
    }

    /// A physical plan as bytes. What joins find out while it runs stays with the original.
    ///
    /// # Errors
    /// As [`Self::encode_logical`].
    pub fn encode_physical(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Bytes> {
        Ok(physical_plan_to_bytes_with_extension_codec(plan, self)?)
    }

    /// The physical plan in `bytes`. Makes no request.
    ///
    /// # Errors
    /// As [`Self::decode_logical`].
    pub fn decode_physical(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = guarded(bytes, || {
            physical_plan_from_bytes_with_extension_codec(bytes, context, self)
        })?;
        check::runs_within(&plan)?;
        Ok(plan)
    }
}

/// Reads bytes of any kind: the engine takes much in them on trust.
fn guarded<T>(bytes: &[u8], read: impl FnOnce() -> EngineResult<T>) -> Result<T> {
    if bytes.len() > PLAN_BYTES_MAX {
        return Err(wrong());
    }
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(plan) => plan.map_err(|err| wrong().with_source(err)),
        Err(_panic) => Err(wrong()),
    }
}

impl fmt::Debug for PlanCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlanCodec").field(&self.root).finish()
    }
}

impl LogicalExtensionCodec for PlanCodec {
    fn try_decode(
        &self,
        _bytes: &[u8],
        _inputs: &[LogicalPlan],
        _context: &TaskContext,
    ) -> EngineResult<Extension> {
        not_impl_err!("there are no logical nodes of our own")
    }

    fn try_encode(&self, _node: &Extension, _bytes: &mut Vec<u8>) -> EngineResult<()> {
        not_impl_err!("there are no logical nodes of our own")
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        _name: &TableReference,
        schema: SchemaRef,
        _context: &TaskContext,
    ) -> EngineResult<Arc<dyn TableProvider>> {
        let named = Named::from_json(&read(bytes)?)?;
        Ok(Arc::new(NamedTable::new(&self.root, named, schema)))
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> EngineResult<()> {
        let Some(named) = Named::of(&*table) else {
            return not_impl_err!("{name} is no table of a root, and cannot be named in a plan");
        };
        bytes.extend(named.to_json().to_string().into_bytes());
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, _bytes: &[u8]) -> EngineResult<Arc<ScalarUDF>> {
        function(name)
    }
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let json = read(bytes)?;
        let scan = SnapshotExec::new(self.scanned(&json)?);
        let filters = match json.get("filter").and_then(Json::as_str) {
            None => return Ok(Arc::new(scan)),
            Some(text) => vec![filter(text, context)?],
        };
        Ok(Arc::new(scan.with_filters(filters)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> EngineResult<()> {
        let Some(scan) = node.downcast_ref::<SnapshotExec>() else {
            return not_impl_err!("{} is no scan of a table of a root", node.name());
        };
        bytes.extend(described(scan)?.to_string().into_bytes());
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, _bytes: &[u8]) -> EngineResult<Arc<ScalarUDF>> {
        function(name)
    }
}

fn read(bytes: &[u8]) -> Result<Json> {
    serde_json::from_slice(bytes).map_err(|err| wrong().with_source(err))
}

/// A scan, without what the engine made up while it ran.
fn described(scan: &SnapshotExec) -> EngineResult<Json> {
    let scanned = scan.scanned();
    let named = Named::Snapshot {
        project: scanned.pinned.project.clone(),
        table: scanned.pinned.table.clone(),
        revision: scanned.pinned.revision,
    };
    let filters = scan.lasting();
    let filter = match filters.is_empty() {
        true => None,
        false => {
            let empty = Arc::new(EmptyExec::new(Arc::clone(&scanned.schema)));
            let plan = FilterExec::try_new(conjunction(filters), empty)?;
            let bytes = physical_plan_to_bytes_with_extension_codec(Arc::new(plan), &Functions)?;
            Some(STANDARD.encode(bytes))
        }
    };
    Ok(json!({
        "snapshot": named.to_json(),
        "schema": encode_schema(&scanned.schema)?,
        "cuts": scanned.parts.iter().skip(1).map(|part| part.start).collect::<Vec<_>>(),
        "limit": scanned.limit,
        "filter": filter,
    }))
}

impl PlanCodec {
    fn scanned(&self, json: &Json) -> Result<Scanned> {
        let snapshot = json.get("snapshot").ok_or_else(wrong)?;
        let Named::Snapshot {
            project,
            table,
            revision: Revision(revision),
        } = Named::from_json(snapshot)?
        else {
            return Err(wrong());
        };
        let schema = json.get("schema").and_then(Json::as_str);
        let limit = json.get("limit").and_then(Json::as_u64);
        Ok(Scanned {
            pinned: Pinned::named(
                self.root.project(project.as_str())?,
                table,
                Revision(revision),
            ),
            schema: decode_schema(schema.ok_or_else(wrong)?)?,
            parts: parts(json.get("cuts").ok_or_else(wrong)?)?,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        })
    }
}

/// The parts between ascending row ids.
fn parts(cuts: &Json) -> Result<Vec<std::ops::Range<u64>>> {
    let cuts = cuts.as_array().filter(|cuts| cuts.len() < PARTS_MAX);
    let cuts = cuts.and_then(|cuts| cuts.iter().map(Json::as_u64).collect::<Option<Vec<u64>>>());
    let cuts = cuts.filter(|cuts| cuts.is_sorted()).ok_or_else(wrong)?;
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([u64::MAX]);
    Ok(starts.zip(ends).map(|(start, end)| start..end).collect())
}

/// A filter as it lies in a scan: the one of a plan that filters nothing.
fn filter(text: &str, context: &TaskContext) -> EngineResult<Arc<dyn PhysicalExpr>> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|err| wrong().with_source(err))?;
    let plan = physical_plan_from_bytes_with_extension_codec(&bytes, context, &Functions)?;
    match plan.downcast_ref::<FilterExec>() {
        Some(plan) => Ok(Arc::clone(plan.predicate())),
        None => Err(wrong().into()),
    }
}

fn function(name: &str) -> EngineResult<Arc<ScalarUDF>> {
    let own = label_name();
    if own.name() == name {
        return Ok(own);
    }
    not_impl_err!("there is no function {name:?}")
}

/// For the filter within a scan: our functions, and no scans, so that plans do not nest in plans.
#[derive(Debug)]
struct Functions;

impl PhysicalExtensionCodec for Functions {
    fn try_decode(
        &self,
        _bytes: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        _context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        not_impl_err!("a filter holds no scan")
    }

    fn try_encode(
        &self,
        _node: Arc<dyn ExecutionPlan>,
        _bytes: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> EngineResult<()> {
        not_impl_err!("a filter holds no scan")
    }

    fn try_decode_udf(&self, name: &str, _bytes: &[u8]) -> EngineResult<Arc<ScalarUDF>> {
        function(name)
    }
}
