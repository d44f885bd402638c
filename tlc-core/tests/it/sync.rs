//! From one root to another: nothing is lost, nothing is there twice, and what is cut off goes on.

use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, Float32Array, RecordBatch};
use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    ErrorKind, Project, Rows, Run, RunOptions, RunStatus, Synced, VerifyOptions, block_on,
};

use crate::support::{animals, log, project, project_in, project_on_disk, reader, steps, table};

fn sync(from: &Project, to: &Project) -> Synced {
    block_on(from.sync_to(to, &[])).unwrap()
}

fn log_and_flush(run: &Run, steps: std::ops::Range<i64>) {
    log(run, steps);
    run.flush().unwrap();
}

/// Steps of the scalars of the run, and those of its sample metrics.
fn found(project: &Project) -> String {
    let run = "offline".parse().unwrap();
    let scalars = block_on(project.scalars(&run)).unwrap();
    let samples = block_on(project.samples(&run, &"train".parse().unwrap(), 0)).unwrap();
    let text = |batches: &[RecordBatch]| {
        let steps = steps(batches);
        steps
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    format!("{} {}", text(&scalars), text(&samples))
}

#[test]
fn a_run_that_lived_elsewhere_is_brought_over_as_it_grows() {
    let (_folder, offline) = project_on_disk();
    let shared = project();
    // What it is made of would be there at any moment.
    let options = RunOptions::from("offline").without_provenance();
    let run = offline.start_run(options).unwrap();
    log_and_flush(&run, 0..2);
    assert_eq!(sync(&offline, &shared).runs, 1);
    assert_eq!(found(&shared), "0,1 0,1");
    assert_eq!(
        sync(&offline, &shared),
        Synced::default(),
        "there is nothing new"
    );
    log_and_flush(&run, 2..4);
    sync(&offline, &shared);
    assert_eq!(found(&shared), "0,1,2,3 0,1,2,3");
    run.finish().unwrap();
    for _ in 0..2 {
        sync(&offline, &shared);
        assert_eq!(
            found(&shared),
            "0,1,2,3 0,1,2,3",
            "each once, folded or not"
        );
    }
    assert_eq!(
        block_on(shared.run("offline")).unwrap(),
        block_on(offline.run("offline")).unwrap()
    );
    let again = offline
        .start_run(RunOptions::from("offline").resume())
        .unwrap();
    log(&again, 3..5);
    again.finish().unwrap();
    sync(&offline, &shared);
    assert_eq!(found(&shared), "0,1,2,3,4 0,1,2,3,4");
    assert_eq!(block_on(shared.run("offline")).unwrap().attempts, 2);
}

#[test]
fn tables_are_brought_over_with_their_history() {
    let (from, to) = (project(), project());
    let animals = table(&from, "0:1 1:1 2:1");
    let edit = |weight: f32| {
        let mut patch = block_on(animals.head()).unwrap().patch();
        patch.set(1, "weight", weight).unwrap();
        block_on(animals.commit(&patch, "heavier")).unwrap();
    };
    edit(5.0);
    assert_eq!(sync(&from, &to).tables, 1);
    edit(7.0);
    let again = sync(&from, &to);
    assert_eq!(
        (again.tables, again.files),
        (1, 2),
        "an edit file and an entry"
    );
    let other = block_on(to.table(animals.name().as_str())).unwrap();
    let log = |table: &tlc_core::Table| block_on(table.log()).unwrap();
    assert_eq!(log(&other), log(&animals));
    let report = block_on(to.verify(VerifyOptions::new())).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

#[test]
fn what_went_on_differently_on_both_sides_is_a_conflict() {
    // Ids of a test's own clock count up alike everywhere.
    let ((_folder, from), to) = (project_on_disk(), project());
    for project in [&from, &to] {
        drop(project.start_run("offline").unwrap().finish().unwrap());
    }
    let err = block_on(from.sync_to(&to, &[])).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(err.to_string().contains("zoo/runs/offline"), "{err}");
    let other = project();
    sync(&from, &other);
    other
        .start_run(RunOptions::from("offline").resume())
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(
        sync(&from, &other),
        Synced::default(),
        "the target is ahead"
    );
    from.start_run(RunOptions::from("offline").resume())
        .unwrap()
        .finish()
        .unwrap();
    assert_eq!(
        block_on(from.sync_to(&other, &[])).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[test]
fn only_what_is_named_is_brought_over() {
    let (from, to) = (project(), project());
    table(&from, "0:1");
    for name in ["a", "b"] {
        from.start_run(name).unwrap().finish().unwrap();
    }
    let synced = block_on(from.sync_to(&to, &["b".to_owned()])).unwrap();
    assert_eq!((synced.runs, synced.tables), (1, 0));
    let names: Vec<String> = block_on(to.runs())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["b"]);
    let err = block_on(from.sync_to(&to, &["c".to_owned()])).unwrap_err();
    assert!(
        err.kind() == ErrorKind::NotFound && err.to_string().contains('c'),
        "{err}"
    );
}

#[test]
fn whichever_request_fails_the_target_is_whole_and_the_next_time_goes_on() {
    let (_folder, from) = project_on_disk();
    let run = from.start_run("offline").unwrap();
    log_and_flush(&run, 0..3);
    run.finish().unwrap();
    for when in [When::Before, When::After] {
        for k in 1.. {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faults = Faults::at(k, when);
            let faulty = FaultyStore::new(Arc::clone(&store), Arc::clone(&faults));
            let outcome = block_on(from.sync_to(&project_in(Arc::new(faulty)), &[]));
            let to = project_in(store);
            match block_on(to.run("offline")) {
                Ok(record) => assert!(
                    outcome.is_err() || record.status == RunStatus::Completed,
                    "{when:?} {k}"
                ),
                Err(err) => assert_eq!(err.kind(), ErrorKind::NotFound, "{when:?} {k}: {err:?}"),
            }
            sync(&from, &to);
            assert_eq!(found(&to), "0,1,2 0,1,2", "{when:?} {k}");
            assert_eq!(
                block_on(to.run("offline")).unwrap().status,
                RunStatus::Completed
            );
            if faults.n_requests() < k {
                break;
            }
        }
    }
}

#[test]
fn names_of_any_script_are_found_again_everywhere() {
    let name = "Zürich_東京";
    let (_folder, offline) = project_on_disk();
    let offline = offline.root().project(name).unwrap();
    let rows = reader(animals("0:1 1:1"));
    block_on(offline.create_table(name, rows, "made")).unwrap();
    let run = offline.start_run(RunOptions::from(name)).unwrap();
    let log = |step: i64| {
        run.log(step, &[(name, 0.5)]);
        let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        let columns = RecordBatch::try_from_iter([(name, loss)]).unwrap();
        let rows = Rows::new(name, 0, vec![0]).unwrap().step(step);
        run.samples(&rows, &columns).unwrap();
    };
    let found = |project: &Project| {
        let names = block_on(project.root().projects()).unwrap();
        let tables = block_on(project.tables()).unwrap();
        let runs = block_on(project.run_records()).unwrap();
        assert_eq!(
            names.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            [name]
        );
        assert_eq!(
            tables.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            [name]
        );
        assert_eq!(
            runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
            [name]
        );
        let stream = name.parse().unwrap();
        let samples = block_on(project.samples(&runs[0].name, &stream, 0)).unwrap();
        samples.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    log(0);
    run.flush().unwrap();
    assert_eq!(found(&offline), 1, "from a segment");
    log(1);
    run.finish().unwrap();
    assert_eq!(found(&offline), 2, "folded");
    let elsewhere = project();
    let elsewhere = elsewhere.root().project(name).unwrap();
    for copied in [true, false] {
        assert_eq!(sync(&offline, &elsewhere).files > 0, copied);
        assert_eq!(found(&elsewhere), 2);
    }
}
