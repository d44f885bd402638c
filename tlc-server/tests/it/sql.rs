//! `tlc sql` in each format.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Cursor, Write as _};
use std::process::Stdio;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::Int64Type;
use tlc_core::arrow::ipc::reader::{FileReader, StreamReader};

use crate::site::Site;

const QUERY: &str =
    "SELECT name, legs FROM zoo.animals WHERE legs IS NULL OR legs > 4 ORDER BY _rowid";

/// Checks the two rows of [`QUERY`].
#[track_caller]
fn check_batches(batches: &[RecordBatch]) {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 2);
    let batch = &batches[0];
    assert_eq!(batch.column(0).as_string::<i32>().value(0), "ant");
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), 6);
}

#[test]
fn text_formats_say_the_same() {
    let site = Site::with_animals();
    let expected = "
        name   legs
        ─────  ────
        ant       6
        snake  null
        (2 rows)
        ";
    site.check(&["sql", QUERY], expected);
    site.check(
        &["sql", QUERY, "--format", "csv"],
        "name,legs\nant,6\nsnake,\n",
    );
    let json = "[{\"name\":\"ant\",\"legs\":6},{\"name\":\"snake\",\"legs\":null}]\n";
    site.check(&["sql", QUERY, "--format", "json"], json);
    site.check(&["sql", QUERY, "--json"], json);
    let lines = "{\"name\":\"ant\",\"legs\":6}\n{\"name\":\"snake\",\"legs\":null}\n";
    site.check(&["sql", QUERY, "--format", "jsonl"], lines);
}

#[test]
fn a_query_may_begin_with_a_comment() {
    let site = Site::with_animals();
    let query = "-- one\nSELECT 1 AS one";
    site.check(&["sql", query, "--format", "csv"], "one\n1\n");
    site.check_err(&["sql", "--formt", "csv", query], 2, "error: unexpected argument '--formt' found\n\n  tip: a similar argument exists: '--format'\n\nUsage: tlc sql --format <FORMAT> <QUERY>\n\nFor more information, try '--help'.\n");
}

