//! What a run's metrics cost to store and to read: a million values, and many small runs.
//!
//! The values and the questions are those of two workloads: ten scalars at each of 100,000 steps; and 1,000
//! runs of ten scalars at 100 steps and twenty parameters, of which the best twenty are asked for. The
//! references do the least that any program would have to: the same numbers appended to one file, which
//! is synced; two synced files; the values read back from such a file.
//!
//! `cargo bench --profile dev --bench metrics [-- --quick | -- --runs 10000]`. What logging costs the training thread is measured by `log`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod measure;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use measure::paired;
use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::Float64Type;
use tlc_core::{Project, Root, Run, RunOptions, Sql, block_on};

const ROUNDS: usize = 5;
const NAMES: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

/// A hash in place of random numbers, so that every program can make the same.
fn unit(seed: u64, i: u64) -> f64 {
    let z = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add((i + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The value of metric `k` at a step: it falls, and is noisy.
fn value(k: usize, step: u64) -> f64 {
    let k = k as u64;
    (-(step as f64) / 20_000.0).exp() * (k + 1) as f64 / 10.0 + 0.05 * (unit(1_000 + k, step) - 0.5)
}

/// Ten values a step, step by step.
fn values(n_steps: u64) -> Vec<[f64; 10]> {
    let steps = 0..n_steps;
    steps
        .map(|step| std::array::from_fn(|k| value(k, step)))
        .collect()
}

fn open(root: &Path) -> Project {
    block_on(Project::open(root.to_str().unwrap(), "bench")).unwrap()
}

fn log(run: &Run, values: &[[f64; 10]]) {
    for (step, values) in values.iter().enumerate() {
        let named: [(&str, f64); 10] = std::array::from_fn(|k| (NAMES[k], values[k]));
        run.log(i64::try_from(step).unwrap(), &named);
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    sizes.sum()
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

fn a_million(n_steps: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (root, plain) = (folder.path().join("root"), folder.path().join("plain"));
    let values = values(n_steps);
    let n = n_steps * 10;
    let mut round = 0;
    let (mut flushed, mut lost) = (Vec::new(), 0);
    let mut write = || {
        round += 1;
        let project = open(&root);
        let options = RunOptions::from(format!("run-{round}")).without_system();
        let start = Instant::now();
        let run = project.start_run(options).unwrap();
        log(&run, &values);
        run.flush().unwrap();
        flushed.push(start.elapsed());
        lost += run.finish().unwrap().lost.scalars;
    };
    let written = paired(ROUNDS, &mut write, || write_plain(&plain, &values));
    let flushed = measure::median(flushed.into_iter());
    println!("{n} values, begun, logged and flushed            {flushed:>12.2?}");
    println!("{n} values, and finished (folded to Parquet)     {written}; lost {lost}");
    let bytes = bytes_below(&root.join("bench/runs/run-1"));
    println!(
        "bytes a value, all files of the run             {:>12.2}",
        bytes as f64 / n as f64
    );
    let expected = read_plain(&plain);
    let query = "SELECT value FROM bench.scalars WHERE run = 'run-1' AND name = 'm3' ORDER BY step";
    let cold = || {
        let rows = block_on(async {
            let sql = Sql::open(&Root::open(root.to_str().unwrap()).await?).await?;
            sql.collect(query).await
        });
        assert!(series(&rows.unwrap()) == expected);
    };
    let read = paired(ROUNDS, cold, || read_plain(&plain));
    println!("one series of {n_steps}, root opened anew, by SQL       {read}");
    let sql = block_on(Sql::open(
        &block_on(Root::open(root.to_str().unwrap())).unwrap(),
    ))
    .unwrap();
    let warm = || assert!(series(&ask(&sql, query)) == expected);
    println!(
        "one series of {n_steps}, again                         {}",
        paired(ROUNDS, warm, || read_plain(&plain))
    );
}

fn params(run: u64) -> BTreeMap<String, f64> {
    let lr = ("lr".to_owned(), 10_f64.powf(-5.0 + 4.0 * unit(2_000, run)));
    let others = (0..19_u64).map(|j| (format!("f{j}"), unit(2_001 + j, run)));
    others.chain([lr]).collect()
}

fn write_run(project: &Project, run: u64) {
    let options = RunOptions::from(format!("run-{run:04}")).without_system();
    let started = project.start_run(options).unwrap();
    started.params(&params(run)).unwrap();
    for step in 0..100_u64 {
        let named: [(&str, f64); 10] = std::array::from_fn(|k| {
            let m = k as u64;
            let value = unit(2_100 + m, run * 1_000 + step) * 0.1
                + unit(2_200 + m, run) * (step + 1) as f64 / 100.0;
            (NAMES[k], value)
        });
        started.log(i64::try_from(step).unwrap(), &named);
    }
    started.finish().unwrap();
}

/// What no durable run can do without: its beginning and its end, each a synced file.
fn two_files(folder: &Path, n: &mut u64) {
    for _ in 0..2 {
        *n += 1;
        let path = folder.join(n.to_string());
        let mut file = File::create(&path).unwrap();
        file.write_all(&[0; 4_096]).unwrap();
        file.sync_all().unwrap();
        File::open(folder).unwrap().sync_all().unwrap();
    }
}

fn many_runs(n_runs: u64) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let project = open(&root);
    let (mut run, mut n) = (0, 0);
    let mut write = || {
        write_run(&project, run);
        run += 1;
    };
    let rounds = usize::try_from(n_runs).unwrap() - 1;
    let written = paired(rounds, &mut write, || two_files(folder.path(), &mut n));
    println!("a run of 1,000 values and 20 parameters         {written}");
    let query = "SELECT name FROM bench.runs WHERE CAST(parameters['lr'] AS DOUBLE) < 0.01 ORDER BY scalars['m3'] DESC LIMIT 20";
    let open = || {
        block_on(Sql::open(
            &block_on(Root::open(root.to_str().unwrap())).unwrap(),
        ))
        .unwrap()
    };
    let first = |_| measure::time(&mut || ask(&open(), query));
    let first = measure::median((0..ROUNDS).map(first));
    println!("top 20 of {n_runs} runs, root opened anew           {first:>12.2?}");
    fs::remove_file(root.join("bench/cache/runs.pack")).unwrap_or_default();
    let unpacked = |_| measure::time(&mut || ask(&open(), query));
    let unpacked = measure::median((0..ROUNDS).map(unpacked));
    println!("top 20 of {n_runs} runs, the same without the pack  {unpacked:>12.2?}");
    let sql = open();
    let rows = ask(&sql, query);
    assert!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() == 20);
    let again = |_| measure::time(&mut || ask(&sql, query));
    let again = measure::median((0..ROUNDS).map(again));
    println!("top 20 of {n_runs} runs, again                      {again:>12.2?}");
    let bare =
        |_| measure::time(&mut || ask(&sql, "SELECT name FROM bench.runs WHERE name = 'run-0007'"));
    let bare = measure::median((0..ROUNDS).map(bare));
    println!("one of {n_runs} runs by its name, again             {bare:>12.2?}");
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n_runs = args.iter().skip_while(|arg| *arg != "--runs").nth(1);
    if let Some(n_runs) = n_runs {
        return many_runs(n_runs.parse().unwrap());
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let scale = if is_quick { 10 } else { 1 };
    a_million(100_000 / scale);
    many_runs(1_000 / scale);
}
