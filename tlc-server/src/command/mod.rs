//! The verbs, one file each, and what they share: the root, the answer, the way an error leaves.

mod alias;
mod artifact;
mod check;
mod doctor;
#[cfg(unix)]
mod exec;
mod gc;
mod import;
mod lineage;
mod ls;
mod open_lineage;
mod reduce;
mod report;
mod run;
mod session;
mod spec;
mod sql;
mod sync;
mod table;
mod verify;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tlc_core::Aliases;

use crate::aliases::flag;
use crate::config::{Config, Flags};
use crate::error::{Failure, Result, USAGE, error_json};
use crate::output::Out;
use session::Session;
pub use spec::{ArtifactSpec, Assignment, RunSpec, TableSpec};

/// Tables with a history, training runs, models, and SQL over tables and runs.
///
/// A root is a folder or a bucket that holds projects; a project holds tables, runs and artifacts. The root is taken from
/// --root, else the variable TLC_ROOT, else `root:` in the config file (TLC_CONFIG, else
/// ~/.config/tlc/config.yaml), else ~/.local/share/tlc.
#[derive(Debug, Parser)]
#[command(name = "tlc", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    /// The folder or URL that holds the projects: /data, s3://bucket/folder, …
    #[arg(long, global = true, value_name = "URL")]
    root: Option<String>,
    /// An alias: what `<NAME>` stands for at the beginning of paths; may be given again for others
    #[arg(long = "alias", global = true, value_name = "NAME=PATH", value_parser = flag)]
    aliases: Vec<(String, String)>,
    /// Answer in JSON; an error too, on standard error, as {kind, message, hint}
    #[arg(long, global = true)]
    json: bool,
    /// Promise that only one process at a time writes under the root, for a store that ignores conditional puts
    #[arg(long, global = true)]
    single_writer: bool,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  tlc import train.parquet mnist/train
  tlc table show mnist/train
  tlc sql 'SELECT label, count(*) FROM mnist.train GROUP BY label'
  tlc table edit mnist/train --set label=7 --where '_rowid = 42' -m 'a seven'
  tlc table branch mnist/train cleanup
  tlc table edit mnist/train@cleanup --set weight=0 --where 'label = 3' -m 'no threes'
  tlc table merge mnist/train cleanup
  tlc table log mnist/train
  tlc artifact put mnist/model model.safetensors --run baseline --as best

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 conflict, 4 not found; of `tlc run exec` that of the program";

#[derive(Debug, Subcommand)]
enum Verb {
    Ls(ls::Ls),
    Sql(sql::Sql),
    Check(check::Check),
    Import(import::Import),
    Table(table::Table),
    Run(run::Run),
    Reduce(reduce::Reduce),
    Report(report::Report),
    Lineage(lineage::Lineage),
    Artifact(artifact::Artifact),
    Alias(alias::Alias),
    Doctor(doctor::Doctor),
    Verify(verify::Verify),
    Gc(gc::Gc),
    Sync(sync::Sync),
}

impl Verb {
    /// Who makes the revision, where the arguments say it.
    fn author(&self) -> Option<&str> {
        match self {
            Self::Import(import) => import.author(),
            Self::Table(table) => table.author(),
            Self::Alias(alias) => alias.author(),
            Self::Sql(sql) => sql.author(),
            Self::Artifact(artifact) => artifact.author(),
            Self::Ls(_)
            | Self::Check(_)
            | Self::Run(_)
            | Self::Reduce(_)
            | Self::Report(_)
            | Self::Lineage(_)
            | Self::Doctor(_)
            | Self::Verify(_)
            | Self::Gc(_)
            | Self::Sync(_) => None,
        }
    }

    /// The root, where the verb's own arguments name it.
    fn root(&self) -> Option<&str> {
        match self {
            Self::Doctor(doctor) => doctor.root(),
            Self::Sync(sync) => sync.root(),
            _ => None,
        }
    }

