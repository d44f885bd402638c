//! `tlc table diff`: the cells that differ between two revisions.

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use tlc_core::arrow::array::{Array as _, RecordBatch, StringArray, StructArray};
use tlc_core::arrow::datatypes::{DataType, Field, FieldRef};
use tlc_core::{CellsDiff, Diff as CoreDiff, Error, Result as CoreResult, Snapshot, block_on};

use super::words::column_changes;
use crate::command::TableSpec;
use crate::command::session::{Session, view_json, with_log_hint};
use crate::error::{Failure, Result};
use crate::output::{Align, Cells, ROWS_SHOWN_MAX, TextTable, count_text, json_texts};
use crate::view::ColumnView;

/// How many whole rows are read together.
const ROWS_READ_MAX: usize = 1_000;

/// Show the cells that differ between two revisions of a table
///
/// A and B are numbers, branches, tags or times; A..B is both. In JSON an array of {_rowid, column, old, new}. A whole row that was
/// added or dropped has the column null and the row as an object in new or old. A column that was added, dropped,
/// renamed, or got another role or other classes has the _rowid null, and old and new describe it as `tlc table show`
/// does: {name, type, role, classes}, or null where it is not there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc table diff mnist/train 0 1
  tlc table diff mnist/train main cleanup
  tlc table diff mnist/train main..cleanup
  tlc table diff mnist/train before-cleanup main --json")]
pub(in crate::command) struct Diff {
    /// The table, as PROJECT/TABLE
    table: TableSpec,
    /// The revision to start from, or both as A..B
    #[arg(value_name = "A")]
    from: String,
    /// The revision to compare with [default: the head of main]
    #[arg(value_name = "B")]
    to: Option<String>,
}

/// A diff and the two snapshots it lies between.
pub(in crate::command) struct Between {
    pub(in crate::command) from: Snapshot,
    pub(in crate::command) to: Snapshot,
    pub(in crate::command) diff: CoreDiff,
}

impl Diff {
    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        if self.table.revision.is_some() {
            return Err(Failure::usage(format!(
                "write the two revisions after the table: {} names a third",
                self.table
            )));
        }
        block_on(self.between(session))?.show(session)
    }

    async fn between(&self, session: &Session) -> Result<Between> {
        let table = session.table(&self.table).await?;
        let found = async {
            let (from, to) = ends(&self.from, self.to.as_deref());
            let (from, to) = (table.resolve(from).await?, table.resolve(to).await?);
            let diff = table.diff(from, to).await?;
            Ok::<_, Error>(Between {
                from: table.at(from).await?,
                to: table.at(to).await?,
                diff,
            })
        };
        found.await.map_err(|err| with_log_hint(err, &self.table))
    }
}

/// What `A B`, `A..B` and `A` compare, each side of the dots being `main` if nothing is there.
fn ends<'a>(from: &'a str, to: Option<&'a str>) -> (&'a str, &'a str) {
    let or_main = |text: &'a str| if text.is_empty() { "main" } else { text };
    match (to, from.split_once("..")) {
        (Some(to), _) => (from, to),
        (None, Some((from, to))) => (or_main(from), or_main(to)),
        (None, None) => (from, "main"),
    }
}

/// Shows cells of a snapshot that are, or would be, set, as a diff shows them.
pub(in crate::command) fn show_cells(
    session: &Session,
    snapshot: &Snapshot,
    cells: Vec<CellsDiff>,
) -> Result<()> {
    let diff = CoreDiff {
        cells,
        ..CoreDiff::default()
    };
    let (from, to) = (snapshot.clone(), snapshot.clone());
    Between { from, to, diff }.show(session)
}

impl Between {
    fn show(&self, session: &Session) -> Result<()> {
        if !session.json {
            return Ok(session.out.print(&self.to_text()?)?);
        }
        let mut target = session.out.target();
        self.write_json(&mut target)?;
        Ok(target.finish()?)
    }

    /// Writes the array item by item, columns first; whole rows are read a thousand at a time.
    pub(in crate::command) fn write_json(&self, target: &mut dyn Write) -> Result<()> {
        let mut items = Items { target, n_items: 0 };
        for name in &self.diff.columns_added {
            let new = column_json(column(&self.to, name.as_str()))?;
            items.write("null", &json_text(name.as_str()), "null", &new)?;
        }
        for name in &self.diff.columns_dropped {
            let old = column_json(column(&self.from, name.as_str()))?;
            items.write("null", &json_text(name.as_str()), &old, "null")?;
        }
        for column in &self.diff.columns_changed {
            let (old, new) = (Some(&column.old), Some(&column.new));
            let (old, new) = (column_json(old)?, column_json(new)?);
            items.write("null", &json_text(column.new.name()), &old, &new)?;
        }
        for cells in &self.diff.cells {
            let (before, after) = self.fields(cells);
            let column = json_text(cells.column.as_str());
            let (old, new) = (
                json_texts(&before, &cells.old)?,
                json_texts(&after, &cells.new)?,
            );
            for (row, row_id) in cells.row_ids.iter().enumerate() {
                items.write(
                    &row_id.to_string(),
                    &column,
                    text(&old, row),
                    text(&new, row),
                )?;
            }
        }
        items.write_rows(&self.from, &self.diff.rows_dropped, |items, row_id, row| {
            items.write(row_id, "null", row, "null")
        })?;
        items.write_rows(&self.to, &self.diff.rows_added, |items, row_id, row| {
            items.write(row_id, "null", "null", row)
        })?;
        let end = if items.n_items == 0 { "[]\n" } else { "]\n" };
        Ok(target.write_all(end.as_bytes())?)
    }

