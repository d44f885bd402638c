//! Questions about sample metrics: the library, the functions of SQL and plain SQL give the same rows.

use std::sync::Arc;

use tlc_core::arrow::array::{
    Array as _, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, UInt64Array,
};
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type, Schema};
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectStore, ObjectStoreExt as _};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    ClassOptions, Env, ErrorKind, Project, Result, Root, RootOptions, Rows, Run, RunOptions, Sql,
    Top, block_on, schema,
};

use crate::sql::{ask, lines};
use crate::support::reader;

/// Rows of the table that the samples are of.
const TABLE_ROWS: u64 = 40;

/// A small generator of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % n
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn value<T>(&mut self, value: T) -> Option<T> {
        (!self.once_in(12)).then_some(value)
    }
}

/// What kind of data a run logs.
#[derive(Clone, Copy)]
struct Kind {
    /// Samples are missing, come twice, out of order, from two writers and in several files.
    is_odd: bool,
    has_label: bool,
    classes: Classes,
}

#[derive(Clone, Copy, PartialEq)]
enum Classes {
    Int32,
    Int64,
    UInt64,
    Text,
}

fn in_memory() -> (Arc<dyn ObjectStore>, Project) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let project = opened(&store);
    (store, project)
}

/// The project as a process that knows nothing yet finds it.
fn opened(store: &Arc<dyn ObjectStore>) -> Project {
    let options = RootOptions::new().env(Env::manual());
    let url = "memory:///".parse().unwrap();
    let root = Root::in_store(Arc::clone(store), Path::default(), url, options);
    root.project("lab").unwrap()
}

/// A table `train` with three revisions: labels edited in r1, rows dropped in r2.
fn table(project: &Project, dice: &mut Dice) {
    let classes = ["cat", "dog", "cow", "owl"];
    let labels = (0..TABLE_ROWS).map(|_| i32::try_from(dice.below(4)).unwrap());
    let labels = Int32Array::from_iter_values(labels);
    let fields = vec![
        schema::label("label", classes),
        schema::label("animal", classes),
    ];
    let columns: Vec<ArrayRef> = vec![Arc::new(labels.clone()), Arc::new(labels)];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let table = block_on(project.create_table("train", reader(rows), "made")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    for row in (0..TABLE_ROWS).step_by(3) {
        let label = i64::try_from(dice.below(4)).unwrap();
        patch.set(row, "label", label).unwrap();
        patch.set(row, "animal", label).unwrap();
    }
    block_on(table.commit(&patch, "edited")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.drop_rows(&[3, 4, 17]);
    block_on(table.commit(&patch, "fewer")).unwrap();
}

/// The columns of some samples.
fn metrics(dice: &mut Dice, n: usize, kind: Kind) -> RecordBatch {
    // Sums of such numbers are exact, in whatever order they are added.
    let mut losses = Vec::new();
    let (mut small, mut is_right, mut classes, mut labels) = (vec![], vec![], vec![], vec![]);
    for _ in 0..n {
        let loss = f64::from(u32::try_from(dice.below(64)).unwrap()) / 8.0;
        let loss = match dice.below(30) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            _ => loss,
        };
        losses.push(dice.value(loss));
        let number = i32::try_from(dice.below(9)).unwrap() - 4;
        small.push(dice.value(number));
        let coin = dice.once_in(2);
        is_right.push(dice.value(coin));
        for column in [&mut classes, &mut labels] {
            let class = i32::try_from(dice.below(4)).unwrap();
            column.push(dice.value(class));
        }
    }
    let predicted: ArrayRef = match kind.classes {
        Classes::Int32 => Arc::new(Int32Array::from(classes)),
        Classes::Int64 => {
            let wide = classes.into_iter().map(|class| class.map(i64::from));
            Arc::new(wide.collect::<Int64Array>())
        }
        Classes::UInt64 => {
            let wide = classes.into_iter();
            let wide = wide.map(|class| class.map(|class| class.unsigned_abs().into()));
            Arc::new(wide.collect::<UInt64Array>())
        }
        Classes::Text => {
            let names = classes.into_iter();
            let names = names.map(|class| class.map(|class| format!("class {class}")));
            Arc::new(names.collect::<StringArray>())
        }
    };
    let vector = |dice: &mut Dice| {
        let item = |dice: &mut Dice| f32::from(u16::try_from(dice.below(9)).unwrap());
        (!dice.once_in(9)).then(|| [item(dice), item(dice)].map(Some))
    };
    let vectors: Vec<_> = (0..n).map(|_| vector(dice)).collect();
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("loss", Arc::new(Float64Array::from(losses))),
        ("small", Arc::new(Int32Array::from(small))),
        ("is_right", Arc::new(BooleanArray::from(is_right))),
        ("predicted", predicted),
        ("embedding", Arc::new(vectors)),
    ];
    if kind.has_label {
        columns.push(("label", Arc::new(Int32Array::from(labels))));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, values)| (name, values, true)),
    )
    .unwrap()
}

