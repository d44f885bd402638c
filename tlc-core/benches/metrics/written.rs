//! What logging sample metrics costs: 50,000 samples an epoch in batches of 256, each epoch durable before
//! the next one begins. The references copy a batch, and append the bytes of an epoch to a file that grows and is synced.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tlc_core::arrow::array::{Array as _, RecordBatch};
use tlc_core::{Project, Rows, Run, RunOptions};

use super::floor::bytes_below;
use super::measure::{Paired, median, quantile, time};
use super::report::{Report, grouped};
use super::samples::{Batch, SAMPLES, epoch};

const ROUNDS: usize = 3;

/// What the rounds took.
#[derive(Default)]
struct Times {
    batches: Vec<Duration>,
    copies: Vec<Duration>,
    /// The ends of epochs, beside the reference.
    ends: Vec<(Duration, Duration)>,
    durable: Vec<Duration>,
    finished: Vec<Duration>,
}

pub(crate) fn sample_metrics(n_epochs: u64, report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let (root, plain) = (folder.path().join("root"), folder.path().join("plain"));
    let project = super::open(&root);
    let epochs: Vec<Vec<Batch>> = (0..n_epochs).map(epoch).collect();
    let bytes: Vec<u8> = epochs[0].iter().flat_map(copied).flatten().collect();
    let mut times = Times::default();
    for round in 0..ROUNDS {
        let ends = write(&project, round, &epochs, &mut times);
        let mut file = File::create(&plain).unwrap();
        let beside = |end| (end, time(&mut || append_synced(&mut file, &bytes)));
        times.ends.extend(ends.into_iter().map(beside));
        let copies = epochs.iter().flatten();
        let copies = copies.map(|batch| time(&mut || copied(batch)));
        times.copies.extend(copies);
    }
    let size = bytes_below(&root.join("bench/runs/run-0"));
    tell(report, times, (n_epochs * SAMPLES) as f64, size);
}

/// One run; gives how long each epoch was waited for.
fn write(
    project: &Project,
    round: usize,
    epochs: &[Vec<Batch>],
    times: &mut Times,
) -> Vec<Duration> {
    let options = RunOptions::from(format!("run-{round}")).without_system();
    let mut ends = Vec::new();
    let start = Instant::now();
    let run = project.start_run(options).unwrap();
    for (number, batches) in (0..).zip(epochs) {
        for batch in batches {
            times.batches.push(time(&mut || log(&run, number, batch)));
        }
        ends.push(time(&mut || run.flush().unwrap()));
    }
    times.durable.push(start.elapsed());
    let record = run.finish().unwrap();
    times.finished.push(start.elapsed());
    assert_eq!(record.warning(), None);
    ends
}

/// What a training loop does with what it has computed.
fn log(run: &Run, epoch: i64, batch: &Batch) {
    let rows = Rows::new("train", epoch, batch.ids.clone()).unwrap();
    let columns = RecordBatch::try_from_iter(batch.columns.clone()).unwrap();
    run.samples(&rows, &columns).unwrap();
}

/// All that a batch holds, in memory of its own.
fn copied(batch: &Batch) -> Vec<Vec<u8>> {
    let columns = batch.columns.iter().map(|column| column.1.to_data());
    let leaves = columns.flat_map(|data| match data.child_data() {
        [] => vec![data],
        children => children.to_vec(),
    });
    let leaves = leaves.chain([batch.ids.to_data()]);
    leaves.map(|leaf| leaf.buffers()[0].to_vec()).collect()
}

fn append_synced(file: &mut File, bytes: &[u8]) {
    file.write_all(bytes).unwrap();
    file.sync_data().unwrap();
}

fn tell(report: &mut Report, times: Times, n_rows: f64, size: u64) {
    let rows = grouped(n_rows);
    report.part(&format!("{rows} rows of sample metrics, in batches of 256"));
    for (percent, aim) in [(50, "≤ 10 µs"), (99, "")] {
        let [own, copy] =
            [&times.batches, &times.copies].map(|times| quantile(times.iter().copied(), percent));
        let what = format!("a batch, in the training thread, p{percent}");
        let key = format!("batch_p{percent}_us");
        report.line(&what, &key, &Paired::from_iter([(own, copy)]), aim);
    }
    let ends: Paired = times.ends.into_iter().collect();
    let what = "the end of an epoch, until it is durable";
    report.line(what, "epoch_end_ms", &ends, "");
    // Of others a run has no end beside that its epochs are durable.
    for (what, took, aim) in [
        ("each epoch durable", times.durable, "≥ 2,000,000"),
        (
            "and the run finished, folded to Parquet",
            times.finished,
            "",
        ),
    ] {
        let rate = n_rows / median(took).as_secs_f64();
        report.line(&format!("rows a second, {what}"), "rows_per_s", rate, aim);
    }
    let what = "bytes a row, all files of the run";
    report.line(what, "bytes_per_row", size as f64 / n_rows, "");
}
