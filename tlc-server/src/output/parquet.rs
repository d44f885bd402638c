//! Rows as one Parquet file, zstd-compressed, a row group at a time in memory.

use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tlc_core::Result;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::datatypes::SchemaRef;

use super::{RowWriter, Target, unwritten};

/// Rows of images are large: a row group ends by its bytes as well as by its rows.
const GROUP_BYTES_MAX: usize = 64 << 20;

pub(super) struct Writer {
    inner: ArrowWriter<Target>,
}

impl Writer {
    pub(super) fn new(schema: &SchemaRef, target: Target) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        Ok(Self {
            inner: ArrowWriter::try_new(target, Arc::clone(schema), Some(properties))
                .map_err(unwritten)?,
        })
    }
}

impl RowWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.inner.write(batch).map_err(unwritten)?;
        if self.inner.in_progress_size() > GROUP_BYTES_MAX {
            self.inner.flush().map_err(unwritten)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.inner.into_inner().map_err(unwritten)?.finish()
    }
}
