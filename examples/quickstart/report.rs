//! What the quickstart says: its story on standard output, notes and progress on standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people, in one place"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tlc_core::{Committed, Project, Revision, RunRecord, Snapshot, Table};

use crate::train::HELD_OUT;

/// Says what is going on, to whoever waits.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Says why there is no result, down to the first cause.
pub(crate) fn error(error: &(dyn Error + Send + Sync + 'static)) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

pub(crate) fn tables(train: &Table, test: &Snapshot) {
    println!(
        "tables     {0}.{1} and {0}.{2}",
        train.project(),
        train.name(),
        test.table().name()
    );
}

pub(crate) fn planted(noisy: &Snapshot, planted: &BTreeSet<u64>) {
    println!(
        "planted    {} wrong labels among {}: train@{}",
        planted.len(),
        noisy.n_rows(),
        noisy.revision()
    );
}

pub(crate) fn doubted(n_doubted: usize, n_right: usize, n_planted: usize) {
    println!(
        "doubted    {n_doubted} labels, by what networks said that had not seen the digit; {n_right} of them planted"
    );
    println!(
        "           precision {}, recall {}",
        percent(n_right, n_doubted),
        percent(n_right, n_planted)
    );
}

pub(crate) fn found(n_suspects: usize, n_right: usize, n_planted: usize) {
    println!(
        "found      {n_suspects} labels that the network hardly believed, {n_right} of them planted"
    );
    println!(
        "           precision {}, recall {}",
        percent(n_right, n_suspects),
        percent(n_right, n_planted)
    );
}

pub(crate) fn fixed(fixed: &Committed, n_wrong: usize) {
    println!(
        "fixed      {} labels: train@{}, a revision of {} bytes",
        fixed.cells, fixed.revision, fixed.bytes
    );
    println!("           {n_wrong} planted ones are still not what they were");
}

pub(crate) fn end(before: &RunRecord, after: &RunRecord) {
    let accuracy =
        |run: &RunRecord| 100.0 * run.last.get("test/accuracy").copied().unwrap_or(f64::NAN);
    println!(
        "\ntest accuracy   {:.2} % before the fix, {:.2} % after it",
        accuracy(before),
        accuracy(after)
    );
}

pub(crate) fn place(project: &Project) {
    let url = project.root().url();
    let root = url
        .to_file_path()
        .map_or_else(|()| url.to_string(), |path| path.display().to_string());
    println!(
        "all of it is in {}/{}",
        root.trim_end_matches('/'),
        project.name()
    );
}

/// Commands to paste: how the runs ended, the labels that are doubted most and what became of them, the digits that are
/// still odd, what the fix changed.
pub(crate) fn queries(
    root: Option<&str>,
    (held_out, after): (&RunRecord, &RunRecord),
    (noisy, fixed): (Revision, Revision),
) {
    let root = root
        .map(|root| format!(" --root '{root}'"))
        .unwrap_or_default();
    let (name, unseen) = (&after.name, &held_out.name);
    println!("\nask on:");
    for query in [
        "SELECT name, status, inputs, parameters['noise'] AS noise, scalars['test/accuracy'] AS accuracy
  FROM mnist.runs ORDER BY started"
            .to_owned(),
        format!(
            "SELECT i._rowid, i.label AS given, i.suggested, label_name(t.label) AS now, i.score, t.image
  FROM label_issues('mnist/{unseen}', '{HELD_OUT}', 0, 20) AS i
  JOIN mnist.train AS t ON t._rowid = i._rowid ORDER BY i.score"
        ),
        format!(
            "SELECT t._rowid, label_name(t.label) AS label, s.loss, s.predicted, t.image
  FROM (SELECT _rowid, avg(loss) AS loss, first_value(predicted ORDER BY margin) AS predicted FROM mnist.samples
        WHERE run = '{name}' AND stream = 'train' GROUP BY _rowid ORDER BY loss DESC LIMIT 20) AS s
  JOIN mnist.train AS t ON t._rowid = s._rowid ORDER BY s.loss DESC"
        ),
        format!(
            "SELECT old, new, count(*) AS n FROM diff('mnist/train', {noisy}, {fixed})
  GROUP BY old, new ORDER BY n DESC LIMIT 10"
        ),
    ] {
        println!("\ncargo run --bin tlc --{root} sql \"{query}\"");
    }
    println!("\nthe digits as points, near to each other if the network sees them alike:");
    println!("\ncargo run --bin tlc --{root} reduce mnist/{name} --method umap");
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// A training's progress: a bar for each epoch on a terminal, and a line at its end anywhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(of: &str, n_epochs: u32, n_batches: usize) -> Self {
        println!("\n{of}: {n_epochs} epochs of {n_batches} batches");
        let style = ProgressStyle::with_template(
            "  {bar:40} {pos}/{len} batches, {eta} left in this epoch",
        );
        let bar = ProgressBar::new(n_batches as u64);
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            started: Instant::now(),
        }
    }

    /// The batches of an epoch, counted.
    pub(crate) fn of<I: Iterator>(&self, batches: I) -> impl Iterator<Item = I::Item> {
        self.bar.reset();
        self.bar.wrap_iter(batches)
    }

    pub(crate) fn epoch(&self, epoch: i64, accuracy: f64) {
        self.bar.finish_and_clear();
        let secs = self.started.elapsed().as_secs_f64();
        println!(
            "  epoch {epoch}: {:.2} % of the test digits right, {secs:.0} s",
            100.0 * accuracy
        );
    }

    /// Of labels that are wrong now and then, a network that is always right agrees with the others only.
    pub(crate) fn predicted(&self, agreed: f64) {
        self.bar.finish_and_clear();
        let secs = self.started.elapsed().as_secs_f64();
        println!(
            "  agrees with {:.2} % of the labels held out, {secs:.0} s",
            100.0 * agreed
        );
    }
}
