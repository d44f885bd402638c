//! `tlc gc`: delete files that nobody needs.

use std::time::Duration;

use clap::Args;
use tlc_core::object_store::path::Path;
use tlc_core::{Garbage, GcOptions, Keep, block_on};

use super::session::{Session, below};
use super::spec::{Age, PlaceSpec};
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::GcView;

/// How many files are listed for people.
const SHOWN_MAX: usize = 20;

/// Find files that no revision needs, and delete them if told so
///
/// Such files come from writers that were cut off and from edits that met a conflict. Log entries are never deleted.
/// It may run while others write. With --keep-revisions N only the newest N revisions of each table, and those that
/// branches and tags name, can be read afterwards; nobody should go back to older ones while that runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc gc
  tlc gc mnist/train --delete --older-than 30d")]
pub(super) struct Gc {
    /// The project, or the table as PROJECT/TABLE [default: all]
    place: Option<PlaceSpec>,
    /// Delete; without it only tell
    #[arg(long)]
    delete: bool,
    /// Leave younger files alone; at least 1d, and longer than any import takes
    #[arg(long, value_name = "AGE", default_value = "7d")]
    older_than: Age,
    /// How many revisions of each table to keep: all, or a number
    #[arg(long, value_name = "N", default_value = "all", value_parser = keep)]
    keep_revisions: Keep,
}

impl Gc {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let options = GcOptions::new()
            .older_than(Duration::from_secs(self.older_than.0))
            .keep(self.keep_revisions);
        let options = if self.delete {
            options.delete()
        } else {
            options
        };
        let garbage = block_on(self.garbage(session, options))?;
        let root = block_on(session.existing_root())?;
        session.answer(&GcView::from(&garbage), || text(&garbage, root.path()))
    }

    async fn garbage(&self, session: &Session, options: GcOptions) -> Result<Garbage> {
        Ok::<_, Failure>(match &self.place {
            None => session.existing_root().await?.gc(options).await?,
            Some(PlaceSpec::Project(name)) => session.project(name).await?.gc(options).await?,
            Some(PlaceSpec::Table(spec)) => session.table(spec).await?.gc(options).await?,
        })
    }
}

fn keep(text: &str) -> Result<Keep, String> {
    match text {
        "all" => Ok(Keep::All),
        n => n.parse().map(Keep::Newest).map_err(|_number| {
            format!("{text:?} is no number of revisions; write all or such as 10")
        }),
    }
}

fn text(garbage: &Garbage, root: &Path) -> String {
    let mut text = String::new();
    for file in garbage.files.iter().take(SHOWN_MAX) {
        let size = bytes_text(file.bytes);
        text += &format!("{}  {size}\n", below(root, &file.path));
    }
    if let Some(more) = garbage.files.len().checked_sub(SHOWN_MAX + 1) {
        text += &format!("and {} more\n", more + 1);
    }
    for path in &garbage.unknown {
        let path = below(root, path);
        text += &format!("left alone, for it is none of tlc's: {path}\n");
    }
    let given_up = garbage.given_up.len() as u64;
    if given_up > 0 {
        let revisions = count_text(given_up, "revision");
        text += &format!("not kept: {revisions}\n");
    }
    let files = count_text(garbage.files.len() as u64, "file");
    let size = bytes_text(garbage.bytes());
    text += &match garbage.is_deleted {
        true => format!("deleted {files}, {size}\n"),
        false if garbage.files.is_empty() => match garbage.n_young {
            0 => "nothing to delete\n".to_owned(),
            n => format!(
                "nothing to delete; too young for it: {}\n",
                count_text(n, "file")
            ),
        },
        false => format!("{files} to delete, {size}; add --delete\n"),
    };
    text
}
