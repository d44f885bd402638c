//! When two changes of rows and cells cannot both hold.

use std::collections::BTreeMap;

use arrow::array::Array as _;
use roaring::RoaringTreemap;

use super::overlay::Overlay;

/// What a patch, or a line of revisions, does to rows and cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// New values, by column id.
    pub(crate) cells: BTreeMap<i32, Overlay>,
    /// Rows that go.
    pub(crate) dropped: RoaringTreemap,
    /// Rows that come: new ones, and such that were dropped before.
    pub(crate) added: RoaringTreemap,
}

impl Changes {
    /// Takes the cells out that `keep` refuses.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn retain_cells(
        &mut self,
        mut keep: impl FnMut(i32, u64) -> bool,
    ) -> crate::Result<()> {
        for (column, overlay) in std::mem::take(&mut self.cells) {
            if let Some(kept) = overlay.filtered(|row_id| keep(column, row_id))? {
                self.cells.insert(column, kept);
            }
        }
        Ok(())
    }

    /// Puts values over those that are there.
    ///
    /// # Errors
    /// If the values differ in type.
    pub(crate) fn set(&mut self, column: i32, newer: Overlay) -> crate::Result<()> {
        let set = match self.cells.remove(&column) {
            Some(earlier) => earlier.under(&newer)?,
            None => newer,
        };
        self.cells.insert(column, set);
        Ok(())
    }
}

/// Rows of each column.
pub(crate) type CellSet = BTreeMap<i32, Vec<u64>>;

/// The cells, by column, that stand between `mine` and applying it after `theirs`: set by both to
/// different values, or set by one in a row that the other dropped. Ascending. Symmetric.
pub(crate) fn conflicts(mine: &Changes, theirs: &Changes) -> CellSet {
    let mut found = CellSet::new();
    for (column, set) in &mine.cells {
        if let Some(other) = theirs.cells.get(column) {
            found
                .entry(*column)
                .or_default()
                .extend(different(set, other));
        }
    }
    for (set, dropped) in [(mine, &theirs.dropped), (theirs, &mine.dropped)] {
        for (column, cells) in &set.cells {
            let lost = cells
                .row_ids()
                .iter()
                .filter(|row_id| dropped.contains(**row_id));
            found.entry(*column).or_default().extend(lost);
        }
    }
    found.retain(|_, rows| {
        rows.sort_unstable();
        rows.dedup();
        !rows.is_empty()
    });
    found
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array};
    use proptest::prelude::*;

    use super::*;

    /// `1[7]=5 drop[2]`: column 1 of row 7 set to 5, row 2 dropped.
    fn changes(text: &str) -> Changes {
        let mut changes = Changes::default();
        for word in text.split_whitespace() {
            let (what, rest) = word.split_once('[').unwrap();
            let (row, value) = rest.split_once(']').unwrap();
            let row: u64 = row.parse().unwrap();
            match what {
                "drop" => {
                    changes.dropped.insert(row);
                }
                column => {
                    let value: i32 = value.strip_prefix('=').unwrap().parse().unwrap();
                    let value: ArrayRef = Arc::new(Int32Array::from(vec![value]));
                    let set = Overlay::of(vec![row], value).unwrap().unwrap();
                    changes.set(column.parse().unwrap(), set).unwrap();
                }
            }
        }
        changes
    }

    #[track_caller]
    fn check(mine: &str, theirs: &str, expected: &str) {
        for (mine, theirs) in [(mine, theirs), (theirs, mine)] {
            let found = conflicts(&changes(mine), &changes(theirs));
            let cells = found
                .iter()
                .flat_map(|(column, rows)| rows.iter().map(move |row| format!("{column}[{row}]")));
            assert_eq!(cells.collect::<Vec<_>>().join(" "), expected);
        }
    }

    #[test]
    fn edits_of_other_cells_do_not_conflict() {
        check("1[1]=7", "1[2]=7 2[1]=0", "");
        check("", "1[2]=7 drop[3]", "");
    }

    #[test]
    fn the_same_change_twice_does_not_conflict() {
        check("1[1]=7 drop[4]", "1[1]=7 drop[4]", "");
    }

    #[test]
    fn two_values_for_one_cell_conflict() {
        check("1[1]=7 1[2]=8", "1[1]=3 1[2]=8 1[5]=0", "1[1]");
        check("1[1]=7 2[9]=1", "1[1]=3 2[9]=2", "1[1] 2[9]");
    }

    #[test]
    fn a_cell_set_in_a_row_the_other_dropped_conflicts() {
        check("1[1]=7", "drop[1]", "1[1]");
    }

    #[test]
    fn later_values_lie_over_earlier_ones() {
        let mut changes = changes("1[1]=7 1[2]=8 1[1]=9");
        assert_eq!(changes.cells[&1].row_ids(), [1, 2]);
        assert_eq!(
            changes.cells[&1].get(1).unwrap().to_data(),
            Int32Array::from(vec![9]).to_data()
        );
        changes.retain_cells(|_, row| row == 2).unwrap();
        assert_eq!(changes.cells[&1].row_ids(), [2]);
        changes.retain_cells(|_, _| false).unwrap();
        assert!(changes.cells.is_empty());
    }

    proptest! {
        #[test]
        fn who_came_first_does_not_matter(
            mine in prop::collection::vec((0_u64..9, 0..3_i32), 0..9),
            theirs in prop::collection::vec((0_u64..9, 0..3_i32), 0..9),
        ) {
            let text = |cells: &[(u64, i32)]| cells.iter().map(|(id, value)| format!("1[{id}]={value} ")).collect::<String>();
            let (mine, theirs) = (changes(&text(&mine)), changes(&text(&theirs)));
            prop_assert_eq!(conflicts(&mine, &theirs), conflicts(&theirs, &mine));
        }
    }
}
