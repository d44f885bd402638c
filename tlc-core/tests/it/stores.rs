//! What must hold on every kind of store: memory, disk, and servers that speak S3 and Azure.
//!
//! Each test below `every_store` runs once on each. The other suites run in memory; with
//! `TLC_TEST_STORE=s3` they run there too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tlc_core::arrow::array::AsArray as _;
use tlc_core::arrow::datatypes::Int64Type;
use tlc_core::run::RunStatus;
use tlc_core::testing::{Faults, FaultyStore, When, log_contract};
use tlc_core::{ErrorKind, Project, Result, ScanOptions, Writers, block_on, schema};

use crate::commit::numbers;
use crate::support::{Ground, animals, head, rows, table};

/// The test on each store, as `stores::<store>::<test>`.
macro_rules! every_store {
    ($($test:ident)*) => {
        mod memory { $(#[test] fn $test() { super::$test(&super::Ground::memory()); })* }
        mod disk { $(#[test] fn $test() { super::$test(&super::Ground::disk()); })* }
        #[cfg(feature = "aws")]
        mod s3 { $(#[test] fn $test() { super::$test(&super::Ground::s3()); })* }
        #[cfg(feature = "azure")]
        mod azure { $(#[test] fn $test() { super::$test(&super::Ground::azure()); })* }
    };
}

every_store! {
    a_log_keeps_its_promises
    a_table_is_made_changed_and_read_at_each_revision
    two_values_for_one_cell_are_a_conflict_that_names_it
    a_run_is_recorded_and_read_back
    a_commit_is_all_or_nothing_whichever_request_fails
    thirty_two_writers_lose_nothing
    an_examination_finds_a_safe_store_and_leaves_nothing
}

fn a_log_keeps_its_promises(ground: &Ground) {
    let root = ground.root();
    let folder = root.path().clone().join("log");
    block_on(log_contract(Arc::clone(root.store()), folder)).unwrap();
}

fn a_table_is_made_changed_and_read_at_each_revision(ground: &Ground) {
    let made = table(&ground.project(), "0:1 1:1 2:0.5");
    let mut patch = block_on(made.head()).unwrap().patch();
    patch.set(1, "animal", "cow").unwrap();
    patch.drop_rows(&[0]);
    patch.append(&animals("2:7")).unwrap();
    patch.add_column(schema::text("note"), "x").unwrap();
    block_on(made.commit(&patch, "everything")).unwrap();
    let project = ground.project();
    assert_eq!(block_on(project.tables()).unwrap()[0].as_str(), "train");
    let read = block_on(project.table("train")).unwrap();
    assert_eq!(head(&read), "1:2:1.0:x 2:2:0.5:x 3:2:7.0:x");
    let first = block_on(read.at(0)).unwrap();
    assert_eq!(rows(&first), "0:0:1.0 1:1:1.0 2:2:0.5");
    let taken = block_on(first.take(&[2, 0], &["weight"])).unwrap();
    assert_eq!(taken.num_rows(), 2);
    assert_eq!(block_on(read.log()).unwrap().len(), 2);
    let names = block_on(ground.root().projects()).unwrap();
    assert_eq!((names.len(), names[0].as_str()), (1, "zoo"));
}

fn two_values_for_one_cell_are_a_conflict_that_names_it(ground: &Ground) {
    let table = table(&ground.project(), "0:1 1:1");
    let set = |value: i32, row: u64| {
        let mut patch = block_on(table.at(0)).unwrap().patch();
        patch.set(row, "animal", value).unwrap();
        let table = block_on(ground.project().table("train")).unwrap();
        block_on(table.commit(&patch, "mine")).map(|done| done.revision.0)
    };
    assert_eq!(set(2, 1).unwrap(), 1);
    assert_eq!(set(2, 0).unwrap(), 2);
    let err = set(0, 1).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(err.to_string().contains("animal[1]"), "{err}");
    assert_eq!(head(&table), "0:2:1.0 1:2:1.0");
}

fn a_run_is_recorded_and_read_back(ground: &Ground) {
    let run = ground.project().start_run("first").unwrap();
    run.log(0, &[("loss", 2.5)]);
    run.log(1, &[("loss", 0.25)]);
    run.finish().unwrap();
    let record = block_on(ground.project().run("first")).unwrap();
    assert_eq!(record.status, RunStatus::Completed);
    assert_eq!(record.last["loss"], 0.25);
    let files = block_on(ground.project().scalar_files(&record.name)).unwrap();
    assert!(files.iter().all(|file| file.bytes > 0) && !files.is_empty());
    let err = ground.project().start_run("first").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
}

/// As the tests of `faults`, on a store whose answers come over a wire.
fn a_commit_is_all_or_nothing_whichever_request_fails(ground: &Ground) {
    const BEFORE: &str = "0:0:1.0 1:1:1.0 2:2:1.0";
    const AFTER: &str = "0:2:1.0 2:2:1.0";
    let commit = |project: &Project| -> Result<()> {
        let table = block_on(project.table("train"))?;
        let mut patch = block_on(table.at(0))?.patch();
        patch.set(0, "animal", "cow")?;
        patch.drop_rows(&[1]);
        block_on(table.commit(&patch, "two things")).map(drop)
    };
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 50, "the operation never succeeds");
            let name = format!("{when:?}{k}");
            let made = table(&ground.root().project(&name).unwrap(), "0:1 1:1 2:1");
            let faults = Faults::at(k, when);
            let root = ground.root_over(|store| {
                Arc::new(FaultyStore::new(store, Arc::clone(&faults))) as Arc<_>
            });
            let outcome = commit(&root.project(&name).unwrap());
            let seen = head(&made);
            match outcome {
                Ok(()) => assert_eq!(seen, AFTER, "request {k} {when:?}"),
                Err(err) => {
                    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err:?}");
                    assert!(
                        seen == BEFORE || seen == AFTER,
                        "request {k} {when:?}: {seen}"
                    );
                }
            }
            if faults.n_requests() < k {
                break;
            }
        }
    }
}

/// Writers from one snapshot of a thousand zeros, each with a handle of its own: half set cells
/// nobody else sets, half all set the same cell. Which cell was set to what, by those who were told
/// that it was: each with a revision of its own.
fn race(open: impl Fn() -> Project + Sync) -> BTreeMap<usize, i64> {
    const WRITERS: u64 = 32;
    numbers(&open(), 1_000);
    let row_of = |writer: u64| {
        if writer.is_multiple_of(2) {
            500
        } else {
            writer
        }
    };
    let commit = |writer: u64| {
        let table = block_on(open().table("numbers"))?;
        let mut patch = block_on(table.at(0))?.patch();
        patch.set(row_of(writer), "n", value_of(writer))?;
        block_on(table.commit(&patch, "race")).map(|done| done.revision.0)
    };
    let outcomes: Vec<Result<u64>> = std::thread::scope(|scope| {
        let commit = &commit;
        let writers = (0..WRITERS).map(|writer| scope.spawn(move || commit(writer)));
        let writers: Vec<_> = writers.collect();
        let outcomes = writers.into_iter().map(|writer| writer.join().unwrap());
        outcomes.collect()
    });
    let (mut cells, mut revisions) = (BTreeMap::new(), BTreeSet::new());
    for (writer, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(revision) => {
                assert!(revisions.insert(revision), "{revision} was given twice");
                let row = usize::try_from(row_of(writer)).unwrap();
                cells.insert(row, value_of(writer));
            }
            Err(err) => {
                assert_eq!(
                    (err.kind(), writer % 2),
                    (ErrorKind::Conflict, 0),
                    "{err:?}"
                );
                assert!(err.to_string().contains("n[500]"), "{err}");
            }
        }
    }
    // One of those who set the same cell, and all others.
    let n_won = WRITERS / 2 + 1;
    assert_eq!(revisions, (1..=n_won).collect());
    let table = block_on(open().table("numbers")).unwrap();
    assert_eq!(block_on(table.log()).unwrap().len() as u64, n_won + 1);
    cells
}

fn value_of(writer: u64) -> i64 {
    i64::try_from(writer).unwrap() + 1
}

fn thirty_two_writers_lose_nothing(ground: &Ground) {
    let cells = race(|| ground.project());
    let table = block_on(ground.project().table("numbers")).unwrap();
    let head = block_on(table.head()).unwrap();
    let read = block_on(head.read(ScanOptions::new().columns(["n"]))).unwrap();
    let values = read.column(0).as_primitive::<Int64Type>().values();
    for (row, value) in cells {
        assert_eq!(values[row], value, "an acknowledged edit is lost");
    }
}

fn an_examination_finds_a_safe_store_and_leaves_nothing(ground: &Ground) {
    let root = ground.root();
    let report = block_on(root.examine()).unwrap();
    assert_eq!(report.writers, Writers::Many, "{report:?}");
    let lacking = report.checks.iter().find(|check| !check.holds);
    assert_eq!(lacking, None);
    assert!(report.clock_ahead_secs.abs() < 60, "{report:?}");
    let left = root.store().list(Some(root.path()));
    let left: Vec<_> = block_on(futures::TryStreamExt::try_collect(left)).unwrap();
    assert!(left.is_empty(), "{left:?}");
    let folders = block_on(root.store().list_with_delimiter(Some(root.path()))).unwrap();
    assert!(folders.common_prefixes.is_empty(), "{folders:?}");
}

/// A server that accepts a conditional put and ignores its condition.
#[cfg(feature = "aws")]
mod unconditional {
    use super::*;
    use crate::support::reader;

    #[test]
    fn a_table_and_a_run_are_refused_with_the_reason_and_leave_nothing() {
        let ground = Ground::unconditional();
        let project = ground.project();
        let made = project.create_table("train", reader(animals("0:1")), "x");
        let started = project.start_run("first").map(drop);
        for err in [block_on(made).unwrap_err(), started.unwrap_err()] {
            assert_eq!(err.kind(), ErrorKind::Invalid);
            let text = format!("{err:#}");
            for part in [
                "s3://tlc",
                "http://127.0.0.1",
                "was created again",
                "single_writer",
            ] {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
        let root = ground.root();
        let left = root.store().list(Some(root.path()));
        let left: Vec<_> = block_on(futures::TryStreamExt::try_collect(left)).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_single_writer_may_commit_and_takes_no_number_twice() {
        let ground = Ground::unconditional();
        let project = || {
            let root = ground.root_with(|options| options.single_writer(true));
            root.project("zoo").unwrap()
        };
        // This server gives no parts of objects, so rows cannot be read; the log can.
        race(project);
        let err = block_on(project().create_table("numbers", reader(animals("0:1")), "again"));
        assert_eq!(err.unwrap_err().kind(), ErrorKind::Conflict);
        project().start_run("first").unwrap().finish().unwrap();
        let err = project().start_run("first").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn an_examination_says_who_may_write() {
        let report = block_on(Ground::unconditional().root().examine()).unwrap();
        let creates = report
            .checks
            .iter()
            .find(|check| check.name == "create if absent");
        assert!(!creates.unwrap().holds, "{report:?}");
        assert_ne!(report.writers, Writers::Many);
    }
}
