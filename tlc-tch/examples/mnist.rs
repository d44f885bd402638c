//! The quickstart's training with libtorch, recorded beside it, so that one query compares the two.
//!
//! ```sh
//! examples/tch
//! ```
//!
//! Trains a small convolutional network on the tables `train` and `test` of the project `mnist`, as
//! their newest revisions are; where the quickstart has not made them yet, it makes them itself. The
//! run `tch-1` gets the names that the quickstart's runs have: the loss and accuracy of `train` and
//! `test`, and what the network thought of every digit in every epoch. The digits of `test` also get
//! an embedding: what the layer before the last put out. The two networks are built alike.

#[path = "../../examples/quickstart/fetch.rs"]
mod fetch;
#[path = "../../examples/quickstart/tables.rs"]
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde::Serialize;
use tch::nn::{self, Module as _, OptimizerConfig as _};
use tch::{Device, Kind, Tensor};
use tlc_core::collect::{Classification, CollectorExt as _, Embedding};
use tlc_core::{ErrorKind, Project, RunRecord, Snapshot, Table, block_on};
use tlc_tch::{Loader, RunExt as _, Taps};

/// Any error, with a message for the user.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Trains on MNIST with libtorch, and records it beside what the quickstart trains with Candle.
#[derive(Parser)]
struct Args {
    /// The folder where the tables and runs go, as for the quickstart [default: ~/.local/share/tlc].
    #[arg(long, env = "TLC_ROOT")]
    root: Option<String>,
    /// A folder that has the four files of MNIST; otherwise they are fetched once, and kept.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    training: Training,
}

