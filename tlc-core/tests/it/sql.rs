//! SQL through the public API: the `.slt` files beside this folder, and what text cannot say.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tempfile::TempDir;
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, RecordBatchIterator, StringArray,
};
use tlc_core::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use tlc_core::arrow::util::display::{ArrayFormatter, FormatOptions};
use tlc_core::object_store::memory::InMemory;
use tlc_core::sql::SqlOptions;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    Env, Error, ErrorKind, Project, Root, RootOptions, Rows, RunOptions, Sql, Table, block_on,
    schema,
};

use crate::support::quiet;

pub(crate) fn root(url: &str) -> Root {
    block_on(Root::open_with(url, RootOptions::new().env(Env::manual()))).unwrap()
}

fn batch(fields: Vec<Field>, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn create(project: &Project, name: &str, rows: RecordBatch) -> Table {
    let schema = rows.schema();
    let reader = RecordBatchIterator::new([Ok(rows)], schema);
    block_on(project.create_table(name, reader, "import")).unwrap()
}

fn animals(names: &[&str], animals: &[i32]) -> RecordBatch {
    batch(
        vec![
            Field::new("name", DataType::Utf8, true),
            schema::label("animal", ["cat", "dog", "bird"]),
            schema::weight("weight"),
        ],
        vec![
            Arc::new(StringArray::from(names.to_vec())),
            Arc::new(Int32Array::from(animals.to_vec())),
            Arc::new(Float32Array::from(vec![1.0; names.len()])),
        ],
    )
}

/// Project `zoo`: table `train` with three revisions, table `Odd-Name`, and two runs.
pub(crate) fn zoo(root: &Root) -> Project {
    let project = root.project("zoo").unwrap();
    let train = create(
        &project,
        "train",
        animals(&["a", "b", "c", "d", "e", "f"], &[0, 1, 2, 0, 1, 2]),
    );
    create(&project, "Odd-Name", animals(&["x"], &[0]));

    let mut labels = block_on(train.head()).unwrap().patch();
    labels.set(1, "animal", "bird").unwrap();
    labels.set(3, "animal", 1).unwrap();
    block_on(train.commit(&labels, "fix labels")).unwrap();

    let mut rows = block_on(train.head()).unwrap().patch();
    rows.drop_rows(&[5]);
    rows.append(&animals(&["g"], &[0])).unwrap();
    block_on(train.commit(&rows, "other rows")).unwrap();

    for (name, lr, columns) in [("first", 0.1, "loss"), ("second", 0.01, "loss correct")] {
        log_run(&project, &train, name, lr, columns);
    }
    project
}

/// A run of two epochs: sample metrics of streams `train` and `val`, and a scalar of each.
fn log_run(project: &Project, table: &Table, name: &str, lr: f64, columns: &str) {
    let run = project.start_run(RunOptions::new().name(name)).unwrap();
    run.params(&std::collections::BTreeMap::from([("lr", lr)]))
        .unwrap();
    let snapshot = block_on(table.head()).unwrap();
    run.input(&snapshot).unwrap();
    for epoch in 0..2 {
        for stream in ["train", "val"] {
            let rows = Rows::new(stream, epoch, vec![0_u64, 1, 2])
                .unwrap()
                .step(epoch * 10);
            let rows = rows.source(table.name().clone(), snapshot.revision());
            let loss = [0.5, 0.25, 0.125].map(|loss| loss / (epoch + 1) as f64);
            let mut fields = vec![Field::new("loss", DataType::Float64, true)];
            let mut values: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(loss.to_vec()))];
            if columns.contains("correct") {
                fields.push(Field::new("correct", DataType::Int64, true));
                values.push(Arc::new(Int64Array::from(vec![1, 0, 1])));
            }
            run.samples(&rows, &batch(fields, values)).unwrap();
        }
        run.log(
            epoch,
            &[
                ("loss", 1.0 / (epoch + 1) as f64),
                ("test/accuracy", 0.5 + lr),
            ],
        );
    }
    run.finish().unwrap();
}

/// A session as the runner of `.slt` files drives it.
struct Session(Sql);