#[test]
fn an_empty_result_is_whole_in_each_format() {
    let site = Site::with_animals();
    let query = "SELECT name FROM zoo.animals WHERE false";
    site.check(&["sql", query], "name\n────\n(0 rows)\n");
    site.check(&["sql", query, "--format", "csv"], "name\n");
    site.check(&["sql", query, "--format", "json"], "[]\n");
    site.check(&["sql", query, "--format", "jsonl"], "");
    let arrow = site.tlc(&["sql", query, "--format", "arrow"]).done();
    assert_eq!(
        StreamReader::try_new(Cursor::new(arrow.out), None)
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn values_that_json_and_csv_have_no_word_for() {
    let site = Site::with_pictures();
    let query = "SELECT 'NaN'::double AS nan, to_timestamp_micros(1500000) AS time, image, [1, NULL] AS list, \
                 9223372036854775807 AS big FROM zoo.pictures WHERE _rowid = 1";
    let json = "[{\"nan\":null,\"time\":\"1970-01-01T00:00:01.500000Z\",\"image\":\"YWJj\",\"list\":[1,null],\
                \"big\":9223372036854775807}]\n";
    assert_eq!(site.tlc(&["sql", query, "--json"]).done().text(), json);
    let csv = "nan,time,image,list,big\nNaN,1970-01-01T00:00:01.500000Z,YWJj,\"[1,null]\",9223372036854775807\n";
    assert_eq!(
        site.tlc(&["sql", query, "--format", "csv"]).done().text(),
        csv
    );
}

#[test]
fn arrow_is_a_stream_in_a_pipe_and_a_file_in_a_file() {
    let site = Site::with_animals();
    let stream = site.tlc(&["sql", QUERY, "--format", "arrow"]).done();
    let batches: Result<Vec<_>, _> = StreamReader::try_new(Cursor::new(stream.out), None)
        .unwrap()
        .collect();
    check_batches(&batches.unwrap());
    let answer = site.tlc(&["sql", QUERY, "-o", "rows.arrow"]).done();
    assert_eq!(
        (answer.text().as_str(), answer.err.as_str()),
        ("", "2 rows in rows.arrow\n")
    );
    let file = FileReader::try_new(File::open(site.path("rows.arrow")).unwrap(), None).unwrap();
    check_batches(&file.collect::<Result<Vec<_>, _>>().unwrap());
}

#[test]
fn parquet_is_a_file_wherever_it_goes() {
    let site = Site::with_animals();
    site.tlc(&["sql", QUERY, "-o", "rows.parquet"]).done();
    let piped = site.tlc(&["sql", QUERY, "--format", "parquet"]).done();
    site.write("piped.parquet", "");
    fs::write(site.path("piped.parquet"), piped.out).unwrap();
    for name in ["rows.parquet", "piped.parquet"] {
        let file =
            ParquetRecordBatchReaderBuilder::try_new(File::open(site.path(name)).unwrap()).unwrap();
        check_batches(
            &file
                .build()
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap(),
        );
    }
}

#[test]
fn a_failed_query_leaves_the_file_that_was_there() {
    let site = Site::with_animals();
    site.write("rows.csv", "old");
    // Fails in the middle of the rows, not when it is planned.
    let query = "SELECT 10 / (legs - 6) AS x FROM zoo.animals";
    assert_eq!(site.tlc(&["sql", query, "-o", "rows.csv"]).code, 1);
    assert_eq!(fs::read_to_string(site.path("rows.csv")).unwrap(), "old");
    let left: Vec<_> = fs::read_dir(site.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("partial")),
        "{left:?}"
    );
    site.tlc(&["sql", QUERY, "-o", "rows.csv"]).done();
    assert_eq!(
        fs::read_to_string(site.path("rows.csv")).unwrap(),
        "name,legs\nant,6\nsnake,\n"
    );
}

#[test]
fn a_long_table_says_what_it_leaves_out() {
    let site = Site::with_animals();
    let text = site
        .tlc(&[
            "sql",
            "SELECT value FROM generate_series(1, 1234) ORDER BY value",
        ])
        .done()
        .text();
    assert_eq!(text.lines().count(), 1_003);
    let footer =
        "(the first 1000 of 1,234 rows; for all of them use --format csv, or -o FILE.parquet)";
    assert_eq!(text.lines().last(), Some(footer));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let site = Site::with_animals();
    for format in ["csv", "json", "jsonl", "arrow", "parquet", "table"] {
        let query = "SELECT value, value * 2 AS twice FROM generate_series(1, 3000000)";
        let mut command = site.command(&["sql", query, "--format", format]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = Vec::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap())
            .read_until(b'1', &mut first)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).as_ref()
            ),
            (Some(0), ""),
            "{format}"
        );
    }
}

#[test]
fn a_query_comes_through_a_pipe() {
    let site = Site::with_animals();
    let mut command = site.command(&["sql", "-", "--format", "csv"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"SELECT count(*) AS n FROM zoo.animals")
        .unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"n\n4\n");
}

#[test]
fn labels_are_names_for_people_and_numbers_for_programs() {
    let site = Site::with_pictures();
    let query = "SELECT animal FROM zoo.pictures ORDER BY _rowid";
    site.check(
        &["sql", query],
        "animal\n──────\ncat\ndog\nnull\n(3 rows)\n",
    );
    site.check(&["sql", query, "--format", "csv"], "animal\n0\n1\n\"\"\n");
}

