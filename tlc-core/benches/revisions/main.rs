//! Sparse revisions: what a commit of a thousand cells costs, and what reading costs after a hundred
//! and after a thousand of them, beside DataFusion on one plain Parquet file of the same rows.
//!
//! Prints the table of `docs/benchmarks.md`. `--quick` takes a table of a tenth of the size and few
//! rounds; `--without-large` leaves out the ten million rows; `--peers FILE` adds what others took, as
//! `benches/peers/revisions.py` prints it; `--folder PATH` says on which disk. Every answer is compared with
//! what it must be before its time counts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark"
)]

#[path = "../measure/floor.rs"]
mod floor;
#[path = "../measure/hash.rs"]
mod hash;
mod large;
#[path = "../measure/mod.rs"]
mod measure;
mod reads;
#[path = "../measure/report.rs"]
mod report;
mod rows;
mod sides;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use floor::{Floor, bytes_below};
use measure::{median, quantile, time};
use reads::Reads;
use report::Report;
use rows::{Base, EDITS, Truth, edits};
use sides::Sides;
use tempfile::TempDir;
use tlc_core::arrow::array::{ArrayRef, AsArray as _, Int32Array};
use tlc_core::arrow::datatypes::Int32Type;
use tlc_core::{Root, ScanOptions, Snapshot, Table, block_on};

/// How much is measured.
struct Scale {
    n_rows: u64,
    rounds: usize,
    /// The revisions after which reading is measured.
    revisions: [u64; 2],
    /// The revisions that a table is opened with.
    revisions_max: u64,
}

const FULL: Scale = Scale {
    n_rows: 1_000_000,
    rounds: 9,
    revisions: [100, 1_000],
    revisions_max: 10_000,
};

const QUICK: Scale = Scale {
    n_rows: 100_000,
    rounds: 3,
    revisions: [10, 100],
    revisions_max: 1_000,
};

/// About the bytes of the files of a revision of a thousand cells, and of one cell.
const FILES: [usize; 2] = [3_500, 900];
const FILES_OF_ONE: [usize; 2] = [700, 900];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1..)
    };
    if let Some([work, folder, ..]) = after("--child") {
        return large::work(work, folder);
    }
    let scale = if after("--quick").is_some() {
        QUICK
    } else {
        FULL
    };
    let folder = match after("--folder").and_then(|rest| rest.first()) {
        Some(folder) => TempDir::new_in(folder).unwrap(),
        None => TempDir::new().unwrap(),
    };
    let mut report = Report::new();
    let mut bench = Bench::new(&folder, scale);
    for n in bench.scale.revisions {
        bench.commits(n, &mut report);
        bench.reads(n, &mut report);
    }
    bench.opens(&mut report);
    drop(bench);
    if after("--without-large").is_none() && after("--quick").is_none() {
        large::measure(&folder.path().join("large"), &mut report);
    }
    println!("{report}");
}

/// A table that gets more and more revisions.
struct Bench {
    folder: PathBuf,
    scale: Scale,
    root: Root,
    table: Table,
    sides: Sides,
    floor: Floor,
    first: Truth,
    n_revisions: u64,
}

impl Bench {
    fn new(folder: &TempDir, scale: Scale) -> Self {
        let folder = folder.path().to_path_buf();
        let root = block_on(Root::open(folder.join("root").to_str().unwrap())).unwrap();
        let project = root.project("bench").unwrap();
        let rows = Base::new(scale.n_rows);
        let table = block_on(project.create_table("t", rows, "rows")).unwrap();
        Self {
            sides: Sides::new(&root),
            floor: Floor::new(folder.join("floor")),
            first: Truth::new(scale.n_rows),
            n_revisions: 0,
            folder,
            scale,
            root,
            table,
        }
    }

    /// What revision `revision` sets: many cells at first, later only one.
    fn edits(&self, revision: u64) -> (Vec<u64>, Vec<i32>) {
        let is_one = revision > self.scale.revisions[1];
        edits(revision, self.scale.n_rows, if is_one { 1 } else { EDITS })
    }

    /// What the table must hold at a revision.
    fn truth(&self, revision: u64) -> Truth {
        self.first
            .edited((1..=revision).map(|revision| self.edits(revision)))
    }

    fn head(&self) -> Snapshot {
        block_on(self.table.head()).unwrap()
    }

    /// The next revision, and the bytes that it says it added.
    fn commit(&mut self) -> (Duration, u64) {
        self.n_revisions += 1;
        let (ids, labels) = self.edits(self.n_revisions);
        let labels: ArrayRef = Arc::new(Int32Array::from(labels));
        let start = Instant::now();
        let mut patch = self.head().patch();
        patch.set_column("label", &ids, &labels).unwrap();
        let committed = block_on(self.table.commit(&patch, "labels")).unwrap();
        let took = start.elapsed();
        assert_eq!(committed.cells, ids.len() as u64);
        (took, committed.bytes)
    }

