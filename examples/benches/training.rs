//! What a training loop loses in speed when everything is recorded: the quickstart's network on the quickstart's digits, with
//! its three lines and without them, in turn; and what the start and the end of the run take besides.
//!
//! ```sh
//! cargo run --example quickstart                      # once: makes the tables
//! cargo bench --profile dev --bench training          # two minutes
//! cargo bench --profile dev --bench training -- ROOT  # where another root was given
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../../tlc-core/benches/measure/mod.rs"]
mod measure;
#[path = "../quickstart/model.rs"]
mod model;
#[expect(dead_code, reason = "the quickstart uses more of it")]
#[path = "../quickstart/random.rs"]
mod random;

use std::cell::Cell;
use std::time::{Duration, Instant};

use candle_core::Device;
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW};
use measure::paired;
use tlc_candle::{Loader, RunExt as _};
use tlc_core::collect::Classification;
use tlc_core::{Project, Root, Run, RunOptions, Snapshot, block_on};
use tlc_server::config::Config;

const ROUNDS: usize = 11;
const BATCH: usize = 128;
const BATCHES: usize = 200;

fn main() {
    let root = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let config = Config::from_env(root).unwrap();
    let digits = block_on(Root::open_with(config.root_url(), config.root_options())).unwrap();
    let digits = block_on(digits.project("mnist").unwrap().table("train"));
    let digits = block_on(digits.unwrap().head()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let project = block_on(Project::open(folder.path().to_str().unwrap(), "mnist")).unwrap();
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    thread.unwrap().install(|| {
        let (run, started) = timed(|| project.start_run(RunOptions::new()).unwrap());
        let epoch = Cell::new(0);
        let recorded = || {
            epoch.set(epoch.get() + 1);
            train(&digits, epoch.get(), Some(&run));
        };
        let found = paired(ROUNDS, recorded, || train(&digits, epoch.get(), None));
        let (_record, ended) = timed(|| run.finish().unwrap());
        let samples = (BATCHES * BATCH) as f64;
        println!("{BATCHES} batches of {BATCH} digits, recorded and not: {found}");
        let (speed, more) = (
            samples / found.ours().as_secs_f64(),
            (found.ratio() - 1.0) * 100.0,
        );
        println!("{speed:.0} digits a second, {more:+.2} % of the time");
        println!("the run started in {started:.1?} and ended in {ended:.1?}");
    });
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

/// The loop of the quickstart.
fn train(digits: &Snapshot, epoch: i64, run: Option<&Run>) {
    let loader = Loader::new(digits, &Device::Cpu).columns(["image", "label"]);
    let mut loader = loader.unwrap().batch_size(BATCH);
    if let Some(run) = run {
        loader = loader.run(run, "train").unwrap();
    }
    let network = model::Network::new(7).unwrap();
    let mut optimizer = AdamW::new(network.vars(), ParamsAdamW::default()).unwrap();
    for batch in loader.shuffle(7).epoch(epoch).take(BATCHES) {
        let batch = batch.unwrap();
        let (image, label) = (
            batch.image("image").unwrap(),
            batch.tensor("label").unwrap(),
        );
        let (_, logits) = network.forward(&image).unwrap();
        let loss = cross_entropy(&logits, &label).unwrap();
        optimizer.backward_step(&loss).unwrap();
        if let Some(run) = run {
            let outputs = [("logits", &logits), ("label", &label)];
            run.collect_tensors(&batch, &Classification, &outputs)
                .unwrap();
        }
    }
}
