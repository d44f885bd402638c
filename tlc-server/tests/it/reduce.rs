//! `tlc reduce`.

use std::sync::Arc;

use serde_json::json;
use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use tlc_core::arrow::datatypes::Float32Type;
use tlc_core::{Project, Rows};

use crate::site::Site;

/// Logs for each epoch rows whose vectors lie on a line, so that the first component of a row is its number less the mean.
fn log(project: &Project, name: &str, streams: &[(&str, i64)]) {
    log_as("embedding", project, name, streams);
}

fn log_as(column: &str, project: &Project, name: &str, streams: &[(&str, i64)]) {
    let run = project.start_run(name).unwrap();
    for (stream, n_epochs) in streams {
        for epoch in 0..*n_epochs {
            let vectors = (0..11_u8).map(|row| {
                let along = f32::from(row);
                Some([0.6 * along, 0.8 * along, 1.0].map(Some))
            });
            let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 3);
            let losses = Float32Array::from_iter_values((0..11_u8).map(|row| f32::from(row) / 2.0));
            let columns: [(&str, ArrayRef); 2] =
                [(column, Arc::new(vectors)), ("loss", Arc::new(losses))];
            let columns = RecordBatch::try_from_iter(columns).unwrap();
            let rows = Rows::new(stream, epoch, (0..11).collect::<Vec<u64>>()).unwrap();
            run.samples(&rows, &columns).unwrap();
        }
    }
    run.finish().unwrap();
}

fn with_runs() -> Site {
    let site = Site::new();
    let project = site.opened().project("zoo").unwrap();
    log(&project, "lenet", &[("train", 3), ("val", 2)]);
    log(&project, "other", &[("val", 1)]);
    site
}

#[test]
fn a_run_is_reduced_and_sql_joins_points_and_samples() {
    let site = with_runs();
    site.check(
        &["reduce", "zoo/lenet"],
        "zoo/lenet-pca: 55 rows of zoo/lenet as embedding_pca, by lenet-pca@1, fitted on lenet/train@2\n",
    );
    let query = "SELECT p.epoch, p._rowid, round(p.embedding_pca[1]) AS x, abs(round(p.embedding_pca[2])) AS y, s.loss
        FROM zoo.samples p JOIN zoo.samples s USING (stream, epoch, _rowid)
        WHERE p.run = 'lenet-pca' AND s.run = 'lenet' AND p.stream = 'val' AND p._rowid IN (0, 7) ORDER BY 1, 2";
    let rows = site.json(&["sql", "--format", "json", query]);
    assert_eq!(
        rows,
        json!([
            {"epoch": 0, "_rowid": 0, "x": -5.0, "y": 0.0, "loss": 0.0},
            {"epoch": 0, "_rowid": 7, "x": 2.0, "y": 0.0, "loss": 3.5},
            {"epoch": 1, "_rowid": 0, "x": -5.0, "y": 0.0, "loss": 0.0},
            {"epoch": 1, "_rowid": 7, "x": 2.0, "y": 0.0, "loss": 3.5},
        ])
    );
    let shown = site
        .tlc(&["artifact", "show", "zoo/lenet-pca"])
        .done()
        .text();
    assert!(shown.contains("components"), "{shown}");
}

#[test]
fn a_model_is_applied_to_another_run() {
    let site = with_runs();
    let umap = [
        "reduce",
        "zoo/lenet",
        "--method",
        "umap",
        "--dims",
        "3",
        "--seed",
        "5",
    ];
    let more = [
        "--fit",
        "val@0",
        "--stream",
        "val",
        "--neighbours",
        "4",
        "--as",
        "map",
    ];
    let view = site.json(&[&umap[..], &more].concat());
    assert_eq!(
        view,
        json!({
            "run": "zoo/map", "source": "zoo/lenet", "method": "umap", "dimensions": 3, "column": "embedding_umap",
            "model": "map@1", "fitted_on": "lenet/val@0", "rows": 22, "rows_without_vector": 0,
        })
    );
    let edges = site.json(&["lineage", "zoo/map"])["edges"].clone();
    let edge = json!({"source": "lenet", "target": "map", "kind": "run", "revision": null, "role": "reduced"});
    assert!(edges.as_array().unwrap().contains(&edge), "{edges}");
    let view = site.json(&["reduce", "zoo/other", "--model", "map"]);
    assert_eq!(view["run"], "zoo/other-umap");
    assert_eq!(view["model"], "map@1");
    // The vectors are the same, so the points are.
    let query = "SELECT count(*) AS n FROM zoo.samples a JOIN zoo.samples b USING (stream, _rowid, embedding_umap)
        WHERE a.run = 'map' AND b.run = 'other-umap' AND a.epoch = 1";
    assert_eq!(
        site.json(&["sql", "--format", "json", query]),
        json!([{"n": 11}])
    );
}

