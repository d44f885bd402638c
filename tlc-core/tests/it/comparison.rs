//! What differs between runs, as SQL tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, Float64Array, RecordBatch, StringArray,
};
use tlc_core::arrow::datatypes::Int64Type;
use tlc_core::{Code, Project, Provenance, Root, Rows, RunOptions, Sql, block_on};

use crate::sql::{ask, root, zoo};

fn patch(rate: u8) -> String {
    format!(
        "diff --git a/train.rs b/train.rs\n--- a/train.rs\n+++ b/train.rs\n@@ -1,1 +1,1 @@\n-lr = 1\n+lr = {rate}\n"
    )
}

/// A run of a commit, with one change to it, on a revision of the table.
fn log(
    project: &Project,
    name: &str,
    (commit, rate): (&str, u8),
    revision: u64,
    correct: [bool; 3],
) {
    let made_of = Provenance {
        code: Some(Code {
            commit: Some(commit.to_owned()),
            ..Code::default()
        }),
        command: vec!["train".to_owned(), name.to_owned()],
        ..Provenance::default()
    };
    let options = RunOptions::from(name).provenance(made_of, Some(patch(rate)));
    let run = project.start_run(options).unwrap();
    run.params(&BTreeMap::from([("rate", u64::from(rate)), ("seed", 7)]))
        .unwrap();
    let table = block_on(project.table("train")).unwrap();
    run.input(&block_on(table.at(revision)).unwrap()).unwrap();
    let rows = Rows::new("val", 3, vec![0, 1, 2]).unwrap();
    let loss = [0.5, f64::from(rate), 1.0];
    let columns: [(&str, ArrayRef); 3] = [
        ("correct", Arc::new(BooleanArray::from(correct.to_vec()))),
        ("loss", Arc::new(Float64Array::from(loss.to_vec()))),
        (
            "label",
            Arc::new(StringArray::from(vec!["pet", "bug", "pet"])),
        ),
    ];
    run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
        .unwrap();
    run.log(0, &[("accuracy", f64::from(rate)), ("epochs", 3.0)]);
    run.finish().unwrap();
}

fn three(root: &Root) -> Sql {
    let project = zoo(root);
    log(&project, "before", ("c0ffee", 2), 0, [true, false, true]);
    log(&project, "after", ("c0ffee", 3), 2, [true, true, false]);
    log(&project, "else", ("decaf", 2), 0, [true, false, true]);
    block_on(Sql::open(root)).unwrap()
}

#[test]
fn what_differs_is_a_row_for_each_thing_and_run() {
    let root = root("memory:///");
    let sql = three(&root);
    let check = |columns: &str, condition: &str, expected: &[&str]| {
        let query = format!(
            "SELECT {columns} FROM compare('zoo/before', 'after', 'else') WHERE {condition}"
        );
        assert_eq!(ask(&sql, &query), expected.join("\n"), "{query}");
    };
    check(
        "run, kind, name, first, other, change",
        "kind <> 'code'",
        &[
            "after param rate 2 3 NULL",
            "after scalar accuracy 2 3 1.0",
            "after environment command train before train after NULL",
            // Two cells, a row that came, and one that went.
            "after data train 0 2 4.0",
            "after samples val/correct 0.6666666666666666 0.6666666666666666 0.0",
            "else environment command train before train else NULL",
            "else commit commit c0ffee decaf NULL",
        ],
    );
    check("run, name", "kind = 'code'", &["after train.rs"]);
    let project = root.project("zoo").unwrap();
    let bare = project.start_run(RunOptions::from("bare").without_provenance());
    bare.unwrap().finish().unwrap();
    let unknown =
        "SELECT run, name, first, other FROM compare('zoo/before', 'bare') WHERE kind = 'unknown'";
    let expected = "bare what it is made of is not known NULL NULL";
    assert_eq!(ask(&sql, unknown), expected);
    let patches = "SELECT first LIKE '%+lr = 2%' AND other LIKE '%+lr = 3%' FROM compare('zoo/before', 'after') WHERE kind = 'code'";
    assert_eq!(ask(&sql, patches), "true");
    let cells = ask(&sql, "SELECT count(*) FROM diff('zoo/train', 0, 2)");
    assert_eq!(cells, "4");
}

#[test]
fn samples_of_two_runs_are_compared_by_class_and_one_by_one() {
    let sql = three(&root("memory:///"));
    assert_eq!(
        ask(
            &sql,
            "SELECT * FROM compare_classes('zoo/before', 'after', 'val')"
        ),
        "bug 1 1 0 0.0 1.0\npet 2 0 1 1.0 0.5"
    );
    let samples = |n: &str| {
        ask(
            &sql,
            &format!(
                "SELECT s.*, t.name FROM compare_samples('zoo/before', 'after', 'val'{n}) s JOIN zoo.train t ON t._rowid = s._rowid ORDER BY s._rowid"
            ),
        )
    };
    assert_eq!(samples(""), "1 bug 0.0 1.0 b\n2 pet 1.0 0.0 c");
    assert_eq!(samples(", 'all'"), samples(""));
    assert_eq!(samples(", 1"), "1 bug 0.0 1.0 b");
}

#[test]
fn a_row_of_another_table_is_another_sample() {
    let project = zoo(&root("memory:///"));
    let log = |name: &str, parts: &[(&str, [f64; 2])]| {
        let run = project.start_run(name).unwrap();
        for (table, losses) in parts {
            let rows = Rows::new("val", 0, vec![0, 1]).unwrap();
            let rows = match *table {
                "" => rows,
                table => rows.source(table.parse().unwrap(), 0.into()),
            };
            let loss: ArrayRef = Arc::new(Float64Array::from(losses.to_vec()));
            run.samples(
                &rows,
                &RecordBatch::try_from_iter([("loss", loss)]).unwrap(),
            )
            .unwrap();
        }
        run.finish().unwrap();
    };
    log("both", &[("train", [1.0, 1.0]), ("plants", [2.0, 2.0])]);
    log("turned", &[("plants", [2.0, 3.0]), ("train", [1.0, 1.0])]);
    log("elsewhere", &[("stones", [9.0, 9.0])]);
    log("nowhere", &[("", [9.0, 0.0])]);
    let check = |first: &str, other: &str, expected: &str| {
        let found = block_on(project.compare(&[first, other], 9)).unwrap();
        let classes = &found.pairs[0].streams[0].classes;
        let count = |name: &str| {
            let counts = classes.column_by_name(name).unwrap();
            counts
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .sum::<i64>()
        };
        let counts = ["samples", "better", "worse"].map(|name| count(name).to_string());
        assert_eq!(counts.join(" "), expected, "{first} {other}");
    };
    check("both", "turned", "4 0 1");
    check("both", "elsewhere", "0 0 0");
    // Rows that name no table may be of any.
    check("elsewhere", "nowhere", "2 1 0");
}
