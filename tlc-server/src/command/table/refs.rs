//! The names of revisions: what branches and tags have in common.

use clap::Args;
use tlc_core::{
    Branch, CommitOptions, Error, ErrorKind, Result as CoreResult, Revision, Table, Tag,
};

use super::writing::Why;
use crate::command::TableSpec;
use crate::command::session::{Session, with_log_hint};
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable};
use crate::view::{NameView, NamedView};

/// Branches move with each revision made on them; tags stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Tag,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// The names of a table's revisions.
pub(super) struct Names {
    branches: Vec<Branch>,
    tags: Vec<Tag>,
}

impl Names {
    pub(super) async fn of(table: &Table) -> CoreResult<Self> {
        Ok(Self {
            branches: table.branches().await?,
            tags: table.tags().await?,
        })
    }

    /// The branches that end at a revision.
    pub(super) fn heads(&self, revision: Revision) -> Vec<String> {
        let heads = self
            .branches
            .iter()
            .filter(|branch| branch.revision == revision);
        heads.map(|branch| branch.name.clone()).collect()
    }

    /// The tags of a revision.
    pub(super) fn tags(&self, revision: Revision) -> Vec<String> {
        let tags = self.tags.iter().filter(|tag| tag.revision == revision);
        tags.map(|tag| tag.name.clone()).collect()
    }
}

/// `main, tag gold`; nothing for a revision without a name.
pub(super) fn names_text(heads: &[String], tags: &[String]) -> String {
    let tags = tags.iter().map(|tag| format!("tag {tag}"));
    let names: Vec<String> = heads.iter().cloned().chain(tags).collect();
    names.join(", ")
}

/// ` (main, tag gold)`; nothing for a revision without a name.
pub(super) fn in_brackets(heads: &[String], tags: &[String]) -> String {
    match names_text(heads, tags) {
        names if names.is_empty() => names,
        names => format!(" ({names})"),
    }
}

/// The arguments of `tlc table branch` and `tlc table tag`.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The table, as PROJECT/TABLE
    table: TableSpec,
    /// The name to make, or to take away; without it, the names there are
    name: Option<String>,
    /// The revision to name: a number, a branch, a tag or a time [default: the head of main]
    #[arg(long, value_name = "REV", requires = "name", conflicts_with = "drop")]
    at: Option<String>,
    /// Take the name away; the revisions stay
    #[arg(short, long, requires = "name")]
    drop: bool,
    #[command(flatten)]
    why: Why,
}

impl NameArgs {
    pub(super) fn author(&self) -> Option<&str> {
        self.why.author()
    }

    pub(super) async fn run(&self, session: &Session, kind: Kind) -> Result<()> {
        if let Some(revision) = &self.table.revision {
            return Err(Failure::usage(format!(
                "write the table without @, and the revision as --at {revision}"
            )));
        }
        let table = session.table(&self.table).await?;
        let Some(name) = &self.name else {
            let views = listed(&table, kind).await?;
            return session.answer(&views, || list_text(&views, kind));
        };
        let revision = match self.drop {
            true => self.drop(&table, kind, name).await?,
            false => self.create(&table, kind, name).await?,
        };
        let view = NameView {
            table: self.table.to_string(),
            kind: kind.as_str(),
            name: name.clone(),
            revision: revision.0,
            dropped: self.drop,
        };
        session.answer(&view, || view_text(&view))
    }

    async fn create(&self, table: &Table, kind: Kind, name: &str) -> Result<Revision> {
        let at = self.at.as_deref().unwrap_or("main");
        let found = table.resolve(at).await;
        let at = found.map_err(|err| with_log_hint(err, &self.table))?;
        let options = self.options(|| format!("{} {name} at r{at}", kind.as_str()));
        let made = match kind {
            Kind::Branch => table.create_branch(name, at, options).await,
            Kind::Tag => table.create_tag(name, at, options).await,
        };
        made.map_err(|err| self.explain(err))?;
        Ok(at)
    }

    async fn drop(&self, table: &Table, kind: Kind, name: &str) -> Result<Revision> {
        let named = listed(table, kind).await?;
        let was = named.iter().find(|named| named.name == name);
        let was = was.map(|named| Revision(named.revision));
        let options = self.options(|| format!("drop {} {name}", kind.as_str()));
        match kind {
            Kind::Branch => table.drop_branch(name, options).await?,
            Kind::Tag => table.drop_tag(name, options).await?,
        }
        Ok(was.unwrap_or_default())
    }

    fn options(&self, what: impl FnOnce() -> String) -> CommitOptions {
        self.why.options(what)
    }

    fn explain(&self, err: Error) -> Failure {
        let is_taken = err.kind() == ErrorKind::Conflict;
        let failure = Failure::from(err);
        if is_taken {
            failure.hint(format!(
                "take another name; `tlc table branch {0}` and `tlc table tag {0}` list those that are taken",
                self.table
            ))
        } else {
            failure
        }
    }
}

/// The names of one kind, by name.
async fn listed(table: &Table, kind: Kind) -> CoreResult<Vec<NamedView>> {
    match kind {
        Kind::Branch => branches(table).await,
        Kind::Tag => Ok(table.tags().await?.iter().map(tag_view).collect()),
    }
}

/// The branches with what is known of their newest revisions.
async fn branches(table: &Table) -> CoreResult<Vec<NamedView>> {
    let log = table.log().await?;
    let branches = table.branches().await?;
    let view = |branch: &Branch| {
        let head = log.iter().find(|record| record.revision == branch.revision);
        NamedView {
            name: branch.name.clone(),
            revision: branch.revision.0,
            author: head.map(|head| head.author.clone()).unwrap_or_default(),
            time: head.map(|head| head.time.to_rfc3339()).unwrap_or_default(),
            message: head.map(|head| head.message.clone()).unwrap_or_default(),
        }
    };
    Ok(branches.iter().map(view).collect())
}

fn tag_view(tag: &Tag) -> NamedView {
    NamedView {
        name: tag.name.clone(),
        revision: tag.revision.0,
        author: tag.author.clone(),
        time: tag.time.to_rfc3339(),
        message: tag.message.clone(),
    }
}

fn list_text(views: &[NamedView], kind: Kind) -> String {
    if views.is_empty() {
        return format!("no {} yet\n", kind.as_str());
    }
    let names = [kind.as_str(), "revision", "time", "author", "message"];
    let mut table = TextTable::new(names.map(|name| (name, Align::Left)));
    for view in views {
        table.row([
            view.name.clone(),
            format!("r{}", view.revision),
            view.time.clone(),
            view.author.clone(),
            first_line(&view.message),
        ]);
    }
    table.to_text()
}

fn view_text(view: &NameView) -> String {
    let NameView {
        table,
        kind,
        name,
        revision,
        dropped,
    } = view;
    match dropped {
        true => format!("{table}: {kind} {name} is gone; it was at r{revision}\n"),
        false => format!("{table}: {kind} {name} at r{revision}\n"),
    }
}

/// A message as it stands in a list.
pub(super) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}