    /// Does it; the exit code of what is done.
    fn run(&self, session: &Session) -> Result<ExitCode> {
        let done = match self {
            Self::Check(verb) => return verb.run(session),
            Self::Verify(verb) => return verb.run(session),
            Self::Run(verb) => return verb.run(session),
            Self::Ls(verb) => verb.run(session),
            Self::Reduce(verb) => verb.run(session),
            Self::Report(verb) => verb.run(session),
            Self::Lineage(verb) => verb.run(session),
            Self::Sql(verb) => verb.run(session),
            Self::Import(verb) => verb.run(session),
            Self::Table(verb) => verb.run(session),
            Self::Artifact(verb) => verb.run(session),
            Self::Alias(verb) => verb.run(session),
            Self::Doctor(verb) => verb.run(session),
            Self::Gc(verb) => verb.run(session),
            Self::Sync(verb) => verb.run(session),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// Runs the command with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = comments_as_text(std::env::args_os());
    match Cli::try_parse_from(&args) {
        Ok(cli) => run(&cli),
        Err(err) if err.use_stderr() && args.iter().any(|arg| arg == "--json") => {
            let text = err.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let (message, help) = text.split_once("\n\n").unwrap_or((text, ""));
            let hint = Some(help.trim()).filter(|help| !help.is_empty());
            say(&error_json(USAGE, message.trim(), hint));
            ExitCode::from(2)
        }
        Err(err) => {
            // Help that nobody reads to the end is no failure.
            err.print().unwrap_or_default();
            ExitCode::from(if err.use_stderr() { 2 } else { 0 })
        }
    }
}

/// A query that begins with a comment looks like an option, and with a blank before it does not. Behind a `--` nothing is one.
fn comments_as_text(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_open = true;
    let text = |arg: OsString| {
        is_open &= arg != "--";
        match arg.to_str() {
            Some(text) if is_open && text.starts_with("-- ") => format!(" {text}").into(),
            _ => arg,
        }
    };
    args.into_iter().map(text).collect()
}

fn run(cli: &Cli) -> ExitCode {
    let out = Out::default();
    let flags = Flags {
        root: cli
            .verb
            .root()
            .map(str::to_owned)
            .or_else(|| cli.root.clone()),
        author: cli.verb.author().map(str::to_owned),
        aliases: cli.aliases.clone(),
        single_writer: cli.single_writer,
    };
    let done = check_aliases(&flags.aliases)
        .and_then(|()| Ok(Config::from_env_with(&flags)?))
        .and_then(|config| {
            let session = Session::new(config, cli.json, out.clone());
            let done = cli.verb.run(&session);
            session.finish();
            done
        });
    match done {
        Ok(code) => code,
        // The reader has seen enough. A check is told by its exit code.
        Err(_) if out.is_closed() && !matches!(cli.verb, Verb::Check(_)) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&if cli.json {
                failure.to_json()
            } else {
                failure.to_text()
            });
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Aliases of the command line that are none are wrong usage; from elsewhere they are just wrong.
fn check_aliases(aliases: &[(String, String)]) -> Result<()> {
    for (name, value) in aliases {
        let checked = Aliases::new().with(name, value);
        checked.map_err(|err| Failure::usage(format!("--alias: {err}")))?;
    }
    Ok(())
}

/// Writes to standard error. Where that is closed, there is nobody left to tell.
fn say(text: &str) {
    std::io::stderr()
        .write_all(text.as_bytes())
        .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_comment_is_no_option() {
        let args = ["tlc", "sql", "-- all\nSELECT 1", "--json", "--", "-- x"];
        let found = comments_as_text(args.map(OsString::from));
        assert_eq!(
            found,
            ["tlc", "sql", " -- all\nSELECT 1", "--json", "--", "-- x"]
        );
    }

    #[test]
    fn every_verb_shows_an_example() {
        let mut pending = vec![Cli::command()];
        while let Some(command) = pending.pop() {
            let verbs: Vec<_> = command.get_subcommands().cloned().collect();
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !verbs.is_empty() || help.contains("Example"),
                "{} has no example",
                command.get_name()
            );
            pending.extend(verbs);
        }
    }
}