#[test]
fn a_model_is_for_the_column_and_the_streams_that_it_was_fitted_on() {
    let site = Site::new();
    let project = site.opened().project("zoo").unwrap();
    log_as("hidden", &project, "lenet", &[("train", 1), ("val", 2)]);
    let fit = [
        "reduce",
        "zoo/lenet",
        "--column",
        "hidden",
        "--stream",
        "val",
    ];
    let view = site.json(&[&fit[..], &["--as", "map"]].concat());
    assert_eq!(view["fitted_on"], "lenet/val@1");
    let view = site.json(&["reduce", "zoo/lenet", "--model", "map"]);
    assert_eq!(
        (&view["column"], &view["rows"]),
        (&json!("hidden_pca"), &json!(33))
    );
    let zero = site.tlc(&["reduce", "zoo/lenet", "--rows", "0"]);
    assert_eq!(zero.code, 2, "{}", zero.err);
}

#[test]
fn what_cannot_be_reduced_says_why_and_what_to_do() {
    let site = with_runs();
    site.tlc(&["reduce", "zoo/lenet"]).done();
    for (args, code, expected) in [
        (
            &["reduce", "zoo/lenet"][..],
            3,
            "error: there is a run lenet-pca already (completed); choose another name; hint: give what comes of it another name with --as",
        ),
        (
            &["reduce", "zoo/lenet", "--model", "lenet-pca"],
            3,
            "error: there is a run lenet-pca already (completed); choose another name; hint: give what comes of it another name with --as",
        ),
        (
            &["reduce", "zoo/lenet", "--neighbours", "5", "--as", "x"],
            2,
            "error: --neighbours is for umap; leave it out, or write --method umap",
        ),
        (
            &[
                "reduce",
                "zoo/lenet",
                "--stream",
                "val",
                "--stream",
                "vol",
                "--as",
                "x",
            ],
            4,
            "error: run lenet has no stream \"vol\"; there is train, val",
        ),
        (
            &["reduce", "zoo/lenet", "--column", "hidden", "--as", "x"],
            4,
            "error: no stream of run lenet has a column \"hidden\"; hint: log one with the collector `Embedding`, or name the column of vectors with --column",
        ),
        (
            &["reduce", "zoo/nobody"],
            4,
            "error: no run nobody in project zoo; hint: the runs of zoo are: lenet, lenet-pca, other",
        ),
        (
            &["reduce", "zoo/lenet", "--fit", "val@last", "--as", "x"],
            2,
            "error: \"last\" is no epoch; write --fit val@7",
        ),
        (
            &["reduce", "zoo/lenet", "--fit", "val@9", "--as", "x"],
            4,
            "error: stream val of run lenet has no epoch 9; there are 2, from 0 to 1",
        ),
        (
            &["reduce", "zoo/lenet", "--model", "none", "--as", "x"],
            4,
            "error: there is no artifact zoo/none; hint: `tlc artifact list zoo` lists the artifacts",
        ),
        // Nothing above was made.
        (
            &["run", "show", "zoo/x"],
            4,
            "error: no run x in project zoo; hint: the runs of zoo are: lenet, lenet-pca, other",
        ),
    ] {
        let answer = site.tlc(args);
        assert_eq!(answer.code, code, "{args:?}: {}", answer.err);
        let said = answer.err.trim_end().replace("\nhint", "; hint");
        assert_eq!(said, expected, "{args:?}");
    }
}
