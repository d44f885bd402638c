//! Wrong labels, planted in a share of the rows, and which rows have other labels than before.

use std::collections::BTreeSet;
use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, Int32Array};
use tlc_core::{Patch, Revision, Table, block_on};

use crate::Result;
use crate::random::Random;
use crate::tables::labels;

/// What makes the head have the original labels but for a share `noise` of them, which get one of the
/// nine others. Rows that were dropped or appended since, and other columns, stay as they are.
pub(crate) fn plant(table: &Table, noise: f64, seed: u64) -> Result<Patch> {
    let head = block_on(table.head())?;
    let planted = planted(labels(&block_on(table.at(Revision(0)))?)?.1, noise, seed);
    let (mut wrong_ids, mut wrong_labels) = (Vec::new(), Vec::new());
    let (ids, labels) = labels(&head)?;
    for (id, label) in ids.into_iter().zip(labels) {
        if let Some(wanted) = planted
            .get(usize::try_from(id)?)
            .filter(|wanted| **wanted != label)
        {
            wrong_ids.push(id);
            wrong_labels.push(*wanted);
        }
    }
    let mut patch = head.patch();
    if !wrong_ids.is_empty() {
        let values: ArrayRef = Arc::new(Int32Array::from(wrong_labels));
        patch.set_column("label", &wrong_ids, &values)?;
    }
    Ok(patch)
}

/// The rows whose labels differ between two revisions.
pub(crate) fn changed(table: &Table, from: Revision, to: Revision) -> Result<BTreeSet<u64>> {
    let cells = block_on(table.diff(from, to))?.cells;
    let labels = cells
        .into_iter()
        .filter(|cells| cells.column.as_str() == "label");
    Ok(labels.flat_map(|cells| cells.row_ids).collect())
}

/// The labels with a share of wrong ones. The same seed gives the same ones everywhere.
fn planted(mut labels: Vec<i32>, noise: f64, seed: u64) -> Vec<i32> {
    let random = &mut Random::new(seed);
    let n_wrong = (labels.len() as f64 * noise).round() as usize;
    let mut positions: Vec<_> = (0..labels.len()).collect();
    for done in 0..n_wrong.min(positions.len()) {
        let chosen = done + random.below(positions.len() - done);
        positions.swap(done, chosen);
        let label = &mut labels[positions[done]];
        *label = (*label + 1 + random.below(9) as i32) % 10;
    }
    labels
}
