//! `tlc table compact`: the same rows in fewer files.

use clap::Args;
use tlc_core::{CommitOptions, block_on};

use super::TOOL;
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::{Failure, Result};
use crate::output::bytes_text;
use crate::view::CommitView;

/// Write a table's rows into new files, with its edits in them, as one revision
///
/// Nothing changes for readers, except that reading is faster after many edits. Files that were used in place are
/// copied in. Rows that were dropped before cannot be brought back afterwards, but earlier revisions still have them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table compact mnist/train
  tlc table compact mnist/train@relabel -m 'before the long training' --json")]
pub(in crate::command) struct Compact {
    /// The table, as PROJECT/TABLE; with @BRANCH, another branch than main
    table: TableSpec,
    /// Why, for the table's log
    #[arg(short, long, default_value = "compact")]
    message: String,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Compact {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let mut options = CommitOptions::new(self.message.clone()).tool(TOOL);
        if let Some(branch) = &self.table.revision {
            options = options.branch(branch);
        }
        let committed = block_on(async {
            let table = session.table(&self.table).await?;
            Ok::<_, Failure>(table.compact(options).await?)
        })?;
        let view = CommitView::new(self.table.project.as_str(), &committed);
        session.answer(&view, || match view.bytes {
            0 => format!("{} r{}: compact already\n", view.table, view.revision),
            bytes => {
                let bytes = bytes_text(bytes);
                format!("{} r{}: compacted, {bytes}\n", view.table, view.revision)
            }
        })
    }
}
