//! `tlc report`: a run and what it is compared with, as Markdown for a merge request.

use std::fmt::Write as _;

use clap::Args;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::{Difference, Error, Pair, ProjectName, RunName, RunRecord, Unknown, block_on};

use super::run::{Compared, change_text, changes, revision_text};
use super::session::{Session, listed};
use crate::error::{Failure, Result};
use crate::output::{Cells, count_text, more_text, number_text};
use crate::view::ReportView;

/// How many lines of a patch or of cells are shown.
const LINES_MAX: usize = 200;

/// How many rows of a table are shown.
const ROWS_MAX: usize = 100;

/// How many characters of a value are shown.
const VALUE_CHARS_MAX: usize = 300;

/// Write what a run became, compared with another one, as Markdown for a merge request
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc report mnist --compare before-1
  tlc report mnist --run after-1 --compare before-1 > report.md")]
pub(super) struct Report {
    /// The project
    project: ProjectName,
    /// The run to compare with
    #[arg(long, value_name = "RUN")]
    compare: RunName,
    /// The run to report on [default: the one that was started last, of those that have ended and are no points of another]
    #[arg(long, value_name = "RUN")]
    run: Option<RunName>,
    /// How many samples to list of each stream, of those that changed most
    #[arg(long, default_value_t = 10, value_name = "N")]
    samples: usize,
}

impl Report {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let markdown = block_on(self.text(session))?;
        let view = ReportView { markdown };
        session.answer(&view, || view.markdown.clone())
    }

    async fn text(&self, session: &Session) -> Result<String> {
        let project = session.project(&self.project).await?;
        let runs = project.run_records().await?;
        let missing = |name: &RunName| {
            let names: Vec<&RunName> = runs.iter().map(|run| &run.name).collect();
            let err = Error::not_found(format!("no run {name} in project {}", self.project));
            Failure::from(err).hint(listed(&format!("the runs of {} are", self.project), &names))
        };
        for name in self.run.iter().chain([&self.compare]) {
            if runs.iter().all(|run| run.name != *name) {
                return Err(missing(name));
            }
        }
        let run = match &self.run {
            Some(run) => run.clone(),
            None => newest(&runs, &self.compare).ok_or_else(|| {
                Failure::from(Error::not_found(format!(
                    "no run of project {} but {} has ended",
                    self.project, self.compare
                )))
                .hint("name the run to report on with --run".to_owned())
            })?,
        };
        let names = [self.compare.as_str(), run.as_str()];
        let comparison = project.compare(&names, self.samples).await?;
        markdown(
            self.project.as_str(),
            &Compared {
                project,
                comparison,
            },
        )
        .await
    }
}

fn newest(runs: &[RunRecord], but: &RunName) -> Option<RunName> {
    let ended = runs
        .iter()
        .filter(|run| run.name != *but && run.finished.is_some() && run.reduced.is_none());
    Some(ended.max_by_key(|run| run.started)?.name.clone())
}

async fn markdown(project: &str, found: &Compared) -> Result<String> {
    let comparison = &found.comparison;
    let ([first, run], [pair]) = (&comparison.runs[..], &comparison.pairs[..]) else {
        return Err(Error::invalid("a report is on two runs").into());
    };
    let mut text = format!(
        "## Run {} of {}, compared with {}\n\n{}",
        quoted(run.name.as_str()),
        quoted(project),
        quoted(first.name.as_str()),
        summary(first, run)
    );
    text += &section("Scalars", scalars(&comparison.scalars));
    text += &section("Parameters", differences(&comparison.params));
    text += &section("Data", data(found, pair).await?);
    text += &section("Samples", samples(pair)?);
    text += &section("Code", code(pair));
    text += &section("Environment", differences(&comparison.environment));
    text += &section("Not compared", unknown(&comparison.unknown));
    Ok(text)
}

