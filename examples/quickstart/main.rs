//! The loop on real data: train, look at every sample, fix the data in a revision, train again.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! Gets the 70,000 digits of MNIST and makes them two tables, `train` and `test`, of the project
//! `mnist`. Plants wrong labels in a seeded share of `train`, as a revision. Lets small convolutional networks predict
//! digits that they were not trained on, fold by fold, and finds wrong labels by confident learning. Trains one on
//! all digits, which records what it thought of every digit in every epoch. Asks one SQL
//! query over these records which labels are wrong, and fixes them in a revision. Trains again.
//!
//! It prints how many of the planted labels each way found and how many of its finds were planted,
//! the accuracy on `test` before and after, what the fix weighs, where everything lies, and queries
//! to go on with. It takes about three minutes. Run again, it plants and fixes anew, as further
//! revisions of the same tables; so it does after having been killed.

mod fetch;
mod model;
mod plant;
mod random;
mod report;
mod suspects;
mod tables;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tlc_core::{Revision, Root, block_on};
use tlc_server::config::Config;

use self::train::{Training, hold_out, train};

/// Any error, with a message for the user.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Finds wrong labels in MNIST by what a network thought of every digit in every epoch.
#[derive(Parser)]
struct Args {
    /// Where the tables and runs go: a folder or the URL of a bucket [default: as for `tlc`].
    #[arg(long)]
    root: Option<String>,
    /// A folder that has the four files of MNIST; otherwise they are fetched once, and kept.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    training: Training,
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
    let config = Config::from_env(args.root.clone())?;
    let root = block_on(Root::open_with(config.root_url(), config.root_options()))?;
    let project = root.project("mnist")?;
    let training = &args.training;
    let number = train::free_number(&project)?;

    // The data, as tables. Revision 0 of `train` has the labels that MNIST came with.
    let mnist = fetch::mnist(args.data.as_deref())?;
    let table = tables::ensure(&project, "train", &mnist.train)?;
    let test = block_on(tables::ensure(&project, "test", &mnist.test)?.head())?;
    report::tables(&table, &test);

    // Wrong labels, as a revision. Which ones stays known, to measure by: they differ from revision 0.
    let patch = plant::plant(&table, training.noise, training.seed)?;
    let (noise, seed) = (training.noise, training.seed);
    let message = format!("plant wrong labels in a share of {noise}, seed {seed}");
    let noisy = block_on(table.commit(&patch, message))?.snapshot;
    let planted = plant::changed(&table, Revision(0), noisy.revision())?;
    report::planted(&noisy, &planted);

    // Predict every digit by a network that has not seen it, and doubt the labels that do not fit.
    let held_out = hold_out(&project, &format!("held-out-{number}"), &noisy, training)?;
    let doubted = suspects::doubted(&project, &held_out.name)?;
    let n_right = doubted.intersection(&planted).count();
    report::doubted(doubted.len(), n_right, planted.len());

    // Train, and ask the history of every digit which labels the network hardly believed.
    let before = train(
        &project,
        &format!("before-{number}"),
        &noisy,
        &test,
        training,
    )?;
    let suspects = suspects::find(&root, &before.name)?;
    report::found(
        suspects.n_rows(),
        suspects.n_among(&planted)?,
        planted.len(),
    );

    // Fix them: each gets the label that the network gave it. Train again, the same but for that.
    let mut patch = noisy.patch();
    suspects.relabel(&mut patch)?;
    let fixed = block_on(table.commit(
        &patch,
        format!("relabel what {} hardly believed", before.name),
    ))?;
    report::fixed(
        &fixed,
        plant::changed(&table, Revision(0), fixed.revision)?
            .intersection(&planted)
            .count(),
    );
    let after = train(
        &project,
        &format!("after-{number}"),
        &fixed.snapshot,
        &test,
        training,
    )?;

    report::end(&before, &after);
    report::place(&project);
    report::queries(
        args.root.as_deref(),
        (&held_out, &after),
        (noisy.revision(), fixed.revision),
    );
    Ok(())
}
