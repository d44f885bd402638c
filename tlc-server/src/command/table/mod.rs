//! `tlc table`: look at one table, and change it.

mod blame;
mod branch;
mod bring;
mod cherry_pick;
mod class;
mod column;
mod compact;
mod conflicts;
mod diff;
mod edit;
mod fix;
mod graph;
mod log;
mod merge;
mod refs;
mod resolve;
mod revert;
mod show;
mod tag;
mod words;
mod writing;

use clap::{Args, Subcommand};

use super::session::Session;
use crate::error::Result;
use crate::output::{bytes_text, count_text};
use crate::view::CommitView;
pub(super) use diff::{Between, show_cells};

/// The program that a revision of this command names.
pub(super) const TOOL: &str = concat!("tlc ", env!("CARGO_PKG_VERSION"));

/// Look at a table, its history and its differences; edit, branch and merge
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
    Blame(blame::Blame),
    Edit(edit::Edit),
    Fix(fix::Fix),
    Column(column::Column),
    Class(class::Class),
    Branch(branch::Branch),
    Tag(tag::Tag),
    Merge(merge::Merge),
    Revert(revert::Revert),
    CherryPick(cherry_pick::CherryPick),
    Compact(compact::Compact),
}

impl Table {
    pub(super) fn author(&self) -> Option<&str> {
        match &self.verb {
            Verb::Edit(edit) => edit.author(),
            Verb::Fix(fix) => fix.author(),
            Verb::Column(column) => column.author(),
            Verb::Class(class) => class.author(),
            Verb::Branch(branch) => branch.author(),
            Verb::Tag(tag) => tag.author(),
            Verb::Merge(merge) => merge.author(),
            Verb::Revert(revert) => revert.author(),
            Verb::CherryPick(pick) => pick.author(),
            Verb::Compact(compact) => compact.author(),
            Verb::Show(_) | Verb::Log(_) | Verb::Diff(_) | Verb::Blame(_) => None,
        }
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        match &self.verb {
            Verb::Show(verb) => verb.run(session),
            Verb::Log(verb) => verb.run(session),
            Verb::Diff(verb) => verb.run(session),
            Verb::Blame(verb) => verb.run(session),
            Verb::Edit(verb) => verb.run(session),
            Verb::Fix(verb) => verb.run(session),
            Verb::Column(verb) => verb.run(session),
            Verb::Class(verb) => verb.run(session),
            Verb::Branch(verb) => verb.run(session),
            Verb::Tag(verb) => verb.run(session),
            Verb::Merge(verb) => verb.run(session),
            Verb::Revert(verb) => verb.run(session),
            Verb::CherryPick(verb) => verb.run(session),
            Verb::Compact(verb) => verb.run(session),
        }
    }
}

/// A commit in one line: `mnist/train r1: 5 cells in 5 rows, 1.2 KB`; on a branch other than `main` with its name.
pub(super) fn commit_text(view: &CommitView) -> String {
    let branch = match view.branch.as_str() {
        "main" => String::new(),
        branch => format!(" on {branch}"),
    };
    format!(
        "{} r{}{branch}: {}, {}\n",
        view.table,
        view.revision,
        counts_text(view),
        bytes_text(view.bytes)
    )
}

/// A commit that says what was done: `mnist/train r4: merged fix into main: 5 cells in 5 rows, 1.2 KB`.
fn done_text(view: &CommitView, what: &str) -> String {
    let counts = match (view.cells, view.rows) {
        (0, 0) => String::new(),
        _ => format!(": {}", counts_text(view)),
    };
    format!(
        "{} r{}: {what}{counts}, {}\n",
        view.table,
        view.revision,
        bytes_text(view.bytes)
    )
}

/// `5 cells in 4 rows`.
fn counts_text(view: &CommitView) -> String {
    let rows = count_text(view.rows, "row");
    match view.cells {
        0 => rows,
        cells => format!("{} in {rows}", count_text(cells, "cell")),
    }
}
