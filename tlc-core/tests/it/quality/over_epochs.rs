//! What is folded over epochs, areas under the margin and trends of losses: equal to what a plain computation over all rows
//! gives, from whatever columns, where epochs have different rows and rows are odd.

use tlc_core::arrow::array::Float64Array;
use tlc_core::arrow::datatypes::Int64Type;
use tlc_core::collect::Classification;
use tlc_core::{AreaOptions, ClassOptions, Collector as _, NeighbourOptions, TrendOptions};

use super::*;

const N_CLASSES: usize = 4;

/// The class of threshold samples.
const EXTRA: usize = N_CLASSES;

const EPOCHS: i64 = 6;

/// A row of an epoch as it is logged.
#[derive(Clone)]
struct Seen {
    row_id: u64,
    label: Option<usize>,
    logits: Vec<f32>,
    loss: Option<f64>,
}

/// What became of a sample.
fn is_wrong(row_id: u64) -> bool {
    row_id % 9 == 4 && !is_judge(row_id)
}

fn is_judge(row_id: u64) -> bool {
    row_id % 10 == 3
}

/// Samples of a training in which right labels are learnt. Epochs miss samples, others come twice, and some rows have no label, no
/// loss, or no number for a logit.
fn history(seed: u64, n: u64) -> Vec<Vec<Seen>> {
    let mut dice = Dice(seed);
    let epoch = |epoch: i64| {
        let mut rows = Vec::new();
        for row_id in 0..n {
            if row_id % 7 == 6 && epoch == 2 {
                continue;
            }
            let class = usize::try_from(row_id).unwrap() % N_CLASSES;
            let label = match row_id {
                id if is_judge(id) => EXTRA,
                id if is_wrong(id) => (class + 1 + dice.below(N_CLASSES - 1)) % N_CLASSES,
                _ => class,
            };
            let times = if row_id % 31 == 5 && epoch == 3 { 2 } else { 1 };
            for _ in 0..times {
                let lean = f32::from(i16::try_from(epoch).unwrap()) + 1.0;
                let logit = |at| 2.0 * dice.share() - 1.0 + if at == class { lean } else { 0.0 };
                let mut logits: Vec<f32> = (0..=EXTRA).map(logit).collect();
                if row_id % 41 == 11 && epoch < 2 {
                    logits[1] = f32::NAN;
                }
                let high = if label == class { 1.0 / lean } else { lean };
                let loss = match dice.below(25) {
                    0 => None,
                    1 => Some(f64::NAN),
                    _ => Some(f64::from(high + dice.share())),
                };
                let label = (row_id % 37 != 13).then_some(label);
                rows.push(Seen {
                    row_id,
                    label,
                    logits,
                    loss,
                });
            }
        }
        rows
    };
    (0..EPOCHS).map(epoch).collect()
}

