//! Random histories against a table in plain memory: after every step every revision must agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tlc_core::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::{Patch, ScanOptions, Snapshot, Table, Value, block_on};

use crate::support::{project, reader, rows, text};

/// One change of a patch. Rows are given by their position among those there are, columns by theirs.
#[derive(Clone, Debug)]
enum Step {
    Set {
        row: usize,
        column: usize,
        value: Option<i32>,
    },
    Append {
        rows: Vec<i32>,
    },
    Drop {
        row: usize,
    },
    AddColumn {
        default: Option<i32>,
    },
}

/// The naive table: rows by id, each with a value for each column.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: BTreeMap<u64, Vec<Option<i32>>>,
    n_columns: usize,
    next_row_id: u64,
}

impl Model {
    fn row_id(&self, row: usize) -> Option<u64> {
        let n_rows = self.rows.len();
        (n_rows > 0).then(|| *self.rows.keys().nth(row % n_rows).unwrap())
    }

    fn append(&mut self, values: &[i32], n_columns: usize) {
        for value in values {
            let row = (0..n_columns)
                .map(|column| Some(value + i32::try_from(column).unwrap()))
                .collect();
            self.rows.insert(self.next_row_id, row);
            self.next_row_id += 1;
        }
    }

    fn text(&self) -> String {
        let value = |value: &Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        let row = |(id, values): (&u64, &Vec<Option<i32>>)| {
            let values: Vec<_> = values.iter().map(value).collect();
            format!("{id}:{}", values.join(":"))
        };
        self.rows.iter().map(row).collect::<Vec<_>>().join(" ")
    }
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let value = prop::option::weighted(0.9, -9..9_i32);
    let step = prop_oneof![
        6 => (any::<usize>(), any::<usize>(), value.clone())
            .prop_map(|(row, column, value)| Step::Set { row, column, value }),
        2 => prop::collection::vec(0..100_i32, 1..5).prop_map(|rows| Step::Append { rows }),
        2 => any::<usize>().prop_map(|row| Step::Drop { row }),
        1 => value.prop_map(|default| Step::AddColumn { default }),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..10)
}