#[async_trait]
impl AsyncDB for Session {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn shutdown(&mut self) {}

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        if self.0.writes(sql).await? {
            let written = self.0.execute(sql, sql).await?;
            return Ok(DBOutput::StatementComplete(written.committed.rows));
        }
        let rows = self.0.collect(sql).await?;
        let types = rows.first().map_or(0, RecordBatch::num_columns);
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; types],
            rows: rows.iter().flat_map(texts).collect(),
        })
    }
}

fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL");
    let columns = batch.columns().iter();
    let columns: Vec<_> = columns
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let row = |row| {
        columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Rows as lines of words.
#[track_caller]
pub(crate) fn ask(sql: &Sql, query: &str) -> String {
    let rows = block_on(sql.collect(query)).unwrap_or_else(|err| panic!("{query}: {err:#}"));
    lines(&rows)
}

pub(crate) fn lines(rows: &[RecordBatch]) -> String {
    let lines = rows.iter().flat_map(texts).map(|row| row.join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn open(root: &Root) -> Sql {
    block_on(Sql::open(root)).unwrap()
}

fn check_files(root: &Root) {
    let train = block_on(zoo(root).table("train")).unwrap();
    block_on(train.create_branch("fix", 1, "to try")).unwrap();
    block_on(train.create_tag("gold", 0, "as imported")).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Session(Sql::open(root).await?)) });
        let done = block_on(runner.run_file_async(&file));
        done.unwrap_or_else(|err| panic!("{}", err.display(false)));
    }
}

#[test]
fn the_files_hold_on_a_root_in_memory() {
    check_files(&root("memory:///"));
}

#[test]
fn the_files_hold_on_a_root_on_disk() {
    let folder = TempDir::new().unwrap();
    check_files(&root(folder.path().to_str().unwrap()));
}

#[test]
fn an_answer_keeps_the_roles_of_its_columns() {
    let root = root("memory:///");
    zoo(&root);
    let rows = block_on(open(&root).query("SELECT * FROM zoo.train")).unwrap();
    let fields: Vec<_> = rows
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(fields, ["_rowid", "name", "animal", "weight"]);
    assert_eq!(
        schema::classes(rows.schema().field(2)).unwrap()[2].name,
        "bird"
    );
    let text = rows.schema().field(1).data_type();
    assert_eq!(text, &DataType::Utf8);
}

