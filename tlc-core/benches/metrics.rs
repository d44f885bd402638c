//! What a run's metrics cost to log, to store and to read: a million scalars, many small runs, and sample metrics.
//!
//! Ten scalars at each of 100,000 steps; 1,000 runs of ten scalars at 100 steps and twenty parameters, of
//! which the best twenty are asked for; and 50,000 samples in each of twenty epochs. The references do the least
//! that any program would have to: push to a vector behind a lock, append the same numbers to one file that is
//! synced, put two synced files, read the values back from such a file.
//!
//! `cargo bench --bench metrics [-- --quick] [--runs N] [--peers FILE]`, where the file holds what others took, as
//! `benches/peers/metrics.py` prints it. Prints the tables of `docs/benchmarks.md`; with `--runs` only the part about that many runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark"
)]

#[path = "measure/floor.rs"]
mod floor;
#[path = "measure/hash.rs"]
mod hash;
mod measure;
#[path = "measure/report.rs"]
mod report;
#[path = "measure/samples.rs"]
mod samples;
#[path = "metrics/steps.rs"]
mod steps;
#[path = "metrics/written.rs"]
mod written;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use floor::{Floor, bytes_below};
use hash::unit;
use measure::{median, paired, time};
use report::{Report, grouped};
use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::Float64Type;
use tlc_core::{Project, Root, Run, RunOptions, Sql, block_on};

const ROUNDS: usize = 5;
const NAMES: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

/// The value of metric `k` at a step: it falls, and is noisy.
fn value(k: usize, step: u64) -> f64 {
    let k = k as u64;
    (-(step as f64) / 20_000.0).exp() * (k + 1) as f64 / 10.0 + 0.05 * (unit(1_000 + k, step) - 0.5)
}

/// Ten values a step, step by step.
fn values(n_steps: u64) -> Vec<[f64; 10]> {
    let steps = 0..n_steps;
    let values = steps.map(|step| std::array::from_fn(|k| value(k, step)));
    values.collect()
}

fn open(root: &Path) -> Project {
    block_on(Project::open(root.to_str().unwrap(), "bench")).unwrap()
}

fn log(run: &Run, values: &[[f64; 10]]) {
    each_step(values, |step, named| run.log(step, named));
}

fn each_step(values: &[[f64; 10]], mut log: impl FnMut(i64, &[(&str, f64)])) {
    for (step, values) in (0..).zip(values) {
        let named: [(&str, f64); 10] = std::array::from_fn(|k| (NAMES[k], values[k]));
        log(step, &named);
    }
}

