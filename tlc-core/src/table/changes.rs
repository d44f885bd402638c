//! What happened between two revisions, as changes of rows and cells.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Table;
use super::history::{Loaded, fork, line};
use super::rows::rows_between;
use super::snapshot::{Snapshot, read_edits};
use super::state::{Filed, State};
use crate::error::Result;
use crate::format::table::CellsSet;
use crate::id::Revision;
use crate::patch::merge::{CellSet, Changes};
use crate::patch::overlay::Overlay;

impl Table {
    /// What turns `from` into `to`: values that cells of `to` have and that a revision between the two
    /// set, rows that come and go. A cell that was set to the value it had is among them.
    ///
    /// Reads the edits of the revisions between, and the footers of files whose rows came or went;
    /// where `from` is not on the line of `to`, also the values that those on its own line had set.
    pub(super) async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes> {
        let (old, new) = (from.revision().0, to.revision().0);
        let meet = self.ancestry(|known| fork(known, old, new)).await?;
        let mut changes = Changes {
            cells: self.edits_between(meet, new, to).await?,
            ..Changes::default()
        };
        let undone = self.edits_between(meet, old, to).await?;
        for (column, overlay) in undone {
            let set = changes.cells.get(&column);
            let lost = overlay.row_ids().iter().copied();
            let lost =
                lost.filter(|id| to.contains(*id) && set.is_none_or(|set| set.get(*id).is_none()));
            let lost: Vec<u64> = lost.collect();
            if let Some(values) = self.values(to, column, &lost).await? {
                changes.set(column, values)?;
            }
        }
        changes.retain_cells(|_, row_id| to.contains(row_id))?;
        (changes.added, changes.dropped) = rows_between(from, to).await?;
        Ok(changes)
    }

    /// The revisions after `from` up to `to` on its line, oldest first.
    pub(super) async fn line(&self, from: u64, to: u64) -> Result<Vec<Arc<Loaded>>> {
        self.ancestry(|known| {
            let numbers = line(known, from, to)?;
            numbers
                .iter()
                .map(|number| known.get(*number).cloned())
                .collect()
        })
        .await
    }

    /// All revisions on the line of `to`, oldest first. Reads the whole log once.
    pub(super) async fn line_from_first(&self, to: u64) -> Result<Vec<Arc<Loaded>>> {
        let mut line = vec![self.entry(0).await?];
        line.extend(self.line(0, to).await?);
        Ok(line)
    }

    /// The edits of a column as the log names them, whatever checkpoints folded. Reads the whole log.
    pub(super) async fn edits_by_log(
        &self,
        revision: Revision,
        column: i32,
    ) -> Result<Vec<Filed<CellsSet>>> {
        let mut state = State::default();
        for loaded in self.line_from_first(revision.0).await? {
            state.apply(&loaded.entry)?;
        }
        Ok(state.edits.remove(&column).unwrap_or_default())
    }

    /// The cells set after `from` up to `to` on one line, with their last values, for columns that
    /// `shaped` has.
    async fn edits_between(
        &self,
        from: u64,
        to: u64,
        shaped: &Snapshot,
    ) -> Result<BTreeMap<i32, Overlay>> {
        let line = self.line(from, to).await?;
        let mut by_column: BTreeMap<i32, Vec<&CellsSet>> = BTreeMap::new();
        for set in line.iter().flat_map(|loaded| &loaded.entry.cells_set) {
            by_column.entry(set.column).or_default().push(set);
        }
        let mut edits = BTreeMap::new();
        for (column, sets) in by_column {
            let Some(field) = shaped.resolved().state.field(column) else {
                continue;
            };
            let chunks = read_edits(self.place(), sets.into_iter(), field).await?;
            if let Some(overlay) = Overlay::fold(&chunks)? {
                // Perhaps written before there was an alias, and compared with what is written now.
                let values = shaped
                    .resolved()
                    .aliases
                    .shorten_array(overlay.values(), field)?;
                edits.insert(column, overlay.with_values(values));
            }
        }
        Ok(edits)
    }

    /// The values of some cells of one column, of rows that the snapshot has, ascending; paths as they
    /// are stored.
    pub(super) async fn values(
        &self,
        snapshot: &Snapshot,
        column: i32,
        row_ids: &[u64],
    ) -> Result<Option<Overlay>> {
        let Some(field) = snapshot
            .resolved()
            .state
            .field(column)
            .filter(|_| !row_ids.is_empty())
        else {
            return Ok(None);
        };
        if let Some(values) = snapshot.numbers(column, field, row_ids).await? {
            return Overlay::of(row_ids.to_vec(), values);
        }
        let taken = snapshot.take(row_ids, &[field.name()]).await?;
        let aliases = &snapshot.resolved().aliases;
        Overlay::of(
            row_ids.to_vec(),
            aliases.shorten_array(taken.column(0), field)?,
        )
    }

    /// The cells of `cells` whose values differ between `changes` and `before`; others are no change.
    pub(super) async fn really_changed(
        &self,
        cells: CellSet,
        changes: &Changes,
        before: &Snapshot,
    ) -> Result<CellSet> {
        let mut changed = CellSet::new();
        for (column, rows) in cells {
            let there: Vec<u64> = rows
                .iter()
                .copied()
                .filter(|id| before.contains(*id))
                .collect();
            let old = self.values(before, column, &there).await?;
            let same = |row_id: &u64| {
                let old = old.as_ref().and_then(|old| old.get(*row_id));
                let new = changes.cells.get(&column).and_then(|new| new.get(*row_id));
                old.is_some_and(|old| new.is_some_and(|new| new.to_data() == old.to_data()))
            };
            let rows: Vec<u64> = rows
                .iter()
                .copied()
                .filter(|row_id| !same(row_id))
                .collect();
            if !rows.is_empty() {
                changed.insert(column, rows);
            }
        }
        Ok(changed)
    }
}
