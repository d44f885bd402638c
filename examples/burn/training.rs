//! Burn's own training loop on two tables.

use std::error::Error as StdError;
use std::sync::Arc;

use burn::optim::AdamWConfig;
use burn::optim::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::prelude::Device;
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{Interrupter, Learner, SupervisedTraining};
use serde::Serialize;
use tlc_core::loader::Weighted;
use tlc_core::{Loader, Project, RunRecord, Snapshot};

use crate::loader::{Recorder, TableLoader};
use crate::logger::RunLogger;
use crate::model::Network;
use crate::renderer::RunRenderer;

/// How to train.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Training {
    /// Decides the network's first weights, and which digits it sees in which order.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// How often the network sees so many digits.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub epochs: u32,
    /// How many digits an epoch draws from the table at most; fewer make it faster.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub digits: u32,
    /// How many digits it sees at a time.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// The learning rate to begin with; it falls to 0.
    #[arg(long, default_value_t = 0.004)]
    pub lr: f64,
}

/// Trains a network on `train` and tries it on `valid` after every epoch, as the run `name`. Each epoch is
/// said in one line.
///
/// # Errors
/// Those of the run and of the tables, and what stopped Burn; the run is then recorded as failed.
pub fn train(
    project: &Project,
    name: &str,
    [train, valid]: [&Snapshot; 2],
    options: &Training,
    say: impl FnMut(&str) + Send + Sync + 'static,
) -> Result<RunRecord, Box<dyn StdError + Send + Sync>> {
    let device = Device::default();
    device.seed(options.seed);
    let run = Arc::new(project.start_run(name)?); // 1
    run.params(options)?;
    let interrupter = Interrupter::new();
    let recorder = Recorder {
        run: Arc::clone(&run),
        interrupter: interrupter.clone(),
    };
    let loader = |rows, batch, stream| -> tlc_core::Result<Loader> {
        let loader = Loader::new(rows).columns(["image", "label"])?;
        loader.batch_size(batch).run(&run, stream)
    };
    let train = loader(train, options.batch as usize, "train")?;
    let train = match options.digits as usize {
        n if n < train.n_samples()? => train.weighted(Weighted::WithoutReplacement {
            seed: options.seed,
            size: Some(n),
        }),
        _ => train.shuffle(options.seed),
    };
    let n_steps = options.epochs as usize * train.n_batches()?;
    let train = TableLoader::new(train, recorder.clone(), device.clone())?;
    let valid = TableLoader::new(loader(valid, 500, "valid")?, recorder, device.clone())?;

    let rate = LinearLrSchedulerConfig::new(options.lr, 0.0, n_steps).init()?;
    let network = Network::new(&device.autodiff());
    let learner = Learner::new(network, AdamWConfig::new().init(), rate);
    // Nothing is written to the folder: neither checkpoints nor logs of Burn's own are asked for.
    let ended = SupervisedTraining::new("", Arc::new(train), Arc::new(valid))
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .with_metric_logger(RunLogger::new(Arc::clone(&run))) // 2
        .renderer(Box::new(RunRenderer::new(Arc::clone(&run), say))) // 3
        .with_interrupter(interrupter)
        .with_application_logger(None)
        .num_epochs(options.epochs as usize)
        .launch(learner);

    let error = ended.error.map(|error| error.to_string());
    let interrupted = ended.interrupted.map(|stop| stop.reason);
    let stopped =
        error.or(interrupted.map(|reason| reason.unwrap_or_else(|| "stopped".to_owned())));
    // Whoever logged has ended with the training.
    drop(ended.renderer);
    let run = Arc::into_inner(run).ok_or("the run is still in use")?;
    match stopped {
        None => Ok(run.finish()?), // 4
        Some(reason) => {
            run.fail(&reason)?;
            Err(reason.into())
        }
    }
}
