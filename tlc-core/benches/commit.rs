//! What a commit costs on disk: one cell and a thousand cells of a table of a million rows and twenty
//! columns, as a ratio to the least a durable commit can do: two files synced and named.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod measure;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use measure::compare;
use tlc_core::arrow::array::{
    ArrayRef, Float32Array, Int32Array, RecordBatch, RecordBatchIterator,
};
use tlc_core::{Project, Table, block_on};

const ROWS: u64 = 1_000_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let project = block_on(Project::open(folder.path().to_str().unwrap(), "bench")).unwrap();
    let table = wide(&project);
    let floor = folder.path().join("floor");
    fs::create_dir(&floor).unwrap();
    println!("{ROWS} rows, 20 columns, on disk; reference: two files written, synced and linked");
    let (mut next, mut files) = (0, 0);
    for n_cells in [1, 1_000] {
        let mut bytes = 0;
        let commit = || {
            next += 1;
            bytes = commit(&table, n_cells, next);
        };
        let what = format!("commit of {n_cells} cells");
        compare(&what, 50, commit, || {
            files += 2;
            put_synced(&floor, files, 700);
            put_synced(&floor, files + 1, 700);
        });
        println!("{what:<58} {bytes:>9} bytes");
    }
}

/// Sets `n_cells` labels, spread over the table; the bytes that it added.
fn commit(table: &Table, n_cells: u64, value: i32) -> u64 {
    let offset = u64::from(value.unsigned_abs());
    let ids: Vec<u64> = (0..n_cells).map(|n| (n * 7_919 + offset) % ROWS).collect();
    let values: ArrayRef = Arc::new(Int32Array::from(vec![value; ids.len()]));
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set_column("c0", &ids, &values).unwrap();
    block_on(table.commit(&patch, "labels")).unwrap().bytes
}

fn put_synced(folder: &Path, number: usize, bytes: usize) {
    let staging = folder.join("staging");
    let mut file = File::create(&staging).unwrap();
    file.write_all(&vec![7; bytes]).unwrap();
    file.sync_all().unwrap();
    fs::hard_link(&staging, folder.join(number.to_string())).unwrap();
    fs::remove_file(&staging).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

/// Ten columns of integers and ten of floats.
fn wide(project: &Project) -> Table {
    let ids = || 0..i32::try_from(ROWS).unwrap();
    let column = |n: i32| -> (String, ArrayRef) {
        #[expect(clippy::cast_precision_loss, reason = "any value will do")]
        let values: ArrayRef = match n % 2 {
            0 => Arc::new(Int32Array::from_iter_values(ids().map(|id| id % (n + 2)))),
            _ => Arc::new(Float32Array::from_iter_values(
                ids().map(|id| (id % 1_000 * n) as f32),
            )),
        };
        (format!("c{n}"), values)
    };
    let batch = RecordBatch::try_from_iter((0..20).map(column)).unwrap();
    let schema = batch.schema();
    let rows = RecordBatchIterator::new([Ok(batch)], schema);
    block_on(project.create_table("wide", rows, "rows")).unwrap()
}
