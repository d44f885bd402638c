//! `tlc alias apply`: paths that were stored before their alias was set, stored by it.

use clap::Args;
use tlc_core::{CellsDiff, CommitOptions, Snapshot, block_on};

use crate::command::TableSpec;
use crate::command::session::Session;
use crate::command::table::{TOOL, commit_text, show_cells};
use crate::error::{Failure, Result};
use crate::view::CommitView;

/// Store the paths of a table by their aliases, as one revision
///
/// Only cells change whose path lies below an alias and is stored without it; what is read stays the same.
/// With --dry-run those cells are listed, as `tlc table diff` lists them. Files in place are not renamed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc alias apply zoo/train --dry-run
  tlc alias apply zoo/train -m 'paths that travel' --json")]
pub(super) struct Apply {
    /// The table, as PROJECT/TABLE
    table: TableSpec,
    /// Only list the cells that would change
    #[arg(long)]
    dry_run: bool,
    /// Why, for the table's log
    #[arg(short, long)]
    message: Option<String>,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Apply {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        if self.table.revision.is_some() {
            return Err(Failure::usage(format!(
                "a revision goes to the head; write the table without @ in {}",
                self.table
            )));
        }
        let (head, found) = block_on(async {
            let head = session.snapshot(&self.table).await?;
            let found = head.unaliased_paths().await?;
            Ok::<_, Failure>((head, found))
        })?;
        if self.dry_run {
            return show_cells(session, &head, found);
        }
        if found.is_empty() {
            session.note("nothing to store: no path lies below an alias and is stored without it");
        }
        let view = block_on(self.commit(&head, &found))?;
        if found.is_empty() && !session.json {
            return Ok(());
        }
        session.answer(&view, || commit_text(&view))
    }

    async fn commit(&self, head: &Snapshot, found: &[CellsDiff]) -> Result<CommitView> {
        let mut patch = head.patch();
        for cells in found {
            patch.set_column(cells.column.as_str(), &cells.row_ids, &cells.new)?;
        }
        let message = self
            .message
            .as_deref()
            .unwrap_or("store paths by their aliases");
        let options = CommitOptions::new(message).tool(TOOL);
        let committed = head.table().commit(&patch, options).await?;
        Ok(CommitView::new(self.table.project.as_str(), &committed))
    }
}
