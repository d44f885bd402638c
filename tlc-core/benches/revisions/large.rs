//! Ten million rows: what one cell costs, and how much memory a commit and a scan need. Each is a
//! process of its own, for a process tells only the most memory that it ever had.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use tlc_core::arrow::array::{ArrayRef, AsArray as _, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::{Float32Type, Int32Type, Int64Type};
use tlc_core::{Project, Root, ScanOptions, Sql, block_on};

use super::measure::median;
use super::report::Report;
use super::rows::{Base, COLUMNS, edits, first_label, float};

const ROWS: u64 = 10_000_000;
const COMMITS: u64 = 50;
const MEMORY: &str = "≤ 2,000,000,000";

/// What a child has to tell: the median time, bytes, and the most memory.
type Told = (Duration, u64, u64);

pub(crate) fn measure(folder: &Path, report: &mut Report) {
    report.part("10M rows x 20 columns, each line a process of its own");
    let (took, bytes, memory) = child("create", folder);
    let what = format!("create the table, {} MB", bytes / 1_000_000);
    report.line(&what, "", took, "");
    report.line("memory of that", "", memory, MEMORY);
    let (took, bytes, memory) = child("commit", folder);
    report.line("commit of one cell", "", took, "");
    report.line("bytes of one cell", "", bytes, "≤ 4,000");
    report.line("memory of commits", "", memory, MEMORY);
    for (work, what) in [("scan", "scan in full"), ("sql", "`SELECT` in full")] {
        let (took, _, memory) = child(work, folder);
        report.line(what, "", took, "");
        report.line("memory of that", "", memory, MEMORY);
    }
}

fn child(work: &str, folder: &Path) -> Told {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--child", work, folder.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Vec<u64> = text
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    (Duration::from_nanos(told[0]), told[1], told[2])
}

/// What a child process does.
pub(crate) fn work(work: &str, folder: &str) {
    let (took, bytes) = match work {
        "create" => create(folder),
        "commit" => commit(folder),
        "scan" => scan(folder),
        _ => sql(folder),
    };
    println!("{} {bytes} {}", took.as_nanos(), peak_memory());
}

/// The most memory that this process ever had, as the system tells it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    kib.parse::<u64>().unwrap() * 1024
}

fn create(folder: &str) -> (Duration, u64) {
    let project = block_on(Project::open(folder, "bench")).unwrap();
    let start = Instant::now();
    block_on(project.create_table("large", Base::new(ROWS), "rows")).unwrap();
    (
        start.elapsed(),
        super::floor::bytes_below(Path::new(folder)),
    )
}

fn commit(folder: &str) -> (Duration, u64) {
    let project = block_on(Project::open(folder, "bench")).unwrap();
    let table = block_on(project.table("large")).unwrap();
    let (mut times, mut bytes) = (Vec::new(), 0);
    for revision in 1..=COMMITS {
        let (ids, labels) = edits(revision, ROWS, 1);
        let labels: ArrayRef = Arc::new(Int32Array::from(labels));
        let start = Instant::now();
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.set_column("label", &ids, &labels).unwrap();
        bytes = block_on(table.commit(&patch, "label")).unwrap().bytes;
        times.push(start.elapsed());
    }
    (median(times), bytes)
}

/// Counts the rows and looks at some columns of each.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    fn see(&mut self, batch: &RecordBatch, edited: &[(u64, i32)]) {
        let column = |name| batch.column_by_name(name).unwrap();
        let ids = column("id").as_primitive::<Int64Type>().values();
        let labels = column("label").as_primitive::<Int32Type>().values();
        let floats = column("f5").as_primitive::<Float32Type>().values();
        for (at, id) in ids.iter().enumerate() {
            let id = id.cast_unsigned();
            let set = edited.iter().rev().find(|edit| edit.0 == id);
            let label = set.map_or_else(|| first_label(id), |edit| edit.1);
            assert_eq!((labels[at], floats[at]), (label, float(5, id)), "row {id}");
        }
        self.0 += ids.len() as u64;
    }
}

fn edited() -> Vec<(u64, i32)> {
    let edits = (1..=COMMITS).map(|revision| edits(revision, ROWS, 1));
    edits.map(|(ids, labels)| (ids[0], labels[0])).collect()
}

fn scan(folder: &str) -> (Duration, u64) {
    let (edited, mut seen) = (edited(), Seen::default());
    let project = block_on(Project::open(folder, "bench")).unwrap();
    let start = Instant::now();
    let head = block_on(async { project.table("large").await?.head().await }).unwrap();
    let mut rows = head.scan(ScanOptions::new().columns(COLUMNS)).unwrap();
    let mut checking = Duration::ZERO;
    while let Some(batch) = block_on(rows.try_next()).unwrap() {
        let start = Instant::now();
        seen.see(&batch, &edited);
        checking += start.elapsed();
    }
    assert_eq!(seen.0, ROWS);
    (start.elapsed() - checking, 0)
}

fn sql(folder: &str) -> (Duration, u64) {
    let (edited, mut seen) = (edited(), Seen::default());
    let root = block_on(Root::open(folder)).unwrap();
    let sql = block_on(Sql::open(&root)).unwrap();
    let query = format!("SELECT {} FROM bench.large", COLUMNS.join(", "));
    let start = Instant::now();
    let mut rows = block_on(sql.query(&query)).unwrap();
    let mut checking = Duration::ZERO;
    while let Some(batch) = block_on(rows.try_next()).unwrap() {
        let start = Instant::now();
        seen.see(&batch, &edited);
        checking += start.elapsed();
    }
    assert_eq!(seen.0, ROWS);
    (start.elapsed() - checking, 0)
}
