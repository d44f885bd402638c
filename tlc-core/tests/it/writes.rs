//! Statements that write, where text alone cannot say it: other writers in the middle, storage,
//! sizes, nested values. What they mean for the rows is in `tests/sql/writes.slt`.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tlc_core::arrow::array::{
    ArrayRef, Float32Array, Int32Array, RecordBatch, RecordBatchIterator, new_null_array,
};
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::arrow::error::ArrowError;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result as StoreResult,
};
use tlc_core::sql::Written;
use tlc_core::{ErrorKind, Project, Result, Sql, Table, block_on, schema};

use crate::support::{animals, head, project, project_over, reader, table};

fn open(project: &Project) -> Sql {
    let sql = block_on(Sql::open(project.root())).unwrap();
    sql.with_project("zoo").unwrap()
}

fn execute(project: &Project, sql: &str) -> Result<Written> {
    block_on(open(project).execute(sql, "a statement"))
}

fn train(project: &Project) -> Table {
    block_on(project.table("train")).unwrap()
}

/// A store in which somebody acts right after the first request that names a path.
struct Between {
    inner: Arc<dyn ObjectStore>,
    path: &'static str,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Between {
    fn after<T>(&self, path: &Path, answer: T) -> T {
        if path.as_ref().contains(self.path) {
            let act = self.act.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
        answer
    }
}

#[async_trait]
impl ObjectStore for Between {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let put = self.inner.put_opts(path, payload, options).await;
        self.after(path, put)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let got = self.inner.get_opts(path, options).await;
        self.after(path, got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("between")
    }
}

/// Runs `statement` on three rows; once it has asked for a path with `path` in it, another writer runs
/// `theirs`. Gives what the statement came to and the rows that are left.
fn while_another(
    path: &'static str,
    theirs: &'static str,
    statement: &str,
) -> (Result<Written>, String) {
    let clean = project();
    table(&clean, "0:1 1:1 2:1");
    let other = project_over(&clean, |store| store);
    let came = Arc::new(AtomicBool::new(false));
    let comes = Arc::clone(&came);
    let act = move || {
        comes.store(true, Ordering::Relaxed);
        execute(&other, theirs).unwrap();
    };
    let between = project_over(&clean, |inner| {
        let act = Mutex::new(Some(Box::new(act) as Box<_>));
        Arc::new(Between { inner, path, act })
    });
    let done = execute(&between, statement);
    assert!(came.load(Ordering::Relaxed), "the other writer came");
    let left = project_over(&clean, |store| store);
    (done, head(&train(&left)))
}

#[track_caller]
fn check_conflict(
    path: &'static str,
    theirs: &'static str,
    statement: &str,
    named: &str,
    rows: &str,
) {
    let (done, left) = while_another(path, theirs, statement);
    let err = done.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict, "{err:#}");
    assert!(err.to_string().contains(named), "{err:#}");
    assert_eq!(left, rows);
}

#[track_caller]
fn check_both(
    path: &'static str,
    theirs: &'static str,
    statement: &str,
    ids: Range<u64>,
    rows: &str,
) {
    let (done, left) = while_another(path, theirs, statement);
    let written = done.unwrap();
    assert_eq!((written.committed.revision.0, written.row_ids), (2, ids));
    assert_eq!(left, rows);
}

#[test]
fn who_changes_the_same_cells_before_the_commit_makes_a_conflict() {
    check_conflict(
        "/edits/",
        "UPDATE train SET weight = 7 WHERE _rowid = 1",
        "UPDATE train SET weight = weight + 1 WHERE animal > 0",
        "weight[1]",
        "0:0:1.0 1:1:7.0 2:2:1.0",
    );
    check_conflict(
        "/deletes/",
        "UPDATE train SET weight = 7 WHERE _rowid = 1",
        "DELETE FROM train WHERE weight = 1",
        "weight[1]",
        "0:0:1.0 1:1:7.0 2:2:1.0",
    );
    check_conflict(
        "/edits/",
        "DELETE FROM train WHERE _rowid = 2",
        "UPDATE train SET weight = 0",
        "weight[2]",
        "0:0:1.0 1:1:1.0",
    );
}

