//! Sets of rows as ascending ranges that do not meet: what is left to read. Pure.

use std::ops::Range;

use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

/// The rows of ascending `rows` as ranges; what stands twice counts once.
pub(crate) fn runs(rows: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    union(rows.into_iter().map(|row| row..row.saturating_add(1)))
}

/// Ranges in the order of their starts, joined where they meet or overlap.
pub(crate) fn union(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The rows that are in both.
pub(super) fn both(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut at_a, mut at_b) = (0, 0);
    let mut out = Vec::new();
    while let (Some(first), Some(second)) = (a.get(at_a), b.get(at_b)) {
        let range = first.start.max(second.start)..first.end.min(second.end);
        if !range.is_empty() {
            out.push(range);
        }
        if first.end < second.end {
            at_a += 1;
        } else {
            at_b += 1;
        }
    }
    out
}

/// The rows of `a` that are not in `b`.
pub(crate) fn without(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let starts = std::iter::once(0).chain(b.iter().map(|range| range.end));
    let ends = b.iter().map(|range| range.start).chain([u64::MAX]);
    let gaps: Vec<_> = starts.zip(ends).map(|(start, end)| start..end).collect();
    both(a, &gaps)
}

/// The rows that are in one of both.
pub(super) fn either(a: Vec<Range<u64>>, b: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut all = [a, b].concat();
    all.sort_by_key(|range| range.start);
    union(all)
}

pub(super) fn n_rows(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The rows of `ranges` a few at a time: what the next batch of so many rows holds.
pub(super) struct Rows {
    ranges: std::vec::IntoIter<Range<u64>>,
    current: Range<u64>,
}

impl Rows {
    pub(super) fn new(ranges: Vec<Range<u64>>) -> Self {
        Self {
            ranges: ranges.into_iter(),
            current: 0..0,
        }
    }

    /// The next `n` rows, fewer at the end.
    pub(super) fn next_rows(&mut self, n: usize) -> Vec<u64> {
        let mut rows = Vec::with_capacity(n);
        while rows.len() < n {
            if self.current.is_empty() {
                let Some(next) = self.ranges.next() else {
                    break;
                };
                self.current = next;
            }
            let left = (n - rows.len()) as u64;
            let end = self
                .current
                .end
                .min(self.current.start.saturating_add(left));
            rows.extend(self.current.start..end);
            self.current.start = end;
        }
        rows
    }
}

/// The row groups that hold `rows`, positions in the file, and the rows within these groups.
/// `groups` are the groups' numbers of rows.
pub(crate) fn select(
    groups: impl IntoIterator<Item = u64>,
    rows: &[Range<u64>],
) -> (Vec<usize>, RowSelection) {
    let mut chosen = Vec::new();
    let mut selectors = Vec::new();
    let (mut start, mut next) = (0, 0);
    for (at, n_rows) in groups.into_iter().enumerate() {
        let end = start + n_rows;
        let mut done = start;
        while let Some(range) = rows.get(next).filter(|range| range.start < end) {
            let own = range.start.max(start)..range.end.min(end);
            selectors.push(RowSelector::skip(count(done..own.start)));
            selectors.push(RowSelector::select(count(own.clone())));
            done = own.end;
            if range.end > end {
                break;
            }
            next += 1;
        }
        if done > start {
            chosen.push(at);
            selectors.push(RowSelector::skip(count(done..end)));
        }
        start = end;
    }
    // From selectors one by one: the selection joins neighbours and drops empty ones itself.
    (chosen, selectors.into_iter().collect())
}

fn count(rows: Range<u64>) -> usize {
    usize::try_from(rows.end.saturating_sub(rows.start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Ranges as `5..15 19..20`.
    fn ranges(text: &str) -> Vec<Range<u64>> {
        let ends = text
            .split_whitespace()
            .map(|range| range.split_once("..").unwrap());
        ends.map(|(start, end)| start.parse().unwrap()..end.parse().unwrap())
            .collect()
    }

    fn text(ranges: &[Range<u64>]) -> String {
        let ranges: Vec<_> = ranges.iter().map(|range| format!("{range:?}")).collect();
        ranges.join(" ")
    }

    #[test]
    fn rows_become_runs() {
        assert_eq!(text(&runs([1, 2, 2, 3, 7])), "1..4 7..8");
        assert_eq!(text(&runs([])), "");
    }

    #[test]
    fn ranges_meet_and_join() {
        let (a, b) = (ranges("0..5 8..10"), ranges("3..9"));
        assert_eq!(text(&both(&a, &b)), "3..5 8..9");
        assert_eq!(text(&either(a, b)), "0..10");
    }

    /// Groups of so many rows, rows to read: the groups, and `-` for rows skipped in them, `+` for
    /// rows selected.
    #[track_caller]
    fn check_select(groups: &[u64], rows: &str, expected: &str) {
        let (chosen, selection) = select(groups.iter().copied(), &ranges(rows));
        let selectors: Vec<_> = selection
            .iter()
            .map(|part| format!("{}{}", if part.skip { '-' } else { '+' }, part.row_count))
            .collect();
        assert_eq!(format!("{chosen:?} {}", selectors.join("")), expected);
    }

    #[test]
    fn a_selection_counts_rows_within_the_groups_it_names() {
        check_select(&[10, 10, 10], "0..30", "[0, 1, 2] +30");
        check_select(&[10, 10, 10], "12..13", "[1] -2+1-7");
        check_select(&[10, 10, 10], "5..15 19..20", "[0, 1] -5+10-4+1");
        check_select(&[10, 10, 10], "9..21", "[0, 1, 2] -9+12-9");
        check_select(&[10, 10], "", "[] ");
    }

    proptest! {
        #[test]
        fn sets_of_ranges_are_sets_of_rows(
            a in prop::collection::btree_set(0_u64..60, 0..40),
            b in prop::collection::btree_set(0_u64..60, 0..40),
            size in 1_usize..9,
        ) {
            let (runs_a, runs_b) = (runs(a.iter().copied()), runs(b.iter().copied()));
            let rows = |ranges: Vec<Range<u64>>| ranges.into_iter().flatten().collect::<BTreeSet<u64>>();
            prop_assert_eq!(rows(both(&runs_a, &runs_b)), &a & &b);
            prop_assert_eq!(rows(without(&runs_a, &runs_b)), &a - &b);
            prop_assert_eq!(n_rows(&runs_a), a.len() as u64);
            let mut in_turn = Rows::new(runs_a.clone());
            let mut read: Vec<u64> = Vec::new();
            loop {
                let next = in_turn.next_rows(size);
                read.extend(&next);
                if next.len() < size { break; }
            }
            prop_assert_eq!(read, a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(rows(either(runs_a, runs_b)), &a | &b);
        }
    }
}