#[test]
fn a_session_can_have_a_project_of_its_own() {
    let root = root("memory:///");
    zoo(&root);
    let sql = open(&root).with_project("zoo").unwrap();
    assert_eq!(ask(&sql, "SELECT count(*) FROM train"), "6");
    assert_eq!(
        ask(
            &sql,
            "SELECT count(*) FROM \"train@1\" t JOIN zoo.train USING (_rowid)"
        ),
        "5"
    );
    let err = block_on(open(&root).query("SELECT * FROM train")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(err.to_string().contains("zoo"), "{err}");
}

/// A root whose requests are counted.
fn counted(root_of: &Arc<InMemory>) -> (Root, Arc<Faults>) {
    let faults = Faults::at(0, When::Before);
    let store = Arc::new(FaultyStore::new(
        Arc::clone(root_of) as _,
        Arc::clone(&faults),
    ));
    let options = RootOptions::new().env(Env::manual());
    (
        Root::in_store(store, "".into(), "memory:///".parse().unwrap(), options),
        faults,
    )
}

/// The requests of a query in a new session of a new root.
fn requests(store: &Arc<InMemory>, query: &str) -> u64 {
    let (root, faults) = counted(store);
    ask(&open(&root), query);
    faults.n_requests()
}

#[test]
fn a_filter_on_run_stream_or_epoch_opens_only_the_files_that_match() {
    let store = Arc::new(InMemory::new());
    zoo(&counted(&store).0);
    let all = requests(&store, "SELECT sum(loss) FROM zoo.samples");
    let mut last = all;
    for filter in [
        "run = 'second'",
        "run = 'second' AND stream = 'val'",
        "run = 'second' AND stream = 'val' AND epoch = 1",
    ] {
        let some = requests(
            &store,
            &format!("SELECT sum(loss) FROM zoo.samples WHERE {filter}"),
        );
        assert!(some < last, "{filter}: {some} requests, {last} without");
        last = some;
    }
    let scalars = requests(&store, "SELECT sum(value) FROM zoo.scalars");
    assert!(
        requests(
            &store,
            "SELECT sum(value) FROM zoo.scalars WHERE run = 'first'"
        ) < scalars
    );
    let params = requests(&store, "SELECT count(value) FROM zoo.params");
    assert!(
        requests(
            &store,
            "SELECT count(value) FROM zoo.params WHERE run = 'first'"
        ) < params
    );
}

/// How many files of samples the plan of a query opens.
fn n_files(sql: &Sql, query: &str) -> usize {
    ask(sql, &format!("EXPLAIN {query}"))
        .matches(".parquet")
        .count()
}

#[test]
fn the_plan_names_the_files_that_are_left() {
    let root = root("memory:///");
    zoo(&root);
    let sql = open(&root);
    for (filter, n) in [
        ("true", 8),
        ("stream = 'val'", 4),
        ("epoch = 1", 4),
        ("epoch > 0 AND run LIKE 'sec%'", 2),
        ("run IN ('first', 'third')", 4),
        ("upper(run) = 'FIRST' OR epoch = 0", 6),
        ("loss > 0.3 AND epoch = 0", 4),
        ("loss > 0.3 OR epoch = 0", 8),
        ("epoch = 7", 0),
    ] {
        assert_eq!(
            n_files(&sql, &format!("SELECT * FROM zoo.samples WHERE {filter}")),
            n,
            "{filter}"
        );
    }
}

#[test]
fn a_file_of_before_version_3_is_not_taken_for_sorted() {
    let folder = TempDir::new().unwrap();
    let root = root(folder.path().to_str().unwrap());
    let run = root
        .project("zoo")
        .unwrap()
        .start_run(quiet("old"))
        .unwrap();
    run.log(4, &[("a", 4.0)]);
    run.finish().unwrap();
    let scalars = folder.path().join("zoo/runs/old/scalars");
    let of_today = std::fs::read_dir(&scalars)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let file = std::fs::File::open(&of_today).unwrap();
    let rows = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap()
        .next();
    let rows = rows.unwrap().unwrap();
    let at = rows.schema().index_of("step").unwrap();
    let old = std::fs::File::create(scalars.join("0123456789abcdef-7.parquet")).unwrap();
    let mut old = ArrowWriter::try_new(old, rows.schema(), None).unwrap();
    for step in [9, 2] {
        let mut columns = rows.columns().to_vec();
        columns[at] = Arc::new(Int64Array::from(vec![step]));
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        old.write(&rows).unwrap();
    }
    old.close().unwrap();
    std::fs::remove_file(of_today).unwrap();
    let query = "SELECT step FROM zoo.scalars WHERE run = 'old' AND name = 'a' ORDER BY step";
    assert_eq!(sorted(&open(&root), query), ("2\n9".into(), true));
}

/// What a query gives, and whether rows are sorted for it.
fn sorted(sql: &Sql, query: &str) -> (String, bool) {
    let plan = ask(sql, &format!("EXPLAIN {query}"));
    (ask(sql, query), plan.contains("SortExec"))
}

#[test]
fn a_series_is_read_in_the_order_of_its_file() {
    let root = root("memory:///");
    let project = root.project("zoo").unwrap();
    for name in ["one", "two"] {
        let run = project.start_run(quiet(name)).unwrap();
        // Steps go back, and names come in no order.
        for step in [3_i32, -1, 2, 0] {
            let value = f64::from(step);
            run.log(step.into(), &[("b", value), ("a", -value), ("c", 0.0)]);
        }
        run.text(5, "b", "late");
        run.text(None, "b", "of no step");
        assert_eq!(run.finish().unwrap().warning(), None);
    }
    let sql = open(&root);
    let series = "zoo.scalars WHERE run = 'one' AND name = 'b'";
    for (query, rows, is_sorted) in [
        (
            format!("SELECT value FROM {series} ORDER BY step"),
            "-1.0 0.0 2.0 3.0",
            false,
        ),
        (
            format!("SELECT value FROM {series} ORDER BY step DESC"),
            "3.0 2.0 0.0 -1.0",
            true,
        ),
        (
            format!("SELECT step FROM {series} ORDER BY value DESC LIMIT 1"),
            "3",
            true,
        ),
        (
            "SELECT value FROM zoo.scalars WHERE run = 'two' AND name < 'c' ORDER BY name, step"
                .into(),
            "1.0 -0.0 -2.0 -3.0 -1.0 0.0 2.0 3.0",
            false,
        ),
        (
            "SELECT value FROM zoo.scalars WHERE name = 'b' ORDER BY step, run".into(),
            "-1.0 -1.0 0.0 0.0 2.0 2.0 3.0 3.0",
            true,
        ),
        (
            "SELECT text FROM zoo.texts WHERE run = 'one' AND name = 'b' ORDER BY step NULLS FIRST"
                .into(),
            "of no step late",
            false,
        ),
        (
            "SELECT text FROM zoo.texts WHERE run = 'one' AND name = 'b' ORDER BY step".into(),
            "late of no step",
            true,
        ),
    ] {
        let (found, sorts) = sorted(&sql, &query);
        assert_eq!(found.replace('\n', " "), rows, "{query}");
        assert_eq!(sorts, is_sorted, "{query}");
    }
}

fn wide(n: i64) -> RecordBatch {
    batch(
        vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ],
        vec![
            Arc::new(Int64Array::from_iter_values(0..n)),
            Arc::new(StringArray::from_iter_values((0..n).map(|n| {
                format!(
                    "{:032x}",
                    n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed())
                )
            }))),
        ],
    )
}

