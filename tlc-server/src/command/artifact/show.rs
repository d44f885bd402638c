//! `tlc artifact show`: the versions and aliases of an artifact, and what is in one.

use std::path::Path;

use clap::Args;
use tlc_core::artifact::ArtifactFile;
use tlc_core::{ArtifactVersion, ErrorKind, Result as CoreResult, block_on};

use super::version;
use crate::command::session::Session;
use crate::command::spec::ArtifactSpec;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable, bytes_text, count_text, escaped, shortened};
use crate::view::{ArtifactView, TensorsView, VersionView};

/// How many files, tensors or versions a person is shown.
const SHOWN_MAX: usize = 40;

/// Show the versions and aliases of an artifact, and the files and tensors of one version
///
/// Of files that end in .safetensors the tensors are shown with their types, shapes and sizes; only their headers are read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc artifact show mnist/model
  tlc artifact show mnist/model@best --json")]
pub(super) struct Show {
    /// The artifact, as PROJECT/NAME, PROJECT/NAME@VERSION or PROJECT/NAME@ALIAS
    artifact: ArtifactSpec,
}

impl Show {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let view = block_on(async {
            let version = version(session, &self.artifact).await?;
            let record = version.artifact().record().await?;
            let name = format!("{}/{}", self.artifact.project, self.artifact.artifact);
            let files = version.files().await?;
            let tensors = tensors(&version, &files).await?;
            let view = ArtifactView::new(&name, &record, version.number(), &files, tensors);
            Ok::<_, Failure>(view)
        })?;
        session.answer(&view, || text(&view))
    }
}

/// The tensors of the version's files that have some. Of a file that has only the name of one it is said why it has none.
async fn tensors(
    version: &ArtifactVersion,
    files: &[ArtifactFile],
) -> CoreResult<Vec<TensorsView>> {
    let mut views = Vec::new();
    for file in files {
        let ending = Path::new(&file.path).extension();
        if !ending.is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors")) {
            continue;
        }
        match version.tensors(&file.path).await {
            Ok(tensors) => views.push(TensorsView::new(&file.path, &tensors)),
            Err(err) if err.kind() == ErrorKind::Invalid => {
                views.push(TensorsView::unreadable(&file.path, &err));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(views)
}

fn text(view: &ArtifactView) -> String {
    let mut text = String::new();
    let shown = view
        .versions
        .iter()
        .find(|version| version.version == view.version);
    if let Some(shown) = shown {
        text += &head(&view.artifact, shown);
    }
    text += &files_text(view);
    for tensors in &view.tensors {
        text += &tensors_text(tensors);
    }
    text + &versions_text(&view.versions) + &moves_text(view)
}

fn head(artifact: &str, version: &VersionView) -> String {
    let (files, bytes) = (count_text(version.files, "file"), bytes_text(version.bytes));
    let run = version.run.as_ref();
    let run = run.map(|run| format!(", of run {run}")).unwrap_or_default();
    let (number, author, time) = (version.version, &version.author, &version.time);
    let message = version.message.lines();
    let message: String = message.map(|line| escaped(line) + "\n").collect();
    let author = escaped(author);
    format!("{artifact}@{number}: {files}, {bytes}\nput by {author}, {time}{run}\n{message}")
}

fn files_text(view: &ArtifactView) -> String {
    let mut table = TextTable::new([("file", Align::Left), ("size", Align::Right)]);
    for file in view.files.iter().take(SHOWN_MAX) {
        table.row([shortened(file.path.clone()), bytes_text(file.bytes)]);
    }
    section(&table, view.files.len())
}

fn tensors_text(tensors: &TensorsView) -> String {
    if let Some(error) = &tensors.error {
        return format!("\n{}\n", escaped(error));
    }
    let mut table = TextTable::new([
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("size", Align::Right),
    ]);
    for tensor in tensors.tensors.iter().take(SHOWN_MAX) {
        table.row([
            shortened(tensor.name.clone()),
            tensor.dtype.clone(),
            shortened(format!("{:?}", tensor.shape)),
            bytes_text(tensor.bytes),
        ]);
    }
    section(&table, tensors.tensors.len())
}

/// The versions, the newest first.
fn versions_text(versions: &[VersionView]) -> String {
    let mut table = TextTable::new([
        ("version", Align::Right),
        ("put", Align::Left),
        ("author", Align::Left),
        ("run", Align::Left),
        ("size", Align::Right),
        ("stored", Align::Right),
        ("message", Align::Left),
    ]);
    for version in versions.iter().rev().take(SHOWN_MAX) {
        table.row([
            version.version.to_string(),
            version.time.clone(),
            shortened(version.author.clone()),
            version.run.clone().unwrap_or_default(),
            bytes_text(version.bytes),
            bytes_text(version.bytes_stored),
            shortened(first_line(&version.message)),
        ]);
    }
    section(&table, versions.len())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The moves of each alias, the newest first: what it names now is in its first line.
fn moves_text(view: &ArtifactView) -> String {
    let mut table = TextTable::new([
        ("alias", Align::Left),
        ("version", Align::Right),
        ("before", Align::Right),
        ("moved", Align::Left),
        ("author", Align::Left),
    ]);
    let number =
        |version: Option<u64>| version.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let mut n_moves = 0;
    for alias in &view.aliases {
        n_moves += alias.moves.len();
        for moved in alias.moves.iter().rev() {
            if table.n_rows() < SHOWN_MAX {
                let (to, from) = (number(moved.to), number(moved.from));
                let (name, author) = (alias.alias.clone(), shortened(moved.author.clone()));
                table.row([name, to, from, moved.time.clone(), author]);
            }
        }
    }
    section(&table, n_moves)
}

/// A table under an empty line, and how much more there is; nothing where there is nothing.
fn section(table: &TextTable, n: usize) -> String {
    match n {
        0 => String::new(),
        n if n > table.n_rows() => {
            format!("\n{}(and {} more)\n", table.to_text(), n - table.n_rows())
        }
        _ => format!("\n{}", table.to_text()),
    }
}
