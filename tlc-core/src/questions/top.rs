//! The first rows of an order, without sorting the others.

use std::cmp::Ordering;

/// The first `n` of `rows`, all without `n`, in the order of `compare`.
pub(crate) fn best<T>(
    mut rows: Vec<T>,
    n: Option<usize>,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    if let Some(n) = n.filter(|n| *n < rows.len()) {
        rows.select_nth_unstable_by(n, &compare);
        rows.truncate(n);
    }
    rows.sort_unstable_by(compare);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_those_of_all_rows_in_order() {
        let rows: Vec<u64> = (0..100).map(|n| n * 37 % 101).collect();
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        for n in [0, 1, 7, 99, 100, 101, usize::MAX] {
            let expected = &sorted[..n.min(sorted.len())];
            assert_eq!(best(rows.clone(), Some(n), u64::cmp), expected, "{n}");
        }
        assert_eq!(best(rows, None, u64::cmp), sorted);
    }
}
