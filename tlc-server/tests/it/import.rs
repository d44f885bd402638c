//! `tlc import` and `tlc ls`.

use std::fs;

use serde_json::json;

use crate::servers;
use crate::site::{Answer, Site};

#[test]
fn a_csv_becomes_a_table() {
    let site = Site::with_animals();
    let expected = "
        zoo/animals r0 (main): 4 rows, 3 columns, SIZE

        column  type     role  classes
        ──────  ───────  ────  ───────
        name    Utf8
        legs    Int64
        tame    Boolean

        _rowid  name        legs  tame
        ──────  ──────────  ────  ─────
             0  cat            4  true
             1  ant            6  false
             2  wolf, grey     4  false
             3  snake       null  false
        ";
    site.check(&["table", "show", "zoo/animals"], expected);
}

#[test]
fn a_parquet_file_keeps_its_roles() {
    let site = Site::with_pictures();
    let expected = "
        zoo/pictures r0 (main): 3 rows, 3 columns, SIZE

        column  type    role   classes
        ──────  ──────  ─────  ────────
        animal  Int32   label  cat, dog
        image   Binary  image
        note    Utf8

        _rowid  animal  image       note
        ──────  ──────  ──────────  ─────
             0  cat     <png 18 B>  first
             1  dog     <3 B>       null
             2  null    null        a\\nb
        ";
    site.check(&["table", "show", "zoo/pictures"], expected);
}

#[test]
fn an_import_says_what_it_made() {
    let site = Site::new();
    site.write("a.csv", "x\n1\n2\n");
    site.check(&["import", "a.csv", "p/a"], "p/a r0: 2 rows, SIZE\n");
    let view = site.json(&["import", "a.csv", "p/b"]);
    let bytes = view["bytes"].as_u64().unwrap();
    assert_eq!(
        view,
        json!({"table": "p/b", "revision": 0, "branch": "main", "rows": 2, "cells": 0, "bytes": bytes})
    );
    let log = site.json(&["table", "log", "p/b"]);
    assert_eq!(
        (&log[0]["message"], &log[0]["author"]),
        (&json!("import a.csv"), &json!("ada"))
    );
}

#[test]
fn a_table_in_place_does_not_copy_its_file() {
    let site = Site::new();
    site.write_pictures("pictures.parquet");
    site.tlc(&["import", "pictures.parquet", "zoo/pictures", "--in-place"])
        .done();
    assert!(!site.root().join("zoo/tables/pictures/data").exists());
    site.check(
        &[
            "sql",
            "SELECT count(*) AS n FROM zoo.pictures",
            "--format",
            "csv",
        ],
        "n\n3\n",
    );
    fs::remove_file(site.path("pictures.parquet")).unwrap();
    assert_ne!(site.tlc(&["sql", "SELECT note FROM zoo.pictures"]).code, 0);
}

#[test]
fn a_folder_and_several_files_are_one_table_in_place() {
    let site = Site::new();
    fs::create_dir(site.path("many")).unwrap();
    for name in ["many/b.parquet", "many/a.parquet", "c.parquet"] {
        site.write_pictures(name);
    }
    let view = site.json(&["import", "--in-place", "many", "c.parquet", "zoo/all"]);
    assert_eq!(view["rows"], 9);
    let log = site.json(&["table", "log", "zoo/all"]);
    assert_eq!(log[0]["message"], "import many and 1 more");
    site.write_pictures("d.parquet");
    let answer = site.tlc(&["import", "c.parquet", "d.parquet", "zoo/two"]);
    assert_eq!(answer.code, 2, "{}", answer.err);
    let answer = site.tlc(&["import", "--in-place", "nothing", "zoo/none"]);
    assert_eq!(answer.code, 4, "{}", answer.err);
}

