//! Runs: what was logged is there, whatever becomes of the program or of the store.

use std::io::{BufRead as _, BufReader};
use std::path::Path as DiskPath;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tlc_core::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch,
};
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type};
use tlc_core::collect::Classification;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectStore, ObjectStoreExt as _};
use tlc_core::run::{SCALARS_MAX, SILENCE_MAX};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    Append, Env, Error, ErrorKind, Log, Project, Result, Revision, Root, Rows, Run, RunOptions,
    RunRecord, RunStatus, Table, block_on,
};

use crate::support::{project, project_in, project_on_disk, table, text};

/// Rows `0..n` of an epoch, each with a loss of the epoch's number.
fn losses(stream: &str, epoch: i64, n: u64) -> (Rows, RecordBatch) {
    let rows = Rows::new(stream, epoch, (0..n).collect::<Vec<_>>())
        .unwrap()
        .step(epoch * 10);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let loss: ArrayRef = Arc::new(Float32Array::from_iter_values((0..n).map(|_| epoch as f32)));
    (rows, RecordBatch::try_from_iter([("loss", loss)]).unwrap())
}

fn batches(project: &Project, path: &Path) -> Vec<RecordBatch> {
    block_on(project.read_metrics(path)).unwrap()
}

/// An object below the project `zoo`, wherever its root is.
fn below(project: &Project, path: &str) -> Path {
    let zoo = project.root().path().clone().join("zoo");
    path.split('/').fold(zoo, |folder, name| folder.join(name))
}

/// All stored scalars of a run as `name:step:value:rank`, sorted.
fn scalars(project: &Project, run: &str) -> Vec<String> {
    let files = block_on(project.scalar_files(&run.parse().unwrap())).unwrap();
    let batches = files.iter().flat_map(|file| batches(project, &file.path));
    let rows = batches.map(|batch| text(&batch.project(&[0, 1, 3, 4]).unwrap()));
    let mut rows: Vec<String> = rows
        .flat_map(|rows| rows.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    rows.sort();
    rows
}

/// The files of sample metrics of a run as `stream/epoch:rows`, sorted.
fn sample_files(project: &Project, run: &str) -> String {
    let files = block_on(project.sample_files(&run.parse().unwrap())).unwrap();
    let mut found: Vec<String> = files
        .iter()
        .map(|file| {
            let batches = batches(project, &file.path);
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            format!("{}/{}:{rows}", file.stream, file.epoch)
        })
        .collect();
    found.sort();
    found.join(" ")
}

fn read(project: &Project, run: &str) -> RunRecord {
    block_on(project.run(run)).unwrap()
}

/// Status, reason, and last values.
fn summary(record: &RunRecord) -> String {
    let reason = record.reason.as_deref().unwrap_or("-");
    format!("{} {reason} {:?}", record.status.as_str(), record.last)
}

/// A project whose store fails on command.
fn faulty_project() -> (Arc<Faults>, Project) {
    let faults = Faults::at(0, When::Before);
    let store = FaultyStore::new(Arc::new(InMemory::new()), Arc::clone(&faults));
    (faults, project_in(Arc::new(store)))
}

fn a_whole_run(project: &Project) {
    let table = table(project, "0:1 1:1 2:1");
    let head = block_on(table.head()).unwrap();
    let run = project
        .start_run(RunOptions::new().name("lenet").seed(7))
        .unwrap();
    run.params(&serde_json::json!({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}}))
        .unwrap();
    for _ in 0..3 {
        run.input(&head).unwrap();
    }
    run.log(0, &[("loss", f64::NAN), ("acc", 0.5)]);
    run.log(1, &[("loss", f64::INFINITY), ("acc", 0.25)]);
    run.log(0, &[("acc", 0.0)]);
    for epoch in [0, 0, 0, 1] {
        let (rows, columns) = losses("train", epoch, 2);
        run.samples(
            &rows.source(table.name().clone(), head.revision()),
            &columns,
        )
        .unwrap();
    }
    let record = run.finish().unwrap();
    check_record(&record, &table);
    assert_eq!(read(project, "lenet"), record);
    check_files(project);
}

