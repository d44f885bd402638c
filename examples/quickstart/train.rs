//! A plain training loop in Candle, with the three lines that record it; and the same loop over folds, for predictions of
//! digits that were held out of the training.

use std::num::ParseFloatError;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, VarMap};
use clap::Args;
use serde::Serialize;
use tlc_candle::{Batch, Epoch, Loader, ModelExt as _, RunExt as _};
use tlc_core::collect::{Classification, CollectorExt as _, Embedding};
use tlc_core::{Collector, Project, Run, RunRecord, Snapshot, block_on};

use crate::model::Network;
use crate::{Result, report};

/// The stream of what was said of every digit by a network that was not trained on it, all in epoch 0.
pub(crate) const HELD_OUT: &str = "held_out";

/// How to train, and on what.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Training {
    /// The share of the training labels to make wrong.
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub(crate) noise: f64,
    /// Decides the planted errors, the network's first weights, the order of the digits, and the folds.
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
    /// How many networks share in predicting digits that they have not seen, each those of a fold.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) folds: u32,
    /// How often each of them sees its digits.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) fold_epochs: u32,
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
pub(crate) fn train(
    project: &Project,
    name: &str,
    train: &Snapshot,
    test: &Snapshot,
    options: &Training,
) -> Result<RunRecord> {
    on_one_thread(|| {
        let run = project.start_run(name)?; // 1
        run.params(options)?;
        let train = loader(train)?.batch_size(options.batch as usize);
        let train = train.shuffle(options.seed).run(&run, "train")?;
        let test = loader(test)?.run(&run, "test")?;
        let mut trainee = Trainee::new(&train, options.epochs, options)?;
        // Of the digits it is tried on also how the network sees them, for `tlc reduce`.
        let thoughts = Classification.and(Embedding::new("hidden"));
        let progress =
            report::Progress::new(run.name().as_str(), options.epochs, train.n_batches()?);
        for epoch in 0..i64::from(options.epochs) {
            trainee.learn(progress.of(train.epoch(epoch)), Some(&run))?;
            let n_right = trainee.predict(test.epoch(epoch), &run, &thoughts)?;
            progress.epoch(epoch, n_right / test.n_samples()? as f64);
        }
        // The model, as the next version of one artifact: it says which run made it.
        run.save_model("digits", &trainee.weights(), name)?;
        Ok(run.finish()?) // 3
    })
}

/// Has every digit of `data` predicted by a network that has not seen it: for each fold one is trained anew, for a few
/// epochs, on all the others.
pub(crate) fn hold_out(
    project: &Project,
    name: &str,
    data: &Snapshot,
    options: &Training,
) -> Result<RunRecord> {
    on_one_thread(|| {
        let run = project.start_run(name)?;
        run.params(options)?;
        let thoughts = Classification.wide().probabilities();
        let n_folds = options.folds as usize;
        for (fold, (others, held_out)) in loader(data)?.folds(n_folds, options.seed)?.enumerate() {
            let others = others.batch_size(options.batch as usize);
            let others = others.shuffle(options.seed);
            let held_out = held_out.run(&run, HELD_OUT)?;
            let mut trainee = Trainee::new(&others, options.fold_epochs, options)?;
            let of = format!("{}, fold {fold} of {n_folds}", run.name());
            let progress = report::Progress::new(&of, options.fold_epochs, others.n_batches()?);
            for epoch in 0..i64::from(options.fold_epochs) {
                trainee.learn(progress.of(others.epoch(epoch)), None)?;
            }
            // In epoch 0 for every fold: together they have each digit once.
            let n_right = trainee.predict(held_out.epoch(0), &run, &thoughts)?;
            progress.predicted(n_right / held_out.n_samples()? as f64);
        }
        Ok(run.finish()?)
    })
}

/// Tensors as small as these gain nothing from more threads, and lose much where the processors have something else to do.
fn on_one_thread(train: impl FnOnce() -> Result<RunRecord> + Send) -> Result<RunRecord> {
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    thread.install(train)
}

/// Digits with their labels, in batches that suit predictions.
fn loader(digits: &Snapshot) -> tlc_core::Result<Loader> {
    let loader = Loader::new(digits, &Device::Cpu).columns(["image", "label"])?;
    Ok(loader.batch_size(500))
}

/// A network that learns.
struct Trainee {
    network: Network,
    optimizer: AdamW,
    lr: f64,
    n_steps: f64,
}

impl Trainee {
    /// One that has learnt nothing, and will see what the loader has so many times.
    fn new(train: &Loader, n_epochs: u32, options: &Training) -> Result<Self> {
        let network = Network::new(options.seed)?;
        let optimizer = AdamW::new(network.vars(), ParamsAdamW::default())?;
        Ok(Self {
            network,
            optimizer,
            lr: options.lr,
            n_steps: f64::from(n_epochs) * train.n_batches()? as f64,
        })
    }

    /// Learns from the batches of an epoch. A run is told what it thought of every digit just before.
    fn learn(
        &mut self,
        batches: impl Iterator<Item = tlc_core::Result<Batch>>,
        run: Option<&Run>,
    ) -> Result<()> {
        for batch in batches {
            let batch = batch?;
            let (image, label) = (batch.image("image")?, batch.tensor("label")?);
            let (_, logits) = self.network.forward(&image)?;
            let done = batch.rows.step as f64 / self.n_steps;
            self.optimizer.set_learning_rate(self.lr * (1.0 - done));
            self.optimizer
                .backward_step(&cross_entropy(&logits, &label)?)?;
            if let Some(run) = run {
                let outputs = [("logits", &logits), ("label", &label)];
                run.collect_tensors(&batch, &Classification, &outputs)?; // 2
            }
        }
        Ok(())
    }

    /// Tells the run what it thinks of the digits of an epoch, and how many have the label that it would give them.
    fn predict(&self, batches: Epoch, run: &Run, thoughts: &dyn Collector) -> Result<f64> {
        let mut n_right = 0.0;
        for batch in batches {
            let batch = batch?;
            let (image, label) = (batch.image("image")?, batch.tensor("label")?);
            let (hidden, logits) = self.network.forward(&image)?;
            n_right += right(&logits, &label)?;
            let outputs = [("logits", &logits), ("label", &label), ("hidden", &hidden)];
            run.collect_tensors(&batch, thoughts, &outputs)?;
        }
        Ok(n_right)
    }

    /// The network's variables by names, as they are stored.
    fn weights(&self) -> VarMap {
        let weights = VarMap::new();
        if let Ok(mut named) = weights.data().lock() {
            for (n, var) in self.network.vars().into_iter().enumerate() {
                let what = if n % 2 == 0 { "weight" } else { "bias" };
                named.insert(format!("layer{}.{what}", n / 2), var);
            }
        }
        weights
    }
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

/// A number that no run `held-out-…`, `before-…` or `after-…` has: one more than the highest.
pub(crate) fn free_number(project: &Project) -> Result<u32> {
    let runs = block_on(project.runs())?;
    let numbers = runs.iter().filter_map(|run| {
        let (name, number) = run.as_str().rsplit_once('-')?;
        ["held-out", "before", "after"]
            .contains(&name)
            .then(|| number.parse::<u32>().ok())?
    });
    Ok(numbers.max().unwrap_or(0) + 1)
}
