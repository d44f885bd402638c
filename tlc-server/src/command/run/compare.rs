//! `tlc run compare`: in what runs differ.

use clap::Args;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::{
    CodeComparison, Comparison, Difference, FileComparison, Pair, Project, Revision,
    StreamComparison, TableComparison, Unknown, block_on,
};

use super::record;
use crate::command::session::{Session, view_json};
use crate::command::spec::RunSpec;
use crate::command::table::Between;
use crate::error::{Failure, Result};
use crate::output::{
    Align, TextTable, count_text, exact_text, more_text, number_text, rows_json, rows_table,
};
use crate::view::{
    ComparedFileView, ComparisonView, DifferenceView, ScalarDifferenceView, UnknownView,
};

/// How many classes of a stream are shown.
const CLASSES_MAX: usize = 100;

/// How many lines say what was not compared.
const UNKNOWN_MAX: usize = 20;

/// Show in what runs differ: parameters, environment, scalars, code, data and samples
///
/// The first run is what the others are compared with. Data is compared as cells between the revisions that were read, samples by the last
/// epochs of the streams that both have. In JSON an object with the members runs, params, environment and scalars (what is not
/// the same in all, with one value for each run, null where it has none), unknown (what could not be compared, such as changed files that a
/// patch does not hold), and pairs: for each run but the first its code,
/// data (the cells as `tlc table diff --json` has them) and streams.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc run compare mnist/before mnist/after
  tlc run compare mnist/a b c --samples 20 --json")]
pub(super) struct Compare {
    /// The run that the others are compared with, as PROJECT/RUN
    first: RunSpec,
    /// The others, as PROJECT/RUN or RUN
    #[arg(required = true, value_name = "RUN")]
    others: Vec<String>,
    /// How many samples to list of each stream, of those that changed most
    #[arg(long, default_value_t = 10, value_name = "N")]
    samples: usize,
}

impl Compare {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let found = block_on(self.compared(session))?;
        let text = match session.json {
            true => block_on(to_json(&found))? + "\n",
            false => block_on(to_text(&found))?,
        };
        Ok(session.out.print(&text)?)
    }

    async fn compared(&self, session: &Session) -> Result<Compared> {
        let project = session.project(&self.first.project).await?;
        let mut specs = vec![self.first.clone()];
        for other in &self.others {
            let spec = match other.contains('/') {
                true => other.parse::<RunSpec>(),
                false => format!("{}/{other}", self.first.project).parse(),
            };
            let spec = spec.map_err(|err| Failure::usage(err.to_string()))?;
            if spec.project != self.first.project {
                return Err(Failure::usage(format!(
                    "{other} is in another project than {}; runs of one project can be compared",
                    self.first.run
                )));
            }
            specs.push(spec);
        }
        for spec in &specs {
            record(&project, spec).await?;
        }
        let names: Vec<&str> = specs.iter().map(|spec| spec.run.as_str()).collect();
        let comparison = project.compare(&names, self.samples).await?;
        Ok(Compared {
            project,
            comparison,
        })
    }
}

/// A comparison, and where its tables are.
pub(in crate::command) struct Compared {
    pub(in crate::command) project: Project,
    pub(in crate::command) comparison: Comparison,
}

impl Compared {
    /// The cells that differ, with the snapshots they lie between.
    pub(in crate::command) async fn between(
        &self,
        data: &TableComparison,
    ) -> Result<Option<Between>> {
        let (Some(from), Some(to), Some(diff)) = (data.first, data.other, &data.diff) else {
            return Ok(None);
        };
        let table = self.project.table(data.table.as_str()).await?;
        Ok(Some(Between {
            from: table.at(from).await?,
            to: table.at(to).await?,
            diff: diff.clone(),
        }))
    }
}

async fn to_text(found: &Compared) -> Result<String> {
    let comparison = &found.comparison;
    let names: Vec<&str> = comparison
        .runs
        .iter()
        .map(|run| run.name.as_str())
        .collect();
    let mut text = String::new();
    text += &differences("parameter", &names, &comparison.params, Clone::clone);
    text += &scalars(&names, &comparison.scalars);
    text += &differences("environment", &names, &comparison.environment, Clone::clone);
    for pair in &comparison.pairs {
        text += &pair_text(found, names.first().copied().unwrap_or_default(), pair).await?;
    }
    let unknown = unknown(&comparison.unknown);
    Ok(match (text.is_empty(), unknown.is_empty()) {
        (true, true) => "nothing is known to differ\n".to_owned(),
        (true, false) => format!("nothing is known to differ\n\n{unknown}"),
        (false, _) => text + &unknown,
    })
}

