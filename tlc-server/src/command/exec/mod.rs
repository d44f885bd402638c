//! `tlc run exec`: any program as a run, with what it prints and how it ended.
//!
//! The program's input is ours; what it prints goes on unchanged and at once, and is recorded beside that:
//! [`lines`] makes lines of bytes, [`marked`] finds scalars among them, [`end`] says how a program ended, and
//! [`child`] has the threads and the signals. One loop, here, takes what these bring in the order it comes.

mod child;
mod end;
mod lines;
mod marked;

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use clap::Args;
use serde_json::json;
use tlc_core::run::TEXT_BYTES_MAX;
use tlc_core::{
    Error, ErrorKind, Result as CoreResult, Run, RunOptions, block_on, redacted_arguments,
};

use self::child::{Child, Event, Stream};
use self::end::{Ended, MemoryKills};
use self::lines::Lines;
use super::open_lineage::{Outbox, Target};
use super::say;
use super::session::Session;
use super::spec::RunSpec;
use crate::config::{find_program, secrets};
use crate::error::{Failure, Result};

/// Run a program, and record what it prints and how it ends
///
/// Input, output and exit code are the program's own. Its lines become the texts `stdout` and `stderr` of the run, and a line of
/// its output such as {"tlc": {"step": 3, "loss": 0.2}} becomes scalars instead. A run of that name whose
/// program is gone goes on as its next attempt. The program finds the run in TLC_ROOT, TLC_PROJECT and TLC_RUN.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc run exec mnist/baseline -- python -u train.py --lr 0.1
  tlc run exec mnist/baseline --resume -- ./train.sh
  tlc run exec mnist/baseline --open-lineage http://localhost:5000 -- ./train.sh
  tlc sql \"SELECT line, text FROM mnist.texts WHERE run = 'baseline' AND name = 'stderr' ORDER BY line\"

The exit code is that of the program, or 128 and the number of the signal that killed it; 3 if the run is taken, 4 if there is no
such program.")]
pub(super) struct Exec {
    /// The run, as PROJECT/RUN
    run: RunSpec,
    /// Go on with the run also if it has ended
    #[arg(long)]
    resume: bool,
    /// Log nothing of the machine
    #[arg(long)]
    no_system: bool,
    /// Tell a catalogue of lineage that the run began and how it ended: send events to this address, or append them to this file
    #[arg(long, value_name = "TARGET")]
    open_lineage: Option<String>,
    /// The program and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode> {
        let Some((program, args)) = self.command.split_first() else {
            return Err(Failure::usage("say which program, after --"));
        };
        find_program(program)?;
        let target = self.target()?;
        let root = block_on(session.root())?;
        let project = root.project(self.run.project.as_str())?;
        let run = project.start_run(self.options())?;
        let quoted = quoted(&self.command);
        run.params(&json!({ "command": secrets().removed_from(&quoted) }))?;
        let outbox = target.map(|target| {
            let key = session.config.lineage_key().map(str::to_owned);
            Outbox::open(target, key, project.clone(), self.run.run.clone())
        });
        let mut command = Command::new(program);
        command
            .args(args)
            .env("TLC_ROOT", session.config.root_url())
            .env("TLC_PROJECT", self.run.project.as_str())
            .env("TLC_RUN", self.run.run.as_str());
        let kills = MemoryKills::now();
        match Child::spawn(command) {
            Ok(child) => {
                let ended = follow(&child, &run).of_memory(&kills);
                record(run, &ended, session);
                close(outbox, session);
                Ok(ExitCode::from(ended.code()))
            }
            Err(err) => {
                let what = format!("{} cannot be started", program.display());
                run.fail(&what)?;
                close(outbox, session);
                Err(Error::new(ErrorKind::Invalid, what).with_source(err).into())
            }
        }
    }

    /// Where events go. What the program prints is its own, so it is not there.
    fn target(&self) -> Result<Option<Target>> {
        let target = self.open_lineage.as_deref().map(str::parse::<Target>);
        match target.transpose().map_err(Failure::wrong_usage)? {
            Some(Target::Stdout) => Err(Failure::usage(
                "standard output is the program's; name a file or an address for the events",
            )),
            target => Ok(target),
        }
    }

    fn options(&self) -> RunOptions {
        // The code is that of the program, and not ours.
        let options = RunOptions::from(&self.run.run).code_in(".");
        let options = match self.no_system {
            true => options.without_system(),
            false => options,
        };
        match self.resume {
            true => options.resume(),
            false => options,
        }
    }
}

