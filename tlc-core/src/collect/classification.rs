//! Sample metrics of a classifier, from its logits and the labels.

use arrow::array::{
    Array as _, AsArray as _, BooleanBuilder, FixedSizeListArray, Float32Builder, Int32Builder,
    Int64Array, RecordBatch,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Int64Type};

use super::columns::{metric, narrow, record};
use super::epoch::{Confusion, Reliability, Spread};
use super::softmax::Softmax;
use super::{Aggregate, Collector, WideClassification};
use crate::error::{Error, Result};

/// What a classifier thought of each sample of a batch.
///
/// Needs the columns `logits` (`FixedSizeList<Float32>`, one value for each class: the scores
/// before softmax) and `label` (any integer type: the class index, null where there is none).
/// With `p` the softmax of the logits, computed in 64 bits relative to the largest logit, and `y`
/// the label, it makes these columns:
///
/// | column | type | value |
/// |---|---|---|
/// | `loss` | Float32 | cross entropy in nats, `logsumexp(logits) - logits[y]` |
/// | `predicted` | Int32 | the class with the largest logit, the lowest index among equals |
/// | `confidence` | Float32 | the largest `p` |
/// | `margin` | Float32 | `p[y] - max(p[j], j ≠ y)`, in -1…1: the *normalized margin* of Northcutt, Jiang and Chuang, "Confident Learning" (2021). It is not the margin between logits that Pleiss et al. (2020) average into AUM |
/// | `entropy` | Float32 | `-Σ p ln p` in nats |
/// | `correct` | Boolean | `predicted == y` |
///
/// A sample without a label has null `loss`, `margin` and `correct`. A sample whose softmax does
/// not exist (a NaN or +∞ among its logits, or nothing but -∞) has NaN in the four numbers, a null
/// `predicted`, and is not correct; it stops nothing. -∞ is a class of probability 0.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column is missing or of another
/// type, or a label is not the index of a class; the message names the sample's position.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classification;

impl Classification {
    /// The same columns and more of them: see [`WideClassification`].
    #[must_use]
    pub fn wide(self) -> WideClassification {
        WideClassification::default()
    }
}

impl Collector for Classification {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let logits = logits(outputs)?;
        let labels = labels(outputs)?;
        let mut columns = Columns::default();
        for (sample, scores) in scores(logits).enumerate() {
            columns.push(&Judged::new(scores, label(&labels, sample, scores.len())?));
        }
        columns.finish()
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[("loss", "loss"), ("correct", "accuracy")]
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        of_classes()
    }
}

/// What is gathered over an epoch, beside the means.
pub(super) fn of_classes() -> Vec<Box<dyn Aggregate>> {
    let mut aggregates = vec![Spread::of("loss"), Box::<Confusion>::default()];
    aggregates.extend(Reliability::boxed());
    aggregates
}

/// What the logits of one sample say.
struct Judged {
    predicted: Option<usize>,
    confidence: f64,
    entropy: f64,
    labelled: Option<Labelled>,
}

/// What they say about its label.
struct Labelled {
    loss: f64,
    margin: f64,
    correct: bool,
}

impl Judged {
    fn new(scores: &[f32], label: Option<usize>) -> Self {
        let Some(softmax) = Softmax::new(scores) else {
            return Self {
                predicted: None,
                confidence: f64::NAN,
                entropy: f64::NAN,
                labelled: label.map(|_| Labelled {
                    loss: f64::NAN,
                    margin: f64::NAN,
                    correct: false,
                }),
            };
        };
        let labelled = label.and_then(|label| {
            let mut own = 0.0;
            let mut best_other = 0.0_f64;
            for (class, p) in softmax.probabilities().enumerate() {
                match class == label {
                    true => own = p,
                    false => best_other = best_other.max(p),
                }
            }
            Some(Labelled {
                loss: softmax.surprise(*scores.get(label)?),
                margin: own - best_other,
                correct: softmax.top() == label,
            })
        });
        Self {
            predicted: Some(softmax.top()),
            confidence: softmax.confidence(),
            entropy: softmax.entropy(),
            labelled,
        }
    }
}

