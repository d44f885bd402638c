//! Aligned tables for people.

use std::io::Write as _;

use tlc_core::arrow::array::RecordBatch;
use tlc_core::arrow::datatypes::{DataType, Field, SchemaRef};
use tlc_core::{Result, schema};
use unicode_width::UnicodeWidthStr as _;

use super::text::{Cells, count_text, escaped};
use super::{RowWriter, Target, unwritten};

/// How many rows of a result a person sees.
pub const ROWS_SHOWN_MAX: usize = 1_000;

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Text in columns. The columns are as wide as their widest cell.
#[derive(Clone, Debug, Default)]
pub struct TextTable {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these headings and no rows.
    #[must_use]
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(name, align)| (name.into(), align))
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell for each column. Control characters are escaped: they would break the row, or speak to the terminal.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(Into::into);
        let cells = cells.map(|cell| match cell.contains(char::is_control) {
            true => escaped(&cell),
            false => cell,
        });
        self.rows.push(cells.collect());
    }

    /// How many rows it has.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The table as lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| self.width(column))
            .collect();
        let mut text = String::new();
        self.push_line(
            &mut text,
            self.columns.iter().map(|(name, _)| name.as_str()),
            &widths,
        );
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        self.push_line(&mut text, rules.iter().map(String::as_str), &widths);
        for row in &self.rows {
            self.push_line(&mut text, row.iter().map(String::as_str), &widths);
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.width());
        cells
            .max()
            .unwrap_or(0)
            .max(self.columns.get(column).map_or(0, |(name, _)| name.width()))
    }

    fn push_line<'a>(
        &self,
        text: &mut String,
        cells: impl Iterator<Item = &'a str>,
        widths: &[usize],
    ) {
        let start = text.len();
        for ((cell, width), (position, (_, align))) in
            cells.zip(widths).zip(self.columns.iter().enumerate())
        {
            let gap = if position == 0 { "" } else { "  " };
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            match align {
                Align::Left => text.extend([gap, cell, &padding]),
                Align::Right => text.extend([gap, &padding, cell]),
            }
        }
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
}

/// An empty table for rows of `schema`.
fn heading(schema: &SchemaRef) -> TextTable {
    TextTable::new(
        schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), align(field))),
    )
}

fn align(field: &Field) -> Align {
    let named = schema::classes(field).is_ok_and(|classes| !classes.is_empty());
    let is_number = field.data_type().is_numeric() && !named;
    if is_number || matches!(field.data_type(), DataType::Duration(_)) {
        Align::Right
    } else {
        Align::Left
    }
}

fn push_rows(table: &mut TextTable, batch: &RecordBatch, n_rows: usize) -> Result<()> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let cells = columns
        .map(|(field, array)| Cells::new(field, array))
        .collect::<Result<Vec<_>>>()?;
    for row in 0..n_rows.min(batch.num_rows()) {
        table.row(cells.iter().map(|cells| cells.text(row)));
    }
    Ok(())
}

/// The rows of a batch as a table.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) for a type that has no text.
pub fn rows_table(batch: &RecordBatch) -> Result<String> {
    let mut table = heading(&batch.schema());
    push_rows(&mut table, batch, batch.num_rows())?;
    Ok(table.to_text())
}

/// Keeps the first rows as text, counts the others, and prints at the end: only then is it known how wide
/// a column is.
pub(super) struct Writer {
    table: TextTable,
    n_rows: u64,
    target: Target,
}

impl Writer {
    pub(super) fn new(schema: &SchemaRef, target: Target) -> Self {
        Self {
            table: heading(schema),
            n_rows: 0,
            target,
        }
    }
}

impl RowWriter for Writer {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.n_rows += batch.num_rows() as u64;
        let n_missing = ROWS_SHOWN_MAX - self.table.n_rows();
        push_rows(&mut self.table, batch, n_missing)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let shown = self.table.n_rows() as u64;
        let footer = if shown == self.n_rows {
            format!("({})", count_text(shown, "row"))
        } else {
            let all = count_text(self.n_rows, "row");
            format!(
                "(the first {shown} of {all}; for all of them use --format csv, or -o FILE.parquet)"
            )
        };
        let text = self.table.to_text();
        writeln!(self.target, "{text}{footer}").map_err(unwritten)?;
        self.target.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = TextTable::new([
            ("n", Align::Right),
            ("name", Align::Left),
            ("x", Align::Left),
        ]);
        table.row(["1", "犬", "a"]);
        table.row(["100", "c\tat\u{1b}", ""]);
        assert_eq!(
            table.to_text(),
            "  n  name         x\n\
             ───  ───────────  ─\n\
             \x20 1  犬           a\n\
             100  c\\tat\\u{1b}\n"
        );
    }
}
