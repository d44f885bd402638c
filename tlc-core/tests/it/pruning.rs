//! Filters that reach the files, against the same query over the same rows in memory: tables of small
//! row groups and pages, with edits, dropped rows, appended rows and columns that came later.

use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use tempfile::TempDir;
use tlc_core::arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use tlc_core::arrow::compute::cast;
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::sql::SqlOptions;
use tlc_core::{Project, Root, ScanOptions, Sql, Table, Value, block_on};

use crate::support::text;

/// The base columns: `a` ascends, so that bounds tell; `f` has every kind of float; `s` text; `n` is
/// mostly null; `d` descends.
const COLUMNS: [&str; 5] = ["a", "f", "s", "n", "d"];

fn floats() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (-3..12_i32).prop_map(|n| Some(f64::from(n) / 2.0)),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(-f64::NAN)),
        1 => Just(Some(-0.0)),
        1 => Just(None),
    ]
}

#[derive(Clone, Debug)]
struct Row {
    jitter: i64,
    f: Option<f64>,
    s: Option<u8>,
    n: Option<i32>,
}

fn rows(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0..3_i64,
        floats(),
        prop::option::weighted(0.8, 0..20_u8),
        prop::option::weighted(0.2, 0..5_i32),
    );
    prop::collection::vec(row.prop_map(|(jitter, f, s, n)| Row { jitter, f, s, n }), n)
}

fn word(n: u8) -> String {
    // Longer than what page indexes keep of a bound.
    format!(
        "k{:02}{}",
        n,
        "x".repeat(if n.is_multiple_of(3) { 80 } else { 0 })
    )
}

fn batch(first: i64, rows: &[Row]) -> RecordBatch {
    let at = |n: usize| first + i64::try_from(n).unwrap();
    let a = rows
        .iter()
        .enumerate()
        .map(|(n, row)| at(n) / 2 + row.jitter);
    let d = (0..rows.len()).map(|n| i32::try_from(1_000 - at(n) / 3).unwrap());
    let columns: [(&str, ArrayRef); 5] = [
        ("a", Arc::new(Int64Array::from_iter_values(a))),
        (
            "f",
            Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
        ),
        (
            "s",
            Arc::new(
                rows.iter()
                    .map(|row| row.s.map(word))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "n",
            Arc::new(rows.iter().map(|row| row.n).collect::<Int32Array>()),
        ),
        ("d", Arc::new(Date32Array::from_iter_values(d))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true)))
        .unwrap()
}

/// How a file is written that stays in place.
#[derive(Clone, Debug)]
struct Layout {
    group_rows: usize,
    page_rows: usize,
    bloom: bool,
    indexed: bool,
    /// Text as a dictionary, or as views.
    text: u8,
}

fn layout() -> impl Strategy<Value = Layout> {
    (
        1..40_usize,
        1..12_usize,
        any::<bool>(),
        prop::bool::weighted(0.8),
        0..3_u8,
    )
        .prop_map(|(group_rows, page_rows, bloom, indexed, text)| Layout {
            group_rows,
            page_rows,
            bloom,
            indexed,
            text,
        })
}

fn write(folder: &TempDir, name: &str, rows: &RecordBatch, layout: &Layout) -> String {
    let types = [
        DataType::Utf8,
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Utf8View,
    ];
    let kept = &types[usize::from(layout.text)];
    let fields = rows
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "s" => Arc::new(Field::new("s", kept.clone(), true)),
            _ => Arc::clone(field),
        })
        .collect::<Vec<_>>();
    let columns = rows.columns().iter().zip(&fields);
    let columns = columns.map(|(values, field)| cast(values, field.data_type()).unwrap());
    let rows =
        RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.collect()).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(layout.group_rows))
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(layout.page_rows)
        .set_bloom_filter_enabled(layout.bloom)
        .set_offset_index_disabled(!layout.indexed)
        .set_statistics_enabled(match layout.indexed {
            true => parquet::file::properties::EnabledStatistics::Page,
            false => parquet::file::properties::EnabledStatistics::Chunk,
        })
        .build();
    let path = folder.path().join(name);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    path.to_str().unwrap().to_owned()
}