fn columns_of(rows: &[Seen]) -> RecordBatch {
    let lists = rows
        .iter()
        .map(|row| Some(row.logits.iter().copied().map(Some)));
    let n = i32::try_from(EXTRA + 1).unwrap();
    let logits = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, n);
    let labels = rows
        .iter()
        .map(|row| row.label.map(|label| i64::try_from(label).unwrap()));
    let losses = rows.iter().map(|row| row.loss);
    let columns: [(&str, ArrayRef); 3] = [
        ("logits", Arc::new(logits)),
        ("label", Arc::new(labels.collect::<Int64Array>())),
        ("loss", Arc::new(losses.collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Logs the history as it is in the stream `raw`, and what the collector makes of it in `train`.
fn log(project: &Project, history: &[Vec<Seen>]) {
    let run = project.start_run(quiet("lenet")).unwrap();
    let wide = Classification.wide().logit_margin().probabilities();
    for (epoch, rows) in (0..).zip(history) {
        for (step, batch) in (0..).zip(rows.chunks(50)) {
            let ids: Vec<u64> = batch.iter().map(|row| row.row_id).collect();
            let rows = |stream| Rows::new(stream, epoch, ids.clone()).unwrap().step(step);
            let columns = columns_of(batch);
            run.samples(&rows("raw"), &columns).unwrap();
            let outputs = columns.project(&[0, 1]).unwrap();
            let made = wide.collect(&outputs).unwrap();
            let label = (
                columns.schema().field(1).clone(),
                Arc::clone(columns.column(1)),
            );
            let mut fields: Vec<Field> = made
                .schema()
                .fields()
                .iter()
                .map(|field| field.as_ref().clone())
                .collect();
            fields.push(label.0);
            let arrays = [made.columns(), &[label.1]].concat();
            let made = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
            run.samples(&rows("train"), &made).unwrap();
        }
        run.flush().unwrap();
    }
    run.finish().unwrap();
}

fn area(project: &Project, stream: &str, options: AreaOptions) -> RecordBatch {
    block_on(project.area_under_margin("lenet", stream, options)).unwrap()
}

/// Row id and score of each row.
fn scores(issues: &RecordBatch) -> Vec<(u64, f64)> {
    let ids = issues.column(0).as_primitive::<UInt64Type>().values();
    let scores = issues.column(2).as_primitive::<Float64Type>().values();
    ids.iter().copied().zip(scores.iter().copied()).collect()
}

/// The mean margin of each sample, by the definition.
#[expect(clippy::cast_precision_loss, reason = "few epochs")]
fn plain_areas(history: &[Vec<Seen>]) -> BTreeMap<u64, f64> {
    let mut margins: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for row in history.iter().flatten() {
        let Some(label) = row.label else { continue };
        if row.logits.iter().any(|logit| logit.is_nan()) {
            continue;
        }
        let others = row.logits.iter().enumerate().filter(|(at, _)| *at != label);
        let other = others
            .map(|(_, logit)| *logit)
            .fold(f32::NEG_INFINITY, f32::max);
        let margin = f64::from(row.logits[label]) - f64::from(other);
        margins.entry(row.row_id).or_default().push(margin);
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    margins
        .into_iter()
        .map(|(id, values)| (id, mean(values)))
        .collect()
}

#[test]
fn areas_are_the_mean_margins_whatever_column_they_are_from() {
    let project = project();
    let history = history(3, 200);
    log(&project, &history);
    let plain = plain_areas(&history);
    let all = || AreaOptions::new();
    for (stream, options, column, error_max) in [
        ("raw", all(), "logits", 1e-12),
        ("raw", all().column("logits"), "logits", 1e-12),
        ("train", all(), "logit_margin", 1e-5),
        (
            "train",
            all().column("probabilities"),
            "probabilities",
            1e-4,
        ),
        (
            "train",
            all().probabilities("probabilities"),
            "probabilities",
            1e-4,
        ),
    ] {
        let found = area(&project, stream, options);
        assert_eq!(found.schema().metadata()["column"], column);
        let found = scores(&found);
        assert_eq!(found.len(), plain.len(), "{column}");
        assert!(found.is_sorted_by(|a, b| a.1 <= b.1), "{column}");
        for (row_id, score) in found {
            let off = (score - plain[&row_id]).abs();
            assert!(off < error_max, "{column}: row {row_id} is {off} off");
        }
    }
    // That of probabilities is another one, of at most 1.
    let found = scores(&area(&project, "train", all().column("margin")));
    assert_eq!(found.len(), plain.len());
    assert!(found.iter().all(|(_, score)| score.abs() <= 1.0));
}

#[test]
fn samples_below_the_threshold_samples_are_issues_and_these_are_none() {
    let project = project();
    let history = history(5, 400);
    log(&project, &history);
    let wrong = |id: &u64| is_wrong(*id) && id % 37 != 13;
    let n_wrong = (0..400).filter(wrong).count();
    let judges: Vec<u64> = (0..400).filter(|id| is_judge(*id)).collect();
    let by_class = AreaOptions::new().threshold_class(EXTRA as i64);
    for stream in ["raw", "train"] {
        let found = area(&project, stream, by_class.clone());
        assert!(found.schema().metadata().contains_key("threshold"));
        let ids: Vec<u64> = scores(&found).into_iter().map(|(id, _)| id).collect();
        assert!(ids.iter().all(wrong), "{ids:?}");
        assert!(ids.len() * 10 > n_wrong * 8, "{} of {n_wrong}", ids.len());
        let suggested = found.column(4).as_primitive::<Int64Type>();
        for (id, suggested) in ids.iter().zip(suggested) {
            assert_eq!(
                suggested,
                Some((*id % N_CLASSES as u64).cast_signed()),
                "row {id}"
            );
        }
        let by_rows = AreaOptions::new().threshold_rows(&judges);
        assert_eq!(area(&project, stream, by_rows), found);
        let few = area(&project, stream, by_class.clone().rows_max(3));
        assert_eq!(few.columns(), found.slice(0, 3).columns());
        let strict = area(&project, stream, by_class.clone().percentile(0.0));
        assert!(strict.num_rows() < found.num_rows());
    }
}

#[test]
fn rows_without_a_label_or_a_margin_are_counted_in_either_way_of_reading() {
    let project = project();
    let history = history(5, 120);
    log(&project, &history);
    let rows: Vec<&Seen> = history.iter().flatten().collect();
    let unlabelled = rows.iter().filter(|row| row.label.is_none()).count();
    let is_odd = |row: &&&Seen| row.label.is_some() && row.logits.iter().any(|p| p.is_nan());
    let odd = rows.iter().filter(is_odd).count();
    assert!(unlabelled > 0 && odd > 0);
    let expected = [rows.len() - unlabelled - odd, unlabelled, odd].map(|n| n.to_string());
    for stream in ["raw", "train"] {
        let found = area(&project, stream, AreaOptions::new());
        let counted = |key: &str| found.schema().metadata()[key].clone();
        let counted = ["rows", "rows_without_label", "rows_without_margin"].map(counted);
        assert_eq!(counted, expected, "{stream}");
    }
}

/// Slope, mean and last of the losses of each sample, by sums over all of them.
#[expect(clippy::cast_precision_loss, reason = "few epochs")]
fn plain_trends(history: &[Vec<Seen>]) -> BTreeMap<u64, (f64, f64, f64)> {
    let mut losses: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for (epoch, rows) in history.iter().enumerate() {
        for row in rows {
            if let Some(loss) = row.loss.filter(|loss| loss.is_finite()) {
                losses
                    .entry(row.row_id)
                    .or_default()
                    .push((epoch as f64, loss));
            }
        }
    }
    let trend = |losses: Vec<(f64, f64)>| {
        let n = losses.len() as f64;
        let sum = |of: fn(&(f64, f64)) -> f64| losses.iter().map(of).sum::<f64>();
        let (x, y, xx, xy) = (
            sum(|l| l.0),
            sum(|l| l.1),
            sum(|l| l.0 * l.0),
            sum(|l| l.0 * l.1),
        );
        let slope = (n * xy - x * y) / (n * xx - x * x);
        (slope, y / n, losses.last().unwrap().1)
    };
    losses
        .into_iter()
        .map(|(id, losses)| (id, trend(losses)))
        .collect()
}

fn trend(project: &Project, options: impl Into<TrendOptions>) -> RecordBatch {
    block_on(project.loss_trend("lenet", "raw", options.into())).unwrap()
}

#[test]
fn losses_that_are_high_and_do_not_fall_are_those_of_a_plain_computation() {
    let project = project();
    let history = history(8, 300);
    log(&project, &history);
    let plain = plain_trends(&history);
    for share in [0.05, 0.1, 0.5, 1.0] {
        let mut means: Vec<f64> = plain.values().map(|(_, mean, _)| *mean).collect();
        means.sort_by(f64::total_cmp);
        let found = trend(&project, TrendOptions::new().share(share));
        let [mean, last] = [3, 4].map(|at| found.column(at).as_primitive::<Float64Type>());
        let rows = scores(&found);
        assert!(rows.is_sorted_by(|a, b| a.1 <= b.1));
        for (at, (row_id, score)) in rows.iter().enumerate() {
            let (slope, plain_mean, plain_last) = plain[row_id];
            assert!((score + slope).abs() < 1e-9 && (mean.value(at) - plain_mean).abs() < 1e-9);
            assert_eq!(last.value(at), plain_last);
        }
        // As many as are stuck of those above the place where the share begins.
        let place = (means.len() as f64 - 1.0) * (1.0 - share);
        let (low, part) = (place.floor(), place - place.floor());
        let at = |place: f64| means[format!("{place}").parse::<usize>().unwrap()];
        let high = at(low) + (at(place.ceil()) - at(low)) * part;
        let is_stuck = |(slope, mean, _): &&(f64, f64, f64)| *slope >= 0.0 && *mean >= high - 1e-12;
        assert_eq!(
            rows.len(),
            plain.values().filter(is_stuck).count(),
            "{share}"
        );
        assert!(share < 0.1 || !rows.is_empty());
    }
    let all = trend(&project, TrendOptions::new());
    assert_eq!(trend(&project, 2).columns(), all.slice(0, 2).columns());
    let n_rows = history.iter().map(Vec::len).sum::<usize>();
    let counted = |key: &str| all.schema().metadata()[key].parse::<usize>().unwrap();
    assert_eq!(counted("rows") + counted("rows_without_loss"), n_rows);
    assert!(counted("rows_without_loss") > 0);
}

fn forgotten(project: &Project, options: ClassOptions) -> RecordBatch {
    block_on(project.forgotten("lenet", "train", options)).unwrap()
}

/// How often each sample was right and then wrong, and whether it was ever right: never, then oftenest first, of those that
/// were never right or once forgotten.
fn plain_forgotten(history: &[Vec<Seen>]) -> Vec<(u64, usize, bool)> {
    let mut is_right: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
    for row in history.iter().flatten() {
        let Some(label) = row.label else { continue };
        if row.logits.iter().any(|logit| logit.is_nan()) {
            continue;
        }
        let others = row.logits.iter().enumerate();
        let is_top = others.clone().all(|(at, logit)| match at < label {
            true => *logit < row.logits[label],
            false => *logit <= row.logits[label],
        });
        is_right.entry(row.row_id).or_default().push(is_top);
    }
    let count = |(row_id, is_right): (u64, Vec<bool>)| {
        let n = is_right
            .windows(2)
            .filter(|pair| pair[0] && !pair[1])
            .count();
        (row_id, n, is_right.contains(&true))
    };
    let mut found: Vec<_> = is_right.into_iter().map(count).collect();
    found.retain(|(_, n, is_learnt)| *n > 0 || !is_learnt);
    found.sort_by_key(|(row_id, n, is_learnt)| (*is_learnt, std::cmp::Reverse(*n), *row_id));
    found
}

#[test]
fn what_was_never_learnt_comes_before_what_was_forgotten() {
    let project = project();
    let history = history(4, 300);
    log(&project, &history);
    let plain = plain_forgotten(&history);
    assert!(plain.iter().any(|row| row.2) && plain.iter().any(|row| !row.2));
    let found = forgotten(&project, ClassOptions::new());
    let line = |(row_id, n, is_learnt): &(u64, usize, bool)| format!("{row_id}:{n}:{is_learnt}");
    let expected: Vec<String> = plain.iter().map(line).collect();
    assert_eq!(
        text(&found.project(&[0, 1, 4]).unwrap()),
        expected.join(" ")
    );
    let scores = found.column(3).as_primitive::<Float64Type>().values();
    for ((_, n, is_learnt), score) in plain.iter().zip(scores) {
        let expected = if *is_learnt {
            1.0 / (1.0 + *n as f64)
        } else {
            0.0
        };
        assert_eq!(score.to_bits(), f64::to_bits(expected));
    }
    assert_eq!(
        array_value_to_string(found.column(2), 0).unwrap(),
        "forgotten"
    );
    let few = forgotten(&project, 3.into());
    assert_eq!(few.columns(), found.slice(0, 3).columns());
}

/// Samples with all that is asked for, and the table that they are of.
fn log_of(run: &Run, stream: &str, epoch: i64, (table, samples): (&str, &[Sample])) {
    let losses = samples.iter().map(|sample| sample.row_id as f64);
    let columns: [(&str, ArrayRef); 5] = [
        ("probabilities", probability_column(samples)),
        ("label", label_column(samples)),
        ("predicted", label_column(samples)),
        ("loss", Arc::new(Float64Array::from_iter_values(losses))),
        ("embedding", probability_column(samples)),
    ];
    let ids: Vec<u64> = samples.iter().map(|sample| sample.row_id).collect();
    let rows = Rows::new(stream, epoch, ids).unwrap();
    let rows = rows.source(table.parse().unwrap(), 0.into());
    run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
        .unwrap();
}

#[test]
fn rows_of_several_tables_are_refused_and_the_one_table_is_told() {
    let project = project();
    let samples = planted(40, 4);
    let (a, b) = samples.split_at(20);
    let run = project.start_run(quiet("lenet")).unwrap();
    for epoch in 0..2 {
        log_of(&run, "one", epoch, ("first", &samples));
        log_of(&run, "mixed", epoch, ("first", a));
        log_of(&run, "mixed", epoch, ("second", b));
        let table = if epoch == 0 { "first" } else { "second" };
        log_of(&run, "moved", epoch, (table, &samples));
    }
    run.finish().unwrap();
    let of_epochs = |stream: &str| {
        [
            block_on(project.area_under_margin("lenet", stream, 9)),
            block_on(project.loss_trend("lenet", stream, 9)),
            block_on(project.forgotten("lenet", stream, ClassOptions::new())),
        ]
    };
    let of_one_epoch = |stream: &str| {
        let new = NeighbourOptions::new;
        [
            block_on(project.label_issues("lenet", stream, 0, 9)),
            block_on(project.near_duplicates("lenet", stream, 0, new())),
            block_on(project.outliers("lenet", stream, 0, new())),
        ]
    };
    for answer in of_epochs("one").into_iter().chain(of_one_epoch("one")) {
        assert_eq!(answer.unwrap().schema().metadata()["table"], "first");
    }
    assert!(of_one_epoch("moved").iter().all(Result::is_ok));
    let refused = of_epochs("mixed").into_iter().chain(of_one_epoch("mixed"));
    for answer in refused.chain(of_epochs("moved")) {
        let err = answer.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{err:?}");
        let message = "some rows are of table first and some of table second";
        assert!(err.to_string().contains(message), "{err}");
    }
}

#[test]
fn margins_that_were_logged_need_no_label() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    let margins =
        |epoch: f32| -> ArrayRef { Arc::new(Float32Array::from(vec![epoch, 2.0 - epoch, -3.0])) };
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("cat"), Some("dog"), None]));
    for (epoch, value) in [(0, 0.0), (1, 1.0)] {
        let bare = [("logit_margin", margins(value))];
        let named = [
            ("logit_margin", margins(value)),
            ("label", Arc::clone(&names)),
        ];
        for (stream, columns) in [("bare", &bare[..]), ("named", &named)] {
            let rows = Rows::new(stream, epoch, vec![1, 2, 3]).unwrap();
            let columns = columns
                .iter()
                .map(|(name, column)| (*name, Arc::clone(column)));
            run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
                .unwrap();
        }
    }
    run.finish().unwrap();
    let found = area(&project, "bare", AreaOptions::new());
    assert_eq!(scores(&found), [(3, -3.0), (1, 0.5), (2, 1.5)]);
    assert_eq!(found.column(3).null_count(), 3);
    assert_eq!(found.schema().metadata()["rows"], "6");
    let found = area(&project, "named", AreaOptions::new());
    assert_eq!(scores(&found), [(1, 0.5), (2, 1.5)]);
    assert_eq!(found.column(3).null_count(), 2);
    assert_eq!(found.schema().metadata()["rows_without_label"], "2");
    let below = AreaOptions::new().threshold_rows(&[2]);
    assert_eq!(
        scores(&area(&project, "bare", below)),
        [(3, -3.0), (1, 0.5)]
    );
    // A label that was asked for must be there, also if samples of its class are the threshold.
    let by_class = AreaOptions::new().threshold_class(1);
    for asked in [AreaOptions::new().label("animal"), by_class] {
        let err = block_on(project.area_under_margin("lenet", "bare", asked)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound, "{err:?}");
    }
}

