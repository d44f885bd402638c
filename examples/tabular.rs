//! A table of numbers and a training loop without a framework: `tlc-core` alone is enough.
//!
//! ```sh
//! cargo run --example tabular
//! ```
//!
//! Makes the 1,599 red wines of the Wine Quality data set a table of the project `wine`. Learns by
//! logistic regression which of them tasters found good, and records the chance it gave every wine in
//! every epoch. Asks in SQL which wines it was most wrong about. Prints the run, its accuracy, and
//! these wines. Run again, it uses the same table, with what was edited since, for another run.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::sync::Arc;

use clap::Parser;
use tlc_core::arrow::array::{ArrayRef, AsArray as _, BooleanArray, Float32Array, Int32Array};
use tlc_core::arrow::array::{RecordBatch, RecordBatchIterator};
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema};
use tlc_core::arrow::util::pretty::pretty_format_batches;
use tlc_core::{ErrorKind, Loader, Project, Root, RunOptions, Sql, Table, block_on, schema};
use tlc_server::config::Config;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the model looks at: a column, its mean, and its standard deviation.
const INPUTS: [(&str, f32, f32); 3] = [
    ("alcohol", 10.4, 1.07),
    ("volatile_acidity", 0.53, 0.18),
    ("sulphates", 0.66, 0.17),
];

#[derive(Parser)]
struct Args {
    /// Where the table and the runs go: a folder or the URL of a bucket [default: as for `tlc`].
    #[arg(long)]
    root: Option<String>,
}

fn main() -> Result<()> {
    let config = Config::from_env(Args::parse().root)?;
    let root = block_on(Root::open_with(config.root_url(), config.root_options()))?;
    let project = root.project("wine")?;
    let table = match block_on(project.table("red")) {
        Err(err) if err.kind() == ErrorKind::NotFound => create(&project)?,
        found => found?,
    };

    let run = project.start_run(RunOptions::new())?;
    let wines = block_on(table.head())?;
    let loader = Loader::new(&wines)
        .batch_size(16)
        .shuffle(7)
        .run(&run, "train")?;
    let mut weights = [0.0; 4];
    for epoch in 0..30 {
        let mut n_right = 0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let (mut chances, mut correct) = (Vec::new(), Vec::new());
            for (wine, good) in wines_of(&batch.record)? {
                let sum: f32 = wine
                    .iter()
                    .zip(&weights)
                    .map(|(x, weight)| x * weight)
                    .sum();
                let chance = 1.0 / (1.0 + (-sum).exp());
                let error = chance - if good { 1.0 } else { 0.0 };
                weights
                    .iter_mut()
                    .zip(wine)
                    .for_each(|(weight, x)| *weight -= 0.01 * error * x);
                chances.push(chance);
                correct.push((chance > 0.5) == good);
            }
            n_right += correct.iter().filter(|correct| **correct).count();
            let chances: ArrayRef = Arc::new(Float32Array::from(chances));
            let correct: ArrayRef = Arc::new(BooleanArray::from(correct));
            let columns = RecordBatch::try_from_iter([("chance", chances), ("correct", correct)])?;
            run.samples(&batch.rows, &columns)?;
        }
        run.log(
            epoch,
            &[("accuracy", n_right as f64 / loader.n_samples()? as f64)],
        );
    }
    let record = run.finish()?;

    let percent = 100.0 * record.last["accuracy"];
    println!(
        "run {} in {}: {percent:.1} % right; most wrong about",
        record.name,
        root.url()
    );
    let sql = format!(
        "SELECT w._rowid, label_name(w.good) AS label, s.chance, alcohol, volatile_acidity, sulphates
         FROM (SELECT _rowid, round(avg(chance), 3) AS chance FROM wine.samples
               WHERE run = '{}' AND epoch >= 10 GROUP BY _rowid) AS s
         JOIN wine.red AS w ON w._rowid = s._rowid
         ORDER BY abs(w.good - s.chance) DESC LIMIT 10",
        record.name
    );
    let rows = block_on(async { Sql::open(&root).await?.collect(&sql).await })?;
    println!("{}", pretty_format_batches(&rows)?);
    Ok(())
}

/// The wines as they were published; those of quality 6 or more, of 10, are good.
fn create(project: &Project) -> Result<Table> {
    let data = linfa_datasets::winequality();
    let mut fields = vec![schema::label("good", ["no", "yes"])];
    let good = data.targets.iter().map(|quality| i32::from(*quality >= 6));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from_iter_values(good))];
    for (name, column) in data.feature_names().iter().zip(data.records.columns()) {
        fields.push(Field::new(name.replace(' ', "_"), DataType::Float32, false));
        let values = column.iter().map(|value| *value as f32);
        columns.push(Arc::new(Float32Array::from_iter_values(values)));
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let schema = rows.schema();
    let rows = RecordBatchIterator::new([Ok(rows)], schema);
    Ok(block_on(project.create_table(
        "red",
        rows,
        "red wines, as they were published",
    ))?)
}

/// The inputs of each wine, scaled, with a 1 for the bias; and whether it is good.
fn wines_of(rows: &RecordBatch) -> Result<Vec<([f32; 4], bool)>> {
    let good = rows
        .column_by_name("good")
        .ok_or("the table has no column good")?;
    let mut wines: Vec<_> = good
        .as_primitive::<Int32Type>()
        .values()
        .iter()
        .map(|good| ([1.0; 4], *good == 1))
        .collect();
    for (position, (name, mean, deviation)) in INPUTS.iter().enumerate() {
        let column = rows
            .column_by_name(name)
            .ok_or("the table lacks a measurement")?;
        let values = column.as_primitive::<Float32Type>().values();
        for ((wine, _), value) in wines.iter_mut().zip(values) {
            wine[position] = (value - mean) / deviation;
        }
    }
    Ok(wines)
}
