//! Rows as comma-separated values, streamed.

use std::sync::Arc;

use tlc_core::Result;
use tlc_core::arrow::array::{ArrayRef, RecordBatch, StringArray};
use tlc_core::arrow::csv::{Writer as ArrowWriter, WriterBuilder};
use tlc_core::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::{RowWriter, Target, json_texts, unwritten};

pub(super) struct Writer {
    inner: ArrowWriter<Target>,
    schema: SchemaRef,
}

impl Writer {
    pub(super) fn new(schema: &SchemaRef, target: Target) -> Self {
        let fields: Vec<FieldRef> = schema.fields().iter().map(as_text_field).collect();
        Self {
            inner: WriterBuilder::new().with_header(true).build(target),
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl RowWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns
            .map(|(field, array)| as_text(field, array))
            .collect::<Result<_>>()?;
        self.inner
            .write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
            .map_err(unwritten)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        // The header comes with the first batch, and a result without rows has one too.
        self.inner
            .write(&RecordBatch::new_empty(Arc::clone(&self.schema)))
            .map_err(unwritten)?;
        self.inner.into_inner().finish()
    }
}

/// Whether CSV needs help: it has no lists, no bytes, and no time zone.
fn needs_text(data_type: &DataType) -> bool {
    data_type.is_nested()
        || data_type.is_binary()
        || matches!(
            data_type,
            DataType::FixedSizeBinary(_) | DataType::Timestamp(..)
        )
}

fn as_text_field(field: &FieldRef) -> FieldRef {
    if needs_text(field.data_type()) {
        Arc::new(Field::new(field.name(), DataType::Utf8, true))
    } else {
        Arc::clone(field)
    }
}

fn as_text(field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef> {
    if !needs_text(field.data_type()) {
        return Ok(Arc::clone(array));
    }
    let texts = json_texts(field, array.as_ref())?;
    if field.data_type().is_nested() {
        return Ok(Arc::new(texts));
    }
    let bare: StringArray = texts
        .iter()
        .map(|text| text.map(|text| text.trim_matches('"')))
        .collect();
    Ok(Arc::new(bare))
}
