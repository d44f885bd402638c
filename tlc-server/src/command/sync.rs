//! `tlc sync`: bring tables and runs from one root to another.

use clap::Args;
use tlc_core::{ProjectName, Root, Synced, block_on};

use super::session::Session;
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::SyncedView;

/// Copy tables and runs from one root to another
///
/// Copies what the target lacks, so a second time copies nothing, and one that was cut off goes on. The source may be in
/// use; of a run that goes on what is there is copied. A table or run that went on differently in the target is a
/// conflict (exit code 3); nothing of it is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc sync ./root s3://bucket/folder
  tlc sync /scratch/root /data/root mnist
  tlc sync /scratch/root /data/root mnist/first mnist/second")]
pub(super) struct Sync {
    /// The root to copy from
    source: String,
    /// The root to copy to
    target: String,
    /// What is meant, as PROJECT or PROJECT/TABLE or PROJECT/RUN [default: all]
    places: Vec<String>,
}

impl Sync {
    pub(super) fn root(&self) -> &str {
        &self.source
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let synced = block_on(self.sync(session))?;
        let view = SyncedView::from(synced);
        session.answer(&view, || text(synced))
    }

    async fn sync(&self, session: &Session) -> Result<Synced> {
        let source = session.existing_root().await?;
        let target = Root::open_with(&self.target, session.config.root_options()).await;
        let target =
            target.map_err(|err| Failure::from(err.context("the target cannot be opened")))?;
        let mut synced = Synced::default();
        for (project, only) in self.meant(&source).await? {
            let (from, to) = (source.project(&project)?, target.project(&project)?);
            synced.add(from.sync_to(&to, &only).await?);
        }
        Ok(synced)
    }

    /// The projects, and of each the names that are meant; none for all.
    async fn meant(&self, source: &Root) -> Result<Vec<(String, Vec<String>)>> {
        let projects = source.projects().await?;
        let mut meant: Vec<(String, Vec<String>)> = Vec::new();
        if self.places.is_empty() {
            return Ok(projects
                .iter()
                .map(|name| (name.to_string(), Vec::new()))
                .collect());
        }
        for place in &self.places {
            let (project, name) = place.split_once('/').unwrap_or((place, ""));
            let is_there = |own: &ProjectName| own.as_str() == project;
            if !projects.iter().any(is_there) {
                let message = format!("there is no project {project} in {}", self.source);
                return Err(tlc_core::Error::not_found(message).into());
            }
            let only = match name {
                "" => Vec::new(),
                name => vec![name.to_owned()],
            };
            meant.push((project.to_owned(), only));
        }
        Ok(meant)
    }
}

fn text(synced: Synced) -> String {
    if synced.files == 0 {
        return "the target has everything\n".to_owned();
    }
    format!(
        "copied of {} and {}: {}, {}\n",
        count_text(synced.tables, "table"),
        count_text(synced.runs, "run"),
        count_text(synced.files, "file"),
        bytes_text(synced.bytes)
    )
}