/// Eight bytes a value, behind each other in one file.
fn write_plain(path: &Path, values: &[[f64; 10]]) {
    let bytes: Vec<u8> = values
        .iter()
        .flatten()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut file = File::create(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
}

/// One of the ten series of that file.
fn read_plain(path: &Path) -> Vec<f64> {
    let bytes = fs::read(path).unwrap();
    let (values, _) = bytes.as_chunks::<8>();
    values
        .iter()
        .skip(3)
        .step_by(10)
        .map(|value| f64::from_le_bytes(*value))
        .collect()
}

fn series(rows: &[RecordBatch]) -> Vec<f64> {
    let column = |batch: &RecordBatch| {
        batch
            .column_by_name("value")
            .unwrap()
            .as_primitive::<Float64Type>()
            .values()
            .to_vec()
    };
    rows.iter().flat_map(column).collect()
}

fn ask(sql: &Sql, query: &str) -> Vec<RecordBatch> {
    block_on(async { sql.collect(query).await }).unwrap()
}

fn a_million(n_steps: u64, report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let (root, plain) = (folder.path().join("root"), folder.path().join("plain"));
    let values = values(n_steps);
    let n = n_steps as f64 * 10.0;
    let steps = grouped(n_steps as f64);
    report.part(&format!(
        "{} scalars, ten at each of {steps} steps",
        grouped(n)
    ));
    steps::training_thread(&values, report);
    let (mut round, mut flushed) = (0, Vec::new());
    let mut write = || {
        round += 1;
        let project = open(&root);
        let options = RunOptions::from(format!("run-{round}")).without_system();
        let start = Instant::now();
        let run = project.start_run(options).unwrap();
        log(&run, &values);
        run.flush().unwrap();
        flushed.push(start.elapsed());
        assert_eq!(run.finish().unwrap().warning(), None);
    };
    let written = paired(ROUNDS, &mut write, || write_plain(&plain, &values));
    let what = "begun, logged and flushed (synced)";
    report.line(what, "million_ms", median(flushed), "≤ 200 ms");
    let what = "and the run finished, folded to Parquet";
    report.line(what, "million_ms", &written, "");
    let bytes = bytes_below(&root.join("bench/runs/run-1")) as f64 / n;
    let what = "bytes a value, all files of the run";
    report.line(what, "bytes_per_value", bytes, "≤ 9");
    one_series(&root, &plain, report);
}

fn one_series(root: &Path, plain: &Path, report: &mut Report) {
    let expected = read_plain(plain);
    let query = "SELECT value FROM bench.scalars WHERE run = 'run-1' AND name = 'm3' ORDER BY step";
    let cold = || assert!(series(&ask(&opened(root), query)) == expected);
    let read = paired(ROUNDS, cold, || read_plain(plain));
    let what = "one series by SQL, root opened anew";
    report.line(what, "series_first_ms", &read, "≤ 10 ms");
    let sql = opened(root);
    let warm = || assert!(series(&ask(&sql, query)) == expected);
    let read = paired(ROUNDS, warm, || read_plain(plain));
    report.line("again", "series_again_ms", &read, "");
}

fn opened(root: &Path) -> Sql {
    let open = async { Sql::open(&Root::open(root.to_str().unwrap()).await?).await };
    block_on(open).unwrap()
}

/// The learning rate of a run.
fn rate(run: u64) -> f64 {
    10_f64.powf(-5.0 + 4.0 * unit(2_000, run))
}

fn params(run: u64) -> BTreeMap<String, f64> {
    let lr = ("lr".to_owned(), rate(run));
    let others = (0..19_u64).map(|j| (format!("f{j}"), unit(2_001 + j, run)));
    others.chain([lr]).collect()
}

/// The value of metric `k` of a run at a step.
fn run_value(k: usize, run: u64, step: u64) -> f64 {
    let k = k as u64;
    unit(2_100 + k, run * 1_000 + step) * 0.1 + unit(2_200 + k, run) * (step + 1) as f64 / 100.0
}

fn write_run(project: &Project, run: u64) {
    let options = RunOptions::from(format!("run-{run:04}")).without_system();
    let started = project.start_run(options).unwrap();
    started.params(&params(run)).unwrap();
    for step in 0..100_u64 {
        let named: [(&str, f64); 10] = std::array::from_fn(|k| (NAMES[k], run_value(k, run, step)));
        started.log(i64::try_from(step).unwrap(), &named);
    }
    started.finish().unwrap();
}

/// The names of the twenty runs whose `m3` is highest at last, of those with a low learning rate.
fn best(n_runs: u64) -> Vec<String> {
    let runs = (0..n_runs).filter(|run| rate(*run) < 0.01);
    let mut runs: Vec<(f64, u64)> = runs.map(|run| (run_value(3, run, 99), run)).collect();
    runs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names = runs.iter().map(|run| format!("run-{:04}", run.1));
    names.take(20).collect()
}

/// The same, asked.
fn ask_best(sql: &Sql) -> Vec<String> {
    let query = "SELECT name FROM bench.runs WHERE CAST(parameters['lr'] AS DOUBLE) < 0.01 ORDER BY scalars['m3'] DESC LIMIT 20";
    let rows = ask(sql, query);
    let names = rows
        .iter()
        .flat_map(|batch| batch.column(0).as_string::<i32>());
    names.map(|name| name.unwrap().to_owned()).collect()
}

/// The same, asked by a process of its own.
fn ask_best_anew(root: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.arg("--child").arg(root).output().unwrap();
    let names = String::from_utf8(child.stdout).unwrap();
    names.lines().map(ToOwned::to_owned).collect()
}

fn many_runs(n_runs: u64, report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let project = open(&root);
    let mut floor = Floor::new(folder.path().join("floor"));
    let mut run = 0;
    let mut write = || {
        write_run(&project, run);
        run += 1;
    };
    let rounds = usize::try_from(n_runs).unwrap() - 1;
    let written = paired(rounds, &mut write, || floor.put_two([4_096; 2]));
    let runs = grouped(n_runs as f64);
    report.part(&format!("{runs} runs of 1,000 scalars and 20 parameters"));
    report.line(
        "a run, beside two synced files",
        "run_ms",
        &written,
        "≤ 0.3 ms",
    );
    let bytes = bytes_below(&root.join("bench")) / n_runs;
    report.line("bytes a run", "bytes_per_run", bytes, "");
    let expected = best(n_runs);
    let asked = |ask: &dyn Fn() -> Vec<String>| {
        let asked = || time(&mut || assert_eq!(ask(), expected));
        median(std::iter::repeat_with(asked).take(ROUNDS))
    };
    let process = asked(&|| ask_best_anew(&root));
    let what = "the best 20 by SQL, a process of its own";
    report.line(what, "top_process_ms", process, "≤ 25 ms");
    let first = asked(&|| ask_best(&opened(&root)));
    report.line("root opened anew", "top_first_ms", first, "");
    let sql = opened(&root);
    let again = asked(&|| ask_best(&sql));
    report.line("again", "top_again_ms", again, "≤ 1 ms");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, root] = &arguments[..]
        && child == "--child"
    {
        for name in ask_best(&opened(Path::new(root))) {
            println!("{name}");
        }
        return;
    }
    let mut n_runs = arguments
        .iter()
        .skip_while(|argument| *argument != "--runs");
    if let Some(n_runs) = n_runs.nth(1) {
        let mut report = Report::new();
        many_runs(n_runs.parse().unwrap(), &mut report);
        return println!("{report}");
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let scale = if is_quick { 10 } else { 1 };
    let mut report = Report::new();
    a_million(100_000 / scale, &mut report);
    many_runs(1_000 / scale, &mut report);
    let mut other = Report::new();
    written::sample_metrics(samples::EPOCHS / scale, &mut other);
    println!("{report}\n{other}");
}
