//! `tlc artifact`: files and folders with a history, such as models.

mod alias;
mod get;
mod list;
mod put;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tlc_core::artifact::ArtifactProgress;
use tlc_core::{Artifact as CoreArtifact, ArtifactVersion, ErrorKind};

pub(super) use list::{entries, entries_table};

use super::session::{Session, listed};
use super::spec::ArtifactSpec;
use crate::error::{Failure, Result};

/// Work that takes longer shows that it goes on.
const QUIET: Duration = Duration::from_secs(1);

/// Keep files and folders with a history, such as models
///
/// An artifact is a file or a folder of a project. Each put makes the next version: 1, 2, … Bytes that any version of the
/// project has already are not stored again. Aliases, such as best, name versions and can be moved.
#[derive(Debug, Args)]
pub(super) struct Artifact {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Put(put::Put),
    Get(get::Get),
    List(list::List),
    Show(show::Show),
    Alias(alias::Alias),
}

impl Artifact {
    pub(super) fn author(&self) -> Option<&str> {
        match &self.verb {
            Verb::Put(verb) => verb.author(),
            Verb::Alias(verb) => verb.author(),
            Verb::Get(_) | Verb::List(_) | Verb::Show(_) => None,
        }
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        match &self.verb {
            Verb::Put(verb) => verb.run(session),
            Verb::Get(verb) => verb.run(session),
            Verb::List(verb) => verb.run(session),
            Verb::Show(verb) => verb.run(session),
            Verb::Alias(verb) => verb.run(session),
        }
    }
}

/// An artifact that is there.
async fn artifact(session: &Session, spec: &ArtifactSpec) -> Result<CoreArtifact> {
    let project = session.project(&spec.project).await?;
    match project.artifact(spec.artifact.as_str()).await {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let names = project.artifacts().await?;
            let what = format!("the artifacts of {} are", spec.project);
            Err(Failure::from(err).hint(listed(&what, &names)))
        }
        found => Ok(found?),
    }
}

/// The version that is named: by its number, by an alias, or the newest.
async fn version(session: &Session, spec: &ArtifactSpec) -> Result<ArtifactVersion> {
    let artifact = artifact(session, spec).await?;
    let found = match &spec.which {
        Some(which) => artifact.at(which).await,
        None => artifact.newest().await,
    };
    found.map_err(|err| with_versions_hint(err, spec))
}

/// An error about a version, with the way to the versions there are.
fn with_versions_hint(err: tlc_core::Error, spec: &ArtifactSpec) -> Failure {
    let is_missing = err.kind() == ErrorKind::NotFound;
    let failure = Failure::from(err);
    if is_missing {
        let (project, artifact) = (&spec.project, &spec.artifact);
        failure.hint(format!(
            "`tlc artifact show {project}/{artifact}` lists the versions and aliases"
        ))
    } else {
        failure
    }
}

/// A bar for work that takes a while, and who is to be told how far it is.
fn bar(what: &str) -> (ProgressBar, impl Fn(ArtifactProgress) + Send + Sync + use<>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
        .with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template(
        "{spinner} {msg}: {bytes} of {total_bytes} in {elapsed}, {eta} left",
    ) {
        bar.set_style(style);
    }
    let told = bar.clone();
    let tell = move |progress: ArtifactProgress| {
        if told.is_hidden() && told.elapsed() > QUIET {
            // Where standard error is no terminal this draws nothing.
            told.set_draw_target(ProgressDrawTarget::stderr());
        }
        told.set_length(progress.bytes_total);
        told.set_position(progress.bytes);
    };
    (bar, tell)
}