#[test]
fn a_statement_that_writes_says_what_it_changed() {
    let site = Site::with_animals();
    let sql = |statement: &str| ["sql".to_owned(), statement.to_owned()];
    for (statement, expected) in [
        (
            "UPDATE zoo.animals SET legs = legs + 1, tame = true WHERE legs = 4",
            "zoo/animals r1: 3 cells in 2 rows, SIZE\n",
        ),
        (
            "INSERT INTO zoo.animals VALUES ('owl', 2, false)",
            "zoo/animals r2: 1 row, SIZE, row id 4\n",
        ),
        (
            "INSERT INTO zoo.animals (name) VALUES ('x'), ('y')",
            "zoo/animals r3: 2 rows, SIZE, row ids 5 to 6\n",
        ),
        (
            "DELETE FROM zoo.animals WHERE legs IS NULL",
            "zoo/animals r4: 3 rows, SIZE\n",
        ),
    ] {
        let args = sql(statement);
        site.check(&[&args[0], &args[1]], expected);
    }
    let none = site
        .tlc(&["sql", "DELETE FROM zoo.animals WHERE false"])
        .done();
    assert_eq!(none.text(), "");
    assert!(none.err.contains("the head is still r4"), "{}", none.err);
    let view = site.json(&["sql", "INSERT INTO zoo.animals (name) VALUES ('ape')"]);
    let bytes = view["bytes"].as_u64().unwrap();
    let expected = json!({"table": "zoo/animals", "revision": 5, "branch": "main", "rows": 1, "cells": 0, "bytes": bytes, "row_ids": [7, 7]});
    assert_eq!(view, expected);
    let view = site.json(&["sql", "DELETE FROM zoo.animals WHERE false"]);
    let expected = json!({"table": "zoo/animals", "revision": 5, "branch": "main", "rows": 0, "cells": 0, "bytes": 0});
    assert_eq!(view, expected);
    let rows =
        "name,legs,tame\ncat,5,true\nant,6,false\n\"wolf, grey\",5,true\nowl,2,false\nape,,\n";
    site.check(
        &[
            "sql",
            "SELECT name, legs, tame FROM zoo.animals ORDER BY _rowid",
            "--format",
            "csv",
        ],
        rows,
    );
}

#[test]
fn the_log_says_which_statement_and_who() {
    let site = Site::with_animals();
    let write = |statement: &str, more: &[&str]| {
        site.tlc(&[&["sql", statement], more].concat()).done();
        let log = site.json(&["table", "log", "zoo/animals"]);
        let newest = &log[0];
        let text = |key: &str| newest[key].as_str().unwrap().to_owned();
        assert!(text("tool").starts_with("tlc "), "{newest}");
        (text("author"), text("message"))
    };
    let short = "DELETE FROM\n  zoo.animals\n  WHERE _rowid = 0";
    let said = (
        "ada".to_owned(),
        "DELETE FROM zoo.animals WHERE _rowid = 0".to_owned(),
    );
    assert_eq!(write(short, &[]), said);
    let (_, message) = write(
        &format!("UPDATE zoo.animals SET name = '{}'", "é".repeat(300)),
        &[],
    );
    assert_eq!(
        (message.chars().count(), message.ends_with("é…")),
        (200, true)
    );
    let said = ("grace".to_owned(), "no legs".to_owned());
    let args = ["-m", "no legs", "--author", "grace"];
    assert_eq!(write("UPDATE zoo.animals SET legs = 0", &args), said);
}

#[test]
fn a_statement_that_cannot_run_says_why_and_changes_nothing() {
    let site = Site::with_animals();
    for (args, code, named) in [
        (
            &["DELETE FROM zoo.animals", "--format", "csv"][..],
            2,
            "answers no rows",
        ),
        (
            &["DELETE FROM zoo.animals", "-o", "rows.csv"],
            2,
            "answers no rows",
        ),
        (&["SELECT 1", "-m", "why"], 2, "a query makes no revision"),
        (
            &["SELECT 1", "--author", "ada"],
            2,
            "a query makes no revision",
        ),
        (
            &["UPDATE zoo.\"animals@0\" SET legs = 1"],
            1,
            "revision 0 of table animals cannot be changed",
        ),
        (
            &["UPDATE zoo.animal SET legs = 1"],
            4,
            "did you mean zoo.animals?",
        ),
        (&["UPDATE zoo.animals SET wings = 1"], 4, "name, legs, tame"),
        (&["UPDATE zoo.animals SET legs = 'many'"], 1, "legs"),
        (
            &["EXPLAIN DELETE FROM zoo.animals"],
            1,
            "EXPLAIN is for queries",
        ),
        (&["DELETE FROM zoo.runs"], 1, "cannot be written to"),
        (&["TRUNCATE TABLE zoo.animals"], 1, "TRUNCATE is not known"),
    ] {
        let answer = site.tlc(&[&["sql"], args].concat());
        assert_eq!(answer.code, code, "{args:?}: {}", answer.err);
        assert!(answer.err.contains(named), "{args:?}: {}", answer.err);
    }
    let log = site.json(&["table", "log", "zoo/animals"]);
    assert_eq!(log.as_array().unwrap().len(), 1);
    assert!(!site.path("rows.csv").exists());
}
