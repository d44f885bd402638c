//! `tlc lineage`: from a model back to code and cells.

use serde_json::{Value, json};
use tlc_core::{ArtifactSource, Code, Provenance, PutOptions, RunOptions, block_on};

use crate::site::Site;

const PATCH: &str = "diff --git a/train.rs b/train.rs\n--- a/train.rs\n+++ b/train.rs\n@@ -1,1 +1,1 @@\n-lr = 1\n+lr = 2\n";

fn weights(bytes: &'static [u8]) -> ArtifactSource {
    ArtifactSource::bytes("weights", bytes)
}

/// A table of two revisions, the run `first` that read the second one and made a model, and `second`, which went on from that.
pub(crate) fn with_models() -> Site {
    let site = Site::with_animals();
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
    let project = site.opened().project("zoo").unwrap();
    let head = block_on(async { project.table("animals").await?.head().await }).unwrap();
    let made_of = Provenance {
        code: Some(Code {
            commit: Some("c0ffee".to_owned()),
            ..Code::default()
        }),
        ..Provenance::default()
    };
    let options =
        |name: &str| RunOptions::from(name).provenance(made_of.clone(), Some(PATCH.to_owned()));
    let first = project.start_run(options("first")).unwrap();
    first.input(&head).unwrap();
    first
        .put_artifact(
            "model",
            weights(b"one"),
            PutOptions::new("a start").alias("best"),
        )
        .unwrap();
    first.finish().unwrap();
    let second = project.start_run(options("second")).unwrap();
    second.use_artifact("model@best").unwrap();
    second
        .put_artifact("model", weights(b"two"), PutOptions::new("better"))
        .unwrap();
    second.finish().unwrap();
    site
}

#[test]
fn a_model_leads_back_to_the_cells_and_the_code() {
    let site = with_models();
    let found = site.json(&["lineage", "zoo/model@best"]);
    assert_eq!(found["version"], "artifacts/model@1");
    assert_eq!(found["run"]["run"], "zoo/first");
    assert_eq!(found["made_of"]["patch"], PATCH);
    let table = &found["tables"][0];
    assert_eq!(
        (&table["table"], &table["revision"]),
        (&json!("animals"), &json!(1))
    );
    let cell = json!([{"_rowid": 1, "column": "legs", "old": 6, "new": 8}]);
    assert_eq!(table["revisions"][0]["diff"], cell);
    assert_eq!(table["revisions"][0]["message"], "eight");
    assert_eq!(table["revisions"][1]["diff"], Value::Null);
    let text = site.tlc(&["lineage", "zoo/model@1"]).done().text();
    for expected in [
        "artifacts/model@1\nmade by run first, completed",
        "\ncommit      c0ffee\n",
        "+lr = 2\n",
        "table animals, read at r1\n",
        "eight\n",
        "  first ← c0ffee (code)\n",
        "  first ← animals@1 (input)\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
}

#[test]
fn what_came_by_way_of_other_runs_is_told() {
    let site = with_models();
    let found = site.json(&["lineage", "zoo/second"]);
    assert_eq!(found["version"], Value::Null);
    let edges = found["edges"].as_array().unwrap().iter();
    let mut edges: Vec<String> = edges
        .map(|edge| {
            let word = |name: &str| edge[name].as_str().unwrap();
            format!(
                "{} {} {} {}",
                word("source"),
                word("role"),
                word("kind"),
                word("target")
            )
        })
        .collect();
    edges.sort();
    assert_eq!(
        edges,
        [
            "animals@0 parent revision animals@1",
            "animals@1 input run first",
            "artifacts/model@1 input run second",
            "c0ffee code run first",
            "c0ffee code run second",
            "first output artifact artifacts/model@1",
        ]
    );
    // The same by SQL alone, from the newest model.
    let origin = "WITH RECURSIVE origin AS (SELECT source FROM zoo.lineage WHERE target = 'artifacts/model@2' \
        UNION SELECT l.source FROM zoo.lineage l JOIN origin o ON l.target = o.source) SELECT source FROM origin ORDER BY source";
    let rows = site.json(&["sql", origin]);
    let sources: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["source"].as_str().unwrap())
        .collect();
    assert_eq!(
        sources,
        [
            "animals@0",
            "animals@1",
            "artifacts/model@1",
            "c0ffee",
            "first",
            "second"
        ]
    );
}

#[test]
fn what_is_not_there_is_said() {
    let site = with_models();
    let path = site.path("file");
    std::fs::write(&path, "x").unwrap();
    site.tlc(&["artifact", "put", "zoo/loose", "file"]).done();
    for (what, expected) in [
        ("zoo/nothing", "`tlc ls zoo` lists the runs and artifacts"),
        ("zoo/model@7", "`tlc ls zoo` lists the runs and artifacts"),
        ("zoo/loose", "loose@1 does not say which run made it"),
        ("den/model", "there is no project den"),
    ] {
        let answer = site.tlc(&["lineage", what]);
        assert_eq!(answer.code, 4, "{what}: {}", answer.err);
        assert!(answer.err.contains(expected), "{what}: {}", answer.err);
    }
}
