//! `tlc ls`: the projects of a root; the tables, runs and artifacts of one.

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tlc_core::{
    Error, Project, ProjectName, Result as CoreResult, Root, RunName, TableName, block_on,
};

use super::artifact::{entries, entries_table};
use super::session::Session;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable, count_text};
use crate::view::{ProjectContentView, ProjectView, RunEntryView, TableEntryView};

/// How many things of a project are looked at together.
const READS_MAX: usize = 16;

/// List the projects, or the tables, runs and artifacts of one
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc ls
  tlc ls mnist --json")]
pub(super) struct Ls {
    /// The project whose tables, runs and artifacts to list
    project: Option<ProjectName>,
}

impl Ls {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        match &self.project {
            None => {
                let projects = block_on(async {
                    let root = session.existing_root().await?;
                    Ok::<_, Failure>(projects(&root).await?)
                })?;
                session.answer(&projects, || projects_text(&projects, session))
            }
            Some(name) => {
                let content = block_on(async {
                    let project = session.project(name).await?;
                    Ok::<_, Failure>(content(&project).await?)
                })?;
                session.answer(&content, || content_text(&content))
            }
        }
    }
}

async fn projects(root: &Root) -> CoreResult<Vec<ProjectView>> {
    let names = root.projects().await?;
    let view = |name: ProjectName| async move {
        let project = root.project(name.as_str())?;
        let (tables, runs) = (project.tables().await?.len(), project.runs().await?.len());
        let artifacts = project.artifacts().await?.len();
        Ok::<_, Error>(ProjectView {
            project: name.to_string(),
            tables,
            runs,
            artifacts,
        })
    };
    stream::iter(names)
        .map(view)
        .buffered(READS_MAX)
        .try_collect()
        .await
}

/// What a project holds. What cannot be read is listed with the reason: the others are still there.
async fn content(project: &Project) -> CoreResult<ProjectContentView> {
    let tables = stream::iter(project.tables().await?).map(|name| table_entry(project, name));
    let runs = stream::iter(project.runs().await?).map(|name| run_entry(project, name));
    Ok(ProjectContentView {
        project: project.name().to_string(),
        tables: tables.buffered(READS_MAX).collect().await,
        runs: runs.buffered(READS_MAX).collect().await,
        artifacts: entries(project).await?,
    })
}

async fn table_entry(project: &Project, name: TableName) -> TableEntryView {
    let head = async { project.table(name.as_str()).await?.head().await };
    let head: CoreResult<_> = head.await;
    TableEntryView {
        table: name.to_string(),
        revision: head.as_ref().ok().map(|head| head.revision().0),
        rows: head.as_ref().ok().map(|head| head.n_rows()),
        error: head.err().map(|err| format!("{err:#}")),
    }
}

async fn run_entry(project: &Project, name: RunName) -> RunEntryView {
    let record = project.run(name.as_str()).await;
    RunEntryView {
        run: name.to_string(),
        status: record.as_ref().ok().map(|record| record.status.as_str()),
        started: record
            .as_ref()
            .ok()
            .map(|record| record.started.to_rfc3339()),
        error: record.err().map(|err| format!("{err:#}")),
    }
}

fn projects_text(projects: &[ProjectView], session: &Session) -> String {
    if projects.is_empty() {
        return format!("no projects in {}\n", session.config.root_url());
    }
    let mut table = TextTable::new([
        ("project", Align::Left),
        ("tables", Align::Right),
        ("runs", Align::Right),
        ("artifacts", Align::Right),
    ]);
    for project in projects {
        table.row([
            project.project.clone(),
            project.tables.to_string(),
            project.runs.to_string(),
            project.artifacts.to_string(),
        ]);
    }
    table.to_text()
}

fn content_text(content: &ProjectContentView) -> String {
    let mut tables = TextTable::new([
        ("table", Align::Left),
        ("revision", Align::Right),
        ("rows", Align::Right),
    ]);
    for entry in &content.tables {
        match (&entry.error, entry.revision, entry.rows) {
            (None, Some(revision), Some(rows)) => {
                tables.row([entry.table.clone(), revision.to_string(), rows.to_string()])
            }
            (error, ..) => tables.row([
                entry.table.clone(),
                "?".to_owned(),
                error.clone().unwrap_or_default(),
            ]),
        }
    }
    let mut runs = TextTable::new([
        ("run", Align::Left),
        ("status", Align::Left),
        ("started", Align::Left),
    ]);
    for entry in &content.runs {
        let status = entry.status.unwrap_or("unreadable").to_owned();
        let started = entry
            .started
            .clone()
            .or_else(|| entry.error.clone())
            .unwrap_or_default();
        runs.row([entry.run.clone(), status, started]);
    }
    let mut text = String::new();
    let artifacts = entries_table(&content.artifacts);
    let lists = [(tables, "table"), (runs, "run"), (artifacts, "artifact")];
    for (list, thing) in lists {
        if list.n_rows() > 0 {
            text += &list.to_text();
        }
        text += &format!("({})\n", count_text(list.n_rows() as u64, thing));
    }
    text
}
