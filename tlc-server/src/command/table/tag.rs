//! `tlc table tag`: names that stay where they are.

use clap::Args;
use tlc_core::block_on;

use super::refs::{Kind, NameArgs};
use crate::command::session::Session;
use crate::error::Result;

/// List the tags of a table; give a revision one, or take one away
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table tag mnist/train
  tlc table tag mnist/train paper-v1 -m 'what the paper was trained on'
  tlc table tag mnist/train before-cleanup --at 3
  tlc table tag mnist/train before-cleanup --drop")]
pub(in crate::command) struct Tag {
    #[command(flatten)]
    args: NameArgs,
}

impl Tag {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.args.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        block_on(self.args.run(session, Kind::Tag))
    }
}