/// What was not compared, as far as it is shown.
fn unknown(unknown: &[Unknown]) -> String {
    if unknown.is_empty() {
        return String::new();
    }
    let mut table = TextTable::new([("run", Align::Left), ("not compared", Align::Left)]);
    let shown = unknown.iter().take(UNKNOWN_MAX);
    shown.for_each(|unknown| table.row([unknown.run.to_string(), unknown.what.clone()]));
    let n_more = unknown.len().saturating_sub(UNKNOWN_MAX) as u64;
    table.to_text() + &more_text(n_more, "more row")
}

fn differences<T>(
    what: &str,
    names: &[&str],
    differences: &[Difference<T>],
    shown: impl Fn(&T) -> String,
) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let columns = [what].into_iter().chain(names.iter().copied());
    let mut table = TextTable::new(columns.map(|name| (name, Align::Left)));
    for difference in differences {
        let values = difference.values.iter();
        let values = values.map(|value| value.as_ref().map_or("-".to_owned(), &shown));
        table.row([difference.name.clone()].into_iter().chain(values));
    }
    table.to_text() + "\n"
}

/// With the change from the first run to each of the others.
fn scalars(names: &[&str], differences: &[Difference<f64>]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let others = names.iter().skip(1).map(|name| match names.len() {
        2 => "change".to_owned(),
        _ => format!("change to {name}"),
    });
    let columns = names.iter().map(|name| (*name).to_owned()).chain(others);
    let columns = columns.map(|name| (name, Align::Right));
    let mut table = TextTable::new(
        [("scalar".to_owned(), Align::Left)]
            .into_iter()
            .chain(columns),
    );
    for difference in differences {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), exact_text);
        let values = difference.values.iter().map(|value| number(*value));
        let changes = changes(difference).map(|change| change.map_or("-".to_owned(), change_text));
        let name = [difference.name.clone()].into_iter();
        table.row(name.chain(values).chain(changes));
    }
    table.to_text() + "\n"
}

/// A number with its sign.
pub(in crate::command) fn change_text(change: f64) -> String {
    match change.is_sign_negative() || change.is_nan() {
        true => number_text(change),
        false => format!("+{}", number_text(change)),
    }
}

/// From the first run to each of the others.
pub(in crate::command) fn changes(
    difference: &Difference<f64>,
) -> impl Iterator<Item = Option<f64>> {
    let first = difference.values.first().copied().flatten();
    let others = difference.values.iter().skip(1);
    others.map(move |other| Some(other.as_ref()? - first?))
}

async fn pair_text(found: &Compared, first: &str, pair: &Pair) -> Result<String> {
    let mut text = code_text(first, pair);
    for data in &pair.data {
        let (from, to) = (revision_text(data.first), revision_text(data.other));
        text += &format!("table {}: {first} {from}, {} {to}\n", data.table, pair.run);
        if let Some(between) = found.between(data).await? {
            text += &between.to_text()?;
        }
        text += "\n";
    }
    for stream in &pair.streams {
        text += &stream_text(first, pair, stream)?;
    }
    Ok(text)
}

/// What a run read of a table.
pub(in crate::command) fn revision_text(revision: Option<Revision>) -> String {
    revision.map_or("not read".to_owned(), |revision| format!("r{revision}"))
}

fn code_text(first: &str, pair: &Pair) -> String {
    let CodeComparison {
        first: from,
        other: to,
        files,
    } = &pair.code;
    let commit = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "not known".to_owned());
    let mut text = match from == to {
        true => String::new(),
        false => format!(
            "code: {first} is of commit {}, {} of {}\n",
            commit(from),
            pair.run,
            commit(to)
        ),
    };
    for file in files {
        let FileComparison {
            path,
            first: one,
            other,
        } = file;
        text += &match (one, other) {
            (Some(one), Some(other)) => {
                format!(
                    "code: {path} is changed in both\nin {first}:\n{one}in {}:\n{other}",
                    pair.run
                )
            }
            (Some(one), None) => format!("code: {path} is changed in {first} only\n{one}"),
            (None, other) => format!(
                "code: {path} is changed in {} only\n{}",
                pair.run,
                other.clone().unwrap_or_default()
            ),
        };
    }
    match text.is_empty() {
        true => text,
        false => text + "\n",
    }
}

