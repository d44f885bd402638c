//! The question of losses that do not fall: from a column of a stream to [`Lines`].

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use futures::TryStreamExt as _;

use super::answer::{named, rows};
use super::lines::{Lines, Trend};
use super::options::TrendOptions;
use crate::error::{Error, Result};
use crate::project::Project;
use crate::questions::{OneTable, best, found, numbers};

/// What it is called that a loss does not fall.
pub(super) const ISSUE: &str = "loss_trend";

impl Project {
    /// The samples that a model does not learn: their loss does not fall from epoch to epoch, and is high. `_rowid`, `issue`
    /// (text: `loss_trend`), `score` (Float64: by how much the loss falls with each epoch, so that what rises is below 0),
    /// and of the losses `mean` and `last` (Float64); lowest score first, of equal ones the lowest row id.
    ///
    /// How the loss falls is the slope, with the opposite sign, of the straight line through the losses over the numbers of the epochs
    /// that has the least squares (as `numpy.polyfit` of degree 1 gives it). Issues have a score of 0 or less and a mean that is among
    /// the highest: at or above that quantile of all means which leaves the share of the options above it (as `numpy.quantile`).
    /// A sample with losses of fewer than two epochs has no slope, and is no issue; its mean counts. The schema's metadata says
    /// how many rows counted (`rows`), and how many did not, since their loss is null, NaN or infinite (`rows_without_loss`); and of
    /// which table the rows are (`table`), if they name one.
    ///
    /// Costs what [`Self::epoch_means`] costs; memory for 80 bytes of each sample.
    ///
    /// # Errors
    /// As [`Self::epoch_means`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a share that is not from 0 to 1, and for rows of
    /// several tables.
    pub async fn loss_trend(
        &self,
        run: &str,
        stream: &str,
        options: impl Into<TrendOptions> + Send,
    ) -> Result<RecordBatch> {
        let TrendOptions {
            column,
            share,
            rows_max,
        } = options.into();
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid(format!(
                "a share is from 0 to 1, not {share}"
            )));
        }
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, &column).await?;
        let (mut lines, columns) = (Lines::default(), [column.as_str(), "table"]);
        let mut table = OneTable::default();
        let (mut n_rows, mut n_without) = (0, 0);
        let mut all = epochs.all(&columns);
        while let Some((epoch, read)) = all.try_next().await? {
            let losses = numbers(&column, read.column(0)?)?;
            table.add(read.column(1)?)?;
            n_rows += losses.len() as u64;
            n_without += lines.add(epoch, &read.row_ids, losses.as_primitive());
        }
        let order = |a: &Trend, b: &Trend| a.fall.total_cmp(&b.fall).then(a.row_id.cmp(&b.row_id));
        let stuck = best(lines.stuck(share), rows_max, order);
        let mut metadata = vec![
            ("rows", (n_rows - n_without).to_string()),
            ("rows_without_loss", n_without.to_string()),
        ];
        metadata.extend(table.name().map(|table| ("table", table.to_owned())));
        answer(&stuck, metadata)
    }
}

fn answer(stuck: &[Trend], metadata: Vec<(&'static str, String)>) -> Result<RecordBatch> {
    let numbers = |name: &str, of: fn(&Trend) -> f64| -> (Field, ArrayRef) {
        let values = Float64Array::from_iter_values(stuck.iter().map(of));
        (Field::new(name, DataType::Float64, false), Arc::new(values))
    };
    let ids: Vec<u64> = stuck.iter().map(|trend| trend.row_id).collect();
    let scores: Vec<f64> = stuck.iter().map(|trend| trend.fall).collect();
    let more = vec![
        numbers("mean", |trend| trend.mean),
        numbers("last", |trend| trend.last),
    ];
    rows(named(ISSUE, ids.len()), &ids, &scores, more, metadata)
}
