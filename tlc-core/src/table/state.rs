//! What a table is at a revision, folded from its log. Pure: no store, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::format::checkpoint as record;
use crate::format::table::{CellsSet, Compacted, Entry, RowIds, RowsAdded};
use crate::format::{ROW_IDS_MAX, decode_schema, decode_value};
use crate::schema::field_id;

/// More columns than a table ever has: those that a compaction did not keep are listed.
const COLUMN_IDS_MAX: i32 = 1 << 24;

/// The rows, columns and edits of a table at one revision, by reference to the files that hold them.
/// Lists that grow with the table are shared between the states that have them in common.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) schema: SchemaRef,
    /// What rows hold in columns that their file does not have, by column id.
    pub(crate) defaults: Arc<BTreeMap<i32, ArrayRef>>,
    /// By first row id, ascending; ranges do not meet.
    pub(crate) files: Arc<Vec<Filed<RowsAdded>>>,
    /// What was dropped and restored, oldest first.
    pub(crate) dropped: Vec<Filed<Dropping>>,
    /// Dropped rows whose values a compaction did not keep.
    pub(crate) left_behind: Option<RowIds>,
    /// Edits by column id, oldest first.
    pub(crate) edits: BTreeMap<i32, Vec<Filed<CellsSet>>>,
    pub(crate) next_row_id: u64,
    pub(crate) next_column_id: i32,
    /// Columns that a compaction did not keep: those with an id below this that it did not have.
    pub(crate) columns_left: Vec<i32>,
}

/// A file, and the revision that named it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filed<T> {
    pub(crate) revision: u64,
    pub(crate) file: T,
}

/// Rows that went, or that came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dropping {
    Dropped(RowIds),
    Restored(RowIds),
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: Arc::new(Schema::empty()),
            defaults: Arc::default(),
            files: Arc::default(),
            dropped: Vec::new(),
            left_behind: None,
            edits: BTreeMap::new(),
            next_row_id: 0,
            next_column_id: 1,
            columns_left: Vec::new(),
        }
    }
}

impl State {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if no log leads to it.
    pub(crate) fn unfolded(folded: &record::State) -> Result<Self> {
        let mut state = Self {
            schema: decode_schema(&folded.schema)?,
            left_behind: folded.left_behind.clone(),
            next_row_id: folded.next_row_id,
            columns_left: folded.columns_left.clone(),
            ..Self::default()
        };
        state.give_columns(Some(folded.next_column_id))?;
        let defaults = Arc::make_mut(&mut state.defaults);
        for added in &folded.defaults {
            defaults.insert(added.column, decode_value(&added.default)?);
        }
        for rows in &folded.rows {
            state.add_files(rows.revision, std::slice::from_ref(&rows.file))?;
        }
        let dropped = folded.dropped.iter().cloned().map(Dropping::Dropped);
        state.dropped.extend(dropped.map(|file| Filed {
            revision: folded.at.revision,
            file,
        }));
        for cells in &folded.cells {
            let edits = state.edits.entry(cells.file.column).or_default();
            edits.push(Filed {
                revision: cells.revision,
                file: cells.file.clone(),
            });
        }
        Ok(state)
    }