#[test]
fn who_changes_other_cells_is_not_noticed() {
    check_both(
        "/edits/",
        "UPDATE train SET weight = 7 WHERE _rowid = 0",
        "UPDATE train SET weight = weight + 1 WHERE animal > 0",
        3..3,
        "0:0:7.0 1:1:2.0 2:2:2.0",
    );
    check_both(
        "/edits/",
        "UPDATE train SET animal = 'cow'",
        "UPDATE train SET weight = 0 WHERE _rowid = 0",
        3..3,
        "0:2:0.0 1:2:1.0 2:2:1.0",
    );
    check_both(
        "/data/",
        "INSERT INTO train VALUES ('cow', 9), ('cow', 8)",
        "INSERT INTO train VALUES ('dog', 7)",
        5..6,
        "0:0:1.0 1:1:1.0 2:2:1.0 3:2:9.0 4:2:8.0 5:1:7.0",
    );
}

#[test]
fn a_statement_sees_one_state_of_its_table_in_all_its_parts() {
    // The other writer comes when the head has been looked up, before anything is planned.
    check_conflict(
        "/log/00000000000000000001.json",
        "UPDATE train SET weight = 7 WHERE _rowid = 1",
        "UPDATE train SET weight = (SELECT sum(weight) FROM zoo.\"train@main\") + (SELECT sum(weight) FROM train)",
        "weight[1]",
        "0:0:1.0 1:1:7.0 2:2:1.0",
    );
    check_both(
        "/log/00000000000000000001.json",
        "UPDATE train SET weight = 7 WHERE _rowid = 1",
        "UPDATE train SET weight = (SELECT sum(weight) FROM zoo.\"train@main\") + (SELECT sum(weight) FROM train) WHERE _rowid = 0",
        3..3,
        "0:0:6.0 1:1:7.0 2:2:1.0",
    );
    check_both(
        "/log/00000000000000000001.json",
        "INSERT INTO train VALUES ('cow', 9)",
        "INSERT INTO train SELECT * EXCEPT (_rowid) FROM train ORDER BY _rowid",
        4..7,
        "0:0:1.0 1:1:1.0 2:2:1.0 3:2:9.0 4:0:1.0 5:1:1.0 6:2:1.0",
    );
}

#[test]
fn a_statement_that_changes_nothing_makes_no_revision() {
    let project = project();
    let train = table(&project, "0:1 1:1");
    for sql in [
        "UPDATE train SET weight = 2 WHERE false",
        "UPDATE train SET weight = 1, animal = animal",
        "UPDATE train SET weight = v FROM (VALUES (9, 5)) AS t(id, v) WHERE _rowid = id",
        "DELETE FROM train WHERE weight > 1",
        "INSERT INTO train SELECT animal, weight FROM train WHERE false",
    ] {
        let written = execute(&project, sql).unwrap();
        let committed = &written.committed;
        let counts = (
            committed.revision.0,
            committed.rows,
            committed.cells,
            committed.bytes,
        );
        assert_eq!(counts, (0, 0, 0, 0), "{sql}");
        assert!(written.row_ids.is_empty(), "{sql}");
    }
    assert_eq!(block_on(train.log()).unwrap().len(), 1);
}

#[test]
fn queries_refuse_to_write_and_statements_to_ask() {
    let project = project();
    let train = table(&project, "0:1 1:1");
    let sql = open(&project);
    for statement in [
        "UPDATE train SET weight = 2",
        "DELETE FROM train",
        "INSERT INTO train VALUES (1, 1)",
        "TRUNCATE TABLE train",
    ] {
        assert!(block_on(sql.writes(statement)).unwrap());
        let err = block_on(sql.collect(statement)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains("Sql::execute"), "{err}");
    }
    for query in [
        "SELECT 1",
        "EXPLAIN DELETE FROM train",
        "DROP TABLE train",
        "SHOW TABLES",
    ] {
        assert!(!block_on(sql.writes(query)).unwrap());
        let err = block_on(sql.execute(query, "x")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains("Sql::query"), "{err}");
    }
    assert_eq!(block_on(train.log()).unwrap().len(), 1);
}

#[test]
fn a_table_of_a_records_name_is_written_to_as_a_branch() {
    let project = project();
    let made = project.create_table("runs", reader(animals("0:1")), "an odd name");
    let runs = block_on(made).unwrap();
    let statement = "UPDATE zoo.\"runs@main\" SET weight = (SELECT count(*) FROM runs)";
    execute(&project, statement).unwrap();
    assert_eq!(head(&runs), "0:0:0.0", "runs is still what runs tell");
}