#[test]
fn counting_and_limits_do_not_read_the_rows() {
    let store = Arc::new(InMemory::new());
    create(
        &counted(&store).0.project("big").unwrap(),
        "rows",
        wide(300_000),
    );
    let full = requests(&store, "SELECT sum(a), max(b) FROM big.rows");
    let count = requests(&store, "SELECT count(*) FROM big.rows");
    let one_column = requests(&store, "SELECT sum(a) FROM big.rows");
    let ten = requests(&store, "SELECT * FROM big.rows LIMIT 10");
    let first = open(&counted(&store).0);
    let plan = ask(&first, "EXPLAIN ANALYZE SELECT a FROM big.rows LIMIT 10");
    assert!(read(&plan) <= 20, "{plan}");
    assert!(
        count < one_column && one_column <= full && ten < full,
        "{count} {one_column} {ten} {full}"
    );
}

#[test]
fn a_condition_on_row_ids_reads_only_these_rows() {
    let store = Arc::new(InMemory::new());
    let (root, _) = counted(&store);
    create(&root.project("big").unwrap(), "rows", wide(300_000));
    let sql = open(&root);
    let query = "SELECT _rowid, a FROM big.rows WHERE ";
    let plan = ask(&sql, "EXPLAIN ANALYZE SELECT _rowid, a FROM big.rows");
    let all = metric(&plan, "bytes_read=");
    for (condition, rows, read_max) in [
        ("_rowid = 7", "7 7", 1),
        ("7 = _rowid", "7 7", 1),
        ("_rowid IN (250000, 3)", "3 3\n250000 250000", 2),
        ("_rowid = 3 OR _rowid = 299999", "3 3\n299999 299999", 2),
        ("_rowid BETWEEN 5 AND 6", "5 5\n6 6", 2),
        ("_rowid >= 299998", "299998 299998\n299999 299999", 2),
        ("_rowid < 2 AND a > 0", "1 1", 2),
        (
            "_rowid IN (1, 2, 3, 4, 5, 400000) AND a % 2 = 0",
            "2 2\n4 4",
            5,
        ),
        ("_rowid IN (SELECT CAST(7 AS BIGINT))", "7 7", 300_000),
        ("_rowid = -1", "", 300_000),
    ] {
        assert_eq!(
            ask(&sql, &format!("{query}{condition} ORDER BY _rowid")),
            rows,
            "{condition}"
        );
        let plan = ask(&sql, &format!("EXPLAIN ANALYZE {query}{condition}"));
        assert!(read(&plan) <= read_max, "{condition}: {plan}");
        if read_max <= 5 {
            let bytes = metric(&plan, "bytes_read=");
            assert!(bytes * 2 < all, "{condition}: {bytes} of {all} bytes");
        }
    }
}