    /// Takes one more entry of the line in. After an error the state is of no use.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if the entry does not follow from those before.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<()> {
        if let Some(compacted) = &entry.compacted {
            self.compact(entry.revision, compacted)?;
        }
        self.apply_columns(entry)?;
        if entry.next_row_id < self.next_row_id || entry.next_row_id > ROW_IDS_MAX {
            let next = entry.next_row_id;
            return Err(Error::corrupt(format!("{next} cannot be the next row id")));
        }
        self.next_row_id = entry.next_row_id;
        self.add_files(entry.revision, &entry.rows_added)?;
        let dropped = entry.rows_dropped.iter().cloned().map(Dropping::Dropped);
        let restored = entry.rows_restored.iter().cloned().map(Dropping::Restored);
        let filed = dropped.chain(restored).map(|file| Filed {
            revision: entry.revision,
            file,
        });
        self.dropped.extend(filed);
        for cells in &entry.cells_set {
            self.edits.entry(cells.column).or_default().push(Filed {
                revision: entry.revision,
                file: cells.clone(),
            });
        }
        Ok(())
    }

    fn apply_columns(&mut self, entry: &Entry) -> Result<()> {
        if let Some(schema) = &entry.schema {
            self.schema = decode_schema(schema)?;
        }
        if !entry.columns_added.is_empty() {
            let defaults = Arc::make_mut(&mut self.defaults);
            for added in &entry.columns_added {
                defaults.insert(added.column, decode_value(&added.default)?);
            }
        }
        self.give_columns(entry.next_column_id)
    }

    /// Takes `next` as the id of the next new column, or the next one that is free.
    fn give_columns(&mut self, next: Option<i32>) -> Result<()> {
        let fields = self.schema.fields().iter();
        let largest = fields.filter_map(|field| field_id(field)).max();
        let needed = largest
            .unwrap_or(0)
            .saturating_add(1)
            .max(self.next_column_id);
        self.next_column_id = next.unwrap_or(needed);
        if self.next_column_id < needed || self.next_column_id > COLUMN_IDS_MAX {
            let next = self.next_column_id;
            return Err(Error::corrupt(format!(
                "{next} cannot be the next column id"
            )));
        }
        Ok(())
    }

    fn add_files(&mut self, revision: u64, added: &[RowsAdded]) -> Result<()> {
        for rows in added {
            let taken =
                || Error::corrupt(format!("the rows of {} have ids that are taken", rows.file));
            let end = rows.first_row_id.checked_add(rows.rows).ok_or_else(taken)?;
            let at = self
                .files
                .partition_point(|other| other.file.first_row_id < rows.first_row_id);
            let before = at.checked_sub(1).and_then(|at| self.files.get(at));
            let meets = before.is_some_and(|other| span(&other.file).end > rows.first_row_id)
                || self
                    .files
                    .get(at)
                    .is_some_and(|other| other.file.first_row_id < end);
            if meets || end > self.next_row_id {
                return Err(taken());
            }
            let file = rows.clone();
            Arc::make_mut(&mut self.files).insert(at, Filed { revision, file });
        }
        Ok(())
    }

    /// Puts new files in the place of all up to a revision; what came later stays upon them.
    fn compact(&mut self, revision: u64, compacted: &Compacted) -> Result<()> {
        let upto = compacted.revision;
        if upto >= revision {
            return Err(Error::corrupt(format!(
                "it replaces what was there by revision {upto}, which is not before it"
            )));
        }
        Arc::make_mut(&mut self.files).retain(|file| file.revision > upto);
        self.dropped.retain(|dropped| dropped.revision > upto);
        for edits in self.edits.values_mut() {
            edits.retain(|edit| edit.revision > upto);
        }
        self.edits.retain(|_, edits| !edits.is_empty());
        let kept: BTreeSet<i32> = self
            .schema
            .fields()
            .iter()
            .filter_map(|field| field_id(field))
            .collect();
        self.columns_left = (1..self.next_column_id)
            .filter(|id| !kept.contains(id))
            .collect();
        self.add_files(revision, &compacted.rows)?;
        self.left_behind.clone_from(&compacted.left_behind);
        let left = compacted.left_behind.iter().cloned();
        let left = left.map(|rows| Filed {
            revision: upto,
            file: Dropping::Dropped(rows),
        });
        self.dropped.splice(0..0, left);
        Ok(())
    }

    /// The column of that id.
    pub(crate) fn field(&self, column: i32) -> Option<&FieldRef> {
        let mut fields = self.schema.fields().iter();
        fields.find(|field| field_id(field) == Some(column))
    }

    /// The file that holds a row, whether or not the row was dropped.
    pub(crate) fn file_of(&self, row_id: u64) -> Option<usize> {
        let after = self
            .files
            .partition_point(|file| file.file.first_row_id <= row_id);
        let at = after.checked_sub(1)?;
        span(&self.files.get(at)?.file)
            .contains(&row_id)
            .then_some(at)
    }
}

