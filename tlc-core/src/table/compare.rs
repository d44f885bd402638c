//! Comparing two states by their folded edits: what edit files between them say need not be read
//! where all edits of both are at hand, and the rows lie in the same files.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Table;
use super::diff::{CellsDiff, different};
use super::snapshot::Snapshot;
use super::state::span;
use crate::error::Result;
use crate::patch::overlay::Overlay;

/// An edit file costs about as much to read as so many cells in memory.
const CELLS_OF_A_FILE: u64 = 20_000;

impl Table {
    /// The cells that differ between two states; `None` where reading the edits between them is less
    /// work, or where this way cannot tell.
    pub(super) async fn compared(
        &self,
        old: &Snapshot,
        new: &Snapshot,
    ) -> Result<Option<Vec<CellsDiff>>> {
        let Some(columns) = worth_comparing(old, new) else {
            return Ok(None);
        };
        let mut cells = Vec::new();
        for column in columns {
            let Some(field) = new.resolved().state.field(column) else {
                continue;
            };
            let before = old.resolved().overlay(self, column).await?;
            let after = new.resolved().overlay(self, column).await?;
            let ids = edited_rows(old, new, before.as_deref(), after.as_deref());
            let Some(base) = new.base_numbers(column, field, &ids).await? else {
                return Ok(None);
            };
            let edited = |overlay: Option<Arc<Overlay>>| match overlay {
                Some(overlay) => overlay.apply(&ids, &base),
                None => Ok(Arc::clone(&base)),
            };
            let (before, after) = (edited(before)?, edited(after)?);
            cells.extend(different(field.name().parse()?, &ids, &before, &after)?);
        }
        Ok(Some(cells))
    }
}

/// The rows of both states of which one has an edit, ascending.
fn edited_rows(
    old: &Snapshot,
    new: &Snapshot,
    before: Option<&Overlay>,
    after: Option<&Overlay>,
) -> Vec<u64> {
    let mut ids = Vec::new();
    for file in new.resolved().state.files.iter() {
        let rows = span(&file.file);
        let [before, after] = [before, after].map(|overlay| match overlay {
            Some(overlay) => overlay.row_ids_in(&rows),
            None => &[],
        });
        union(&mut ids, before, after);
    }
    let (gone, to_come) = (&old.resolved().dropped, &new.resolved().dropped);
    if !(gone.is_empty() && to_come.is_empty()) {
        ids.retain(|id| !gone.contains(*id) && !to_come.contains(*id));
    }
    ids
}

/// The columns whose edits differ, if all of both states' are less work than those between them: then
/// all are numbers, and rows that both have are the same rows of the same files.
fn worth_comparing(old: &Snapshot, new: &Snapshot) -> Option<BTreeSet<i32>> {
    let (before, after) = (old.resolved(), new.resolved());
    if before.state.files != after.state.files {
        return None;
    }
    let edited = before.state.edits.keys().chain(after.state.edits.keys());
    let is_in_both = |column: &&i32| {
        before.state.field(**column).is_some() && after.state.field(**column).is_some()
    };
    let differs = |column: &&i32| before.state.edits.get(column) != after.state.edits.get(column);
    let columns: BTreeSet<i32> = edited.filter(is_in_both).filter(differs).copied().collect();
    let mut cost = 0;
    for column in &columns {
        let (own, other) = (before.state.field(*column)?, after.state.field(*column)?);
        if own.data_type() != other.data_type() || !own.data_type().is_primitive() {
            return None;
        }
        let n_unread = before.edits_unread(*column) + after.edits_unread(*column);
        let n_cells = old.n_edits(*column) + new.n_edits(*column);
        cost += n_unread as u64 + n_cells / CELLS_OF_A_FILE;
    }
    (cost <= after.revision.0.abs_diff(before.revision.0)).then_some(columns)
}

/// Adds what is in one of `a` and `b`, each ascending, to `out`.
fn union(out: &mut Vec<u64>, a: &[u64], b: &[u64]) {
    out.reserve(a.len().max(b.len()));
    let (mut own, mut other) = (0, 0);
    // No branch depends on which id comes next: nobody could guess it.
    while let (Some(first), Some(second)) = (a.get(own), b.get(other)) {
        out.push(*first.min(second));
        own += usize::from(first <= second);
        other += usize::from(second <= first);
    }
    out.extend(a.iter().skip(own).chain(b.iter().skip(other)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_one_of_two_lists_comes_once_and_in_order() {
        let check = |a: &[u64], b: &[u64], expected: &[u64]| {
            let mut out = vec![0];
            union(&mut out, a, b);
            assert_eq!(out[1..], *expected);
        };
        check(&[], &[], &[]);
        check(&[1, 3], &[], &[1, 3]);
        check(&[1, 3, 9], &[2, 3, 4], &[1, 2, 3, 4, 9]);
    }
}