/// How to train.
#[derive(clap::Args, Serialize)]
struct Training {
    /// Decides the network's first weights, and the order of the digits.
    #[arg(long, default_value_t = 7)]
    seed: u32,
    /// How often the network sees all digits.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    epochs: u32,
    /// How many digits it sees at a time.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// The learning rate to begin with; it falls to 0.
    #[arg(long, default_value_t = 0.004)]
    lr: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            report::error(err.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let root = args.root.clone().map_or_else(default_root, Ok)?;
    let project = block_on(Project::open(&root, "mnist"))?;
    let (train_table, test_table) = match (table(&project, "train")?, table(&project, "test")?) {
        (Some(train), Some(test)) => (train, test),
        _ => {
            let mnist = fetch::mnist(args.data.as_deref())?;
            let train = tables::ensure(&project, "train", &mnist.train)?;
            (train, tables::ensure(&project, "test", &mnist.test)?)
        }
    };
    let (train_rows, test_rows) = (block_on(train_table.head())?, block_on(test_table.head())?);
    report::tables(&train_rows, &test_rows);
    let record = train(&project, &train_rows, &test_rows, &args.training)?;
    report::queries(&root, &record);
    Ok(())
}

/// A table of the project, if it is there.
fn table(project: &Project, name: &str) -> Result<Option<Table>> {
    match block_on(project.table(name)) {
        Ok(table) => Ok(Some(table)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Trains a network on `train`, and tries it on `test` after every epoch.
///
/// On the CPU on one thread: the threads of libtorch wait for each other after every small step, which
/// takes many times as long where the processors have something else to do.
fn train(
    project: &Project,
    train: &Snapshot,
    test: &Snapshot,
    options: &Training,
) -> Result<RunRecord> {
    tch::set_num_threads(1);
    tch::manual_seed(i64::from(options.seed));
    let device = Device::cuda_if_available();
    let weights = nn::VarStore::new(device);
    let taps = Taps::default();
    let network = network(&weights.root(), &taps);
    let mut optimizer = nn::AdamW::default().build(&weights, options.lr)?;

    let name = free_name(project)?;
    let run = project.start_run(name.as_str())?; // 1
    run.params(options)?;
    let loader = |rows, batch, stream| -> Result<Loader> {
        let loader = Loader::new(rows, device).columns(["image", "label"])?;
        Ok(loader.batch_size(batch).run(&run, stream)?)
    };
    let train = loader(train, options.batch as usize, "train")?.shuffle(u64::from(options.seed));
    let test = loader(test, 500, "test")?;
    let with_features = Classification.and(Embedding::new("features"));
    let n_steps = f64::from(options.epochs) * train.n_batches()? as f64;
    let started = Instant::now();
    report::begin(run.name(), options.epochs, train.n_batches()?, device);
    for epoch in 0..i64::from(options.epochs) {
        for batch in train.epoch(epoch) {
            let batch = batch?;
            let (image, label) = (batch.image("image")?, batch.tensor("label")?);
            let logits = network.forward(&image);
            optimizer.set_lr(options.lr * (1.0 - batch.rows.step as f64 / n_steps));
            optimizer.backward_step(&logits.cross_entropy_for_logits(&label));
            let outputs = [("logits", &logits), ("label", &label)];
            run.collect_tensors(&batch, &Classification, &outputs)?; // 2
        }
        let mut n_right = 0.0;
        taps.open();
        for batch in test.epoch(epoch) {
            let batch = batch?;
            let (image, label) = (batch.image("image")?, batch.tensor("label")?);
            let logits = tch::no_grad(|| network.forward(&image));
            n_right += right(&logits, &label)?;
            let features = taps.output("features")?;
            let outputs = [
                ("logits", &logits),
                ("label", &label),
                ("features", &features),
            ];
            run.collect_tensors(&batch, &with_features, &outputs)?;
        }
        taps.close();
        let accuracy = n_right / test.n_samples()? as f64;
        report::epoch(epoch, accuracy, started.elapsed().as_secs_f64());
    }
    Ok(run.finish()?) // 3
}

/// Two convolutions and two dense layers, 124,000 weights, as in the quickstart; images of
/// n × 1 × 28 × 28 to logits of n × 10. The layer `features` puts out 128 numbers for each image.
fn network(weights: &nn::Path<'_>, taps: &Taps) -> nn::Sequential {
    let every_second = nn::ConvConfig {
        stride: 2,
        ..nn::ConvConfig::default()
    };
    let dense = |name, n_in, n_out| nn::linear(weights / name, n_in, n_out, <_>::default());
    nn::seq()
        .add(nn::conv2d(weights / "first", 1, 16, 5, every_second))
        .add_fn(Tensor::relu)
        .add(nn::conv2d(weights / "second", 16, 32, 4, every_second))
        .add_fn(|hidden| hidden.relu().flat_view())
        .add(taps.layer("features", dense("third", 5 * 5 * 32, 128)))
        .add_fn(Tensor::relu)
        .add(dense("last", 128, 10))
}

/// How many of the labels the network gives the highest logit.
fn right(logits: &Tensor, label: &Tensor) -> Result<f64> {
    let right = logits.argmax(-1, false).eq_tensor(label);
    Ok(f64::try_from(right.sum(Kind::Double))?)
}

/// `tch-` and a number that no run has: one more than the highest.
fn free_name(project: &Project) -> Result<String> {
    let runs = block_on(project.runs())?;
    let numbers = runs
        .iter()
        .filter_map(|run| run.as_str().strip_prefix("tch-")?.parse::<u32>().ok());
    Ok(format!("tch-{}", numbers.max().unwrap_or(0) + 1))
}

#[expect(
    clippy::disallowed_methods,
    reason = "an adapter has no settings; this is only where the command keeps what it is told nothing about"
)]
fn default_root() -> Result<String> {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
    };
    let folder = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    let folder =
        folder.ok_or("there is no home folder to keep the data in; name one with --root")?;
    Ok(folder.join("tlc").display().to_string())
}

/// What the program says: its story on standard output, notes on standard error.
mod report {
    #![expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a program for people, in one place"
    )]

    use std::error::Error;

    use tch::Device;
    use tlc_core::{RunName, RunRecord, Snapshot};

    pub(crate) fn note(text: &str) {
        eprintln!("{text}");
    }

    pub(crate) fn error(error: &(dyn Error + Send + Sync + 'static)) {
        eprintln!("error: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            eprintln!("  because: {error}");
            cause = error.source();
        }
    }

    pub(crate) fn tables(train: &Snapshot, test: &Snapshot) {
        let name = |rows: &Snapshot| format!("mnist.{}@{}", rows.table().name(), rows.revision());
        println!("tables     {} and {}", name(train), name(test));
    }

    pub(crate) fn begin(run: &RunName, n_epochs: u32, n_batches: usize, device: Device) {
        println!("\n{run}: {n_epochs} epochs of {n_batches} batches on {device:?}");
    }

    pub(crate) fn epoch(epoch: i64, accuracy: f64, secs: f64) {
        let percent = 100.0 * accuracy;
        println!("  epoch {epoch}: {percent:.2} % of the test digits right, {secs:.0} s");
    }

    /// Commands to paste: the runs of both programs side by side, and the digits that this one gets
    /// wrong where a run of the quickstart got them right.
    pub(crate) fn queries(root: &str, run: &RunRecord) {
        let name = &run.name;
        println!("\nask on:");
        for query in [
            "SELECT name, status, inputs, scalars['train/loss'] AS loss, scalars['test/accuracy'] AS accuracy
  FROM mnist.runs ORDER BY started"
                .to_owned(),
            format!(
                "SELECT a.run, a.epoch, a._rowid, label_name(t.label) AS label, a.predicted AS candle, b.predicted AS libtorch, b.loss
  FROM mnist.samples a JOIN mnist.samples b ON a._rowid = b._rowid AND a.epoch = b.epoch
  JOIN mnist.test t ON t._rowid = a._rowid
  WHERE a.stream = 'test' AND b.stream = 'test' AND b.run = '{name}' AND a.run LIKE 'after-%'
  AND a.correct AND NOT b.correct ORDER BY b.loss DESC LIMIT 10"
            ),
        ] {
            println!("\ncargo run --bin tlc -- --root '{root}' sql \"{query}\"");
        }
    }
}