#[test]
fn lists_and_structs_are_set_by_expressions() {
    let project = project();
    let parts = vec![
        Field::new("a", DataType::Int8, true),
        Field::new("b", DataType::Utf8, true),
    ];
    let fields = vec![
        schema::embedding("e", 2),
        schema::boxes("boxes", ["cat", "dog"]),
        Field::new("s", DataType::Struct(parts.into()), true),
        Field::new(
            "n",
            DataType::List(Arc::new(Field::new_list_field(DataType::Int8, true))),
            true,
        ),
    ];
    let columns = fields
        .iter()
        .map(|field| new_null_array(field.data_type(), 2))
        .collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    block_on(project.create_table("train", reader(rows), "nulls")).unwrap();
    let one_box =
        "[named_struct('id', 7, 'x_min', 1, 'y_min', 2, 'x_max', 3, 'y_max', 4.5, 'label', 'dog')]";
    let set = format!(
        "UPDATE train SET e = make_array(0.5, 1), boxes = {one_box}, s = named_struct('b', 'x', 'a', 3), n = [] WHERE _rowid = 1"
    );
    assert_eq!(execute(&project, &set).unwrap().committed.cells, 4);
    assert_eq!(execute(&project, &set).unwrap().committed.cells, 0);
    let row = "1:[0.5, 1.0]:[{id: 7, x_min: 1.0, y_min: 2.0, x_max: 3.0, y_max: 4.5, label: 1}]:{a: 3, b: x}:[]";
    assert_eq!(head(&train(&project)), format!("0:-:-:-:- {row}"));
    let insert = format!("INSERT INTO train (boxes, e) VALUES ({one_box}, [1, 2])");
    assert_eq!(execute(&project, &insert).unwrap().row_ids, 2..3);
    for (wrong, named) in [
        ("n = [1.5]", "n.item"),
        ("n = [300]", "n.item"),
        ("e = [1, 2, 3]", "\"e\""),
        ("s = named_struct('a', 1)", "\"s\""),
        ("s = named_struct('a', 1, 'c', 'x')", "\"s\""),
        ("boxes = [named_struct('x_min', 1)]", "boxes.item"),
        (
            "boxes = [named_struct('id', 7, 'x_min', 1, 'y_min', 2, 'x_max', 3, 'y_max', 4, 'label', 'cow')]",
            "cow",
        ),
        (
            "boxes = [named_struct('x_min', NULL, 'y_min', 2, 'x_max', 3, 'y_max', 4, 'label', 'dog')]",
            "boxes",
        ),
        ("e = 'text'", "\"e\""),
    ] {
        let err = execute(&project, &format!("UPDATE train SET {wrong}")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{wrong}: {err:#}");
        assert!(err.to_string().contains(named), "{wrong}: {err:#}");
    }
    let nothing = execute(
        &project,
        "UPDATE train SET e = NULL, boxes = NULL, s = NULL, n = NULL",
    );
    assert_eq!(nothing.unwrap().committed.cells, 6);
}

#[test]
fn statements_of_hostile_size_are_refused_and_large_honest_ones_run() {
    let project = project();
    table(&project, "0:1 1:1");
    let tables: Vec<String> = (0..200).map(|n| format!("(VALUES (1)) t{n}")).collect();
    let columns = |n: usize| vec!["weight = 1"; n].join(", ");
    for statement in [
        format!("DELETE FROM train WHERE {}true", "NOT ".repeat(100_000)),
        format!(
            "DELETE FROM train WHERE {}1{} = 1",
            "(".repeat(100_000),
            ")".repeat(100_000)
        ),
        format!("UPDATE train SET weight = 1{}", " + 1".repeat(100_000)),
        format!("UPDATE train SET weight = {}1", "- ".repeat(100_000)),
        format!("UPDATE train SET weight = 1 FROM {}", tables.join(", ")),
        format!("UPDATE train SET {}", columns(400)),
        format!("UPDATE train SET {}", columns(100_000)),
        format!("DELETE FROM train USING {}", tables.join(", ")),
        format!("INSERT INTO train SELECT 1{}, 2", " - 1".repeat(100_000)),
        format!("INSERT INTO train SELECT t0.* FROM {}", tables.join(", ")),
        format!("INSERT INTO train VALUES ('{}', 1)", "x".repeat(2 << 20)),
        format!("DELETE FROM {}train", "a.".repeat(100_000)),
        format!("DELETE FROM \"{}\"", "x".repeat(100_000)),
        "UPDATE train SET".to_owned(),
        "INSERT INTO train".to_owned(),
    ] {
        let shown: String = statement.chars().take(60).collect();
        let err = execute(&project, &statement).expect_err(&shown);
        let kind = err.kind();
        assert!(
            matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound),
            "{shown}: {err:#}"
        );
    }
    assert_eq!(head(&train(&project)), "0:0:1.0 1:1:1.0");

    let rows: Vec<String> = (0..20_000).map(|n| format!("(1, -{n})")).collect();
    let written = execute(
        &project,
        &format!("INSERT INTO train VALUES {}", rows.join(",")),
    )
    .unwrap();
    assert_eq!(
        (written.row_ids, written.committed.rows),
        (2..20_002, 20_000)
    );
    let written = execute(
        &project,
        "INSERT INTO train SELECT arrow_cast(value % 3, 'Int32') AS a, value AS b FROM generate_series(1, 300000)",
    );
    assert_eq!(written.unwrap().row_ids, 20_002..320_002);
    let ids: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let delete = format!("DELETE FROM train WHERE _rowid IN ({})", ids.join(","));
    assert_eq!(execute(&project, &delete).unwrap().committed.rows, 20_000);
    let update = execute(&project, "UPDATE train SET animal = 'cow' WHERE weight > 0");
    assert_eq!(update.unwrap().committed.cells, 200_000);
}

#[test]
fn staged_rows_come_first_in_the_order_of_the_calls() {
    let project = project();
    let train = table(&project, "0:1");
    let mut patch = block_on(train.head()).unwrap().patch();
    patch.append(&animals("1:4")).unwrap();
    assert_eq!(
        block_on(train.stage(&mut patch, reader(animals("1:2 1:3")))).unwrap(),
        2
    );
    assert_eq!(
        block_on(train.stage(&mut patch, reader(animals("2:2")))).unwrap(),
        1
    );
    assert_eq!(head(&train), "0:0:1.0", "nothing of it is visible yet");
    let committed = block_on(train.commit(&patch, "four rows")).unwrap();
    assert_eq!((committed.revision.0, committed.rows), (1, 4));
    assert_eq!(head(&train), "0:0:1.0 1:1:2.0 2:1:3.0 3:2:2.0 4:1:4.0");
}

#[test]
fn rows_that_cannot_be_staged_leave_the_patch_as_it_was() {
    let project = project();
    let train = table(&project, "0:1");
    let mut patch = block_on(train.head()).unwrap().patch();
    let fields = Arc::new(Schema::new(vec![Field::new(
        "animal",
        DataType::Int32,
        true,
    )]));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1]))];
    let lacking = RecordBatch::try_new(fields, columns).unwrap();
    let err = block_on(train.stage(&mut patch, reader(lacking))).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    let rows = animals("1:1");
    let batches = [
        Ok(rows.clone()),
        Err(ArrowError::ComputeError("broken".to_owned())),
    ];
    let broken = RecordBatchIterator::new(batches, rows.schema());
    block_on(train.stage(&mut patch, broken)).unwrap_err();
    assert!(patch.is_empty());
}

