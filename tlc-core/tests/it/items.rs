//! Items: texts, histograms and files of a run are there while it goes on and when it has ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::UInt64Type;
use tlc_core::object_store::memory::InMemory;
use tlc_core::run::{
    FILE_BYTES_MAX, ITEM_BYTES_MAX, NAME_BYTES_MAX, SILENCE_MAX, TEXT_BYTES_MAX, item_schema,
};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{ErrorKind, ItemKind, Project, Run, RunOptions, block_on};

use crate::support::{project, project_in, project_on_disk, text};

fn rows(project: &Project, kind: ItemKind) -> Vec<RecordBatch> {
    let rows = block_on(project.items(&"lenet".parse().unwrap(), kind)).unwrap();
    for batch in &rows {
        assert_eq!(batch.schema().fields(), item_schema(kind).fields());
    }
    rows
}

/// The items of a kind, one a line, without the time and the bytes.
fn items(project: &Project, kind: ItemKind, columns: &[usize]) -> String {
    let rows = rows(project, kind);
    let rows = rows
        .iter()
        .map(|batch| text(&batch.project(columns).unwrap()));
    rows.collect::<Vec<_>>().join(" ")
}

const TEXTS: [usize; 6] = [0, 1, 3, 4, 5, 6];
const HISTOGRAMS: [usize; 12] = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const FILES: [usize; 5] = [0, 1, 3, 5, 6];

fn log(run: &Run) {
    for line in ["z", "a", "ä"] {
        run.text(None, "stdout", line);
    }
    run.text(7, "note", "later");
    run.text(2, "note", "sooner");
    run.text(None, "stdout", "last");
    let values = [0.5_f32, f32::NAN, 0.5, f32::NEG_INFINITY];
    run.histogram(3, "weights", &values);
    run.histogram(1, "weights", &[f64::INFINITY]);
    run.file(0, "notes.bin", vec![0, 255, 10], "x/y").unwrap();
    run.image(1, "picture", (2, 1), &[255, 0, 0, 0, 0, 255])
        .unwrap();
}

/// How many files of a kind there are on disk with an ending.
fn n_files(folder: &Path, kind: ItemKind, ending: &str) -> usize {
    let folder = folder.join("zoo/runs/lenet").join(kind.name());
    let files = std::fs::read_dir(folder).unwrap();
    files
        .filter(|file| {
            let path = file.as_ref().unwrap().path();
            path.extension().is_some_and(|found| found == ending)
        })
        .count()
}

fn check_folded(project: &Project) {
    assert_eq!(
        items(project, ItemKind::Texts, &TEXTS),
        "note:2:1:sooner:0:1 note:7:0:later:0:1 stdout:-:0:z:0:1 stdout:-:1:a:0:1 stdout:-:2:ä:0:1 stdout:-:3:last:0:1"
    );
    assert_eq!(
        items(project, ItemKind::Histograms, &HISTOGRAMS),
        "weights:1:[]:[]:1:0:0:1:-:-:-:0 weights:3:[0.5, 0.5]:[2]:4:1:1:0:0.5:0.5:0.5:0"
    );
    assert_eq!(
        items(project, ItemKind::Files, &FILES),
        "notes.bin:0:x/y:0:1 picture:1:image/png:0:1"
    );
    let files = rows(project, ItemKind::Files);
    let bytes = files[0].column(4).as_binary::<i32>();
    assert_eq!(bytes.value(0), [0, 255, 10]);
    let picture = image_of(bytes.value(1));
    assert_eq!(picture, [255, 0, 0, 0, 0, 255]);
}

/// The bytes of the pixels of a PNG.
fn image_of(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).unwrap().to_rgb8().into_raw()
}

#[test]
fn items_are_there_once_the_run_has_ended() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    log(&run);
    assert!(run.finish().unwrap().lost.is_none());
    check_folded(&project);
}

