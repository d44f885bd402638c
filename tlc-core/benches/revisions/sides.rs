//! The same queries on both sides: a table at some revision, and DataFusion on one plain Parquet file
//! that holds the same rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::{Stream, TryStreamExt as _};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type as PhysicalType, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::{Root, ScanOptions, Snapshot, Sql, block_on};

use super::rows::COLUMNS;

pub(crate) struct Sides {
    ours: Sql,
    plain: SessionContext,
    /// The same files, read by one thread.
    plain_alone: SessionContext,
}

impl Sides {
    pub(crate) fn new(root: &Root) -> Self {
        Self {
            ours: block_on(Sql::open(root)).unwrap(),
            plain: context(None),
            plain_alone: context(Some(1)),
        }
    }

    /// Writes a snapshot as one plain file, which queries may then call `name`.
    pub(crate) fn register(&self, name: &str, snapshot: &Snapshot, file: &Path) {
        write_plain(snapshot, file);
        for context in [&self.plain, &self.plain_alone] {
            let (file, options) = (file.to_str().unwrap(), ParquetReadOptions::default());
            block_on(async {
                context.deregister_table(name).unwrap();
                context.register_parquet(name, file, options).await.unwrap();
            });
        }
    }

    /// Runs a query on our side, and shows each batch to `see`.
    pub(crate) fn ours(&self, query: &str, see: impl FnMut(&RecordBatch)) {
        block_on(async { drain(self.ours.query(query).await.unwrap(), see).await });
    }

    pub(crate) fn plain(&self, query: &str, see: impl FnMut(&RecordBatch)) {
        run(&self.plain, query, see);
    }

    pub(crate) fn plain_alone(&self, query: &str, see: impl FnMut(&RecordBatch)) {
        run(&self.plain_alone, query, see);
    }
}

/// The engine's own defaults, but that text is plain text on both sides.
fn context(partitions: Option<usize>) -> SessionContext {
    let mut config = SessionConfig::new().with_collect_statistics(true);
    if let Some(n) = partitions {
        config = config.with_target_partitions(n);
    }
    config
        .options_mut()
        .execution
        .parquet
        .schema_force_view_types = false;
    SessionContext::new_with_config(config)
}

fn run(context: &SessionContext, query: &str, see: impl FnMut(&RecordBatch)) {
    block_on(async {
        let rows = context.sql(query).await.unwrap();
        drain(rows.execute_stream().await.unwrap(), see).await;
    });
}

/// Reads columns of a snapshot without SQL.
pub(crate) fn scan(snapshot: &Snapshot, columns: &[&str], see: impl FnMut(&RecordBatch)) {
    let options = ScanOptions::new().columns(columns.iter().copied());
    block_on(drain(snapshot.scan(options).unwrap(), see));
}

async fn drain<E: std::fmt::Debug>(
    mut rows: impl Stream<Item = Result<RecordBatch, E>> + Unpin,
    mut see: impl FnMut(&RecordBatch),
) {
    while let Some(batch) = rows.try_next().await.unwrap() {
        see(&batch);
    }
}

/// Writes the rows as one file, with the compression, row groups, pages, dictionaries and encodings that the
/// files of tables have.
fn write_plain(snapshot: &Snapshot, path: &Path) {
    let mut rows = snapshot.scan(ScanOptions::new().columns(COLUMNS)).unwrap();
    let schema = Arc::clone(rows.schema());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_max_row_group_row_count(Some(131_072))
        .set_data_page_size_limit(8 << 10)
        .set_data_page_row_count_limit(8_192)
        .set_dictionary_page_size_limit(32 << 10);
    let leaves = ArrowSchemaConverter::new().convert(&schema).unwrap();
    for leaf in leaves.columns() {
        let encoding = match leaf.physical_type() {
            PhysicalType::INT32 | PhysicalType::INT64 => Encoding::DELTA_BINARY_PACKED,
            PhysicalType::FLOAT | PhysicalType::DOUBLE => Encoding::BYTE_STREAM_SPLIT,
            _ => continue,
        };
        properties = properties.set_column_encoding(leaf.path().clone(), encoding);
    }
    let properties = properties.build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    while let Some(batch) = block_on(rows.try_next()).unwrap() {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
}
