//! Labels that are probably wrong: planted ones are found, in the stream or in a table, whatever the files of the
//! epoch are. With `TLC_QUALITY_OUT` the samples and the answers are also written, for `.ci/reference.py`.

mod boxes;
mod fixes;
mod neighbours;
mod over_epochs;
#[cfg(feature = "sql")]
mod sql;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, FixedSizeListArray, Float32Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray,
};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Schema, UInt64Type,
};
use tlc_core::arrow::util::display::array_value_to_string;
use tlc_core::object_store::ObjectStoreExt as _;
use tlc_core::run::SILENCE_MAX;
use tlc_core::{
    ErrorKind, IssueRanking, IssueSelection, LabelIssueOptions, Project, Rows, Run, block_on,
    schema,
};

use crate::support::{Ground, project, quiet, reader, text};

const SELECTIONS: [(&str, IssueSelection); 3] = [
    ("prune_by_noise_rate", IssueSelection::ByNoiseRate),
    ("prune_by_class", IssueSelection::ByClass),
    ("confident_learning", IssueSelection::Confident),
];

const RANKINGS: [(&str, IssueRanking); 2] = [
    ("self_confidence", IssueRanking::SelfConfidence),
    ("normalized_margin", IssueRanking::Margin),
];

/// A small generator of numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).unwrap()
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f32 {
        f32::from(u16::try_from(self.below(1 << 12)).unwrap()) / 4096.0
    }
}

/// One sample: its row id, what it is, what it was labelled as, and what the model thinks.
#[derive(Clone)]
struct Sample {
    row_id: u64,
    class: usize,
    label: usize,
    probabilities: Vec<f32>,
}

/// Samples of a model that is right and sure, of which the label of every eleventh is wrong.
fn planted(n: usize, n_classes: usize) -> Vec<Sample> {
    let mut dice = Dice(7);
    let sample = |row_id: usize| {
        let class = row_id % n_classes;
        let wrong = (class + 1 + dice.below(n_classes - 1)) % n_classes;
        let sure = 0.85 + dice.share() / 50.0;
        let rest = (1.0 - sure) / f32::from(u16::try_from(n_classes - 1).unwrap());
        let probability = |at| if at == class { sure } else { rest };
        Sample {
            row_id: row_id as u64,
            class,
            label: if row_id % 11 == 5 { wrong } else { class },
            probabilities: (0..n_classes).map(probability).collect(),
        }
    };
    (0..n).map(sample).collect()
}

/// Unbalanced samples of a model that is often wrong, with labels that are too. With odd seeds nobody has the last of
/// several classes; with every third many probabilities are equal.
fn muddled(seed: u64, n_classes: usize) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let last = match seed % 2 == 1 && n_classes > 2 {
        true => n_classes - 2,
        false => n_classes - 1,
    };
    let sample = |row_id: usize| {
        // The first class is the largest.
        let class = dice.below(n_classes).min(dice.below(n_classes));
        let label = match dice.below(6) {
            0 => dice.below(n_classes),
            _ => class,
        };
        let seen = match dice.below(8) {
            0 => dice.below(n_classes),
            _ => class,
        };
        let weight = |at| {
            let sure = if at == seen {
                0.5 + 2.0 * dice.share()
            } else {
                0.0
            };
            match seed % 3 {
                0 => ((dice.share() + sure) * 4.0).ceil(),
                _ => dice.share() + sure,
            }
        };
        let weights: Vec<f32> = (0..n_classes).map(weight).collect();
        let sum: f32 = weights.iter().sum::<f32>().max(0.25);
        Sample {
            row_id: row_id as u64,
            class,
            label: label.min(last),
            probabilities: weights.iter().map(|weight| weight / sum).collect(),
        }
    };
    (0..60 * n_classes).map(sample).collect()
}

