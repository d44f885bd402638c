//! Which files a table's entries and checkpoints name, and which files it has. What is in no list of
//! the first kind, but in the second, belongs to nobody.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use object_store::ObjectMeta;

use super::Table;
use super::state::{Dropping, State};
use crate::error::Result;
use crate::format::checkpoint as record;
use crate::format::table::{CellsSet, Entry, RowIds, RowsAdded};

/// The folders of a table whose files are named by entries or checkpoints.
pub(super) const FOLDERS: [&str; 4] = ["data", "edits", "deletes", "checkpoints"];

/// A file that is named, with what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Named {
    Rows(RowsAdded),
    RowIds(RowIds),
    Cells(CellsSet),
}

impl Named {
    /// Its name below the table, or the URL of one that is used in place.
    pub(super) fn file(&self) -> &str {
        match self {
            Self::Rows(rows) => &rows.file,
            Self::RowIds(ids) => &ids.file,
            Self::Cells(cells) => &cells.file,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Rows(rows) => rows.bytes,
            Self::RowIds(ids) => ids.bytes,
            Self::Cells(cells) => cells.bytes,
        }
    }

    pub(super) fn is_in_place(&self) -> bool {
        matches!(self, Self::Rows(rows) if rows.in_place.is_some())
    }
}

/// The files that an entry names.
pub(super) fn of_entry(entry: &Entry) -> Vec<Named> {
    let compacted = entry.compacted.iter();
    let rows = compacted.clone().flat_map(|compacted| &compacted.rows);
    let rows = rows.chain(&entry.rows_added).cloned().map(Named::Rows);
    let ids = compacted.flat_map(|compacted| &compacted.left_behind);
    let ids = ids.chain(&entry.rows_dropped).chain(&entry.rows_restored);
    let ids = ids.cloned().map(Named::RowIds);
    let cells = entry.cells_set.iter().cloned().map(Named::Cells);
    rows.chain(ids).chain(cells).collect()
}

/// The files that a state is read from.
pub(super) fn of_state(state: &State) -> Vec<Named> {
    let rows = state
        .files
        .iter()
        .map(|rows| Named::Rows(rows.file.clone()));
    let dropped = state.dropped.iter().map(|change| match &change.file {
        Dropping::Dropped(ids) | Dropping::Restored(ids) => Named::RowIds(ids.clone()),
    });
    let left = state.left_behind.iter().cloned().map(Named::RowIds);
    let cells = state.edits.values().flatten();
    let cells = cells.map(|cells| Named::Cells(cells.file.clone()));
    rows.chain(dropped).chain(left).chain(cells).collect()
}

/// The files that a folded state is read from.
pub(super) fn of_folded(state: &record::State) -> Vec<Named> {
    let rows = state.rows.iter().map(|rows| Named::Rows(rows.file.clone()));
    let ids = state.dropped.iter().chain(&state.left_behind);
    let ids = ids.cloned().map(Named::RowIds);
    let cells = state
        .cells
        .iter()
        .map(|cells| Named::Cells(cells.file.clone()));
    rows.chain(ids).chain(cells).collect()
}

impl Table {
    /// All files below the table by their names there. One listing.
    pub(super) async fn files(&self) -> Result<BTreeMap<String, ObjectMeta>> {
        let place = self.place();
        let folder = format!("{}/", place.path);
        let listing = place
            .store
            .list(Some(&place.path))
            .map_err(crate::Error::from);
        listing
            .try_filter_map(|file| {
                let name = file.location.as_ref().strip_prefix(&folder);
                let found = name.map(|name| (name.to_owned(), file.clone()));
                async move { Ok(found) }
            })
            .try_collect()
            .await
    }
}

/// Whether a name is that of a log entry.
pub(super) fn is_entry(name: &str) -> bool {
    name.strip_prefix("log/")
        .and_then(crate::log::number)
        .is_some()
}