/// Logs some epochs of a run. The rows of a sample are all from one writer, in the order of steps.
fn log(project: &Project, name: &str, dice: &mut Dice, kind: Kind) {
    let first = project.start_run(name).unwrap();
    let second = project.start_run(RunOptions::new().name(name).rank(1).join());
    let writers: [Run; 2] = [first, second.unwrap()];
    let n_epochs = 2 + dice.below(4);
    let mut step = 0;
    for epoch in 0..i64::try_from(n_epochs).unwrap() {
        // Epochs need not follow on each other, nor begin with 0.
        let epoch = if kind.is_odd { epoch * 2 - 1 } else { epoch };
        let mut ids: Vec<u64> = (0..TABLE_ROWS + 2).collect();
        let mut again = Vec::new();
        if kind.is_odd {
            ids.retain(|_| !dice.once_in(4));
            ids.rotate_left(usize::try_from(dice.below(9)).unwrap());
            again.extend(ids.iter().copied().filter(|_| dice.once_in(10)));
        }
        // Of two rows of one sample, SQL knows by their steps which was first.
        let size = if kind.is_odd { 7 } else { ids.len() };
        for ids in ids.chunks(size).chain(again.chunks(size)) {
            for (rank, run) in (0_u64..).zip(&writers) {
                let of_rank = |id: &u64| !kind.is_odd || id % 2 == rank;
                let own: Vec<u64> = ids.iter().copied().filter(of_rank).collect();
                if !kind.is_odd && rank == 1 {
                    continue;
                }
                step += 1;
                let columns = metrics(dice, own.len(), kind);
                let rows = Rows::new("train", epoch, own).unwrap().step(step);
                let rows = match dice.below(9) {
                    0 if kind.is_odd => rows,
                    n => rows.source("train".parse().unwrap(), (n % 2).into()),
                };
                run.samples(&rows, &columns).unwrap();
                if kind.is_odd && dice.once_in(3) {
                    run.flush().unwrap();
                }
            }
        }
    }
    let [first, second] = writers;
    second.finish().unwrap();
    first.finish().unwrap();
}

/// What the library says, twice: the second time from what it kept.
#[track_caller]
fn library<F: Future<Output = Result<RecordBatch>>>(call: impl Fn() -> F) -> String {
    let rows = block_on(call()).unwrap();
    assert_eq!(block_on(call()).unwrap(), rows);
    lines(&[rows])
}

struct Lab {
    project: Project,
    sql: Sql,
    about: String,
}

impl Lab {
    fn new(seed: u64, kind: Kind) -> Self {
        let (store, project) = in_memory();
        let mut dice = Dice(seed);
        table(&project, &mut dice);
        for run in ["one", "two"] {
            log(&project, run, &mut dice, kind);
        }
        let project = opened(&store);
        Self {
            sql: block_on(Sql::open(project.root())).unwrap(),
            project,
            about: format!("seed {seed}"),
        }
    }