fn check_record(record: &RunRecord, table: &Table) {
    assert_eq!(summary(record), r#"completed - {"acc": 0.25, "loss": inf}"#);
    let params: Vec<String> = record
        .params
        .iter()
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    assert_eq!(
        params,
        [
            "optimizer.betas.0=0.9",
            "optimizer.betas.1=0.99",
            "optimizer.lr=0.1",
            "seed=7"
        ]
    );
    assert_eq!(record.inputs, [(table.name().clone(), Revision(0))]);
    assert_eq!(record.warning(), None);
    assert!(record.finished.is_some());
    let [stream] = &record.streams[..] else {
        panic!("{:?}", record.streams)
    };
    assert_eq!(
        (stream.name.as_str(), stream.table.as_ref(), stream.revision),
        ("train", Some(table.name()), Some(Revision(0)))
    );
    assert_eq!(
        stream.schema.field(0),
        &Field::new("loss", DataType::Float32, true)
    );
}

fn check_files(project: &Project) {
    assert_eq!(
        block_on(project.runs())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["lenet"]
    );
    assert_eq!(
        scalars(project, "lenet"),
        [
            "acc:0:0.0:0",
            "acc:0:0.5:0",
            "acc:1:0.25:0",
            "loss:0:NaN:0",
            "loss:1:inf:0"
        ]
    );
    assert_eq!(sample_files(project, "lenet"), "train/0:6 train/1:2");
    let file = &block_on(project.sample_files(&"lenet".parse().unwrap())).unwrap()[1];
    assert_eq!(
        text(&batches(project, &file.path)[0]),
        "1:10:0:train:0:0:1:1.0 1:10:1:train:0:0:1:1.0"
    );
}

#[test]
fn a_finished_run_is_read_back_whole() {
    a_whole_run(&project());
    let (_folder, project) = project_on_disk();
    a_whole_run(&project);
}

#[test]
fn a_taken_name_is_a_conflict_and_a_bad_one_invalid() {
    let project = project();
    let first = project.start_run("lenet").unwrap();
    let err = project.start_run("lenet").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(
        err.to_string().contains("lenet") && err.to_string().contains("another name"),
        "{err}"
    );
    for bad in ["", "a/b", "..", "a b"] {
        assert_eq!(
            project.start_run(bad).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{bad}"
        );
    }
    assert_eq!(
        block_on(project.run("other")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    first.finish().unwrap();
}

#[test]
fn runs_without_a_name_get_readable_ones() {
    let project = project();
    let runs: Vec<Run> = (0..3)
        .map(|_| project.start_run(RunOptions::new()).unwrap())
        .collect();
    let mut names: Vec<&str> = runs.iter().map(|run| run.name().as_str()).collect();
    assert!(
        names.iter().all(|name| name.split('-').count() == 3),
        "{names:?}"
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3);
    assert_eq!(block_on(project.runs()).unwrap().len(), 3);
}

#[test]
fn a_run_that_is_not_finished_has_failed_with_the_reason() {
    let project = project();
    for (name, expected) in [
        ("left", "left without finish()"),
        ("panicked", "panicked"),
        ("failed", "loss is NaN"),
    ] {
        let run = project.start_run(name).unwrap();
        run.log(0, &[("loss", 1.0)]);
        let thread = thread::Builder::new().name(format!("{name} by a test"));
        let outcome = thread.spawn(move || match run.name().as_str() {
            "left" => drop(run),
            "panicked" => panic!("the training panics, as this test wants"),
            _ => assert_eq!(run.fail("loss is NaN").unwrap().status, RunStatus::Failed),
        });
        assert_eq!(outcome.unwrap().join().is_err(), name == "panicked");
        assert_eq!(
            summary(&read(&project, name)),
            format!("failed {expected} {{\"loss\": 1.0}}")
        );
    }
}

#[test]
fn what_is_flushed_is_read_while_the_run_goes_on() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    run.log(1, &[("loss", 2.0)]);
    run.log(2, &[("loss", 1.0)]);
    run.params(&std::collections::BTreeMap::from([("lr", 0.1)]))
        .unwrap();
    let (rows, columns) = losses("val", 0, 3);
    run.samples(&rows, &columns).unwrap();
    run.flush().unwrap();
    let record = read(&project, "lenet");
    assert_eq!(summary(&record), r#"running - {"loss": 1.0}"#);
    assert_eq!(record.params["lr"], "0.1");
    assert_eq!(record.streams.len(), 1);
    assert_eq!(sample_files(&project, "lenet"), "val/0:3");
    run.finish().unwrap();
}

#[test]
fn a_run_works_inside_somebody_elses_runtime() {
    let project = project();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let record = runtime.block_on(async {
        let run = project.start_run("lenet").unwrap();
        run.log(0, &[("loss", 1.0)]);
        run.flush().unwrap();
        run.finish().unwrap()
    });
    assert_eq!(summary(&record), r#"completed - {"loss": 1.0}"#);
}

#[test]
fn a_silent_run_reads_as_interrupted_until_it_is_heard_of() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    run.log(0, &[("loss", 1.0)]);
    run.flush().unwrap();
    project
        .root()
        .env()
        .advance(SILENCE_MAX + Duration::from_secs(1));
    assert_eq!(
        summary(&read(&project, "lenet")),
        r#"interrupted - {"loss": 1.0}"#
    );
    assert_eq!(
        summary(&run.finish().unwrap()),
        r#"completed - {"loss": 1.0}"#
    );
}

#[test]
fn a_run_of_a_dead_process_reads_as_interrupted() {
    let project = project();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let machine = Env::manual().process().machine;
    let entry = |machine: &str, id: u32| {
        serde_json::json!({"format": 1, "stamp": "s", "time": "1970-01-01T00:00:00.000000Z", "event": {
            "kind": "started", "run": "r", "author": "ada", "writer": "w", "rank": 0,
            "process": {"machine": machine, "id": id, "started": 1},
        }})
    };
    for (run, machine, expected) in [
        ("here", machine.as_str(), RunStatus::Interrupted),
        ("elsewhere", "another machine", RunStatus::Running),
    ] {
        let log = Log::new(
            Arc::clone(project.root().store()),
            below(&project, &format!("runs/{run}/log")),
        );
        let entry = entry(machine, child.id()).to_string().into();
        assert_eq!(
            block_on(log.append(Revision::FIRST, entry)).unwrap(),
            Append::Written
        );
        assert_eq!(read(&project, run).status, expected, "{run}");
    }
}

/// Not a test of its own: the process that `a_killed_process_…` kills. Does nothing elsewhere.
#[test]
fn child_process() {
    if !DiskPath::new("killed-by-a-test").exists() {
        return;
    }
    let project = block_on(Project::open(".", "zoo")).unwrap();
    let run = project.start_run("killed").unwrap();
    run.log(1, &[("loss", 0.5)]);
    let (rows, columns) = losses("train", 0, 5);
    run.samples(&rows, &columns).unwrap();
    run.flush().unwrap();
    run.log(2, &[("loss", 0.25)]);
    println!("\nflushed");
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_process_leaves_what_it_flushed_and_the_next_run_works() {
    let (folder, project) = project_on_disk();
    std::fs::write(folder.path().join("killed-by-a-test"), "").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runs::child_process", "--nocapture"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(
        output
            .lines()
            .map_while(std::io::Result::ok)
            .any(|line| line == "flushed")
    );
    assert_eq!(read(&project, "killed").status, RunStatus::Running);
    child.kill().unwrap();
    child.wait().unwrap();

    let record = read(&project, "killed");
    assert_eq!(record.status, RunStatus::Interrupted);
    assert!(
        [0.5, 0.25].contains(&record.last["loss"]),
        "{:?}",
        record.last
    );
    assert_eq!(sample_files(&project, "killed"), "train/0:5");
    assert_eq!(
        project.start_run("next").unwrap().finish().unwrap().status,
        RunStatus::Completed
    );
}

#[test]
fn training_goes_on_while_the_store_fails_and_nothing_is_lost_once_it_is_back() {
    let (faults, project) = faulty_project();
    let run = project.start_run("lenet").unwrap();
    faults.break_down();
    for step in 0..100 {
        run.log(step, &[("loss", 1.0)]);
        let (rows, columns) = losses("train", step / 50, 4);
        run.samples(&rows, &columns).unwrap();
    }
    run.params(&serde_json::json!({"lr": 0.1})).unwrap();
    let err = run.flush().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    let told = format!("{err:#}");
    assert!(
        told.contains("lenet") && told.contains("not stored yet") && told.contains("made to fail"),
        "{told}"
    );
    faults.heal();
    run.flush().unwrap();
    let record = run.finish().unwrap();
    assert_eq!(
        (record.status, record.warning()),
        (RunStatus::Completed, None)
    );
    assert_eq!(record.params["lr"], "0.1");
    assert_eq!(scalars(&project, "lenet").len(), 100);
    let rows: usize = sample_files(&project, "lenet")
        .split(' ')
        .map(|file| file.split_once(':').unwrap().1.parse::<usize>().unwrap())
        .sum();
    assert_eq!(rows, 400);
}

#[test]
fn what_does_not_fit_in_memory_is_counted_and_told() {
    let (faults, project) = faulty_project();
    let run = project.start_run("lenet").unwrap();
    faults.break_down();
    let chunk = vec![("loss", 1.0); 1 << 16];
    let n_chunks = SCALARS_MAX / chunk.len() + 2;
    for step in 0..n_chunks {
        run.log(i64::try_from(step).unwrap(), &chunk);
    }
    let err = run.flush().unwrap_err().to_string();
    assert!(
        err.contains(&format!(
            "{} scalars and 0 rows of sample metrics were lost",
            2 * chunk.len()
        )),
        "{err}"
    );
    let err = run.flush().unwrap_err().to_string();
    assert!(!err.contains("lost"), "a loss is told once: {err}");
    faults.heal();
    let record = run.finish().unwrap();
    assert_eq!(record.lost.scalars, 2 * chunk.len() as u64);
    assert!(
        record.warning().unwrap().contains("were lost"),
        "{:?}",
        record.warning()
    );
    assert_eq!(scalars(&project, "lenet").len(), SCALARS_MAX);
    assert_eq!(read(&project, "lenet").lost, record.lost);
}

#[test]
fn a_store_that_never_comes_back_is_an_error_at_the_end_and_not_before() {
    let (faults, project) = faulty_project();
    let run = project.start_run("lenet").unwrap();
    faults.break_down();
    run.log(0, &[("loss", 1.0)]);
    let err = run.finish().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(
        err.to_string().contains("lenet") && err.to_string().contains("1 scalars"),
        "{err}"
    );
    assert_eq!(
        project.start_run("next").unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    faults.heal();
    assert_eq!(read(&project, "lenet").status, RunStatus::Running);
}

/// One run, whatever fails on its way.
fn scenario(project: &Project) -> Result<RunRecord, Error> {
    let run = project.start_run("lenet")?;
    run.params(&serde_json::json!({"lr": 0.1}))?;
    run.log(0, &[("loss", 1.0)]);
    let (rows, columns) = losses("train", 0, 2);
    run.samples(&rows, &columns)?;
    // What it says is not the point here: what was not stored is tried again.
    run.flush().unwrap_or_default();
    run.log(1, &[("loss", 0.5)]);
    run.finish()
}

#[test]
fn whichever_request_fails_nothing_is_lost_doubled_or_torn() {
    for when in [When::Before, When::After] {
        for k in 1.. {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faults = Faults::at(k, when);
            let outcome = scenario(&project_in(Arc::new(FaultyStore::new(
                Arc::clone(&store),
                Arc::clone(&faults),
            ))));
            let project = project_in(store);
            match outcome {
                Ok(record) => assert_eq!(record, read(&project, "lenet"), "{when:?} {k}"),
                Err(err) if k == 1 || (k == 2 && when == When::Before) => {
                    // Nothing has begun: the aliases were not read, or the first entry not written.
                    assert_eq!(err.kind(), ErrorKind::Unavailable);
                    scenario(&project).unwrap();
                }
                // The end is in the log, and could only not be read back.
                Err(err) => assert_eq!(err.kind(), ErrorKind::Unavailable, "{when:?} {k}: {err:?}"),
            }
            let record = read(&project, "lenet");
            assert_eq!(
                summary(&record),
                r#"completed - {"loss": 0.5}"#,
                "{when:?} {k}"
            );
            assert_eq!(
                (record.params.len(), record.streams.len(), record.warning()),
                (1, 1, None),
                "{when:?} {k}"
            );
            assert_eq!(
                scalars(&project, "lenet"),
                ["loss:0:1.0:0", "loss:1:0.5:0"],
                "{when:?} {k}"
            );
            assert_eq!(sample_files(&project, "lenet"), "train/0:2", "{when:?} {k}");
            if faults.n_requests() < k {
                break;
            }
        }
    }
}

#[test]
fn many_threads_log_at_once_and_lose_nothing() {
    let project = project();
    let run = Arc::new(project.start_run("lenet").unwrap());
    let threads: Vec<_> = (0..8)
        .map(|thread: i64| {
            let run = Arc::clone(&run);
            let work = move || {
                for step in 0..20_000 {
                    run.log(thread * 20_000 + step, &[("a", 1.0), ("b", 2.0)]);
                }
                for epoch in 0..20 {
                    let (rows, columns) = losses(&format!("s{thread}"), epoch, 10);
                    run.samples(&rows, &columns).unwrap();
                }
            };
            thread::Builder::new()
                .name(format!("logger {thread}"))
                .spawn(work)
                .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let record = Arc::into_inner(run).unwrap().finish().unwrap();
    assert_eq!(record.warning(), None);
    let mut found = scalars(&project, "lenet");
    assert_eq!(found.len(), 8 * 20_000 * 2);
    found.dedup();
    assert_eq!(found.len(), 8 * 20_000 * 2, "each once");
    assert_eq!(sample_files(&project, "lenet").split(' ').count(), 8 * 20);
}

#[test]
fn two_processes_write_one_run() {
    let project = project();
    let join = |name: &str| project.start_run(RunOptions::new().name(name).rank(1).join());
    assert_eq!(join("lenet").unwrap_err().kind(), ErrorKind::NotFound);
    let first = project.start_run("lenet").unwrap();
    let (rows, columns) = losses("train", 0, 1);
    first.samples(&rows, &columns).unwrap();
    first.flush().unwrap();

    let second = join("lenet").unwrap();
    let other: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let other = RecordBatch::try_from_iter([("loss", other)]).unwrap();
    assert_eq!(
        second.samples(&rows, &other).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    second.samples(&rows, &columns).unwrap();
    first.log(1, &[("a", 1.0), ("b", 1.0)]);
    second.log(2, &[("a", 2.0)]);
    first.params(&serde_json::json!({"x": 1})).unwrap();
    second.params(&serde_json::json!({"y": 2})).unwrap();
    assert_eq!(second.finish().unwrap().status, RunStatus::Running);
    let record = first.finish().unwrap();
    assert_eq!(summary(&record), r#"completed - {"a": 2.0, "b": 1.0}"#);
    assert_eq!((record.params.len(), record.streams.len()), (2, 1));
    assert_eq!(
        scalars(&project, "lenet"),
        ["a:1:1.0:0", "a:2:2.0:1", "b:1:1.0:0"]
    );
    assert_eq!(sample_files(&project, "lenet"), "train/0:1 train/0:1");
    let err = join("lenet").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("completed"), "{err}");
}

#[test]
fn sample_metrics_may_be_nested_and_must_keep_their_shape() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    let boxes = |n: usize| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
            (0..n).map(|_| Some(vec![Some(1.0), None])),
        ))
    };
    let rows = Rows::new("val", 3, vec![7, 8]).unwrap();
    let batch = |boxes: ArrayRef| RecordBatch::try_from_iter([("boxes", boxes)]).unwrap();
    run.samples(&rows, &batch(boxes(2))).unwrap();
    let err = run.samples(&rows, &batch(boxes(3))).unwrap_err();
    assert_eq!(
        (err.kind(), err.to_string().as_str()),
        (
            ErrorKind::Invalid,
            "stream val: 2 row ids, but 3 rows of sample metrics"
        )
    );
    let err = run
        .samples(&rows, &batch(Arc::new(Int32Array::from(vec![1, 2]))))
        .unwrap_err();
    assert!(
        err.kind() == ErrorKind::Invalid && err.to_string().contains("\"boxes\""),
        "{err}"
    );
    run.finish().unwrap();
    let files = block_on(project.sample_files(&"lenet".parse().unwrap())).unwrap();
    assert_eq!(
        text(&batches(&project, &files[0].path)[0]),
        "3:0:7:-:-:0:1:[1.0, -] 3:0:8:-:-:0:1:[1.0, -]"
    );
}

#[test]
fn a_collector_logs_samples_and_the_curves_of_batches_and_epochs() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    let outputs = |labels: Vec<i32>| {
        let logits = Float32Array::from([0.0, 0.0].repeat(labels.len()));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let logits: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(logits), None));
        RecordBatch::try_from_iter([
            ("logits", logits),
            ("label", Arc::new(Int32Array::from(labels)) as _),
        ])
        .unwrap()
    };
    let rows = |epoch, step, n: u64| {
        Rows::new("train", epoch, (0..n).collect::<Vec<_>>())
            .unwrap()
            .step(step)
    };
    run.collect(&rows(0, 0, 3), &Classification, &outputs(vec![0, 0, 1]))
        .unwrap();
    run.collect(&rows(0, 1, 1), &Classification, &outputs(vec![1]))
        .unwrap();
    run.collect(&rows(1, 2, 1), &Classification, &outputs(vec![0]))
        .unwrap();
    let err = run
        .collect(&rows(1, 3, 1), &Classification, &outputs(vec![2]))
        .unwrap_err();
    assert!(err.to_string().contains("label 2"), "{err}");
    run.collect(
        &rows(1, 4, 1),
        &|batch: &RecordBatch| Ok(batch.clone()),
        &outputs(vec![0]),
    )
    .unwrap_err();
    run.finish().unwrap();
    let found: Vec<String> = scalars(&project, "lenet")
        .iter()
        .filter(|s| s.contains("accuracy"))
        .cloned()
        .collect();
    assert_eq!(
        found,
        [
            "train/accuracy:0:0.5:0",
            "train/accuracy:1:1.0:0",
            "train/batch/accuracy:0:0.6666666666666666:0",
            "train/batch/accuracy:1:0.0:0",
            "train/batch/accuracy:2:1.0:0",
        ]
    );
    assert_eq!(sample_files(&project, "lenet"), "train/0:4 train/1:1");
}