#[derive(Clone, Debug)]
enum Change {
    Set {
        row: usize,
        column: usize,
        value: u8,
    },
    SetMany {
        column: usize,
        every: usize,
        value: u8,
    },
    Drop {
        row: usize,
    },
    Append {
        rows: Vec<Row>,
    },
    AddColumn {
        default: Option<i32>,
    },
}

fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = prop_oneof![
        8 => (any::<usize>(), 0..COLUMNS.len(), any::<u8>())
            .prop_map(|(row, column, value)| Change::Set { row, column, value }),
        1 => (0..COLUMNS.len(), 1..5_usize, any::<u8>())
            .prop_map(|(column, every, value)| Change::SetMany { column, every, value }),
        3 => any::<usize>().prop_map(|row| Change::Drop { row }),
        1 => rows(1..30).prop_map(|rows| Change::Append { rows }),
        1 => prop::option::weighted(0.7, 0..5_i32).prop_map(|default| Change::AddColumn { default }),
    ];
    prop::collection::vec(prop::collection::vec(change, 0..8), 0..5)
}

/// A value of the column that edits set, often one that is far from what is around it.
fn value(column: usize, n: u8) -> Value {
    if n.is_multiple_of(7) {
        return Value::null();
    }
    match COLUMNS[column] {
        "a" => Value::from(i64::from(n) % 60),
        "f" => match n % 5 {
            0 => Value::from(f64::NAN),
            n => Value::from(f64::from(n)),
        },
        "s" => Value::from(word(n % 20).as_str()),
        "n" => Value::from(i32::from(n) % 5),
        _ => {
            let date: ArrayRef = Arc::new(Date32Array::from(vec![980 + i32::from(n % 30)]));
            Value::first_of(&date).unwrap()
        }
    }
}

/// Commits one patch of `changes`; a row is not both set and dropped by it.
fn commit(table: &Table, changes: &[Change], n_added: &mut usize) {
    let snapshot = block_on(table.head()).unwrap();
    let ids = block_on(snapshot.row_ids()).unwrap();
    let mut patch = snapshot.patch();
    let mut dropped = Vec::new();
    for change in changes {
        if let Change::Drop { row } = change
            && !ids.is_empty()
        {
            dropped.push(ids[row % ids.len()]);
        }
    }
    patch.drop_rows(&dropped);
    let set = |patch: &mut tlc_core::Patch, id: u64, column: usize, n: u8| {
        if !dropped.contains(&id) {
            patch.set(id, COLUMNS[column], value(column, n)).unwrap();
        }
    };
    for change in changes {
        match change {
            Change::Set { row, column, value } if !ids.is_empty() => {
                set(&mut patch, ids[row % ids.len()], *column, *value);
            }
            Change::SetMany {
                column,
                every,
                value,
            } => {
                for id in ids.iter().step_by(*every) {
                    set(&mut patch, *id, *column, *value);
                }
            }
            Change::Append { rows } if *n_added == 0 => patch.append(&batch(0, rows)).unwrap(),
            Change::AddColumn { default } => {
                let field = Field::new(format!("x{n_added}"), DataType::Int32, true);
                if patch.add_column(field, Value::from(*default)).is_ok() {
                    *n_added += 1;
                    break;
                }
            }
            _ => {}
        }
    }
    block_on(table.commit(&patch, "a change")).unwrap();
}

