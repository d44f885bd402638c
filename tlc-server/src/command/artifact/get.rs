//! `tlc artifact get`: a version becomes a file or a folder here.

use std::path::{Path, PathBuf};

use clap::Args;
use tlc_core::{ArtifactVersion, ErrorKind, GetOptions, Result as CoreResult, block_on};

use super::{bar, version};
use crate::command::session::Session;
use crate::command::spec::ArtifactSpec;
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::GotView;

/// Get a version of an artifact as a file or a folder
///
/// Every byte is verified. The target appears when it is whole, and not before.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc artifact get mnist/model
  tlc artifact get mnist/model@best out/model.safetensors
  tlc artifact get mnist/model@3 out/model.safetensors --replace")]
pub(super) struct Get {
    /// The artifact, as PROJECT/NAME, PROJECT/NAME@VERSION or PROJECT/NAME@ALIAS
    artifact: ArtifactSpec,
    /// Where to [default: the file's name, of a folder the artifact's, in the current folder]
    target: Option<PathBuf>,
    /// Replace what is there; of a folder all that is in it is deleted
    #[arg(long)]
    replace: bool,
}

impl Get {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let (bar, tell) = bar(&self.artifact.to_string());
        let options = GetOptions::new().progress(tell);
        let options = if self.replace {
            options.replace()
        } else {
            options
        };
        let got = block_on(async {
            let version = version(session, &self.artifact).await?;
            let target = match &self.target {
                Some(target) => target.clone(),
                None => own_name(&version).await?,
            };
            match Box::pin(version.get(&target, options)).await {
                Ok(()) => Ok((version, target)),
                Err(err) => Err(explained(err, &target)),
            }
        });
        bar.finish_and_clear();
        let (version, target) = got?;
        let view = GotView {
            artifact: format!("{}/{}", self.artifact.project, self.artifact.artifact),
            version: version.number(),
            target: target.display().to_string(),
            files: version.record().n_files,
            bytes: version.record().bytes,
        };
        session.answer(&view, || text(&view))
    }
}

/// Where a version goes if nobody says it.
async fn own_name(version: &ArtifactVersion) -> CoreResult<PathBuf> {
    let files = version.files().await?;
    Ok(match files.as_slice() {
        [file] if version.is_file().await? => file.path.clone().into(),
        _ => version.artifact().name().as_str().into(),
    })
}

fn explained(err: tlc_core::Error, target: &Path) -> Failure {
    let is_taken = err.kind() == ErrorKind::Conflict;
    let failure = Failure::from(err);
    if !is_taken {
        return failure;
    }
    let is_folder = std::fs::symlink_metadata(target).is_ok_and(|found| found.is_dir());
    let what = match is_folder {
        true => "delete the folder, with all that is in it, and replace",
        false => "replace",
    };
    failure.hint(format!(
        "name another target, or add --replace to {what} {}",
        target.display()
    ))
}

fn text(view: &GotView) -> String {
    let (files, bytes) = (count_text(view.files, "file"), bytes_text(view.bytes));
    let (artifact, version, target) = (&view.artifact, view.version, &view.target);
    format!("{artifact}@{version} to {target}: {files}, {bytes}, all verified\n")
}
