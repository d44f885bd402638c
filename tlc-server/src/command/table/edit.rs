//! `tlc table edit`: some cells, set by expression, as one revision.

use clap::Args;
use tlc_core::{CommitOptions, Sql, block_on};

use super::writing::branch_of;
use super::{TOOL, commit_text};
use crate::command::session::Session;
use crate::command::{Assignment, TableSpec};
use crate::error::{Failure, Result};
use crate::view::CommitView;

/// Set cells of a table, as one revision
///
/// The expressions are SQL over the columns of the row as it was before. A label takes the name of a class too.
/// Where the condition holds for no row, or every cell has its value already, no revision is made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table edit mnist/train --set label=7 --where '_rowid IN (5, 42)' -m 'two sevens'
  tlc table edit mnist/train --set weight=0 --where 'label = 3' -m 'leave the threes out' --json
  tlc table edit mnist/train@cleanup --set label=7 --where '_rowid = 5' -m 'on the branch cleanup'")]
pub(in crate::command) struct Edit {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// A column and the expression for its new value; may be given again for other columns
    #[arg(long, value_name = "COL=EXPR", required = true)]
    set: Vec<Assignment>,
    /// The condition for the rows to set; `true` is every row
    #[arg(long = "where", value_name = "EXPR")]
    condition: String,
    /// Why, for the table's log
    #[arg(short, long)]
    message: String,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

impl Edit {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let sets: Vec<(&str, &str)> = self
            .set
            .iter()
            .map(|set| (set.column.as_str(), set.expression.as_str()))
            .collect();
        let options = CommitOptions::new(self.message.clone()).tool(TOOL);
        let committed = block_on(async {
            let table = session.table(&self.table).await?;
            let options = options.branch(branch_of(&table, &self.table).await?);
            let sql = Sql::open(&session.existing_root().await?).await?;
            Ok::<_, Failure>(sql.edit(&table, &sets, &self.condition, options).await?)
        })?;
        let view = CommitView::new(self.table.project.as_str(), &committed);
        if view.cells == 0 {
            session.note(&format!(
                "nothing to set: no row matches, or all have the value; the head is still r{}",
                view.revision
            ));
            return if session.json {
                session.answer(&view, String::new)
            } else {
                Ok(())
            };
        }
        session.answer(&view, || commit_text(&view))
    }
}