/// Samples whose counts by label and class, `1 1 3`, `4 1 1` and `1 1 4` of 6, 7 and 8, are halves but for the last digit when they
/// are scaled. The others are of no class for sure, and lean towards the second.
fn near_a_half() -> Vec<Sample> {
    let counts = [([1, 1, 3], 1), ([4, 1, 1], 1), ([1, 1, 4], 2)];
    let mut samples = Vec::new();
    for (label, (sure, n_others)) in counts.into_iter().enumerate() {
        let sure = sure.into_iter().enumerate();
        let sure = sure.flat_map(|(class, n)| std::iter::repeat_n(Some(class), n));
        for class in sure.chain(std::iter::repeat_n(None, n_others)) {
            let mut probabilities = vec![0.1, 0.15, 0.1];
            if let Some(class) = class {
                probabilities = vec![0.05; 3];
                probabilities[class] = 0.9;
            }
            samples.push(Sample {
                row_id: samples.len() as u64,
                class: class.unwrap_or(label),
                label,
                probabilities,
            });
        }
    }
    samples
}

fn label_column(samples: &[Sample]) -> ArrayRef {
    let labels = samples
        .iter()
        .map(|sample| i32::try_from(sample.label).unwrap());
    Arc::new(Int32Array::from_iter_values(labels))
}

fn probability_column(samples: &[Sample]) -> ArrayRef {
    let n = samples
        .first()
        .map_or(1, |sample| sample.probabilities.len());
    let rows = samples
        .iter()
        .map(|sample| Some(sample.probabilities.iter().copied().map(Some)));
    let n = i32::try_from(n).unwrap();
    Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, n))
}

