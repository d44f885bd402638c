//! What the verbs that make a revision share: who and why, and on which branch.

use clap::Args;
use tlc_core::{CommitOptions, ErrorKind, Patch, Result as CoreResult, Snapshot, Table, block_on};

use super::{TOOL, done_text};
use crate::command::TableSpec;
use crate::command::session::{Session, with_log_hint};
use crate::error::{Failure, Result};
use crate::view::CommitView;

/// Why a revision is made, and by whom.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why, for the table's log [default: what was done]
    #[arg(short, long, global = true)]
    message: Option<String>,
    /// Who, for the table's log [default: `author:` of the config file, else the user]
    #[arg(long, global = true)]
    author: Option<String>,
}

impl Why {
    pub(super) fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    /// The options of a revision that does `what`, unless a message says more.
    pub(super) fn options(&self, what: impl FnOnce() -> String) -> CommitOptions {
        CommitOptions::new(self.message.clone().unwrap_or_else(what)).tool(TOOL)
    }
}

/// The branch that `PROJECT/TABLE@BRANCH` names; `main` without `@`.
pub(super) async fn branch_of(table: &Table, spec: &TableSpec) -> Result<String> {
    let Some(name) = spec.revision.as_deref() else {
        return Ok("main".to_owned());
    };
    let branches = table.branches().await?;
    if branches.iter().any(|branch| branch.name == name) {
        return Ok(name.to_owned());
    }
    match table.resolve(name).await {
        Ok(_) => Err(Failure::usage(format!(
            "{name} is no branch of {}/{}, and only a branch can be changed",
            spec.project, spec.table
        ))
        .hint(format!(
            "make one there: `tlc table branch {}/{} NAME --at {name}`",
            spec.project, spec.table
        ))),
        Err(err) if err.kind() == ErrorKind::NotFound => Err(Failure::from(err).hint(format!(
            "`tlc table branch {}/{}` lists the branches",
            spec.project, spec.table
        ))),
        Err(err) => Err(with_log_hint(err, spec)),
    }
}

/// Makes one change of the head of a branch a revision that does `what`, and answers it.
pub(super) fn change(
    session: &Session,
    spec: &TableSpec,
    why: &Why,
    what: &str,
    patch: impl FnOnce(&mut Patch) -> CoreResult<()>,
) -> Result<()> {
    let committed = block_on(async {
        let table = session.table(spec).await?;
        let branch = branch_of(&table, spec).await?;
        let head: Snapshot = table.branch(&branch).await?;
        let mut change = head.patch();
        patch(&mut change)?;
        let options = why.options(|| what.to_owned()).branch(branch);
        Ok::<_, Failure>(table.commit(&change, options).await?)
    })?;
    let view = CommitView::new(spec.project.as_str(), &committed);
    if view.bytes == 0 {
        session.note(&format!(
            "nothing to change: it is so already; the head is still r{}",
            view.revision
        ));
        return if session.json {
            session.answer(&view, String::new)
        } else {
            Ok(())
        };
    }
    let done = match view.branch.as_str() {
        "main" => what.to_owned(),
        branch => format!("{what} on {branch}"),
    };
    session.answer(&view, || done_text(&view, &done))
}
