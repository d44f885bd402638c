//! Commits: what two writers of one table see of each other, and what a commit weighs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use tlc_core::{ErrorKind, Patch, Project, Table, block_on, schema};

use crate::support::{animals, head, project, project_on_disk, reader, table};

/// Commits `first`, then `second` made against the same snapshot; the head, or the conflict.
#[track_caller]
fn check(first: fn(&mut Patch), second: fn(&mut Patch), expected: &str) {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1");
    let snapshot = block_on(table.head()).unwrap();
    let (mut mine, mut theirs) = (snapshot.patch(), snapshot.patch());
    first(&mut theirs);
    second(&mut mine);
    block_on(table.commit(&theirs, "theirs")).unwrap();
    let before = head(&table);
    // Through a handle of its own, as another process would.
    let table = block_on(project.table("train")).unwrap();
    match block_on(table.commit(&mine, "mine")) {
        Ok(_) => assert_eq!(head(&table), expected),
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::Conflict);
            assert!(err.to_string().contains(expected), "{err}");
            assert_eq!(head(&table), before, "a refused commit leaves no trace");
        }
    }
}

#[test]
fn edits_of_other_cells_are_both_in_the_head() {
    check(
        |p| p.set(0, "animal", 2).unwrap(),
        |p| p.set(0, "weight", 0.0).unwrap(),
        "0:2:0.0 1:1:1.0 2:2:1.0",
    );
    check(
        |p| p.set(0, "animal", 2).unwrap(),
        |p| p.set(1, "animal", 0).unwrap(),
        "0:2:1.0 1:0:1.0 2:2:1.0",
    );
}

#[test]
fn the_same_edit_twice_is_no_conflict() {
    check(
        |p| p.set(0, "animal", 2).unwrap(),
        |p| p.set(0, "animal", 2).unwrap(),
        "0:2:1.0 1:1:1.0 2:2:1.0",
    );
    check(|p| p.drop_rows(&[0]), |p| p.drop_rows(&[0, 1]), "2:2:1.0");
}

#[test]
fn two_values_for_one_cell_are_a_conflict_that_names_it() {
    check(
        |p| p.set(1, "animal", 2).unwrap(),
        |p| p.set(1, "animal", 0).unwrap(),
        "animal[1]",
    );
}

#[test]
fn an_edit_of_a_row_that_was_dropped_is_a_conflict() {
    check(
        |p| p.drop_rows(&[1]),
        |p| p.set(1, "weight", 0.0).unwrap(),
        "weight[1]",
    );
    check(
        |p| p.set(1, "weight", 0.0).unwrap(),
        |p| p.drop_rows(&[1]),
        "weight[1]",
    );
}

#[test]
fn both_may_append_and_every_row_has_an_id_of_its_own() {
    check(
        |p| p.append(&animals("0:5")).unwrap(),
        |p| p.append(&animals("1:6 1:7")).unwrap(),
        "0:0:1.0 1:1:1.0 2:2:1.0 3:0:5.0 4:1:6.0 5:1:7.0",
    );
}

#[test]
fn both_may_add_columns_but_not_of_one_name() {
    check(
        |p| p.add_column(schema::text("a"), "x").unwrap(),
        |p| {
            p.add_column(schema::text("b"), "y").unwrap();
            p.set(0, "b", "z").unwrap();
        },
        "0:0:1.0:x:z 1:1:1.0:x:y 2:2:1.0:x:y",
    );
    check(
        |p| p.add_column(schema::text("a"), "x").unwrap(),
        |p| p.add_column(schema::text("a"), "y").unwrap(),
        "column \"a\"",
    );
}

#[test]
fn an_empty_patch_makes_no_revision() {
    let project = project();
    let table = table(&project, "0:1");
    let patch = block_on(table.head()).unwrap().patch();
    let committed = block_on(table.commit(&patch, "nothing")).unwrap();
    assert_eq!(
        (committed.revision.0, committed.cells, committed.bytes),
        (0, 0, 0)
    );
    assert_eq!(block_on(table.log()).unwrap().len(), 1);
}

#[test]
fn a_table_is_made_once() {
    let project = project();
    let table = table(&project, "0:1");
    let err = block_on(project.create_table("train", reader(animals("1:1")), "again")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(err.to_string().contains("train"), "{err}");
    assert_eq!(head(&table), "0:0:1.0");
}

pub(crate) fn zeros(n: usize) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![0; n]));
    RecordBatch::try_new(Arc::new(schema), vec![values]).unwrap()
}

pub(crate) fn numbers(project: &Project, n: usize) -> Table {
    block_on(project.create_table("numbers", reader(zeros(n)), "zeros")).unwrap()
}

#[test]
fn one_cell_of_a_large_table_weighs_less_than_four_kilobytes() {
    let (folder, project) = project_on_disk();
    let table = numbers(&project, 60_000);
    let before = weight(folder.path());
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(31_415, "n", 7_i64).unwrap();
    let committed = block_on(table.commit(&patch, "one cell")).unwrap();
    let added = weight(folder.path()) - before;
    assert_eq!(committed.bytes, added);
    assert!(added < 4_096, "{added} bytes");
}

/// The bytes of all files below `folder`.
fn weight(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => weight(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

/// What the child does: commits until it is killed, each revision setting two cells to one value.
/// Started by the test below, in a folder that says so; any other run of it has nothing to do.
#[test]
fn child_process() {
    if !std::path::Path::new("commits-until-killed").exists() {
        return;
    }
    let project = block_on(Project::open("root", "zoo")).unwrap();
    let table = block_on(project.table("numbers")).unwrap();
    for value in 1_i64.. {
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.set(0, "n", value).unwrap();
        patch.set(1, "n", value).unwrap();
        patch.append(&zeros(1)).unwrap();
        println!("committing");
        block_on(table.commit(&patch, "again")).unwrap();
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_the_old_head_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("commits-until-killed"), "").unwrap();
    let url = folder.path().join("root");
    let open = || block_on(Project::open(url.to_str().unwrap(), "zoo")).unwrap();
    numbers(&open(), 2);
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commit::child_process", "--nocapture"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map_while(std::io::Result::ok);
        // At the second such line one commit is done and the next begins.
        let begun = lines.by_ref().filter(|line| line.ends_with("committing"));
        assert_eq!(begun.take(2).count(), 2);
        // Another moment of it each round: it takes a few milliseconds.
        for _ in 0..400 * (round * 7 % 20) {
            std::hint::black_box(blake3::hash(&[0; 1024]));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let head = block_on(async { open().table("numbers").await?.head().await }).unwrap();
        let values = block_on(head.take(&[0, 1], &["n"])).unwrap();
        let values = values
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec();
        assert_eq!(values[0], values[1], "half a revision is visible");
        assert_eq!(head.n_rows(), 2 + head.revision().0);
        let mut patch = head.patch();
        patch.set(0, "n", 0_i64).unwrap();
        patch.set(1, "n", 0_i64).unwrap();
        patch.append(&zeros(1)).unwrap();
        let committed = block_on(head.table().commit(&patch, "the next command works")).unwrap();
        assert_eq!(committed.revision, head.revision().next());
    }
    assert!(
        block_on(block_on(open().table("numbers")).unwrap().log())
            .unwrap()
            .len()
            > 25
    );
}
