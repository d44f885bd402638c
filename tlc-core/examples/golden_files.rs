//! Writes the golden files of the current format version: a small project with one of everything.
//!
//! ```text
//! cargo run --example golden_files -- tlc-core/tests/formats/v1
//! ```
//!
//! Run it once, when a format version is released; the files are never edited afterwards, and tests
//! read them for ever. It refuses to write into a folder that is there.

use std::error::Error;
use std::sync::Arc;

use tlc_core::arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Int32Array, RecordBatch, RecordBatchIterator,
};
use tlc_core::arrow::datatypes::Schema;
use tlc_core::{Env, Root, RootOptions, Rows, Value, block_on, schema};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("name the folder to write into")?;
    if std::path::Path::new(&folder).exists() {
        return Err(format!("{folder} is there already; golden files are never rewritten").into());
    }
    let options = RootOptions::new().env(Env::manual());
    let project = block_on(Root::open_with(&folder, options))?.project("zoo")?;
    let fields = Arc::new(Schema::new(vec![
        schema::label("animal", ["cat", "dog", "cow"]),
        schema::weight("weight"),
        schema::image("picture", "image/png"),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(0), Some(1), None])),
        Arc::new(Float32Array::from(vec![1.0, 0.0, 0.5])),
        Arc::new(BinaryArray::from(vec![
            Some(&b"one"[..]),
            Some(b"two"),
            None,
        ])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&fields), columns)?;
    let rows = RecordBatchIterator::new([Ok(batch.clone())], fields);
    let table = block_on(project.create_table("train", rows, "three animals"))?;
    let mut patch = block_on(table.head())?.patch();
    patch.set(0, "animal", "cow")?;
    patch.set(1, "weight", Value::null())?;
    patch.drop_rows(&[2]);
    patch.append(&batch.slice(0, 1))?;
    patch.add_column(schema::text("note"), "as found")?;
    let snapshot = block_on(table.commit(&patch, "a cow, and a change of every kind"))?.snapshot;
    let run = project.start_run("lenet")?;
    run.params(&std::collections::BTreeMap::from([
        ("lr", 0.1),
        ("momentum", 0.9),
    ]))?;
    run.input(&snapshot)?;
    run.log(1, &[("loss", 0.5), ("accuracy", f64::NAN)]);
    let rows = Rows::new("train", 1, vec![0, 3])?
        .step(1)
        .source(table.name().clone(), snapshot.revision());
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.25, f32::INFINITY]));
    run.samples(&rows, &RecordBatch::try_from_iter([("loss", loss)])?)?;
    run.finish()?;
    Ok(())
}
