//! A table of numbers and a training loop without a framework: `tlc-core` alone is enough.
//!
//! ```sh
//! cargo run --example tabular
//! ```
//!
//! Makes the 1,599 red wines of the Wine Quality data set a table of the project `wine`: eleven
//! measurements, and whether tasters found the wine good. Learns by logistic regression to tell from
//! the measurements, recording the chance it gave every wine in every epoch. Then asks in SQL for the
//! wines that it was most wrong about. It prints the run, its accuracy, and these wines. Run again, it
//! uses the same table and makes another run.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::sync::Arc;

use clap::Parser;
use linfa_datasets::winequality;
use tlc_core::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, RecordBatch,
    RecordBatchIterator,
};
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::arrow::util::pretty::pretty_format_batches;
use tlc_core::{ErrorKind, Project, Root, Rows, RunOptions, Sql, Table, block_on, schema};
use tlc_server::config::Config;

#[derive(Parser)]
struct Args {
    /// Where the table and the runs go: a folder or the URL of a bucket [default: as for `tlc`].
    #[arg(long)]
    root: Option<String>,
}

type Wines = (Vec<Vec<f64>>, Vec<bool>);

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::from_env(Args::parse().root)?;
    let root = block_on(Root::open_with(config.root_url(), config.root_options()))?;
    let project = root.project("wine")?;
    let data = winequality();
    let names: Vec<_> = data
        .feature_names()
        .iter()
        .map(|name| name.replace(' ', "_"))
        .collect();
    let good = data.targets.iter().map(|quality| *quality >= 6).collect();
    let wines = (
        data.records
            .columns()
            .into_iter()
            .map(|column| column.to_vec())
            .collect(),
        good,
    );

    let table = match block_on(project.table("red")) {
        Err(err) if err.kind() == ErrorKind::NotFound => create(&project, &names, &wines)?,
        found => found?,
    };
    let snapshot = block_on(table.head())?;
    let run = project.start_run(RunOptions::new())?;
    run.input(&snapshot)?;
    let ids: Vec<_> = (0..snapshot.n_rows()).collect();
    let mut model = Model {
        features: wines.0.iter().map(|column| standardised(column)).collect(),
        weights: vec![0.0; 12],
    };
    for epoch in 0..50 {
        let chances: Vec<_> = (0..ids.len()).map(|wine| model.chance(wine)).collect();
        let right: Vec<_> = chances
            .iter()
            .zip(&wines.1)
            .map(|(chance, good)| (*chance > 0.5) == *good)
            .collect();
        let accuracy = right.iter().filter(|right| **right).count() as f64 / right.len() as f64;
        run.log(epoch, &[("accuracy", accuracy)]);
        let columns = [
            (
                "chance",
                Arc::new(Float64Array::from(chances.clone())) as ArrayRef,
            ),
            ("correct", Arc::new(BooleanArray::from(right))),
        ];
        let rows = Rows::new("train", epoch, ids.clone())?
            .source(table.name().clone(), snapshot.revision());
        run.samples(&rows, &RecordBatch::try_from_iter(columns)?)?;
        model.step(&chances, &wines.1);
    }
    let record = run.finish()?;

    println!(
        "run {} in {}: {:.1} % right",
        record.name,
        root.url(),
        100.0 * record.last["accuracy"]
    );
    println!("the wines it was most wrong about:");
    let sql = format!(
        "SELECT w._rowid, label_name(w.good) AS good, round(avg(s.chance), 3) AS chance, w.alcohol, w.volatile_acidity
         FROM wine.samples AS s JOIN wine.red AS w ON w._rowid = s._rowid
         WHERE s.run = '{}' AND NOT s.correct AND s.epoch >= 10
         GROUP BY w._rowid, w.good, w.alcohol, w.volatile_acidity ORDER BY abs(avg(s.chance) - 0.5) DESC LIMIT 10",
        record.name
    );
    let rows = block_on(async { Sql::open(&root).await?.collect(&sql).await })?;
    println!("{}", pretty_format_batches(&rows)?);
    Ok(())
}

/// The measurements as they are, a column each, and the label.
fn create(
    project: &Project,
    names: &[String],
    (columns, good): &Wines,
) -> Result<Table, Box<dyn Error>> {
    let mut fields: Vec<_> = names
        .iter()
        .map(|name| Field::new(name, DataType::Float32, false))
        .collect();
    fields.push(schema::label("good", ["no", "yes"]));
    let values = columns.iter().map(|column| {
        Arc::new(
            column
                .iter()
                .map(|value| Some(*value as f32))
                .collect::<Float32Array>(),
        ) as ArrayRef
    });
    let labels: ArrayRef = Arc::new(
        good.iter()
            .map(|good| Some(i32::from(*good)))
            .collect::<Int32Array>(),
    );
    let rows = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        values.chain([labels]).collect(),
    )?;
    let schema = rows.schema();
    Ok(block_on(project.create_table(
        "red",
        RecordBatchIterator::new([Ok(rows)], schema),
        "red wines and their quality",
    ))?)
}

/// Logistic regression, by hand.
struct Model {
    features: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

impl Model {
    /// The chance that a wine is good. The last weight is the bias.
    fn chance(&self, wine: usize) -> f64 {
        let sum: f64 = self
            .features
            .iter()
            .zip(&self.weights)
            .map(|(feature, weight)| feature[wine] * weight)
            .sum();
        1.0 / (1.0 + (-sum - self.weights[self.features.len()]).exp())
    }

    /// One step downhill, over all wines.
    fn step(&mut self, chances: &[f64], good: &[bool]) {
        let errors: Vec<_> = chances
            .iter()
            .zip(good)
            .map(|(chance, good)| chance - f64::from(u8::from(*good)))
            .collect();
        let ones = vec![1.0; errors.len()];
        for (weight, feature) in self
            .weights
            .iter_mut()
            .zip(self.features.iter().chain([&ones]))
        {
            *weight -= feature
                .iter()
                .zip(&errors)
                .map(|(value, error)| value * error)
                .sum::<f64>()
                / errors.len() as f64;
        }
    }
}

/// The same numbers with mean 0 and deviation 1.
fn standardised(column: &[f64]) -> Vec<f64> {
    let n = column.len() as f64;
    let mean = column.iter().sum::<f64>() / n;
    let deviation = (column
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / n)
        .sqrt();
    column
        .iter()
        .map(|value| (value - mean) / deviation)
        .collect()
}
