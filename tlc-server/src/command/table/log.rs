//! `tlc table log`: how a table came to be.

use clap::Args;
use tlc_core::block_on;

use crate::command::TableSpec;
use crate::command::session::{Session, with_log_hint};
use crate::error::Result;
use crate::output::{Align, TextTable, bytes_text};
use crate::view::RevisionView;

/// List a table's revisions, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table log mnist/train
  tlc table log mnist/train@3 --json")]
pub(in crate::command) struct Log {
    /// The table, as PROJECT/TABLE; with @REV, from that revision backwards
    table: TableSpec,
}

impl Log {
    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let revisions = block_on(self.revisions(session))?;
        session.answer(&revisions, || log_text(&revisions))
    }

    async fn revisions(&self, session: &Session) -> Result<Vec<RevisionView>> {
        let table = session.table(&self.table).await?;
        let newest = match &self.table.revision {
            Some(text) => Some(
                table
                    .resolve(text)
                    .await
                    .map_err(|err| with_log_hint(err, &self.table))?,
            ),
            None => None,
        };
        let log = table.log().await?;
        let kept = log
            .iter()
            .filter(|record| newest.is_none_or(|newest| record.revision <= newest));
        Ok(kept.map(RevisionView::from).collect())
    }
}

fn log_text(revisions: &[RevisionView]) -> String {
    let right = ["cells", "rows", "size"];
    let names = [
        "revision", "time", "author", "cells", "rows", "size", "message",
    ];
    let mut table = TextTable::new(names.map(|name| {
        (
            name,
            if right.contains(&name) {
                Align::Right
            } else {
                Align::Left
            },
        )
    }));
    for revision in revisions {
        let rows = [("+", revision.rows_added), ("-", revision.rows_dropped)];
        let rows: Vec<String> = rows
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(sign, n)| format!("{sign}{n}"))
            .collect();
        table.row([
            format!("r{}", revision.revision),
            revision.time.clone(),
            revision.author.clone(),
            revision.cells.to_string(),
            rows.join(" "),
            bytes_text(revision.bytes),
            revision
                .message
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        ]);
    }
    table.to_text()
}
