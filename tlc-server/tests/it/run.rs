//! `tlc run`.

use std::sync::Arc;

use serde_json::json;
use tlc_core::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use tlc_core::{Rows, RunOptions, block_on};

use crate::site::Site;

fn with_run() -> Site {
    let site = Site::with_animals();
    let project = site.opened().project("zoo").unwrap();
    let head = block_on(async { project.table("animals").await?.head().await }).unwrap();
    let run = project.start_run("first").unwrap();
    run.params(&json!({"lr": 0.5, "optimizer": {"name": "sgd"}}))
        .unwrap();
    run.input(&head).unwrap();
    run.log(0, &[("loss", 2.5)]);
    run.log(1, &[("loss", 0.25)]);
    run.finish().unwrap();
    site
}

#[test]
fn a_run_is_shown_to_people() {
    let site = with_run();
    let text = site.tlc(&["run", "show", "zoo/first"]).done().text();
    let words: Vec<_> = text
        .split_whitespace()
        .filter(|word| !word.starts_with('─'))
        .collect();
    let text = words.join(" ");
    for expected in [
        "zoo/first completed started",
        "input revision animals r0",
        "parameter value lr 0.5 optimizer.name sgd",
        "scalar last loss 0.25",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
}

#[test]
fn a_run_is_shown_to_programs() {
    let site = with_run();
    let mut run = site.json(&["run", "show", "zoo/first"]);
    assert!(run["started"].as_str() <= run["finished"].as_str());
    assert!(run["duration_secs"].as_f64().is_some());
    // What is known of it depends on where the tests run.
    for key in ["started", "finished", "duration_secs", "code"] {
        run[key] = json!(null);
    }
    assert_eq!(
        run,
        json!({
            "run": "zoo/first",
            "status": "completed",
            "attempts": 1,
            "forked": null,
            "reason": null,
            "started": null,
            "finished": null,
            "duration_secs": null,
            "code": null,
            "outputs": [],
            "inputs": [{"table": "animals", "revision": 0}],
            "artifacts": [],
            "params": {"lr": "0.5", "optimizer.name": "sgd"},
            "scalars": {"loss": 0.25},
            "streams": [],
            "author": "unknown",
            "lost": {"scalars": 0, "sample_rows": 0, "items": 0},
        })
    );
    assert_eq!(site.json(&["ls", "zoo"])["runs"][0]["status"], "completed");
}

#[test]
fn a_fork_and_a_run_of_several_attempts_say_so() {
    let site = with_run();
    let project = site.opened().project("zoo").unwrap();
    let fork = RunOptions::from("second").fork("first", 1);
    project.start_run(fork).unwrap().finish().unwrap();
    let again = RunOptions::from("second").resume();
    project.start_run(again).unwrap().finish().unwrap();

    let text = site.tlc(&["run", "show", "zoo/second"]).done().text();
    for expected in ["\nforked    from first at step 1\n", "\nattempts  2\n"] {
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
    let first = site.tlc(&["run", "show", "zoo/first"]).done().text();
    assert!(!first.contains("forked") && !first.contains("attempts"));
    let run = site.json(&["run", "show", "zoo/second"]);
    assert_eq!(run["forked"], json!({"run": "first", "step": 1}));
    assert_eq!(run["attempts"], 2);
    assert_eq!(run["params"]["lr"], "0.5");
    assert_eq!(run["scalars"], json!({"loss": 2.5}));
}

#[test]
fn a_run_that_is_not_there_is_told_which_are() {
    let site = with_run();
    let answer = site.tlc(&["run", "show", "zoo/second"]);
    assert_eq!(answer.code, 4);
    assert!(
        answer.err.ends_with("hint: the runs of zoo are: first\n"),
        "{}",
        answer.err
    );
}

/// The runs `first` and `second` on revisions 0 and 1 of the table, each with an epoch of the stream `val`.
fn with_two() -> Site {
    let site = Site::with_animals();
    let project = site.opened().project("zoo").unwrap();
    let edit = [
        "table",
        "edit",
        "zoo/animals",
        "--set",
        "legs=8",
        "--where",
        "name = 'ant'",
        "-m",
        "eight",
    ];
    site.tlc(&edit).done();
    let table = block_on(project.table("animals")).unwrap();
    for (name, revision, rate, correct) in [
        ("first", 0_u64, 0.5, [true, false, true]),
        ("second", 1, 0.25, [true, true, false]),
    ] {
        let snapshot = block_on(table.at(revision)).unwrap();
        let run = project
            .start_run(RunOptions::from(name).without_provenance())
            .unwrap();
        run.params(&json!({"rate": rate, "seed": 7})).unwrap();
        run.input(&snapshot).unwrap();
        let rows = Rows::new("val", 3, vec![0, 1, 2]).unwrap();
        let rows = rows.source(snapshot.table().name().clone(), snapshot.revision());
        let columns: [(&str, ArrayRef); 2] = [
            ("correct", Arc::new(BooleanArray::from(correct.to_vec()))),
            (
                "label",
                Arc::new(StringArray::from(vec!["pet", "bug", "pet"])),
            ),
        ];
        run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
            .unwrap();
        run.log(0, &[("loss", rate), ("epochs", 3.0), ("system/cpu", rate)]);
        run.finish().unwrap();
    }
    site
}

#[test]
fn runs_are_compared_for_programs() {
    let site = with_two();
    let found = site.json(&["run", "compare", "zoo/first", "second"]);
    let legs = json!({"_rowid": 1, "column": "legs", "old": 6, "new": 8});
    assert_eq!(
        found,
        json!({
            "runs": ["first", "second"],
            "params": [{"name": "rate", "values": ["0.5", "0.25"]}],
            "environment": [],
            "scalars": [{"name": "loss", "values": [0.5, 0.25], "changes": [-0.25]}],
            "unknown": [
                {"run": "first", "what": "what it is made of is not known"},
                {"run": "second", "what": "what it is made of is not known"},
            ],
            "pairs": [{
                "run": "second",
                "code": {"first": null, "other": null, "files": []},
                "data": [{"table": "animals", "first": 0, "other": 1, "diff": [legs]}],
                "streams": [{
                    "stream": "val", "measure": "correct", "epochs": [3, 3],
                    "classes": [
                        {"label": "bug", "samples": 1, "better": 1, "worse": 0, "first": 0.0, "other": 1.0},
                        {"label": "pet", "samples": 2, "better": 0, "worse": 1, "first": 1.0, "other": 0.5},
                    ],
                    "changed": [
                        {"_rowid": 2, "label": "pet", "first": 1.0, "other": 0.0},
                        {"_rowid": 1, "label": "bug", "first": 0.0, "other": 1.0},
                    ],
                }],
            }],
        })
    );
    // Of several, each is compared with the first.
    let three = site.json(&["run", "compare", "zoo/second", "first", "zoo/second"]);
    assert_eq!(three["params"][0]["values"], json!(["0.25", "0.5", "0.25"]));
    let runs = three["pairs"].as_array().unwrap().iter();
    assert_eq!(
        runs.map(|pair| &pair["run"]).collect::<Vec<_>>(),
        ["first", "second"]
    );
    assert_eq!(three["pairs"][1]["data"], json!([]));
}

#[test]
fn runs_are_compared_for_people() {
    let site = with_two();
    let text = site
        .tlc(&["run", "compare", "zoo/first", "second"])
        .done()
        .text();
    for expected in [
        "rate       0.5    0.25\n",
        "loss      0.5    0.25  -0.250000\n",
        "table animals: first r0, second r1\n",
        "1 cell set\n",
        "stream val, by correct: epoch 3 of first, epoch 3 of second\n",
        "the 2 samples that changed most\n",
        "second  what it is made of is not known\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let same = site
        .tlc(&["run", "compare", "zoo/first", "first", "--samples", "0"])
        .done()
        .text();
    assert!(same.starts_with("stream val"), "{same}");
    for (run, code) in [("third", 4), ("other/second", 2), ("a b", 2)] {
        assert_eq!(
            site.tlc(&["run", "compare", "zoo/first", run]).code,
            code,
            "{run}"
        );
    }
    assert_eq!(site.tlc(&["run", "compare", "zoo/first"]).code, 2);
}

#[test]
fn a_report_is_markdown_on_the_newest_run() {
    let site = with_two();
    let report = site
        .tlc(&["report", "zoo", "--compare", "first"])
        .done()
        .text();
    for expected in [
        "## Run `second` of `zoo`, compared with `first`\n",
        "| data | `animals@0` | `animals@1` |\n",
        "| `loss` | 0.500000 | 0.250000 | -0.250000 |\n",
        "| `rate` | `0.5` | `0.25` |\n",
        "- `animals`: r0 → r1, 1 cell set, 0 rows added, 0 rows dropped\n",
        "| `bug` | 1 | 1 | 0 | 0.0 | 1.0 |\n",
        "### Not compared\n\n| run | what |\n|---|---|\n| `first` | `what it is made of is not known` |\n",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in {report}");
    }
    let other = site.json(&["report", "zoo", "--compare", "second", "--run", "first"]);
    let other = other["markdown"].as_str().unwrap();
    assert!(
        other.starts_with("## Run `first` of `zoo`, compared with `second`\n"),
        "{other}"
    );
    let missing = site.tlc(&["report", "zoo", "--compare", "third"]);
    assert!(
        missing.code == 4 && missing.err.contains("the runs of zoo are: first, second"),
        "{}",
        missing.err
    );
}