#[derive(Default)]
struct Columns {
    loss: Float32Builder,
    predicted: Int32Builder,
    confidence: Float32Builder,
    margin: Float32Builder,
    entropy: Float32Builder,
    correct: BooleanBuilder,
}

impl Columns {
    fn push(&mut self, judged: &Judged) {
        self.predicted
            .append_option(judged.predicted.and_then(|class| i32::try_from(class).ok()));
        self.confidence.append_value(narrow(judged.confidence));
        self.entropy.append_value(narrow(judged.entropy));
        let labelled = judged.labelled.as_ref();
        self.loss
            .append_option(labelled.map(|labelled| narrow(labelled.loss)));
        self.margin
            .append_option(labelled.map(|labelled| narrow(labelled.margin)));
        self.correct
            .append_option(labelled.map(|labelled| labelled.correct));
    }

    fn finish(mut self) -> Result<RecordBatch> {
        record(vec![
            metric("loss", self.loss.finish()),
            metric("predicted", self.predicted.finish()),
            metric("confidence", self.confidence.finish()),
            metric("margin", self.margin.finish()),
            metric("entropy", self.entropy.finish()),
            metric("correct", self.correct.finish()),
        ])
    }
}

pub(super) fn logits(outputs: &RecordBatch) -> Result<&FixedSizeListArray> {
    let column = super::embedding::floats(outputs, "logits")?;
    match column.value_length() {
        0 => Err(Error::invalid(
            "column \"logits\" has no classes: its lists are of length 0",
        )),
        _ => Ok(column),
    }
}

/// The logits of each sample.
pub(super) fn scores(logits: &FixedSizeListArray) -> impl Iterator<Item = &[f32]> {
    let n_classes = usize::try_from(logits.value_length()).unwrap_or(1).max(1);
    let values = logits.values().as_primitive::<Float32Type>().values();
    values.chunks_exact(n_classes)
}

