//! `tlc artifact list`: the artifacts of a project.

use clap::Args;
use futures::{StreamExt as _, stream};
use tlc_core::{
    ArtifactName, ArtifactRecord, Project, ProjectName, Result as CoreResult, block_on,
};

use crate::command::session::Session;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable, bytes_text, count_text};
use crate::view::ArtifactEntryView;

/// How many artifacts are looked at together.
const READS_MAX: usize = 16;

/// List the artifacts of a project
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc artifact list mnist
  tlc artifact list mnist --json")]
pub(super) struct List {
    /// The project
    project: ProjectName,
}

impl List {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let views = block_on(async {
            let project = session.project(&self.project).await?;
            Ok::<_, Failure>(entries(&project).await?)
        })?;
        session.answer(&views, || {
            let table = entries_table(&views);
            let n = count_text(views.len() as u64, "artifact");
            match views.is_empty() {
                true => format!("({n})\n"),
                false => format!("{}({n})\n", table.to_text()),
            }
        })
    }
}

/// What a project has of artifacts. What cannot be read is listed with the reason: the others are still there.
pub(in crate::command) async fn entries(project: &Project) -> CoreResult<Vec<ArtifactEntryView>> {
    let entries = stream::iter(project.artifacts().await?).map(|name| entry(project, name));
    Ok(entries.buffered(READS_MAX).collect().await)
}

async fn entry(project: &Project, name: ArtifactName) -> ArtifactEntryView {
    let record = async { project.artifact(name.as_str()).await?.record().await };
    let record: CoreResult<ArtifactRecord> = record.await;
    ArtifactEntryView::new(&name, &record)
}

pub(in crate::command) fn entries_table(entries: &[ArtifactEntryView]) -> TextTable {
    let mut table = TextTable::new([
        ("artifact", Align::Left),
        ("version", Align::Right),
        ("size", Align::Right),
        ("put", Align::Left),
        ("aliases", Align::Left),
    ]);
    for entry in entries {
        let aliases = entry.aliases.iter();
        let aliases: Vec<String> = aliases.map(|(name, at)| format!("{name} @{at}")).collect();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
        let last = entry.error.clone().unwrap_or_else(|| aliases.join(", "));
        table.row([
            entry.artifact.clone(),
            or_none(entry.version.map(|version| version.to_string())),
            or_none(entry.bytes.map(bytes_text)),
            or_none(entry.time.clone()),
            last,
        ]);
    }
    table
}
