//! Which rows of a file a condition leaves to read.
//!
//! Statistics describe what the file holds, so they only speak for rows that were not edited in a
//! column of the condition. A row that was is read by itself, wherever it is; and if edits give all
//! that the condition reads of it, the condition is asked at once.

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::bounds::{Bloom, Containers, Source};
use super::filter::{Pruner, count};
use super::projection::{Column, Decoded, Overlays};
use super::ranges::{both, either, n_rows, runs, union};
use super::reading::{Condition, Piece, Reading};
use crate::error::Result;
use crate::table::file::Opened;

type Group = (usize, Range<u64>);

impl Reading {
    /// The rows of `piece` that have to be read for `condition`.
    pub(super) async fn pruned(
        &self,
        piece: &Piece,
        opened: &Opened,
        condition: &Condition,
        overlays: &Overlays,
    ) -> Result<Vec<Range<u64>>> {
        let source = Source {
            opened,
            defaults: &self.resolved.state.defaults,
            first_row_id: piece.file.rows().first_row_id,
        };
        let pruner = (condition.filter.pruner)();
        let groups = groups(opened, &piece.rows);
        let kept = condition.may_pass(&pruner, &source, &groups);
        let kept = condition.not_ruled_out(&pruner, piece, &source, kept).await;
        count(
            &self.counts.row_groups_pruned,
            (groups.len() - kept.len()) as u64,
        );
        let pages = kept
            .iter()
            .flat_map(|group| condition.pages(&pruner, &source, group));
        let unedited = union(pages);
        let edited = self.edited(piece, opened, condition, overlays, &unedited)?;
        let left = both(&either(unedited, runs(edited)), &piece.rows);
        count(
            &self.counts.rows_pruned,
            n_rows(&piece.rows) - n_rows(&left),
        );
        count(&self.counts.files_pruned, u64::from(left.is_empty()));
        Ok(left)
    }

    /// The rows outside `read` that were edited in a column of the condition and may pass it.
    fn edited(
        &self,
        piece: &Piece,
        opened: &Opened,
        condition: &Condition,
        overlays: &Overlays,
        read: &[Range<u64>],
    ) -> Result<Vec<u64>> {
        let first = piece.file.rows().first_row_id;
        let (Some(start), Some(end)) = (piece.rows.first(), piece.rows.last()) else {
            return Ok(Vec::new());
        };
        let ids = first + start.start..first + end.end;
        let own = condition
            .projection
            .stored()
            .filter_map(|id| overlays.get(&id));
        let mut edited: Vec<u64> = own
            .flat_map(|overlay| overlay.row_ids_in(&ids))
            .copied()
            .filter(|id| !self.resolved.dropped.contains(*id) && !holds(read, id - first))
            .collect();
        edited.sort_unstable();
        edited.dedup();
        let is_known = |id: &u64| {
            let mut stored = condition.projection.stored();
            stored.all(|column| {
                !opened.columns.contains_key(&column)
                    || overlays
                        .get(&column)
                        .is_some_and(|overlay| overlay.sets(*id))
            })
        };
        let (known, mut unknown): (Vec<u64>, Vec<u64>) = edited.into_iter().partition(is_known);
        if !known.is_empty() {
            let nothing = Decoded::nothing();
            let passes = condition.passes(&known, &nothing, &self.resolved, overlays)?;
            let passing = known
                .iter()
                .zip(passes.iter())
                .filter(|(_, passes)| *passes == Some(true));
            unknown.extend(passing.map(|(id, _)| *id));
            unknown.sort_unstable();
        }
        Ok(unknown.into_iter().map(|id| id - first).collect())
    }
}

impl Condition {
    /// The groups of which a row may pass by the bounds of its columns.
    fn may_pass(&self, pruner: &Pruner, source: &Source<'_>, groups: &[Group]) -> Vec<Group> {
        let containers = Containers::of_groups(source, &self.projection, groups);
        let may_pass = (pruner.may_pass)(&containers);
        let kept = groups.iter().zip(may_pass);
        kept.filter(|(_, may_pass)| *may_pass)
            .map(|(group, _)| group.clone())
            .collect()
    }

    /// The groups whose Bloom filters, where there are any, do not rule the condition out.
    async fn not_ruled_out(
        &self,
        pruner: &Pruner,
        piece: &Piece,
        source: &Source<'_>,
        groups: Vec<Group>,
    ) -> Vec<Group> {
        let mut kept = Vec::with_capacity(groups.len());
        for (at, rows) in groups {
            let mut containers = Containers {
                rows: vec![rows.clone()],
                ..Containers::default()
            };
            for column in &self.projection.columns {
                if let Column::Stored { id, field } = column
                    && pruner.looked_up.contains(field.name())
                    && let Some(bloom) = bloom(piece, source, at, *id, field).await
                {
                    containers.blooms.insert(field.name().clone(), bloom);
                }
            }
            let nothing_known = containers.blooms.is_empty();
            if nothing_known || (pruner.may_pass)(&containers) != [false] {
                kept.push((at, rows));
            }
        }
        kept
    }

    /// The rows of a group that are on pages of which a row may pass.
    fn pages(&self, pruner: &Pruner, source: &Source<'_>, group: &Group) -> Vec<Range<u64>> {
        let (at, rows) = group;
        let containers = Containers::of_pages(source, &self.projection, *at, rows);
        if containers.rows.is_empty() {
            return vec![rows.clone()];
        }
        let may_pass = (pruner.may_pass)(&containers);
        let kept = containers.rows.iter().zip(may_pass);
        kept.filter(|(_, may_pass)| *may_pass)
            .map(|(rows, _)| rows.clone())
            .collect()
    }
}

/// The Bloom filter of a column of a row group. What cannot be read is as good as none.
async fn bloom(
    piece: &Piece,
    source: &Source<'_>,
    group: usize,
    column: i32,
    field: &arrow::datatypes::Field,
) -> Option<Bloom> {
    let leaf = source.leaf(column, field)?;
    let metadata = source.opened.metadata.metadata();
    let chunk = metadata.row_groups().get(group)?.columns().get(leaf.at)?;
    if !leaf.has_same_values() || chunk.bloom_filter_offset().is_none() {
        return None;
    }
    let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
        piece.file.reader().ok()?,
        source.opened.metadata.clone(),
    );
    let read = builder.get_row_group_column_bloom_filter(group, leaf.at);
    let filter = AssertUnwindSafe(read).catch_unwind().await.ok()?.ok()??;
    let description = source.opened.metadata.parquet_schema().column(leaf.at);
    Some(Bloom {
        filter,
        physical: description.physical_type(),
        type_length: description.type_length(),
    })
}

/// The row groups that hold some of `rows`, each with its own rows as positions in the file.
pub(super) fn groups(opened: &Opened, rows: &[Range<u64>]) -> Vec<Group> {
    let mut start = 0;
    let mut groups = Vec::new();
    for (at, n_rows) in opened.group_rows().enumerate() {
        let own = start..start + n_rows;
        start = own.end;
        if !both(std::slice::from_ref(&own), rows).is_empty() {
            groups.push((at, own));
        }
    }
    groups
}

/// Whether a row is in one of the ranges.
fn holds(ranges: &[Range<u64>], row: u64) -> bool {
    let at = ranges.partition_point(|range| range.end <= row);
    ranges.get(at).is_some_and(|range| range.contains(&row))
}
