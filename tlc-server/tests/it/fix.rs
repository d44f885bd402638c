//! `tlc table fix`: what a query finds wrong becomes a revision.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Int64Array, RecordBatch};
use tlc_core::arrow::datatypes::Float32Type;
use tlc_core::{Rows, RunOptions, block_on};

use crate::site::Site;

const ISSUES: &str = "SELECT * FROM label_issues('zoo/lenet', 'val', 1)";

/// Whether a sample is of class 1; the label of row 5 is wrong.
fn class(row: u8) -> u8 {
    row % 2
}

/// The table `zoo/animals` of twelve rows, and a run that is sure of their classes.
fn with_doubts() -> Site {
    let site = Site::new();
    let mut csv = "name,label,weight\n".to_owned();
    let label = |row| if row == 5 { 0 } else { class(row) };
    for row in 0..12 {
        writeln!(csv, "n{row},{},1.0", label(row)).unwrap();
    }
    site.write("animals.csv", &csv);
    site.tlc(&["import", "animals.csv", "zoo/animals"]).done();
    let project = site.opened().project("zoo").unwrap();
    let options = RunOptions::from("lenet").without_provenance();
    let run = project.start_run(options).unwrap();
    let table = block_on(project.table("animals")).unwrap();
    let rows = Rows::new("val", 1, (0..12).collect::<Vec<u64>>()).unwrap();
    let rows = rows.source(table.name().clone(), 0.into());
    let sure = (0..12).map(|row| match class(row) {
        0 => Some([Some(0.9), Some(0.1)]),
        _ => Some([Some(0.1), Some(0.9)]),
    });
    let sure = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(sure, 2);
    let labels = (0..12).map(|row| i64::from(label(row)));
    let columns: [(&str, ArrayRef); 2] = [
        ("probabilities", Arc::new(sure)),
        ("label", Arc::new(Int64Array::from_iter_values(labels))),
    ];
    run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
        .unwrap();
    run.finish().unwrap();
    site
}

fn fix<'a>(table: &'a str, issues: &'a str, action: [&'a str; 2]) -> Vec<&'a str> {
    let start = ["table", "fix", table, "--issues", issues];
    [&start[..], &action, &["-m", "as the model has it"]].concat()
}

fn rows(site: &Site, query: &str) -> Value {
    site.json(&["sql", query])
}

#[test]
fn labels_become_what_is_suggested() {
    let site = with_doubts();
    let args = fix("zoo/animals", ISSUES, ["--relabel", "label"]);
    let done = site.json(&args);
    assert_eq!(
        [
            &done["table"],
            &done["revision"],
            &done["branch"],
            &done["rows"],
            &done["cells"]
        ],
        [
            &json!("zoo/animals"),
            &json!(1),
            &json!("main"),
            &json!(1),
            &json!(1)
        ]
    );
    let diff = site.json(&["table", "diff", "zoo/animals", "0", "1"]);
    assert_eq!(
        diff,
        json!([{"_rowid": 5, "column": "label", "old": 0, "new": 1}])
    );
    let log = site.json(&["table", "log", "zoo/animals"]);
    assert_eq!(log[0]["message"], "as the model has it");
}

#[test]
fn samples_are_weighed_and_tagged_on_a_branch() {
    let site = with_doubts();
    site.tlc(&["table", "branch", "zoo/animals", "cleanup"])
        .done();
    let text = site.masked(&fix("zoo/animals@cleanup", ISSUES, ["--weigh", "weight"]));
    assert_eq!(text, "zoo/animals r2 on cleanup: 1 cell in 1 row, SIZE\n");
    site.tlc(&fix("zoo/animals@cleanup", ISSUES, ["--tag", "doubt"]))
        .done();
    let found = rows(
        &site,
        "SELECT t._rowid, t.weight = i.score AS weighed, t.doubt = i.issue AS tagged FROM zoo.\"animals@cleanup\" t JOIN label_issues('zoo/lenet', 'val', 1) i ON i._rowid = t._rowid WHERE t.weight < 1",
    );
    assert_eq!(
        found,
        json!([{"_rowid": 5, "weighed": true, "tagged": true}])
    );
    let others = rows(
        &site,
        "SELECT count(*) AS n FROM zoo.\"animals@cleanup\" WHERE doubt IS NULL AND weight = 1",
    );
    assert_eq!(others, json!([{"n": 11}]));
    let main = rows(&site, "SELECT * FROM zoo.animals WHERE _rowid = 5");
    assert_eq!(
        main,
        json!([{"_rowid": 5, "name": "n5", "label": 0, "weight": 1.0}])
    );
}

