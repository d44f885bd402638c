//! `tlc sync`: from one root to another, as often as one likes.

use serde_json::{Value, json};

use crate::site::Site;

/// With the root in the folder `root`, whatever store is chosen.
fn site() -> Site {
    let site = Site::on_disk();
    site.write("animals.csv", "name,legs\ncat,4\nant,6\n");
    site.tlc(&["import", "animals.csv", "zoo/animals"]).done();
    site
}

#[test]
fn what_the_target_lacks_is_copied_once() {
    let site = site();
    let root = "root";
    site.tlc(&[
        "table",
        "edit",
        "zoo/animals",
        "--set",
        "legs=8",
        "--where",
        "_rowid = 0",
        "-m",
        "more",
    ])
    .done();
    let first: Value = site.json(&["sync", root, "a/../elsewhere"]);
    assert_eq!((&first["tables"], &first["runs"]), (&json!(1), &json!(0)));
    let again = site.tlc(&["sync", root, "a/../elsewhere"]).done().text();
    assert_eq!(again, "the target has everything\n");
    let rows = |root: &str| {
        site.tlc(&[
            "--root",
            root,
            "sql",
            "SELECT * FROM zoo.animals ORDER BY _rowid",
        ])
        .done()
        .text()
    };
    assert_eq!(rows("a/../elsewhere"), rows(root));
}

#[test]
fn only_what_is_named_is_copied_and_what_is_not_there_is_said() {
    let site = site();
    let root = "root";
    site.write("b.csv", "x\n1\n");
    site.tlc(&["import", "b.csv", "other/b"]).done();
    site.tlc(&["sync", root, "elsewhere", "other/b"]).done();
    let listed: Value = site.json(&["--root", "elsewhere", "ls"]);
    assert_eq!(
        listed,
        json!([{"project": "other", "tables": 1, "runs": 0, "artifacts": 0}])
    );
    for (place, missing) in [("nowhere", "nowhere"), ("zoo/lions", "lions")] {
        let answer = site.tlc(&["sync", root, "elsewhere", place]);
        assert_eq!(answer.code, 4);
        assert!(answer.err.contains(missing));
    }
    assert_eq!(site.tlc(&["sync", "no-such-root", "elsewhere"]).code, 4);
}

#[test]
fn a_table_that_went_on_differently_is_a_conflict() {
    let site = site();
    let root = "root";
    site.tlc(&["sync", root, "elsewhere"]).done();
    for (root, legs) in [(root, "legs=5"), ("elsewhere", "legs=6")] {
        site.tlc(&[
            "--root",
            root,
            "table",
            "edit",
            "zoo/animals",
            "--set",
            legs,
            "--where",
            "_rowid = 0",
            "-m",
            "other",
        ])
        .done();
    }
    assert_eq!(site.tlc(&["sync", root, "elsewhere"]).code, 3);
}

#[test]
fn what_runs_could_not_upload_is_asked_for_without_arguments() {
    let site = site();
    let text = site.tlc(&["sync"]).done().text();
    assert_eq!(text, "nothing is left to upload\n");
    let answer: Value = site.json(&["sync"]);
    assert_eq!(answer["files"], json!(0));
    let half = site.tlc(&["sync", "root"]);
    assert_eq!(half.code, 2, "{}", half.err);
}