#[test]
fn items_are_seen_while_they_grow_and_are_folded_at_the_end() {
    let (folder, project) = project_on_disk();
    let run = project.start_run("lenet").unwrap();
    log(&run);
    run.flush().unwrap();
    run.text(None, "stdout", "more");
    run.flush().unwrap();
    let folder = folder.path();
    for kind in ItemKind::ALL {
        assert_eq!(n_files(folder, kind, "seg"), 1, "{kind:?}");
        assert_eq!(n_files(folder, kind, "parquet"), 0, "{kind:?}");
    }
    let logged = items(&project, ItemKind::Texts, &TEXTS);
    assert!(
        logged.starts_with("stdout:-:0:z:0:1 stdout:-:1:a:0:1 stdout:-:2:ä:0:1 note:7:0:later:0:1")
            && logged.ends_with("stdout:-:3:last:0:1 stdout:-:4:more:0:1"),
        "{logged}"
    );
    let files = rows(&project, ItemKind::Files);
    assert_eq!(files[0].column(4).as_binary::<i32>().value(0), [0, 255, 10]);
    let verified = block_on(project.verify(tlc_core::VerifyOptions::new())).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    run.finish().unwrap();
    for kind in ItemKind::ALL {
        assert_eq!(n_files(folder, kind, "seg"), 0, "{kind:?}");
        assert_eq!(n_files(folder, kind, "parquet"), 1, "{kind:?}");
    }
    let verified = block_on(project.verify(tlc_core::VerifyOptions::new())).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

#[test]
fn damage_to_items_is_found() {
    let (folder, project) = project_on_disk();
    let run = project.start_run("lenet").unwrap();
    log(&run);
    run.finish().unwrap();
    for kind in ItemKind::ALL {
        let folder = folder.path().join("zoo/runs/lenet").join(kind.name());
        let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        std::fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
    }
    let verified = block_on(project.verify(tlc_core::VerifyOptions::new())).unwrap();
    assert_eq!(verified.findings.len(), 3, "{:?}", verified.findings);
}

#[test]
fn what_is_too_large_is_cut_or_refused_and_a_long_name_is_lost() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    let long = "ö".repeat(TEXT_BYTES_MAX);
    run.text(None, "long", &long);
    run.text(None, &"x".repeat(NAME_BYTES_MAX + 1), "lost");
    let refused = [
        run.file(0, "large", vec![0; FILE_BYTES_MAX + 1], "x/y"),
        run.file(0, &"x".repeat(NAME_BYTES_MAX + 1), "", "x/y"),
        run.file(0, "x", "", &"x".repeat(256)),
        run.image(0, "x", (2, 2), &[0; 11]),
        run.image(0, "x", (0, 0), &[]),
        run.image(0, "x", (u32::MAX, u32::MAX), &[0; 3]),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    run.file(0, "large", vec![7; FILE_BYTES_MAX], "x/y")
        .unwrap();
    let record = run.finish().unwrap();
    assert_eq!(record.lost.items, 1);
    let texts = rows(&project, ItemKind::Texts);
    let kept = texts[0].column(4).as_string::<i32>().value(0);
    assert!(kept.ends_with("… (cut)") && kept.len() < TEXT_BYTES_MAX + 20);
    assert!(long.starts_with(kept.trim_end_matches("… (cut)")));
    let files = rows(&project, ItemKind::Files);
    assert_eq!(
        files[0].column(4).as_binary::<i32>().value(0).len(),
        FILE_BYTES_MAX
    );
}

#[test]
fn what_does_not_fit_in_memory_is_counted_and_leaves_a_gap_in_the_lines() {
    let faults = Faults::at(0, When::Before);
    let store = FaultyStore::new(Arc::new(InMemory::new()), Arc::clone(&faults));
    let project = project_in(Arc::new(store));
    let run = project.start_run("lenet").unwrap();
    faults.break_down();
    run.text(None, "stdout", "first");
    let n_fitting = ITEM_BYTES_MAX / FILE_BYTES_MAX - 1;
    for step in 0..n_fitting {
        let file = vec![1; FILE_BYTES_MAX];
        run.file(i64::try_from(step).unwrap(), "x", file, "x/y")
            .unwrap();
    }
    for step in 9..11 {
        run.file(step, "x", vec![1; FILE_BYTES_MAX], "x/y").unwrap();
    }
    let half = "x".repeat(TEXT_BYTES_MAX);
    let n_texts = 300;
    for _ in 0..n_texts {
        run.text(None, "stdout", &half);
    }
    let err = run.flush().unwrap_err().to_string();
    assert!(
        err.contains("texts, histograms or files were lost"),
        "{err}"
    );
    faults.heal();
    run.flush().unwrap_or_default();
    run.text(None, "stdout", "last");
    let record = run.finish().unwrap();
    let texts = rows(&project, ItemKind::Texts);
    let n_kept: usize = texts.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(record.lost.items, 2 + n_texts + 2 - n_kept as u64);
    assert!(
        record
            .warning()
            .unwrap()
            .contains("texts, histograms or files were lost")
    );
    let last = texts.last().unwrap();
    let lines = last.column(3).as_primitive::<UInt64Type>();
    assert_eq!(lines.values().last().copied(), Some(n_texts + 1));
    assert!((n_kept as u64) < n_texts + 2, "some did not fit");
}

#[test]
fn a_resumed_run_counts_items_by_step_and_all_texts_without_one() {
    let project = project();
    let first = project.start_run("lenet").unwrap();
    for step in 0..3 {
        first.histogram(step, "w", &[1.0_f32]);
        first.text(step, "note", "one");
    }
    first.text(None, "stdout", "begin");
    first.text(None, "note", "any");
    first.flush().unwrap();
    let silence = SILENCE_MAX + Duration::from_secs(1);
    project.root().env().advance(silence);
    let second = project.start_run(RunOptions::from("lenet")).unwrap();
    second.histogram(2, "w", &[2.0_f32]);
    second.text(1, "note", "two");
    second.text(None, "stdout", "again");
    drop(first);
    second.finish().unwrap();
    let weights = items(&project, ItemKind::Histograms, &[1, 9, 12]);
    let mut weights: Vec<&str> = weights.split(' ').collect();
    weights.sort_unstable();
    assert_eq!(weights, ["0:1.0:0", "1:1.0:0", "2:2.0:0"]);
    let texts = items(&project, ItemKind::Texts, &[0, 1, 4, 6]);
    let mut texts: Vec<&str> = texts.split(' ').collect();
    texts.sort_unstable();
    assert_eq!(
        texts,
        [
            "note:-:any:1",
            "note:0:one:1",
            "note:1:two:2",
            "stdout:-:again:2",
            "stdout:-:begin:1"
        ]
    );
}

#[cfg(feature = "sql")]
#[test]
fn sql_knows_items_by_run_while_they_grow_and_when_they_are_folded() {
    let (_folder, project) = project_on_disk();
    let run = project.start_run("lenet").unwrap();
    log(&run);
    run.flush().unwrap();
    let sql = block_on(tlc_core::Sql::open(project.root())).unwrap();
    let check = |query: &str, expected: &str| {
        let rows = block_on(sql.collect(query)).unwrap();
        let rows: Vec<String> = rows
            .iter()
            .map(text)
            .filter(|rows| !rows.is_empty())
            .collect();
        assert_eq!(rows.join(" "), expected, "{query}");
    };
    let check_all = || {
        check(
            "SELECT line, text FROM zoo.texts WHERE run = 'lenet' AND name = 'stdout' AND step IS NULL ORDER BY line",
            "0:z 1:a 2:ä 3:last",
        );
        check(
            "SELECT step, count, nan, mean, counts FROM zoo.histograms WHERE max IS NOT NULL",
            "3:4:1:0.5:[2]",
        );
        check(
            "SELECT f.name, encode(f.bytes, 'hex') FROM zoo.files f WHERE media_type = 'x/y'",
            "notes.bin:00ff0a",
        );
        check("SELECT count(*) FROM zoo.all_texts", "6");
        check("SELECT count(*) FROM zoo.all_histograms", "2");
        check("SELECT count(*) FROM zoo.all_files", "2");
        check(
            "SELECT DISTINCT attempt, rank, run FROM zoo.files",
            "1:0:lenet",
        );
    };
    check_all();
    run.finish().unwrap();
    check_all();
    let resumed = project
        .start_run(RunOptions::from("lenet").resume())
        .unwrap();
    resumed.histogram(2, "weights", &[1.0_f32]);
    resumed.finish().unwrap();
    check("SELECT step FROM zoo.histograms ORDER BY step", "1 2");
    check(
        "SELECT step, attempt FROM zoo.all_histograms ORDER BY step",
        "1:1 2:2 3:1",
    );
}
