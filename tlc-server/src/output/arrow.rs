//! Rows as Arrow IPC: a stream for pipes, a file for files.

use tlc_core::Result;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::datatypes::SchemaRef;
use tlc_core::arrow::ipc::writer::{FileWriter, StreamWriter};

use super::{RowWriter, Target, unwritten};

pub(super) fn writer(schema: &SchemaRef, target: Target) -> Result<Box<dyn RowWriter>> {
    Ok(if target.is_stdout() {
        Box::new(StreamWriter::try_new(target, schema).map_err(unwritten)?)
    } else {
        Box::new(FileWriter::try_new(target, schema).map_err(unwritten)?)
    })
}

impl RowWriter for StreamWriter<Target> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Self::write(self, batch).map_err(unwritten)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        // Handing back the target writes the end.
        self.into_inner().map_err(unwritten)?.finish()
    }
}

impl RowWriter for FileWriter<Target> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        Self::write(self, batch).map_err(unwritten)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.into_inner().map_err(unwritten)?.finish()
    }
}
