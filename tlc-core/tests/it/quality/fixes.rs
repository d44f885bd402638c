//! From issues to patches: what is found is fixed by one call, and what does not fit is refused.

use tlc_core::arrow::array::{Float64Array, UInt64Array};
use tlc_core::arrow::compute::concat_batches;
use tlc_core::{IssueAction, Snapshot, Table};

use super::*;

/// A table of labels, of which some are wrong, and a run that saw it.
fn labelled(project: &Project, samples: &[Sample]) -> Table {
    let classes = ["cat", "dog", "cow", "owl"];
    let fields = vec![schema::label("label", classes), schema::weight("weight")];
    let weights: ArrayRef = Arc::new(Float32Array::from(vec![1.0; samples.len()]));
    let columns = vec![label_column(samples), weights];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    let table = block_on(project.create_table("train", reader(rows.unwrap()), "made")).unwrap();
    let run = project.start_run(quiet("lenet")).unwrap();
    for (step, batch) in (0..).zip(samples.chunks(50)) {
        let rows = rows_of(batch, step).source("train".parse().unwrap(), 0.into());
        run.samples(&rows, &columns_without_label(batch)).unwrap();
    }
    run.finish().unwrap();
    table
}

fn columns_without_label(samples: &[Sample]) -> RecordBatch {
    columns(samples, false)
}

fn head(table: &Table) -> Snapshot {
    block_on(table.head()).unwrap()
}

/// Row id and the values of a column.
fn values(table: &Table, column: &str) -> String {
    let options = tlc_core::ScanOptions::new().columns(["_rowid", column]);
    text(&block_on(head(table).read(options)).unwrap())
}

#[test]
fn labels_become_what_is_suggested_and_then_nothing_is_wrong() {
    let project = project();
    let samples = planted(240, 4);
    let table = labelled(&project, &samples);
    let issues = issues(&project, &LabelIssueOptions::new());
    assert_eq!(found(&issues), wrong(&samples));
    assert_eq!(issues.schema().metadata()["table"], "train");
    let action = IssueAction::Relabel("label".into());
    let patch = head(&table).patch_of_issues(&issues, &action).unwrap();
    let committed = block_on(table.commit(&patch, "as the model has it")).unwrap();
    assert_eq!(committed.cells, wrong(&samples).len() as u64);
    let expected = samples
        .iter()
        .map(|one| format!("{}:{}", one.row_id, one.class));
    assert_eq!(
        values(&table, "label"),
        expected.collect::<Vec<_>>().join(" ")
    );
    let again = LabelIssueOptions::new().at("main");
    assert_eq!(super::issues(&project, &again).num_rows(), 0);
}

#[test]
fn weights_become_scores_and_a_column_tells_the_issues() {
    let project = project();
    let samples = planted(60, 4);
    let table = labelled(&project, &samples);
    let issues = issues(&project, &LabelIssueOptions::new());
    let weigh = IssueAction::Weigh("weight".into());
    let patch = head(&table).patch_of_issues(&issues, &weigh).unwrap();
    block_on(table.commit(&patch, "less of these")).unwrap();
    let tag = IssueAction::Tag("doubt".into());
    let patch = head(&table)
        .patch_of_issues(&issues.slice(0, 2), &tag)
        .unwrap();
    block_on(table.commit(&patch, "two doubts")).unwrap();
    // Now the column is there.
    let patch = head(&table).patch_of_issues(&issues, &tag).unwrap();
    block_on(table.commit(&patch, "all doubts")).unwrap();
    let scores = issues.column(2).as_primitive::<Float64Type>().values();
    let ids = issues.column(0).as_primitive::<UInt64Type>().values();
    let scores: BTreeMap<u64, f64> = ids.iter().copied().zip(scores.iter().copied()).collect();
    let doubts = samples
        .iter()
        .map(|one| match scores.contains_key(&one.row_id) {
            true => format!("{}:label", one.row_id),
            false => format!("{}:-", one.row_id),
        });
    assert_eq!(
        values(&table, "doubt"),
        doubts.collect::<Vec<_>>().join(" ")
    );
    let options = tlc_core::ScanOptions::new().columns(["weight"]);
    let weights = block_on(head(&table).read(options)).unwrap();
    let weights = weights.column(0).as_primitive::<Float32Type>().values();
    for (one, weight) in samples.iter().zip(weights) {
        let expected = scores.get(&one.row_id).copied().unwrap_or(1.0);
        assert!(
            (f64::from(*weight) - expected).abs() < 1e-6,
            "row {}",
            one.row_id
        );
    }
}

