//! Runs that have ended are read once, and are true all the same: in memory, and from the pack of a project.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use futures::TryStreamExt as _;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{ErrorKind, Project, RunOptions, RunRecord, RunStatus, block_on};

use crate::support::Ground;

/// More runs than a test needs until one of their writers has looked whether a pack is due.
const RUNS_MAX: u32 = 1_000;

fn end(project: &Project, name: &str, lr: f64) {
    let run = project.start_run(name).unwrap();
    run.params(&BTreeMap::from([("lr", lr)])).unwrap();
    run.log(1, &[("loss", 0.5)]);
    run.finish().unwrap();
}

fn records(project: &Project) -> Vec<RunRecord> {
    block_on(project.run_records()).unwrap()
}

fn below(project: &Project, path: &str) -> Path {
    let zoo = project.root().path().clone().join("zoo");
    path.split('/').fold(zoo, Path::join)
}

fn pack(project: &Project) -> Path {
    below(project, "cache/runs.pack")
}

fn is_packed(project: &Project) -> bool {
    block_on(project.root().store().head(&pack(project))).is_ok()
}

/// Ends runs until a pack is there; gives their number.
fn end_until_packed(project: &Project, prefix: &str) -> u32 {
    let mut n = 0;
    while !is_packed(project) {
        end(project, &format!("{prefix}{n:03}"), f64::from(n));
        n += 1;
        assert!(n < RUNS_MAX, "no pack was written");
    }
    n
}

fn delete(project: &Project, folder: &str) {
    let store = project.root().store();
    let files: Vec<ObjectMeta> =
        block_on(store.list(Some(&below(project, folder))).try_collect()).unwrap();
    for file in files {
        block_on(store.delete(&file.location)).unwrap();
    }
}

/// The same project as another process opens it, and the number of its requests.
fn counted(ground: &Ground) -> (Project, Arc<Faults>) {
    let faults = Faults::at(0, When::Before);
    let root = ground.root_over(|store| Arc::new(FaultyStore::new(store, Arc::clone(&faults))));
    (root.project("zoo").unwrap(), faults)
}