/// The rows that scans of snapshots gave, as `EXPLAIN ANALYZE` tells it.
fn read(plan: &str) -> u64 {
    metric(plan, "output_rows=")
}

/// What scans of snapshots counted of one thing.
fn metric(plan: &str, name: &str) -> u64 {
    let scans = plan
        .split("SnapshotExec")
        .skip(1)
        .filter_map(|scan| scan.split(name).nth(1));
    let number = |text: &str| -> u64 {
        let text: String = text
            .chars()
            .take_while(|c| *c != ',' && *c != ']')
            .collect();
        let (digits, unit) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let scale = match unit {
            "K" => 1e3,
            "M" => 1e6,
            _ => 1.0,
        };
        (digits.parse::<f64>().unwrap() * scale) as u64
    };
    scans.map(number).sum()
}

#[test]
fn a_join_on_row_ids_reads_only_the_rows_it_needs() {
    let root = root("memory:///");
    create(&root.project("big").unwrap(), "rows", wide(300_000));
    let sql = block_on(Sql::open_with(&root, SqlOptions::new().partitions(1))).unwrap();
    let query = "SELECT r._rowid, r.b FROM (VALUES (CAST(5 AS BIGINT UNSIGNED)), (CAST(77 AS BIGINT UNSIGNED))) AS v(id) JOIN big.rows r ON r._rowid = v.id";
    let plan = ask(&sql, &format!("EXPLAIN ANALYZE {query}"));
    assert!(read(&plan) <= 2, "{plan}");
    for n in [1, 4] {
        let sql = block_on(Sql::open_with(&root, SqlOptions::new().partitions(n))).unwrap();
        for _ in 0..10 {
            assert_eq!(ask(&sql, query).lines().count(), 2);
        }
        let walk = "WITH RECURSIVE walk(id) AS (
            SELECT CAST(0 AS BIGINT UNSIGNED)
            UNION ALL
            SELECT r._rowid FROM walk JOIN big.rows r ON r._rowid = walk.id + CAST(60000 AS BIGINT UNSIGNED)
        ) SELECT count(*) FROM walk";
        assert_eq!(
            ask(&sql, walk),
            "5",
            "each round of a recursive query joins other rows"
        );
    }
}

#[test]
fn an_edit_sets_the_cells_that_change_and_no_others() {
    let root = root("memory:///");
    let project = zoo(&root);
    let sql = open(&root);
    let train = block_on(project.table("train")).unwrap();
    let edit = |sets: &[(&str, &str)], predicate: &str| {
        block_on(sql.edit(&train, sets, predicate, "edit"))
    };

    let done = edit(
        &[("animal", "'bird'"), ("weight", "weight / 2")],
        "name IN ('a', 'b')",
    )
    .unwrap();
    assert_eq!(
        (done.revision.0, done.rows, done.cells),
        (3, 2, 3),
        "row 1 is a bird already"
    );
    assert_eq!(
        ask(
            &sql,
            "SELECT _rowid, label_name(animal), weight FROM zoo.train WHERE _rowid < 3 ORDER BY 1"
        ),
        "0 bird 0.5\n1 bird 0.5\n2 bird 1.0"
    );

    let same = edit(&[("animal", "2")], "_rowid < 3").unwrap();
    assert_eq!(
        (same.revision.0, same.rows, same.cells, same.bytes),
        (3, 0, 0, 0)
    );
    let none = edit(&[("animal", "2")], "false").unwrap();
    assert_eq!((none.revision.0, none.cells), (3, 0));

    let worst = "_rowid IN (SELECT _rowid FROM samples WHERE loss > 0.4)";
    assert_eq!(edit(&[("weight", "NULL")], worst).unwrap().cells, 1);
    assert_eq!(
        ask(&sql, "SELECT _rowid FROM zoo.train WHERE weight IS NULL"),
        "0"
    );
}

#[test]
fn an_edit_reads_the_table_it_is_given_whatever_the_session_is_over() {
    let (here, elsewhere) = (root("memory:///"), root("memory:///"));
    let train = block_on(zoo(&elsewhere).table("train")).unwrap();
    let done = block_on(open(&here).edit(&train, &[("animal", "1")], "true", "all dogs")).unwrap();
    assert_eq!(done.cells, 4);
}