/// Issues with classes to suggest, of label issues that somebody made.
fn made(rows: &[(u64, f64, Option<i64>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<UInt64Array>());
    let scores: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>());
    let classes: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(StringArray::from(vec!["mine"; rows.len()]));
    let columns = [
        ("_rowid", ids),
        ("issue", names),
        ("score", scores),
        ("suggested", classes),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, column)| (name, column, name == "suggested")),
    )
    .unwrap()
}

#[test]
fn of_several_rows_for_a_sample_the_first_counts_and_names_of_classes_are_taken() {
    let project = project();
    let table = labelled(&project, &planted(8, 4));
    let relabel = IssueAction::Relabel("label".into());
    let (a, b) = (
        made(&[(3, 0.1, Some(2)), (1, 0.2, Some(3))]),
        made(&[(3, 0.5, Some(0))]),
    );
    let both = concat_batches(&a.schema(), [&a, &b]).unwrap();
    let patch = head(&table).patch_of_issues(&both, &relabel).unwrap();
    block_on(table.commit(&patch, "first")).unwrap();
    assert!(values(&table, "label").starts_with("0:0 1:3 2:2 3:2 4:0"));
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![0, 2]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["dog", "owl"]));
    let named = RecordBatch::try_from_iter([("_rowid", ids), ("suggested", names)]).unwrap();
    let patch = head(&table).patch_of_issues(&named, &relabel).unwrap();
    block_on(table.commit(&patch, "by name")).unwrap();
    assert!(values(&table, "label").starts_with("0:1 1:3 2:3 3:2"));
    // A class that became part of another is that one.
    let mut merging = head(&table).patch();
    merging.merge_classes("label", "owl", "cat").unwrap();
    block_on(table.commit(&merging, "owls are cats")).unwrap();
    let patch = head(&table)
        .patch_of_issues(&made(&[(3, 0.0, Some(3))]), &relabel)
        .unwrap();
    block_on(table.commit(&patch, "an owl")).unwrap();
    assert!(values(&table, "label").starts_with("0:1 1:0 2:0 3:0"));
    let nothing = head(&table).patch_of_issues(&made(&[]), &relabel).unwrap();
    assert!(nothing.is_empty());
}

#[track_caller]
fn refused(
    snapshot: &Snapshot,
    (issues, action): (&RecordBatch, IssueAction),
    kind: ErrorKind,
    message: &str,
) {
    let err = snapshot.patch_of_issues(issues, &action).unwrap_err();
    assert_eq!(err.kind(), kind, "{err:?}");
    assert!(err.to_string().contains(message), "{err}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let project = project();
    let table = labelled(&project, &planted(8, 4));
    let snapshot = head(&table);
    let check = |issues: &RecordBatch, action, kind, message: &str| {
        refused(&snapshot, (issues, action), kind, message);
    };
    let relabel = |column: &str| IssueAction::Relabel(column.into());
    let weigh = |column: &str| IssueAction::Weigh(column.into());
    let good = made(&[(3, 0.5, Some(2))]);
    let (invalid, missing) = (ErrorKind::Invalid, ErrorKind::NotFound);
    check(
        &made(&[(3, 0.5, Some(2)), (5, 0.5, None)]),
        relabel("label"),
        invalid,
        "nothing is suggested for row 5",
    );
    check(
        &made(&[(6, 0.5, Some(4))]),
        relabel("label"),
        invalid,
        "row 6 is none of the 4 classes",
    );
    check(
        &made(&[(6, 0.5, Some(-1))]),
        relabel("label"),
        invalid,
        "row 6 is none of the 4 classes",
    );
    check(&good, relabel("animal"), missing, "no column \"animal\"");
    check(
        &made(&[(8, 0.5, Some(1))]),
        relabel("label"),
        missing,
        "train@0 has no row 8",
    );
    check(
        &made(&[(2, f64::NAN, None)]),
        weigh("weight"),
        invalid,
        "the score of row 2 is no number",
    );
    check(
        &good,
        IssueAction::Tag("weight".into()),
        invalid,
        "\"weight\" is Float32",
    );
}

#[test]
fn what_is_no_answer_about_the_table_is_refused() {
    let project = project();
    let table = labelled(&project, &planted(8, 4));
    let snapshot = head(&table);
    let check = |issues: &RecordBatch, action, kind, message: &str| {
        refused(&snapshot, (issues, action), kind, message);
    };
    let relabel = |column: &str| IssueAction::Relabel(column.into());
    let good = made(&[(3, 0.5, Some(2))]);
    let (invalid, missing) = (ErrorKind::Invalid, ErrorKind::NotFound);
    check(
        &good.project(&[0, 1, 2]).unwrap(),
        relabel("label"),
        missing,
        "no column \"suggested\"",
    );
    check(
        &good.project(&[1]).unwrap(),
        relabel("label"),
        missing,
        "no column \"_rowid\"",
    );
    check(
        &good.project(&[0]).unwrap(),
        IssueAction::Weigh("weight".into()),
        missing,
        "no column \"score\"; there is _rowid",
    );
    let elsewhere = good.schema().as_ref().clone();
    let elsewhere = elsewhere.with_metadata([("table".to_owned(), "test".to_owned())].into());
    let elsewhere = good.clone().with_schema(Arc::new(elsewhere)).unwrap();
    check(
        &elsewhere,
        relabel("label"),
        invalid,
        "of table test, and not of train",
    );
    let tables: ArrayRef = Arc::new(StringArray::from(vec![None, Some("train"), Some("test")]));
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2, 3]));
    let named = [
        ("_rowid", Arc::clone(&ids)),
        ("suggested", ids),
        ("table", tables),
    ];
    let named = RecordBatch::try_from_iter(named).unwrap();
    check(
        &named,
        relabel("label"),
        invalid,
        "of table test, and not of train",
    );
    let own = named.slice(0, 2);
    assert!(
        !snapshot
            .patch_of_issues(&own, &relabel("label"))
            .unwrap()
            .is_empty()
    );
}

