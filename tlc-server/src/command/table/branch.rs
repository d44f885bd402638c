//! `tlc table branch`: names that move with the work on them.

use clap::Args;
use tlc_core::block_on;

use super::refs::{Kind, NameArgs};
use crate::command::session::Session;
use crate::error::Result;

/// List the branches of a table; make one, or take one away
///
/// Edits of PROJECT/TABLE@BRANCH move the branch and leave main as it is, until `tlc table merge` brings them there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table branch mnist/train
  tlc table branch mnist/train cleanup
  tlc table branch mnist/train older --at 3
  tlc table branch mnist/train cleanup --drop")]
pub(in crate::command) struct Branch {
    #[command(flatten)]
    args: NameArgs,
}

impl Branch {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.args.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        block_on(self.args.run(session, Kind::Branch))
    }
}
