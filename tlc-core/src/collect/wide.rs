//! More sample metrics of a classifier than most programs want to keep.

use std::sync::Arc;

use arrow::array::{BooleanBuilder, FixedSizeListArray, Float32Array, Float32Builder, RecordBatch};
use arrow::datatypes::{DataType, Field};

use super::classification::{Classification, label, labels, logits, of_classes, scores};
use super::columns::{metric, narrow, record};
use super::softmax::Softmax;
use super::{Aggregate, Collector, CollectorExt as _};
use crate::error::Result;

const SCALARS: &[(&str, &str)] = &[
    ("loss", "loss"),
    ("correct", "accuracy"),
    ("brier", "brier"),
    ("top_k_correct", "top_k_accuracy"),
];

/// What [`Classification`] makes of a batch, and more; made by [`Classification::wide`].
///
/// Needs the same columns, and makes the same ones, followed by these:
///
/// | column | type | value |
/// |---|---|---|
/// | `gap` | Float32 | the largest `p` less the second largest, 1 for a single class: the margin by which active learning picks uncertain samples (Scheffer, Decomain and Wrobel 2001) |
/// | `brier` | Float32 | `Σ (p[j] - [j = y])²` over all classes, in 0…2 (Brier 1950) |
/// | `top_k_correct` | Boolean | fewer than `k` classes come before `y`: of a larger logit, or an equal one and a lower index; with [`Self::top_k`] |
/// | `logit_margin` | Float32 | the logit of `y` less the largest other one, null for a single class: what the area under the margin is the mean of (Pleiss et al. 2020); with [`Self::logit_margin`] |
/// | `probabilities` | `FixedSizeList<Float32>` | `p`; with [`Self::probabilities`] |
///
/// A sample without a label has null `brier`, `top_k_correct` and `logit_margin`. Where the softmax does not exist,
/// numbers are NaN and `top_k_correct` is false.
///
/// The cost is that of [`Classification`] twice.
///
/// # Errors
/// Those of [`Classification`].
///
/// ```
/// use tlc_core::collect::Classification;
///
/// let collector = Classification.wide().top_k(5).probabilities();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WideClassification {
    k: Option<usize>,
    logit_margin: bool,
    probabilities: bool,
}

impl WideClassification {
    /// Adds whether the label is among the `k` likeliest classes. Of `k` = 1 that is `correct`; of
    /// as many as there are classes it is always so.
    #[must_use]
    pub fn top_k(mut self, k: usize) -> Self {
        self.k = Some(k);
        self
    }

    /// Adds by how much the logit of the label is above the others: 4 bytes for each sample, with which
    /// [`Project::area_under_margin`](crate::Project::area_under_margin) finds wrong labels.
    #[must_use]
    pub fn logit_margin(mut self) -> Self {
        self.logit_margin = true;
        self
    }

    /// Adds the probabilities of all classes: 4 bytes for each sample and class.
    #[must_use]
    pub fn probabilities(mut self) -> Self {
        self.probabilities = true;
        self
    }

    fn more(self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let (logits, labels) = (logits(outputs)?, labels(outputs)?);
        let mut gaps = Float32Builder::new();
        let mut briers = Float32Builder::new();
        let mut top = BooleanBuilder::new();
        let mut margins = Float32Builder::new();
        let mut probabilities = Vec::new();
        for (sample, scores) in scores(logits).enumerate() {
            let label = label(&labels, sample, scores.len())?;
            let p: Vec<f64> = match Softmax::new(scores) {
                Some(softmax) => softmax.probabilities().collect(),
                None => vec![f64::NAN; scores.len()],
            };
            gaps.append_value(narrow(gap(&p)));
            briers.append_option(label.map(|label| narrow(brier(&p, label))));
            margins.append_option(label.and_then(|label| logit_margin(scores, label)));
            let is_defined = p.first().is_some_and(|p| !p.is_nan());
            top.append_option(
                label.map(|label| is_defined && place(scores, label) < self.k.unwrap_or(0)),
            );
            if self.probabilities {
                probabilities.extend(p.into_iter().map(narrow));
            }
        }
        let mut columns = vec![
            metric("gap", gaps.finish()),
            metric("brier", briers.finish()),
        ];
        if self.k.is_some() {
            columns.push(metric("top_k_correct", top.finish()));
        }
        if self.logit_margin {
            columns.push(metric("logit_margin", margins.finish()));
        }
        if self.probabilities {
            let item = Arc::new(Field::new_list_field(DataType::Float32, true));
            let values = Arc::new(Float32Array::from(probabilities));
            let lists = FixedSizeListArray::try_new(item, logits.value_length(), values, None)?;
            columns.push(metric("probabilities", lists));
        }
        record(columns)
    }
}

