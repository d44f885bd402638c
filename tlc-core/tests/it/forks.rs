//! Forks: runs that go on from a step of another one, and show one curve.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectStore, ObjectStoreExt as _};
use tlc_core::run::SILENCE_MAX;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{ErrorKind, Project, Revision, Run, RunOptions, RunRecord, block_on};

use crate::support::{project, project_in, project_on_disk, project_over, table, text};

/// What counts of the scalars of a run, as `name: step=value/attempt …`, each curve by its steps.
fn curves(project: &Project, run: &str) -> String {
    let rows = block_on(project.scalars(&run.parse().unwrap())).unwrap();
    let rows = rows.iter().flat_map(|batch| {
        let rows = text(&batch.project(&[0, 1, 3, 5]).unwrap());
        let rows = rows.split_whitespace().map(|row| {
            let row: Vec<&str> = row.split(':').collect();
            (
                row[0].to_owned(),
                row[1].parse::<i64>().unwrap(),
                format!("{}/{}", row[2], row[3]),
            )
        });
        rows.collect::<Vec<_>>()
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    let curves = rows.chunk_by(|a, b| a.0 == b.0).map(|curve| {
        let points = curve.iter().map(|(_, step, rest)| format!("{step}={rest}"));
        format!("{}: {}", curve[0].0, points.collect::<Vec<_>>().join(" "))
    });
    curves.collect::<Vec<_>>().join("; ")
}

fn log(run: &Run, name: &str, steps: Range<i64>, value: f64) {
    for step in steps {
        run.log(step, &[(name, value)]);
    }
}

fn silence(project: &Project) {
    let silence = SILENCE_MAX + Duration::from_secs(1);
    project.root().env().advance(silence);
}

fn fork(project: &Project, name: &str, source: &str, step: i64) -> Run {
    let options = RunOptions::from(name).fork(source, step);
    project.start_run(options).unwrap()
}

fn read(project: &Project, run: &str) -> RunRecord {
    block_on(project.run(run)).unwrap()
}

/// A run `first` of five steps.
fn first(project: &Project) {
    let run = project.start_run("first").unwrap();
    log(&run, "loss", 0..5, 1.0);
    run.finish().unwrap();
}

fn delete(project: &Project, run: &str) {
    let root = project.root();
    let folder = root.path().clone().join("zoo").join("runs").join(run);
    let delete = async {
        let found = root.store().list(Some(&folder));
        let found: Vec<_> = futures::TryStreamExt::try_collect(found).await?;
        for file in found {
            root.store().delete(&file.location).await?;
        }
        Ok::<(), tlc_core::Error>(())
    };
    block_on(delete).unwrap();
}

#[test]
fn a_fork_has_one_curve_of_what_the_other_run_logged_before_the_step_and_its_own() {
    let (_folder, on_disk) = project_on_disk();
    for project in [project(), on_disk] {
        first(&project);
        let second = fork(&project, "second", "first", 3);
        assert_eq!(curves(&project, "second"), "loss: 0=1.0/0 1=1.0/0 2=1.0/0");
        log(&second, "loss", 3..5, 2.0);
        second.flush().unwrap();
        let expected = "loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=2.0/1 4=2.0/1";
        assert_eq!(curves(&project, "second"), expected);
        let record = second.finish().unwrap();
        assert_eq!(curves(&project, "second"), expected);
        let forked = record.forked.unwrap();
        assert_eq!((forked.run.as_str(), forked.step), ("first", 3));
        assert_eq!(
            curves(&project, "first"),
            "loss: 0=1.0/1 1=1.0/1 2=1.0/1 3=1.0/1 4=1.0/1"
        );
        assert_eq!(read(&project, "first").forked, None);
    }
}

#[test]
fn what_a_fork_logs_before_its_step_takes_the_place_of_what_it_began_with() {
    let project = project();
    first(&project);
    let second = fork(&project, "second", "first", 4);
    log(&second, "loss", 2..3, 2.0);
    second.finish().unwrap();
    assert_eq!(curves(&project, "second"), "loss: 0=1.0/0 1=1.0/0 2=2.0/1");
}

#[test]
fn a_fork_has_the_parameters_inputs_and_last_values_of_the_other_run_until_it_has_its_own() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    let run = project
        .start_run(RunOptions::from("first").seed(7))
        .unwrap();
    run.params(&serde_json::json!({"lr": 0.1, "layers": 3}))
        .unwrap();
    run.input(&block_on(table.head()).unwrap()).unwrap();
    log(&run, "loss", 0..5, 1.0);
    run.log(2, &[("acc", 0.5)]);
    run.log(4, &[("acc", 0.75), ("late", 1.0), ("system/cpu", 1.0)]);
    run.log(0, &[("system/cpu", 1.0)]);
    run.finish().unwrap();

    let second = fork(&project, "second", "first", 4);
    let said = |record: &RunRecord| format!("{:?} {:?}", record.params, record.last);
    assert_eq!(
        said(&read(&project, "second")),
        r#"{"layers": "3", "lr": "0.1", "seed": "7"} {"acc": 0.5, "loss": 1.0}"#
    );
    second.params(&serde_json::json!({"lr": 0.2})).unwrap();
    second.log(4, &[("loss", 2.0)]);
    second.flush().unwrap();
    let expected = r#"{"layers": "3", "lr": "0.2", "seed": "7"} {"acc": 0.5, "loss": 2.0}"#;
    assert_eq!(said(&read(&project, "second")), expected);
    let record = second.finish().unwrap();
    assert_eq!(said(&record), expected);
    assert_eq!(record.inputs, [(table.name().clone(), Revision(0))]);
    assert_eq!(
        curves(&project, "second"),
        "acc: 2=0.5/0; loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=1.0/0 4=2.0/1"
    );
}

#[test]
fn a_scalar_of_epochs_ends_where_the_fork_begins() {
    let project = project();
    let run = project.start_run("first").unwrap();
    for step in 0..9 {
        project.root().env().advance(Duration::from_secs(1));
        if step % 3 == 0 && step > 0 {
            run.log(step / 3 - 1, &[("test/accuracy", 0.5)]);
        }
        run.log(step, &[("loss", 1.0)]);
    }
    run.finish().unwrap();
    let second = fork(&project, "second", "first", 4);
    let record = second.finish().unwrap();
    assert_eq!(
        curves(&project, "second"),
        "loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=1.0/0; test/accuracy: 0=0.5/0"
    );
    assert_eq!(record.last["test/accuracy"], 0.5);
    // Also where the fork of a fork begins before that one did.
    fork(&project, "third", "first", 8).finish().unwrap();
    fork(&project, "fourth", "third", 4).finish().unwrap();
    assert!(curves(&project, "third").ends_with("test/accuracy: 0=0.5/0 1=0.5/0"));
    assert_eq!(curves(&project, "fourth"), curves(&project, "second"));
}

#[test]
fn a_fork_of_a_fork_goes_back_through_both() {
    let project = project();
    first(&project);
    let second = fork(&project, "second", "first", 3);
    log(&second, "loss", 3..6, 2.0);
    second.finish().unwrap();
    for (step, expected) in [
        (5, "loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=2.0/0 4=2.0/0 5=3.0/1"),
        (2, "loss: 0=1.0/0 1=1.0/0 2=3.0/1"),
    ] {
        let name = format!("third-{step}");
        let third = fork(&project, &name, "second", step);
        log(&third, "loss", step..step + 1, 3.0);
        let record = third.finish().unwrap();
        assert_eq!(curves(&project, &name), expected);
        assert_eq!(record.last["loss"], 3.0);
    }
    // Without the run in the middle, what was before it is not reached either.
    delete(&project, "second");
    assert_eq!(curves(&project, "third-5"), "loss: 5=3.0/1");
    assert_eq!(read(&project, "third-5").forked.unwrap().step, 5);
}

#[test]
fn of_a_resumed_run_a_fork_has_what_counted_when_it_began() {
    let project = project();
    let one = project.start_run("first").unwrap();
    log(&one, "loss", 0..5, 1.0);
    one.flush().unwrap();
    silence(&project);
    let two = project.start_run("first").unwrap();
    log(&two, "loss", 2..5, 2.0);
    two.flush().unwrap();
    drop(one);

    let second = fork(&project, "second", "first", 4);
    log(&second, "loss", 4..5, 9.0);
    let expected = "loss: 0=1.0/0 1=1.0/0 2=2.0/0 3=2.0/0 4=9.0/1";
    assert_eq!(second.finish().unwrap().last["loss"], 9.0);
    assert_eq!(curves(&project, "second"), expected);

    // What the other run logs from the step on, and what a later attempt of it logs, is none of the fork's.
    log(&two, "loss", 5..7, 2.0);
    two.flush().unwrap();
    assert_eq!(curves(&project, "second"), expected);
    silence(&project);
    let three = project.start_run("first").unwrap();
    log(&three, "loss", 0..7, 3.0);
    three.finish().unwrap();
    drop(two);
    assert_eq!(curves(&project, "second"), expected);
    assert!(curves(&project, "first").starts_with("loss: 0=3.0/3 1=3.0/3"));
    // A fork that begins now has the third attempt.
    let later = fork(&project, "later", "first", 2);
    later.finish().unwrap();
    assert_eq!(curves(&project, "later"), "loss: 0=3.0/0 1=3.0/0");
}

#[test]
fn what_a_running_run_logs_late_before_the_step_is_still_part_of_the_fork() {
    let project = project();
    let one = project.start_run("first").unwrap();
    log(&one, "loss", 0..3, 1.0);
    one.flush().unwrap();
    let second = fork(&project, "second", "first", 4);
    log(&one, "loss", 3..6, 1.0);
    one.flush().unwrap();
    second.finish().unwrap();
    assert_eq!(
        curves(&project, "second"),
        "loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=1.0/0"
    );
    one.finish().unwrap();
}

#[test]
fn a_fork_is_resumed_over_what_it_began_with() {
    let project = project();
    first(&project);
    let one = fork(&project, "second", "first", 3);
    log(&one, "loss", 3..6, 2.0);
    one.flush().unwrap();
    silence(&project);
    let other = RunOptions::from("second").fork("first", 2);
    let err = project.start_run(other).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(
        err.to_string().contains("forked from first at step 3"),
        "{err}"
    );

    // It goes on also where the other run is gone, of which it then has nothing.
    let two = fork(&project, "second", "first", 3);
    log(&two, "loss", 5..6, 3.0);
    assert_eq!(two.finish().unwrap().attempts, 2);
    drop(one);
    assert_eq!(
        curves(&project, "second"),
        "loss: 0=1.0/0 1=1.0/0 2=1.0/0 3=2.0/1 4=2.0/1 5=3.0/2"
    );
    delete(&project, "first");
    let three = project
        .start_run(RunOptions::from("second").fork("first", 3).resume())
        .unwrap();
    log(&three, "loss", 1..2, 4.0);
    let record = three.finish().unwrap();
    assert_eq!(record.attempts, 3);
    assert_eq!(curves(&project, "second"), "loss: 1=4.0/3");
}

#[test]
fn a_run_that_is_gone_or_another_one_by_now_gives_nothing() {
    let project = project();
    let run = project.start_run("first").unwrap();
    run.params(&serde_json::json!({"lr": 0.1})).unwrap();
    log(&run, "loss", 0..5, 1.0);
    run.finish().unwrap();
    let second = fork(&project, "second", "first", 3);
    log(&second, "acc", 3..4, 2.0);
    second.finish().unwrap();
    delete(&project, "first");
    assert_eq!(curves(&project, "second"), "acc: 3=2.0/1");
    let record = read(&project, "second");
    assert_eq!(
        format!("{:?} {:?}", record.params, record.last),
        r#"{"lr": "0.1"} {"acc": 2.0, "loss": 1.0}"#
    );
    first(&project);
    assert_eq!(curves(&project, "second"), "acc: 3=2.0/1");
    // Names may lead in a circle without one.
    let again = fork(&project, "third", "second", 4);
    again.finish().unwrap();
    delete(&project, "second");
    let circle = fork(&project, "second", "third", 9);
    log(&circle, "acc", 9..10, 3.0);
    circle.finish().unwrap();
    assert_eq!(curves(&project, "second"), "acc: 9=3.0/1");
    assert_eq!(curves(&project, "third"), "");
}

#[test]
fn a_log_in_which_runs_are_forked_from_each_other_is_damage() {
    let project = project();
    for (run, source) in [("a", "b"), ("b", "a")] {
        let entry = serde_json::json!({"format": 3, "stamp": run, "time": "1970-01-01T00:00:00.000000Z", "event": {
            "kind": "started", "run": run, "author": "ada", "writer": "w", "rank": 0,
            "process": {"machine": "m", "id": 1, "started": 1},
            "fork": {"run": source, "writer": "w", "attempt": 1, "step": 9, "params": {}, "inputs": [], "last": {}},
        }});
        let path = format!("zoo/runs/{run}/log/{:020}.json", 0);
        let path = project
            .root()
            .path()
            .parts()
            .chain(Path::from(path).parts())
            .collect();
        block_on(project.root().store().put(&path, entry.to_string().into())).unwrap();
    }
    let err = block_on(project.scalars(&"a".parse().unwrap())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(err.to_string().contains("forked from itself"), "{err}");
    assert_eq!(read(&project, "a").forked.unwrap().run.as_str(), "b");
}

#[test]
fn a_fork_that_cannot_be_says_why() {
    let project = project();
    first(&project);
    fork(&project, "second", "first", 3).finish().unwrap();
    let taken = project.start_run("lives").unwrap();
    let new = || RunOptions::from("new");
    for (options, kind, expected) in [
        (new().fork("nobody", 3), ErrorKind::NotFound, "nobody"),
        (new().fork("new", 3), ErrorKind::NotFound, "new"),
        (new().fork("a/b", 3), ErrorKind::Invalid, "a/b"),
        (
            new().fork("first", 3).join(),
            ErrorKind::Invalid,
            "leave out",
        ),
        (
            RunOptions::from("first").fork("first", 3),
            ErrorKind::Conflict,
            "no fork",
        ),
        (
            RunOptions::from("lives").fork("first", 3),
            ErrorKind::Conflict,
            "no fork",
        ),
        (
            RunOptions::from("second").fork("first", 3),
            ErrorKind::Conflict,
            "has ended",
        ),
        (
            RunOptions::from("second").fork("first", 4).resume(),
            ErrorKind::Conflict,
            "forked from first at step 3",
        ),
        (
            RunOptions::from("second").fork("lives", 3).resume(),
            ErrorKind::Conflict,
            "forked from first at step 3",
        ),
    ] {
        let what = format!("{options:?}");
        let err = project.start_run(options).unwrap_err();
        assert_eq!(err.kind(), kind, "{what}: {err}");
        assert!(format!("{err:#}").contains(expected), "{what}: {err:#}");
    }
    assert_eq!(block_on(project.runs()).unwrap().len(), 3, "nothing began");
    taken.finish().unwrap();
    // Without a name it gets one.
    let unnamed = project
        .start_run(RunOptions::new().fork("first", 1))
        .unwrap();
    assert_eq!(curves(&project, unnamed.name().as_str()), "loss: 0=1.0/0");
    unnamed.finish().unwrap();
}

#[test]
fn processes_of_one_launch_write_one_fork() {
    let project = project();
    first(&project);
    let options = |rank| {
        RunOptions::from("second")
            .fork("first", 1)
            .launch("job")
            .rank(rank)
    };
    let runs = [1, 0].map(|rank| (rank, project.start_run(options(rank)).unwrap()));
    for (rank, run) in &runs {
        run.log(1, &[("loss", f64::from(*rank))]);
    }
    for (_, run) in runs {
        run.finish().unwrap();
    }
    assert_eq!(curves(&project, "second"), "loss: 0=1.0/0 1=0.0/1 1=1.0/1");
    let other = RunOptions::from("second").fork("first", 2).launch("job");
    let err = project.start_run(other).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
}

#[test]
fn a_fork_that_is_brought_elsewhere_is_whole_when_the_other_run_is_there_too() {
    let (here, there) = (project(), project_in(Arc::new(InMemory::new())));
    first(&here);
    let second = fork(&here, "second", "first", 2);
    log(&second, "loss", 2..3, 2.0);
    second.finish().unwrap();
    for (run, expected) in [
        ("second", "loss: 2=2.0/1"),
        ("first", "loss: 0=1.0/0 1=1.0/0 2=2.0/1"),
    ] {
        block_on(here.sync_to(&there, &[run.to_owned()])).unwrap();
        assert_eq!(curves(&there, "second"), expected);
        assert_eq!(read(&there, "second"), read(&here, "second"));
    }
}

#[test]
fn a_fork_that_meets_a_fault_when_it_begins_is_not_begun_or_begun_whole() {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = project_in(memory);
    first(&project);
    let mut n_faults = 0;
    for at in 1.. {
        let faults = Faults::at(at, When::Before);
        let faulty = project_over(&project, |store| {
            Arc::new(FaultyStore::new(store, Arc::clone(&faults)))
        });
        let name = format!("fork-{at}");
        match faulty.start_run(RunOptions::from(name.as_str()).fork("first", 2)) {
            Ok(run) => {
                drop(run);
                break;
            }
            Err(err) => assert_eq!(err.kind(), ErrorKind::Unavailable, "{err:#}"),
        }
        n_faults += 1;
        assert_eq!(curves(&project, &name), "", "nothing began");
    }
    assert!(n_faults > 3, "{n_faults}");
}

#[cfg(feature = "sql")]
mod in_sql {
    use tlc_core::Sql;

    use super::*;
    use crate::sql::ask;

    /// A run that was resumed at 2, a fork of it at 4 that counts its own epochs, and a fork of that at 5 which logs one step again.
    fn three_runs(project: &Project) {
        let one = project.start_run("first").unwrap();
        log(&one, "loss", 0..5, 1.0);
        log(&one, "lr", 0..5, 0.5);
        one.flush().unwrap();
        silence(project);
        let two = project.start_run("first").unwrap();
        log(&two, "loss", 2..6, 2.0);
        two.finish().unwrap();
        drop(one);
        let second = fork(project, "second", "first", 4);
        log(&second, "loss", 4..8, 3.0);
        log(&second, "epoch", 0..2, 3.0);
        second.finish().unwrap();
        let third = fork(project, "third", "second", 5);
        log(&third, "loss", 3..4, 4.0);
        third.finish().unwrap();
    }

    fn rows(project: &Project, query: &str) -> String {
        let sql = block_on(Sql::open(project.root())).unwrap();
        ask(&sql, query).replace('\n', ", ")
    }

    /// What SQL has of a run, as [`curves`] writes it.
    fn curves_of(project: &Project, table: &str, run: &str) -> String {
        let query = format!(
            "SELECT name || ': ' || string_agg(step || '=' || value || '/' || attempt, ' ' ORDER BY step, value, attempt) \
             FROM zoo.{table} WHERE run = '{run}' GROUP BY name ORDER BY name"
        );
        rows(project, &query).replace(", ", "; ")
    }

    #[test]
    fn sql_has_the_curves_that_the_library_has() {
        let (_folder, on_disk) = crate::runs::project_on_disk_too();
        for project in [project(), on_disk] {
            three_runs(&project);
            for (run, expected) in [
                (
                    "first",
                    "loss: 0=1.0/1 1=1.0/1 2=2.0/2 3=2.0/2 4=2.0/2 5=2.0/2; lr: 0=0.5/1 1=0.5/1 2=0.5/1 3=0.5/1 4=0.5/1",
                ),
                (
                    "second",
                    "epoch: 0=3.0/1 1=3.0/1; loss: 0=1.0/0 1=1.0/0 2=2.0/0 3=2.0/0 4=3.0/1 5=3.0/1 6=3.0/1 7=3.0/1; lr: 0=0.5/0 1=0.5/0 2=0.5/0 3=0.5/0",
                ),
                (
                    "third",
                    "epoch: 0=3.0/0 1=3.0/0; loss: 0=1.0/0 1=1.0/0 2=2.0/0 3=4.0/1; lr: 0=0.5/0 1=0.5/0 2=0.5/0 3=0.5/0",
                ),
            ] {
                assert_eq!(curves(&project, run), expected);
                assert_eq!(curves_of(&project, "scalars", run), expected);
            }
            assert_eq!(
                curves_of(&project, "all_scalars", "third"),
                "epoch: 0=3.0/0 1=3.0/0; loss: 0=1.0/0 1=1.0/0 2=2.0/0 3=2.0/0 3=4.0/1 4=3.0/0; lr: 0=0.5/0 1=0.5/0 2=0.5/0 3=0.5/0"
            );
        }
    }

    #[test]
    fn filters_hold_for_what_was_taken_over() {
        let project = project();
        three_runs(&project);
        for (filter, expected) in [
            ("true", "first 11, second 14, third 10"),
            ("run LIKE '%d'", "second 14, third 10"),
            ("run IN ('first', 'third')", "first 11, third 10"),
            ("name = 'lr'", "first 5, second 4, third 4"),
            ("step >= 3", "first 5, second 6, third 2"),
            ("value > 1.5", "first 4, second 8, third 4"),
            ("attempt = 0", "second 8, third 9"),
            ("attempt = 1", "first 7, second 6, third 1"),
            ("attempt = 0 AND run = 'third' AND step = 2", "third 2"),
        ] {
            let query = format!(
                "SELECT run, count(*) FROM zoo.scalars WHERE {filter} GROUP BY run ORDER BY run"
            );
            assert_eq!(rows(&project, &query), expected, "{filter}");
        }
        let limited =
            "SELECT count(*) FROM (SELECT value FROM zoo.scalars WHERE run = 'third' LIMIT 3)";
        assert_eq!(rows(&project, limited), "3");
    }

    #[test]
    fn runs_say_their_attempts_and_what_they_were_forked_from() {
        let project = project();
        three_runs(&project);
        assert_eq!(
            rows(
                &project,
                "SELECT name, attempts, forked_run, forked_step FROM zoo.runs ORDER BY name"
            ),
            "first 2 NULL NULL, second 1 first 4, third 1 second 5"
        );
        let same = "SELECT name FROM zoo.runs WHERE scalars['lr'] = 0.5 AND forked_run IS NOT NULL ORDER BY 1";
        assert_eq!(rows(&project, same), "second, third");
    }

    #[test]
    fn only_a_query_that_reads_a_fork_reads_what_it_was_forked_from() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let project = project_in(Arc::clone(&store));
        first(&project);
        let other = project.start_run("other").unwrap();
        log(&other, "loss", 0..2, 1.0);
        other.finish().unwrap();
        let requests = |run: &str| {
            let faults = Faults::at(0, When::Before);
            let counted = FaultyStore::new(Arc::clone(&store), Arc::clone(&faults));
            let project = project_in(Arc::new(counted));
            let query = format!("SELECT sum(value) FROM zoo.scalars WHERE run = '{run}'");
            rows(&project, &query);
            faults.n_requests()
        };
        let before = requests("other");
        fork(&project, "second", "first", 3).finish().unwrap();
        assert_eq!(requests("other"), before);
        project.start_run("empty").unwrap().finish().unwrap();
        assert_eq!(requests("other"), before);
        assert!(requests("second") > requests("empty"));
    }
}