fn batch(values: &[i32], n_columns: usize) -> RecordBatch {
    let column = |column: usize| {
        let values = values
            .iter()
            .map(|value| value + i32::try_from(column).unwrap());
        (
            format!("c{column}"),
            Arc::new(Int32Array::from_iter_values(values)) as ArrayRef,
        )
    };
    let (names, columns): (Vec<String>, Vec<ArrayRef>) = (0..n_columns).map(column).unzip();
    let fields: Vec<_> = names
        .iter()
        .map(|name| Field::new(name, DataType::Int32, true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Puts `steps` into a patch, and what it means into the model: appended rows and added columns come
/// last, since a patch speaks of the rows and columns of its snapshot.
fn build(patch: &mut Patch, model: &mut Model, steps: &[Step]) {
    let base = model.clone();
    let mut dropped = Vec::new();
    let (mut appended, mut added) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Set { row, column, value } => {
                let Some(row_id) = base.row_id(*row).filter(|id| !dropped.contains(id)) else {
                    continue;
                };
                let column = column % base.n_columns;
                patch
                    .set(row_id, &format!("c{column}"), Value::from(*value))
                    .unwrap();
                model.rows.get_mut(&row_id).unwrap()[column] = *value;
            }
            Step::Drop { row } => {
                let Some(row_id) = base.row_id(*row) else {
                    continue;
                };
                patch.drop_rows(&[row_id]);
                model.rows.remove(&row_id);
                dropped.push(row_id);
            }
            Step::Append { rows } => {
                patch.append(&batch(rows, base.n_columns)).unwrap();
                appended.extend(rows.iter().copied());
            }
            Step::AddColumn { default } => {
                let name = format!("c{}", base.n_columns + added.len());
                patch
                    .add_column(
                        Field::new(name, DataType::Int32, true),
                        Value::from(*default),
                    )
                    .unwrap();
                added.push(*default);
            }
        }
    }
    model.append(&appended, base.n_columns);
    model.n_columns += added.len();
    for row in model.rows.values_mut() {
        row.extend(added.iter().copied());
    }
}

/// Reads a snapshot in every way there is.
fn check(snapshot: &Snapshot, model: &Model) {
    assert_eq!(rows(snapshot), model.text());
    assert_eq!(snapshot.n_rows(), model.rows.len() as u64);
    let mut ids: Vec<u64> = model.rows.keys().copied().collect();
    assert_eq!(block_on(snapshot.row_ids()).unwrap(), ids);
    ids.reverse();
    let names: Vec<String> = (0..model.n_columns)
        .map(|column| format!("c{column}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut reversed: Vec<_> = model
        .text()
        .split_whitespace()
        .map(|row| row.split_once(':').unwrap().1.to_owned())
        .collect();
    reversed.reverse();
    assert_eq!(
        text(&block_on(snapshot.take(&ids, &names)).unwrap()),
        reversed.join(" ")
    );
    let last = format!("c{}", model.n_columns - 1);
    let some = block_on(snapshot.read(ScanOptions::new().columns([last]).rows_max(3))).unwrap();
    let expected: Vec<_> = reversed
        .iter()
        .rev()
        .take(3)
        .map(|row| row.rsplit(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(text(&some), expected.join(" "));
}

/// What `diff` says between two revisions, against the difference of the models.
fn check_diff(table: &Table, models: &[Model], from: usize, to: usize) {
    let diff = block_on(table.diff(from as u64, to as u64)).unwrap();
    let (old, new) = (&models[from], &models[to]);
    let missing = |a: &Model, b: &Model| {
        a.rows
            .keys()
            .filter(|id| !b.rows.contains_key(id))
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!(diff.rows_added, missing(new, old));
    assert_eq!(diff.rows_dropped, missing(old, new));
    let mut cells = Vec::new();
    for column in 0..old.n_columns.min(new.n_columns) {
        for (id, values) in &old.rows {
            if let Some(others) = new.rows.get(id)
                && others[column] != values[column]
            {
                cells.push(format!("c{column}[{id}]"));
            }
        }
    }
    let named = diff.cells.iter().flat_map(|cells| {
        cells
            .row_ids
            .iter()
            .map(move |id| format!("{}[{id}]", cells.column))
    });
    assert_eq!(named.collect::<Vec<_>>(), cells);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_of_a_random_history_reads_as_the_model(history in steps()) {
        let project = project();
        let first = batch(&[10, 20, 30], 2);
        let table = block_on(project.create_table("t", reader(first), "start")).unwrap();
        let mut model = Model { n_columns: 2, ..Model::default() };
        model.append(&[10, 20, 30], 2);
        let mut models = vec![model.clone()];
        for steps in &history {
            let mut patch = block_on(table.head()).unwrap().patch();
            let mut next = model.clone();
            build(&mut patch, &mut next, steps);
            let empty = patch.is_empty();
            // A cell set in a row that a later step of the same patch drops is a patch at odds with itself.
            match block_on(table.commit(&patch, "a step")) {
                Ok(committed) => {
                    model = next;
                    if !empty {
                        models.push(model.clone());
                    }
                    check(&committed.snapshot, &model);
                }
                Err(err) => prop_assert!(err.to_string().contains("both set and dropped"), "{:?}", err),
            }
        }
        // With nothing read yet a diff reads the edits between two states, afterwards it may compare all.
        let unread = block_on(project.table("t")).unwrap();
        check_diff(&unread, &models, models.len() - 1, models.len() / 2);
        let fresh = block_on(project.table("t")).unwrap();
        for (revision, model) in models.iter().enumerate() {
            check(&block_on(fresh.at(revision as u64)).unwrap(), model);
        }
        check_diff(&fresh, &models, 0, models.len() - 1);
        check_diff(&fresh, &models, models.len() - 1, models.len() / 2);
    }
}