/// The ids of a file's rows.
pub(crate) fn span(rows: &RowsAdded) -> Range<u64> {
    rows.first_row_id..rows.first_row_id.saturating_add(rows.rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode_schema;
    use crate::schema;

    fn rows(first_row_id: u64, rows: u64) -> RowsAdded {
        RowsAdded {
            file: format!("f{first_row_id}"),
            first_row_id,
            rows,
            bytes: 1,
            in_place: None,
        }
    }

    fn adding(revision: u64, added: RowsAdded, next_row_id: u64) -> Entry {
        Entry {
            revision,
            rows_added: vec![added],
            next_row_id,
            ..Entry::default()
        }
    }

    fn files(state: &State) -> Vec<Range<u64>> {
        state.files.iter().map(|file| span(&file.file)).collect()
    }

    #[test]
    fn row_ids_that_go_back_or_run_out_are_corrupt() {
        for (next_row_id, ok) in [(5, true), (9, true), (4, false), (u64::MAX, false)] {
            let mut state = State {
                next_row_id: 5,
                ..State::default()
            };
            let entry = Entry {
                next_row_id,
                ..Entry::default()
            };
            assert_eq!(state.apply(&entry).is_ok(), ok, "{next_row_id}");
        }
    }

    #[test]
    fn rows_with_ids_that_are_taken_are_corrupt() {
        for (second, ok) in [
            (rows(5, 2), true),
            (rows(4, 2), false),
            (rows(6, 2), false),
            (rows(u64::MAX, 2), false),
        ] {
            let mut state = State::default();
            state.apply(&adding(0, rows(0, 5), 5)).unwrap();
            assert_eq!(state.apply(&adding(1, second, 7)).is_ok(), ok);
        }
    }

    #[test]
    fn a_checkpoint_holds_only_what_a_log_leads_to() {
        let schema = schema::for_table(&Schema::new(vec![schema::weight("a")])).unwrap();
        let check = |added: &[RowsAdded], next_row_id, next_column_id, ok: bool| {
            let rows = added.iter().map(|file| record::Filed {
                revision: 3,
                file: file.clone(),
            });
            let folded = record::State {
                at: crate::format::table::ParentRef {
                    revision: 4,
                    hash: String::new(),
                },
                schema: encode_schema(&schema).unwrap(),
                next_row_id,
                next_column_id,
                defaults: Vec::new(),
                rows: rows.collect(),
                dropped: None,
                left_behind: None,
                cells: Vec::new(),
                columns_left: Vec::new(),
            };
            let found = State::unfolded(&folded).map(|state| files(&state).len());
            let expected = ok.then_some(added.len());
            assert_eq!(
                found.ok(),
                expected,
                "{added:?} {next_row_id} {next_column_id}"
            );
        };
        check(&[rows(0, 5), rows(5, 2)], 7, 2, true);
        check(&[rows(0, 5), rows(7, 2)], 9, 5, true);
        check(&[rows(0, 5), rows(4, 2)], 7, 2, false);
        check(&[rows(0, 5), rows(0, 5)], 7, 2, false);
        check(&[rows(0, 5), rows(5, 2)], 6, 2, false);
        check(&[rows(u64::MAX, 5)], 7, 2, false);
        check(&[rows(0, 5)], 7, 1, false);
        check(&[rows(0, 5)], 7, i32::MAX, false);
    }

    #[test]
    fn rows_of_another_branch_lie_where_their_ids_belong() {
        let mut state = State::default();
        state.apply(&adding(0, rows(0, 5), 5)).unwrap();
        state.apply(&adding(2, rows(7, 3), 10)).unwrap();
        state.apply(&adding(3, rows(5, 2), 10)).unwrap();
        assert_eq!(files(&state), [0..5, 5..7, 7..10]);
        assert_eq!(state.file_of(6), Some(1));
        assert_eq!(state.file_of(10), None);
    }

    #[test]
    fn column_ids_are_not_given_twice() {
        let schema =
            schema::for_table(&Schema::new(vec![schema::weight("a"), schema::weight("b")]))
                .unwrap();
        let entry = |next_column_id| Entry {
            schema: Some(encode_schema(&schema).unwrap()),
            next_column_id,
            ..Entry::default()
        };
        for (next, ok) in [
            (None, true),
            (Some(3), true),
            (Some(9), true),
            (Some(2), false),
            (Some(i32::MAX), false),
        ] {
            let mut state = State::default();
            assert_eq!(state.apply(&entry(next)).is_ok(), ok, "{next:?}");
        }
    }

    #[test]
    fn a_compaction_replaces_only_what_was_before_it() {
        for (upto, ok) in [(3, true), (4, false), (u64::MAX, false)] {
            let mut state = State::default();
            let compaction = Entry {
                revision: 4,
                compacted: Some(Compacted {
                    revision: upto,
                    rows: Vec::new(),
                    left_behind: None,
                }),
                ..Entry::default()
            };
            assert_eq!(state.apply(&compaction).is_ok(), ok, "{upto}");
        }
    }

    #[test]
    fn a_compaction_replaces_what_was_there_by_then_and_nothing_later() {
        let edit = |revision| Entry {
            revision,
            cells_set: vec![CellsSet {
                column: 1,
                file: format!("e{revision}"),
                cells: 1,
                bytes: 1,
            }],
            next_row_id: 9,
            ..Entry::default()
        };
        let mut state = State::default();
        state.apply(&adding(0, rows(0, 4), 9)).unwrap();
        state.apply(&edit(1)).unwrap();
        state.apply(&edit(2)).unwrap();
        state.apply(&adding(3, rows(4, 2), 9)).unwrap();
        let compaction = Entry {
            revision: 4,
            compacted: Some(Compacted {
                revision: 1,
                rows: vec![RowsAdded {
                    file: "new".into(),
                    ..rows(0, 4)
                }],
                left_behind: None,
            }),
            next_row_id: 9,
            ..Entry::default()
        };
        state.apply(&compaction).unwrap();
        let names: Vec<_> = state
            .files
            .iter()
            .map(|file| file.file.file.as_str())
            .collect();
        assert_eq!(names, ["new", "f4"]);
        let edits: Vec<_> = state.edits[&1]
            .iter()
            .map(|edit| edit.file.file.as_str())
            .collect();
        assert_eq!(edits, ["e2"]);
    }
}
