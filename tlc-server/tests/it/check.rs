//! `tlc check`: what must not be there.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::site::Site;

const NONE: &str = "SELECT name FROM zoo.animals WHERE legs > 100";
const SOME: &str =
    "SELECT name, legs FROM zoo.animals WHERE legs IS NULL OR legs > 4 ORDER BY _rowid";

#[test]
fn no_rows_are_a_success() {
    let site = Site::with_animals();
    let answer = site.tlc(&["check", NONE, NONE]).done();
    assert_eq!(answer.text(), format!("ok      {NONE}\nok      {NONE}\n"));
    assert_eq!(answer.err, "");
    let expected = json!([{"query": NONE, "rows": 0, "first_rows": []}]);
    assert_eq!(site.json(&["check", NONE]), expected);
}

#[test]
fn rows_are_a_failure_and_are_shown_and_all_checks_are_asked() {
    let site = Site::with_animals();
    let answer = site.tlc(&["check", SOME, NONE]);
    let rows = "name   legs\n─────  ────\nant       6\nsnake  null\n";
    let expected = format!("FAILED  {SOME}: 2 rows\n\n{rows}\nok      {NONE}\n");
    assert_eq!((answer.code, answer.text()), (1, expected));
    assert_eq!(answer.err, "2 checks, 1 failed\n");
    let answer = site.tlc(&["check", "--json", "--rows", "1", SOME]);
    let found: Value = serde_json::from_slice(&answer.out).unwrap();
    let expected = json!([{"query": SOME, "rows": 2, "first_rows": [{"name": "ant", "legs": 6}]}]);
    assert_eq!(
        (answer.code, found, answer.err),
        (1, expected, String::new())
    );
    let answer = site.tlc(&["check", "--rows", "1", SOME]);
    assert!(
        answer.text().contains("ant      6\n(and 1 more row)\n"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_query_that_cannot_be_asked_hides_nothing_that_was_found() {
    let site = Site::with_animals();
    let answer = site.tlc(&["check", "--json", "SELECT * FROM zoo.plants", SOME]);
    let found: Value = serde_json::from_slice(&answer.out).unwrap();
    assert_eq!((answer.code, &found[0]["rows"]), (4, &json!(2)));
    assert!(answer.err.contains("plants"), "{}", answer.err);
}

#[test]
fn a_reader_who_leaves_lets_nothing_pass() {
    let site = Site::with_animals();
    for (queries, code) in [
        ([SOME, NONE], 1),
        ([NONE, SOME], 1),
        ([NONE, NONE], 0),
        ([NONE, "SELECT * FROM zoo.plants"], 4),
    ] {
        let mut command = site.command(&["check", queries[0], queries[1]]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut check = command.spawn().unwrap();
        drop(check.stdout.take());
        assert_eq!(check.wait().unwrap().code(), Some(code), "{queries:?}");
    }
}

#[test]
fn a_query_that_cannot_be_asked_is_an_error_and_changes_nothing() {
    let site = Site::with_animals();
    for (query, code, word) in [
        ("SELECT legs FROM zoo.plants", 4, "plants"),
        ("SELECT legs FROM", 1, "expected"),
        ("DELETE FROM zoo.animals", 2, "DELETE"),
    ] {
        let answer = site.tlc(&["check", query]);
        assert_eq!(
            (answer.code, answer.text()),
            (code, String::new()),
            "{query}: {}",
            answer.err
        );
        assert!(
            answer.err.to_lowercase().contains(&word.to_lowercase()),
            "{query}: {}",
            answer.err
        );
    }
    assert_eq!(site.tlc(&["check"]).code, 2);
    let rows = site.json(&["sql", "SELECT count(*) AS n FROM zoo.animals"]);
    assert!(rows[0]["n"].as_u64() > Some(1), "{rows}");
}