#[test]
fn damaged_and_newer_entries_and_files_are_named() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    run.log(0, &[("loss", 1.0)]);
    run.flush().unwrap();
    let put = |path: &str, text: &'static str| {
        let path = below(&project, &format!("runs/lenet/{path}"));
        block_on(project.root().store().put(&path, text.into())).unwrap();
    };
    let told = || {
        let err = block_on(project.run("lenet")).unwrap_err();
        (err.kind(), format!("{err:#}"))
    };
    put("scalars/zz-0.parquet", "PAR1 this is cut off");
    let (kind, text) = told();
    assert!(
        kind == ErrorKind::Corrupt && text.contains("scalars/zz-0.parquet"),
        "{text}"
    );
    put(
        "log/00000000000000000001.json",
        r#"{"format": 99, "novelty": 1}"#,
    );
    let (kind, text) = told();
    assert!(
        kind == ErrorKind::Invalid
            && text.contains("entry 1 of run lenet")
            && text.contains("version 99"),
        "{text}"
    );
    put("log/00000000000000000001.json", r#"{"format": 1, "stamp""#);
    let (kind, text) = told();
    assert!(
        kind == ErrorKind::Corrupt && text.contains("entry 1 of run lenet"),
        "{text}"
    );
    put("log/00000000000000000003.json", "{}");
    let (kind, text) = told();
    assert!(
        kind == ErrorKind::Corrupt && text.contains("00000000000000000002.json"),
        "{text}"
    );
}