/// Some weights after the issues were weighed, `row:weight`.
fn weighed(project: &Project, name: &str, column: &str, issues: &RecordBatch) -> String {
    let fields = vec![schema::weight("weight")];
    let weights: ArrayRef = Arc::new(Float32Array::from(vec![2.0; 4]));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![weights]).unwrap();
    let table = block_on(project.create_table(name, reader(rows), "made")).unwrap();
    let weigh = IssueAction::Weigh(column.into());
    let patch = head(&table).patch_of_issues(issues, &weigh).unwrap();
    block_on(table.commit(&patch, "weighed")).unwrap();
    values(&table, column)
}

#[test]
fn a_score_without_bounds_weighs_by_its_rank_and_a_column_that_is_not_there_is_added() {
    let project = project();
    let good = made(&[(0, 0.25, None), (3, 0.0, None)]);
    let found = weighed(&project, "scores", "weight", &good);
    assert_eq!(found, "0:0.25 1:2.0 2:2.0 3:0.0");
    let found = weighed(&project, "added", "mass", &good);
    assert_eq!(found, "0:0.25 1:1.0 2:1.0 3:0.0");
    let low = made(&[
        (0, -7.0, None),
        (3, 0.5, None),
        (1, -7.0, None),
        (2, 3.0, None),
    ]);
    let found = weighed(&project, "ranks", "weight", &low);
    assert_eq!(found, "0:0.0 1:0.0 2:0.75 3:0.5");
    // The name says that the scores are of no bounds, though these are from 0 to 1.
    let columns = good.columns().to_vec();
    let margins: ArrayRef = Arc::new(StringArray::from(vec!["margin"; 2]));
    let columns = vec![
        Arc::clone(&columns[0]),
        margins,
        Arc::clone(&columns[2]),
        Arc::clone(&columns[3]),
    ];
    let margins = RecordBatch::try_new(good.schema(), columns).unwrap();
    let found = weighed(&project, "margins", "weight", &margins);
    assert_eq!(found, "0:0.5 1:2.0 2:2.0 3:0.0");
}

#[test]
fn of_a_group_of_near_duplicates_one_keeps_its_weight() {
    let project = project();
    let ids = |ids: Vec<u64>| -> ArrayRef { Arc::new(UInt64Array::from(ids)) };
    let scores: ArrayRef = Arc::new(Float64Array::from(vec![0.0; 4]));
    let columns = [
        ("_rowid", ids(vec![0, 2, 1, 3])),
        ("score", scores),
        ("group", ids(vec![0, 0, 1, 1])),
    ];
    let groups = RecordBatch::try_from_iter(columns).unwrap();
    let found = weighed(&project, "groups", "weight", &groups);
    assert_eq!(found, "0:2.0 1:2.0 2:0.0 3:0.0");
}
