//! The functions of SQL about what is wrong with the data give what the library gives.

use std::collections::BTreeSet;

use tlc_core::arrow::array::Float64Array;
use tlc_core::{AreaOptions, NeighbourOptions, Sql, TrendOptions};

use super::*;
use crate::sql::{ask, lines};

/// A table with labels, and a run with all that is asked for.
fn log_all(project: &Project, samples: &[Sample]) {
    let classes = ["cat", "dog", "cow", "owl"];
    let fields = vec![schema::label("animal", classes)];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![label_column(samples)]);
    block_on(project.create_table("train", reader(rows.unwrap()), "made")).unwrap();
    let run = project.start_run(quiet("lenet")).unwrap();
    let mut dice = Dice(5);
    for epoch in 0..3 {
        let vectors = samples.iter().map(|sample| match sample.row_id {
            30 | 32 => Some([1.0, 1.0].map(Some)),
            31 => Some([99.0, -99.0].map(Some)),
            _ => Some([dice.share(), dice.share()].map(|x| Some(3.0 * x))),
        });
        let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
        let loss = samples.iter().map(|_| f64::from(dice.share()));
        let columns: [(&str, ArrayRef); 3] = [
            ("probabilities", probability_column(samples)),
            ("loss", Arc::new(Float64Array::from_iter_values(loss))),
            ("embedding", Arc::new(vectors)),
        ];
        let ids: Vec<u64> = samples.iter().map(|sample| sample.row_id).collect();
        let rows = Rows::new("val", epoch, ids).unwrap();
        let rows = rows.source("train".parse().unwrap(), 0.into());
        run.samples(&rows, &RecordBatch::try_from_iter(columns).unwrap())
            .unwrap();
    }
    run.finish().unwrap();
}

/// The columns that the library gives; SQL has one more.
fn columns(answer: &RecordBatch) -> String {
    let schema = answer.schema();
    let names = schema
        .fields()
        .iter()
        .map(|field| format!("\"{}\"", field.name()));
    names.collect::<Vec<_>>().join(", ")
}

/// A function of SQL gives what the library gave, and says of which table the rows are.
#[track_caller]
fn check_function(sql: &Sql, query: &str, answer: &RecordBatch) {
    assert!(answer.num_rows() > 0, "{query}");
    let columns = columns(answer);
    let found = ask(sql, &format!("SELECT {columns} FROM {query}"));
    assert_eq!(found, lines(std::slice::from_ref(answer)), "{query}");
    if columns.contains("issue") {
        assert_eq!(answer.schema().metadata()["table"], "train");
        let tables = ask(sql, &format!("SELECT DISTINCT \"table\" FROM {query}"));
        assert_eq!(tables, "train", "{query}");
    }
}

#[test]
fn functions_of_sql_give_what_the_library_gives() {
    let project = project();
    let samples = planted(160, 4);
    log_all(&project, &samples);
    let sql = block_on(Sql::open(project.root())).unwrap();
    let name = project.name();
    let check = |query: &str, answer: tlc_core::Result<RecordBatch>| {
        let query = query.replace("LENET", &format!("'{name}/lenet', 'val'"));
        check_function(&sql, &query, &answer.unwrap());
    };
    let label = || LabelIssueOptions::new().label("animal");
    let issues = |options| block_on(project.label_issues("lenet", "val", 2, options));
    check("label_issues(LENET, 2, 'all', 'animal')", issues(label()));
    check(
        "label_issues(LENET, 2, 5, 'animal', 'probabilities', 0)",
        issues(label().rows_max(5).at("0")),
    );
    check(
        "label_noise(LENET, 2, 'animal')",
        block_on(project.label_noise("lenet", "val", 2, label())),
    );
    let area = |options: AreaOptions| {
        block_on(project.area_under_margin("lenet", "val", options.label("animal")))
    };
    check(
        "area_under_margin(LENET, 'all', 'none', 'probabilities', 'animal')",
        area(AreaOptions::new()),
    );
    check(
        "area_under_margin(LENET, 4, 3, 'probabilities', 'animal', 'main')",
        area(AreaOptions::from(4).threshold_class(3)),
    );
    check(
        "loss_trend(LENET)",
        block_on(project.loss_trend("lenet", "val", TrendOptions::new())),
    );
    check(
        "loss_trend(LENET, 2, 'loss')",
        block_on(project.loss_trend("lenet", "val", 2)),
    );
    let new = NeighbourOptions::new;
    let nearest =
        |n: usize| block_on(project.nearest("lenet", "val", 1, &[9, 3], new().neighbours(n)));
    check("nearest(LENET, 1, '9,3')", nearest(10));
    check("nearest(LENET, 1, '9, 3', 2, 'embedding')", nearest(2));
    check(
        "near_duplicates(LENET, 1)",
        block_on(project.near_duplicates("lenet", "val", 1, new())),
    );
    check(
        "near_duplicates(LENET, 1, 2)",
        block_on(project.near_duplicates("lenet", "val", 1, 2)),
    );
    check(
        "outliers(LENET, 1, 'all', 'embedding')",
        block_on(project.outliers("lenet", "val", 1, new())),
    );
    // Joined with the table, numbers of classes have names.
    let names = format!(
        "SELECT count(*) FROM label_issues('{name}/lenet', 'val', 2, 'all', 'animal') i JOIN {name}.train t ON t._rowid = i._rowid WHERE t.animal = i.label AND i.label <> i.suggested"
    );
    assert_eq!(ask(&sql, &names), wrong(&samples).len().to_string());
}

#[test]
fn sql_says_which_labels_are_doubted_and_in_which_order() {
    let project = project();
    log_all(&project, &muddled(4, 4));
    let sql = block_on(Sql::open(project.root())).unwrap();
    let name = project.name();
    let mut answers = BTreeSet::new();
    for (selection, by) in [
        ("by_noise_rate", IssueSelection::ByNoiseRate),
        ("by_class", IssueSelection::ByClass),
        ("confident", IssueSelection::Confident),
    ] {
        let options = LabelIssueOptions::new().label("animal").selection(by);
        for (ranking, options) in [
            (String::new(), options.clone()),
            (", 'self_confidence'".to_owned(), options.clone()),
            (
                ", 'margin'".to_owned(),
                options.ranking(IssueRanking::Margin),
            ),
        ] {
            let expected = block_on(project.label_issues("lenet", "val", 2, options)).unwrap();
            let columns = columns(&expected);
            let query = format!(
                "SELECT {columns} FROM label_issues('{name}/lenet', 'val', 2, 'all', 'animal', 'probabilities', 'none', '{selection}'{ranking})"
            );
            let found = ask(&sql, &query);
            assert_eq!(found, lines(&[expected]), "{query}");
            answers.insert(found);
        }
    }
    assert_eq!(answers.len(), 6, "each way has an answer of its own");
}

#[test]
fn doubts_about_boxes_are_the_same_by_sql() {
    let project = project();
    let sql = block_on(Sql::open(project.root())).unwrap();
    let name = project.name();
    boxes::log_boxes(&project, &boxes::photos(4, 40));
    let boxes = block_on(project.box_issues("yolo", "val", 3, 5)).unwrap();
    let columns = columns(&boxes);
    let query = format!(
        "SELECT {columns} FROM box_issues('{name}/yolo', 'val', 3, 5, 'boxes', 'predicted_boxes', 0)"
    );
    assert_eq!(boxes.num_rows(), 5);
    assert_eq!(ask(&sql, &query), lines(&[boxes]));
}