#[test]
fn a_root_that_cannot_be_written_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let root = block_on(Root::open(file.to_str().unwrap())).unwrap();
    let err = root.project("zoo").unwrap().start_run("lenet").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(err.to_string().contains("lenet"), "{err}");
}

#[cfg(feature = "system")]
#[test]
fn a_run_says_what_the_machine_did_unless_told_not_to() {
    let project = project();
    let told = project.start_run("told").unwrap();
    let silent = RunOptions::from("silent").without_system();
    let silent = project.start_run(silent).unwrap();
    thread::sleep(tlc_core::run::HEARTBEAT_EVERY + Duration::from_millis(500));
    let told = told.finish().unwrap();
    let names: Vec<&str> = told.last.keys().map(String::as_str).collect();
    let known = ["system/cpu", "system/memory", "system/process/memory"];
    assert!(known.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("system/")),
        "{names:?}"
    );
    assert!(told.last["system/process/memory"] > 1e6);
    assert!(silent.finish().unwrap().last.is_empty());
}

/// What counts of the scalars of a run as `name:step:value:rank:attempt`.
fn winning(project: &Project, run: &str) -> String {
    let rows = block_on(project.scalars(&run.parse().unwrap())).unwrap();
    let rows = rows
        .iter()
        .map(|batch| text(&batch.project(&[0, 1, 3, 4, 5]).unwrap()));
    let mut rows: Vec<String> = rows
        .flat_map(|rows| {
            rows.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    rows.join(" ")
}

/// What counts of an epoch of the stream `train`, as `step:row id:attempt`.
fn winning_samples(project: &Project, run: &str, epoch: i64) -> String {
    let (run, stream) = (run.parse().unwrap(), "train".parse().unwrap());
    let rows = block_on(project.samples(&run, &stream, epoch)).unwrap();
    let rows = rows
        .iter()
        .map(|batch| text(&batch.project(&[1, 2, 6]).unwrap()));
    let rows: Vec<String> = rows.filter(|rows| !rows.is_empty()).collect();
    rows.join(" ")
}

#[test]
fn a_resumed_run_shows_the_attempt_that_counts_at_each_step() {
    for (_folder, project) in [(None, project()), project_on_disk_too()] {
        let first = project.start_run("lenet").unwrap();
        let log = |run: &Run, steps: std::ops::Range<i64>, value: f64| {
            for step in steps {
                run.log(step, &[("loss", value)]);
            }
        };
        let samples = |run: &Run, epoch: i64, step: i64, ids: Vec<u64>| {
            let loss: ArrayRef = Arc::new(Float32Array::from(vec![1.0; ids.len()]));
            let rows = Rows::new("train", epoch, ids).unwrap().step(step);
            run.samples(
                &rows,
                &RecordBatch::try_from_iter([("loss", loss)]).unwrap(),
            )
            .unwrap();
        };
        log(&first, 0..5, 1.0);
        first.log(0, &[("val", 0.5)]);
        for (epoch, step, ids) in [
            (0, 0, vec![1, 0]),
            (1, 1, vec![0]),
            (1, 2, vec![1]),
            (2, 3, vec![0]),
        ] {
            samples(&first, epoch, step, ids);
        }
        first.flush().unwrap();
        assert_eq!(
            project.start_run("lenet").unwrap_err().kind(),
            ErrorKind::Conflict
        );
        // Its process lives, but is not heard of: as if it had died on another machine.
        project
            .root()
            .env()
            .advance(SILENCE_MAX + Duration::from_secs(1));
        let second = project
            .start_run(RunOptions::from("lenet").rank(0))
            .unwrap();
        log(&second, 3..5, 2.0);
        samples(&second, 1, 2, vec![1]);
        samples(&second, 2, 3, vec![1, 0]);
        first.log(9, &[("loss", 9.0)]);
        drop(first);
        let record = second.finish().unwrap();
        assert_eq!((record.status, record.attempts), (RunStatus::Completed, 2));
        assert_eq!(record.last["loss"], 2.0);
        assert_eq!(
            winning(&project, "lenet"),
            "loss:0:1.0:0:1 loss:1:1.0:0:1 loss:2:1.0:0:1 loss:3:2.0:0:2 loss:4:2.0:0:2 val:0:0.5:0:1"
        );
        assert_eq!(scalars(&project, "lenet").len(), 9, "all are still there");
        assert_eq!(winning_samples(&project, "lenet", 0), "0:0:1 0:1:1");
        assert_eq!(winning_samples(&project, "lenet", 1), "1:0:1 2:1:2");
        assert_eq!(winning_samples(&project, "lenet", 2), "3:0:2 3:1:2");
        let err = project.start_run("lenet").unwrap_err();
        assert!(
            err.kind() == ErrorKind::Conflict && err.to_string().contains("resume"),
            "{err}"
        );
        let third = project
            .start_run(RunOptions::from("lenet").resume())
            .unwrap();
        assert_eq!(third.finish().unwrap().attempts, 3);
    }
}

/// A project on disk whose clock is that of a test.
pub(crate) fn project_on_disk_too() -> (Option<tempfile::TempDir>, Project) {
    let folder = tempfile::tempdir().unwrap();
    let options = tlc_core::RootOptions::new().env(Env::manual());
    let root = block_on(Root::open_with(folder.path().to_str().unwrap(), options)).unwrap();
    (Some(folder), root.project("zoo").unwrap())
}

#[test]
fn what_somebody_removes_while_a_run_goes_on_is_counted() {
    let (folder, project) = project_on_disk();
    let run = project.start_run("lenet").unwrap();
    run.log(0, &[("a", 1.0), ("b", 2.0)]);
    run.flush().unwrap();
    std::fs::remove_dir_all(folder.path().join("zoo/runs/lenet/scalars")).unwrap();
    run.log(1, &[("a", 1.0)]);
    let record = run.finish().unwrap();
    assert_eq!(
        (record.status, record.lost.scalars),
        (RunStatus::Completed, 3)
    );
    assert!(record.warning().is_some());
}

#[test]
fn whichever_process_of_a_launch_comes_first_starts_the_run_and_the_others_join() {
    let project = project();
    let options = |launch: &str, rank| RunOptions::from("lenet").launch(launch).rank(rank);
    let launch = |launch: &str| {
        let ranks = [2, 0, 1].map(|rank| (rank, project.start_run(options(launch, rank)).unwrap()));
        for (rank, run) in &ranks {
            run.log(7, &[("loss", f64::from(*rank))]);
        }
        ranks.map(|(_, run)| run.finish().unwrap())
    };
    let statuses = launch("a").map(|record| record.status);
    let (running, completed) = (RunStatus::Running, RunStatus::Completed);
    assert_eq!(statuses, [running, running, completed]);
    assert_eq!(
        winning(&project, "lenet"),
        "loss:7:0.0:0:1 loss:7:1.0:1:1 loss:7:2.0:2:1"
    );
    let statuses = launch("b").map(|record| (record.status, record.attempts));
    assert_eq!(statuses, [(running, 2), (running, 2), (completed, 2)]);
    assert_eq!(
        winning(&project, "lenet"),
        "loss:7:0.0:0:2 loss:7:1.0:1:2 loss:7:2.0:2:2"
    );
    let late = project.start_run(options("b", 3)).unwrap();
    assert_eq!(
        late.finish().unwrap().attempts,
        2,
        "late, but of the same launch"
    );
}
