//! `tlc lineage`: from a model or a run back to the code and the cells that made it.

use std::collections::BTreeMap;

use clap::Args;
use tlc_core::{
    Edge, EdgeRole, ErrorKind, Project, Revision, RevisionRecord, RunRecord, Snapshot, block_on,
};

use super::open_lineage::{Sender, Target};
use super::run::{code_lines, record};
use super::session::{Session, view_json};
use super::spec::{ArtifactSpec, LineageSpec, RunSpec};
use super::table::Between;
use crate::error::{Failure, Result};
use crate::output::count_text;
use crate::view::{EdgeView, ProvenanceView, RevisionView, RunView, SentView};

/// Trace a model or a run back to its code and to the cells of its data
///
/// Shows the run that made the version of an artifact, or the run itself: its commit and the changes that were in none; of each table
/// that it read the newest revisions behind what it read, with their cells; and everything that it came from by way of other
/// runs and artifacts. In JSON an object with run (as of `tlc run show`), made_of (as of `tlc run code`), tables (of each the
/// revisions, newest first, with `diff` as of `tlc table diff`) and edges.
///
/// With --open-lineage nothing is shown: the run, or each run of the project, is told to a catalogue of lineage, as OpenLineage has it. An
/// event that was sent before says the same of the same run. The variable OPENLINEAGE_API_KEY is sent as a bearer token.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc lineage mnist/digits@best       a version of an artifact
  tlc lineage mnist/after-1 --json    a run
  tlc lineage mnist/after-1 --open-lineage http://localhost:5000    tells a catalogue of it
  tlc lineage mnist --open-lineage events.jsonl                     all runs, appended to a file")]
pub(super) struct Lineage {
    /// A version of an artifact, as PROJECT/NAME@VERSION or PROJECT/NAME@ALIAS; or a run or an artifact, as PROJECT/NAME; with
    /// --open-lineage also all runs, as PROJECT
    what: LineageSpec,
    /// How many revisions to show of each table, of those that came last
    #[arg(long, default_value_t = 5, value_name = "N")]
    revisions: usize,
    /// Send events of the run to this address, append them to this file, or with - print them
    #[arg(long, value_name = "TARGET")]
    open_lineage: Option<String>,
}

/// All that is told of a run.
struct Traced {
    /// The project's.
    name: String,
    /// The version that was asked for, as its edge names it.
    version: Option<String>,
    run: RunRecord,
    made_of: ProvenanceView,
    tables: Vec<Behind>,
    edges: Vec<Edge>,
}

/// What is behind a table at the revision that was read.
struct Behind {
    table: String,
    revision: Revision,
    /// Newest first, each with what it changed.
    revisions: Vec<(RevisionRecord, Option<Between>)>,
    n_more: usize,
}