#[test]
fn a_label_that_was_changed_after_it_was_judged_is_left_alone() {
    let site = with_doubts();
    let doubts = "SELECT _rowid, label, 1 - label AS suggested FROM zoo.\"animals@0\" WHERE name IN ('n1', 'n2', 'n5')";
    let set = |row: &str, label: &str| {
        let filter = format!("name = '{row}'");
        let edit = ["table", "edit", "zoo/animals", "--set", label, "--where"];
        site.tlc(&[&edit[..], &[&filter, "-m", "by hand"]].concat())
            .done();
    };
    set("n2", "label=7");
    let args = fix("zoo/animals", doubts, ["--relabel", "label"]);
    let done = site.tlc(&args).done();
    assert!(
        done.err
            .starts_with("1 row left out: the label was changed after it was judged\nhint: "),
        "{}",
        done.err
    );
    let labels = "SELECT label FROM zoo.animals WHERE _rowid IN (1, 2, 5) ORDER BY _rowid";
    let fixed = json!([{"label": 0}, {"label": 7}, {"label": 1}]);
    assert_eq!(rows(&site, labels), fixed);
    // What was fixed is no longer as it was judged either.
    let done = site.json(&args);
    assert_eq!(
        [&done["left_out"], &done["cells"], &done["revision"]],
        [&json!(3), &json!(0), &json!(2)]
    );
    assert_eq!(rows(&site, labels), fixed);
    let done = site.tlc(&args).done();
    assert!(
        done.err
            .ends_with("nothing to fix: no row is left; the head is still r2\n"),
        "{}",
        done.err
    );
    // A label that is not known was judged by nobody knows what.
    let unknown = "SELECT 2 AS _rowid, NULL::BIGINT AS label, 0 AS suggested";
    let done = site.json(&fix("zoo/animals", unknown, ["--relabel", "label"]));
    assert_eq!((&done["left_out"], &done["cells"]), (&json!(0), &json!(1)));
}

#[test]
fn issues_of_another_table_are_refused() {
    let site = with_doubts();
    site.tlc(&["import", "animals.csv", "zoo/others"]).done();
    for action in [
        ["--relabel", "label"],
        ["--weigh", "weight"],
        ["--tag", "doubt"],
    ] {
        site.check_err(
            &fix("zoo/others", ISSUES, action),
            1,
            "error: these issues are of table animals, and not of others; if the row ids are the same, leave out their \"table\"\n",
        );
    }
    let same = "SELECT _rowid, label, suggested FROM label_issues('zoo/lenet', 'val', 1)";
    let done = site.json(&fix("zoo/others", same, ["--relabel", "label"]));
    assert_eq!(done["cells"], json!(1));
}

#[test]
fn any_query_with_the_columns_will_do() {
    let site = with_doubts();
    let own = "SELECT _rowid, 1 - label AS suggested FROM zoo.animals WHERE name IN ('n1', 'n2')";
    site.tlc(&fix("zoo/animals", own, ["--relabel", "label"]))
        .done();
    let labels = rows(
        &site,
        "SELECT label FROM zoo.animals WHERE _rowid IN (1, 2) ORDER BY _rowid",
    );
    assert_eq!(labels, json!([{"label": 0}, {"label": 1}]));
}

#[test]
fn where_nothing_is_wrong_no_revision_is_made() {
    let site = with_doubts();
    let none = format!("{ISSUES} WHERE score > 2");
    for action in [["--relabel", "label"], ["--tag", "doubt"]] {
        let args = fix("zoo/animals", &none, action);
        let answer = site.tlc(&args).done();
        assert_eq!(
            (answer.text().as_str(), answer.err.as_str()),
            (
                "",
                "nothing to fix: the query gives no rows; the head is still r0\n"
            )
        );
        let done = site.json(&args);
        assert_eq!(
            [&done["revision"], &done["cells"], &done["bytes"]],
            [&json!(0), &json!(0), &json!(0)]
        );
    }
    let log = site.json(&["table", "log", "zoo/animals"]);
    assert_eq!(log.as_array().unwrap().len(), 1);
}

#[test]
fn what_is_missing_is_named() {
    let site = with_doubts();
    let hint = "hint: SELECT * FROM label_issues('PROJECT/RUN', 'STREAM', EPOCH) has all of them\n";
    let check = |issues: &str, action: [&str; 2], code: i32, expected: &str| {
        site.check_err(&fix("zoo/animals", issues, action), code, expected);
    };
    let lacks =
        |what: &str| format!("error: the query for the issues has no column {what}\n{hint}");
    check(
        "SELECT 1 AS suggested",
        ["--relabel", "label"],
        1,
        &lacks("\"_rowid\", which says which rows are meant; it has suggested"),
    );
    for (action, needed) in [
        (["--relabel", "label"], "suggested"),
        (["--weigh", "weight"], "score"),
        (["--tag", "doubt"], "issue"),
    ] {
        check(
            "SELECT _rowid, label FROM zoo.animals WHERE false",
            action,
            1,
            &lacks(&format!(
                "{needed:?}, which {} needs; it has _rowid, label",
                action[0]
            )),
        );
    }
    check(
        "SELECT 90 AS _rowid, 'odd' AS issue",
        ["--tag", "doubt"],
        4,
        "error: table animals@0 has no row 90\n",
    );
    check(
        "SELECT -1 AS _rowid, 'odd' AS issue",
        ["--tag", "doubt"],
        1,
        "error: column \"_rowid\" of the issues holds what is no row id\n",
    );
    let args = fix("zoo/animals", ISSUES, ["--weigh", "weight"]);
    let two = site.tlc(&[&args[..], &["--tag", "doubt"]].concat());
    assert_eq!(two.code, 2, "{}", two.err);
    let none = site.tlc(&["table", "fix", "zoo/animals", "--issues", ISSUES, "-m", "x"]);
    assert_eq!(none.code, 2, "{}", none.err);
    let log = site.json(&["table", "log", "zoo/animals"]);
    assert_eq!(log.as_array().unwrap().len(), 1);
}
