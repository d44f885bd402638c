//! Golden files: what a released version of the format wrote is read for ever.

use std::fs;
use std::path::Path;

use tlc_core::{Project, ScanOptions, block_on};

use crate::support::{rows, text};

/// The golden files of a version, copied so that a test cannot change them.
fn golden(version: &str) -> (tempfile::TempDir, Project) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/formats")
        .join(version);
    let folder = tempfile::tempdir().unwrap();
    copy(&source, folder.path());
    let project = block_on(Project::open(folder.path().to_str().unwrap(), "zoo")).unwrap();
    (folder, project)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn tables_of_version_1_are_read() {
    let (_folder, project) = golden("v1");
    let table = block_on(project.table("train")).unwrap();
    let at = |revision: u64| rows(&block_on(table.at(revision)).unwrap());
    assert_eq!(at(0), "0:0:1.0:6f6e65 1:1:0.0:74776f 2:-:0.5:-");
    assert_eq!(
        at(1),
        "0:2:1.0:6f6e65:as found 1:1:-:74776f:as found 3:0:1.0:6f6e65:as found"
    );
    let log = block_on(table.log()).unwrap();
    assert_eq!(log[0].message, "a cow, and a change of every kind");
    assert_eq!(
        (log[0].cells, log[0].rows_added, log[0].rows_dropped),
        (2, 1, 1)
    );
    let diff = block_on(table.diff(0, 1)).unwrap();
    assert_eq!(
        (diff.cells.len(), diff.rows_added, diff.rows_dropped),
        (2, vec![3], vec![2])
    );
    let names = block_on(
        block_on(table.head())
            .unwrap()
            .read(ScanOptions::new().columns(["note"])),
    )
    .unwrap();
    assert_eq!(text(&names), "as found as found as found");
}

#[test]
fn runs_of_version_1_are_read() {
    let (_folder, project) = golden("v1");
    let record = block_on(project.run("lenet")).unwrap();
    assert_eq!(record.status.as_str(), "completed");
    assert_eq!(record.params["lr"], "0.1");
    assert_eq!(record.inputs[0].0.as_str(), "train");
    assert_eq!(record.last["loss"], 0.5);
    assert!(record.last["accuracy"].is_nan());
    let files = block_on(project.sample_files(&record.name)).unwrap();
    assert_eq!(
        (files.len(), files[0].epoch, files[0].stream.as_str()),
        (1, 1, "train")
    );
}
