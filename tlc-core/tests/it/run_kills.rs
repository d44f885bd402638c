//! Processes that log into one run and are killed at any moment, again and again, while somebody reads:
//! what they flushed is there, each row once, nothing is damaged, and the run goes on.
//!
//! `TLC_KILLS=1000` kills 1,000 processes, 64 at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tlc_core::arrow::array::{ArrayRef, AsArray as _, Float32Array, RecordBatch};
use tlc_core::arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt64Type};
use tlc_core::{ErrorKind, Project, Rows, RunName, RunOptions, RunStatus, VerifyOptions, block_on};

use crate::kills::n_kills;

/// In the folder of a child: its launch, its rank, and the step that it begins with.
const TASK: &str = "logs-until-killed";

/// Steps of an epoch.
const EPOCH: i64 = 40;

/// Steps that a resumed process logs once more.
const AGAIN: i64 = 15;

/// Not a test of its own: what the one below kills. Does nothing elsewhere.
#[test]
fn child_process() {
    let Ok(task) = fs::read_to_string(TASK) else {
        return;
    };
    let [launch, rank, begin] = task.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{task:?} is no task")
    };
    let project = open(Path::new("..").join("root").as_path());
    let options = RunOptions::from("killed")
        .launch(launch)
        .rank(rank.parse().unwrap());
    let run = project.start_run(options).unwrap();
    for step in begin.parse::<i64>().unwrap().. {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let value = step as f64;
        run.log(step, &[("a", value), ("b", -value)]);
        let id = u64::try_from(step % EPOCH).unwrap();
        let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        let rows = Rows::new(rank_stream(rank).as_str(), step / EPOCH, vec![id])
            .unwrap()
            .step(step);
        run.samples(
            &rows,
            &RecordBatch::try_from_iter([("loss", loss)]).unwrap(),
        )
        .unwrap();
        if step % 10 == 9 {
            run.flush().unwrap();
            println!("\nflushed {step}");
            // Steps of a training take their time; without it, many processes write very many files.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn rank_stream(rank: impl std::fmt::Display) -> String {
    format!("train-{rank}")
}

fn open(root: &Path) -> Project {
    block_on(Project::open(root.to_str().unwrap(), "zoo")).unwrap()
}

fn name() -> RunName {
    "killed".parse().unwrap()
}

/// A child, and what it tells.
struct Logger {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    begin: i64,
    flushed: Option<i64>,
}

impl Logger {
    fn start(folder: &Path, launch: u64, rank: usize, begin: i64) -> Self {
        let own = folder.join(format!("child-{rank}"));
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join(TASK), format!("{launch} {rank} {begin}")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "run_kills::child_process", "--nocapture"])
            .current_dir(own)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            begin,
            flushed: None,
        }
    }

    fn hear(&mut self, n_flushes: usize) {
        for _ in 0..n_flushes {
            let told = self.lines.by_ref().map_while(Result::ok).find_map(|line| {
                line.strip_prefix("flushed ")
                    .map(|step| step.parse::<i64>().unwrap())
            });
            if told.is_none() {
                return;
            }
            self.flushed = told;
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.hear(usize::MAX);
    }
}

/// By attempt and rank, the steps of the scalar `a`, in order. Each has its value, and `b` beside it.
fn steps(project: &Project) -> BTreeMap<(i32, i32), Vec<i64>> {
    let mut steps: BTreeMap<(i32, i32), Vec<i64>> = BTreeMap::new();
    let mut of_b = 0_usize;
    for file in block_on(project.scalar_files(&name())).unwrap() {
        for batch in block_on(project.read_metrics(&file.path)).unwrap() {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let names = column("name").as_string::<i32>();
            let (own, values) = (
                column("step").as_primitive::<Int64Type>(),
                column("value").as_primitive::<Float64Type>(),
            );
            let (attempts, ranks) = (
                column("attempt").as_primitive::<Int32Type>(),
                column("rank").as_primitive::<Int32Type>(),
            );
            for at in 0..batch.num_rows() {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let expected = own.value(at) as f64;
                match names.value(at) {
                    "a" => {
                        assert_eq!(values.value(at).to_bits(), expected.to_bits());
                        steps
                            .entry((attempts.value(at), ranks.value(at)))
                            .or_default()
                            .push(own.value(at));
                    }
                    "b" => of_b += 1,
                    other => assert!(other.starts_with("system/"), "{other}"),
                }
            }
        }
    }
    assert_eq!(of_b, steps.values().map(Vec::len).sum::<usize>());
    steps.values_mut().for_each(|steps| steps.sort_unstable());
    steps
}