pub(super) fn labels(outputs: &RecordBatch) -> Result<Int64Array> {
    let column = outputs.column_by_name("label").ok_or_else(|| {
        Error::invalid(
            "the outputs have no column \"label\"; a classification needs the class indices",
        )
    })?;
    if !column.data_type().is_integer() {
        let found = column.data_type();
        return Err(Error::invalid(format!(
            "column \"label\" is {found}; a classification needs integer class indices"
        )));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let labels = cast_with_options(column, &DataType::Int64, &strict).map_err(|err| {
        Error::invalid("column \"label\" holds a number that is no class index").with_source(err)
    })?;
    Ok(labels.as_primitive::<Int64Type>().clone())
}

pub(super) fn label(labels: &Int64Array, sample: usize, n_classes: usize) -> Result<Option<usize>> {
    if labels.is_null(sample) {
        return Ok(None);
    }
    let label = labels.value(sample);
    match usize::try_from(label) {
        Ok(class) if class < n_classes => Ok(Some(class)),
        _ => Err(Error::invalid(format!(
            "sample {sample} of the batch has the label {label}, but the logits are of {n_classes} classes (0 to {})",
            n_classes - 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int8Array, StringArray, UInt64Array};
    use arrow::datatypes::Field;
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn outputs(logits: &[&[f32]], labels: ArrayRef) -> RecordBatch {
        let n_classes = i32::try_from(logits[0].len()).unwrap();
        let values = arrow::array::Float32Array::from(logits.concat());
        let field = Arc::new(Field::new("item", DataType::Float32, false));
        let lists = FixedSizeListArray::new(field, n_classes, Arc::new(values), None);
        RecordBatch::try_from_iter([("logits", Arc::new(lists) as ArrayRef), ("label", labels)])
            .unwrap()
    }

    /// One sample: its logits, its label, and the six values with four digits.
    #[track_caller]
    fn check(logits: &[f32], label: Option<i8>, expected: &str) {
        let found = Classification
            .collect(&outputs(&[logits], Arc::new(Int8Array::from(vec![label]))))
            .unwrap();
        let values = (0..6).map(|column| {
            let column = found.column(column);
            match column.as_primitive_opt::<Float32Type>() {
                Some(numbers) if numbers.is_valid(0) => format!("{:.4}", numbers.value(0)),
                _ => array_value_to_string(column, 0).unwrap(),
            }
        });
        assert_eq!(values.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn the_values_are_those_of_the_definitions() {
        // Reference: p = [0.6652, 0.2447, 0.0900] for [2, 1, 0].
        check(
            &[2.0, 1.0, 0.0],
            Some(0),
            "0.4076 0 0.6652 0.4205 0.8324 true",
        );
        check(
            &[2.0, 1.0, 0.0],
            Some(1),
            "1.4076 0 0.6652 -0.4205 0.8324 false",
        );
        check(&[0.0, 0.0], Some(1), "0.6931 0 0.5000 0.0000 0.6931 false");
        check(&[3.0], Some(0), "0.0000 0 1.0000 1.0000 0.0000 true");
    }

    #[test]
    fn large_logits_do_not_overflow() {
        check(&[1e4, 0.0], Some(0), "0.0000 0 1.0000 1.0000 0.0000 true");
        check(
            &[-1e4, 0.0],
            Some(0),
            "10000.0000 1 1.0000 -1.0000 0.0000 false",
        );
        check(
            &[-1e30, -1e30],
            Some(1),
            "0.6931 0 0.5000 0.0000 0.6931 false",
        );
    }

    #[test]
    fn a_masked_class_has_probability_zero() {
        check(
            &[0.0, f32::NEG_INFINITY],
            Some(0),
            "0.0000 0 1.0000 1.0000 0.0000 true",
        );
        check(
            &[0.0, f32::NEG_INFINITY],
            Some(1),
            "inf 0 1.0000 -1.0000 0.0000 false",
        );
    }

    #[test]
    fn a_softmax_that_does_not_exist_is_nan_and_stops_nothing() {
        for bad in [f32::NAN, f32::INFINITY] {
            check(&[0.0, bad], Some(0), "NaN  NaN NaN NaN false");
        }
        check(&[f32::NEG_INFINITY; 2], Some(0), "NaN  NaN NaN NaN false");
    }

    #[test]
    fn a_sample_without_a_label_still_has_a_prediction() {
        check(&[2.0, 1.0, 0.0], None, " 0 0.6652  0.8324 ");
    }

    #[test]
    fn bad_outputs_are_named() {
        let two: &[&[f32]] = &[&[1.0, 0.0], &[1.0, 0.0]];
        let cases: [(RecordBatch, &str); 4] = [
            (
                outputs(two, Arc::new(Int8Array::from(vec![1, 2]))),
                "sample 1 of the batch has the label 2",
            ),
            (
                outputs(two, Arc::new(Int8Array::from(vec![-1, 0]))),
                "sample 0 of the batch has the label -1",
            ),
            (
                outputs(two, Arc::new(UInt64Array::from(vec![0, u64::MAX]))),
                "no class index",
            ),
            (
                outputs(two, Arc::new(StringArray::from(vec!["a", "b"]))),
                "column \"label\" is Utf8",
            ),
        ];
        for (outputs, expected) in cases {
            let err = Classification.collect(&outputs).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
        }
        let labels =
            RecordBatch::try_from_iter([("label", Arc::new(Int8Array::from(vec![1])) as ArrayRef)])
                .unwrap();
        let err = Classification.collect(&labels).unwrap_err().to_string();
        assert!(err.contains("no column \"logits\""), "{err}");
    }
}
