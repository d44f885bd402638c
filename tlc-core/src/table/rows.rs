//! Which rows a table has: the ids of its files, without those that were dropped.
//!
//! A log may claim more rows than any memory holds. So ids are made of a file's range only after its
//! footer said the same number of rows; all that needs no ids is decided on ranges, and reads nothing.

use std::ops::Range;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use roaring::RoaringTreemap;

use super::scan::{union, without};
use super::snapshot::Snapshot;
use super::state::{State, span};
use crate::error::Result;

/// How many footers are read at the same time.
const READS_MAX: usize = 32;

impl Snapshot {
    /// The ids of all rows, ascending. Costs eight bytes a row, and one or two requests for each file
    /// of which nothing was read yet: its footer must have as many rows as the log says.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming a file that has another number of rows,
    /// is missing or damaged; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a file used in
    /// place that is gone; those of the store.
    pub async fn row_ids(&self) -> Result<Vec<u64>> {
        let rows = self.rows_in(&runs(&self.resolved().state)).await?;
        Ok(rows.iter().collect())
    }

    /// The rows with an id in `ranges`, which are ascending and all of files.
    async fn rows_in(&self, ranges: &[Range<u64>]) -> Result<RoaringTreemap> {
        self.open_files(|ids| has_some_of(ranges, &ids)).await?;
        let mut rows = RoaringTreemap::new();
        for range in ranges {
            rows.insert_range(range.clone());
        }
        Ok(rows - &*self.resolved().dropped)
    }

    /// Reads the footers of the files with rows, given by id, that `wanted` says yes to, unless they
    /// were read before: one or two requests each.
    pub(crate) async fn open_files(
        &self,
        wanted: impl Fn(Range<u64>) -> bool + Send,
    ) -> Result<()> {
        let files = self.resolved().files.iter();
        let files = files.filter(|file| wanted(span(file.rows())));
        let opens: Vec<_> = files.map(|file| file.open().boxed()).collect();
        stream::iter(opens)
            .buffer_unordered(READS_MAX)
            .try_for_each(|_opened| async { Ok(()) })
            .await
    }
}

/// The rows that come and those that go between two states. Reads the footers of files with rows that
/// are not in the other's files at all.
pub(super) async fn rows_between(
    from: &Snapshot,
    to: &Snapshot,
) -> Result<(RoaringTreemap, RoaringTreemap)> {
    let (before, after) = (runs(&from.resolved().state), runs(&to.resolved().state));
    let come = rows_beyond((from, &before), (to, &after)).await?;
    let gone = rows_beyond((to, &after), (from, &before)).await?;
    Ok((come, gone))
}

/// The rows of one state, with the ids of its files, that another does not have.
async fn rows_beyond(
    (other, others): (&Snapshot, &[Range<u64>]),
    (own, owns): (&Snapshot, &[Range<u64>]),
) -> Result<RoaringTreemap> {
    let back = &*other.resolved().dropped - &*own.resolved().dropped;
    let back = within(&back, owns);
    Ok(back | own.rows_in(&without(owns, others)).await?)
}

/// The ids of a state's files, those of dropped rows included, with no two ranges that touch.
pub(super) fn runs(state: &State) -> Vec<Range<u64>> {
    union(state.files.iter().map(|file| span(&file.file)))
}

/// Those of `ids` that are in `ranges`, which are ascending and do not meet.
pub(super) fn within(ids: &RoaringTreemap, ranges: &[Range<u64>]) -> RoaringTreemap {
    let mut ids = ids.clone();
    for gap in without(std::slice::from_ref(&(0..u64::MAX)), ranges) {
        ids.remove_range(gap);
    }
    ids
}

/// Whether one of `ids` is in `ranges`, which are ascending and do not meet.
fn has_some_of(ranges: &[Range<u64>], ids: &Range<u64>) -> bool {
    let at = ranges.partition_point(|range| range.end <= ids.start);
    ranges.get(at).is_some_and(|range| range.start < ids.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_within_ranges_however_many_the_ranges_hold() {
        let ids: RoaringTreemap = [0, 4, 5, 9, 1 << 40].into_iter().collect();
        let check = |ranges: &[Range<u64>], expected: &[u64]| {
            let kept: Vec<u64> = within(&ids, ranges).iter().collect();
            assert_eq!(kept, expected, "{ranges:?}");
        };
        check(&[], &[]);
        check(&[4..6, 7..8], &[4, 5]);
        check(&[0..1, 5..1 << 62], &[0, 5, 9, 1 << 40]);
    }

    #[test]
    fn files_are_looked_at_if_one_of_their_ids_is_asked_for() {
        let check = |ids: Range<u64>, expected| {
            assert_eq!(has_some_of(&[3..5, 8..10], &ids), expected, "{ids:?}");
        };
        check(0..3, false);
        check(0..4, true);
        check(4..9, true);
        check(5..8, false);
        check(9..20, true);
        check(10..20, false);
    }
}