fn columns(samples: &[Sample], with_label: bool) -> RecordBatch {
    let mut columns = vec![("probabilities", probability_column(samples))];
    if with_label {
        columns.push(("label", label_column(samples)));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

fn rows_of(samples: &[Sample], step: i64) -> Rows {
    let ids: Vec<u64> = samples.iter().map(|sample| sample.row_id).collect();
    Rows::new("val", 3, ids).unwrap().step(step)
}

/// Logs samples of epoch 3 of `val` in batches, from the last to the first.
fn log(run: &Run, samples: &[Sample]) {
    for (step, batch) in (0..).zip(samples.rchunks(23)) {
        run.samples(&rows_of(batch, step), &columns(batch, true))
            .unwrap();
        if step % 4 == 1 {
            run.flush().unwrap();
        }
    }
}

fn issues(project: &Project, options: &LabelIssueOptions) -> RecordBatch {
    block_on(project.label_issues("lenet", "val", 3, options.clone())).unwrap()
}

/// Row id, given and suggested class of what was found, in the order of row ids.
fn found(issues: &RecordBatch) -> BTreeMap<u64, (i32, i32)> {
    let ids = issues.column(0).as_primitive::<UInt64Type>().values();
    let [given, suggested] =
        [3, 4].map(|at| issues.column(at).as_primitive::<Int32Type>().values());
    let classes = given.iter().copied().zip(suggested.iter().copied());
    ids.iter().copied().zip(classes).collect()
}

/// Those whose labels are wrong.
fn wrong(samples: &[Sample]) -> BTreeMap<u64, (i32, i32)> {
    let wrong = samples.iter().filter(|sample| sample.label != sample.class);
    let classes =
        |sample: &Sample| [sample.label, sample.class].map(|at| i32::try_from(at).unwrap());
    let wrong = wrong.map(|sample| (sample.row_id, classes(sample).into()));
    wrong.collect()
}

#[test]
fn planted_wrong_labels_are_found_while_the_run_goes_on_and_when_it_has_ended() {
    let samples = planted(500, 5);
    for project in [project(), Ground::disk().project()] {
        let run = project.start_run(quiet("lenet")).unwrap();
        log(&run, &samples);
        run.flush().unwrap();
        let check = || {
            for (name, selection) in SELECTIONS {
                for (_, ranking) in RANKINGS {
                    let options = LabelIssueOptions::new()
                        .selection(selection)
                        .ranking(ranking);
                    let issues = issues(&project, &options);
                    assert_eq!(found(&issues), wrong(&samples), "{name}");
                    let scores = issues.column(2).as_primitive::<Float64Type>().values();
                    assert!(scores.is_sorted(), "{name}");
                    assert_eq!(issues.schema().metadata()["rows"], "500");
                }
            }
        };
        check();
        run.finish().unwrap();
        check();
        let all = issues(&project, &LabelIssueOptions::new());
        let some = issues(&project, &LabelIssueOptions::from(7));
        assert_eq!(some, all.slice(0, 7));
        assert_eq!(array_value_to_string(all.column(1), 0).unwrap(), "label");
    }
}

#[test]
fn labels_come_from_the_table_at_the_revision_that_is_asked_for() {
    let project = project();
    let samples = planted(240, 4);
    let fields = vec![schema::label("animal", ["cat", "dog", "cow", "owl"])];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![label_column(&samples)]);
    let table = block_on(project.create_table("val", reader(rows.unwrap()), "made")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    for sample in samples.iter().filter(|sample| sample.label != sample.class) {
        let class = i64::try_from(sample.class).unwrap();
        patch.set(sample.row_id, "animal", class).unwrap();
    }
    block_on(table.commit(&patch, "corrected")).unwrap();
    let run = project.start_run(quiet("lenet")).unwrap();
    for (step, batch) in (0..).zip(samples.rchunks(50)) {
        let rows = rows_of(batch, step).source("val".parse().unwrap(), 0.into());
        run.samples(&rows, &columns(batch, false)).unwrap();
    }
    run.finish().unwrap();
    let options = LabelIssueOptions::new().label("animal");
    let logged = issues(&project, &options);
    assert_eq!(found(&logged), wrong(&samples));
    assert_eq!(issues(&project, &options.clone().at("0")), logged);
    assert_eq!(issues(&project, &options.clone().at("main")).num_rows(), 0);
    let noise = block_on(project.label_noise("lenet", "val", 3, options)).unwrap();
    let mut pairs: BTreeMap<(i32, i32), i64> = BTreeMap::new();
    for pair in wrong(&samples).into_values() {
        *pairs.entry(pair).or_default() += 1;
    }
    let counts = pairs
        .iter()
        .map(|((label, class), n)| format!("{label}:{class}:{n}"));
    let expected = counts.collect::<Vec<_>>().join(" ");
    assert_eq!(text(&noise.project(&[0, 1, 2]).unwrap()), expected);
}

#[test]
fn of_a_run_that_was_resumed_the_rows_of_the_attempt_that_counts_are_asked() {
    let project = project();
    let (samples, mut misled) = (planted(300, 3), planted(300, 3));
    // What the first attempt thought of the samples that the second one logs again.
    for sample in misled.iter_mut().skip(100) {
        sample.probabilities.rotate_right(1);
    }
    let first = project.start_run(quiet("lenet")).unwrap();
    for (step, batch) in (0..).zip(misled.chunks(50)) {
        first
            .samples(&rows_of(batch, step), &columns(batch, true))
            .unwrap();
    }
    first.flush().unwrap();
    // Its process lives, but is not heard of: as if it had died on another machine.
    project
        .root()
        .env()
        .advance(SILENCE_MAX + Duration::from_secs(1));
    let second = project.start_run(quiet("lenet").resume()).unwrap();
    for (step, batch) in (0..).zip(samples.chunks(50)).skip(2) {
        second
            .samples(&rows_of(batch, step), &columns(batch, true))
            .unwrap();
    }
    second.finish().unwrap();
    let issues = issues(&project, &LabelIssueOptions::new());
    assert_eq!(issues.schema().metadata()["rows"], "300");
    assert_eq!(found(&issues), wrong(&samples));
    drop(first);
}

#[test]
fn a_row_that_was_logged_twice_counts_twice_with_each_of_its_labels() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    let samples = planted(200, 4);
    let mut corrected = samples.clone();
    for sample in &mut corrected {
        sample.label = sample.class;
    }
    for (step, batch) in (0..).zip(samples.chunks(64).chain(corrected.chunks(64))) {
        run.samples(&rows_of(batch, step), &columns(batch, true))
            .unwrap();
        run.flush().unwrap();
    }
    run.finish().unwrap();
    let issues = issues(&project, &LabelIssueOptions::new());
    assert_eq!(issues.schema().metadata()["rows"], "400");
    assert_eq!(issues.num_rows(), wrong(&samples).len());
    assert_eq!(found(&issues), wrong(&samples));
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_answered() {
    let ground = Ground::memory();
    let project = ground.project();
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, &planted(500, 20));
    run.finish().unwrap();
    let files = block_on(project.sample_files(&"lenet".parse().unwrap())).unwrap();
    let path = &files.iter().max_by_key(|file| file.bytes).unwrap().path;
    let store = project.root().store();
    let read = async { store.get(path).await?.bytes().await };
    let mut bytes = block_on(read).unwrap().to_vec();
    let n = bytes.len();
    // Of all columns the probabilities take most.
    bytes[n / 4..n / 2].fill(0);
    block_on(store.put(path, bytes.into())).unwrap();
    let new = LabelIssueOptions::new();
    let answer = block_on(ground.project().label_issues("lenet", "val", 3, new));
    let err = answer.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt, "{err:?}");
    assert!(err.to_string().contains(path.as_ref()), "{err}");
}