impl Collector for WideClassification {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let more = |outputs: &RecordBatch| self.more(outputs);
        Classification.and(more).collect(outputs)
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        let n = SCALARS.len() - usize::from(self.k.is_none());
        SCALARS.get(..n).unwrap_or(SCALARS)
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        of_classes()
    }
}

/// The largest probability less the second largest; NaN if they are.
fn gap(p: &[f64]) -> f64 {
    let mut largest = (0.0, 0.0);
    for p in p {
        if p.is_nan() {
            return f64::NAN;
        }
        largest = match *p > largest.0 {
            true => (*p, largest.0),
            false => (largest.0, f64::max(largest.1, *p)),
        };
    }
    largest.0 - largest.1
}

fn brier(p: &[f64], label: usize) -> f64 {
    let errors = p.iter().enumerate().map(|(class, p)| match class == label {
        true => p - 1.0,
        false => *p,
    });
    errors.map(|error| error * error).sum()
}

/// The logit of the label less the largest other one; NaN if one of them is. `None` of a single class.
fn logit_margin(scores: &[f32], label: usize) -> Option<f32> {
    let others = scores.iter().enumerate().filter(|(at, _)| *at != label);
    let largest = others.map(|(_, score)| f64::from(*score));
    let largest = largest.reduce(|a, b| if a.is_nan() || a > b { a } else { b })?;
    Some(narrow(f64::from(*scores.get(label)?) - largest))
}

/// How many classes come before this one.
fn place(scores: &[f32], label: usize) -> usize {
    let Some(own) = scores.get(label) else {
        return scores.len();
    };
    let is_before =
        |(class, score): &(usize, &f32)| *score > own || (*score == own && *class < label);
    scores.iter().enumerate().filter(is_before).count()
}

#[cfg(test)]
mod tests {
    use super::super::cases::{check, lists_of, outputs, refused, rows};
    use super::*;
    use crate::testing::collector_contract;