    fn epochs(&self) -> Vec<i64> {
        let name = "one".parse().unwrap();
        let files = block_on(self.project.sample_files(&name)).unwrap();
        let mut epochs: Vec<i64> = files.iter().map(|file| file.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// Compares what the library, a function of SQL and plain SQL say.
    #[track_caller]
    fn check(&self, library: &str, function: &str, plain: &str) {
        let expected = ask(&self.sql, plain);
        assert_eq!(library, expected, "{}: {plain}", self.about);
        let function = match function.starts_with("SELECT") {
            true => function.to_owned(),
            false => format!("SELECT * FROM {function}"),
        };
        assert_eq!(
            ask(&self.sql, &function),
            expected,
            "{}: {function}",
            self.about
        );
    }

    fn check_means(&self) {
        let of = "FROM lab.samples WHERE stream = 'train'";
        for (column, number) in [
            ("loss", "loss"),
            ("small", "small"),
            ("is_right", "is_right::int"),
        ] {
            self.check(
                &library(|| self.project.epoch_means("one", "train", column)),
                &format!("epoch_means('lab/one', 'train', '{column}')"),
                &format!(
                    "SELECT epoch, avg({number}), count({column}) {of} AND run = 'one' GROUP BY epoch ORDER BY epoch"
                ),
            );
        }
        for (runs, n, is_lowest) in [
            (&["one"][..], 5, false),
            (&["one"], 100, false),
            (&["two"], 7, true),
            (&["two", "one", "two"], 11, false),
            (&[], 200, true),
        ] {
            let top = if is_lowest {
                Top::lowest(n)
            } else {
                Top::highest(n)
            };
            let (order, word) = if is_lowest {
                ("ASC", ", 'lowest'")
            } else {
                ("DESC", "")
            };
            let (names, chosen) = match runs {
                [] => ("*".to_owned(), "'one', 'two'".to_owned()),
                runs => (runs.join(","), format!("'{}'", runs.join("', '"))),
            };
            self.check(
                &library(|| self.project.top_samples(runs, "train", "loss", top)),
                &format!("top_samples('lab/{names}', 'train', 'loss', {n}{word})"),
                &format!(
                    "SELECT _rowid, avg(loss) AS mean, count(loss) {of} AND run IN ({chosen})
                     GROUP BY _rowid ORDER BY mean {order} NULLS LAST, _rowid LIMIT {n}"
                ),
            );
        }
    }

    /// The rows of run `one` with `label` as the table has it at the revision of each row, or at `at`.
    fn labelled(&self, column: &str, at: Option<u64>) -> String {
        let (tables, on) = match at {
            Some(at) => (
                format!("SELECT _rowid, {column} AS label FROM lab.\"train@{at}\""),
                "s.\"table\" = 'train'",
            ),
            None => {
                let of = |at| {
                    format!(
                        "SELECT _rowid, {at} AS revision, {column} AS label FROM lab.\"train@{at}\""
                    )
                };
                (
                    format!("{} UNION ALL {}", of(0), of(1)),
                    "s.revision = t.revision",
                )
            }
        };
        format!(
            "(SELECT s.epoch, s.step, s._rowid, s.predicted, t.label FROM lab.samples s
              LEFT JOIN ({tables}) t ON t._rowid = s._rowid AND {on} WHERE s.run = 'one')"
        )
    }

    fn check_classes(&self, kind: Kind) {
        let in_stream = "(SELECT * FROM lab.samples WHERE run = 'one')".to_owned();
        let plain = ClassOptions::new();
        let mut cases = vec![
            (
                self.labelled("animal", None),
                plain.clone().label("animal"),
                ", 'animal'",
            ),
            (
                self.labelled("label", Some(2)),
                plain.clone().at("2"),
                ", 'label', 'predicted', 'main'",
            ),
        ];
        cases.push(match kind.has_label {
            true => (in_stream, plain, ""),
            false => (self.labelled("label", None), plain, ""),
        });
        for (rows, options, arguments) in cases {
            for epoch in self.epochs() {
                self.check(
                    &library(|| {
                        self.project
                            .confusion("one", "train", epoch, options.clone())
                    }),
                    &format!("confusion('lab/one', 'train', {epoch}{arguments})"),
                    &format!(
                        "SELECT label::text AS a, predicted::text AS b, n FROM (
                         SELECT label, predicted, count(*) AS n FROM {rows} WHERE epoch = {epoch}
                         GROUP BY label, predicted) ORDER BY label NULLS LAST, predicted NULLS LAST"
                    ),
                );
            }
            if kind.classes == Classes::Text {
                continue;
            }
            self.check(
                &library(|| self.project.forgotten("one", "train", options.clone())),
                &format!("SELECT _rowid, forgotten, issue, score, learnt FROM forgotten('lab/one', 'train', 'all'{arguments})"),
                &format!(
                    "SELECT _rowid, n, 'forgotten', CASE WHEN is_learnt THEN 1.0 / (1 + n) ELSE 0.0 END, is_learnt FROM (
                     SELECT _rowid, count(*) FILTER (WHERE was_right AND NOT is_right) AS n, bool_or(is_right) AS is_learnt
                     FROM (SELECT _rowid, label = predicted AS is_right,
                     lag(label = predicted) OVER (PARTITION BY _rowid ORDER BY epoch, step) AS was_right
                     FROM {rows}) GROUP BY _rowid) WHERE n > 0 OR NOT is_learnt ORDER BY is_learnt, n DESC, _rowid"
                ),
            );
        }
        self.check_flips();
    }

    fn check_flips(&self) {
        for n in [None, Some(3)] {
            let (options, limit, argument) = match n {
                Some(n) => (n.into(), format!("LIMIT {n}"), format!(", {n}")),
                None => (ClassOptions::new(), String::new(), String::new()),
            };
            self.check(
                &library(|| self.project.flips("one", "train", options.clone())),
                &format!("flips('lab/one', 'train'{argument})"),
                &format!(
                    "SELECT _rowid, count(*) AS n FROM (SELECT _rowid, predicted,
                     lag(predicted) OVER (PARTITION BY _rowid ORDER BY epoch, step) AS before
                     FROM lab.samples WHERE run = 'one') WHERE predicted <> before
                     GROUP BY _rowid ORDER BY n DESC, _rowid {limit}"
                ),
            );
        }
    }

    fn check_embeddings(&self) {
        for epoch in self.epochs() {
            self.check(
                &library(|| self.project.embeddings("one", "train", epoch, "embedding")),
                &format!("embeddings('lab/one', 'train', {epoch})"),
                &format!(
                    "SELECT _rowid, embedding FROM lab.samples WHERE run = 'one' AND epoch = {epoch}
                     ORDER BY _rowid, step"
                ),
            );
        }
    }
}