/// Status, commit and data of both.
fn summary(first: &RunRecord, run: &RunRecord) -> String {
    let commit = |run: &RunRecord| match &run.code {
        Some(code) => {
            let commit = code
                .commit
                .as_deref()
                .map(|commit| commit.get(..12).unwrap_or(commit));
            let changes = match code.is_dirty {
                Some(true) => " with changes",
                Some(false) => "",
                None => " perhaps with changes",
            };
            format!("`{}`{changes}", commit.unwrap_or("none"))
        }
        None => "not known".to_owned(),
    };
    let inputs = |run: &RunRecord| {
        let inputs = run
            .inputs
            .iter()
            .map(|(table, revision)| quoted(&format!("{table}@{revision}")));
        inputs.collect::<Vec<_>>().join(", ")
    };
    let row =
        |name: &str, of: &dyn Fn(&RunRecord) -> String| vec![name.to_owned(), of(first), of(run)];
    let head = [
        "".to_owned(),
        quoted(first.name.as_str()),
        quoted(run.name.as_str()),
    ];
    table(
        &head,
        [
            row("status", &|run| run.status.as_str().to_owned()),
            row("started", &|run| run.started.to_rfc3339()),
            row("commit", &commit),
            row("data", &inputs),
        ],
    )
}

fn section(title: &str, text: String) -> String {
    match text.is_empty() {
        true => text,
        false => format!("\n### {title}\n\n{text}"),
    }
}

fn differences(differences: &[Difference<String>]) -> String {
    let rows = differences.iter().map(|difference| {
        let values = difference.values.iter();
        let values = values.map(|value| value.as_deref().map_or("–".to_owned(), quoted));
        [quoted(&difference.name)]
            .into_iter()
            .chain(values)
            .collect()
    });
    table(&["name", "before", "now"].map(str::to_owned), rows)
}

fn scalars(differences: &[Difference<f64>]) -> String {
    let rows = differences.iter().map(|difference| {
        let number = |value: &Option<f64>| value.map_or("–".to_owned(), number_text);
        let values = difference.values.iter().map(number);
        let changes = changes(difference);
        let changes = changes.map(|change| change.map_or("–".to_owned(), change_text));
        let name = [quoted(&difference.name)].into_iter();
        name.chain(values).chain(changes).collect()
    });
    table(
        &["name", "before", "now", "change"].map(str::to_owned),
        rows,
    )
}

async fn data(found: &Compared, pair: &Pair) -> Result<String> {
    let mut text = String::new();
    for compared in &pair.data {
        let (from, to) = (revision_text(compared.first), revision_text(compared.other));
        let name = quoted(compared.table.as_str());
        let Some(between) = found.between(compared).await? else {
            writeln!(text, "- {name}: {from} → {to}").unwrap_or_default();
            continue;
        };
        let n_cells: usize = between
            .diff
            .cells
            .iter()
            .map(|cells| cells.row_ids.len())
            .sum();
        let counts = [
            count_text(n_cells as u64, "cell") + " set",
            count_text(between.diff.rows_added.len() as u64, "row") + " added",
            count_text(between.diff.rows_dropped.len() as u64, "row") + " dropped",
        ];
        writeln!(text, "- {name}: {from} → {to}, {}", counts.join(", ")).unwrap_or_default();
        text += &folded("cells", "", &between.to_text()?);
    }
    Ok(text)
}

