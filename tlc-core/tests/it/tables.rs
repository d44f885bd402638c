//! Tables: made, read whole and in part, and their history.

use std::sync::Arc;

use futures::TryStreamExt as _;
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, FixedSizeListArray, Float32Array, Int64Array, ListArray,
    RecordBatch, RecordBatchIterator, StringArray, StringViewArray,
};
use tlc_core::arrow::compute::concat_batches;
use tlc_core::arrow::datatypes::{DataType, Field, Int32Type, Schema};
use tlc_core::{
    ColumnName, CommitOptions, ErrorKind, Project, Role, ScanOptions, Table, Value, block_on,
    import, schema,
};

use crate::support::{animals, head, project, project_on_disk, reader, rows, table, text};

#[test]
fn a_table_is_read_as_it_was_written_with_ids_and_roles() {
    let project = project();
    let table = table(&project, "0:1 1:1 2:0.5");
    assert_eq!(head(&table), "0:0:1.0 1:1:1.0 2:2:0.5");
    let snapshot = block_on(table.head()).unwrap();
    assert_eq!(snapshot.n_rows(), 3);
    let field = snapshot.schema().field(0);
    assert_eq!(Role::of(field), Some(Role::Label));
    assert_eq!(schema::classes(field).unwrap()[2].name, "cow");
}