#[test]
fn plain_sql_gives_the_same_rows() {
    let classes = [
        Classes::Int32,
        Classes::Int64,
        Classes::UInt64,
        Classes::Text,
    ];
    for seed in 0..16 {
        let kind = Kind {
            is_odd: seed % 2 == 0,
            has_label: seed / 2 % 2 == 0,
            classes: classes[usize::try_from(seed / 4).unwrap()],
        };
        let lab = Lab::new(seed, kind);
        lab.check_means();
        lab.check_classes(kind);
        lab.check_embeddings();
    }
}

/// A run of which one stream has a row for each of `losses`, in epoch 0.
fn one_epoch(project: &Project, name: &str) -> Run {
    let run = project.start_run(name).unwrap();
    add(&run, &[0.5, 0.25], 0);
    run.flush().unwrap();
    run
}

fn add(run: &Run, losses: &[f32], first: u64) {
    let n = losses.len() as u64;
    let rows = Rows::new("train", 0, (first..first + n).collect::<Vec<_>>()).unwrap();
    let vectors = losses.iter().map(|loss| Some([Some(*loss), Some(1.0)]));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
    let columns: [(&str, ArrayRef); 4] = [
        ("loss", Arc::new(Float32Array::from(losses.to_vec()))),
        (
            "predicted",
            Arc::new(Int32Array::from(vec![1; losses.len()])),
        ),
        ("name", Arc::new(StringArray::from(vec!["x"; losses.len()]))),
        ("embedding", Arc::new(vectors)),
    ];
    run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
        .unwrap();
}