impl Lineage {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        if let Some(target) = &self.open_lineage {
            return self.send(session, target);
        }
        let LineageSpec::Named(what) = &self.what else {
            return Err(Failure::usage(
                "say which run or artifact, as PROJECT/NAME; only --open-lineage takes a project",
            ));
        };
        let traced = block_on(self.traced(session, what))?;
        let text = match session.json {
            true => traced.to_json()? + "\n",
            false => traced.to_text()?,
        };
        Ok(session.out.print(&text)?)
    }

    /// Sends the events of the runs that are meant, one run after the other.
    fn send(&self, session: &Session, target: &str) -> Result<()> {
        let target: Target = target.parse().map_err(Failure::wrong_usage)?;
        let is_printed = target == Target::Stdout;
        let shown = target.to_string();
        let key = session.config.lineage_key().map(str::to_owned);
        let sender = Sender::new(target, key)?;
        let (project, runs) = block_on(self.meant(session))?;
        let mut sent = SentView {
            target: shown,
            runs: 0,
            events: 0,
        };
        for run in &runs {
            let events = block_on(project.open_lineage(run))?;
            let name = format!("{}/{run}", project.name());
            sender.send(&name, &events, &session.out)?;
            sent.runs += 1;
            sent.events += events.len() as u64;
        }
        if is_printed {
            return Ok(());
        }
        session.answer(&sent, || {
            let (events, runs) = (
                count_text(sent.events, "event"),
                count_text(sent.runs, "run"),
            );
            format!("{events} of {runs} sent to {}\n", sent.target)
        })
    }

    /// The runs whose events are sent.
    async fn meant(&self, session: &Session) -> Result<(Project, Vec<String>)> {
        match &self.what {
            LineageSpec::Project(name) => {
                let project = session.project(name).await?;
                let runs = project.runs().await?;
                Ok((project, runs.iter().map(ToString::to_string).collect()))
            }
            LineageSpec::Named(what) => {
                let project = session.project(&what.project).await?;
                let (_, run) = made_by(&project, what).await?;
                Ok((project, vec![run]))
            }
        }
    }

    async fn traced(&self, session: &Session, what: &ArtifactSpec) -> Result<Traced> {
        let project = session.project(&what.project).await?;
        let (version, run) = made_by(&project, what).await?;
        let spec: RunSpec = format!("{}/{run}", what.project).parse()?;
        let run = record(&project, &spec).await?;
        let name = run.name.to_string();
        let made_of = ProvenanceView {
            run: format!("{}/{name}", what.project),
            provenance: project.provenance(&name).await?,
            patch: project.code_patch(&name).await?,
        };
        let mut tables = Vec::with_capacity(run.inputs.len());
        for (table, revision) in &run.inputs {
            tables.push(self.behind(&project, table.as_str(), *revision).await?);
        }
        let edges = upstream(project.lineage().await?, version.as_ref().unwrap_or(&name));
        Ok(Traced {
            name: what.project.to_string(),
            version,
            run,
            made_of,
            tables,
            edges,
        })
    }

    async fn behind(&self, project: &Project, table: &str, revision: Revision) -> Result<Behind> {
        let gone = Behind {
            table: table.to_owned(),
            revision,
            revisions: Vec::new(),
            n_more: 0,
        };
        let opened = match project.table(table).await {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(gone),
            opened => opened?,
        };
        let log = opened.log().await?;
        let line = line(&log, revision);
        let n_more = line.len().saturating_sub(self.revisions);
        let mut revisions = Vec::new();
        for record in line.into_iter().take(self.revisions) {
            let between = match record.parents.first() {
                Some(parent) => {
                    let diff = opened.diff(parent.revision, record.revision).await?;
                    let (from, to): (Snapshot, Snapshot) = (
                        opened.at(parent.revision).await?,
                        opened.at(record.revision).await?,
                    );
                    Some(Between { from, to, diff })
                }
                None => None,
            };
            revisions.push((record.clone(), between));
        }
        Ok(Behind {
            revisions,
            n_more,
            ..gone
        })
    }
}

/// The version that is meant, if one is, and the run that made it, or that is meant.
async fn made_by(project: &Project, what: &ArtifactSpec) -> Result<(Option<String>, String)> {
    let name = what.artifact.to_string();
    if what.which.is_none() {
        match project.run(&name).await {
            Ok(_) => return Ok((None, name)),
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {}
            Err(err) => return Err(err.into()),
        }
    }
    let text = match &what.which {
        Some(which) => format!("{name}@{which}"),
        None => name.clone(),
    };
    let version = project.artifact_version(&text).await;
    let version = version.map_err(|err| match err.kind() {
        ErrorKind::NotFound => Failure::from(err).hint(format!(
            "`tlc ls {}` lists the runs and artifacts",
            what.project
        )),
        _ => err.into(),
    })?;
    let number = version.number();
    match &version.record().run {
        Some(run) => Ok((Some(format!("artifacts/{name}@{number}")), run.to_string())),
        None => Err(Failure::from(tlc_core::Error::not_found(format!(
            "{name}@{number} does not say which run made it"
        )))
        .hint("`tlc artifact put --run RUN` and `Run::put_artifact` say it".to_owned())),
    }
}

/// A revision and those before it by first parents, newest first.
fn line(log: &[RevisionRecord], revision: Revision) -> Vec<&RevisionRecord> {
    let mut next = Some(revision);
    let newest_first = log.iter().filter(|record| {
        let is_next = next == Some(record.revision);
        if is_next {
            next = record.parents.first().map(|parent| parent.revision);
        }
        is_next
    });
    newest_first.collect()
}

