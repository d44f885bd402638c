//! `tlc run`: look at runs, or make one of any program.

mod code;
mod compare;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tlc_core::{ErrorKind, Project, RunRecord, block_on};

use self::code::ShowCode;
pub(super) use self::code::code_lines;
use self::compare::Compare;
pub(super) use self::compare::{Compared, change_text, changes, revision_text};
use super::session::{Session, listed};
use super::spec::RunSpec;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable, count_text};
use crate::view::{CodeView, RunView};

/// Look at a run, or run a program as one
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(Show),
    Code(ShowCode),
    Compare(Compare),
    #[cfg(unix)]
    Exec(super::exec::Exec),
}

impl Run {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode> {
        match &self.verb {
            Verb::Show(verb) => verb.run(session).map(|()| ExitCode::SUCCESS),
            Verb::Code(verb) => verb.run(session).map(|()| ExitCode::SUCCESS),
            Verb::Compare(verb) => verb.run(session).map(|()| ExitCode::SUCCESS),
            #[cfg(unix)]
            Verb::Exec(verb) => verb.run(session),
        }
    }
}

/// Show how a run went, from what, and to what end
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc run show mnist/brave-otter
  tlc run show mnist/brave-otter --json")]
struct Show {
    /// The run, as PROJECT/RUN
    run: RunSpec,
}

impl Show {
    fn run(&self, session: &Session) -> Result<()> {
        let view = block_on(self.view(session))?;
        session.answer(&view, || run_text(&view))
    }

    async fn view(&self, session: &Session) -> Result<RunView> {
        let project = session.project(&self.run.project).await?;
        let record = record(&project, &self.run).await?;
        Ok(RunView::new(self.run.project.as_str(), &record))
    }
}

/// A run that is there.
pub(super) async fn record(project: &Project, spec: &RunSpec) -> Result<RunRecord> {
    match project.run(spec.run.as_str()).await {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let names = project.runs().await?;
            Err(Failure::from(err)
                .hint(listed(&format!("the runs of {} are", spec.project), &names)))
        }
        record => Ok(record?),
    }
}

fn run_text(view: &RunView) -> String {
    let reason = view
        .reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let mut text = format!(
        "{} {}{reason}\nstarted   {}, by {}\n",
        view.run, view.status, view.started, view.author
    );
    if let Some(fork) = &view.forked {
        text += &format!("forked    from {} at step {}\n", fork.run, fork.step);
    }
    if let Some(code) = &view.code {
        text += &format!("code      {}\n", code_text(code));
    }
    if view.attempts > 1 {
        text += &format!("attempts  {}\n", view.attempts);
    }
    if let (Some(finished), Some(secs)) = (&view.finished, view.duration_secs) {
        text += &format!("finished  {finished}, after {}\n", duration_text(secs));
    }
    if view.lost.scalars + view.lost.sample_rows + view.lost.items > 0 {
        let (scalars, rows, items) = (
            count_text(view.lost.scalars, "scalar"),
            count_text(view.lost.sample_rows, "row"),
            count_text(view.lost.items, "item"),
        );
        text += &format!(
            "lost      {scalars}, {rows} of sample metrics, {items} (texts, histograms, files): storage did not keep up\n"
        );
    }
    let inputs = view
        .inputs
        .iter()
        .map(|input| (input.table.clone(), format!("r{}", input.revision)));
    text += &section("input", "revision", Align::Left, inputs);
    let outputs = view
        .outputs
        .iter()
        .map(|output| (output.table.clone(), format!("r{}", output.revision)));
    text += &section("output", "revision", Align::Left, outputs);
    let artifacts = view.artifacts.iter().map(|used| {
        let version = format!("{}@{}", used.artifact, used.version);
        (version, used.role.to_owned())
    });
    text += &section("artifact", "role", Align::Left, artifacts);
    text += &section(
        "parameter",
        "value",
        Align::Left,
        view.params
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    text += &section(
        "scalar",
        "last",
        Align::Right,
        view.scalars
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string())),
    );
    let streams = view
        .streams
        .iter()
        .map(|stream| (stream.stream.clone(), stream.columns.join(", ")));
    text += &section("stream", "columns", Align::Left, streams);
    text
}

/// `1a2b3c4d5e6f on main, with changes`.
fn code_text(code: &CodeView) -> String {
    let commit = match &code.commit {
        Some(commit) => commit.get(..12).unwrap_or(commit),
        None if code.branch.is_none() => return "not known".to_owned(),
        None => "no commit yet",
    };
    let branch = code.branch.as_deref().map(|branch| format!(" on {branch}"));
    let changes = match code.dirty {
        Some(true) => ", with changes",
        Some(false) => "",
        None => ", perhaps with changes",
    };
    format!("{commit}{}{changes}", branch.unwrap_or_default())
}

/// A table of names and values; nothing where there are none.
fn section(
    name: &str,
    value: &str,
    align: Align,
    entries: impl Iterator<Item = (String, String)>,
) -> String {
    let mut table = TextTable::new([(name, Align::Left), (value, align)]);
    for (name, value) in entries {
        table.row([name, value]);
    }
    if table.n_rows() == 0 {
        String::new()
    } else {
        format!("\n{}", table.to_text())
    }
}

/// `0.3 s`, `2 min 5 s`, `1 h 0 min`.
fn duration_text(secs: f64) -> String {
    let whole = Duration::try_from_secs_f64(secs)
        .unwrap_or_default()
        .as_secs();
    match whole {
        0..60 => format!("{secs:.1} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        let texts = [0.04, 59.9, 125.0, 3_600.0, 90_000.0].map(duration_text);
        assert_eq!(
            texts.join(", "),
            "0.0 s, 59.9 s, 2 min 5 s, 1 h 0 min, 25 h 0 min"
        );
    }
}
