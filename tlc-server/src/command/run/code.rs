//! `tlc run code`: what a run is made of.

use clap::Args;
use tlc_core::{ChangeKind, Code, Machine, Provenance, block_on};

use super::record;
use crate::command::session::Session;
use crate::command::spec::RunSpec;
use crate::error::Result;
use crate::output::{Align, TextTable, bytes_text, count_text};
use crate::view::ProvenanceView;

/// Show what a run is made of: commit and changes, command line, environment, build and machine
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc run code mnist/brave-otter
  tlc run code mnist/brave-otter --patch | git apply      the code as it was, on top of its commit")]
pub(super) struct ShowCode {
    /// The run, as PROJECT/RUN
    run: RunSpec,
    /// Only the difference to the commit, as a patch
    #[arg(long)]
    patch: bool,
}

impl ShowCode {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let view = block_on(self.view(session))?;
        let code = view
            .provenance
            .as_ref()
            .and_then(|made_of| made_of.code.as_ref());
        let listed = code
            .and_then(|code| code.changes.as_deref())
            .unwrap_or_default();
        let n_left_out = listed
            .iter()
            .filter(|change| change.left_out.is_some())
            .count() as u64;
        if self.patch && n_left_out > 0 {
            let files = count_text(n_left_out, "changed file");
            session.note(&format!(
                "{files} left out of the patch; without --patch they are listed"
            ));
        }
        session.answer(&view, || match self.patch {
            true => view.patch.clone().unwrap_or_default(),
            false => text(&view),
        })
    }

    async fn view(&self, session: &Session) -> Result<ProvenanceView> {
        let project = session.project(&self.run.project).await?;
        record(&project, &self.run).await?;
        let run = self.run.run.as_str();
        Ok(ProvenanceView {
            run: format!("{}/{run}", self.run.project),
            provenance: project.provenance(run).await?,
            patch: project.code_patch(run).await?,
        })
    }
}

fn text(view: &ProvenanceView) -> String {
    format!("{}\n{}", view.run, code_lines(view))
}

/// What a run is made of, line by line, and the patch.
pub(in crate::command) fn code_lines(view: &ProvenanceView) -> String {
    let Some(provenance) = &view.provenance else {
        return format!("{} does not say what it is made of\n", view.run);
    };
    let mut text = String::new();
    for (name, value) in lines(provenance) {
        text += &format!("{name:<10}  {value}\n");
    }
    for why in &provenance.missing {
        text += &format!("missing: {why}\n");
    }
    if let Some(code) = &provenance.code {
        text += &changes(code);
    }
    match &view.patch {
        Some(patch) => text + "\n" + patch,
        None => text,
    }
}

fn lines(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(code) = &provenance.code {
        let commit = code.commit.as_deref().unwrap_or("none yet");
        let branch = code.branch.as_deref().map(|branch| format!(" on {branch}"));
        let state = code
            .state
            .as_deref()
            .map(|state| format!(", during a {state}"));
        let (branch, state) = (branch.unwrap_or_default(), state.unwrap_or_default());
        lines.push(("commit", format!("{commit}{branch}{state}")));
        lines.push(("repository", code.folder.clone()));
        lines.extend(code.remote.clone().map(|remote| ("remote", remote)));
    }
    if let Some(lock) = &provenance.lock {
        let hash = lock.blake3.get(..16).unwrap_or(&lock.blake3);
        lines.push(("lock", format!("{} ({hash})", lock.path)));
    }
    let build = &provenance.build;
    lines.push((
        "build",
        format!(
            "{}, {}, {} (opt-level {})",
            build.compiler, build.target, build.profile, build.opt_level
        ),
    ));
    let features = build.features.join(", ");
    lines.push(("library", format!("tlc {} with {features}", build.library)));
    lines.push(("command", provenance.command.join(" ")));
    lines.push(("folder", provenance.folder.clone()));
    lines.extend(machine(&provenance.machine));
    let variables = provenance.environment.iter();
    lines.extend(variables.map(|(name, value)| ("variable", format!("{name}={value}"))));
    lines
}

fn machine(machine: &Machine) -> Vec<(&'static str, String)> {
    let threads = machine.threads.map(|threads| format!("{threads} threads"));
    let memory = machine.memory.map(bytes_text);
    let processor = [machine.processor.clone(), threads, memory];
    let processor: Vec<String> = processor.into_iter().flatten().collect();
    let system = [machine.system.clone(), machine.kernel.clone()];
    let system: Vec<String> = system.into_iter().flatten().collect();
    let mut lines = vec![
        ("host", machine.host.clone().unwrap_or_default()),
        ("system", system.join(", ")),
        ("processor", processor.join(", ")),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    let gpus = machine.gpus.iter().map(|gpu| {
        let memory = bytes_text(gpu.memory);
        (
            "gpu",
            format!("{}, {memory}, driver {}", gpu.name, gpu.driver),
        )
    });
    lines.extend(gpus);
    lines
}

fn changes(code: &Code) -> String {
    let mut table = TextTable::new([("change", Align::Left), ("what", Align::Left)]);
    let listed = code.changes.as_deref().unwrap_or_default();
    if listed.is_empty() && code.n_more == 0 {
        return String::new();
    }
    for change in listed {
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "modified",
            ChangeKind::Deleted => "deleted",
            ChangeKind::Untracked => "untracked",
        };
        let why = change.left_out.as_deref();
        let why = why.map(|why| format!(", left out: {why}"));
        table.row([
            change.path.clone(),
            kind.to_owned() + &why.unwrap_or_default(),
        ]);
    }
    let more = match code.n_more {
        0 => String::new(),
        n => format!("and perhaps {n} more\n"),
    };
    format!("\n{}{more}", table.to_text())
}