#[test]
fn a_question_sees_what_was_stored_since_the_last_one() {
    let (_, project) = in_memory();
    let run = one_epoch(&project, "lenet");
    let means = || lines(&[block_on(project.epoch_means("lenet", "train", "loss")).unwrap()]);
    assert_eq!(means(), "0 0.375 2");
    add(&run, &[1.5, 1.75], 2);
    assert_eq!(means(), "0 0.375 2");
    run.flush().unwrap();
    assert_eq!(means(), "0 1.0 4");
    run.finish().unwrap();
}

/// What the library asked a store for, second and later times.
fn requests(options: RootOptions) -> (u64, u64) {
    let (store, project) = in_memory();
    one_epoch(&project, "lenet").finish().unwrap();
    let faults = Faults::at(0, When::Before);
    let watched = FaultyStore::new(store, Arc::clone(&faults));
    let url = "memory:///".parse().unwrap();
    let options = options.env(Env::manual());
    let root = Root::in_store(Arc::new(watched), Path::default(), url, options);
    let project = root.project("lab").unwrap();
    let mut counted = [0, 0].map(|_: u64| {
        let before = faults.n_requests();
        block_on(project.embeddings("lenet", "train", 0, "embedding")).unwrap();
        faults.n_requests() - before
    });
    counted.sort_unstable();
    let [second, first] = counted;
    (first, second)
}

#[test]
fn a_second_question_only_looks_whether_there_are_new_files() {
    let (first, second) = requests(RootOptions::new());
    assert!(first > second, "{first} requests, then {second}");
    assert_eq!(second, 1);
    let (first, second) = requests(RootOptions::new().decoded_bytes_max(0));
    assert_eq!(first, second, "nothing was to be kept");
}

#[test]
fn a_damaged_file_is_named() {
    let (store, project) = in_memory();
    one_epoch(&project, "lenet").finish().unwrap();
    let name = "lenet".parse().unwrap();
    let file = block_on(project.sample_files(&name))
        .unwrap()
        .remove(0)
        .path;
    let bytes = block_on(async { store.get(&file).await?.bytes().await }).unwrap();
    for damaged in [
        bytes.slice(..bytes.len() / 2),
        bytes.slice(4..),
        "no file".into(),
    ] {
        block_on(store.put(&file, damaged.into())).unwrap();
        let err = block_on(opened(&store).epoch_means("lenet", "train", "loss")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt, "{err:#}");
        assert!(format!("{err:#}").contains(file.as_ref()), "{err:#}");
    }
}

