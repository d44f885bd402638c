//! What edits cost a reader: a full scan with 0.1, 1 and 10 % of the cells of a column set, over one
//! revision or a hundred, as a ratio to the scan of the same table before its first edit.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod measure;

use std::sync::Arc;

use futures::TryStreamExt as _;
use measure::compare;
use tlc_core::arrow::array::{
    ArrayRef, Float32Array, Int32Array, RecordBatch, RecordBatchIterator, StringArray,
};
use tlc_core::{Project, ScanOptions, Snapshot, Table, block_on};

const ROWS: u64 = 1_000_000;

fn main() {
    println!("{ROWS} rows of an integer, a float and a text, in memory, one thread");
    println!("reference: the same scan at revision 0, a plain Parquet file");
    for (share, per_mille) in [("0.1 %", 1), ("1 %", 10), ("10 %", 100)] {
        for revisions in [1, 100] {
            let table = edited(per_mille, revisions);
            let plain = block_on(table.at(0)).unwrap();
            let head = block_on(table.head()).unwrap();
            let what =
                |columns| format!("{share} of one column in {revisions} revisions, {columns}");
            let all = ScanOptions::new();
            compare(
                &what("all columns"),
                5,
                || scan(&head, &all),
                || scan(&plain, &all),
            );
            let one = ScanOptions::new().columns(["label"]);
            compare(
                &what("that column"),
                5,
                || scan(&head, &one),
                || scan(&plain, &one),
            );
        }
    }
}

fn scan(snapshot: &Snapshot, options: &ScanOptions) -> usize {
    let batches = snapshot.scan(options.clone()).unwrap();
    block_on(batches.try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) })).unwrap()
}

/// A table of which `per_mille` of a thousand labels are set by so many revisions together.
fn edited(per_mille: u64, revisions: u64) -> Table {
    let project = block_on(Project::open("memory:///", "bench")).unwrap();
    let ids = || 0..i32::try_from(ROWS).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "any value will do")]
    let floats = ids().map(|id| id as f32 * 0.1);
    let columns: [(&str, ArrayRef); 3] = [
        (
            "label",
            Arc::new(Int32Array::from_iter_values(ids().map(|id| id % 10))),
        ),
        ("score", Arc::new(Float32Array::from_iter_values(floats))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                ids().map(|id| format!("row {id}")),
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let schema = batch.schema();
    let rows = RecordBatchIterator::new([Ok(batch)], schema);
    let table = block_on(project.create_table("t", rows, "rows")).unwrap();
    // Spread over the whole table: neighbours are never set together.
    let set: Vec<u64> = (0..ROWS * per_mille / 1_000)
        .map(|n| n * 7_919 % ROWS)
        .collect();
    for chunk in set.chunks(set.len() / usize::try_from(revisions).unwrap()) {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![3; chunk.len()]));
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.set_column("label", chunk, &values).unwrap();
        block_on(table.commit(&patch, "labels")).unwrap();
    }
    table
}
