//! `tlc verify`: is all that was stored there, and what it was?

use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tlc_core::object_store::path::Path;
use tlc_core::{Checked, Report, VerifyOptions, block_on};

use super::session::{Session, below};
use super::spec::PlaceSpec;
use crate::error::{Failure, Result};
use crate::output::{bytes_text, count_text};
use crate::view::{FindingView, VerifyView};

/// Work that takes longer shows that it goes on.
const QUIET: Duration = Duration::from_secs(1);

/// Check that all that was stored is there and is what it was
///
/// Reads every log and every file, and changes nothing. What is wrong is told with the revisions that cannot be read
/// because of it; all others are safe. The exit code is 1 if anything is damaged, or a file that is used in place has
/// changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc verify
  tlc verify mnist/train --quick --json")]
pub(super) struct Verify {
    /// The project, or the table as PROJECT/TABLE [default: all]
    place: Option<PlaceSpec>,
    /// Read only the logs; of other files, check that they are there in their size
    #[arg(long)]
    quick: bool,
}

impl Verify {
    pub(super) fn run(&self, session: &Session) -> Result<ExitCode> {
        let bar = bar();
        let told = bar.clone();
        let options = VerifyOptions::new().progress(move |checked: Checked| {
            if told.is_hidden() && told.elapsed() > QUIET {
                // Where standard error is no terminal this draws nothing.
                told.set_draw_target(ProgressDrawTarget::stderr());
            }
            told.inc(checked.bytes);
        });
        let options = if self.quick { options.quick() } else { options };
        let root = block_on(session.existing_root())?;
        let report = block_on(self.report(session, options));
        bar.finish_and_clear();
        let report = report?;
        let view = VerifyView::from(&report);
        session.answer(&view, || text(&report, &view, root.path()))?;
        Ok(match report.is_damaged() {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }

    async fn report(&self, session: &Session, options: VerifyOptions) -> Result<Report> {
        Ok::<_, Failure>(match &self.place {
            None => session.existing_root().await?.verify(options).await?,
            Some(PlaceSpec::Project(name)) => session.project(name).await?.verify(options).await?,
            Some(PlaceSpec::Table(spec)) => {
                let project = session.project(&spec.project).await?;
                project.verify_table(spec.table.as_str(), options).await?
            }
        })
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    match ProgressStyle::with_template("{spinner} {bytes} read in {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn text(report: &Report, view: &VerifyView, root: &Path) -> String {
    let mut text = String::new();
    for finding in &view.findings {
        text += &finding_text(finding, root);
    }
    for table in &view.tables {
        let (name, revisions) = (&table.table, count_text(table.revisions, "revision"));
        text += &match &table.unreadable[..] {
            [] => format!("{name}: {revisions}, all can be read\n"),
            lost => {
                let safe = table.revisions - lost.len() as u64;
                format!("{name}: {revisions}, {safe} can be read\n")
            }
        };
    }
    let files = count_text(report.n_files, "file");
    let runs = count_text(report.n_runs, "run");
    let verdict = match report.is_damaged() {
        true => "NOT all is well",
        false => "all is well",
    };
    let artifacts = count_text(report.n_artifacts, "artifact");
    let size = bytes_text(report.bytes);
    text += &format!("{verdict}: {files}, {size}, {runs}, {artifacts}\n");
    text
}

fn finding_text(finding: &FindingView, root: &Path) -> String {
    let is_elsewhere = finding.file.contains("://") || finding.file.starts_with('<');
    let file = match is_elsewhere {
        true => finding.file.clone(),
        false => below(root, &format!("{}/{}", finding.folder, finding.file)),
    };
    let place = format!("{}: {file}", finding.severity);
    let lost = match &finding.unreadable[..] {
        [] => String::new(),
        lost => {
            let lost = lost
                .iter()
                .map(|(first, last)| range_text(&(*first..=*last)));
            let lost: Vec<String> = lost.collect();
            format!("  cannot be read because of it: {}\n", lost.join(", "))
        }
    };
    format!("{place}\n  {}\n{lost}", finding.what)
}

fn range_text(range: &RangeInclusive<u64>) -> String {
    match (range.start(), range.end()) {
        (first, last) if first == last => format!("r{first}"),
        (first, last) => format!("r{first} to r{last}"),
    }
}
