//! The question of boxes that are missing, of the wrong class or badly placed: from columns of a stream to [`Image`]s.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};

use super::answer::rows;
use super::objects::{BoxDoubt, Image, Labelled, doubts, least_similarity};
use super::options::BoxOptions;
use crate::collect::{Boxes, OneBox};
use crate::error::Result;
use crate::project::Project;
use crate::questions::{Labels, best, found};

impl Project {
    /// The boxes of an epoch's images that are probably wrong: `_rowid`, `issue` (text: `overlooked`, `swapped` or `badly_located`), `score`
    /// (Float64: from 0 for the worst to 1), `box` (Int64: the id of the predicted box that was overlooked, else of the true one), `label` (Int32: the class of the true
    /// box) and `suggested` (Int32: what it should be, null where the class is right or nothing is known); lowest score first, of equal ones the lowest row id, issue and id.
    ///
    /// The scores are those of `ObjectLab` (Tkachenko et al. 2023), as cleanlab computes them, of which those below 1 are answered; which of them are low enough the
    /// paper decides by the average precision of each class, which is not computed here. A box is *overlooked* that is predicted with
    /// 0.95 or more and that no true box touches; it scores by the most similar true box of its class. One is *swapped* that is similar to a box predicted with more than 0.95 as another class,
    /// or that lies where a true box of another class does. One is *badly located* that is not similar to those predicted with more than 0.5 as its class that touch it. Corners are
    /// in pixels: the similarity has a part that falls with the distance of the centres.
    ///
    /// Predicted boxes are the column `predicted_boxes`, as [`Detection`](crate::collect::Detection) logs it. True boxes have corners only in the table, unless the stream has such a
    /// column. Those without a label, crowds, and boxes with a number that is not finite are left out. The schema's metadata says how many rows counted (`rows`), and how many did not, which
    /// have no list of predicted or true boxes (`rows_without_boxes`), and of which table the rows are (`table`), if they name one.
    ///
    /// Reads the boxes as [`Self::confusion`] reads labels. Memory: the boxes of the epoch, and 56 bytes for each.
    ///
    /// # Errors
    /// As [`Self::confusion`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) also for columns that hold no boxes, and for rows of several tables.
    pub async fn box_issues(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<BoxOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let epochs = self.epochs(run, stream).await?;
        found(&epochs, &options.predicted).await?;
        let at = options.at.as_deref();
        let labels = Labels::new(self, &epochs, &options.label, at).await?;
        let mut labels = labels.of_one_table();
        let columns = labels.columns(&options.predicted);
        let read = epochs.columns(epoch, &columns).await?;
        let real = labels.of(&read).await?;
        let predicted = boxes(&options.predicted, read.column(0)?, true)?;
        let real = boxes(&options.label, &real, false)?;
        let (mut images, mut n_without) = (Vec::new(), 0_u64);
        for (row, row_id) in read.row_ids.values().iter().enumerate() {
            match (predicted.of(row)?, real.of(row)?) {
                (Some(predicted), Some(real)) => images.push(Image {
                    row_id: *row_id,
                    predicted: labelled(&predicted),
                    real: labelled(&real),
                }),
                _ => n_without += 1,
            }
        }
        let least = least_similarity(&images);
        let all = images
            .iter()
            .flat_map(|image| doubts(image, least))
            .collect();
        let order = |a: &BoxDoubt, b: &BoxDoubt| {
            let key = |doubt: &BoxDoubt| (doubt.row_id, doubt.issue, doubt.id);
            a.score.total_cmp(&b.score).then(key(a).cmp(&key(b)))
        };
        let mut metadata = vec![
            ("rows", images.len().to_string()),
            ("rows_without_boxes", n_without.to_string()),
        ];
        metadata.extend(labels.table_name().map(|table| ("table", table.to_owned())));
        answer(&best(all, options.rows_max, order), metadata)
    }
}

fn boxes(column: &str, values: &ArrayRef, are_predicted: bool) -> Result<Boxes> {
    let batch = RecordBatch::try_from_iter([(column, Arc::clone(values))])?;
    Boxes::read(&batch, column, are_predicted)
}

/// The boxes that count.
fn labelled(boxes: &[OneBox]) -> Vec<Labelled> {
    let counted = boxes
        .iter()
        .filter(|one| !one.is_crowd && one.score.is_finite());
    let counted = counted.filter(|one| one.corners.iter().all(|corner| corner.is_finite()));
    let one = |one: &OneBox| {
        Some(Labelled {
            id: one.id,
            class: one.label?,
            corners: one.corners,
            score: one.score,
        })
    };
    counted.filter_map(one).collect()
}

fn answer(found: &[BoxDoubt], metadata: Vec<(&'static str, String)>) -> Result<RecordBatch> {
    let classes = |of: fn(&BoxDoubt) -> Option<i32>| -> ArrayRef {
        Arc::new(found.iter().map(of).collect::<Int32Array>())
    };
    let ids = Int64Array::from_iter_values(found.iter().map(|doubt| doubt.id));
    let more: Vec<(Field, ArrayRef)> = vec![
        (Field::new("box", DataType::Int64, false), Arc::new(ids)),
        (
            Field::new("label", DataType::Int32, true),
            classes(|doubt| doubt.label),
        ),
        (
            Field::new("suggested", DataType::Int32, true),
            classes(|doubt| doubt.suggested),
        ),
    ];
    let row_ids: Vec<u64> = found.iter().map(|doubt| doubt.row_id).collect();
    let scores: Vec<f64> = found.iter().map(|doubt| doubt.score).collect();
    let issues = StringArray::from_iter_values(found.iter().map(|doubt| doubt.issue));
    rows(Arc::new(issues), &row_ids, &scores, more, metadata)
}