/// Conditions, of which `{x}` is a column that came later.
fn conditions() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        (
            prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]),
            -2..60_i32
        )
            .prop_map(|(op, n)| format!("a {op} {n}")),
        (prop::sample::select(vec!["=", "<", ">="]), 0..250_i32)
            .prop_map(|(op, n)| format!("_rowid {op} {n}")),
        (
            prop::sample::select(vec!["=", "<>", "<", ">", ">="]),
            -3..12_i32
        )
            .prop_map(|(op, n)| format!("f {op} {}", f64::from(n) / 2.0)),
        Just("f = 'NaN'::double".to_owned()),
        (prop::sample::select(vec!["=", "<>", "<", ">="]), 0..20_u8)
            .prop_map(|(op, n)| format!("s {op} '{}'", word(n))),
        (0..20_u8, 0..20_u8).prop_map(|(a, b)| format!(
            "s IN ('{}', '{}', 'none')",
            word(a),
            word(b)
        )),
        (0..20_u8, 0..20_u8).prop_map(|(a, b)| format!("s NOT IN ('{}', '{}')", word(a), word(b))),
        (0..20_u8).prop_map(|n| format!("s LIKE 'k{n:02}%'")),
        (0..3_u8).prop_map(|n| format!("s NOT LIKE 'k{n}%'")),
        Just("s LIKE '%1'".to_owned()),
        (0..60_i64, 0..60_i64).prop_map(|(a, b)| format!("a IN ({a}, {b}, 1000)")),
        (0..60_i64, 0..20_i64).prop_map(|(a, b)| format!("a BETWEEN {a} AND {}", a + b)),
        (prop::sample::select(COLUMNS.to_vec()), any::<bool>())
            .prop_map(|(column, not)| format!("{column} IS {} NULL", if not { "NOT" } else { "" })),
        (0..5_i32).prop_map(|n| format!("n = {n}")),
        (0..5_i32).prop_map(|n| format!("{{x}} = {n}")),
        Just("{x} IS NULL".to_owned()),
        Just("{x} < n".to_owned()),
        Just("a % 7 = 0".to_owned()),
        (0..60_i32).prop_map(|n| format!("CAST(a AS DOUBLE) > {n}.5")),
        (0..40_i32).prop_map(|n| format!("d < DATE '1970-01-01' + INTERVAL '{} days'", 1000 - n)),
    ];
    atom.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    batches
        .iter()
        .map(text)
        .filter(|text| !text.is_empty())
        .collect()
}

/// The same rows as a table in memory.
fn in_memory(table: &Table) -> SessionContext {
    let snapshot = block_on(table.head()).unwrap();
    let rows = block_on(snapshot.read(ScanOptions::new())).unwrap();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_batch("t", rows).unwrap();
    context
}

fn ask_memory(context: &SessionContext, query: &str) -> Vec<String> {
    let rows = block_on(async { context.sql(query).await?.collect().await });
    let rows = rows.unwrap_or_else(|err| panic!("{query}: {err}"));
    lines(&rows)
}

struct Home {
    _folder: TempDir,
    project: Project,
    root: Root,
}