#[test]
fn rows_that_cannot_count_are_left_out_and_counted() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    let samples = planted(120, 3);
    let (wanted, others) = samples.split_at(100);
    let mut labels: Vec<Option<i64>> = Vec::new();
    let mut lists: Vec<Option<Vec<Option<f32>>>> = Vec::new();
    for sample in wanted {
        labels.push(i64::try_from(sample.label).ok());
        lists.push(Some(
            sample.probabilities.iter().copied().map(Some).collect(),
        ));
    }
    for (at, sample) in others.iter().enumerate() {
        labels.push((at >= 8).then_some(1));
        lists.push(match at % 4 {
            0 => None,
            1 => Some(vec![Some(0.2), None, Some(0.8)]),
            2 => Some(vec![Some(f32::NAN); 3]),
            _ if at < 8 => Some(sample.probabilities.iter().copied().map(Some).collect()),
            _ => Some(vec![Some(0.0), Some(f32::INFINITY), Some(0.0)]),
        });
    }
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let fields = vec![
        Field::new("p", DataType::List(item), true),
        Field::new("class", DataType::Int64, true),
    ];
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
    let columns: Vec<ArrayRef> = vec![Arc::new(lists), Arc::new(Int64Array::from(labels))];
    let columns = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    run.samples(&rows_of(&samples, 0), &columns).unwrap();
    run.finish().unwrap();
    let options = LabelIssueOptions::new().probabilities("p").label("class");
    let issues = issues(&project, &options);
    let counted = |key: &str| issues.schema().metadata()[key].clone();
    let counted = ["rows", "rows_without_label", "rows_without_probabilities"].map(counted);
    assert_eq!(counted, ["100", "8", "12"]);
    let ids = issues
        .column(0)
        .as_primitive::<UInt64Type>()
        .values()
        .iter()
        .copied();
    let mut ids: Vec<u64> = ids.collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(wrong(wanted).into_keys()));
}

#[test]
fn what_cannot_be_answered_says_why() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    let mut samples = planted(20, 3);
    samples[13].label = 3;
    let names: ArrayRef = Arc::new(StringArray::from(vec!["cat"; 20]));
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5; 20]));
    let mut more = columns(&samples, true);
    for (name, values) in [("name", names), ("loss", loss)] {
        let mut fields = more.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(name, values.data_type().clone(), true)));
        let columns = [more.columns(), &[values]].concat();
        more = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    }
    run.samples(&rows_of(&samples, 0), &more).unwrap();
    run.finish().unwrap();
    let new = LabelIssueOptions::new;
    let check = |epoch, options, kind, message: &str| {
        let err = block_on(project.label_issues("lenet", "val", epoch, options)).unwrap_err();
        assert_eq!(err.kind(), kind, "{err:?}");
        assert!(err.to_string().contains(message), "{err}");
    };
    check(
        3,
        new(),
        ErrorKind::Invalid,
        "row 13 has label 3, and there are values of 3",
    );
    check(
        3,
        new().label("name"),
        ErrorKind::Invalid,
        "\"name\" are Utf8",
    );
    check(3, new().label("animal"), ErrorKind::NotFound, "\"animal\"");
    check(
        3,
        new().probabilities("loss"),
        ErrorKind::Invalid,
        "\"loss\" is Float32",
    );
    check(
        3,
        new().probabilities("p"),
        ErrorKind::NotFound,
        "no column \"p\"",
    );
    check(4, new(), ErrorKind::NotFound, "no epoch 4");
}