#[test]
fn what_cannot_be_folded_says_why() {
    let project = project();
    log(&project, &history(1, 40));
    let margin = |stream: &str, options: AreaOptions, kind, message: &str| {
        let err = block_on(project.area_under_margin("lenet", stream, options)).unwrap_err();
        assert_eq!(err.kind(), kind, "{err:?}");
        assert!(err.to_string().contains(message), "{err}");
    };
    let new = AreaOptions::new;
    margin("val", new(), ErrorKind::NotFound, "no stream \"val\"");
    margin(
        "raw",
        new().column("margin"),
        ErrorKind::NotFound,
        "no column \"margin\"",
    );
    margin(
        "raw",
        new().label("animal"),
        ErrorKind::NotFound,
        "\"animal\"",
    );
    margin(
        "raw",
        new().percentile(101.0),
        ErrorKind::Invalid,
        "from 0 to 100",
    );
    margin(
        "raw",
        new().percentile(f64::NAN),
        ErrorKind::Invalid,
        "from 0 to 100",
    );
    margin(
        "raw",
        new().threshold_class(99),
        ErrorKind::Invalid,
        "no threshold sample",
    );
    margin(
        "train",
        new().threshold_rows(&[]),
        ErrorKind::Invalid,
        "no threshold sample",
    );
}