    /// Commits until there are `end` revisions, each beside the least that could be done.
    fn commits(&mut self, end: u64, report: &mut Report) {
        let is_one = self.n_revisions >= self.scale.revisions[1];
        let (files, cells) = match is_one {
            true => (FILES_OF_ONE, "one cell".to_owned()),
            false => (FILES, format!("{EDITS} cells")),
        };
        let (start, before) = (self.n_revisions, bytes_below(&self.folder.join("root")));
        let (mut times, mut floors, mut over, mut sizes) = (vec![], vec![], vec![], vec![]);
        while self.n_revisions < end {
            let (took, bytes) = self.commit();
            let least = time(&mut || self.floor.put_two(files));
            times.push(took);
            floors.push(least);
            over.push(took.saturating_sub(least));
            sizes.push(bytes);
        }
        block_on(self.root.finish_background());
        let grown = bytes_below(&self.folder.join("root")) - before;
        let key = |name: &str| {
            if start == 0 {
                name.to_owned()
            } else {
                String::new()
            }
        };
        let first = start + 1;
        report.part(&format!("revisions {first} to {end} of {cells}"));
        let at = |times: &[Duration], percent| quantile(times.iter().copied(), percent);
        report.line("commit, p50", &key("commit_p50_ms"), at(&times, 50), "");
        report.line("commit, p99", &key("commit_p99_ms"), at(&times, 99), "");
        report.line("two synced files, p50", "", at(&floors, 50), "");
        report.line("two synced files, p99", "", at(&floors, 99), "");
        let what = "commit, above two synced files, p50";
        report.line(what, "", median(over), "≤ 1 ms");
        sizes.sort_unstable();
        let size = sizes[sizes.len() / 2];
        report.line("bytes of a revision, median", "", size, "≤ 5,000");
        let (what, key) = (
            "bytes a revision on disk, with checkpoints",
            key("bytes_per_revision"),
        );
        report.line(what, &key, grown / (end - start), "");
    }

    /// Reads after `n` revisions: the head, and the one in the middle.
    fn reads(&self, n: u64, report: &mut Report) {
        let is_first = n == self.scale.revisions[0];
        for (name, revision) in [("head", n), ("middle", n / 2)] {
            let snapshot = block_on(self.table.at(revision)).unwrap();
            let file = self.folder.join(format!("{name}-{n}.parquet"));
            self.sides.register(name, &snapshot, &file);
        }
        report.part(&format!("reading after {n} revisions"));
        let mut reads = Reads {
            sides: &self.sides,
            rounds: self.scale.rounds,
            is_keyed: is_first,
            report,
        };
        let (head, middle) = (self.truth(n), self.truth(n / 2));
        reads.whole(&head, ("head in full", "head_ms"), ("bench.t", "head"));
        let name = format!("bench.\"t@{}\"", n / 2);
        let tables = (name.as_str(), "middle");
        reads.whole(&middle, ("middle revision in full", "middle_ms"), tables);
        reads.pair(&head);
        let snapshot = self.head();
        reads.scans(&snapshot, &head);
        reads.filters(&head);
        reads.by_id(&snapshot, &head);
        reads.diff(&self.table, (n / 2, n), (&middle, &head));
    }

    /// Opens the table with very many revisions, as a process does that has just begun.
    fn opens(&mut self, report: &mut Report) {
        let end = self.scale.revisions_max;
        self.commits(end, report);
        let truth = self.truth(end);
        let (mut heads, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..self.scale.rounds {
            let start = Instant::now();
            let folder = self.folder.join("root");
            let root = block_on(Root::open(folder.to_str().unwrap())).unwrap();
            let table = block_on(root.project("bench").unwrap().table("t")).unwrap();
            let head = block_on(table.head()).unwrap();
            heads.push(start.elapsed());
            let start = Instant::now();
            let read = block_on(head.read(ScanOptions::new().columns(["label"]))).unwrap();
            labels.push(start.elapsed());
            assert_eq!(head.revision().0, end);
            let read = read.column(0).as_primitive::<Int32Type>();
            assert_eq!(read.values(), truth.labels());
        }
        report.part(&format!("opening a table of {end} revisions anew"));
        let what = "`Root::open` to `head()`";
        report.line(what, "", median(heads), "≤ 50 ms");
        report.line("then `label` of all rows", "", median(labels), "");
    }
}
