//! `tlc table`.

use serde_json::{Value, json};

use crate::site::Site;

fn edited() -> Site {
    let site = Site::with_animals();
    let args = [
        "table",
        "edit",
        "zoo/animals",
        "--set",
        "legs=0",
        "--where",
        "name = 'snake'",
        "-m",
        "no legs",
    ];
    site.tlc(&[&args[..], &["--author", "grace"]].concat())
        .done();
    site
}

#[test]
fn an_edit_is_a_revision_that_says_who_and_why() {
    let site = edited();
    let log = site.json(&["table", "log", "zoo/animals"]);
    let pick = |revision: &Value| {
        let keys = [
            "revision",
            "branch",
            "parents",
            "author",
            "message",
            "cells",
            "rows_added",
            "rows_dropped",
        ];
        keys.map(|key| revision[key].to_string()).join(" ")
    };
    let found: Vec<_> = log.as_array().unwrap().iter().map(pick).collect();
    assert_eq!(
        found,
        [
            "1 \"main\" [0] \"grace\" \"no legs\" 1 0 0",
            "0 \"main\" [] \"ada\" \"first animals\" 0 4 0",
        ]
    );
    let time = log[0]["time"].as_str().unwrap();
    assert!(
        time.ends_with('Z') && tlc_core::Micros::from_rfc3339(time).is_some(),
        "{time}"
    );
    let text = site.tlc(&["table", "log", "zoo/animals"]).done().text();
    let words: Vec<_> = text.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(
        (&words[..3], words[4], words[5], &words[8..]),
        (&["*", "r1", "main"][..], "grace", "1", &["no", "legs"][..]),
        "{text}"
    );
    assert_eq!(
        site.json(&["table", "log", "zoo/animals@0"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_edit_says_what_it_changed() {
    let site = Site::with_animals();
    let edit = |set: &str, condition: &str| {
        site.json(&[
            "table",
            "edit",
            "zoo/animals",
            "--set",
            set,
            "--where",
            condition,
            "-m",
            "edit",
        ])
    };
    let view = edit("legs=legs+1", "legs = 4");
    let bytes = view["bytes"].as_u64().unwrap();
    assert!((1..4_000).contains(&bytes), "{bytes} bytes");
    assert_eq!(
        view,
        json!({"table": "zoo/animals", "revision": 1, "branch": "main", "rows": 2, "cells": 2, "bytes": bytes})
    );
    let none = edit("legs=1", "name = 'nobody'");
    assert_eq!(
        none,
        json!({"table": "zoo/animals", "revision": 1, "branch": "main", "rows": 0, "cells": 0, "bytes": 0})
    );
    let args = [
        "table",
        "edit",
        "zoo/animals",
        "--set",
        "tame=true",
        "--set",
        "legs=8",
        "--where",
        "true",
        "-m",
        "all",
    ];
    site.check(&args, "zoo/animals r2: 7 cells in 4 rows, SIZE\n");
    let expected = "
        name,legs,tame
        cat,8,true
        ant,8,true
        \"wolf, grey\",8,true
        snake,8,true
        ";
    site.check(
        &[
            "sql",
            "SELECT name, legs, tame FROM zoo.animals ORDER BY _rowid",
            "--format",
            "csv",
        ],
        expected,
    );
}

#[test]
fn an_edit_that_changes_nothing_says_so_and_is_done() {
    let site = Site::with_animals();
    let answer = site
        .tlc(&[
            "table",
            "edit",
            "zoo/animals",
            "--set",
            "legs=4",
            "--where",
            "name = 'cat'",
            "-m",
            "x",
        ])
        .done();
    assert_eq!(
        answer.err,
        "nothing to set: no row matches, or all have the value; the head is still r0\n"
    );
    assert_eq!(answer.text(), "");
}

#[test]
fn a_label_takes_the_name_of_a_class() {
    let site = Site::with_pictures();
    site.tlc(&[
        "table",
        "edit",
        "zoo/pictures",
        "--set",
        "animal='dog'",
        "--where",
        "_rowid = 0",
        "-m",
        "a dog",
    ])
    .done();
    let expected = "
        _rowid  column  old  new
        ──────  ──────  ───  ───
             0  animal  cat  dog
        1 cell set
        ";
    site.check(&["table", "diff", "zoo/pictures", "0", "1"], expected);
    assert_eq!(
        site.json(&["table", "diff", "zoo/pictures", "0", "main"]),
        json!([{"_rowid": 0, "column": "animal", "old": 0, "new": 1}])
    );
}

#[test]
fn a_diff_lists_cells_and_nulls() {
    let site = edited();
    assert_eq!(
        site.json(&["table", "diff", "zoo/animals", "0", "1"]),
        json!([{"_rowid": 3, "column": "legs", "old": null, "new": 0}])
    );
    assert_eq!(
        site.json(&["table", "diff", "zoo/animals", "1", "1"]),
        json!([])
    );
    site.check(&["table", "diff", "zoo/animals", "1", "1"], "0 cells set\n");
}

#[test]
fn a_diff_lists_whole_rows_and_columns() {
    let site = Site::with_animals();
    let project = site.opened().project("zoo").unwrap();
    let table = tlc_core::block_on(project.table("animals")).unwrap();
    tlc_core::block_on(async {
        let head = table.head().await.unwrap();
        let mut patch = head.patch();
        let row = head.take(&[0], &["name", "legs", "tame"]).await.unwrap();
        patch.append(&row).unwrap();
        patch.drop_rows(&[1]);
        patch
            .add_column(tlc_core::schema::weight("weight"), 1.0_f32)
            .unwrap();
        table.commit(&patch, "rows").await.unwrap();
    });
    let found = site.json(&["table", "diff", "zoo/animals", "0", "1"]);
    let ant = json!({"name": "ant", "legs": 6, "tame": false});
    let cat = json!({"name": "cat", "legs": 4, "tame": true, "weight": 1.0});
    let weight = json!({"name": "weight", "type": "Float32", "role": "weight", "classes": []});
    assert_eq!(
        found,
        json!([
            {"_rowid": null, "column": "weight", "old": null, "new": weight},
            {"_rowid": 1, "column": null, "old": ant, "new": null},
            {"_rowid": 4, "column": null, "old": null, "new": cat},
        ])
    );
    let expected = "
        0 cells set
        1 row added (_rowid 4)
        1 row dropped (_rowid 1)
        column weight added
        ";
    site.check(&["table", "diff", "zoo/animals", "0", "1"], expected);
}

#[test]
fn show_reads_any_revision() {
    let site = edited();
    let legs = |table: &str| {
        let shown = site.json(&["table", "show", table]);
        (
            shown["revision"].clone(),
            shown["first_rows"][3]["legs"].clone(),
        )
    };
    assert_eq!(legs("zoo/animals"), (json!(1), json!(0)));
    assert_eq!(legs("zoo/animals@0"), (json!(0), Value::Null));
    assert_eq!(legs("zoo/animals@r0"), (json!(0), Value::Null));
    assert_eq!(legs("zoo/animals@main"), (json!(1), json!(0)));
}

#[test]
fn show_describes_a_table_to_programs() {
    let site = Site::with_pictures();
    let mut shown = site.json(&["table", "show", "zoo/pictures"]);
    assert!(shown["bytes"].as_u64().unwrap() > 0);
    shown["bytes"] = json!(0);
    assert_eq!(shown["columns"][0]["classes"][1]["name"], json!("dog"));
    assert_eq!(
        shown["columns"][1],
        json!({"name": "image", "type": "Binary", "role": "image", "classes": []})
    );
    assert_eq!(
        shown["first_rows"],
        json!([
            {"_rowid": 0, "animal": 0, "image": "iVBORw0KGgowMTIzNDU2Nzg5", "note": "first"},
            {"_rowid": 1, "animal": 1, "image": "YWJj", "note": null},
            {"_rowid": 2, "animal": null, "image": null, "note": "a\nb"},
        ])
    );
}

#[test]
fn show_says_how_many_rows_it_leaves_out() {
    let site = Site::new();
    let rows: String = (0..12).map(|row| format!("{row}\n")).collect();
    site.write("a.csv", &format!("x\n{rows}"));
    site.tlc(&["import", "a.csv", "p/a"]).done();
    let text = site.tlc(&["table", "show", "p/a"]).done().text();
    assert!(text.ends_with("     9  9\n(and 2 more rows)\n"), "{text}");
}
