//! `tlc table revert`: what some revisions did is undone by a new one.

use clap::Args;
use tlc_core::{Error, Result as CoreResult, Revision, RevisionRecord, block_on};

use super::bring::{Deciding, Target, Words};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::{Failure, Result};

/// Undo what a revision did, or several, by a new revision
///
/// The revisions stay in the log. A range A..B is all after A up to B, as in Git: 3..5 undoes 4 and 5. Rows and columns
/// that were dropped come back with their values. A cell that somebody set again since is a conflict, shown and decided
/// as by `tlc table merge`: base is what the revision had set, ours what the branch has now, theirs what was before.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table revert mnist/train 7
  tlc table revert mnist/train 3..5 -m 'the wrong classes'
  tlc table revert mnist/train@cleanup 9 --theirs --json")]
pub(in crate::command) struct Revert {
    /// The table, as PROJECT/TABLE for main or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// The revision, or A..B for those after A up to B
    #[arg(value_name = "REV")]
    revisions: String,
    #[command(flatten)]
    deciding: Deciding,
}

impl Revert {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.deciding.why.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        block_on(self.revert(session))
    }

    async fn revert(&self, session: &Session) -> Result<()> {
        let target = Target::open(session, &self.table).await?;
        let (first, last) = self.range(&target).await?;
        let theirs = target.table.at(last).await?;
        let spelled = match first == last {
            true => format!("r{first}"),
            false => format!("r{first} to r{last}"),
        };
        let options = self
            .deciding
            .options(&target, || format!("revert {spelled}"));
        let resolution = self.deciding.resolution(&target, &theirs)?;
        let (table, branch) = (&target.table, &target.branch);
        let merged = table.revert(first, last, &resolution, options).await?;
        let nothing = format!(
            "nothing to revert: {branch} (r{}) has nothing of what {spelled} did",
            target.head.revision()
        );
        let words = Words {
            result: "reverted",
            done: format!("reverted {spelled} on {branch}"),
            nothing,
        };
        self.deciding
            .answer(session, &target, &theirs, merged, &words)
    }

    /// The first and the last revision to undo.
    async fn range(&self, target: &Target) -> Result<(Revision, Revision)> {
        let Some((after, last)) = self.revisions.split_once("..") else {
            let only = target.revision(&self.revisions, &self.table).await?;
            let log = target.table.log().await?;
            let is_first = |record: &&RevisionRecord| record.parents.is_empty();
            return match log.iter().find(is_first) {
                Some(first) if first.revision == only => Err(Failure::from(Error::invalid(
                    format!("r{only} made the table; there is nothing before it"),
                ))),
                _ => Ok((only, only)),
            };
        };
        let after = target.revision(after, &self.table).await?;
        let last = target.revision(last, &self.table).await?;
        let first = first_after(&target.table.log().await?, after, last)?;
        Ok((first, last))
    }
}

/// The revision that followed `after` on the way to `last`.
fn first_after(log: &[RevisionRecord], after: Revision, last: Revision) -> CoreResult<Revision> {
    let mut at = last;
    for record in log {
        if record.revision != at {
            continue;
        }
        match record.parents.first() {
            Some(parent) if parent.revision == after => return Ok(at),
            Some(parent) => at = parent.revision,
            None => break,
        }
    }
    Err(Error::invalid(format!(
        "r{after} did not lead to r{last}; a range A..B is all after A up to B"
    )))
}
