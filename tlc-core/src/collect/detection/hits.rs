//! How many boxes an epoch found, missed and made up.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray as _, Int32Array, ListArray, RecordBatch, StructArray};

use crate::collect::Aggregate;
use crate::collect::columns::column;
use crate::error::{Error, Result};

/// Up to so many classes each has a curve of its own.
const CURVES_MAX: usize = 32;

/// Precision and recall of all boxes of an epoch together, and the recall of each class.
#[derive(Default)]
pub(super) struct Hits {
    n_tp: u64,
    n_fp: u64,
    /// By class, the true boxes that were found and those that there were. One class more than have curves, and no further one.
    classes: BTreeMap<i32, (u64, u64)>,
    n_true: u64,
}

impl Aggregate for Hits {
    fn add(&mut self, _outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
        let predicted = boxes(metrics, "predicted_boxes")?;
        let kinds = child(predicted, "kind")?.as_string_opt::<i32>();
        for kind in kinds.ok_or_else(not_ours)?.iter().flatten() {
            self.n_tp += u64::from(kind == "tp");
            self.n_fp += u64::from(kind == "fp");
        }
        let real = boxes(metrics, "true_boxes")?;
        let labels: Option<&Int32Array> = child(real, "label")?.as_primitive_opt();
        let found = child(real, "found")?.as_boolean_opt();
        let pairs = labels.ok_or_else(not_ours)?.iter();
        for (label, found) in pairs.zip(found.ok_or_else(not_ours)?) {
            let (Some(label), Some(found)) = (label, found) else {
                continue;
            };
            self.n_true += 1;
            if self.classes.len() <= CURVES_MAX || self.classes.contains_key(&label) {
                let class = self.classes.entry(label).or_default();
                *class = (class.0 + u64::from(found), class.1 + 1);
            }
        }
        Ok(())
    }

    fn scalars(&self) -> Vec<(String, f64)> {
        let all = [
            ("precision", self.n_tp, self.n_tp + self.n_fp),
            ("recall", self.n_tp, self.n_true),
        ];
        let all = all.map(|(name, n, of)| (name.to_owned(), n, of));
        let classes = self.classes.iter();
        let classes = classes.map(|(class, (n, of))| (format!("recall/{class}"), *n, *of));
        let n_curves = match self.classes.len() <= CURVES_MAX {
            true => CURVES_MAX,
            false => 0,
        };
        let ratios = all.into_iter().chain(classes.take(n_curves));
        ratios
            .filter(|(_, _, of)| *of > 0)
            .map(|(name, n, of)| (name, ratio(n, of)))
            .collect()
    }
}

/// The boxes of all samples, one after another: the lists have nothing between them.
fn boxes<'a>(metrics: &'a RecordBatch, name: &str) -> Result<&'a StructArray> {
    let lists: Option<&ListArray> = column(metrics, name)?.as_list_opt();
    lists
        .and_then(|lists| lists.values().as_struct_opt())
        .ok_or_else(not_ours)
}

fn child<'a>(boxes: &'a StructArray, name: &str) -> Result<&'a dyn Array> {
    let child = boxes.column_by_name(name).ok_or_else(not_ours)?;
    Ok(child.as_ref())
}

fn not_ours() -> Error {
    Error::invalid("the columns of boxes are not as the collector makes them")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "boxes of an epoch are far below 2^53"
)]
fn ratio(n: u64, of: u64) -> f64 {
    n as f64 / of as f64
}
