//! `tlc table cherry-pick`: what one revision did, done once more on another branch.

use clap::Args;
use tlc_core::block_on;

use super::bring::{Deciding, Target, Words};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::Result;

/// Do what one revision did once more, on another branch
///
/// The message is that of the revision, unless another is given. Conflicts are shown and decided as by
/// `tlc table merge`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table cherry-pick mnist/train 7
  tlc table cherry-pick mnist/train@cleanup 7 --theirs -m 'also here'")]
pub(in crate::command) struct CherryPick {
    /// The table, as PROJECT/TABLE for main or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// The revision, or a name of it
    #[arg(value_name = "REV")]
    revision: String,
    #[command(flatten)]
    deciding: Deciding,
}

impl CherryPick {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.deciding.why.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        block_on(self.pick(session))
    }

    async fn pick(&self, session: &Session) -> Result<()> {
        let target = Target::open(session, &self.table).await?;
        let picked = target.revision(&self.revision, &self.table).await?;
        let theirs = target.table.at(picked).await?;
        let log = target.table.log().await?;
        let own = log.iter().find(|record| record.revision == picked);
        let message = own.map(|record| record.message.clone());
        let options = self
            .deciding
            .options(&target, || message.unwrap_or_default());
        let resolution = self.deciding.resolution(&target, &theirs)?;
        let (table, branch) = (&target.table, &target.branch);
        let merged = table.cherry_pick(picked, &resolution, options).await?;
        let words = Words {
            result: "picked",
            done: format!("picked r{picked} onto {branch}"),
            nothing: format!(
                "nothing to pick: {branch} (r{}) has all that r{picked} did",
                target.head.revision()
            ),
        };
        self.deciding
            .answer(session, &target, &theirs, merged, &words)
    }
}
