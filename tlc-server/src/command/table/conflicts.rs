//! The cells that two sides changed differently, for people and for programs.

use std::io::Write as _;
use std::sync::Arc;

use tlc_core::arrow::array::ArrayRef;
use tlc_core::arrow::datatypes::{Field, FieldRef};
use tlc_core::{CellConflicts, Conflicts, Result as CoreResult, Snapshot};

use super::diff::{json_text, text};
use crate::error::Result;
use crate::output::{Align, Cells, ROWS_SHOWN_MAX, Target, TextTable, json_texts};

/// Conflicts, and the snapshots that say how their values are shown.
pub(super) struct Shown<'a> {
    pub(super) conflicts: &'a Conflicts,
    pub(super) ours: &'a Snapshot,
    pub(super) theirs: &'a Snapshot,
}

impl Shown<'_> {
    /// A column as the first of the snapshots describes it that has it.
    fn field(&self, column: &str, values: &ArrayRef, of: [&Snapshot; 2]) -> FieldRef {
        let mut fields = of
            .into_iter()
            .filter_map(|snapshot| snapshot.schema().fields().find(column));
        let field = fields.next().map(|(_, field)| Arc::clone(field));
        field.unwrap_or_else(|| Arc::new(Field::new(column, values.data_type().clone(), true)))
    }

    fn ours(&self, cells: &CellConflicts) -> FieldRef {
        self.field(cells.column.as_str(), &cells.ours, [self.ours, self.theirs])
    }

    fn theirs(&self, cells: &CellConflicts) -> FieldRef {
        self.field(
            cells.column.as_str(),
            &cells.theirs,
            [self.theirs, self.ours],
        )
    }
}

/// The side that dropped the row.
fn dropped(cells: &CellConflicts, row_id: u64) -> Option<&'static str> {
    if cells.ours_dropped.contains(&row_id) {
        Some("ours")
    } else if cells.theirs_dropped.contains(&row_id) {
        Some("theirs")
    } else {
        None
    }
}

/// A table of the cells, and a line for each column.
pub(super) fn conflicts_text(shown: &Shown<'_>) -> CoreResult<String> {
    let mut table = TextTable::new([
        ("_rowid", Align::Right),
        ("column", Align::Left),
        ("base", Align::Left),
        ("ours", Align::Left),
        ("theirs", Align::Left),
    ]);
    for cells in &shown.conflicts.cells {
        let (ours, theirs) = (shown.ours(cells), shown.theirs(cells));
        let base = Cells::new(&ours, &cells.base)?;
        let (own, other) = (
            Cells::new(&ours, &cells.ours)?,
            Cells::new(&theirs, &cells.theirs)?,
        );
        let n_free = ROWS_SHOWN_MAX - table.n_rows();
        for (row, row_id) in cells.row_ids.iter().enumerate().take(n_free) {
            let side = dropped(cells, *row_id);
            let value = |name, cells: &Cells<'_>| match side == Some(name) {
                true => "dropped".to_owned(),
                false => cells.text(row),
            };
            table.row([
                row_id.to_string(),
                cells.column.to_string(),
                base.text(row),
                value("ours", &own),
                value("theirs", &other),
            ]);
        }
    }
    let mut text = match table.n_rows() {
        0 => String::new(),
        _ => table.to_text(),
    };
    if shown.conflicts.n_cells() > table.n_rows() {
        text += &format!(
            "(the first {} cells; for all of them use --json)\n",
            table.n_rows()
        );
    }
    for (column, why) in &shown.conflicts.columns {
        text += &format!("column {column}: {why}\n");
    }
    Ok(text)
}

/// An array of an object a cell, then one a column.
pub(super) fn conflicts_json(shown: &Shown<'_>, mut target: Target) -> Result<()> {
    let mut before = '[';
    for cells in &shown.conflicts.cells {
        let column = json_text(cells.column.as_str());
        let (ours, theirs) = (shown.ours(cells), shown.theirs(cells));
        let base = json_texts(&ours, &cells.base)?;
        let (own, other) = (
            json_texts(&ours, &cells.ours)?,
            json_texts(&theirs, &cells.theirs)?,
        );
        for (row, row_id) in cells.row_ids.iter().enumerate() {
            let dropped = dropped(cells, *row_id)
                .map(|side| format!(",\"dropped\":\"{side}\""))
                .unwrap_or_default();
            let values = [&base, &own, &other].map(|values| text(values, row));
            let [base, own, other] = values;
            write!(
                target,
                "{before}{{\"_rowid\":{row_id},\"column\":{column},\"base\":{base},\"ours\":{own},\"theirs\":{other}{dropped}}}"
            )?;
            before = ',';
        }
    }
    for (column, why) in &shown.conflicts.columns {
        let (column, why) = (json_text(column), json_text(why));
        write!(
            target,
            "{before}{{\"_rowid\":null,\"column\":{column},\"base\":null,\"ours\":null,\"theirs\":null,\"why\":{why}}}"
        )?;
        before = ',';
    }
    let end = if before == '[' { "[]\n" } else { "]\n" };
    target.write_all(end.as_bytes())?;
    Ok(target.finish()?)
}
