//! `tlc table merge`: all that led to one revision comes to a branch.

use clap::Args;
use tlc_core::{Merged, Result as CoreResult, block_on};

use super::bring::{Deciding, Target, Words};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::Result;

/// Bring all that led to a branch, tag or revision into a branch
///
/// A cell that only one side changed has its value. A cell that both changed differently is a conflict: nothing is
/// written, the exit code is 3, and the cells are listed with the values base (what both came from), ours and theirs;
/// `dropped` stands where a side dropped the row. In JSON they are an array of {_rowid, column, base, ours, theirs};
/// the member `dropped` then names the side, and a column that cannot be brought together has the _rowid null and says
/// `why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table merge mnist/train cleanup
  tlc table merge mnist/train@cleanup main -m 'what happened meanwhile'
  tlc table merge mnist/train cleanup --theirs
  tlc table merge mnist/train cleanup --json > conflicts.json   # then add \"take\" or \"value\" to each
  tlc table merge mnist/train cleanup --resolve conflicts.json")]
pub(in crate::command) struct Merge {
    /// The table, as PROJECT/TABLE for main or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// What is brought in: a branch, a tag, a revision or a time
    from: String,
    #[command(flatten)]
    deciding: Deciding,
}

impl Merge {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.deciding.why.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        block_on(self.merge(session))
    }

    async fn merge(&self, session: &Session) -> Result<()> {
        let target = Target::open(session, &self.table).await?;
        let from = target.revision(&self.from, &self.table).await?;
        let theirs = target.table.at(from).await?;
        let (branch, table) = (&target.branch, &target.table);
        let spelled = match self.from.trim_start_matches('r') {
            digits if digits == from.to_string() => format!("r{from}"),
            _ => format!("{} (r{from})", self.from),
        };
        let options = self
            .deciding
            .options(&target, || format!("merge {} into {branch}", self.from));
        let resolution = self.deciding.resolution(&target, &theirs)?;
        let merged = table.merge(from, &resolution, options).await?;
        let is_forward = is_fast_forward(&merged, &target).await?;
        let words = Words {
            result: if is_forward { "fast-forward" } else { "merged" },
            done: match is_forward {
                true => format!("{branch} is fast-forwarded to {spelled}"),
                false => format!("merged {spelled} into {branch}"),
            },
            nothing: format!(
                "already up to date: {branch} (r{}) has all of {spelled}",
                target.head.revision()
            ),
        };
        self.deciding
            .answer(session, &target, &theirs, merged, &words)
    }
}

/// Whether the branch had not moved since what was merged: then that comes first among the parents.
async fn is_fast_forward(merged: &Merged, target: &Target) -> CoreResult<bool> {
    let Merged::Committed(committed) = merged else {
        return Ok(false);
    };
    let log = target.table.log().await?;
    let own = log
        .iter()
        .find(|record| record.revision == committed.revision);
    let parents = own.map(|record| record.parents.as_slice());
    Ok(matches!(parents, Some([_, ours]) if ours.revision == target.head.revision()))
}