#[track_caller]
fn check_edit(sets: &[(&str, &str)], predicate: &str, kind: ErrorKind, words: &[&str]) {
    let root = root("memory:///");
    let train = block_on(zoo(&root).table("train")).unwrap();
    let err = block_on(open(&root).edit(&train, sets, predicate, "edit")).unwrap_err();
    assert_eq!(err.kind(), kind, "{err:#}");
    for word in words {
        assert!(format!("{err:#}").contains(word), "{err:#}");
    }
    assert_eq!(
        block_on(train.log()).unwrap().len(),
        3,
        "a refused edit makes no revision"
    );
}

#[test]
fn a_wrong_edit_is_refused_with_a_reason() {
    use ErrorKind::{Invalid, NotFound};
    check_edit(
        &[("lable", "1")],
        "true",
        NotFound,
        &["lable", "name, animal, weight"],
    );
    check_edit(
        &[("animal", "'horse'")],
        "true",
        Invalid,
        &["horse", "cat, dog, bird"],
    );
    check_edit(&[("animal", "1.5")], "true", Invalid, &["animal"]);
    check_edit(&[("weight", "'heavy'")], "true", Invalid, &["weight"]);
    check_edit(&[("_rowid", "1")], "true", Invalid, &["_rowid"]);
    check_edit(
        &[("animal", "1"), ("animal", "2")],
        "true",
        Invalid,
        &["twice"],
    );
    check_edit(&[], "true", Invalid, &["nothing"]);
    check_edit(&[("animal", "1")], "nmae = 'a'", Invalid, &["nmae"]);
    check_edit(
        &[("animal", "1")],
        "true) OR (true",
        Invalid,
        &["condition"],
    );
    check_edit(
        &[("animal", "1, 2 FROM x; DROP TABLE y")],
        "true",
        Invalid,
        &["animal"],
    );
}

