//! MNIST as tables.

use std::sync::Arc;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, Float32Array, Int32Array, RecordBatch, RecordBatchIterator,
};
use tlc_core::arrow::datatypes::{Int32Type, Schema, SchemaRef, UInt64Type};
use tlc_core::arrow::error::ArrowError;
use tlc_core::{
    CommitOptions, ErrorKind, Project, ROWID, Revision, ScanOptions, Snapshot, Table, block_on,
    schema,
};

use crate::Result;
use crate::fetch::Digits;

const CLASSES: [&str; 10] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];

const IMAGE_BYTES: usize = 28 * 28;

/// The table `name`, made of `digits` if it is not there. The id of a row is its position in MNIST.
pub(crate) fn ensure(project: &Project, name: &str, digits: &Digits) -> Result<Table> {
    let table = match block_on(project.table(name)) {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let message = "the digits of MNIST, as they were published";
            return Ok(block_on(project.create_table(
                name,
                rows(digits),
                CommitOptions::new(message),
            ))?);
        }
        found => found?,
    };
    let published = digits.labels.iter().map(|label| i32::from(*label));
    if labels(&block_on(table.at(Revision(0)))?)
        .ok()
        .is_none_or(|(_, labels)| !published.eq(labels))
    {
        let root = project.root().url();
        return Err(format!(
            "the table mnist/{name} of {root} holds something else; name another --root"
        )
        .into());
    }
    Ok(table)
}

/// The rows of a table, a thousand at a time.
fn rows(
    digits: &Digits,
) -> RecordBatchIterator<impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + use<>>
{
    let columns = Schema::new(vec![
        schema::image("image", "image/png"),
        schema::label("label", CLASSES),
        schema::weight("weight"),
    ]);
    let columns = Arc::new(columns);
    let (pixels, labels) = (digits.pixels.clone(), digits.labels.clone());
    let schema = Arc::clone(&columns);
    let batches = (0..labels.len()).step_by(1000).map(move |start| {
        let end = labels.len().min(start + 1000);
        batch(
            &columns,
            &pixels[start * IMAGE_BYTES..end * IMAGE_BYTES],
            &labels[start..end],
        )
    });
    RecordBatchIterator::new(batches, schema)
}

fn batch(
    schema: &SchemaRef,
    pixels: &[u8],
    labels: &[u8],
) -> std::result::Result<RecordBatch, ArrowError> {
    let images: std::result::Result<Vec<_>, _> =
        pixels.chunks_exact(IMAGE_BYTES).map(png).collect();
    let images = images.map_err(|err| ArrowError::ExternalError(Box::new(err)))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(images)),
        Arc::new(Int32Array::from_iter_values(
            labels.iter().map(|label| i32::from(*label)),
        )),
        Arc::new(Float32Array::from_value(1.0, labels.len())),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn png(pixels: &[u8]) -> image::ImageResult<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::NoFilter)
        .write_image(pixels, 28, 28, ExtendedColorType::L8)?;
    Ok(png)
}

/// The row ids and labels of a snapshot.
pub(crate) fn labels(snapshot: &Snapshot) -> Result<(Vec<u64>, Vec<i32>)> {
    let rows = block_on(snapshot.read(ScanOptions::new().columns([ROWID, "label"])))?;
    let ids = rows
        .column(0)
        .as_primitive_opt::<UInt64Type>()
        .ok_or("row ids are not UInt64")?;
    let labels = rows
        .column(1)
        .as_primitive_opt::<Int32Type>()
        .ok_or("labels are not Int32")?;
    Ok((ids.values().to_vec(), labels.values().to_vec()))
}