#[test]
fn a_trend_or_a_stream_that_cannot_be_folded_says_why() {
    let project = project();
    log(&project, &history(1, 40));
    let trend = |options: TrendOptions, kind, message: &str| {
        let err = block_on(project.loss_trend("lenet", "raw", options)).unwrap_err();
        assert_eq!(err.kind(), kind, "{err:?}");
        assert!(err.to_string().contains(message), "{err}");
    };
    let new = TrendOptions::new;
    trend(new().column("p"), ErrorKind::NotFound, "no column \"p\"");
    trend(
        new().column("logits"),
        ErrorKind::Invalid,
        "\"logits\" is FixedSizeList",
    );
    trend(new().share(1.5), ErrorKind::Invalid, "from 0 to 1");
    // A stream without any column of margins.
    let run = project.start_run(quiet("other")).unwrap();
    let columns = columns_of(&history(1, 40)[0]).project(&[1, 2]).unwrap();
    let rows = Rows::new(
        "train",
        0,
        (0..columns.num_rows() as u64).collect::<Vec<_>>(),
    );
    run.samples(&rows.unwrap(), &columns).unwrap();
    run.finish().unwrap();
    let answer = block_on(project.area_under_margin("other", "train", 5));
    let err = answer.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert!(
        err.to_string().contains("logits, probabilities and margin"),
        "{err}"
    );
}

