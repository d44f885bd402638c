//! `tlc artifact alias`: names for versions, and their moves.

use clap::Args;
use tlc_core::artifact::AliasOptions;
use tlc_core::{ErrorKind, block_on};

use super::{artifact, with_versions_hint};
use crate::command::session::Session;
use crate::command::spec::ArtifactSpec;
use crate::error::{Failure, Result};
use crate::view::AliasMovedView;

/// Let an alias name a version of an artifact, or take it away
///
/// Moves are kept: `tlc artifact show` lists them. With --if the alias moves only if it names that version right then; of two who
/// say so at once, one gets a conflict (exit code 3).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc artifact alias mnist/model best
  tlc artifact alias mnist/model prod --at 3 --if 2
  tlc artifact alias mnist/model prod --at best
  tlc artifact alias mnist/model candidate --remove")]
pub(super) struct Alias {
    /// The artifact, as PROJECT/NAME
    artifact: ArtifactSpec,
    /// The alias
    alias: String,
    /// The version, by its number or another alias [default: the newest]
    #[arg(long, value_name = "VERSION", conflicts_with = "remove")]
    at: Option<String>,
    /// Only if the alias names this version now; none, only if there is no such alias
    #[arg(long = "if", value_name = "VERSION", value_parser = expected)]
    expected: Option<Expected>,
    /// Take the alias away; the version stays
    #[arg(long)]
    remove: bool,
    /// Who, for the artifact's log [default: `author:` of the config file, else the user]
    #[arg(long)]
    author: Option<String>,
}

/// What an alias must name to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    None,
    Version(u64),
}

fn expected(text: &str) -> Result<Expected, String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    match text {
        "none" => Ok(Expected::None),
        _ => digits.parse().map(Expected::Version).map_err(|_number| {
            format!("{text:?} is no version; write a number such as 3, or none")
        }),
    }
}

impl Alias {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let spec = &self.artifact;
        if let Some(which) = &spec.which {
            return Err(Failure::usage(format!(
                "write the artifact without @, and the version as --at {which}"
            )));
        }
        let options = match self.expected {
            None => AliasOptions::new(),
            Some(Expected::None) => AliasOptions::new().only_new(),
            Some(Expected::Version(version)) => AliasOptions::new().only_from(version),
        };
        let moved = block_on(async {
            let artifact = artifact(session, spec).await?;
            if self.remove {
                let removed = artifact.remove_alias(&self.alias, options).await;
                return removed.map_err(|err| self.explained(err));
            }
            let found = match &self.at {
                Some(at) => artifact.at(at).await,
                None => artifact.newest().await,
            };
            let version = found.map_err(|err| with_versions_hint(err, spec))?.number();
            let moved = artifact.set_alias(&self.alias, version, options).await;
            moved.map_err(|err| self.explained(err))
        })?;
        let view = AliasMovedView {
            artifact: spec.to_string(),
            alias: self.alias.clone(),
            version: moved.to,
            from: moved.from,
        };
        session.answer(&view, || text(&view))
    }

    fn explained(&self, err: tlc_core::Error) -> Failure {
        let is_conflict = err.kind() == ErrorKind::Conflict;
        let failure = with_versions_hint(err, &self.artifact);
        match is_conflict {
            true => failure.hint(format!(
                "`tlc artifact show {}` says who moved it; then decide again",
                self.artifact
            )),
            false => failure,
        }
    }
}

fn text(view: &AliasMovedView) -> String {
    let AliasMovedView {
        artifact,
        alias,
        version,
        from,
    } = view;
    match (version, from) {
        (Some(version), Some(from)) if version == from => {
            format!("{artifact}: {alias} names version {version} already\n")
        }
        (Some(version), Some(from)) => {
            format!("{artifact}: {alias} is version {version}; it was version {from}\n")
        }
        (Some(version), None) => format!("{artifact}: {alias} is version {version}\n"),
        (None, Some(from)) => format!("{artifact}: {alias} is gone; it was version {from}\n"),
        (None, None) => format!("{artifact}: {alias} is gone\n"),
    }
}
