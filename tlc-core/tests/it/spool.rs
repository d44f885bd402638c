//! Runs in a store elsewhere: whatever becomes of the store or of the process, what was logged is on this
//! machine's disk until it is uploaded.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path as DiskPath;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::local::LocalFileSystem;
use tlc_core::object_store::path::Path;
use tlc_core::run::SCALARS_MAX;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    Env, ErrorKind, Project, Root, RootOptions, RunOptions, RunRecord, RunStatus, Synced, block_on,
};

use crate::support::{log, quiet, steps};

/// A store that is not of this machine as far as the library knows, one to fail, and a spool.
struct Elsewhere {
    folder: TempDir,
    faults: Arc<Faults>,
}

/// A store that is elsewhere as far as the library knows: the folder `store` of `folder`. The spool lies beside it.
fn root(folder: &DiskPath, faults: &Arc<Faults>, env: Env) -> Root {
    let store = folder.join("store");
    fs::create_dir_all(&store).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(store).unwrap());
    let store = Arc::new(FaultyStore::new(store, Arc::clone(faults)));
    let options = RootOptions::new().env(env).spool(folder.join("spool"));
    let url = "memory:///elsewhere".parse().unwrap();
    Root::in_store(store, Path::default(), url, options)
}

impl Elsewhere {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            faults: Faults::at(0, When::Before),
        }
    }

    fn root(&self) -> Root {
        root(self.folder.path(), &self.faults, Env::system("ada"))
    }

    fn project(&self) -> Project {
        self.root().project("zoo").unwrap()
    }

    /// The folders of writers in the spool.
    fn spooled(&self) -> Vec<std::path::PathBuf> {
        match fs::read_dir(self.folder.path().join("spool")) {
            Ok(folders) => folders.map(|folder| folder.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn record(&self) -> RunRecord {
        block_on(self.project().run("lenet")).unwrap()
    }

    /// Steps of the scalars of the run that count, and how many rows of sample metrics.
    fn found(&self) -> (Vec<i64>, usize) {
        let (project, run) = (self.project(), "lenet".parse().unwrap());
        let scalars = block_on(project.scalars(&run)).unwrap();
        let samples = block_on(project.samples(&run, &"train".parse().unwrap(), 0)).unwrap();
        let n_rows = samples.iter().map(RecordBatch::num_rows).sum();
        (steps(&scalars), n_rows)
    }
}

fn options() -> RunOptions {
    quiet("lenet")
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_uploaded_is_in_the_spool_no_more() {
    let elsewhere = Elsewhere::new();
    let run = elsewhere.project().start_run(options()).unwrap();
    log(&run, 0..10);
    run.flush().unwrap();
    assert_eq!(elsewhere.found(), ((0..10).collect(), 10));
    log(&run, 10..20);
    assert_eq!(run.finish().unwrap().status, RunStatus::Completed);
    assert_eq!(elsewhere.found(), ((0..20).collect(), 20));
    assert_eq!(elsewhere.spooled(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_store_that_cannot_be_reached_for_long_loses_nothing() {
    for is_hanging in [false, true] {
        let elsewhere = Elsewhere::new();
        let run = elsewhere.project().start_run(options()).unwrap();
        match is_hanging {
            true => elsewhere.faults.slow_down(Duration::from_secs(3600)),
            false => elsewhere.faults.break_down(),
        }
        // More than fits into memory, and as fast as the disk takes it.
        let chunk = vec![("loss", 1.0); 1 << 16];
        let n_chunks = i64::try_from(2 * SCALARS_MAX / chunk.len()).unwrap();
        for step in 0..n_chunks {
            run.log(step, &chunk);
            // The buffer is emptied ten times a second.
            thread::sleep(Duration::from_millis(10));
        }
        run.params(&serde_json::json!({"lr": 0.1})).unwrap();
        log(&run, n_chunks..n_chunks + 5);
        if !is_hanging {
            let err = run.flush().unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Unavailable);
            let told = format!("{err:#}");
            let expected = ["not uploaded yet", "spool", "made to fail"];
            assert!(expected.iter().all(|text| told.contains(text)), "{told}");
            assert!(!told.contains("lost"), "{told}");
        }
        elsewhere.faults.heal();
        run.flush().unwrap();
        let record = run.finish().unwrap();
        assert_eq!(
            (record.status, record.warning()),
            (RunStatus::Completed, None)
        );
        assert_eq!(record.params["lr"], "0.1");
        let scalars = block_on(elsewhere.project().scalars(&record.name)).unwrap();
        let n_scalars: usize = scalars.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(n_scalars, 2 * SCALARS_MAX + 5, "hanging: {is_hanging}");
        assert!(elsewhere.spooled().is_empty());
    }
}

#[test]
fn a_store_that_is_gone_at_the_end_gets_everything_later_and_once() {
    let elsewhere = Elsewhere::new();
    let run = elsewhere.project().start_run(options()).unwrap();
    log(&run, 0..10);
    run.flush().unwrap();
    elsewhere.faults.break_down();
    log(&run, 10..20);
    run.params(&serde_json::json!({"lr": 0.1})).unwrap();
    let told = run.finish().unwrap_err().to_string();
    assert!(
        told.contains("tlc sync") && told.contains("spool") && !told.contains("lost"),
        "{told}"
    );
    let root = elsewhere.root();
    assert_eq!(
        block_on(root.sync_spool()).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    elsewhere.faults.heal();
    assert_eq!(elsewhere.record().finished, None);
    assert_eq!(elsewhere.found(), ((0..10).collect(), 10));
    let synced = block_on(root.sync_spool()).unwrap();
    assert_eq!((synced.runs, synced.tables), (1, 0));
    assert_eq!(block_on(root.sync_spool()).unwrap(), Synced::default());
    let record = elsewhere.record();
    assert_eq!(
        (record.status, record.warning()),
        (RunStatus::Completed, None)
    );
    assert_eq!(record.params["lr"], "0.1");
    assert_eq!(elsewhere.found(), ((0..20).collect(), 20));
    assert!(elsewhere.spooled().is_empty());
}

#[test]
fn what_a_living_run_keeps_is_left_to_it() {
    let elsewhere = Elsewhere::new();
    let run = elsewhere.project().start_run(options()).unwrap();
    elsewhere.faults.break_down();
    log(&run, 0..10);
    wait_until("it is spooled", || {
        let writers = elsewhere.spooled();
        writers.iter().any(|writer| writer.join("scalars").exists())
    });
    elsewhere.faults.heal();
    let synced = block_on(elsewhere.root().sync_spool()).unwrap();
    assert_eq!(synced, Synced::default());
    run.finish().unwrap();
    assert_eq!(elsewhere.found(), ((0..10).collect(), 10));
}

/// Not a test of its own: what the ones below kill. Does nothing elsewhere.
#[test]
fn child_process() {
    if !DiskPath::new("spools-until-killed").exists() {
        return;
    }
    let faults = Faults::at(0, When::Before);
    let project = root(DiskPath::new("."), &faults, Env::system("ada"));
    let project = project.project("zoo").unwrap();
    let run = project.start_run(options()).unwrap();
    log(&run, 0..10);
    run.flush().unwrap();
    // Nothing comes back from the store any more.
    faults.slow_down(Duration::from_secs(3600));
    run.params(&serde_json::json!({"lr": 0.1, "seed": 7}))
        .unwrap();
    log(&run, 10..20);
    println!("\nlogged");
    loop {
        thread::park();
    }
}

/// Starts a process that logs while its store hangs, and kills it once what it logged is in the spool.
fn kill_one(elsewhere: &Elsewhere) {
    let folder = elsewhere.folder.path();
    fs::write(folder.join("spools-until-killed"), "").unwrap();
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "spool::child_process", "--nocapture"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "logged"));
    // It is written ten times a second; a second is a lot more than that.
    thread::sleep(Duration::from_secs(1));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_process_kept_is_uploaded_by_its_next_attempt() {
    let elsewhere = Elsewhere::new();
    kill_one(&elsewhere);
    assert_eq!(elsewhere.record().status, RunStatus::Interrupted);
    assert_eq!(elsewhere.found(), ((0..10).collect(), 10));
    let run = elsewhere.project().start_run(options()).unwrap();
    run.params(&serde_json::json!({"lr": 0.2})).unwrap();
    log(&run, 18..25);
    let record = run.finish().unwrap();
    let params = ["lr", "seed"].map(|name| record.params[name].as_str());
    assert_eq!((record.attempts, params), (2, ["0.2", "7"]));
    assert_eq!(
        elsewhere.found(),
        ((0..25).collect(), 25),
        "one clean curve"
    );
    assert!(elsewhere.spooled().is_empty());
}

#[test]
fn what_a_killed_process_kept_is_uploaded_when_asked() {
    let elsewhere = Elsewhere::new();
    kill_one(&elsewhere);
    assert_eq!(block_on(elsewhere.root().sync_spool()).unwrap().runs, 1);
    let record = elsewhere.record();
    assert_eq!(
        (record.status, record.params["lr"].as_str()),
        (RunStatus::Interrupted, "0.1")
    );
    assert_eq!(elsewhere.found(), ((0..20).collect(), 20));
    assert!(elsewhere.spooled().is_empty());
}

#[test]
fn another_run_of_the_same_name_gets_nothing_of_it() {
    let elsewhere = Elsewhere::new();
    kill_one(&elsewhere);
    fs::remove_dir_all(elsewhere.folder.path().join("store/zoo/runs/lenet")).unwrap();
    let err = block_on(elsewhere.root().sync_spool()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    let run = elsewhere.project().start_run(options()).unwrap();
    run.finish().unwrap();
    let err = block_on(elsewhere.root().sync_spool()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    let folder = elsewhere.spooled().remove(0);
    assert!(
        format!("{err:#}").contains(folder.to_str().unwrap()),
        "it says where: {err:#}"
    );
    assert_eq!(elsewhere.found(), (Vec::new(), 0));
}

#[test]
fn without_room_on_the_disk_it_is_kept_in_memory() {
    let elsewhere = Elsewhere::new();
    let spool = elsewhere.folder.path().join("spool");
    fs::write(&spool, "in the way").unwrap();
    let run = elsewhere.project().start_run(options()).unwrap();
    log(&run, 0..10);
    run.flush().unwrap();
    assert_eq!(elsewhere.found(), ((0..10).collect(), 10));
    run.finish().unwrap();

    fs::remove_file(&spool).unwrap();
    let run = elsewhere.project().start_run(options().resume()).unwrap();
    let own = elsewhere.spooled().remove(0);
    for folder in ["scalars", "samples", "entries"] {
        fs::write(own.join(folder), "in the way").unwrap();
    }
    log(&run, 10..20);
    run.params(&serde_json::json!({"lr": 0.1})).unwrap();
    let record = run.finish().unwrap();
    assert_eq!((record.warning(), record.params.len()), (None, 1));
    assert_eq!(elsewhere.found(), ((0..20).collect(), 20));
}
