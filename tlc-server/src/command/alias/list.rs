//! `tlc alias list`: what is set, and by whom.

use clap::Args;
use tlc_core::{ProjectName, block_on};

use super::{own_text, view};
use crate::aliases::AliasOrigin;
use crate::command::session::Session;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable};
use crate::view::AliasView;

/// List the aliases that hold here, what each stands for, and who set it
///
/// In JSON an array of {name, value, path, from, warning}: the value as it was set, and the path that it stands for in
/// the end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc alias list
  tlc alias list mnist --json")]
pub(super) struct List {
    /// The project whose own aliases to list too
    project: Option<ProjectName>,
}

impl List {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let views = block_on(self.views(session))?;
        for warning in views.iter().filter_map(|view| view.warning.as_ref()) {
            session.note(&format!("warning: {warning}"));
        }
        session.answer(&views, || text(&views))
    }

    async fn views(&self, session: &Session) -> Result<Vec<AliasView>> {
        let settings = session.config.aliases();
        let aliases = match &self.project {
            None => settings.aliases().clone(),
            Some(name) => {
                let project = session.project(name).await?;
                let own = project.parse_aliases(&own_text(&project).await?)?;
                settings.aliases().over(&own)?
            }
        };
        let views = aliases.iter().map(|(name, value)| {
            let origin = settings.origin(name).unwrap_or(&AliasOrigin::Project);
            view(name, value, origin, &aliases)
        });
        Ok::<_, Failure>(views.collect())
    }
}

fn text(views: &[AliasView]) -> String {
    if views.is_empty() {
        return "no alias is set\n".to_owned();
    }
    let mut table = TextTable::new(["name", "path", "from"].map(|name| (name, Align::Left)));
    for view in views {
        let path = match &view.path {
            Some(path) if *path != view.value => format!("{} ({path})", view.value),
            _ => view.value.clone(),
        };
        table.row([view.name.clone(), path, view.from.clone()]);
    }
    table.to_text()
}
