//! What merge, revert and cherry-pick share: who decides conflicts, and what is answered.

use std::path::PathBuf;

use clap::Args;
use tlc_core::{
    CommitOptions, Committed, Conflicts, Error, ErrorKind, Merged, Resolution,
    Result as CoreResult, Revision, Snapshot, Table, Take,
};

use super::conflicts::{Shown, conflicts_json, conflicts_text};
use super::writing::{Why, branch_of};
use super::{done_text, resolve};
use crate::command::TableSpec;
use crate::command::session::{Session, with_log_hint};
use crate::error::{Failure, Result};
use crate::output::count_text;
use crate::view::{BroughtView, CommitView};

/// What to do with a cell that was changed differently on both sides.
#[derive(Debug, Args)]
pub(super) struct Deciding {
    /// In a conflict, the branch's own value holds
    #[arg(long, conflicts_with = "theirs")]
    ours: bool,
    /// In a conflict, the value that is brought in holds
    #[arg(long)]
    theirs: bool,
    /// Decide conflicts cell by cell, by a CSV, JSON or Parquet file with the columns _rowid, column, take, value
    ///
    /// `take` is ours, theirs or null; or else `value` is the cell's value, which may be the name of a class. Other
    /// columns, such as those that the conflicts are printed with, are passed over; so is a line with neither. With
    /// --ours or --theirs, these hold for the cells that FILE does not decide.
    #[arg(long, value_name = "FILE")]
    resolve: Option<PathBuf>,
    #[command(flatten)]
    pub(super) why: Why,
}

/// The branch that something is brought to.
pub(super) struct Target {
    pub(super) table: Table,
    pub(super) branch: String,
    pub(super) head: Snapshot,
}

impl Target {
    pub(super) async fn open(session: &Session, spec: &TableSpec) -> Result<Self> {
        let table = session.table(spec).await?;
        let branch = branch_of(&table, spec).await?;
        let head = table.branch(&branch).await?;
        Ok(Self {
            table,
            branch,
            head,
        })
    }

    /// The revision that `text` names.
    pub(super) async fn revision(&self, text: &str, spec: &TableSpec) -> Result<Revision> {
        let found = self.table.resolve(text).await;
        found.map_err(|err| with_log_hint(err, spec))
    }
}

/// How an answer words what was done.
pub(super) struct Words {
    /// The verb as a program reads it: `merged`.
    pub(super) result: &'static str,
    /// `merged fix (r4) into main`.
    pub(super) done: String,
    /// What is said if there was nothing to do.
    pub(super) nothing: String,
}

impl Deciding {
    pub(super) fn options(&self, target: &Target, what: impl FnOnce() -> String) -> CommitOptions {
        self.why.options(what).branch(target.branch.clone())
    }

    /// What the arguments decide about conflicts between the branch and `theirs`.
    pub(super) fn resolution(&self, target: &Target, theirs: &Snapshot) -> CoreResult<Resolution> {
        let rest = match (self.ours, self.theirs) {
            (true, _) => Resolution::all(Take::Ours),
            (_, true) => Resolution::all(Take::Theirs),
            _ => Resolution::new(),
        };
        match &self.resolve {
            Some(path) => {
                let schemas = [target.head.schema(), theirs.schema()];
                resolve::read(path, rest, &schemas)
            }
            None => Ok(rest),
        }
    }

    /// Answers what became of it.
    pub(super) fn answer(
        &self,
        session: &Session,
        target: &Target,
        theirs: &Snapshot,
        merged: Merged,
        words: &Words,
    ) -> Result<()> {
        match merged {
            Merged::Committed(committed) => answer(session, target, &committed, words),
            Merged::Conflicts(conflicts) => {
                let shown = Shown {
                    conflicts: &conflicts,
                    ours: &target.head,
                    theirs,
                };
                if session.json {
                    conflicts_json(&shown, session.out.target())?;
                } else {
                    session.out.print(&conflicts_text(&shown)?)?;
                }
                Err(refusal(&conflicts))
            }
        }
    }
}

fn answer(session: &Session, target: &Target, committed: &Committed, words: &Words) -> Result<()> {
    let is_nothing = committed.bytes == 0;
    let commit = CommitView::new(target.table.project().as_str(), committed);
    let view = BroughtView {
        result: if is_nothing { "nothing" } else { words.result },
        commit,
    };
    session.answer(&view, || {
        if is_nothing {
            return format!("{}\n", words.nothing);
        }
        done_text(&view.commit, &words.done)
    })
}

/// The error of a conflict, with the ways out.
fn refusal(conflicts: &Conflicts) -> Failure {
    let n_cells = conflicts.n_cells() as u64;
    let n_columns = conflicts.columns.len() as u64;
    let counts: Vec<String> = [(n_cells, "cell"), (n_columns, "column")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, thing)| count_text(n, thing))
        .collect();
    let were = if n_cells + n_columns == 1 {
        "was"
    } else {
        "were"
    };
    let message = format!(
        "{} {were} changed differently on both sides; nothing was written",
        counts.join(" and ")
    );
    let hint = if n_cells > 0 {
        "add --ours or --theirs to take one side's, or decide cell by cell with --resolve FILE: lines of _rowid,column,take,value"
    } else {
        "add --ours or --theirs to take one side's"
    };
    Failure::from(Error::new(ErrorKind::Conflict, message)).hint(hint)
}
