//! `tlc run`.

use serde_json::json;
use tlc_core::{RunOptions, block_on};

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
    for key in ["started", "finished", "duration_secs"] {
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
