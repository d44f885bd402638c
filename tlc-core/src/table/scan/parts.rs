//! Before a scan: what footers tell about it, and into which parts it is best cut.

use std::ops::Range;

use super::bounds::{Containers, Source};
use super::projection::Projection;
use super::prune::groups;
use crate::blob::GROUP_ROWS;
use crate::error::Result;
use crate::table::file::DataFile;
use crate::table::snapshot::Snapshot;

/// Into how many units one row group is cut at most, whatever it or the log claims.
const UNITS_MAX: u64 = 256;

impl Snapshot {
    /// Ranges of row ids, at most `parts_max`, that hold about the same number of rows and together
    /// all of them. They are cut at row groups where footers are known.
    pub(crate) fn parts(&self, parts_max: usize) -> Vec<Range<u64>> {
        let files = self.resolved().files.iter();
        let units: Vec<Range<u64>> = files.flat_map(|file| units(file)).collect();
        even(&units, parts_max)
    }

    /// What row groups say about `columns`, file by file; `None` for a file whose footer is unknown.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column.
    pub(crate) fn containers(&self, columns: &[String]) -> Result<Vec<Option<Containers>>> {
        let projection = Projection::new(
            self.schema(),
            Some(columns),
            self.resolved().aliases.clone(),
        )?;
        let known = |file: &DataFile| {
            let opened = file.opened()?;
            let source = Source {
                opened,
                defaults: &self.resolved().state.defaults,
                first_row_id: file.rows().first_row_id,
            };
            let whole = 0..file.rows().rows;
            let all = groups(opened, &[whole]);
            Some(Containers::of_groups(&source, &projection, &all))
        };
        let files = self.resolved().files.iter();
        Ok(files.map(|file| known(file)).collect())
    }

    /// Whether rows of the files are no rows of the table any more.
    pub(crate) fn has_dropped(&self) -> bool {
        !self.resolved().dropped.is_empty()
    }
}

/// The row ids of each row group of a file; one whose footer is unknown is taken for one of ours.
fn units(file: &DataFile) -> Vec<Range<u64>> {
    let rows = file.rows();
    let Some(opened) = file.opened() else {
        return cut(rows.first_row_id, [rows.rows], true);
    };
    let is_indexed = opened.metadata.metadata().offset_index().is_some();
    cut(rows.first_row_id, opened.group_rows(), is_indexed)
}

/// The rows from `start` on, group by group. A large group is cut where it can be read in parts, but
/// not into more of them the more rows somebody claims.
fn cut(mut start: u64, groups: impl IntoIterator<Item = u64>, is_indexed: bool) -> Vec<Range<u64>> {
    let group_rows = GROUP_ROWS as u64;
    let mut units = Vec::new();
    for n_rows in groups {
        let end = start + n_rows;
        let unit = match is_indexed {
            true => n_rows.div_ceil(group_rows * UNITS_MAX).max(1) * group_rows,
            false => u64::MAX,
        };
        while start < end {
            let next = end.min(start.saturating_add(unit));
            units.push(start..next);
            start = next;
        }
    }
    units
}

/// Joins neighbours until there are no more than `parts_max`, of about as many rows each.
fn even(units: &[Range<u64>], parts_max: usize) -> Vec<Range<u64>> {
    let n_parts = units.len().clamp(1, parts_max.max(1)) as u64;
    let mut before = 0;
    let ends = units.iter().map(|unit| {
        before += unit.end - unit.start;
        (before, unit.end)
    });
    let ends: Vec<(u64, u64)> = ends.collect();
    let total = ends.last().map_or(0, |(total, _)| *total);
    let mut cuts: Vec<u64> = (1..n_parts)
        .filter_map(|part| {
            // Of `total * part`, which may be too large a number.
            let goal = total / n_parts * part + total % n_parts * part / n_parts;
            let nearest = ends.iter().min_by_key(|(before, _)| before.abs_diff(goal));
            nearest
                .filter(|(before, _)| *before < total)
                .map(|(_, end)| *end)
        })
        .collect();
    cuts.dedup();
    let starts = [0].into_iter().chain(cuts.clone());
    let ends = cuts.into_iter().chain([u64::MAX]);
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of so many rows, so many parts: the rows of each part.
    #[track_caller]
    fn check(units: &[u64], parts_max: usize, expected: &[u64]) {
        let mut start = 0;
        let units: Vec<_> = units
            .iter()
            .map(|n| {
                start += n;
                start - n..start
            })
            .collect();
        let parts = even(&units, parts_max);
        assert!(parts.is_sorted_by(|a, b| a.end == b.start));
        assert_eq!((parts[0].start, parts.last().unwrap().end), (0, u64::MAX));
        let rows: Vec<u64> = parts
            .iter()
            .map(|part| part.end.min(start) - part.start)
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn parts_are_about_even_and_none_is_less_than_a_row_group() {
        check(&[10, 10, 10, 10], 2, &[20, 20]);
        check(&[10, 10, 10], 8, &[10, 10, 10]);
        check(&[100, 1, 1, 1], 2, &[100, 3]);
        check(&[1, 1, 1, 100], 2, &[3, 100]);
        check(&[1, 1, 100], 3, &[2, 100]);
        check(&[], 4, &[0]);
        check(&[1 << 62; 3], 3, &[1 << 62; 3]);
    }

    #[test]
    fn a_large_group_is_cut_into_few_units_whatever_it_claims() {
        let group = GROUP_ROWS as u64;
        let check = |groups: &[u64], is_indexed, expected: usize| {
            let units = cut(7, groups.iter().copied(), is_indexed);
            assert!(units.is_sorted_by(|a, b| a.end == b.start));
            let ends = units.first().zip(units.last());
            let ids = ends.map(|(first, last)| first.start..last.end);
            assert_eq!(ids, Some(7..7 + groups.iter().sum::<u64>()));
            assert_eq!(units.len(), expected, "{groups:?}");
        };
        check(&[1], true, 1);
        check(&[group, group], true, 2);
        check(&[3 * group + 1], true, 4);
        check(&[3 * group + 1], false, 1);
        check(&[256 * group], true, 256);
        check(&[1 << 42], true, 256);
        check(&[1 << 42, group], true, 257);
    }
}
