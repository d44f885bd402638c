//! When two patches of one snapshot cannot both hold.

use std::collections::BTreeMap;

use arrow::array::Array as _;
use arrow::datatypes::FieldRef;
use roaring::RoaringTreemap;

use super::overlay::Overlay;
use crate::id::{Cell, ColumnName};

/// What a patch, or a revision, does to rows and cells that were there before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) cells: BTreeMap<ColumnName, Overlay>,
    pub(crate) dropped: RoaringTreemap,
    pub(crate) columns_added: BTreeMap<ColumnName, FieldRef>,
}

/// Why a patch no longer applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conflicts {
    /// Set by both to different values, or set by one in a row that the other dropped. In order.
    pub(crate) cells: Vec<Cell>,
    /// Added by both.
    pub(crate) columns: Vec<ColumnName>,
}

impl Conflicts {
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.columns.is_empty()
    }
}

/// What stands between `mine` and applying it after `theirs`. Nothing, if they touch other cells, or
/// set the same ones to the same values, or drop the same rows. Symmetric.
pub(crate) fn conflicts(mine: &Changes, theirs: &Changes) -> Conflicts {
    let mut cells = Vec::new();
    for (column, set) in &mine.cells {
        if let Some(other) = theirs.cells.get(column) {
            cells.extend(different(set, other).map(|row_id| Cell {
                row_id,
                column: column.clone(),
            }));
        }
    }
    cells.extend(set_in_dropped(mine, theirs));
    cells.extend(set_in_dropped(theirs, mine));
    cells.sort();
    let columns = mine
        .columns_added
        .keys()
        .filter(|name| theirs.columns_added.contains_key(*name));
    Conflicts {
        cells,
        columns: columns.cloned().collect(),
    }
}

/// The rows that both set, to different values.
fn different<'a>(mine: &'a Overlay, theirs: &'a Overlay) -> impl Iterator<Item = u64> + 'a {
    let (few, many) = if mine.row_ids().len() <= theirs.row_ids().len() {
        (mine, theirs)
    } else {
        (theirs, mine)
    };
    few.row_ids()
        .iter()
        .enumerate()
        .filter_map(move |(at, row_id)| {
            let other = many.get(*row_id)?;
            let same = few.values().slice(at, 1).to_data() == other.to_data();
            (!same).then_some(*row_id)
        })
}

fn set_in_dropped<'a>(set: &'a Changes, dropped: &'a Changes) -> impl Iterator<Item = Cell> + 'a {
    set.cells.iter().flat_map(|(column, cells)| {
        let lost = cells
            .row_ids()
            .iter()
            .filter(|row_id| dropped.dropped.contains(**row_id));
        lost.map(|row_id| Cell {
            row_id: *row_id,
            column: column.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use proptest::prelude::*;

    use super::*;

    /// `label[1]=7 drop[2] add[note]`.
    fn changes(text: &str) -> Changes {
        let mut changes = Changes::default();
        let mut cells: BTreeMap<ColumnName, Vec<(Vec<u64>, arrow::array::ArrayRef)>> =
            BTreeMap::new();
        for word in text.split_whitespace() {
            let (what, rest) = word.split_once('[').unwrap();
            let (inside, value) = rest.split_once(']').unwrap();
            match what {
                "drop" => {
                    changes.dropped.insert(inside.parse().unwrap());
                }
                "add" => {
                    let field = Arc::new(crate::schema::weight(inside));
                    changes.columns_added.insert(inside.parse().unwrap(), field);
                }
                column => {
                    let value: i32 = value.strip_prefix('=').unwrap().parse().unwrap();
                    let cell = (
                        vec![inside.parse().unwrap()],
                        Arc::new(Int32Array::from(vec![value])) as _,
                    );
                    cells.entry(column.parse().unwrap()).or_default().push(cell);
                }
            }
        }
        changes.cells = cells
            .into_iter()
            .map(|(column, chunks)| (column, Overlay::fold(&chunks).unwrap().unwrap()))
            .collect();
        changes
    }

    #[track_caller]
    fn check(mine: &str, theirs: &str, expected: &str) {
        for (mine, theirs) in [(mine, theirs), (theirs, mine)] {
            let found = conflicts(&changes(mine), &changes(theirs));
            let words = found
                .cells
                .iter()
                .map(ToString::to_string)
                .chain(found.columns.iter().map(ToString::to_string));
            assert_eq!(words.collect::<Vec<_>>().join(" "), expected);
        }
    }

    #[test]
    fn edits_of_other_cells_do_not_conflict() {
        check("label[1]=7", "label[2]=7 weight[1]=0", "");
        check("", "label[2]=7 drop[3] add[note]", "");
    }

    #[test]
    fn the_same_change_twice_does_not_conflict() {
        check("label[1]=7 drop[4]", "label[1]=7 drop[4]", "");
    }

    #[test]
    fn two_values_for_one_cell_conflict() {
        check(
            "label[1]=7 label[2]=8",
            "label[1]=3 label[2]=8 label[5]=0",
            "label[1]",
        );
        check(
            "label[1]=7 weight[9]=1",
            "label[1]=3 weight[9]=2",
            "label[1] weight[9]",
        );
    }

    #[test]
    fn a_cell_set_in_a_row_the_other_dropped_conflicts() {
        check("label[1]=7", "drop[1]", "label[1]");
    }

    #[test]
    fn two_new_columns_of_one_name_conflict() {
        check("add[note]", "add[note] add[other]", "note");
    }

    proptest! {
        #[test]
        fn who_came_first_does_not_matter(
            mine in prop::collection::vec((0_u64..9, 0..3_i32), 0..9),
            theirs in prop::collection::vec((0_u64..9, 0..3_i32), 0..9),
        ) {
            let text = |cells: &[(u64, i32)]| cells.iter().map(|(id, value)| format!("label[{id}]={value} ")).collect::<String>();
            let (mine, theirs) = (changes(&text(&mine)), changes(&text(&theirs)));
            prop_assert_eq!(conflicts(&mine, &theirs), conflicts(&theirs, &mine));
        }
    }
}