#[test]
fn a_table_appears_in_its_project_and_only_there() {
    let project = project();
    assert!(block_on(project.tables()).unwrap().is_empty());
    table(&project, "0:1");
    assert_eq!(block_on(project.tables()).unwrap()[0].as_str(), "train");
    assert_eq!(
        block_on(project.root().projects()).unwrap()[0].as_str(),
        "zoo"
    );
    let other = project.root().project("other").unwrap();
    assert_eq!(
        block_on(other.table("train")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_projection_gives_the_columns_asked_for_in_their_order() {
    let project = project();
    let snapshot = block_on(table(&project, "0:1 1:2").head()).unwrap();
    let read = |columns: &[&str]| {
        let options = ScanOptions::new().columns(columns.iter().copied());
        block_on(snapshot.read(options)).map(|batch| text(&batch))
    };
    assert_eq!(read(&["weight", "_rowid"]).unwrap(), "1.0:0 2.0:1");
    assert_eq!(read(&["_rowid"]).unwrap(), "0 1");
    let err = read(&["colour"]).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(
        err.to_string().contains("colour") && err.to_string().contains("animal"),
        "{err}"
    );
    let none = block_on(snapshot.read(ScanOptions::new().columns([] as [&str; 0]))).unwrap();
    assert_eq!((none.num_rows(), none.num_columns()), (2, 0));
}

/// `n` rows of an integer that is ten times the row's id.
fn tens(project: &Project, n: i64) -> Table {
    let schema = Arc::new(Schema::new(vec![Field::new("ten", DataType::Int64, false)]));
    let own = Arc::clone(&schema);
    let batches = (0..n).step_by(10_000).map(move |first| {
        let values = (first..n.min(first + 10_000)).map(|id| id * 10);
        RecordBatch::try_new(
            Arc::clone(&own),
            vec![Arc::new(Int64Array::from_iter_values(values)) as ArrayRef],
        )
    });
    let batches: Vec<_> = batches.collect();
    block_on(project.create_table("tens", RecordBatchIterator::new(batches, schema), "tens"))
        .unwrap()
}

#[test]
fn partitions_together_are_the_whole_table_in_order() {
    let project = project();
    let table = tens(&project, 300_000);
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(131_072, "ten", 1_i64).unwrap();
    patch.set(299_999, "ten", Value::null()).unwrap();
    patch.drop_rows(&[0, 131_071, 262_144]);
    let snapshot = block_on(table.commit(&patch, "edges of row groups"))
        .unwrap()
        .snapshot;
    let whole = block_on(snapshot.read(ScanOptions::new())).unwrap();
    assert_eq!(whole.num_rows(), 299_997);
    for count in [1, 2, 3, 7] {
        let parts = (0..count).map(|index| {
            block_on(snapshot.read(ScanOptions::new().partition(index, count))).unwrap()
        });
        let parts: Vec<_> = parts.collect();
        let joined = concat_batches(&whole.schema(), &parts).unwrap();
        assert_eq!(joined, whole, "{count} parts");
    }
    assert_eq!(snapshot.scan_partitions(16), 3);
}

#[test]
fn batches_of_wide_rows_are_small() {
    let wide: Vec<Vec<u8>> = (0..900_u32)
        .map(|n| n.to_le_bytes().repeat(16 << 10))
        .collect();
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(&wide));
    let rows = RecordBatch::try_from_iter([("wide", values)]).unwrap();
    let project = project();
    let table = block_on(project.create_table("wide", reader(rows), "wide rows")).unwrap();
    let scan = block_on(table.head()).unwrap().scan(ScanOptions::new());
    let batches: Vec<RecordBatch> = block_on(scan.unwrap().try_collect()).unwrap();
    let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let most = batches.iter().map(RecordBatch::num_rows).max().unwrap();
    assert_eq!(n_rows, 900);
    assert!(most <= 256, "{most} rows of 64 KiB in one batch");
}

#[test]
fn a_range_of_row_ids_and_a_limit_give_just_those_rows() {
    let project = project();
    let snapshot = block_on(tens(&project, 20_000).head()).unwrap();
    let read = |options: ScanOptions| text(&block_on(snapshot.read(options)).unwrap());
    assert_eq!(
        read(ScanOptions::new().row_ids(8_191..8_194)),
        "8191:81910 8192:81920 8193:81930"
    );
    assert_eq!(
        read(ScanOptions::new().row_ids(19_999..50_000)),
        "19999:199990"
    );
    assert_eq!(read(ScanOptions::new().row_ids(50_000..60_000)), "");
    assert_eq!(read(ScanOptions::new().rows_max(2)), "0:0 1:10");
    assert_eq!(read(ScanOptions::new().rows_max(0)), "");
    let counted = block_on(
        snapshot
            .scan(ScanOptions::new().rows_max(9_000))
            .unwrap()
            .try_fold(0, |n, batch| async move { Ok(n + batch.num_rows()) }),
    );
    assert_eq!(counted.unwrap(), 9_000);
}

#[test]
fn rows_are_taken_by_id_in_the_order_asked() {
    let project = project();
    let table = tens(&project, 200_000);
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(5, "ten", -5_i64).unwrap();
    patch.drop_rows(&[6]);
    let snapshot = block_on(table.commit(&patch, "one set, one dropped"))
        .unwrap()
        .snapshot;
    let take =
        |ids: &[u64]| block_on(snapshot.take(ids, &["_rowid", "ten"])).map(|batch| text(&batch));
    assert_eq!(
        take(&[150_000, 5, 7, 5]).unwrap(),
        "150000:1500000 5:-5 7:70 5:-5"
    );
    assert_eq!(take(&[]).unwrap(), "");
    for missing in [6, 200_000, u64::MAX] {
        let err = take(&[1, missing]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert!(err.to_string().contains(&missing.to_string()), "{err}");
    }
}

#[test]
fn an_added_column_has_its_default_and_costs_no_bytes_per_row() {
    let project = project();
    let table = tens(&project, 100_000);
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.add_column(schema::weight("weight"), 1.0_f32).unwrap();
    patch
        .add_column(schema::text("note"), Value::null())
        .unwrap();
    patch.set(3, "weight", 0.0_f32).unwrap();
    let committed = block_on(table.commit(&patch, "weights")).unwrap();
    assert!(committed.bytes < 8_000, "{} bytes", committed.bytes);
    let read = block_on(committed.snapshot.read(ScanOptions::new().rows_max(5))).unwrap();
    assert_eq!(
        text(&read),
        "0:0:1.0:- 1:10:1.0:- 2:20:1.0:- 3:30:0.0:- 4:40:1.0:-"
    );
    let taken = block_on(committed.snapshot.take(&[3, 99_999], &["weight", "note"])).unwrap();
    assert_eq!(text(&taken), "0.0:- 1.0:-");
    let old = block_on(table.at(0)).unwrap();
    assert_eq!(old.schema().fields().len(), 1);
}

#[test]
fn rows_appended_after_a_column_was_added_have_values_of_their_own() {
    let project = project();
    let table = table(&project, "0:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.add_column(schema::text("note"), "old").unwrap();
    let snapshot = block_on(table.commit(&patch, "notes")).unwrap().snapshot;
    let mut patch = snapshot.patch();
    let own = animals("2:1");
    let mut columns = own.columns().to_vec();
    columns.push(Arc::new(StringArray::from(vec!["new"])));
    patch
        .append(&RecordBatch::try_new(Arc::clone(snapshot.schema()), columns).unwrap())
        .unwrap();
    block_on(table.commit(&patch, "one more")).unwrap();
    assert_eq!(head(&table), "0:0:1.0:old 1:2:1.0:new");
}

#[test]
fn every_type_of_column_is_written_edited_and_read_back() {
    let fields = vec![
        Field::new("text", DataType::Utf8View, true),
        schema::image("picture", "image/png"),
        schema::embedding("vector", 2),
        Field::new(
            "list",
            DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true))),
            true,
        ),
    ];
    let text_column: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
    let pictures: ArrayRef = Arc::new(BinaryArray::from(vec![&b"one"[..], b"two"]));
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let floats = Float32Array::from(vec![1.0, 2.0, 3.0, f32::NAN]);
    let vectors: ArrayRef =
        Arc::new(FixedSizeListArray::try_new(item, 2, Arc::new(floats), None).unwrap());
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
    ]));
    let columns = vec![text_column, pictures, Arc::clone(&vectors), lists];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let (_folder, project) = project_on_disk();
    let table = block_on(project.create_table("types", reader(batch), "types")).unwrap();
    let before = head(&table);
    assert_eq!(
        before,
        "0:a:6f6e65:[1.0, 2.0]:[1, -] 1:b:74776f:[3.0, NaN]:-"
    );
    let mut patch = block_on(table.head()).unwrap().patch();
    patch
        .set_column("vector", &[0], &vectors.slice(1, 1))
        .unwrap();
    patch.set(1, "text", Value::null()).unwrap();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(9)])]);
    patch
        .set_column("list", &[1], &(Arc::new(list) as ArrayRef))
        .unwrap();
    let snapshot = block_on(table.commit(&patch, "nested cells"))
        .unwrap()
        .snapshot;
    assert_eq!(
        rows(&snapshot),
        "0:a:6f6e65:[3.0, NaN]:[1, -] 1:-:74776f:[3.0, NaN]:[9]"
    );
    assert_eq!(Role::of(snapshot.schema().field(2)), Some(Role::Embedding));
    assert_eq!(schema::shape(snapshot.schema().field(2)), Some(vec![2]));
}