/// Writes rows and answers for the comparison.
#[test]
fn answers_over_epochs_stand_beside_their_rows() {
    let seeds = if out().is_some() { 12 } else { 1 };
    for seed in 0..seeds {
        let project = project();
        let history = history(seed, 150 + 10 * seed);
        log(&project, &history);
        let all = area(&project, "raw", AreaOptions::new());
        let options = AreaOptions::new().threshold_class(EXTRA as i64);
        let below = area(&project, "raw", options);
        let stuck = trend(&project, TrendOptions::new());
        let forgotten = forgotten(&project, ClassOptions::new());
        assert!(all.num_rows() > below.num_rows() && below.num_rows() > 0);
        let Some(out) = out() else { continue };
        let folder = out.join(format!("epochs-{seed}"));
        let number = |value: Option<f64>| value.map_or("nan".to_owned(), |value| value.to_string());
        let lines = (0..)
            .zip(&history)
            .flat_map(|(epoch, rows): (i64, &Vec<Seen>)| {
                rows.iter().map(move |row| {
                    let label = row.label.map_or("-1".to_owned(), |label| label.to_string());
                    let mut cells = vec![epoch.to_string(), row.row_id.to_string(), label];
                    cells.push(number(row.loss));
                    cells.extend(row.logits.iter().map(|logit| f64::from(*logit).to_string()));
                    cells
                })
            });
        write_lines(&folder, "epochs.csv", lines);
        write_answer(&folder, "areas.csv", &all, &[0, 2, 3, 4]);
        write_answer(&folder, "below.csv", &below, &[0, 2, 3, 4]);
        write_answer(&folder, "loss_trend.csv", &stuck, &[0, 2, 3, 4]);
        write_answer(&folder, "forgotten.csv", &forgotten, &[0, 1, 3, 4]);
    }
}