/// Writes the samples as lines `row id, label, probabilities …`, and an answer as `row id, score, label, suggested`.
fn write(folder: &Path, samples: &[Sample], answers: &[(String, RecordBatch)]) {
    let line = |sample: &Sample| {
        let mut cells = vec![sample.row_id.to_string(), sample.label.to_string()];
        let probabilities = sample.probabilities.iter();
        cells.extend(probabilities.map(|p| f64::from(*p).to_string()));
        cells
    };
    write_lines(folder, "samples.csv", samples.iter().map(line));
    for (name, issues) in answers {
        write_answer(folder, &format!("{name}.csv"), issues, &[0, 2, 3, 4]);
    }
}

/// Where samples and answers are to be written for the comparison, if they are to be.
fn out() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
    let out = std::env::var("TLC_QUALITY_OUT");
    out.ok().map(PathBuf::from)
}

/// Writes lines of cells to a file of a folder.
fn write_lines(folder: &Path, name: &str, lines: impl IntoIterator<Item = Vec<String>>) {
    std::fs::create_dir_all(folder).unwrap();
    let lines: String = lines
        .into_iter()
        .map(|cells| cells.join(",") + "\n")
        .collect();
    std::fs::write(folder.join(name), lines).unwrap();
}

/// Writes some columns of an answer.
fn write_answer(folder: &Path, name: &str, answer: &RecordBatch, columns: &[usize]) {
    let cell = |at: &usize, row| array_value_to_string(answer.column(*at), row).unwrap();
    let line = |row| columns.iter().map(|at| cell(at, row)).collect();
    write_lines(folder, name, (0..answer.num_rows()).map(line));
}

/// The answers of all selections and rankings, by their names.
fn all_answers(project: &Project) -> Vec<(String, RecordBatch)> {
    let mut answers = Vec::new();
    for (selection_name, selection) in SELECTIONS {
        for (ranking_name, ranking) in RANKINGS {
            let options = LabelIssueOptions::new()
                .selection(selection)
                .ranking(ranking);
            let name = format!("{selection_name}.{ranking_name}");
            answers.push((name, issues(project, &options)));
        }
    }
    answers
}

#[test]
fn near_a_half_the_last_digit_says_how_many_labels_are_doubted() {
    let project = project();
    let samples = near_a_half();
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, &samples);
    run.finish().unwrap();
    let answers = all_answers(&project);
    let doubted = |(_, issues): &(String, RecordBatch)| {
        let found = found(issues).into_values();
        found.filter(|(label, _)| *label == 2).count()
    };
    assert_eq!(answers.iter().map(doubted).collect::<Vec<_>>(), [2; 6]);
    if let Some(out) = out() {
        write(&out.join("near-a-half"), &samples, &answers);
    }
}

#[test]
fn of_muddled_samples_wrong_labels_are_found_oftener_than_by_chance_and_none_that_the_model_likes()
{
    let out = out();
    let seeds = if out.is_some() { 16 } else { 2 };
    for (seed, n_classes) in (0..seeds).flat_map(|seed| [2, 3, 5, 20].map(|n| (seed, n))) {
        let project = project();
        let samples = muddled(seed, n_classes);
        let run = project.start_run(quiet("lenet")).unwrap();
        log(&run, &samples);
        run.finish().unwrap();
        let answers = all_answers(&project);
        for (name, issues) in &answers {
            let (found, wrong) = (found(issues), wrong(&samples));
            let right = found.keys().filter(|id| wrong.contains_key(id)).count();
            let about = format!("{name}: seed {seed}, {n_classes} classes");
            let n_found = found.len();
            assert!(right * samples.len() > wrong.len() * n_found, "{about}");
            assert!(found.values().all(|(label, suggested)| label != suggested));
        }
        if let Some(out) = &out {
            write(&out.join(format!("{seed}-{n_classes}")), &samples, &answers);
        }
    }
}