/// What each run is as far as these tests change it.
fn summary(records: &[RunRecord]) -> String {
    let run = |record: &RunRecord| {
        let RunRecord {
            name,
            status,
            attempts,
            params,
            ..
        } = record;
        let values: Vec<&str> = params.values().map(String::as_str).collect();
        let status = match status {
            RunStatus::Completed => "",
            status => status.as_str(),
        };
        format!("{name}:{attempts}:{}{status}", values.join(","))
    };
    records.iter().map(run).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_run_that_has_ended_is_asked_only_whether_it_goes_on() {
    let ground = Ground::memory();
    for name in ["a", "b", "c"] {
        end(&ground.project(), name, 0.5);
    }
    let (project, requests) = counted(&ground);
    let first = records(&project);
    let n_first = requests.n_requests();
    assert_eq!(records(&project), first);
    let n_again = requests.n_requests() - n_first;
    // The names, and the end of each log.
    assert_eq!(n_again, 1 + 3);
    assert!(n_first > 3 * n_again, "{n_first} requests, then {n_again}");
    assert_eq!(records(&ground.project()), first);
}

#[test]
fn what_happens_to_a_run_that_was_read_is_seen() {
    for ground in [Ground::memory(), Ground::disk()] {
        let (project, other) = (ground.project(), ground.project());
        for name in ["a", "b", "c"] {
            end(&other, name, 0.5);
        }
        let seen = || summary(&records(&project));
        assert_eq!(seen(), "a:1:0.5 b:1:0.5 c:1:0.5");
        let resumed = other.start_run(RunOptions::new().name("b").resume());
        let resumed = resumed.unwrap();
        assert_eq!(seen(), "a:1:0.5 b:2:0.5running c:1:0.5");
        resumed.finish().unwrap();
        assert_eq!(seen(), "a:1:0.5 b:2:0.5 c:1:0.5");
        // Of as many entries, the last of as many bytes, and nobody looked in between.
        delete(&other, "runs/c");
        end(&other, "c", 0.7);
        assert_eq!(seen(), "a:1:0.5 b:2:0.5 c:1:0.7");
        end(&other, "d", 0.9);
        assert_eq!(seen(), "a:1:0.5 b:2:0.5 c:1:0.7 d:1:0.9");
        delete(&other, "runs/a");
        assert_eq!(seen(), "b:2:0.5 c:1:0.7 d:1:0.9");
        assert_eq!(seen(), summary(&records(&ground.project())));
    }
}

#[test]
fn a_run_of_which_a_writer_goes_on_is_not_taken_for_ended() {
    for ground in [Ground::memory(), Ground::disk()] {
        let (project, other) = (ground.project(), ground.project());
        let first = other.start_run("r").unwrap();
        let joined = other.start_run(RunOptions::new().name("r").join().rank(1));
        let joined = joined.unwrap();
        first.fail("out of memory").unwrap();
        let seen = || records(&project)[0].last.get("loss").copied();
        assert_eq!(seen(), None);
        for step in 0_u8..2 {
            joined.log(step.into(), &[("loss", f64::from(step))]);
            joined.flush().unwrap();
            assert_eq!(seen(), Some(f64::from(step)));
        }
        joined.finish().unwrap();
        assert_eq!(records(&project)[0].status, RunStatus::Failed);
        assert_eq!(seen(), Some(1.0));
    }
}

#[test]
fn a_pack_is_written_used_and_needed_by_nobody() {
    let ground = Ground::memory();
    let project = ground.project();
    let n = end_until_packed(&project, "run-");
    assert!(n > 64, "{n} runs are not worth a pack");
    let (packed, with_pack) = counted(&ground);
    let expected = records(&packed);
    assert_eq!(expected.len(), n as usize);
    let store = project.root().store();
    let bytes = block_on(async { store.get(&pack(&project)).await?.bytes().await }).unwrap();
    let mut damaged = bytes.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let others = [Some(damaged), Some(b"tlc-run\n".to_vec()), None];
    for other in others {
        match &other {
            Some(bytes) => {
                drop(block_on(store.put(&pack(&project), bytes.clone().into())).unwrap());
            }
            None => block_on(store.delete(&pack(&project))).unwrap(),
        }
        let (unpacked, without) = counted(&ground);
        assert_eq!(records(&unpacked), expected);
        let (with_pack, without) = (with_pack.n_requests(), without.n_requests());
        // The names, no aliases, the pack, and the end of each log; else also its entries.
        assert_eq!(with_pack, 3 + u64::from(n));
        assert!(without > 3 * with_pack, "{without} requests without a pack");
    }
    let n = n + end_until_packed(&project, "later-");
    let (packed, with_pack) = counted(&ground);
    assert_eq!(records(&packed).len(), n as usize);
    assert_eq!(with_pack.n_requests(), 3 + u64::from(n));
}

#[test]
fn the_log_counts_and_not_the_pack() {
    for ground in [Ground::memory(), Ground::disk()] {
        let project = ground.project();
        let n = end_until_packed(&project, "run-");
        let resumed = project.start_run(RunOptions::new().name("run-003").resume());
        let resumed = resumed.unwrap();
        delete(&project, "runs/run-004");
        delete(&project, "runs/run-005");
        end(&project, "run-005", 7.5);
        let seen = summary(&records(&ground.project()));
        assert!(
            seen.starts_with("run-000:1:0.0 run-001:1:1.0 run-002:1:2.0 run-003:2:3.0running run-005:1:7.5 run-006:1:6.0"),
            "{seen}"
        );
        drop(resumed);
        delete(&project, "cache");
        let read = records(&ground.project());
        assert_eq!(read.len(), n as usize - 1);
        assert_eq!(summary(&read).replace("failed", "running"), seen);
    }
}

#[test]
fn a_pack_on_disk_is_read_in_place_of_the_logs_but_not_by_who_verifies() {
    let ground = Ground::disk();
    let project = ground.project();
    end_until_packed(&project, "run-");
    let expected = records(&ground.project());
    let entry = below(&project, "runs/run-007/log/00000000000000000001.json");
    block_on(project.root().store().put(&entry, "damaged".into())).unwrap();
    assert_eq!(records(&ground.project()), expected);
    let report = block_on(project.verify(tlc_core::VerifyOptions::new())).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    block_on(project.root().store().delete(&pack(&project))).unwrap();
    let err = block_on(ground.project().run_records()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(err.to_string().contains("entry 1 of run run-007"), "{err}");
}

#[test]
fn each_reader_has_its_own_aliases_whoever_read_or_packed_before() {
    let ground = Ground::memory();
    let at = |path: &str| {
        let root = ground.root_with(|options| options.alias("DATA", path).unwrap());
        root.project("zoo").unwrap()
    };
    let one = at("/one");
    let run = one.start_run("aliased").unwrap();
    run.params(&BTreeMap::from([("path", "/one/x")])).unwrap();
    run.finish().unwrap();
    end_until_packed(&one, "run-");
    let path = |project: &Project| records(project)[0].params["path"].clone();
    for _ in 0..2 {
        assert_eq!(path(&one), "/one/x");
        assert_eq!(path(&at("/two")), "/two/x");
    }
    // Of one root, from the file of the project.
    let root = ground.root();
    let opened = || root.project("zoo").unwrap();
    assert_eq!(path(&opened()), "<DATA>/x");
    block_on(opened().write_aliases_file("DATA: /three")).unwrap();
    assert_eq!(path(&opened()), "/three/x");
    assert_eq!(path(&opened()), "/three/x");
}

#[test]
fn writers_that_end_together_leave_one_pack_that_is_whole() {
    for ground in [Ground::memory(), Ground::disk()] {
        thread::scope(|scope| {
            for writer in 0..3 {
                let project = ground.project();
                scope.spawn(move || end_until_packed(&project, &format!("{writer}-")));
            }
        });
        let packed = records(&ground.project());
        delete(&ground.project(), "cache");
        assert_eq!(records(&ground.project()), packed);
    }
}