fn stream_text(first: &str, pair: &Pair, stream: &StreamComparison) -> Result<String> {
    let (from, to) = stream.epochs;
    let mut text = format!(
        "stream {}, by {}: epoch {from} of {first}, epoch {to} of {}\n{}",
        stream.stream,
        stream.measure,
        pair.run,
        classes_text(&stream.classes)?
    );
    let n = stream.changed.num_rows();
    if n > 0 {
        let n = count_text(n as u64, "sample");
        text += &format!(
            "\nthe {n} that changed most\n{}",
            rows_table(&stream.changed)?
        );
    }
    Ok(text + "\n")
}

/// The first classes, which may be as many as there are samples.
fn classes_text(classes: &RecordBatch) -> Result<String> {
    let n_shown = classes.num_rows().min(CLASSES_MAX);
    let text = rows_table(&classes.slice(0, n_shown))?;
    let n_more = (classes.num_rows() - n_shown) as u64;
    Ok(text + &more_text(n_more, "more row"))
}

/// Written in pieces: rows are JSON already.
async fn to_json(found: &Compared) -> Result<String> {
    let comparison = &found.comparison;
    let texts = |differences: &[Difference<String>]| -> Vec<DifferenceView> {
        let view = |difference: &Difference<String>| DifferenceView {
            name: difference.name.clone(),
            values: difference.values.clone(),
        };
        differences.iter().map(view).collect()
    };
    let scalars = comparison
        .scalars
        .iter()
        .map(|difference| ScalarDifferenceView {
            name: difference.name.clone(),
            values: difference.values.clone(),
            changes: changes(difference).collect(),
        });
    let unknown = comparison.unknown.iter().map(|unknown| UnknownView {
        run: unknown.run.to_string(),
        what: unknown.what.clone(),
    });
    let view = ComparisonView {
        runs: comparison
            .runs
            .iter()
            .map(|run| run.name.to_string())
            .collect(),
        params: texts(&comparison.params),
        environment: texts(&comparison.environment),
        scalars: scalars.collect(),
        unknown: unknown.collect(),
    };
    let view = view_json(&view)?;
    let head = view.strip_suffix('}').unwrap_or(&view);
    let mut pairs = Vec::with_capacity(comparison.pairs.len());
    for pair in &comparison.pairs {
        pairs.push(pair_json(found, pair).await?);
    }
    Ok(format!("{head},\"pairs\":[{}]}}", pairs.join(",")))
}

async fn pair_json(found: &Compared, pair: &Pair) -> Result<String> {
    let files = pair.code.files.iter().map(|file| ComparedFileView {
        path: file.path.clone(),
        first: file.first.clone(),
        other: file.other.clone(),
    });
    let files = view_json(&files.collect::<Vec<_>>())?;
    let (from, to) = (view_json(&pair.code.first)?, view_json(&pair.code.other)?);
    let mut data = Vec::with_capacity(pair.data.len());
    for table in &pair.data {
        let mut cells = Vec::new();
        match found.between(table).await? {
            Some(between) => between.write_json(&mut cells)?,
            None => cells.extend(b"null"),
        }
        let number = |revision: Option<Revision>| view_json(&revision.map(|revision| revision.0));
        data.push(format!(
            "{{\"table\":{},\"first\":{},\"other\":{},\"diff\":{}}}",
            view_json(&table.table.as_str())?,
            number(table.first)?,
            number(table.other)?,
            String::from_utf8_lossy(&cells).trim_end()
        ));
    }
    let streams = pair
        .streams
        .iter()
        .map(stream_json)
        .collect::<Result<Vec<_>>>()?;
    Ok(format!(
        "{{\"run\":{},\"code\":{{\"first\":{from},\"other\":{to},\"files\":{files}}},\"data\":[{}],\"streams\":[{}]}}",
        view_json(&pair.run.as_str())?,
        data.join(","),
        streams.join(",")
    ))
}

fn stream_json(stream: &StreamComparison) -> Result<String> {
    let rows = |batch: &RecordBatch| -> Result<String> {
        Ok(String::from_utf8_lossy(&rows_json(batch)?).into_owned())
    };
    let (from, to) = stream.epochs;
    Ok(format!(
        "{{\"stream\":{},\"measure\":{},\"epochs\":[{from},{to}],\"classes\":{},\"changed\":{}}}",
        view_json(&stream.stream.as_str())?,
        view_json(&stream.measure)?,
        rows(&stream.classes)?,
        rows(&stream.changed)?
    ))
}