#[test]
fn the_log_says_who_what_and_why_newest_first() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(1, "animal", "cow").unwrap();
    patch.drop_rows(&[0]);
    let options = CommitOptions::new("a cow after all")
        .author("bea")
        .tool("test 1");
    block_on(table.commit(&patch, options)).unwrap();
    let log = block_on(table.log()).unwrap();
    let shown: Vec<_> = log
        .iter()
        .map(|record| {
            format!(
                "{} {} {} {} {}",
                record.revision, record.author, record.message, record.cells, record.rows_dropped
            )
        })
        .collect();
    assert_eq!(
        shown,
        ["1 bea a cow after all 1 1", "0 tester made for a test 0 0"]
    );
    assert_eq!(log[0].parents[0].revision, log[1].revision);
    assert_eq!(log[1].rows_added, 2);
    assert_eq!(block_on(table.resolve("main")).unwrap(), log[0].revision);
    assert_eq!(block_on(table.resolve("r0")).unwrap(), log[1].revision);
    assert_eq!(
        block_on(table.resolve("9")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_diff_names_cells_rows_and_columns() {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1 0:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(0, "animal", "dog").unwrap();
    patch.set(1, "animal", "dog").unwrap();
    patch.set(2, "weight", 0.0).unwrap();
    block_on(table.commit(&patch, "first")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(0, "animal", "cat").unwrap();
    patch.drop_rows(&[3]);
    patch.append(&animals("2:2")).unwrap();
    patch.add_column(schema::text("note"), "x").unwrap();
    block_on(table.commit(&patch, "second")).unwrap();
    let shown = |from: u64, to: u64| {
        let diff = block_on(table.diff(from, to)).unwrap();
        let cells = diff.cells.iter().map(|cells| {
            let values = |array: &ArrayRef| {
                text(&RecordBatch::try_from_iter([("v", Arc::clone(array))]).unwrap())
            };
            format!(
                "{}{:?} {} -> {}",
                cells.column,
                cells.row_ids,
                values(&cells.old),
                values(&cells.new)
            )
        });
        let cells: Vec<_> = cells.collect();
        let columns =
            |columns: &[ColumnName]| columns.iter().map(ToString::to_string).collect::<String>();
        let (added, dropped) = (columns(&diff.columns_added), columns(&diff.columns_dropped));
        format!(
            "{} +{:?} -{:?} +{added} -{dropped}",
            cells.join(", "),
            diff.rows_added,
            diff.rows_dropped
        )
    };
    assert_eq!(
        shown(0, 1),
        "animal[0] 0 -> 1, weight[2] 1.0 -> 0.0 +[] -[] + -"
    );
    assert_eq!(shown(0, 2), "weight[2] 1.0 -> 0.0 +[4] -[3] +note -");
    assert_eq!(shown(2, 0), "weight[2] 0.0 -> 1.0 +[3] -[4] + -note");
    assert_eq!(shown(2, 2), " +[] -[] + -");
}

#[test]
fn a_parquet_file_is_copied_in_or_read_in_place() {
    let (folder, project) = project_on_disk();
    let source = folder.path().join("source.parquet");
    write_parquet(&source, &animals("0:1 1:1 2:0"));
    let copied = import::parquet(&source).unwrap();
    let copied = block_on(project.create_table("copied", copied, "copied")).unwrap();
    let url = source.to_str().unwrap();
    let in_place =
        block_on(project.create_table_in_place("in_place", &[url, url], "in place")).unwrap();
    assert_eq!(head(&copied), "0:0:1.0 1:1:1.0 2:2:0.0");
    assert_eq!(
        head(&in_place),
        "0:0:1.0 1:1:1.0 2:2:0.0 3:0:1.0 4:1:1.0 5:2:0.0"
    );
    assert!(!folder.path().join("zoo/tables/in_place/data").exists());
    let mut patch = block_on(in_place.head()).unwrap().patch();
    patch.set(4, "animal", "cow").unwrap();
    block_on(in_place.commit(&patch, "in place, and edited")).unwrap();
    assert_eq!(
        head(&in_place),
        "0:0:1.0 1:1:1.0 2:2:0.0 3:0:1.0 4:2:1.0 5:2:0.0"
    );
    write_parquet(&source, &animals("0:1 1:1"));
    let again = block_on(block_on(project.table("in_place")).unwrap().head()).unwrap();
    let err = block_on(again.read(ScanOptions::new())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(
        format!("{err:#}").contains("source.parquet") && format!("{err:#}").contains("changed"),
        "{err:#}"
    );
    std::fs::remove_file(&source).unwrap();
    let again = block_on(block_on(project.table("in_place")).unwrap().head()).unwrap();
    assert_eq!(
        block_on(again.read(ScanOptions::new())).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

pub(crate) fn write_parquet(path: &std::path::Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_csv_is_imported_with_the_types_of_all_its_rows() {
    let (folder, project) = project_on_disk();
    let path = folder.path().join("rows.csv");
    let lines: String = (0..5_000)
        .map(|n| format!("{n},{},w{n},{}\n", n * 2, n % 2 == 0))
        .collect();
    std::fs::write(&path, format!("a,b,c,d\n{lines}9,1.5,,true\n")).unwrap();
    let table = block_on(project.create_table("csv", import::csv(&path).unwrap(), "csv")).unwrap();
    let snapshot = block_on(table.head()).unwrap();
    let types: Vec<_> = snapshot
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().to_string())
        .collect();
    assert_eq!(types, ["Int64", "Float64", "Utf8", "Boolean"]);
    let last = block_on(snapshot.take(&[5_000], &["a", "b", "c", "d"])).unwrap();
    assert_eq!(text(&last), "9:1.5:-:true");
}

#[test]
fn dropped_rows_are_gone_and_their_ids_are_not_given_again() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.drop_rows(&[1]);
    block_on(table.commit(&patch, "drop the last")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.append(&animals("2:1")).unwrap();
    let snapshot = block_on(table.commit(&patch, "append")).unwrap().snapshot;
    assert_eq!(rows(&snapshot), "0:0:1.0 2:2:1.0");
    assert_eq!(snapshot.n_rows(), 2);
    assert_eq!(block_on(snapshot.row_ids()).unwrap(), [0, 2]);
    let labels = block_on(snapshot.read(ScanOptions::new().columns(["animal"]))).unwrap();
    assert_eq!(
        labels
            .column(0)
            .as_primitive::<Int32Type>()
            .values()
            .to_vec(),
        [0, 2]
    );
}
