//! Samples and rows: which row of an epoch is of which sample.
//!
//! Row ids are ascending on both sides, so they meet by walking both at once; and where an epoch has
//! exactly the samples that are known, which one comparison of arrays tells, a row's position is the
//! sample's.

use arrow::array::{ArrayRef, AsArray as _, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::UInt64Type;

use crate::error::Result;

/// The samples met so far: row ids in ascending order, each once.
pub(crate) struct Samples {
    ids: UInt64Array,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            ids: UInt64Array::from(Vec::<u64>::new()),
        }
    }
}

impl Samples {
    pub(crate) fn ids(&self) -> &UInt64Array {
        &self.ids
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Takes in the samples of `ids`, ascending and each once. If some are new: for each sample known
    /// now its position before, null for a new one.
    pub(crate) fn admit(&mut self, ids: &UInt64Array) -> Option<UInt64Array> {
        if is_same(&self.ids, ids) {
            return None;
        }
        if self.ids.is_empty() {
            self.ids = ids.clone();
            return Some(UInt64Array::new_null(ids.len()));
        }
        let all = union(self.ids.values(), ids.values());
        if all.len() == self.ids.len() {
            return None;
        }
        let former = find(&all, self.ids.values());
        self.ids = UInt64Array::from(all);
        Some(former)
    }

    /// For each sample its row in `ids`, ascending and each once, null if it has none; `None` if row
    /// and sample have the same position throughout.
    pub(super) fn rows(&self, ids: &UInt64Array) -> Option<UInt64Array> {
        (!is_same(&self.ids, ids)).then(|| find(self.ids.values(), ids.values()))
    }
}

/// Whether two arrays without nulls hold the same; at no cost if they are the same.
pub(super) fn is_same(a: &UInt64Array, b: &UInt64Array) -> bool {
    let (a, b) = (a.values(), b.values());
    (a.len() == b.len() && a.inner().as_ptr() == b.inner().as_ptr()) || a == b
}

/// For each of `wanted` its position in `known`, null if it is not there. Both ascending; what is in
/// `known` is there once.
pub(super) fn find(wanted: &[u64], known: &[u64]) -> UInt64Array {
    let mut known = (0_u64..).zip(known).peekable();
    let position = |id: &u64| {
        while known.next_if(|(_, other)| *other < id).is_some() {}
        known
            .peek()
            .filter(|(_, other)| *other == id)
            .map(|(at, _)| *at)
    };
    wanted.iter().map(position).collect()
}

/// The ids of either side, ascending and each once, of two such lists.
fn union(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => *x.min(y),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => return all,
        };
        a.next_if_eq(&next);
        b.next_if_eq(&next);
        all.push(next);
    }
}

/// Rows with ascending ids as rounds in which each id is there once: first the first row of each id,
/// then the second of those that have one, and so on.
pub(super) fn rounds(
    ids: &UInt64Array,
    values: &ArrayRef,
    known: &Samples,
) -> Result<Vec<(UInt64Array, ArrayRef)>> {
    let pairs = ids.values().windows(2);
    if is_same(ids, &known.ids) || pairs.into_iter().all(|pair| pair.first() < pair.last()) {
        return Ok(vec![(ids.clone(), ArrayRef::clone(values))]);
    }
    let mut rounds: Vec<Vec<u64>> = Vec::new();
    let (mut before, mut round) = (None, 0);
    for (row, id) in (0_u64..).zip(ids.values()) {
        round = if before == Some(id) { round + 1 } else { 0 };
        before = Some(id);
        match rounds.get_mut(round) {
            Some(rows) => rows.push(row),
            None => rounds.push(vec![row]),
        }
    }
    let round = |rows: Vec<u64>| -> Result<(UInt64Array, ArrayRef)> {
        let rows = UInt64Array::from(rows);
        let ids = take(ids, &rows, None)?;
        let ids = ids.as_primitive::<UInt64Type>().clone();
        Ok((ids, take(values, &rows, None)?))
    };
    rounds.into_iter().map(round).collect()
}

/// `state` with the samples at their new positions, and the default for new ones.
pub(crate) fn moved<T: Copy + Default>(state: &[T], former: &UInt64Array) -> Vec<T> {
    let value = |at: Option<u64>| {
        let at = at.and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| state.get(at).copied()).unwrap_or_default()
    };
    former.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use arrow::datatypes::Int32Type;

    use super::*;

    fn ids(text: &str) -> UInt64Array {
        let ids = text.split_whitespace().map(|id| id.parse::<u64>().unwrap());
        UInt64Array::from_iter_values(ids)
    }

    fn text(positions: Option<UInt64Array>) -> String {
        let Some(positions) = positions else {
            return "same".to_owned();
        };
        let word = |at: Option<u64>| at.map_or("-".to_owned(), |at| at.to_string());
        positions.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Samples that are known, those that come; the samples then, where they were, their rows.
    #[track_caller]
    fn check(known: &str, come: &str, expected: [&str; 3]) {
        let mut samples = Samples::default();
        samples.admit(&ids(known));
        let former = text(samples.admit(&ids(come)));
        let all = text(Some(samples.ids().clone()));
        let rows = text(samples.rows(&ids(come)));
        assert_eq!([all.as_str(), &former, &rows], expected, "{known} + {come}");
    }

    #[test]
    fn samples_are_known_once_and_rows_are_found() {
        check("", "3 5", ["3 5", "- -", "same"]);
        check("3 5", "3 5", ["3 5", "same", "same"]);
        check("3 5", "5", ["3 5", "same", "- 0"]);
        check("3 5", "", ["3 5", "same", "- -"]);
        check("3 5", "4", ["3 4 5", "0 - 1", "- 0 -"]);
        check("3 5", "5 9", ["3 5 9", "0 1 -", "- 0 1"]);
        check("5 9", "0 3", ["0 3 5 9", "- - 0 1", "0 1 - -"]);
        let last = u64::MAX.to_string();
        check(&last, &last, [&last, "same", "same"]);
    }

    #[test]
    fn rows_of_one_id_come_one_a_round_in_their_order() {
        let check = |row_ids: &str, expected: &[(&str, &[i32])]| {
            let row_ids = ids(row_ids);
            let n = i32::try_from(row_ids.len()).unwrap();
            let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..n));
            let found = rounds(&row_ids, &values, &Samples::default()).unwrap();
            assert_eq!(found.len(), expected.len(), "{row_ids:?}");
            for ((found, values), (row_ids, expected)) in found.iter().zip(expected) {
                assert_eq!(found, &ids(row_ids));
                assert_eq!(values.as_primitive::<Int32Type>().values(), expected);
            }
        };
        check("1 2 9", &[("1 2 9", &[0, 1, 2])]);
        check(
            "1 1 2 9 9 9",
            &[("1 2 9", &[0, 2, 3]), ("1 9", &[1, 4]), ("9", &[5])],
        );
        check("", &[("", &[])]);
    }

    #[test]
    fn state_moves_with_its_samples() {
        let former = UInt64Array::from(vec![None, Some(1), None, Some(0)]);
        assert_eq!(moved(&[7, 8], &former), [0, 8, 0, 7]);
    }
}
