//! What a table is at a revision, folded from its log. Pure: no store, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::format::table::{CellsSet, Entry, RowsAdded, RowsDropped};
use crate::format::{decode, decode_schema, decode_value};
use crate::id::Revision;

/// More row ids than a table ever gives: sums of them do not overflow.
const ROW_IDS_MAX: u64 = 1 << 62;

/// A log entry as it was read, with the hash that its children name it by.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) entry: Entry,
    pub(crate) hash: String,
    pub(crate) bytes: u64,
}

impl Loaded {
    /// Reads entry `revision` of `table`.
    ///
    /// # Errors
    /// Naming the entry: [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is none,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is of a newer format.
    pub(crate) fn read(table: &str, revision: Revision, bytes: &[u8]) -> Result<Self> {
        let what = format!("revision {revision} of table {table}");
        let entry: Entry = decode(&what, bytes)?;
        if entry.revision != revision.0 {
            return Err(Error::corrupt(format!(
                "{what} says it is revision {}",
                entry.revision
            )));
        }
        Ok(Self {
            entry,
            hash: blake3::hash(bytes).to_hex().to_string(),
            bytes: bytes.len() as u64,
        })
    }
}

/// The rows, columns and edits of a table at one revision, by reference to the files that hold them.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) schema: SchemaRef,
    /// What rows hold in columns that their file does not have, by column id.
    pub(crate) defaults: BTreeMap<i32, ArrayRef>,
    /// By first row id, ascending; ranges do not meet.
    pub(crate) files: Vec<RowsAdded>,
    pub(crate) dropped: Vec<RowsDropped>,
    /// Edits by column id, oldest first.
    pub(crate) edits: BTreeMap<i32, Vec<CellsSet>>,
    pub(crate) next_row_id: u64,
}

impl State {
    /// Folds the entries that lead from the first revision to one, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the revision that does not follow
    /// from those before it.
    pub(crate) fn fold(table: &str, history: &[Arc<Loaded>]) -> Result<Self> {
        let mut state = Self {
            schema: Arc::new(Schema::empty()),
            defaults: BTreeMap::new(),
            files: Vec::new(),
            dropped: Vec::new(),
            edits: BTreeMap::new(),
            next_row_id: 0,
        };
        for loaded in history {
            let revision = loaded.entry.revision;
            let unfit = |err: Error| {
                err.context(format!(
                    "revision {revision} of table {table} does not follow from those before it"
                ))
            };
            state.apply(&loaded.entry).map_err(unfit)?;
        }
        Ok(state)
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        if let Some(schema) = &entry.schema {
            self.schema = decode_schema(schema)?;
        }
        for added in &entry.columns_added {
            self.defaults
                .insert(added.column, decode_value(&added.default)?);
        }
        if entry.next_row_id < self.next_row_id || entry.next_row_id > ROW_IDS_MAX {
            let next = entry.next_row_id;
            return Err(Error::corrupt(format!("{next} cannot be the next row id")));
        }
        for rows in &entry.rows_added {
            let end = rows.first_row_id.checked_add(rows.rows);
            if rows.first_row_id < self.next_row_id || end.is_none_or(|end| end > entry.next_row_id)
            {
                return Err(Error::corrupt(format!(
                    "the rows of {} have ids that are taken",
                    rows.file
                )));
            }
            self.next_row_id = rows.first_row_id + rows.rows;
            self.files.push(rows.clone());
        }
        self.next_row_id = entry.next_row_id;
        self.dropped.extend(entry.rows_dropped.clone());
        for cells in &entry.cells_set {
            self.edits
                .entry(cells.column)
                .or_default()
                .push(cells.clone());
        }
        Ok(())
    }
}