    pub(in crate::command) fn to_text(&self) -> CoreResult<String> {
        let names = ["_rowid", "column", "old", "new"];
        let mut table = TextTable::new(names.map(|name| {
            (
                name,
                if name == "_rowid" {
                    Align::Right
                } else {
                    Align::Left
                },
            )
        }));
        for cells in &self.diff.cells {
            let (before, after) = self.fields(cells);
            let (old, new) = (
                Cells::new(&before, &cells.old)?,
                Cells::new(&after, &cells.new)?,
            );
            for (row, row_id) in cells
                .row_ids
                .iter()
                .enumerate()
                .take(ROWS_SHOWN_MAX - table.n_rows())
            {
                table.row([
                    row_id.to_string(),
                    cells.column.to_string(),
                    old.text(row),
                    new.text(row),
                ]);
            }
        }
        let n_cells: usize = self
            .diff
            .cells
            .iter()
            .map(|cells| cells.row_ids.len())
            .sum();
        let mut text = if n_cells > 0 {
            table.to_text()
        } else {
            String::new()
        };
        if n_cells > table.n_rows() {
            text += &format!(
                "(the first {} cells; for all of them use --json)\n",
                table.n_rows()
            );
        }
        text += &self.summary(n_cells)?;
        Ok(text)
    }

    fn summary(&self, n_cells: usize) -> CoreResult<String> {
        let ids = |ids: &[u64]| {
            let shown: Vec<String> = ids.iter().take(10).map(ToString::to_string).collect();
            let more = if ids.len() > shown.len() { ", …" } else { "" };
            format!(" (_rowid {}{more})", shown.join(", "))
        };
        let (added, dropped) = (&self.diff.rows_added, &self.diff.rows_dropped);
        let mut lines = vec![format!("{} set", count_text(n_cells as u64, "cell"))];
        if !added.is_empty() {
            lines.push(format!(
                "{} added{}",
                count_text(added.len() as u64, "row"),
                ids(added)
            ));
        }
        if !dropped.is_empty() {
            lines.push(format!(
                "{} dropped{}",
                count_text(dropped.len() as u64, "row"),
                ids(dropped)
            ));
        }
        lines.extend(
            self.diff
                .columns_added
                .iter()
                .map(|column| format!("column {column} added")),
        );
        lines.extend(
            self.diff
                .columns_dropped
                .iter()
                .map(|column| format!("column {column} dropped")),
        );
        for column in &self.diff.columns_changed {
            lines.extend(column_changes(&column.old, &column.new)?);
        }
        Ok(lines.join("\n") + "\n")
    }

    /// The column of some cells as the one and as the other has it: a class may have another name by then.
    fn fields(&self, cells: &CellsDiff) -> (FieldRef, FieldRef) {
        let name = cells.column.as_str();
        let data_type = || cells.new.data_type().clone();
        let new = column(&self.to, name).cloned();
        let new = new.unwrap_or_else(|| Arc::new(Field::new(name, data_type(), true)));
        let mut changed = self.diff.columns_changed.iter();
        let old = changed.find(|column| column.new.name() == name);
        let old = old.map_or_else(|| Arc::clone(&new), |column| Arc::clone(&column.old));
        (old, new)
    }
}

/// The items of the JSON array, written as they come.
struct Items<'a> {
    target: &'a mut dyn Write,
    n_items: u64,
}

impl Items<'_> {
    /// Writes one item, whose members are JSON.
    fn write(&mut self, row_id: &str, column: &str, old: &str, new: &str) -> Result<()> {
        let before = if self.n_items == 0 { '[' } else { ',' };
        self.n_items += 1;
        Ok(write!(
            self.target,
            "{before}{{\"_rowid\":{row_id},\"column\":{column},\"old\":{old},\"new\":{new}}}"
        )?)
    }

    /// Writes an item for each of these rows of `snapshot`, given its id and itself as an object.
    fn write_rows(
        &mut self,
        snapshot: &Snapshot,
        row_ids: &[u64],
        item: impl Fn(&mut Self, &str, &str) -> Result<()>,
    ) -> Result<()> {
        let columns: Vec<&str> = snapshot
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        for row_ids in row_ids.chunks(ROWS_READ_MAX) {
            let rows = objects(block_on(snapshot.take(row_ids, &columns))?)?;
            for (row, row_id) in row_ids.iter().enumerate() {
                item(self, &row_id.to_string(), text(&rows, row))?;
            }
        }
        Ok(())
    }
}

/// Each row as a JSON object.
fn objects(batch: RecordBatch) -> CoreResult<StringArray> {
    let row = Arc::new(Field::new(
        "row",
        DataType::Struct(batch.schema().fields().clone()),
        false,
    ));
    json_texts(&row, &StructArray::from(batch))
}

/// A column as a snapshot has it.
fn column<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a FieldRef> {
    let found = snapshot.schema().fields().find(name);
    found.map(|(_, field)| field)
}

/// What a column is, as JSON.
fn column_json(field: Option<&FieldRef>) -> CoreResult<String> {
    match field {
        Some(field) => view_json(&ColumnView::from(field.as_ref())),
        None => Ok("null".to_owned()),
    }
}

/// The JSON of a cell.
pub(super) fn text(texts: &StringArray, row: usize) -> &str {
    if texts.is_null(row) {
        "null"
    } else {
        texts.value(row)
    }
}

/// Text as JSON.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_revisions_are_two_words_or_one_with_dots() {
        let check = |from: &str, to: Option<&str>, expected: (&str, &str)| {
            assert_eq!(ends(from, to), expected, "{from} {to:?}");
        };
        check("3", Some("fix"), ("3", "fix"));
        check("3..fix", None, ("3", "fix"));
        check("fix", None, ("fix", "main"));
        check("fix..", None, ("fix", "main"));
        check("..fix", None, ("main", "fix"));
        check("a..b", Some("c"), ("a..b", "c"));
    }
}
