//! A plain training loop in Candle, with the three lines that record it.

use std::num::ParseFloatError;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, VarMap};
use clap::Args;
use serde::Serialize;
use tlc_candle::{Loader, ModelExt as _, RunExt as _};
use tlc_core::collect::Classification;
use tlc_core::{Project, RunRecord, Snapshot, block_on};

use crate::model::Network;
use crate::{Result, report};

/// How to train, and on what.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Training {
    /// The share of the training labels to make wrong.
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub(crate) noise: f64,
    /// Decides the planted errors, the network's first weights, and the order of the digits.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// How often the network sees all digits.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) epochs: u32,
    /// How many digits it sees at a time.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// The learning rate to begin with; it falls to 0.
    #[arg(long, default_value_t = 0.004)]
    pub(crate) lr: f64,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text
        .parse()
        .map_err(|err: ParseFloatError| err.to_string())?;
    let range = 0.0..=0.5;
    range
        .contains(&share)
        .then_some(share)
        .ok_or_else(|| "a share is from 0 to 0.5".to_owned())
}

/// Trains a network on `train`, and tries it on `test` after every epoch.
///
/// On one thread: tensors as small as these gain nothing from more, and lose much where the
/// processors have something else to do.
pub(crate) fn train(
    project: &Project,
    name: &str,
    train: &Snapshot,
    test: &Snapshot,
    options: &Training,
) -> Result<RunRecord> {
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    thread.install(|| {
        let run = project.start_run(name)?; // 1
        run.params(options)?;
        let loader = |rows, batch, stream| -> Result<Loader> {
            let loader = Loader::new(rows, &Device::Cpu).columns(["image", "label"])?;
            Ok(loader.batch_size(batch).run(&run, stream)?)
        };
        let train = loader(train, options.batch as usize, "train")?.shuffle(options.seed);
        let test = loader(test, 500, "test")?;
        let network = Network::new(options.seed)?;
        let mut optimizer = AdamW::new(network.vars(), ParamsAdamW::default())?;

        let n_steps = f64::from(options.epochs) * train.n_batches()? as f64;
        let progress = report::Progress::new(run.name(), options.epochs, train.n_batches()?);
        for epoch in 0..i64::from(options.epochs) {
            for batch in progress.of(train.epoch(epoch)) {
                let batch = batch?;
                let (image, label) = (batch.image("image")?, batch.tensor("label")?);
                let logits = network.forward(&image)?;
                let done = batch.rows.step as f64 / n_steps;
                optimizer.set_learning_rate(options.lr * (1.0 - done));
                optimizer.backward_step(&cross_entropy(&logits, &label)?)?;
                let outputs = [("logits", &logits), ("label", &label)];
                run.collect_tensors(&batch, &Classification, &outputs)?; // 2
            }
            let mut n_right = 0.0;
            for batch in test.epoch(epoch) {
                let batch = batch?;
                let (image, label) = (batch.image("image")?, batch.tensor("label")?);
                let logits = network.forward(&image)?;
                n_right += right(&logits, &label)?;
                let outputs = [("logits", &logits), ("label", &label)];
                run.collect_tensors(&batch, &Classification, &outputs)?;
            }
            progress.epoch(epoch, n_right / test.n_samples()? as f64);
        }
        // The model, as the next version of one artifact: it says which run made it.
        run.save_model("digits", &weights(&network), name)?;
        Ok(run.finish()?) // 3
    })
}

/// The network's variables by names, as they are stored.
fn weights(network: &Network) -> VarMap {
    let weights = VarMap::new();
    if let Ok(mut named) = weights.data().lock() {
        for (n, var) in network.vars().into_iter().enumerate() {
            let what = if n % 2 == 0 { "weight" } else { "bias" };
            named.insert(format!("layer{}.{what}", n / 2), var);
        }
    }
    weights
}

/// How many of the labels the network gives the highest logit.
fn right(logits: &Tensor, label: &Tensor) -> candle_core::Result<f64> {
    logits
        .argmax(D::Minus1)?
        .eq(label)?
        .to_dtype(DType::F64)?
        .sum_all()?
        .to_scalar()
}

/// A number that no run `before-…` or `after-…` has: one more than the highest.
pub(crate) fn free_number(project: &Project) -> Result<u32> {
    let runs = block_on(project.runs())?;
    let numbers = runs.iter().filter_map(|run| {
        let (name, number) = run.as_str().split_once('-')?;
        ["before", "after"]
            .contains(&name)
            .then(|| number.parse::<u32>().ok())?
    });
    Ok(numbers.max().unwrap_or(0) + 1)
}
