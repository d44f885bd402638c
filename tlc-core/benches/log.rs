//! What logging costs the training thread: ten scalars a step, as a ratio to two references.
//!
//! The references do the least that a logger can do on the training thread: push to a vector
//! behind a lock, and format a line into a buffered file. After criterion's own figures one line
//! for each call prints the ratios and the tail, measured side by side in one run.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field};
use tlc_core::{Project, Rows, Run, block_on};

const NAMES: [&str; 10] = [
    "train/loss",
    "train/accuracy",
    "train/grad_norm",
    "lr",
    "momentum",
    "time/forward",
    "time/backward",
    "memory",
    "val/loss",
    "val/accuracy",
];

/// Steps of one round of the side-by-side measurement.
const STEPS: i64 = 20_000;

fn values(step: i64) -> [(&'static str, f64); 10] {
    #[expect(clippy::cast_precision_loss, reason = "any value will do")]
    NAMES.map(|name| (name, step as f64 * 0.5))
}

fn start() -> (tempfile::TempDir, Run) {
    let folder = tempfile::tempdir().unwrap();
    let project = block_on(Project::open(folder.path().to_str().unwrap(), "bench")).unwrap();
    let run = project.start_run("run").unwrap();
    (folder, run)
}

/// A vector behind a lock, emptied now and then as a writer would.
#[derive(Default)]
struct Pushed(Mutex<Vec<(String, i64, f64)>>);

impl Pushed {
    fn log(&self, step: i64, values: &[(&str, f64)]) {
        let mut rows = self.0.lock().unwrap();
        if rows.len() > 1 << 16 {
            rows.clear();
        }
        rows.extend(
            values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), step, *value)),
        );
    }
}

fn write_lines(file: &mut BufWriter<File>, step: i64, values: &[(&str, f64)]) {
    for (name, value) in values {
        writeln!(
            file,
            "{{\"step\":{step},\"name\":\"{name}\",\"value\":{value}}}"
        )
        .unwrap();
    }
}

/// Median, 99th percentile and mean of one call, in nanoseconds.
fn measure(mut call: impl FnMut(i64)) -> [f64; 3] {
    let mut times: Vec<u64> = Vec::with_capacity(usize::try_from(STEPS).unwrap());
    for step in 0..STEPS {
        let start = Instant::now();
        call(step);
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap());
    }
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a benchmark")]
    let [median, tail, mean] = [
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times.iter().sum::<u64>() / times.len() as u64,
    ]
    .map(|nanos| nanos as f64);
    [median, tail, mean]
}

fn print_ratios() {
    let (folder, run) = start();
    let pushed = Pushed::default();
    let mut lines = BufWriter::new(File::create(folder.path().join("lines")).unwrap());
    // In turns, so that what else the machine does falls on all of them; the best round counts.
    let mut best = [[f64::INFINITY; 3]; 3];
    for _ in 0..5 {
        let round = [
            measure(|step| run.log(step, black_box(&values(step)))),
            measure(|step| pushed.log(step, black_box(&values(step)))),
            measure(|step| write_lines(&mut lines, step, black_box(&values(step)))),
        ];
        for (best, round) in best.iter_mut().zip(round) {
            for (best, round) in best.iter_mut().zip(round) {
                *best = best.min(round);
            }
        }
        run.flush().unwrap();
    }
    let [tlc, push, line] = best;
    for (what, index) in [("p50", 0), ("p99", 1), ("mean", 2)] {
        println!(
            "log, a step of ten scalars, {what}: tlc {:.0} ns; a locked vector of owned rows {:.0} ns (ratio {:.2}); lines into a BufWriter {:.0} ns (ratio {:.2})",
            tlc[index],
            push[index],
            tlc[index] / push[index],
            line[index],
            tlc[index] / line[index],
        );
    }
    let record = run.finish().unwrap();
    println!("log, lost: {:?}", record.lost);
}

/// Times `n` calls, and lets storage catch up after each hundred thousand rows, untimed: a training
/// step takes longer than a log call, so the buffer of a real program is never full.
fn paced(n: u64, run: &Run, calls_max: u64, mut call: impl FnMut()) -> Duration {
    let (mut left, mut total) = (n, Duration::ZERO);
    while left > 0 {
        let calls = left.min(calls_max);
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        total += start.elapsed();
        run.flush().unwrap();
        left -= calls;
    }
    total
}

fn scalars(c: &mut Criterion) {
    let mut group = c.benchmark_group("log/ten scalars");
    group.measurement_time(Duration::from_secs(3));
    let (folder, run) = start();
    let mut step = 0;
    group.bench_function("tlc", |b| {
        b.iter_custom(|n| {
            paced(n, &run, 10_000, || {
                step += 1;
                run.log(step, black_box(&values(step)));
            })
        });
    });
    let pushed = Pushed::default();
    group.bench_function("reference: locked vector", |b| {
        b.iter(|| pushed.log(1, black_box(&values(1))));
    });
    let mut lines = BufWriter::new(File::create(folder.path().join("lines")).unwrap());
    group.bench_function("reference: lines into a BufWriter", |b| {
        b.iter(|| write_lines(&mut lines, 1, black_box(&values(1))));
    });
    group.finish();
    run.finish().unwrap();
    print_ratios();
}

/// A batch of 64 samples with a loss and an embedding of 64 floats.
fn samples(c: &mut Criterion) {
    let (_folder, run) = start();
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5; 64]));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let embedding: ArrayRef = Arc::new(FixedSizeListArray::new(
        item,
        64,
        Arc::new(Float32Array::from(vec![0.5; 64 * 64])),
        None,
    ));
    let columns = RecordBatch::try_from_iter([("loss", loss), ("embedding", embedding)]).unwrap();
    let rows = Rows::new("train", 0, (0..64).collect::<Vec<_>>()).unwrap();
    let mut group = c.benchmark_group("log/a batch of 64 samples");
    group.measurement_time(Duration::from_secs(3));
    group.bench_function("tlc", |b| {
        b.iter_custom(|n| {
            paced(n, &run, 2_000, || {
                run.samples(&rows, black_box(&columns)).unwrap()
            })
        });
    });
    group.bench_function("reference: copy the floats", |b| {
        b.iter(|| black_box(vec![0.5_f32; 64 * 65].clone()));
    });
    group.finish();
    run.finish().unwrap();
}

criterion_group!(benches, scalars, samples);
criterion_main!(benches);
