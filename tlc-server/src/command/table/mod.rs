//! `tlc table`: look at one table, and change it.

mod compact;
mod diff;
mod edit;
mod log;
mod show;

use clap::{Args, Subcommand};

use super::session::Session;
use crate::error::Result;
use crate::output::{bytes_text, count_text};
use crate::view::CommitView;

/// The program that a revision of this command names.
pub(super) const TOOL: &str = concat!("tlc ", env!("CARGO_PKG_VERSION"));

/// Look at a table, its history and its differences; edit its cells
#[derive(Debug, Args)]
pub(super) struct Table {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(show::Show),
    Log(log::Log),
    Diff(diff::Diff),
    Edit(edit::Edit),
    Compact(compact::Compact),
}

impl Table {
    pub(super) fn author(&self) -> Option<&str> {
        match &self.verb {
            Verb::Edit(edit) => edit.author(),
            Verb::Compact(compact) => compact.author(),
            Verb::Show(_) | Verb::Log(_) | Verb::Diff(_) => None,
        }
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        match &self.verb {
            Verb::Show(verb) => verb.run(session),
            Verb::Log(verb) => verb.run(session),
            Verb::Diff(verb) => verb.run(session),
            Verb::Edit(verb) => verb.run(session),
            Verb::Compact(verb) => verb.run(session),
        }
    }
}

/// A commit in one line: `mnist/train r1: 5 cells in 5 rows, 1.2 KB`.
pub(super) fn commit_text(view: &CommitView) -> String {
    let rows = count_text(view.rows, "row");
    let what = if view.cells > 0 {
        format!("{} in {rows}", count_text(view.cells, "cell"))
    } else {
        rows
    };
    format!(
        "{} r{}: {what}, {}\n",
        view.table,
        view.revision,
        bytes_text(view.bytes)
    )
}