    fn batch(n_classes: i32, lines: &str) -> RecordBatch {
        let fields = [
            lists_of("logits", DataType::Float32, n_classes),
            Field::new("label", DataType::Int32, true),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn the_added_columns_are_those_of_the_definitions() {
        // For [2, 1, 0], p = [0.66524, 0.24473, 0.09003].
        let batch = batch(
            3,
            r#"{"logits":[2,1,0],"label":0}
               {"logits":[2,1,0],"label":1}
               {"logits":[2,1,0],"label":2}
               {"logits":[1,1,1],"label":1}
               {"logits":[1,1,1],"label":2}
               {"logits":[2,1,0]}
               {"logits":["NaN",1,0],"label":1}
               {"logits":["inf",1,0],"label":0}
               {"logits":["-inf",1,1],"label":0}"#,
        );
        let more = |outputs: &RecordBatch| Classification.wide().top_k(2).more(outputs);
        check(
            &more,
            &batch,
            &[
                "gap=0.4205 brier=0.1801 top_k_correct=true",
                "gap=0.4205 brier=1.0211 top_k_correct=true",
                "gap=0.4205 brier=1.3305 top_k_correct=false",
                "gap=0.0000 brier=0.6667 top_k_correct=true",
                "gap=0.0000 brier=0.6667 top_k_correct=false",
                "gap=0.4205 brier=- top_k_correct=-",
                "gap=NaN brier=NaN top_k_correct=false",
                "gap=NaN brier=NaN top_k_correct=false",
                "gap=0.0000 brier=1.5000 top_k_correct=false",
            ],
        );
    }

    #[test]
    fn the_margin_of_the_logits_is_to_the_largest_other_one() {
        let batch = batch(
            3,
            r#"{"logits":[5,2,3],"label":0}
               {"logits":[5,2,3],"label":1}
               {"logits":[5,5,-9],"label":1}
               {"logits":[5,2,3]}
               {"logits":[5,"NaN",7],"label":0}
               {"logits":[5,7,"NaN"],"label":0}
               {"logits":[5,"-inf","-inf"],"label":0}"#,
        );
        let made = Classification.wide().logit_margin().more(&batch).unwrap();
        let expected = ["2.0000", "-3.0000", "0.0000", "-", "NaN", "NaN", "inf"];
        assert_eq!(
            rows(&made.project(&[2]).unwrap()),
            expected.map(|margin| format!("logit_margin={margin}"))
        );
    }

    #[test]
    fn one_class_is_certain() {
        let batch = batch(1, r#"{"logits":[-3],"label":0}"#);
        let wide = Classification.wide().top_k(1).logit_margin();
        let made = wide.probabilities().more(&batch);
        let first = "gap=1.0000 brier=0.0000 top_k_correct=true";
        assert_eq!(
            rows(&made.unwrap()),
            [format!("{first} logit_margin=- probabilities=[1.0000]")]
        );
    }

    #[test]
    fn the_columns_of_classification_come_first_and_unchanged() {
        let batch = batch(2, r#"{"logits":[1,3],"label":1} {"logits":["NaN",3]}"#);
        let plain = Classification.collect(&batch).unwrap();
        let wide = Classification.wide().probabilities();
        let made = wide.collect(&batch).unwrap();
        let firsts: Vec<usize> = (0..plain.num_columns()).collect();
        assert_eq!(rows(&made.project(&firsts).unwrap()), rows(&plain));
        let last = made.project(&[made.num_columns() - 1]).unwrap();
        let expected = ["probabilities=[0.1192 0.8808]", "probabilities=[NaN NaN]"];
        assert_eq!(rows(&last), expected);
    }

    #[test]
    fn the_scalars_are_columns_with_and_without_the_best() {
        let batch = batch(
            2,
            r#"{"logits":[1,3],"label":1} {"logits":[1,3]} {"logits":["NaN",0],"label":0}"#,
        );
        for (wide, n) in [
            (Classification.wide(), 3),
            (Classification.wide().top_k(1), 4),
        ] {
            assert_eq!(wide.scalars().len(), n);
            collector_contract(&wide, std::slice::from_ref(&batch)).unwrap();
        }
    }

    #[test]
    fn the_best_of_k_grow_with_k_up_to_all() {
        let batch = batch(
            3,
            r#"{"logits":[5,7,7],"label":0} {"logits":[5,7,7],"label":2}"#,
        );
        for (k, expected) in [
            (0, ["false", "false"]),
            (1, ["false", "false"]),
            (2, ["false", "true"]),
            (3, ["true", "true"]),
            (9, ["true", "true"]),
        ] {
            let made = Classification.wide().top_k(k).more(&batch).unwrap();
            let found = rows(&made.project(&[2]).unwrap());
            assert_eq!(
                found,
                expected.map(|is| format!("top_k_correct={is}")),
                "{k}"
            );
        }
    }

    #[test]
    fn a_label_that_is_no_class_is_named() {
        let batch = batch(
            2,
            r#"{"logits":[1,3],"label":1} {"logits":[1,3],"label":2}"#,
        );
        refused(
            &Classification.wide(),
            &batch,
            "sample 1 of the batch has the label 2",
        );
    }
}