/// The edges that lead to `target`, by way of others too; nearest first.
fn upstream(edges: Vec<Edge>, target: &str) -> Vec<Edge> {
    let mut into: BTreeMap<String, Vec<Edge>> = BTreeMap::new();
    for edge in edges {
        into.entry(edge.target.clone()).or_default().push(edge);
    }
    let mut found: Vec<Edge> = into.remove(target).unwrap_or_default();
    let mut next = 0;
    while let Some(edge) = found.get(next) {
        let before = into.remove(&edge.source);
        found.extend(before.unwrap_or_default());
        next += 1;
    }
    found
}

impl Traced {
    fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        let run = &self.run;
        if let Some(version) = &self.version {
            text += &format!("{version}\nmade by ");
        }
        text += &format!(
            "run {}, {}, started {} by {}\n\n",
            run.name,
            run.status.as_str(),
            run.started.to_rfc3339(),
            run.author
        );
        text += &code_lines(&self.made_of);
        for behind in &self.tables {
            text += &behind.to_text()?;
        }
        text += "\ncame from\n";
        // Revisions are told above.
        for edge in self
            .edges
            .iter()
            .filter(|edge| edge.role != EdgeRole::Parent)
        {
            text += &format!(
                "  {} ← {} ({})\n",
                edge.target,
                edge.source,
                edge.role.as_str()
            );
        }
        Ok(text)
    }

    fn to_json(&self) -> Result<String> {
        let run = view_json(&RunView::new(&self.name, &self.run))?;
        let tables = self
            .tables
            .iter()
            .map(Behind::to_json)
            .collect::<Result<Vec<_>>>()?;
        let edges: Vec<EdgeView> = self.edges.iter().map(EdgeView::from).collect();
        Ok(format!(
            "{{\"version\":{},\"run\":{run},\"made_of\":{},\"tables\":[{}],\"edges\":{}}}",
            view_json(&self.version)?,
            view_json(&self.made_of)?,
            tables.join(","),
            view_json(&edges)?
        ))
    }
}

impl Behind {
    fn to_text(&self) -> Result<String> {
        let mut text = format!("\ntable {}, read at r{}\n", self.table, self.revision);
        if self.revisions.is_empty() && self.n_more == 0 {
            text += "it is not there any more\n";
        }
        for (record, between) in &self.revisions {
            text += &format!(
                "\nr{} on {}, {} by {}: {}\n",
                record.revision,
                record.branch,
                record.time.to_rfc3339(),
                record.author,
                record.message
            );
            if let Some(between) = between {
                text += &between.to_text()?;
            }
        }
        if self.n_more > 0 {
            text += &format!(
                "and {} before\n",
                count_text(self.n_more as u64, "revision")
            );
        }
        Ok(text)
    }

    fn to_json(&self) -> Result<String> {
        let revisions = self.revisions.iter().map(|(record, between)| {
            let view = view_json(&RevisionView::new(record, Vec::new(), Vec::new()))?;
            let mut diff = Vec::new();
            match between {
                Some(between) => between.write_json(&mut diff)?,
                None => diff.extend(b"null"),
            }
            let head = view.strip_suffix('}').unwrap_or(&view);
            let diff = String::from_utf8_lossy(&diff);
            Ok(format!("{head},\"diff\":{}}}", diff.trim_end()))
        });
        let revisions = revisions.collect::<Result<Vec<_>>>()?;
        Ok(format!(
            "{{\"table\":{},\"revision\":{},\"revisions\":[{}]}}",
            view_json(&self.table)?,
            self.revision,
            revisions.join(",")
        ))
    }
}

#[cfg(test)]
mod tests {
    use tlc_core::EdgeKind;

    use super::*;

    #[test]
    fn what_leads_to_something_is_found_once() {
        let edge = |pair: &str| {
            let (source, target) = pair.split_once('>').unwrap();
            Edge {
                source: source.to_owned(),
                target: target.to_owned(),
                kind: EdgeKind::Run,
                revision: None,
                role: EdgeRole::Input,
            }
        };
        let edges = ["a>b", "b>d", "c>d", "a>c", "d>e", "x>y", "d>a"].map(edge);
        let check = |target: &str, expected: &str| {
            let found = upstream(edges.to_vec(), target);
            let found = found
                .iter()
                .map(|edge| format!("{}>{}", edge.source, edge.target));
            assert_eq!(found.collect::<Vec<_>>().join(" "), expected);
        };
        check("y", "x>y");
        check("e", "d>e b>d c>d a>b a>c d>a");
        check("x", "");
    }
}
