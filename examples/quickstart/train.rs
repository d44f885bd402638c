//! A plain training loop in Candle, with the three lines that record it.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW};
use clap::Args;
use serde::Serialize;
use tlc_candle::{Loader, RunExt as _};
use tlc_core::collect::Classification;
use tlc_core::{Project, RunRecord, Snapshot, block_on};

use crate::model::Network;
use crate::{Result, report};

/// How to train.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct Training {
    /// Decides the planted errors, the network's first weights, and the order of the digits.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// How often the network sees all digits.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) epochs: u32,
    /// How many digits it sees at a time.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// The learning rate.
    #[arg(long, default_value_t = 0.002)]
    pub(crate) lr: f64,
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
    noise: f64,
) -> Result<RunRecord> {
    let thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "train".to_owned())
        .build()?;
    thread.install(|| {
        let run = project.start_run(free_name(project, name)?)?; // 1
        run.params(options)?;
        run.params(
            &[("noise", noise)]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        )?;
        let device = Device::Cpu;
        let columns = ["image", "label"];
        let train = Loader::new(train, &device)
            .columns(columns)?
            .batch_size(options.batch as usize);
        let train = train.shuffle(options.seed).run(&run, "train")?;
        let test = Loader::new(test, &device)
            .columns(columns)?
            .batch_size(500)
            .run(&run, "test")?;
        let network = Network::new(options.seed, &device)?;
        let mut optimizer = AdamW::new(
            network.vars(),
            ParamsAdamW {
                lr: options.lr,
                weight_decay: 0.0,
                ..Default::default()
            },
        )?;

        let progress = report::Progress::new(run.name(), options.epochs, train.n_batches()?);
        for epoch in 0..i64::from(options.epochs) {
            for batch in progress.of(train.epoch(epoch)) {
                let batch = batch?;
                let (image, label) = (batch.image("image")?, batch.tensor("label")?);
                let logits = network.forward(&image)?;
                optimizer.backward_step(&cross_entropy(&logits, &label)?)?;
                run.collect_tensors(
                    &batch,
                    &Classification,
                    &[("logits", &logits), ("label", &label)],
                )?; // 2
            }
            let mut n_right = 0.0;
            for batch in test.epoch(epoch) {
                let batch = batch?;
                let (image, label) = (batch.image("image")?, batch.tensor("label")?);
                let logits = network.forward(&image)?;
                n_right += right(&logits, &label)?;
                run.collect_tensors(
                    &batch,
                    &Classification,
                    &[("logits", &logits), ("label", &label)],
                )?;
            }
            progress.epoch(epoch, n_right / test.n_samples()? as f64);
        }
        Ok(run.finish()?) // 3
    })
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

/// `name-1`, or the next number that no run has.
fn free_name(project: &Project, name: &str) -> Result<String> {
    let runs = block_on(project.runs())?;
    let numbers = runs.iter().filter_map(|run| {
        run.as_str()
            .strip_prefix(name)?
            .strip_prefix('-')?
            .parse::<u32>()
            .ok()
    });
    Ok(format!("{name}-{}", numbers.max().unwrap_or(0) + 1))
}
