//! What several tests need: roots, a small table, and its rows as text.

use std::sync::Arc;

use tlc_core::arrow::array::{
    ArrayRef, Float32Array, Int32Array, RecordBatch, RecordBatchIterator, RecordBatchReader,
};
use tlc_core::arrow::datatypes::Schema;
use tlc_core::arrow::util::display::{ArrayFormatter, FormatOptions};
use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::{Env, Project, Root, RootOptions, ScanOptions, Snapshot, Table, block_on, schema};

/// A project in memory, with a clock and ids of its own.
pub(crate) fn project() -> Project {
    project_in(Arc::new(InMemory::new()))
}

/// The same in a given store.
pub(crate) fn project_in(store: Arc<dyn ObjectStore>) -> Project {
    let options = RootOptions::new().env(Env::manual());
    let url = "memory:///".parse().unwrap();
    Root::in_store(store, Path::default(), url, options)
        .project("zoo")
        .unwrap()
}

/// A project on disk, and the folder that goes when the value does.
pub(crate) fn project_on_disk() -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    let root = block_on(Root::open_with(url, RootOptions::new().author("ada"))).unwrap();
    let project = root.project("zoo").unwrap();
    (folder, project)
}

/// Rows of a label and a weight, as `label:weight` each.
pub(crate) fn animals(text: &str) -> RecordBatch {
    let pairs = text
        .split_whitespace()
        .map(|pair| pair.split_once(':').unwrap());
    let (labels, weights): (Vec<i32>, Vec<f32>) = pairs
        .map(|(label, weight)| {
            (
                label.parse::<i32>().unwrap(),
                weight.parse::<f32>().unwrap(),
            )
        })
        .unzip();
    let fields = vec![
        schema::label("animal", ["cat", "dog", "cow"]),
        schema::weight("weight"),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(labels)),
        Arc::new(Float32Array::from(weights)),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A reader of one batch.
pub(crate) fn reader(batch: RecordBatch) -> impl RecordBatchReader + Send + 'static {
    let schema = batch.schema();
    RecordBatchIterator::new([Ok(batch)], schema)
}

/// A table `train` of the rows in `text`.
pub(crate) fn table(project: &Project, text: &str) -> Table {
    block_on(project.create_table("train", reader(animals(text)), "made for a test")).unwrap()
}

/// Rows as `id:value:value …`, in order.
pub(crate) fn text(batch: &RecordBatch) -> String {
    let options = FormatOptions::new().with_null("-");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let row = |row: usize| {
        columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect::<Vec<_>>()
            .join(":")
    };
    (0..batch.num_rows()).map(row).collect::<Vec<_>>().join(" ")
}

/// All rows of a snapshot as text.
pub(crate) fn rows(snapshot: &Snapshot) -> String {
    text(&block_on(snapshot.read(ScanOptions::new())).unwrap())
}

/// All rows of the head as text.
pub(crate) fn head(table: &Table) -> String {
    rows(&block_on(table.head()).unwrap())
}