fn samples(pair: &Pair) -> Result<String> {
    let mut text = String::new();
    for stream in &pair.streams {
        let (from, to) = stream.epochs;
        let name = quoted(stream.stream.as_str());
        writeln!(
            text,
            "Stream {name} by `{}`, epoch {from} before and {to} now:\n",
            stream.measure
        )
        .unwrap_or_default();
        text += &rows(&stream.classes)?;
        if stream.changed.num_rows() > 0 {
            let n = count_text(stream.changed.num_rows() as u64, "sample");
            writeln!(text, "\nThe {n} that changed most:\n").unwrap_or_default();
            text += &rows(&stream.changed)?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn code(pair: &Pair) -> String {
    let code = &pair.code;
    let mut text = String::new();
    let commit = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "not known".to_owned());
    if code.first != code.other {
        writeln!(
            text,
            "Commit `{}` → `{}`",
            commit(&code.first),
            commit(&code.other)
        )
        .unwrap_or_default();
    }
    for file in &code.files {
        let path = in_tag(&file.path);
        for (when, patch) in [("before", &file.first), ("now", &file.other)] {
            if let Some(patch) = patch {
                text += &folded(
                    &format!("<code>{path}</code>, changed {when}"),
                    "diff",
                    patch,
                );
            }
        }
    }
    text
}

/// What is not known of the runs, as far as it is shown.
fn unknown(unknown: &[Unknown]) -> String {
    let n_shown = unknown.len().min(ROWS_MAX);
    let shown = unknown.iter().take(n_shown);
    let rows = shown.map(|unknown| vec![quoted(unknown.run.as_str()), quoted(&unknown.what)]);
    table(&["run", "what"].map(str::to_owned), rows) + &more_rows(unknown.len() - n_shown)
}

/// How many rows a table does not show, under an empty line: it would be a row else.
fn more_rows(n: usize) -> String {
    match n {
        0 => String::new(),
        n => format!("\n{}", more_text(n as u64, "more row")),
    }
}

/// What a reader may open.
fn folded(title: &str, language: &str, content: &str) -> String {
    let mut lines: Vec<&str> = content.lines().take(LINES_MAX).collect();
    let n_more = content.lines().count() - lines.len();
    let more = format!("({n_more} lines more)");
    if n_more > 0 {
        lines.push(&more);
    }
    let longest = content.split(|letter| letter != '`').map(str::len).max();
    let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);
    format!(
        "\n<details><summary>{title}</summary>\n\n{fence}{language}\n{}\n{fence}\n\n</details>\n\n",
        lines.join("\n")
    )
}

/// A batch as a table, as far as it is shown.
fn rows(batch: &RecordBatch) -> Result<String> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let cells = columns.map(|(field, array)| Cells::new(field, array));
    let cells = cells.collect::<tlc_core::Result<Vec<_>>>()?;
    let head: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let n_shown = batch.num_rows().min(ROWS_MAX);
    let cell = |cells: &Cells<'_>, row| match cells.is_number() {
        true => cells.text(row),
        false => quoted(&cells.text(row)),
    };
    let rows = (0..n_shown).map(|row| cells.iter().map(|cells| cell(cells, row)).collect());
    Ok(table(&head, rows) + &more_rows(batch.num_rows() - n_shown))
}

/// Cells as Markdown; nothing if there is no row.
fn table(head: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: Vec<String> = rows.into_iter().map(|row| line(&row)).collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!(
            "{}{}\n{}",
            line(head),
            "|---".repeat(head.len()) + "|",
            rows.concat()
        ),
    }
}

/// A text as code, of one line, within which nothing is a link, a picture, a mention or the end of a cell. Empty texts stay empty.
fn quoted(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(VALUE_CHARS_MAX)
        .collect();
    if text.chars().count() > VALUE_CHARS_MAX {
        line.push('…');
    }
    if line.trim().is_empty() {
        return String::new();
    }
    let longest = line.split(|letter| letter != '`').map(str::len).max();
    let marks = "`".repeat(longest.unwrap_or(0) + 1);
    let space = if line.contains('`') { " " } else { "" };
    format!("{marks}{space}{}{space}{marks}", line.replace('|', "\\|"))
}

/// A text within a tag of HTML.
fn in_tag(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace(|letter: char| letter.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_place() {
        let head = ["a".to_owned(), quoted("b|c")];
        let row = vec![quoted("x\ny"), quoted("<script> @all ![x](http://h)")];
        assert_eq!(
            table(&head, [row]),
            "| a | `b\\|c` |\n|---|---|\n| `x y` | `<script> @all ![x](http://h)` |\n"
        );
        assert_eq!(table(&head, []), "");
        assert_eq!(quoted("`a``"), "``` `a`` ```");
        assert_eq!(quoted(" "), "");
        assert!(quoted(&"x".repeat(1_000)).len() < 2 * VALUE_CHARS_MAX);
        assert_eq!(in_tag("a<b>&\n"), "a&lt;b>&amp; ");
        let text = folded("t", "diff", "+````\n");
        assert!(text.contains("\n`````diff\n+````\n`````\n"), "{text}");
        let long = "x\n".repeat(LINES_MAX + 7);
        assert!(folded("t", "", &long).contains("x\n(7 lines more)\n```"));
    }
}
