//! What differs between runs, as SQL tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
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
    let sql = three(&root("memory:///"));
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