#[test]
fn rows_staged_elsewhere_or_gone_are_not_committed() {
    let project = project();
    let train = table(&project, "0:1");
    let other = block_on(project.create_table("other", reader(animals("0:1")), "new")).unwrap();
    let mut patch = block_on(train.head()).unwrap().patch();
    block_on(train.stage(&mut patch, reader(animals("2:5")))).unwrap();
    let err = block_on(other.commit(&patch, "to another table")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err:#}");
    assert!(err.to_string().contains("stage them again"), "{err:#}");
    assert_eq!(head(&other), "0:0:1.0");
    let root = project.root();
    let store = root.store();
    let data = Path::from(format!("{}/zoo/tables/train/data", root.path()));
    let files = block_on(store.list_with_delimiter(Some(&data)));
    for file in files.unwrap().objects {
        block_on(store.delete(&file.location)).unwrap();
    }
    let err = block_on(train.commit(&patch, "too late")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err:#}");
    assert_eq!(block_on(train.log()).unwrap().len(), 1);
}

#[test]
fn a_weight_may_come_from_a_wider_number_and_a_label_not_from_a_fraction() {
    let project = project();
    table(&project, "0:1");
    let fields = vec![Field::new("x", DataType::Float32, true)];
    let halves: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![halves]).unwrap();
    block_on(project.create_table("other", reader(rows), "new")).unwrap();
    execute(
        &project,
        "UPDATE train SET weight = (SELECT CAST(x AS DOUBLE) / 5 FROM other)",
    )
    .unwrap();
    assert_eq!(head(&train(&project)), "0:0:0.1");
    let err = execute(&project, "UPDATE train SET animal = (SELECT x FROM other)").unwrap_err();
    assert!(err.to_string().contains("animal"), "{err:#}");
}
