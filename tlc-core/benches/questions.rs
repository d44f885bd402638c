//! Questions about sample metrics, next to plain SQL that gives the same rows: 50,000 samples over 20
//! epochs, with embeddings of 64 floats.
//!
//! *First* is a root that was just opened, on files that the operating system has at hand; *again* is the
//! same root asked once more. `cargo bench --bench questions [-- --peers FILE]`, where the file holds
//! what others took, as `benches/peers/metrics.py` prints it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark"
)]

#[path = "measure/hash.rs"]
mod hash;
mod measure;
#[path = "measure/report.rs"]
mod report;
#[path = "measure/samples.rs"]
mod samples;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::{median, paired};
use report::Report;
use samples::{Batch, EPOCHS, SAMPLES, epoch, label};
use tempfile::TempDir;
use tlc_core::arrow::array::{ArrayRef, Int32Array, RecordBatch, RecordBatchIterator};
use tlc_core::{ClassOptions, Project, Root, Rows, Sql, block_on};

const ROUNDS: usize = 21;
const ROUNDS_FIRST: usize = 5;

/// A table of labels, and a run that logs every sample in every epoch, each time in another order.
fn make(project: &Project) {
    let classes: ArrayRef = Arc::new(Int32Array::from_iter_values((0..SAMPLES).map(label)));
    let rows = RecordBatch::try_from_iter([("class", classes)]).unwrap();
    let reader = RecordBatchIterator::new([Ok(rows.clone())], rows.schema());
    let table = block_on(project.create_table("train", reader, "made")).unwrap();
    let run = project.start_run("lenet").unwrap();
    for number in 0..EPOCHS {
        for (step, Batch { ids, columns }) in (0_i64..).zip(epoch(number)) {
            let classes = ids.values().iter().map(|id| label(*id));
            let classes: ArrayRef = Arc::new(Int32Array::from_iter_values(classes));
            let columns = columns.into_iter().chain([("label", classes)]);
            let columns = RecordBatch::try_from_iter(columns).unwrap();
            let rows = Rows::new("train", number.cast_signed(), ids).unwrap();
            let rows = rows.step(step).source(table.name().clone(), 0.into());
            run.samples(&rows, &columns).unwrap();
        }
        run.flush().unwrap();
    }
    assert_eq!(run.finish().unwrap().warning(), None);
}

/// A question.
struct Question {
    name: &'static str,
    /// Under which others tell theirs.
    key: &'static str,
    /// How long the library should take at most.
    aim: &'static str,
    library: fn(&Project) -> RecordBatch,
    /// The function of SQL.
    function: &'static str,
    /// The same without it.
    plain: &'static str,
}