/// The steps of all sample metrics that a rank logged, those that count, in order.
fn sample_steps(project: &Project, rank: usize) -> Vec<i64> {
    let stream = rank_stream(rank).parse().unwrap();
    let files = block_on(project.sample_files(&name())).unwrap();
    let mut epochs: Vec<i64> = files
        .iter()
        .filter(|file| file.stream == stream)
        .map(|file| file.epoch)
        .collect();
    epochs.dedup();
    epochs.sort_unstable();
    epochs.dedup();
    let mut steps = Vec::new();
    for epoch in epochs {
        for batch in block_on(project.samples(&name(), &stream, epoch)).unwrap() {
            let own = batch
                .column_by_name("step")
                .unwrap()
                .as_primitive::<Int64Type>();
            let ids = batch
                .column_by_name("_rowid")
                .unwrap()
                .as_primitive::<UInt64Type>();
            for (step, id) in own.values().iter().zip(ids.values()) {
                assert_eq!(u64::try_from(step % EPOCH).unwrap(), *id);
                steps.push(*step);
            }
        }
    }
    steps.sort_unstable();
    steps
}

fn is_whole(steps: &[i64], begin: i64) -> bool {
    steps
        .iter()
        .copied()
        .eq(begin..begin + i64::try_from(steps.len()).unwrap())
}

/// Reads the run over and over until told to stop; at any moment each process's steps have no gap.
fn read_along(root: &Path, stop: &AtomicBool) -> usize {
    let project = open(root);
    let mut n_reads = 0;
    while !stop.load(Ordering::Relaxed) {
        match block_on(project.run("killed")) {
            Ok(_) => {}
            Err(err) if err.kind() == ErrorKind::NotFound => continue,
            Err(err) => panic!("{err:?}"),
        }
        for ((attempt, rank), steps) in steps(&project) {
            let begin = steps.first().copied().unwrap_or_default();
            assert!(
                is_whole(&steps, begin),
                "attempt {attempt} of rank {rank}: {steps:?}"
            );
        }
        n_reads += 1;
    }
    n_reads
}

#[test]
fn what_was_flushed_is_there_whoever_is_killed_when_and_the_run_goes_on() {
    let kills = usize::try_from(n_kills(32)).unwrap();
    let n_writers = (kills / 4).clamp(1, 64);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (root, stop) = (root.clone(), Arc::clone(&stop));
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || read_along(&root, &stop))
            .unwrap()
    };
    let project = open(&root);
    let mut next = vec![0; n_writers];
    let n_rounds = kills.div_ceil(n_writers);
    for round in 0..n_rounds {
        let launch = u64::try_from(round).unwrap();
        let ranks = next.iter().enumerate();
        let mut loggers: Vec<Logger> = ranks
            .map(|(rank, begin)| Logger::start(folder.path(), launch, rank, *begin))
            .collect();
        for (rank, logger) in loggers.iter_mut().enumerate() {
            logger.hear(1 + (rank + round) % 5);
        }
        loggers.iter_mut().for_each(Logger::kill);
        let attempt = i32::try_from(round + 1).unwrap();
        let steps = steps(&project);
        for (rank, logger) in loggers.iter().enumerate() {
            let own = &steps[&(attempt, i32::try_from(rank).unwrap())];
            assert!(
                is_whole(own, logger.begin),
                "round {round}, rank {rank}: {own:?}"
            );
            let flushed = logger.flushed.expect("it had flushed");
            assert!(
                own.last() >= Some(&flushed),
                "round {round}, rank {rank}: {flushed} is gone"
            );
            next[rank] = (flushed - AGAIN).max(0);
        }
        let record = block_on(project.run("killed")).unwrap();
        assert_eq!(
            (record.status, record.attempts),
            (RunStatus::Interrupted, attempt.cast_unsigned())
        );
        assert_eq!(record.warning(), None);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    let end = project.start_run("killed").unwrap();
    end.finish().unwrap();
    check_end(&project, n_writers);
}

/// The segments that the dead left are folded, and what counts is one curve for each rank.
fn check_end(project: &Project, n_writers: usize) {
    let files = block_on(project.scalar_files(&name())).unwrap();
    assert!(files.iter().all(|file| file.is_folded), "{files:?}");
    let files = block_on(project.sample_files(&name())).unwrap();
    assert!(files.iter().all(|file| file.is_folded), "{files:?}");
    let report = block_on(project.verify(VerifyOptions::new())).unwrap();
    assert!(!report.is_damaged(), "{:#?}", report.findings);
    let mut curves: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for batch in block_on(project.scalars(&name())).unwrap() {
        let names = batch.column_by_name("name").unwrap().as_string::<i32>();
        let ranks = batch
            .column_by_name("rank")
            .unwrap()
            .as_primitive::<Int32Type>();
        let steps = batch
            .column_by_name("step")
            .unwrap()
            .as_primitive::<Int64Type>();
        for at in (0..batch.num_rows()).filter(|at| names.value(*at) == "a") {
            curves
                .entry(ranks.value(at))
                .or_default()
                .push(steps.value(at));
        }
    }
    assert_eq!(curves.len(), n_writers);
    for (rank, mut curve) in curves {
        curve.sort_unstable();
        assert!(is_whole(&curve, 0), "rank {rank}: {curve:?}");
        let samples = sample_steps(project, usize::try_from(rank).unwrap());
        assert!(is_whole(&samples, 0), "samples of rank {rank}: {samples:?}");
    }
}
