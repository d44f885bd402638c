//! `tlc doctor`: what a store can do, and whether it is safe to write to.

use clap::Args;
use tlc_core::{Error, StoreCheck, StoreReport, Writers, block_on};

use super::session::Session;
use crate::error::{Failure, Result};
use crate::output::{Align, TextTable};
use crate::view::StoreView;

/// Try what the store of a root can do, and whether tlc can write to it safely
///
/// Writes small objects below the root, in a folder of their own, and removes them again. Ends with exit code 1
/// if the store lacks something that tlc needs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc doctor
  tlc doctor s3://bucket/folder --json")]
pub(super) struct Doctor {
    /// The root to try, in place of the one that is configured
    url: Option<String>,
}

impl Doctor {
    pub(super) fn root(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let report = block_on(async {
            let root = session.existing_root().await?;
            Ok::<_, Failure>(root.examine().await?)
        })?;
        let alone = session.config.single_writer();
        let verdict = verdict(&report, alone);
        let view = StoreView::new(&report, verdict.is_ok());
        session.answer(&view, || report_text(&report, verdict.as_ref().ok()))?;
        match verdict {
            Ok(_) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

/// Who may write, or why nobody may. `alone` is the promise that one process writes at a time.
fn verdict(report: &StoreReport, alone: bool) -> Result<&'static str, Error> {
    let url = &report.url;
    match (report.writers, alone) {
        (Writers::Many, _) => Ok("safe for any number of writers"),
        (Writers::One, true) => {
            Ok("safe for one process at a time, as `single_writer` promises: nobody checks it")
        }
        (Writers::One, false) => Err(Error::invalid(format!(
            "{url} is not safe to write to: two writers would overwrite each other's revisions; use another store, \
             or, if only one process writes at a time, set `single_writer` (--single-writer)"
        ))),
        (Writers::None, _) => {
            let lacking = report.checks.iter();
            let lacking = lacking.filter(|check| check.is_needed && !check.holds);
            let names: Vec<_> = lacking.map(|check| check.name).collect();
            Err(Error::invalid(format!(
                "{url} cannot hold a root: it fails at {}",
                names.join(", ")
            )))
        }
    }
}

fn report_text(report: &StoreReport, verdict: Option<&&str>) -> String {
    let mut table = TextTable::new([
        ("check", Align::Left),
        ("result", Align::Left),
        ("detail", Align::Left),
    ]);
    for check in &report.checks {
        table.row([
            check.name.to_owned(),
            result(check).to_owned(),
            check.detail.clone(),
        ]);
    }
    let millis = |time: std::time::Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let clock = match report.clock_ahead_secs {
        -1..=1 => "as ours".to_owned(),
        secs if secs > 0 => format!("{secs} s ahead of ours"),
        secs => format!("{} s behind ours", -secs),
    };
    let mut text = format!("{}\n\n{}\n", report.url, table.to_text());
    text += &format!("put    {}\n", millis(report.put));
    text += &format!("get    {}\n", millis(report.get));
    text += &format!("clock  {clock}\n");
    match verdict {
        Some(verdict) => text + &format!("\n{verdict}\n"),
        None => text,
    }
}

fn result(check: &StoreCheck) -> &'static str {
    match (check.holds, check.is_needed) {
        (true, _) => "yes",
        (false, true) => "no",
        (false, false) => "no, not needed",
    }
}
