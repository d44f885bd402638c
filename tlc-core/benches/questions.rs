//! Questions about sample metrics, next to plain SQL that gives the same rows: 50,000 samples over 20
//! epochs, with embeddings of 64 floats.
//!
//! *First* is a root that was just opened, on files that the operating system has at hand; *again* is the
//! same root asked once more.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod measure;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::{median, paired};
use tempfile::TempDir;
use tlc_core::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int32Array, RecordBatch,
    RecordBatchIterator,
};
use tlc_core::arrow::datatypes::{DataType, Field};
use tlc_core::{ClassOptions, Project, Root, Rows, Sql, block_on};

const SAMPLES: u64 = 50_000;
const EPOCHS: u64 = 20;
const CLASSES: u64 = 10;
const WIDTH: u64 = 64;
const BATCH: u64 = 500;
const ROUNDS: usize = 21;
const ROUNDS_FIRST: usize = 5;

/// A hash of a number, for each seed another.
fn h64(seed: u64, i: u64) -> u64 {
    let z = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(i.wrapping_add(1).wrapping_mul(0xBF58_476D_1CE4_E5B9));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same as a number from 0 up to 1.
fn u01(seed: u64, i: u64) -> f64 {
    (h64(seed, i) >> 11) as f64 / (1_u64 << 53) as f64
}

fn label(id: u64) -> i32 {
    i32::try_from(h64(3000, id) % CLASSES).unwrap()
}

fn predicted(epoch: u64, id: u64) -> i32 {
    let cell = epoch * SAMPLES + id;
    match u01(3002, cell) < 0.3 + 0.6 * epoch as f64 / EPOCHS as f64 {
        true => label(id),
        false => i32::try_from(h64(3003, cell) % CLASSES).unwrap(),
    }
}

fn loss(epoch: u64, id: u64) -> f64 {
    let spread = 1.0 + 2.0 * u01(3005, id);
    -(1.0 - u01(3001, epoch * SAMPLES + id)).ln() * spread * (-(epoch as f64) / 10.0).exp()
}

fn metrics(epoch: u64, ids: &[u64]) -> RecordBatch {
    let vector = |id: &u64| {
        let first = (epoch * SAMPLES + id) * WIDTH;
        (first..first + WIDTH).map(|at| u01(3006, at) as f32 - 0.5)
    };
    let item = Field::new_list_field(DataType::Float32, true);
    let vectors = Float32Array::from_iter_values(ids.iter().flat_map(vector));
    let width = i32::try_from(WIDTH).unwrap();
    let vectors =
        FixedSizeListArray::try_new(Arc::new(item), width, Arc::new(vectors), None).unwrap();
    let numbers = |number: &dyn Fn(u64) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(
            ids.iter().map(|id| number(*id)),
        ))
    };
    let classes = |class: &dyn Fn(u64) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(
            ids.iter().map(|id| class(*id)),
        ))
    };
    let columns: [(&str, ArrayRef); 5] = [
        ("loss", numbers(&|id| loss(epoch, id))),
        ("label", classes(&label)),
        ("predicted", classes(&|id| predicted(epoch, id))),
        ("confidence", numbers(&|id| u01(3004, epoch * SAMPLES + id))),
        ("embedding", Arc::new(vectors)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A table of labels, and a run that logs every sample in every epoch, each time in another order.
fn make(project: &Project) {
    let classes: ArrayRef = Arc::new(Int32Array::from_iter_values((0..SAMPLES).map(label)));
    let rows = RecordBatch::try_from_iter([("class", classes)]).unwrap();
    let reader = RecordBatchIterator::new([Ok(rows.clone())], rows.schema());
    let table = block_on(project.create_table("train", reader, "made")).unwrap();
    let run = project.start_run("lenet").unwrap();
    for epoch in 0..EPOCHS {
        let order: Vec<u64> = (0..SAMPLES)
            .map(|at| (at * 48_271 + epoch * 7) % SAMPLES)
            .collect();
        for (step, ids) in (0_i64..).zip(order.chunks(usize::try_from(BATCH).unwrap())) {
            let rows = Rows::new("train", epoch.cast_signed(), ids.to_vec()).unwrap();
            let rows = rows.step(step).source(table.name().clone(), 0.into());
            run.samples(&rows, &metrics(epoch, ids)).unwrap();
        }
        run.flush().unwrap();
    }
    assert_eq!(run.finish().unwrap().warning(), None);
}

/// A question: its name, how the library is asked, the function of SQL, and plain SQL.
type Question = (
    &'static str,
    fn(&Project) -> RecordBatch,
    &'static str,
    &'static str,
);

const QUESTIONS: [Question; 7] = [
    (
        "mean loss of each epoch",
        |project| block_on(project.epoch_means("lenet", "train", "loss")).unwrap(),
        "epoch_means('bench/lenet', 'train', 'loss')",
        "SELECT epoch, avg(loss), count(loss) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' GROUP BY epoch ORDER BY epoch",
    ),
    (
        "100 samples of highest mean loss",
        |project| block_on(project.top_samples(&["lenet"], "train", "loss", 100)).unwrap(),
        "top_samples('bench/lenet', 'train', 'loss', 100)",
        "SELECT _rowid, avg(loss) AS mean, count(loss) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' GROUP BY _rowid ORDER BY mean DESC NULLS LAST, _rowid LIMIT 100",
    ),
    (
        "confusion of an epoch, label in the stream",
        |project| block_on(project.confusion("lenet", "train", 19, ClassOptions::new())).unwrap(),
        "confusion('bench/lenet', 'train', 19)",
        "SELECT label, predicted, count(*) FROM bench.samples WHERE run = 'lenet' AND stream = 'train' AND epoch = 19 GROUP BY label, predicted ORDER BY label, predicted",
    ),
    (
        "confusion of an epoch, label in the table",
        |project| {
            let options = ClassOptions::new().label("class");
            block_on(project.confusion("lenet", "train", 19, options)).unwrap()
        },
        "confusion('bench/lenet', 'train', 19, 'class')",
        "SELECT t.class, s.predicted, count(*) FROM bench.samples s LEFT JOIN bench.\"train@0\" t ON t._rowid = s._rowid WHERE s.run = 'lenet' AND s.stream = 'train' AND s.epoch = 19 GROUP BY 1, 2 ORDER BY 1, 2",
    ),
    (
        "100 samples that flip most often",
        |project| block_on(project.flips("lenet", "train", 100)).unwrap(),
        "flips('bench/lenet', 'train', 100)",
        "SELECT _rowid, count(*) AS n FROM (SELECT _rowid, predicted, lag(predicted) OVER (PARTITION BY _rowid ORDER BY epoch) AS before FROM bench.samples WHERE run = 'lenet' AND stream = 'train') WHERE predicted <> before GROUP BY _rowid ORDER BY n DESC, _rowid LIMIT 100",
    ),
    (
        "100 samples that are forgotten most often",
        |project| block_on(project.forgotten("lenet", "train", 100)).unwrap(),
        "forgotten('bench/lenet', 'train', 100)",
        "SELECT _rowid, count(*) AS n FROM (SELECT _rowid, label = predicted AS is_right, lag(label = predicted) OVER (PARTITION BY _rowid ORDER BY epoch) AS was_right FROM bench.samples WHERE run = 'lenet' AND stream = 'train') WHERE was_right AND NOT is_right GROUP BY _rowid ORDER BY n DESC, _rowid LIMIT 100",
    ),
    (
        "embeddings of an epoch",
        |project| block_on(project.embeddings("lenet", "train", 19, "embedding")).unwrap(),
        "embeddings('bench/lenet', 'train', 19)",
        "SELECT _rowid, embedding FROM bench.samples WHERE run = 'lenet' AND stream = 'train' AND epoch = 19 ORDER BY _rowid",
    ),
];

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

fn main() {
    let folder = TempDir::new().unwrap();
    let url = folder.path().to_str().unwrap();
    let open = || block_on(Root::open(url)).unwrap();
    make(&open().project("bench").unwrap());
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "", "first", "again", "function", "plain SQL", "again/", "fun./"
    );
    for (name, question, function, plain) in QUESTIONS {
        let first = |_| -> Duration {
            let project = open().project("bench").unwrap();
            let start = Instant::now();
            black_box(question(&project));
            start.elapsed()
        };
        let first = median((0..ROUNDS_FIRST).map(first));
        let project = open().project("bench").unwrap();
        let sql = block_on(Sql::open(project.root())).unwrap();
        let ask = |query: &str| block_on(sql.collect(query)).unwrap();
        let function = format!("SELECT * FROM {function}");
        let expected = rows(&ask(plain));
        assert_eq!(rows(&[question(&project)]), expected, "{name}");
        assert_eq!(rows(&ask(&function)), expected, "{name}");
        let library = paired(ROUNDS, || question(&project), || ask(plain));
        let called = paired(ROUNDS, || ask(&function), || ask(plain));
        println!(
            "{name:<44} {first:>10.2?} {:>10.2?} {:>10.2?} {:>10.2?} {:>8.3} {:>8.3}",
            library.ours(),
            called.ours(),
            library.reference(),
            library.ratio(),
            called.ratio()
        );
    }
}