#[test]
fn what_is_not_there_is_named_with_what_there_is() {
    let (_, project) = in_memory();
    one_epoch(&project, "lenet").finish().unwrap();
    let sql = block_on(Sql::open(project.root())).unwrap();
    let check = |call: &str, kind: ErrorKind, expected: &str| {
        let query = format!("SELECT * FROM {call}");
        let err = block_on(sql.collect(&query)).unwrap_err();
        let text = format!("{err:#}");
        assert_eq!(err.kind(), kind, "{call}: {text}");
        assert!(text.contains(expected), "{call}: {text}");
    };
    let not_found = |call: &str, expected: &str| check(call, ErrorKind::NotFound, expected);
    let invalid = |call: &str, expected: &str| check(call, ErrorKind::Invalid, expected);
    let columns = "loss, predicted, name, embedding";
    not_found(
        "epoch_means('lab/alex', 'train', 'loss')",
        "no run alex in project lab; there is lenet",
    );
    not_found(
        "epoch_means('lab/lenet', 'val', 'loss')",
        "run lenet has no stream \"val\"; there is train",
    );
    not_found(
        "epoch_means('lab/lenet', 'train', 'lost')",
        &format!("stream train of run lenet has no column \"lost\"; there is {columns}"),
    );
    not_found(
        "top_samples('lab/lenet,alex', 'train', 'loss', 3)",
        "no run alex",
    );
    not_found(
        "top_samples('lab/*', 'train', 'lost', 3)",
        "no run of project lab has a stream \"train\" with a column \"lost\"",
    );
    not_found(
        "flips('lab/lenet', 'train', 3, 'class')",
        "no column \"class\"",
    );
    not_found(
        "confusion('lab/lenet', 'train', 7, 'predicted')",
        "has no epoch 7; there are 1, from 0 to 0",
    );
    not_found(
        "confusion('lab/lenet', 'train', 0)",
        "no column \"label\"; there is loss",
    );
    not_found(
        "forgotten('lab/lenet', 'train')",
        "its rows name no table to look for \"label\" in",
    );
    not_found("embeddings('lab/lenet', 'train', 1)", "has no epoch 1");
    not_found("embeddings('lab/lenet', 'train', 0, 'vector')", columns);
    invalid(
        "epoch_means('lab/lenet', 'train', 'name')",
        "column \"name\" is Utf8, which has no mean",
    );
    invalid(
        "top_samples('lab/lenet', 'train', 'embedding', 1)",
        "which has no mean",
    );
    invalid(
        "flips('lab/lenet', 'train', 'all', 'loss')",
        "column \"loss\" is Float32, and no class",
    );
    invalid(
        "forgotten('lab/lenet', 'train', 'all', 'name')",
        "labels are Utf8 and predictions Int32",
    );
    invalid(
        "embeddings('lab/lenet', 'train', 0, 'loss')",
        "no list of floats",
    );
    invalid(
        "epoch_means('lab/le net', 'train', 'loss')",
        "cannot name a run",
    );
    for call in [
        "epoch_means('lab/lenet', 'train')",
        "epoch_means('lenet', 'train', 'loss')",
        "top_samples('lab/lenet', 'train', 'loss')",
        "top_samples('lab/lenet', 'train', 'loss', -1)",
        "top_samples('lab/lenet', 'train', 'loss', 1, 'worst')",
        "confusion('lab/lenet', 'train')",
        "confusion('lab/lenet', 'train', 'last')",
        "flips('lab/lenet')",
        "flips('lab/lenet', 'train', 'predicted')",
        "forgotten('lab/lenet')",
        "embeddings('lab/lenet', 'train')",
        "embeddings('lab/lenet', 'train', 0, 'a', 'b')",
    ] {
        let function = call.split('(').next().unwrap();
        invalid(call, &format!("write {function}("));
    }
}

#[test]
fn labels_of_a_table_keep_their_classes() {
    let lab = Lab::new(
        1,
        Kind {
            is_odd: false,
            has_label: false,
            classes: Classes::Int64,
        },
    );
    let rows = block_on(
        lab.project
            .confusion("one", "train", 0, ClassOptions::new()),
    )
    .unwrap();
    let schema = rows.schema();
    let classes = schema::classes(schema.field(0)).unwrap();
    assert_eq!(classes.len(), 4, "{schema:?}");
    let types = schema.fields().iter().map(|field| field.data_type());
    assert_eq!(
        types.collect::<Vec<_>>(),
        [&DataType::Int32, &DataType::Int64, &DataType::Int64]
    );
    let vectors = block_on(lab.project.embeddings("one", "train", 0, "embedding")).unwrap();
    let item = Field::new_list_field(DataType::Float32, true);
    assert_eq!(
        vectors.column(1).data_type(),
        &DataType::FixedSizeList(Arc::new(item), 2)
    );
}
