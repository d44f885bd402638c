//! `tlc table log`: how a table came to be.

use clap::Args;
use tlc_core::block_on;

use super::graph::{self, Node};
use super::refs::{Names, first_line, names_text};
use crate::command::TableSpec;
use crate::command::session::{Session, with_log_hint};
use crate::error::Result;
use crate::output::{Align, TextTable, bytes_text, more_text};
use crate::view::RevisionView;

/// List a table's revisions, newest first, as a graph of who followed whom
///
/// In JSON an array of objects, newest first: `parents` are the revisions that one follows (of a merge, what was merged
/// comes second), `heads` the branches that end there, `tags` the tags it has.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table log mnist/train
  tlc table log mnist/train@cleanup -n 10
  tlc table log mnist/train@3 --json")]
pub(in crate::command) struct Log {
    /// The table, as PROJECT/TABLE; with @REV, only what led to that revision, branch or tag
    table: TableSpec,
    /// How many revisions at most, the newest
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
}

impl Log {
    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let revisions = block_on(self.revisions(session))?;
        let shown = self.limit.unwrap_or(revisions.len());
        let newest: Vec<&RevisionView> = revisions.iter().take(shown).collect();
        session.answer(&newest, || log_text(&revisions, newest.len()))
    }

    async fn revisions(&self, session: &Session) -> Result<Vec<RevisionView>> {
        let table = session.table(&self.table).await?;
        let log = match &self.table.revision {
            Some(text) => {
                let newest = table.resolve(text).await;
                let newest = newest.map_err(|err| with_log_hint(err, &self.table))?;
                table.log_of(newest).await?
            }
            None => table.log().await?,
        };
        let names = Names::of(&table).await?;
        let views = log.iter().map(|record| {
            let revision = record.revision;
            RevisionView::new(record, names.heads(revision), names.tags(revision))
        });
        Ok(views.collect())
    }
}

/// The graph of all, and of it the lines of the first `shown`.
fn log_text(revisions: &[RevisionView], shown: usize) -> String {
    let nodes: Vec<Node> = revisions
        .iter()
        .map(|revision| Node {
            revision: revision.revision,
            parents: revision.parents.clone(),
        })
        .collect();
    let mut table = TextTable::new([
        ("", Align::Left),
        ("revision", Align::Left),
        ("names", Align::Left),
        ("time", Align::Left),
        ("author", Align::Left),
        ("cells", Align::Right),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("message", Align::Left),
    ]);
    let drawn = revisions.iter().zip(graph::draw(&nodes));
    for (revision, drawn) in drawn.take(shown) {
        table.row([
            drawn.own,
            format!("r{}", revision.revision),
            names_text(&revision.heads, &revision.tags),
            revision.time.clone(),
            revision.author.clone(),
            revision.cells.to_string(),
            rows_text(revision),
            bytes_text(revision.bytes),
            first_line(&revision.message),
        ]);
        for line in drawn.below {
            table.row([line]);
        }
    }
    let n_more = (revisions.len() - shown) as u64;
    table.to_text() + &more_text(n_more, "earlier revision")
}

/// `+4 -1`.
fn rows_text(revision: &RevisionView) -> String {
    let rows = [
        ("+", revision.rows_added + revision.rows_restored),
        ("-", revision.rows_dropped),
    ];
    let rows = rows.iter().filter(|(_, n)| *n > 0);
    rows.map(|(sign, n)| format!("{sign}{n}"))
        .collect::<Vec<_>>()
        .join(" ")
}
