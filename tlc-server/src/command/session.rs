//! What every verb has at hand: where to look, and how to answer.

use std::sync::OnceLock;

use serde::Serialize;
use tlc_core::object_store::path::Path;
use tlc_core::{
    Error, Project, ProjectName, Result as CoreResult, Root, Snapshot, Table, block_on,
};

use super::say;
use super::spec::TableSpec;
use crate::config::Config;
use crate::error::{Failure, Result};
use crate::output::Out;

/// One call of the command.
pub(super) struct Session {
    pub(super) config: Config,
    pub(super) json: bool,
    pub(super) out: Out,
    root: OnceLock<Root>,
}

impl Session {
    pub(super) fn new(config: Config, json: bool, out: Out) -> Self {
        let root = OnceLock::new();
        Self {
            config,
            json,
            out,
            root,
        }
    }

    /// Waits for what commits have started on the side, once the answer is printed.
    pub(super) fn finish(&self) {
        if let Some(root) = self.root.get() {
            block_on(root.finish_background());
        }
    }

    /// The root, which a verb that writes may be the first to use.
    pub(super) async fn root(&self) -> Result<Root> {
        if let Some(root) = self.root.get() {
            return Ok(root.clone());
        }
        let opened = Root::open_with(self.config.root_url(), self.config.root_options()).await;
        let root = opened.map_err(|err| {
            Failure::from(err.context(format!(
                "the root cannot be opened ({})",
                self.config.origin()
            )))
        })?;
        Ok(self.root.get_or_init(|| root).clone())
    }

    /// The root, which must be there.
    pub(super) async fn existing_root(&self) -> Result<Root> {
        let root = self.root().await?;
        let folder = root.url().to_file_path();
        if folder.is_ok_and(|folder| !folder.is_dir()) {
            let (root, origin) = (self.config.root_url(), self.config.origin());
            return Err(Failure::from(Error::not_found(format!("there is no root {root} ({origin})"))).hint(
                "name another with --root or TLC_ROOT, or make this one with `tlc import SOURCE PROJECT/TABLE`",
            ));
        }
        Ok(root)
    }

    /// A project that is there.
    pub(super) async fn project(&self, name: &ProjectName) -> Result<Project> {
        let root = self.existing_root().await?;
        let project = root.project(name.as_str())?;
        let names = root.projects().await?;
        if names.contains(name) {
            return Ok(project);
        }
        let root = self.config.root_url();
        Err(Failure::from(Error::not_found(format!(
            "there is no project {name} in the root {root}"
        )))
        .hint(listed("the projects there are", &names)))
    }

    /// A table that is there.
    pub(super) async fn table(&self, spec: &TableSpec) -> Result<Table> {
        let project = self.project(&spec.project).await?;
        let opened = project.table(spec.table.as_str()).await;
        match opened {
            Err(err) if err.kind() == tlc_core::ErrorKind::NotFound => {
                let names = project.tables().await?;
                Err(Failure::from(err).hint(listed(
                    &format!("the tables of {} are", spec.project),
                    &names,
                )))
            }
            opened => Ok(opened?),
        }
    }

    /// The snapshot that is named: of a revision, or of the head.
    pub(super) async fn snapshot(&self, spec: &TableSpec) -> Result<Snapshot> {
        let table = self.table(spec).await?;
        let found = async {
            match &spec.revision {
                Some(text) => table.at(table.resolve(text).await?).await,
                None => table.head().await,
            }
        };
        let found: CoreResult<Snapshot> = found.await;
        found.map_err(|err| with_log_hint(err, spec))
    }

    /// Prints the answer: `view` for programs, `text` for people.
    pub(super) fn answer<V: Serialize>(
        &self,
        view: &V,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        let text = if self.json {
            view_json(view)? + "\n"
        } else {
            text()
        };
        Ok(self.out.print(&text)?)
    }

    /// Tells a person something that is not the answer. A program that asked for JSON is not told.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            say(&format!("{text}\n"));
        }
    }
}

/// A view as JSON on one line.
pub(super) fn view_json<V: Serialize>(view: &V) -> CoreResult<String> {
    serde_json::to_string(view)
        .map_err(|err| Error::invalid("the answer cannot be written as JSON").with_source(err))
}

/// An error about a revision, with the way to the revisions there are.
pub(super) fn with_log_hint(err: Error, spec: &TableSpec) -> Failure {
    let is_missing = err.kind() == tlc_core::ErrorKind::NotFound;
    let failure = Failure::from(err);
    if is_missing {
        failure.hint(format!(
            "`tlc table log {}/{}` lists the revisions",
            spec.project, spec.table
        ))
    } else {
        failure
    }
}

/// A path in a store as a path in the root, which is how people name files.
pub(super) fn below(root: &Path, path: &str) -> String {
    let inside = path.strip_prefix(root.as_ref());
    let inside = inside.and_then(|rest| rest.strip_prefix('/').or((rest == path).then_some(rest)));
    inside.unwrap_or(path).to_owned()
}

/// What there is, for somebody who named what there is not.
pub(super) fn listed<N: ToString>(what: &str, names: &[N]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN_MAX)
        .map(ToString::to_string)
        .collect();
    match names.len().checked_sub(SHOWN_MAX) {
        _ if shown.is_empty() => shown.push("none".to_owned()),
        Some(more) if more > 0 => shown.push(format!("and {more} more")),
        _ => {}
    }
    format!("{what}: {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_path_in_the_root() {
        let check = |root: &str, path: &str, expected: &str| {
            assert_eq!(below(&Path::from(root), path), expected, "{path} in {root}");
        };
        check("home/ada/root", "home/ada/root/zoo/x", "zoo/x");
        check("", "zoo/x", "zoo/x");
        check("root", "roots/zoo/x", "roots/zoo/x");
        check("root", "elsewhere/x", "elsewhere/x");
    }
}
