//! Reading a table, next to DataFusion on one plain Parquet file of the same rows.
//!
//! Our side pays for revisions, row ids and a look for a newer head in each query.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod measure;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use measure::paired;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;
use tlc_core::arrow::array::RecordBatchIterator;
use tlc_core::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use tlc_core::arrow::compute::take;
use tlc_core::{Root, Sql, block_on};

const ROWS: i64 = 1_000_000;
const ROUNDS: usize = 11;

/// Queries on a table called `{}`.
const QUERIES: [(&str, &str); 5] = [
    (
        "full",
        "SELECT count(id), sum(a), sum(b), sum(c), max(text), sum(d) FROM {}",
    ),
    ("projected", "SELECT sum(b) FROM {}"),
    ("filtered", "SELECT count(*), sum(a) FROM {} WHERE b < 0.01"),
    ("limited", "SELECT * FROM {} LIMIT 100"),
    (
        "rows by id",
        "SELECT * FROM {} WHERE {id} IN (5, 500000, 999999)",
    ),
];

/// Queries on the table after one cell in a hundred of `id` and of `b` was set.
const EDITED: [(&str, &str); 3] = [
    (
        "selective, untouched column",
        "SELECT count(*), sum(a), max(text) FROM {} WHERE c < 0.001",
    ),
    (
        "selective, edited column",
        "SELECT count(*), sum(a), max(text) FROM {} WHERE b < 0.001",
    ),
    (
        "selective, edited and in order",
        "SELECT count(*), sum(a), max(text) FROM {} WHERE id BETWEEN 500000 AND 500100",
    ),
];

/// Every so many rows one is edited.
const EDITED_EVERY: i64 = 100;

/// Numbers that compress about as badly as measurements do.
fn scrambled(n: i64) -> u64 {
    n.cast_unsigned()
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(31)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// The rows, in which one in `edited_every` has another `id` and `b`.
fn rows(edited_every: Option<i64>) -> RecordBatch {
    let is_edited = |n: i64| edited_every.is_some_and(|every| n % every == 0);
    let float = |shift: i64| -> ArrayRef {
        let shift_of = |n: i64| if shift == 1 && is_edited(n) { 7 } else { shift };
        Arc::new(Float64Array::from_iter_values((0..ROWS).map(|n| {
            (scrambled(n + shift_of(n)) >> 11) as f64 / (1_u64 << 53) as f64
        })))
    };
    let id = (0..ROWS).map(|n| n + i64::from(is_edited(n)));
    let text = StringArray::from_iter_values(
        (0..ROWS).map(|n| format!("row number {}", scrambled(n) % 100_000)),
    );
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(Int64Array::from_iter_values(id))),
        (
            "a",
            Arc::new(Int64Array::from_iter_values(
                (0..ROWS).map(|n| (scrambled(n) % 1_000).cast_signed()),
            )),
        ),
        ("b", float(1)),
        ("c", float(2)),
        ("d", float(3)),
        ("text", Arc::new(text)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Writes the rows as one file, with the settings that tables have too.
fn write_plain(path: &Path, rows: &RecordBatch) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_max_row_group_row_count(Some(131_072))
        .build();
    let mut writer = ArrowWriter::try_new(
        std::fs::File::create(path).unwrap(),
        rows.schema(),
        Some(properties),
    )
    .unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

/// Makes a table of `rows` and edits it until it has those of `edited`.
async fn edit(root: &Root, rows: &RecordBatch, edited: &RecordBatch) {
    let project = root.project("bench").unwrap();
    let reader = RecordBatchIterator::new([Ok(rows.clone())], rows.schema());
    let table = project
        .create_table("edited", reader, "import")
        .await
        .unwrap();
    let ids: Vec<u64> = (0..ROWS.cast_unsigned())
        .step_by(usize::try_from(EDITED_EVERY).unwrap())
        .collect();
    let mut patch = table.head().await.unwrap().patch();
    for column in ["id", "b"] {
        let values = edited.column_by_name(column).unwrap();
        let values = take(values, &UInt64Array::from(ids.clone()), None).unwrap();
        patch.set_column(column, &ids, &values).unwrap();
    }
    table.commit(&patch, "one in a hundred").await.unwrap();
}

struct Sides {
    ours: Sql,
    plain: SessionContext,
    _folder: TempDir,
}

impl Sides {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let (rows, edited) = (rows(None), rows(Some(EDITED_EVERY)));
        let [file, edited_file] =
            ["plain", "edited"].map(|name| folder.path().join(format!("{name}.parquet")));
        write_plain(&file, &rows);
        write_plain(&edited_file, &edited);
        let (ours, plain) = block_on(async {
            let root = Root::open(folder.path().join("root").to_str().unwrap())
                .await
                .unwrap();
            let reader = RecordBatchIterator::new([Ok(rows.clone())], rows.schema());
            root.project("bench")
                .unwrap()
                .create_table("rows", reader, "import")
                .await
                .unwrap();
            edit(&root, &rows, &edited).await;
            let plain = SessionContext::new();
            plain
                .register_parquet(
                    "rows",
                    file.to_str().unwrap(),
                    ParquetReadOptions::default(),
                )
                .await
                .unwrap();
            let (file, options) = (edited_file.to_str().unwrap(), ParquetReadOptions::default());
            plain
                .register_parquet("edited", file, options)
                .await
                .unwrap();
            (Sql::open(&root).await.unwrap(), plain)
        });
        Self {
            ours,
            plain,
            _folder: folder,
        }
    }

    fn ours(&self, table: &str, query: &str) {
        let table = format!("bench.{table}");
        let query = query.replace("{id}", "_rowid").replace("{}", &table);
        black_box(block_on(self.ours.collect(&query)).unwrap());
    }

    fn plain(&self, table: &str, query: &str) {
        let query = query.replace("{id}", "id").replace("{}", table);
        black_box(
            block_on(async { self.plain.sql(&query).await.unwrap().collect().await }).unwrap(),
        );
    }
}

fn main() {
    let sides = Sides::new();
    for (table, queries) in [("rows", &QUERIES[..]), ("edited", &EDITED[..])] {
        for (name, query) in queries {
            let measured = paired(
                ROUNDS,
                || sides.ours(table, query),
                || sides.plain(table, query),
            );
            println!("{name:<58} {measured}");
        }
    }
}