#[test]
fn hostile_text_is_an_error_and_nothing_worse() {
    let root = root("memory:///");
    zoo(&root);
    let sql = open(&root);
    let nested = |open: &str, close: &str, n: usize| {
        format!("SELECT {}1{}", open.repeat(n), close.repeat(n))
    };
    let queries = [
        nested("(", ")", 100_000),
        nested("- ", "", 100_000),
        format!("SELECT 1{}", " IS NULL".repeat(100_000)),
        format!("SELECT 1{}", " IN (1)".repeat(100_000)),
        format!("SELECT (SELECT 1){}", ".a".repeat(100_000)),
        format!("SELECT name{} FROM zoo.train", ".a".repeat(100_000)),
        format!("SELECT parameters{} FROM zoo.runs", ".a".repeat(100_000)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(100_000)),
        nested("NOT ", "", 100_000),
        nested("CASE WHEN true THEN ", " END", 10_000),
        nested("abs(", ")", 100_000),
        nested("[", "]", 100_000),
        nested("(SELECT ", ")", 10_000),
        format!("SELECT 1{}", " + 1".repeat(100_000)),
        format!("SELECT 1{}", "::int".repeat(50_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(50_000)),
        format!(
            "SELECT * FROM {}",
            (0..50_000)
                .map(|n| format!("(VALUES (1)) t{n}"))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!("SELECT '{}'", "x".repeat(2 << 20)),
        "SELECT \u{0}".to_owned(),
        "'".to_owned(),
        String::new(),
        " ; ;".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
    ];
    for query in queries {
        let head: String = query.chars().take(60).collect();
        let err = block_on(sql.collect(&query)).expect_err(&head);
        assert_eq!(err.kind(), ErrorKind::Invalid, "{head}");
    }
}

#[test]
fn deep_but_honest_queries_run() {
    let root = root("memory:///");
    zoo(&root);
    let sql = open(&root);
    assert_eq!(ask(&sql, &format!("SELECT 1{}", " + 1".repeat(500))), "501");
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(
        ask(
            &sql,
            &format!(
                "SELECT count(*) FROM zoo.train WHERE _rowid IN ({})",
                many.join(",")
            )
        ),
        "6"
    );
    let unions = " UNION ALL SELECT 1".repeat(400);
    assert_eq!(
        ask(&sql, &format!("SELECT count(*) FROM (SELECT 1{unions})")),
        "401"
    );
    let tables: Vec<String> = (0..98).map(|n| format!("(VALUES (1)) t{n}")).collect();
    assert_eq!(
        ask(
            &sql,
            &format!("SELECT count(*) FROM zoo.train, {}", tables.join(", "))
        ),
        "6"
    );
}

#[test]
fn a_query_over_its_memory_limit_says_so() {
    let root = root("memory:///");
    create(&root.project("big").unwrap(), "rows", wide(300_000));
    let options = SqlOptions::new().memory_bytes_max(1 << 20).partitions(2);
    let sql = block_on(Sql::open_with(&root, options)).unwrap();
    let err = block_on(sql.collect("SELECT array_agg(b) FROM big.rows")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err:#}");
    assert!(err.to_string().contains("memory"), "{err:#}");
    assert_eq!(ask(&sql, "SELECT sum(a) FROM big.rows"), "44999850000");
}

#[test]
fn storage_that_fails_is_unavailable_and_a_broken_file_corrupt() {
    let store = Arc::new(InMemory::new());
    zoo(&counted(&store).0);
    let (root, faults) = counted(&store);
    let sql = open(&root);
    faults.break_down();
    for query in [
        "SELECT * FROM zoo.train",
        "SELECT * FROM zoo.samples",
        "SELECT * FROM zoo.runs",
        "SHOW TABLES",
    ] {
        let err = block_on(sql.collect(query)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable, "{query}: {err:#}");
    }
    faults.heal();
    assert_eq!(ask(&sql, "SELECT count(*) FROM zoo.train"), "6");
}

#[test]
fn columns_that_streams_disagree_on_are_read_as_what_holds_both() {
    let root = root("memory:///");
    let project = root.project("zoo").unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("ints", Arc::new(Int64Array::from(vec![1]))),
        ("floats", Arc::new(Float64Array::from(vec![0.5]))),
        ("texts", Arc::new(StringArray::from(vec!["high"]))),
    ];
    let sql = open(&root);
    for (n, (name, values)) in columns.into_iter().enumerate() {
        let run = project.start_run(RunOptions::new().name(name)).unwrap();
        let field = Field::new("score", values.data_type().clone(), true);
        run.samples(
            &Rows::new("val", 0, vec![n as u64]).unwrap(),
            &batch(vec![field], vec![values]),
        )
        .unwrap();
        run.finish().unwrap();
        let expected = ["1", "0.5\n1.0", "0.5\n1\nhigh"][n];
        assert_eq!(
            ask(&sql, "SELECT score FROM zoo.samples ORDER BY score"),
            expected
        );
    }
}

#[test]
fn a_session_works_in_any_executor_and_from_many_threads() {
    let root = root("memory:///");
    zoo(&root);
    let sql = open(&root);
    create(&root.project("big").unwrap(), "rows", wide(300_000));
    let query = "SELECT count(*) FROM (SELECT b FROM big.rows GROUP BY b)";
    let rows = std::thread::scope(|scope| {
        let bare = scope.spawn(|| futures::executor::block_on(sql.collect(query)));
        bare.join().unwrap()
    });
    assert_eq!(
        rows.unwrap()[0]
            .column(0)
            .as_primitive::<Int64Type>()
            .value(0),
        300_000
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let rows =
                    block_on(sql.collect("SELECT CAST(sum(_rowid) AS BIGINT) FROM zoo.train"))
                        .unwrap();
                assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 16);
            });
        }
    });
}

#[test]
fn a_query_sees_one_state_of_a_table() {
    let root = root("memory:///");
    let project = zoo(&root);
    let sql = open(&root);
    let train = block_on(project.table("train")).unwrap();
    let rows = block_on(sql.query("SELECT animal FROM zoo.train ORDER BY _rowid")).unwrap();
    block_on(sql.edit(&train, &[("animal", "0")], "true", "all cats")).unwrap();
    let rows: Vec<RecordBatch> = block_on(rows.try_collect()).unwrap();
    let cats = rows
        .iter()
        .flat_map(texts)
        .filter(|row| row[0] == "0")
        .count();
    assert_eq!(cats, 2);
    assert_eq!(
        ask(&sql, "SELECT count(*) FROM zoo.train WHERE animal = 0"),
        "6"
    );
}
