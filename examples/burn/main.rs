//! The quickstart's training in Burn, recorded beside it, so that one query compares them.
//!
//! ```sh
//! examples/burn/run
//! ```
//!
//! Trains the network of the quickstart on the tables `train` and `test` of the project `mnist`, as their
//! newest revisions are; where the quickstart has not made them yet, it makes them itself. The run
//! `burn-1` holds Burn's metrics as scalars (`train/loss`, `valid/accuracy`) and what the network thought
//! of every digit in every epoch.

#[path = "../quickstart/fetch.rs"]
mod fetch;
#[path = "../quickstart/tables.rs"]
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tlc_burn_example::{Training, train};
use tlc_core::{ErrorKind, Project, Table, block_on};

/// Any error, with a message for the user.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Trains on MNIST with Burn's own loop, and records it beside what the quickstart trains with Candle.
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
    let name = free_name(&project)?;
    report::begin(&name, [&train_rows, &test_rows], &args.training);
    let started = Instant::now();
    let record = train(
        &project,
        &name,
        [&train_rows, &test_rows],
        &args.training,
        report::line,
    )?;
    report::end(&root, &record, started.elapsed());
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

/// `burn-` and a number that no run has: one more than the highest.
fn free_name(project: &Project) -> Result<String> {
    let runs = block_on(project.runs())?;
    let numbers = runs
        .iter()
        .filter_map(|run| run.as_str().strip_prefix("burn-")?.parse::<u32>().ok());
    Ok(format!("burn-{}", numbers.max().unwrap_or(0) + 1))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is only where the command keeps what it is told nothing about"
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
    use std::time::Duration;

    use tlc_burn_example::Training;
    use tlc_core::{RunRecord, Snapshot};

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

    pub(crate) fn begin(run: &str, rows: [&Snapshot; 2], training: &Training) {
        let name = |rows: &Snapshot| format!("mnist.{}@{}", rows.table().name(), rows.revision());
        println!("tables     {} and {}", name(rows[0]), name(rows[1]));
        let Training { epochs, digits, .. } = training;
        println!("\n{run}: {epochs} epochs of {digits} digits");
    }

    pub(crate) fn line(line: &str) {
        println!("  {line}");
    }

    /// A command to paste: the runs of all programs side by side.
    pub(crate) fn end(root: &str, run: &RunRecord, took: Duration) {
        println!("  {} in {:.0} s", run.status.as_str(), took.as_secs_f64());
        let query = "SELECT name, status, inputs, scalars['train/loss'] AS loss,
  coalesce(scalars['test/accuracy'], scalars['valid/accuracy']) AS accuracy FROM mnist.runs ORDER BY started";
        println!("\nask on:\n\ncargo run --bin tlc -- --root '{root}' sql \"{query}\"");
    }
}