const QUESTIONS: [Question; 7] = [
    Question {
        name: "mean loss of each epoch",
        key: "means",
        aim: "≤ 2 ms",
        library: |project| block_on(project.epoch_means("lenet", "train", "loss")).unwrap(),
        function: "epoch_means('bench/lenet', 'train', 'loss')",
        plain: "SELECT epoch, avg(loss), count(loss) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' GROUP BY epoch ORDER BY epoch",
    },
    Question {
        name: "100 samples of highest mean loss",
        key: "worst",
        aim: "≤ 4 ms",
        library: |project| block_on(project.top_samples(&["lenet"], "train", "loss", 100)).unwrap(),
        function: "top_samples('bench/lenet', 'train', 'loss', 100)",
        plain: "SELECT _rowid, avg(loss) AS mean, count(loss) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' GROUP BY _rowid ORDER BY mean DESC NULLS LAST, _rowid LIMIT 100",
    },
    Question {
        name: "confusion of an epoch, label in the stream",
        key: "",
        aim: "≤ 0.5 ms",
        library: |project| {
            block_on(project.confusion("lenet", "train", 19, ClassOptions::new())).unwrap()
        },
        function: "confusion('bench/lenet', 'train', 19)",
        plain: "SELECT label, predicted, count(*) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' AND epoch = 19 GROUP BY label, predicted ORDER BY label, predicted",
    },
    Question {
        name: "confusion of an epoch, label in the table",
        key: "confusion",
        aim: "≤ 0.5 ms",
        library: |project| {
            let options = ClassOptions::new().label("class");
            block_on(project.confusion("lenet", "train", 19, options)).unwrap()
        },
        function: "confusion('bench/lenet', 'train', 19, 'class')",
        plain: "SELECT t.class, s.predicted, count(*) FROM bench.samples s LEFT JOIN bench.\"train@0\" t ON t._rowid = s._rowid WHERE s.run = 'lenet' AND s.stream = 'train' AND s.epoch = 19 GROUP BY 1, 2 ORDER BY 1, 2",
    },
    Question {
        name: "100 samples that flip most often",
        key: "flips",
        aim: "≤ 5 ms",
        library: |project| block_on(project.flips("lenet", "train", 100)).unwrap(),
        function: "flips('bench/lenet', 'train', 100)",
        plain: "SELECT _rowid, count(*) AS n FROM (SELECT _rowid, predicted, lag(predicted) OVER (PARTITION BY _rowid ORDER BY epoch) AS before FROM bench.samples WHERE run = 'lenet' AND stream = 'train') WHERE predicted <> before GROUP BY _rowid ORDER BY n DESC, _rowid LIMIT 100",
    },
    Question {
        name: "100 samples that are forgotten most often",
        key: "",
        aim: "",
        library: |project| block_on(project.forgotten("lenet", "train", 100)).unwrap(),
        function: "(SELECT _rowid, forgotten, issue, score, learnt FROM forgotten('bench/lenet', 'train', 100))",
        plain: "SELECT _rowid, n, 'forgotten', CASE WHEN is_learnt THEN 1.0 / (1 + n) ELSE 0.0 END, is_learnt FROM (SELECT _rowid, count(*) FILTER (WHERE was_right AND NOT is_right) AS n, bool_or(is_right) AS is_learnt FROM (SELECT _rowid, label = predicted AS is_right, lag(label = predicted) OVER (PARTITION BY _rowid ORDER BY epoch) AS was_right FROM bench.samples WHERE run = 'lenet' AND stream = 'train') GROUP BY _rowid) WHERE n > 0 OR NOT is_learnt ORDER BY is_learnt, n DESC, _rowid LIMIT 100",
    },
    Question {
        name: "embeddings of an epoch",
        key: "embeddings",
        aim: "≤ 3 ms",
        library: |project| block_on(project.embeddings("lenet", "train", 19, "embedding")).unwrap(),
        function: "embeddings('bench/lenet', 'train', 19)",
        plain: "SELECT _rowid, embedding FROM bench.samples WHERE run = 'lenet' AND stream = 'train' AND epoch = 19 ORDER BY _rowid",
    },
];

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// How long the first question takes on a root that was just opened.
fn first(url: &str, library: fn(&Project) -> RecordBatch) -> Duration {
    let project = open(url).project("bench").unwrap();
    let start = Instant::now();
    black_box(library(&project));
    start.elapsed()
}

fn open(url: &str) -> Root {
    block_on(Root::open(url)).unwrap()
}

fn tell(url: &str, question: &Question, report: &mut Report) {
    let Question { name, library, .. } = *question;
    let firsts = median((0..ROUNDS_FIRST).map(|_| first(url, library)));
    let project = open(url).project("bench").unwrap();
    let sql = block_on(Sql::open(project.root())).unwrap();
    let ask = |query: &str| block_on(sql.collect(query)).unwrap();
    let function = format!("SELECT * FROM {}", question.function);
    let expected = rows(&ask(question.plain));
    assert_eq!(rows(&[library(&project)]), expected, "{name}");
    assert_eq!(rows(&ask(&function)), expected, "{name}");
    let asked = paired(ROUNDS, || library(&project), || ask(question.plain));
    let called = paired(ROUNDS, || ask(&function), || ask(question.plain));
    let key = |which: &str| format!("{}_{which}_ms", question.key);
    report.part(name);
    report.line("first", &key("first"), firsts, "");
    report.line("again", &key("again"), &asked, question.aim);
    report.line("again, the function of SQL", "", &called, "");
}

fn main() {
    let folder = TempDir::new().unwrap();
    let url = folder.path().to_str().unwrap();
    make(&open(url).project("bench").unwrap());
    let mut report = Report::new();
    for question in &QUESTIONS {
        tell(url, question, &mut report);
    }
    println!("{report}");
}