#[test]
fn a_folder_of_a_bucket_is_a_table_of_a_root_on_disk() {
    let (site, bucket) = (Site::new(), servers::s3());
    let tlc = |root: &str, args: &[&str]| {
        let mut command = site.command(args);
        command.env("TLC_ROOT", root);
        for (key, value) in &bucket.options {
            command.env(key.to_ascii_uppercase(), value);
        }
        Answer::from(command.output().unwrap()).done().text()
    };
    site.write("a.csv", "x\n1\n2\n");
    tlc(&bucket.url, &["import", "a.csv", "p/a"]);
    let folder = format!("{}/p/tables/a/data/", bucket.url);
    tlc("root", &["import", "--in-place", &folder, "q/b"]);
    let query = ["sql", "SELECT sum(x) AS x FROM q.b", "--format", "csv"];
    assert_eq!(tlc("root", &query), "x\n3\n");
}

#[test]
fn the_format_is_named_where_the_extension_does_not_say_it() {
    let site = Site::new();
    site.write("a.txt", "x\n1\n");
    site.check_err(
        &["import", "a.txt", "p/a"],
        2,
        "error: the name \"a.txt\" does not say what it is; add --format parquet or --format csv\n",
    );
    site.tlc(&["import", "a.txt", "p/a", "--format", "csv"])
        .done();
}

#[test]
fn a_failed_import_leaves_no_table() {
    let site = Site::with_animals();
    site.write("bad.csv", "x,y\n1,2\n3\n");
    assert_eq!(site.tlc(&["import", "bad.csv", "zoo/bad"]).code, 1);
    site.write("bad.parquet", "no Parquet");
    assert_eq!(site.tlc(&["import", "bad.parquet", "zoo/bad"]).code, 1);
    assert_eq!(site.tlc(&["table", "show", "zoo/bad"]).code, 4);
    assert_eq!(site.tlc(&["table", "show", "zoo/animals"]).code, 0);
}

#[test]
fn a_pipe_shows_no_progress() {
    let site = Site::new();
    let rows: String = (0..100_000)
        .map(|row| format!("{row},{}\n", row * 7))
        .collect();
    site.write("a.csv", &format!("x,y\n{rows}"));
    let answer = site.tlc(&["import", "a.csv", "p/a"]).done();
    assert_eq!(answer.err, "");
    site.check(
        &[
            "sql",
            "SELECT count(*) AS n, max(y) AS y FROM p.a",
            "--format",
            "csv",
        ],
        "n,y\n100000,699993\n",
    );
}

#[test]
fn ls_lists_projects_and_what_one_holds() {
    let site = Site::with_animals();
    let expected = "
        project  tables  runs  artifacts
        ───────  ──────  ────  ─────────
        zoo           1     0          0
        ";
    site.check(&["ls"], expected);
    let expected = "
        table    revision  rows
        ───────  ────────  ────
        animals         0     4
        (1 table)
        (0 runs)
        (0 artifacts)
        ";
    site.check(&["ls", "zoo"], expected);
    assert_eq!(
        site.json(&["ls"]),
        json!([{"project": "zoo", "tables": 1, "runs": 0, "artifacts": 0}])
    );
    let animals = json!({"table": "animals", "revision": 0, "rows": 4, "error": null});
    assert_eq!(
        site.json(&["ls", "zoo"]),
        json!({"project": "zoo", "tables": [animals], "runs": [], "artifacts": []})
    );
}

#[test]
fn a_table_that_cannot_be_read_hides_no_other() {
    let site = Site::with_animals();
    site.write("a.csv", "x\n1\n");
    site.tlc(&["import", "a.csv", "zoo/broken"]).done();
    let entry = site
        .root()
        .join("zoo/tables/broken/log/00000000000000000000.json");
    fs::write(entry, "{").unwrap();
    let listed = site.json(&["ls", "zoo"]);
    assert_eq!(listed["tables"][0]["rows"], 4);
    assert!(
        listed["tables"][1]["error"]
            .as_str()
            .unwrap()
            .contains("broken"),
        "{listed}"
    );
}
