//! Confident learning over one epoch of 1,280,000 samples with the probabilities of 1,000 classes, of which a tenth have a wrong label:
//! how long it takes and how much memory, next to reading the same column once with the Parquet crate and doing nothing with it.
//!
//! `cargo bench --bench quality [-- --quick] [--folder PATH]`: some minutes and 6 GB of disk; `--quick` has a tenth of the samples. Each
//! side is a process of its own, since it is asked for the most memory that it ever had.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
};
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use tlc_core::{LabelIssueOptions, Project, Rows, block_on};

const CLASSES: usize = 1_000;
const SAMPLES: u64 = 1_280_000;
const SAMPLES_QUICK: u64 = 128_000;

/// How many samples are logged at once.
const BATCH: u64 = 512;

/// One in so many has a wrong label.
const WRONG_EVERY: u64 = 10;

/// What the model gives the class that it sees.
const SURE: f32 = 0.8;

/// A number that looks random.
fn scrambled(n: u64) -> u64 {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

/// The class of a sample.
fn class(id: u64) -> u64 {
    scrambled(id) % CLASSES as u64
}

fn is_wrong(id: u64) -> bool {
    scrambled(!id).is_multiple_of(WRONG_EVERY)
}

/// What is sure of the class, and the rest spread over the others, of each another share.
fn probabilities(id: u64, values: &mut Vec<f32>) {
    let start = values.len();
    let mut state = scrambled(id) | 1;
    for _ in 0..CLASSES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values.push(f32::from(u16::try_from(state >> 48).unwrap()));
    }
    let own = &mut values[start..];
    let class = usize::try_from(class(id)).unwrap();
    own[class] = 0.0;
    let rest = (1.0 - SURE) / own.iter().sum::<f32>();
    own.iter_mut().for_each(|value| *value *= rest);
    own[class] = SURE;
}

fn write(project: &Project, n_samples: u64) {
    let run = project.start_run("model").unwrap();
    for first in (0..n_samples).step_by(usize::try_from(BATCH).unwrap()) {
        let ids: Vec<u64> = (first..n_samples.min(first + BATCH)).collect();
        let mut values = Vec::with_capacity(ids.len() * CLASSES);
        ids.iter().for_each(|id| probabilities(*id, &mut values));
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let width = i32::try_from(CLASSES).unwrap();
        let values = Arc::new(Float32Array::from(values));
        let lists = FixedSizeListArray::new(item, width, values, None);
        let label = |id: &u64| match is_wrong(*id) {
            true => (class(*id) + 1) % CLASSES as u64,
            false => class(*id),
        };
        let labels = ids.iter().map(|id| i32::try_from(label(id)).unwrap());
        let columns: [(&str, ArrayRef); 2] = [
            ("probabilities", Arc::new(lists)),
            ("label", Arc::new(Int32Array::from_iter_values(labels))),
        ];
        let columns = RecordBatch::try_from_iter(columns).unwrap();
        run.samples(&Rows::new("val", 0, ids).unwrap(), &columns)
            .unwrap();
        if first % (64 * BATCH) == 0 {
            run.flush().unwrap();
        }
    }
    assert_eq!(run.finish().unwrap().warning(), None);
}

/// Says how many were found, and how many of them are wrong.
fn ask(project: &Project) -> String {
    let found =
        block_on(project.label_issues("model", "val", 0, LabelIssueOptions::new())).unwrap();
    let ids = found.column(0).as_primitive::<UInt64Type>().values();
    let n_wrong = ids.iter().filter(|id| is_wrong(**id)).count();
    format!("{} labels, {n_wrong} of them wrong", ids.len())
}

/// Reads the column as it lies there.
fn read(project: &Project) -> String {
    let files = block_on(project.sample_files(&"model".parse().unwrap())).unwrap();
    let (mut n_rows, mut sum) = (0, 0.0);
    for file in &files {
        let file = std::fs::File::open(Path::new("/").join(file.path.as_ref())).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["probabilities"]);
        for batch in builder.with_projection(mask).build().unwrap() {
            let batch = batch.unwrap();
            let lists = batch.column(0).as_fixed_size_list();
            let values = lists.values().as_primitive::<Float32Type>();
            sum += values.values().iter().step_by(CLASSES).sum::<f32>();
            n_rows += batch.num_rows();
        }
    }
    format!("{n_rows} rows (sum {sum:.0})")
}

/// The most memory that this process ever had, in MB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.map_or(0, |kb| kb.parse::<u64>().unwrap() / 1_000)
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

fn main() {
    let is_quick = std::env::args().any(|arg| arg == "--quick");
    let n_samples = if is_quick { SAMPLES_QUICK } else { SAMPLES };
    let scratch = tempfile::TempDir::new().unwrap();
    let folder = argument("--folder").map_or(scratch.path().to_owned(), PathBuf::from);
    let root = folder.join("root");
    let Some(side) = argument("--side") else {
        for side in ["write", "read", "ask", "read", "ask"] {
            let mut own = Command::new(std::env::current_exe().unwrap());
            own.args(["--side", side, "--folder"]).arg(&folder);
            own.args(is_quick.then_some("--quick"));
            assert!(own.status().unwrap().success());
        }
        return;
    };
    let project = block_on(Project::open(root.to_str().unwrap(), "bench")).unwrap();
    let start = Instant::now();
    let said = match side.as_str() {
        "write" => {
            write(&project, n_samples);
            format!("{n_samples} samples x {CLASSES} classes")
        }
        "ask" => ask(&project),
        _ => read(&project),
    };
    let (took, memory) = (start.elapsed().as_secs_f64(), memory());
    println!("{side:<6} {took:>7.2} s {memory:>6} MB  {said}");
}
