//! `tlc sync`: bring tables, runs and artifacts from one root to another, or what runs have kept on this machine to theirs.

use clap::Args;
use tlc_core::{ProjectName, Root, Synced, block_on};

use super::session::Session;
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::SyncedView;

/// Copy tables, runs and artifacts from one root to another, or upload what runs could not
///
/// Without SOURCE and TARGET: uploads to the root (--root, TLC_ROOT) what its runs have logged on this machine and could not
/// upload themselves, because they were killed or the store could not be reached until they ended.
///
/// Copies what the target lacks, so a second time copies nothing, and one that was cut off goes on. The source may be in
/// use; of a run that goes on what is there is copied. A table, run or artifact that went on differently in the target is a
/// conflict (exit code 3); nothing of it is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc sync --root s3://bucket/folder
  tlc sync ./root s3://bucket/folder
  tlc sync /scratch/root /data/root mnist
  tlc sync /scratch/root /data/root mnist/first mnist/second")]
pub(super) struct Sync {
    /// The root to copy from
    #[arg(requires = "target")]
    source: Option<String>,
    /// The root to copy to
    target: Option<String>,
    /// What is meant, as PROJECT or PROJECT/TABLE or PROJECT/RUN or PROJECT/ARTIFACT [default: all]
    places: Vec<String>,
}

impl Sync {
    pub(super) fn root(&self) -> Option<&str> {
        self.source.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let (synced, text) = match (&self.source, &self.target) {
            (Some(source), Some(target)) => {
                let synced = block_on(self.sync(session, source, target))?;
                (synced, copied_text(synced))
            }
            _ => {
                let root = block_on(session.existing_root())?;
                let synced = block_on(root.sync_spool())?;
                (synced, uploaded_text(synced))
            }
        };
        session.answer(&SyncedView::from(synced), || text)
    }

    async fn sync(&self, session: &Session, source: &str, target: &str) -> Result<Synced> {
        let from = session.existing_root().await?;
        let target = Root::open_with(target, session.config.root_options()).await;
        let target =
            target.map_err(|err| Failure::from(err.context("the target cannot be opened")))?;
        let mut synced = Synced::default();
        for (project, only) in self.meant(&from, source).await? {
            let (from, to) = (from.project(&project)?, target.project(&project)?);
            synced.add(from.sync_to(&to, &only).await?);
        }
        Ok(synced)
    }

    /// The projects, and of each the names that are meant; none for all.
    async fn meant(&self, from: &Root, source: &str) -> Result<Vec<(String, Vec<String>)>> {
        let projects = from.projects().await?;
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
                let message = format!("there is no project {project} in {source}");
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

fn copied_text(synced: Synced) -> String {
    if synced.files == 0 {
        return "the target has everything\n".to_owned();
    }
    format!(
        "copied of {}, {} and {}: {}, {}\n",
        count_text(synced.tables, "table"),
        count_text(synced.runs, "run"),
        count_text(synced.artifacts, "artifact"),
        count_text(synced.files, "file"),
        bytes_text(synced.bytes)
    )
}

fn uploaded_text(synced: Synced) -> String {
    if synced.files == 0 {
        return "nothing is left to upload\n".to_owned();
    }
    format!(
        "uploaded of {}: {}, {}\n",
        count_text(synced.runs, "run"),
        count_text(synced.files, "file"),
        bytes_text(synced.bytes)
    )
}