/// Records what the program prints until it has ended and all of it was read.
fn follow(child: &Child, run: &Run) -> Ended {
    let mut consoles = Consoles::default();
    let (mut status, mut signal) = (None, None);
    let mut n_open = 2;
    while status.is_none() || n_open > 0 {
        match child.next() {
            Event::Read(stream, bytes) => consoles.read(stream, &bytes, run),
            Event::Closed(stream) => {
                consoles.close(stream, run);
                n_open -= 1;
            }
            // Something that it started has its output still, and nobody wants to wait for it.
            Event::Signal(_) if status.is_some() => break,
            Event::Signal(number) => {
                signal = Some(number);
                child.tell(number);
            }
            Event::Ended(ended) => status = Some(ended),
        }
    }
    Ended::new(status, signal)
}

/// Says in the run how it ended. The program has done what it did: trouble with that is told and changes no exit code.
fn record(run: Run, ended: &Ended, session: &Session) {
    let recorded = match ended.reason() {
        None => run.finish(),
        Some(reason) => run.fail(&reason),
    };
    match recorded {
        Ok(record) => {
            if let Some(warning) = record.warning() {
                session.note(&format!("warning: {warning}"));
            }
        }
        Err(err) => {
            let failure = Failure::from(err);
            say(&match session.json {
                true => failure.to_json(),
                false => failure.to_text(),
            });
        }
    }
}

/// Tells of the end. The program is not to blame for a catalogue: trouble with that is told and changes no exit code.
fn close(outbox: Option<CoreResult<Outbox>>, session: &Session) {
    let Some(outbox) = outbox else {
        return;
    };
    if let Err(err) = outbox.and_then(Outbox::close) {
        session.note(&format!("warning: {err:#}"));
    }
}

/// What was read of both outputs, and is no whole line yet.
struct Consoles {
    out: Lines,
    err: Lines,
    /// The step of the next marked line that says none.
    next_step: i64,
}

impl Default for Consoles {
    fn default() -> Self {
        // A little more than is kept, so that it shows that there was more.
        let lines = || Lines::new(TEXT_BYTES_MAX + 4);
        Self {
            out: lines(),
            err: lines(),
            next_step: 0,
        }
    }
}

impl Consoles {
    fn read(&mut self, stream: Stream, bytes: &[u8], run: &Run) {
        let (lines, next_step) = self.of(stream);
        lines.push(bytes, |line| log(stream, line, next_step, run));
    }

    /// What is left is a line without an end.
    fn close(&mut self, stream: Stream, run: &Run) {
        let (lines, next_step) = self.of(stream);
        lines.finish(|line| log(stream, line, next_step, run));
    }

    fn of(&mut self, stream: Stream) -> (&mut Lines, &mut i64) {
        let lines = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        (lines, &mut self.next_step)
    }
}

fn log(stream: Stream, line: &[u8], next_step: &mut i64, run: &Run) {
    let marked = match stream {
        Stream::Out => marked::parse(line),
        Stream::Err => None,
    };
    let Some(marked) = marked else {
        return run.text(None, stream.name(), &String::from_utf8_lossy(line));
    };
    let step = marked.step.unwrap_or(*next_step);
    *next_step = step.saturating_add(1);
    let scalars = marked.scalars.iter();
    let scalars: Vec<(&str, f64)> = scalars
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    if !scalars.is_empty() {
        run.log(step, &scalars);
    }
    for (name, text) in &marked.texts {
        run.text(step, name, text);
    }
}

/// The command as one would type it in a shell, without the secrets in it.
fn quoted(command: &[OsString]) -> String {
    let words: Vec<Cow<'_, str>> = command.iter().map(|word| word.to_string_lossy()).collect();
    let words = redacted_arguments(words.iter().map(AsRef::as_ref));
    let word = |word: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%[]".contains(c);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_quoted_where_it_must_be() {
        let check = |words: &[&str], expected: &str| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(quoted(&words), expected);
        };
        check(
            &["python", "-u", "a/b.py", "--lr=0.1"],
            "python -u a/b.py --lr=0.1",
        );
        check(&["sh", "-c", "echo 'a b'"], r"sh -c 'echo '\''a b'\'''");
        check(&["x", "", "$HOME"], "x '' '$HOME'");
        check(
            &["x", "--token", "abc", "API_KEY=a b"],
            "x --token [redacted] API_KEY=[redacted]",
        );
    }
}
