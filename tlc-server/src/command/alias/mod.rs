//! `tlc alias`: names for the beginnings of paths, so that paths outlive the machine that wrote them.

mod apply;
mod list;
mod set;

use clap::{Args, Subcommand};
use tlc_core::{Aliases, Project};

use super::session::Session;
use crate::aliases::{AliasOrigin, warning};
use crate::error::{Failure, Result};
use crate::view::AliasView;

/// Name the beginnings of paths, so that tables are read where the paths lead elsewhere
///
/// `<NAME>` stands for the beginning of a path or a URL. Where PHOTOS is /data/photos, a table stores
/// /data/photos/1.jpg as `<PHOTOS>/1.jpg`; whoever sets PHOTOS to s3://bucket/photos reads it from there.
/// The last of these that sets a name wins: aliases.yaml of the project, `aliases:` in the config file, the
/// variable `TLC_ALIAS_<NAME>`, --alias NAME=PATH.
#[derive(Debug, Args)]
pub(super) struct Alias {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::List),
    Set(set::Set),
    Unset(set::Unset),
    Apply(apply::Apply),
}

impl Alias {
    pub(super) fn author(&self) -> Option<&str> {
        match &self.verb {
            Verb::Apply(apply) => apply.author(),
            Verb::List(_) | Verb::Set(_) | Verb::Unset(_) => None,
        }
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        match &self.verb {
            Verb::List(verb) => verb.run(session),
            Verb::Set(verb) => verb.run(session),
            Verb::Unset(verb) => verb.run(session),
            Verb::Apply(verb) => verb.run(session),
        }
    }
}

/// The view of one alias among those that hold.
fn view(name: &str, value: &str, origin: &AliasOrigin, aliases: &Aliases) -> AliasView {
    AliasView {
        name: name.to_owned(),
        value: value.to_owned(),
        path: aliases.get(name).map(str::to_owned),
        from: origin.to_string(),
        warning: warning(name, aliases),
    }
}

/// What a project's own file says; nothing where there is none.
async fn own_text(project: &Project) -> Result<String> {
    Ok(project.aliases_file().await?.unwrap_or_default())
}

/// Where an alias that is not where it was looked for is set, as the next step.
fn elsewhere(failure: Failure, session: &Session, name: &str) -> Failure {
    match session.config.aliases().origin(name) {
        Some(origin) => failure.hint(format!("{name} is set by {origin}")),
        None => failure.hint("`tlc alias list` and `tlc alias list PROJECT` show what is set"),
    }
}