fn home(files: &[(Vec<Row>, Layout)]) -> (Home, Table) {
    let folder = TempDir::new().unwrap();
    let mut urls = Vec::new();
    let mut first = 0;
    for (n, (rows, layout)) in files.iter().enumerate() {
        urls.push(write(
            &folder,
            &format!("{n}.parquet"),
            &batch(first, rows),
            layout,
        ));
        first += i64::try_from(rows.len()).unwrap();
    }
    let root = block_on(Root::open(folder.path().join("root").to_str().unwrap())).unwrap();
    let project = root.project("zoo").unwrap();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let table = block_on(project.create_table_in_place("t", &urls, "files")).unwrap();
    (
        Home {
            _folder: folder,
            project,
            root,
        },
        table,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_gives_the_rows_that_it_gives_over_the_same_rows_in_memory(
        files in prop::collection::vec((rows(1..90), layout()), 1..4),
        changes in changes(),
        conditions in prop::collection::vec((conditions(), 0..3_usize), 6),
        partitions in 1..4_usize,
    ) {
        let (home, table) = home(&files);
        let mut n_added = 0;
        for changes in &changes {
            commit(&table, changes, &mut n_added);
        }
        prop_assert!(block_on(home.project.table("t")).is_ok());
        let memory = in_memory(&table);
        let sql = block_on(Sql::open_with(&home.root, SqlOptions::new().partitions(partitions))).unwrap();
        for (condition, columns) in &conditions {
            let added = if n_added > 0 { "x0" } else { "n" };
            let condition = condition.replace("{x}", added);
            let columns = ["*", "_rowid, d, s", "count(*), count(s), max(d)"][*columns];
            let order = if columns.starts_with("count") { "" } else { " ORDER BY _rowid" };
            let query = |table| format!("SELECT {columns} FROM {table} WHERE {condition}{order}");
            let rows = block_on(sql.collect(&query("zoo.t")));
            let rows = rows.unwrap_or_else(|err| panic!("{condition}: {err:#}"));
            let (ours, expected) = (lines(&rows).join(" "), ask_memory(&memory, &query("t")).join(" "));
            prop_assert_eq!(ours, expected, "{}", condition);
            let limited = format!("SELECT _rowid FROM zoo.t WHERE {condition} LIMIT 3");
            let n: usize = block_on(sql.collect(&limited)).unwrap().iter().map(RecordBatch::num_rows).sum();
            let all = ask_memory(&memory, &format!("SELECT count(*) FROM t WHERE {condition}"));
            prop_assert_eq!(n, all[0].parse::<usize>().unwrap().min(3), "{} LIMIT 3", condition);
        }
        for column in COLUMNS {
            let query = |table| format!("SELECT min({column}), max({column}), count({column}), count(*) FROM {table}");
            let rows = block_on(sql.collect(&query("zoo.t"))).unwrap();
            prop_assert_eq!(lines(&rows), ask_memory(&memory, &query("t")), "{}", column);
        }
    }
}

/// A table of one file: ten row groups of a hundred rows, pages of ten, `a` ascending by twos.
fn ten_groups() -> (Home, Table) {
    let row = Row {
        jitter: 0,
        f: Some(0.5),
        s: Some(1),
        n: None,
    };
    let layout = Layout {
        group_rows: 100,
        page_rows: 10,
        bloom: false,
        indexed: true,
        text: 0,
    };
    home(&[(vec![row; 1_000], layout)])
}

fn ask(home: &Home, query: &str) -> String {
    let sql = block_on(Sql::open_with(&home.root, SqlOptions::new().partitions(1))).unwrap();
    let rows = block_on(sql.collect(query)).unwrap_or_else(|err| panic!("{query}: {err:#}"));
    lines(&rows).join(" ")
}

/// Words that the plan, or what `EXPLAIN ANALYZE` says of the run, must have.
#[track_caller]
fn check_plan(home: &Home, explain: &str, query: &str, words: &[&str]) {
    let plan = ask(home, &format!("{explain} SELECT {query}"));
    for word in words {
        assert!(plan.contains(word), "{word}: {plan}");
    }
}

#[test]
fn the_plan_says_what_is_read_and_what_is_pruned() {
    let (home, table) = ten_groups();
    let plan = [
        "zoo/t@0",
        "columns=[a, s]",
        "predicate=[a@0 = 7]",
        "files_pruned=0/1",
        "row_groups_pruned=9/10",
    ];
    check_plan(&home, "EXPLAIN", "s FROM zoo.t WHERE a = 7", &plan);
    let gone = ["files_pruned=1/1", "row_groups_pruned=10/10"];
    check_plan(&home, "EXPLAIN", "s FROM zoo.t WHERE a = 7000", &gone);
    // Two rows of a = 7, on one page of ten.
    let run = [
        "row_groups_pruned=9",
        "rows_pruned=990",
        "cells_overlaid=0",
        "output_rows=2",
    ];
    check_plan(&home, "EXPLAIN ANALYZE", "s FROM zoo.t WHERE a = 7", &run);

    commit(
        &table,
        &[
            Change::SetMany {
                column: 0,
                every: 100,
                value: 50,
            },
            Change::Drop { row: 14 },
        ],
        &mut 0,
    );
    assert_eq!(ask(&home, "SELECT _rowid FROM zoo.t WHERE a = 7"), "15");
    assert_eq!(ask(&home, "SELECT count(*) FROM zoo.t WHERE a = 50"), "11");
    check_plan(
        &home,
        "EXPLAIN",
        "s FROM zoo.t WHERE a = 7",
        &["zoo/t@1", "cells_set=10", "row_groups_pruned=9/10"],
    );
    // What edits set is known without reading: of ten edited rows none is read for a = 7.
    let run = ["rows_pruned=990", "rows_dropped=1", "output_rows=1"];
    check_plan(&home, "EXPLAIN ANALYZE", "s FROM zoo.t WHERE a = 7", &run);
    let run = ["rows_pruned=981", "cells_overlaid=10", "output_rows=11"];
    check_plan(
        &home,
        "EXPLAIN ANALYZE",
        "a, s FROM zoo.t WHERE a = 50",
        &run,
    );
}

#[test]
fn extremes_come_from_footers_until_a_cell_is_set() {
    let (home, table) = ten_groups();
    let reads = |query: &str| ask(&home, &format!("EXPLAIN {query}")).contains("SnapshotExec");
    assert!(!reads(
        "SELECT min(a), max(a), count(n), count(*) FROM zoo.t"
    ));
    assert!(
        reads("SELECT max(f) FROM zoo.t"),
        "bounds of floats leave NaN out"
    );
    commit(
        &table,
        &[Change::Set {
            row: 3,
            column: 0,
            value: 59,
        }],
        &mut 0,
    );
    assert!(reads("SELECT max(a) FROM zoo.t"));
    assert!(
        !reads("SELECT max(d), count(*) FROM zoo.t"),
        "no cell of this column was set"
    );
    commit(&table, &[Change::Drop { row: 3 }], &mut 0);
    assert!(reads("SELECT max(d) FROM zoo.t"), "a row was dropped");
    assert!(!reads("SELECT count(*) FROM zoo.t"));
}

#[test]
fn a_bloom_filter_rules_row_groups_out() {
    let mut rows: Vec<Row> = (0..100)
        .map(|n| Row {
            jitter: 0,
            f: None,
            s: Some(n % 10 * 2),
            n: None,
        })
        .collect();
    rows[77].s = Some(7);
    let layout = Layout {
        group_rows: 10,
        page_rows: 10,
        bloom: true,
        indexed: true,
        text: 0,
    };
    let (home, _table) = home(&[(rows, layout)]);
    let query = format!("_rowid FROM zoo.t WHERE s = '{}'", word(7));
    assert_eq!(ask(&home, &format!("SELECT {query}")), "77");
    check_plan(&home, "EXPLAIN", &query, &["row_groups_pruned=0/10"]);
    check_plan(&home, "EXPLAIN ANALYZE", &query, &["row_groups_pruned=9"]);
}

#[test]
fn a_dropped_row_is_not_asked() {
    let (home, table) = ten_groups();
    commit(
        &table,
        &[Change::SetMany {
            column: 0,
            every: 1,
            value: 60,
        }],
        &mut 0,
    );
    assert!(
        ask(&home, "SELECT count(*) FROM zoo.t WHERE a = 0") != "0",
        "{table:?}"
    );
    let ids: Vec<Change> = (0..1_000)
        .step_by(2)
        .map(|row| Change::Drop { row })
        .collect();
    commit(&table, &ids, &mut 0);
    let mut patch = block_on(table.head()).unwrap().patch();
    let head = block_on(table.head()).unwrap();
    for id in block_on(head.row_ids()).unwrap() {
        patch.set(id, "a", 5_i64).unwrap();
    }
    block_on(table.commit(&patch, "no zero is left")).unwrap();
    assert_eq!(
        ask(&home, "SELECT count(*) FROM zoo.t WHERE 10 / a = 2"),
        "500"
    );
}

#[test]
fn partitions_are_cut_at_the_row_groups_that_files_have() {
    let (home, _table) = ten_groups();
    let sql = block_on(Sql::open_with(&home.root, SqlOptions::new().partitions(3))).unwrap();
    let plan = block_on(sql.collect("EXPLAIN SELECT s FROM zoo.t")).unwrap();
    assert!(lines(&plan).join(" ").contains("partitions=3"), "{plan:?}");
    let rows = block_on(sql.collect("SELECT count(DISTINCT _rowid), count(s) FROM zoo.t")).unwrap();
    assert_eq!(lines(&rows), ["1000:1000"]);
}