/// The entries from the first to `revision`, following parents, each checked against the hash that
/// its child names it by.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such revision;
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if a parent is not the one that was meant.
pub(crate) fn history(
    table: &str,
    entries: &[Arc<Loaded>],
    revision: Revision,
) -> Result<Vec<Arc<Loaded>>> {
    let at = |revision: u64| {
        usize::try_from(revision)
            .ok()
            .and_then(|index| entries.get(index))
    };
    let Some(mut last) = at(revision.0) else {
        let head = entries.len().saturating_sub(1);
        return Err(Error::not_found(format!(
            "table {table} has no revision {revision}; its newest is {head}"
        )));
    };
    let mut chain = vec![Arc::clone(last)];
    while let Some(parent) = last.entry.parents.first() {
        let own = last.entry.revision;
        let wrong = || {
            Error::corrupt(format!(
                "revision {own} of table {table} names a parent {} that is not the one in the log",
                parent.revision
            ))
        };
        let found =
            at(parent.revision).filter(|found| parent.revision < own && found.hash == parent.hash);
        last = found.ok_or_else(wrong)?;
        chain.push(Arc::clone(last));
    }
    if last.entry.revision != Revision::FIRST.0 {
        let own = last.entry.revision;
        return Err(Error::corrupt(format!(
            "revision {own} of table {table} names no parent"
        )));
    }
    chain.reverse();
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::encode;
    use crate::format::table::ParentRef;

    fn log(n: u64) -> Vec<Arc<Loaded>> {
        let mut entries: Vec<Arc<Loaded>> = Vec::new();
        for revision in 0..n {
            let parents = entries.last().map(|last| ParentRef {
                revision: revision - 1,
                hash: last.hash.clone(),
            });
            let entry = Entry {
                format: 1,
                revision,
                parents: parents.into_iter().collect(),
                ..Entry::default()
            };
            entries.push(Arc::new(
                Loaded::read("t", Revision(revision), &encode(&entry).unwrap()).unwrap(),
            ));
        }
        entries
    }

    #[test]
    fn a_history_runs_from_the_first_to_the_one_asked_for() {
        let numbers = |revision| {
            let chain = history("t", &log(5), Revision(revision)).unwrap();
            chain
                .iter()
                .map(|loaded| loaded.entry.revision)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), [0]);
        assert_eq!(numbers(3), [0, 1, 2, 3]);
        assert_eq!(
            history("t", &log(5), Revision(5)).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn an_entry_that_was_changed_after_the_fact_is_found_out() {
        let mut entries = log(3);
        let forged = Entry {
            message: "forged".into(),
            ..entries[1].entry.clone()
        };
        entries[1] = Arc::new(Loaded::read("t", Revision(1), &encode(&forged).unwrap()).unwrap());
        let err = history("t", &entries, Revision(2)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
        assert!(err.to_string().contains("revision 2 of table t"), "{err}");
    }

    #[test]
    fn a_history_that_begins_in_the_middle_is_corrupt() {
        let mut entries = log(3);
        let orphan = Entry {
            parents: Vec::new(),
            ..entries[2].entry.clone()
        };
        let bytes = encode(&orphan).unwrap();
        entries[2] = Arc::new(Loaded::read("t", Revision(2), &bytes).unwrap());
        let err = history("t", &entries, Revision(2)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn row_ids_that_go_back_or_run_out_are_corrupt() {
        for (next_row_id, ok) in [(5, true), (9, true), (4, false), (u64::MAX, false)] {
            let mut state = State::fold("t", &[]).unwrap();
            state.next_row_id = 5;
            let entry = Entry {
                next_row_id,
                ..Entry::default()
            };
            assert_eq!(state.apply(&entry).is_ok(), ok, "{next_row_id}");
        }
    }

    #[test]
    fn an_entry_under_another_number_is_corrupt() {
        let entry = encode(&Entry {
            format: 1,
            revision: 4,
            ..Entry::default()
        })
        .unwrap();
        assert_eq!(
            Loaded::read("t", Revision(3), &entry).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }

    #[test]
    fn rows_with_ids_that_are_taken_are_corrupt() {
        let rows = |first_row_id, rows| RowsAdded {
            file: "f".into(),
            first_row_id,
            rows,
            bytes: 1,
            in_place: None,
        };
        for (second, ok) in [
            (rows(5, 2), true),
            (rows(4, 2), false),
            (rows(u64::MAX, 2), false),
        ] {
            let mut state = State::fold("t", &[]).unwrap();
            state
                .apply(&Entry {
                    rows_added: vec![rows(0, 5)],
                    next_row_id: 5,
                    ..Entry::default()
                })
                .unwrap();
            let entry = Entry {
                rows_added: vec![second],
                next_row_id: 7,
                ..Entry::default()
            };
            assert_eq!(state.apply(&entry).is_ok(), ok);
        }
    }
}
