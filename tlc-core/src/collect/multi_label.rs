//! Sample metrics where a sample may be of several classes at once, or of none.

use arrow::array::{BooleanBuilder, Float32Builder, Int32Builder, ListBuilder, RecordBatch};
use arrow::datatypes::Float64Type;

use super::columns::{Lists, count, is_number, metric, narrow, record, same_length, share};
use super::{Collector, classification};
use crate::error::{Error, Result};

/// What a model with one yes or no for each class thought of each sample of a batch.
///
/// Needs the columns `logits` (`FixedSizeList<Float32>`, one value for each class: the scores
/// before the sigmoid) and `target` (lists of as many values, of any type of number or Boolean: 1
/// for each class that the sample is of, 0 for the others; null where it is not known). A model's
/// targets have this form already; a label is a single class.
/// With `p` the sigmoid of the logits, it makes these columns:
///
/// | column | type | value |
/// |---|---|---|
/// | `loss` | Float32 | the mean over the classes of the binary cross entropy in nats, `-ln p` where the target is 1 and `-ln (1 - p)` where it is 0, exact for large logits |
/// | `predicted` | `List<Int32>` | the classes of a `p` over the threshold, ascending |
/// | `exact_match` | Boolean | `predicted` is the set of the classes of target 1 |
/// | `jaccard` | Float32 | how many classes are in both sets, of those in one at least (Jaccard 1912); 1 if both are empty |
/// | `n_wrong` | Int32 | the classes in one set only: the distance of Hamming (1950) |
///
/// A sample without a target has null in all but `predicted`. A sample with a NaN among its logits
/// has NaN `loss` and `jaccard`, null `predicted` and `n_wrong`, and is no exact match; it stops
/// nothing. ±∞ are probabilities of 1 and 0.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column is missing or of another
/// type, a target is neither 0 nor 1, or there are not as many as there are classes; the message
/// names the column or the sample's position.
///
/// ```
/// use tlc_core::collect::MultiLabel;
///
/// let collector = MultiLabel::default(); // p over 0.5
/// let cautious = MultiLabel::over(0.9)?;
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MultiLabel {
    threshold: f64,
}

impl Default for MultiLabel {
    /// Predicts the classes of a probability over a half.
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

impl MultiLabel {
    /// Predicts the classes of a probability over `threshold`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if it is not in 0…1.
    pub fn over(threshold: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&threshold) {
            true => Ok(Self { threshold }),
            false => Err(Error::invalid(format!(
                "the threshold of a probability is between 0 and 1, not {threshold}"
            ))),
        }
    }
}

impl Collector for MultiLabel {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let logits = super::embedding::floats(outputs, "logits")?;
        if logits.value_length() == 0 {
            return Err(Error::invalid(
                "column \"logits\" has no classes: its lists are of length 0",
            ));
        }
        let targets = Lists::<Float64Type>::read(outputs, "target", is_number, "0 and 1")?;
        let mut columns = Columns::default();
        for (sample, scores) in classification::scores(logits).enumerate() {
            let target = match targets.complete(sample)? {
                Some(target) => Some(is_of(sample, scores.len(), target)?),
                None => None,
            };
            columns.push(scores, target.as_deref(), self.threshold);
        }
        columns.finish()
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[
            ("loss", "loss"),
            ("exact_match", "exact_match"),
            ("jaccard", "jaccard"),
        ]
    }
}

/// Which classes a sample is of.
fn is_of(sample: usize, n_classes: usize, target: &[f64]) -> Result<Vec<bool>> {
    same_length(sample, n_classes, target.len())?;
    if let Some(other) = target.iter().find(|value| **value != 0.0 && **value != 1.0) {
        return Err(Error::invalid(format!(
            "sample {sample} of the batch has the target {other}; column \"target\" must hold 0 and 1"
        )));
    }
    Ok(target.iter().map(|value| *value == 1.0).collect())
}

#[derive(Default)]
struct Columns {
    loss: Float32Builder,
    predicted: ListBuilder<Int32Builder>,
    exact_match: BooleanBuilder,
    jaccard: Float32Builder,
    n_wrong: Int32Builder,
}

impl Columns {
    fn push(&mut self, scores: &[f32], target: Option<&[bool]>, threshold: f64) {
        let is_defined = !scores.iter().any(|score| score.is_nan());
        let predicted: Vec<bool> = scores
            .iter()
            .map(|score| sigmoid(f64::from(*score)) > threshold)
            .collect();
        let classes = (0..).zip(&predicted).filter(|(_, is)| **is);
        self.predicted
            .values()
            .extend(classes.filter(|_| is_defined).map(|(class, _)| Some(class)));
        self.predicted.append(is_defined);
        let Some(target) = target else {
            self.loss.append_null();
            self.exact_match.append_null();
            self.jaccard.append_null();
            self.n_wrong.append_null();
            return;
        };
        self.loss.append_value(narrow(loss(scores, target)));
        let pairs = || predicted.iter().zip(target);
        let n_wrong = pairs().filter(|(is, should)| is != should).count();
        let n_both = pairs().filter(|(is, should)| **is && **should).count();
        self.exact_match.append_value(is_defined && n_wrong == 0);
        self.jaccard
            .append_value(match (is_defined, n_both + n_wrong) {
                (false, _) => f32::NAN,
                (true, 0) => 1.0,
                (true, n_either) => narrow(share(n_both as u64, n_either as u64)),
            });
        self.n_wrong
            .append_option(is_defined.then(|| count(n_wrong)));
    }

    fn finish(mut self) -> Result<RecordBatch> {
        record(vec![
            metric("loss", self.loss.finish()),
            metric("predicted", self.predicted.finish()),
            metric("exact_match", self.exact_match.finish()),
            metric("jaccard", self.jaccard.finish()),
            metric("n_wrong", self.n_wrong.finish()),
        ])
    }
}

fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// The mean binary cross entropy.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are far fewer classes than 2^53"
)]
fn loss(scores: &[f32], target: &[bool]) -> f64 {
    let surprise = |(score, is): (&f32, &bool)| match *is {
        true => softplus(-f64::from(*score)),
        false => softplus(f64::from(*score)),
    };
    scores.iter().zip(target).map(surprise).sum::<f64>() / scores.len() as f64
}

/// `ln(1 + exp(x))`, which neither overflows nor loses small values. Of ±∞ it is ∞ and 0.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use proptest::prelude::*;

    use super::super::cases::{check, list, lists_of, outputs, refused};
    use super::*;

    fn batch(target: DataType, lines: &str) -> RecordBatch {
        let fields = [
            lists_of("logits", DataType::Float32, 3),
            list("target", target),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn the_values_are_those_of_the_definitions() {
        // ln 2 = 0.6931. For the logits ±2 it is -ln p = 0.1269 and -ln (1 - p) = 2.1269.
        let batch = batch(
            DataType::UInt8,
            r#"{"logits":[2,-2,2],"target":[1,0,1]}
               {"logits":[2,-2,2],"target":[0,1,0]}
               {"logits":[2,-2,2],"target":[1,1,0]}
               {"logits":[-2,-2,-2],"target":[0,0,0]}
               {"logits":[-2,-2,-2],"target":[0,0,1]}
               {"logits":[0,0,0],"target":[1,1,0]}
               {"logits":[2,-2,2]}"#,
        );
        check(
            &MultiLabel::default(),
            &batch,
            &[
                "loss=0.1269 predicted=[0 2] exact_match=true jaccard=1.0000 n_wrong=0",
                "loss=2.1269 predicted=[0 2] exact_match=false jaccard=0.0000 n_wrong=3",
                "loss=1.4603 predicted=[0 2] exact_match=false jaccard=0.3333 n_wrong=2",
                "loss=0.1269 predicted=[] exact_match=true jaccard=1.0000 n_wrong=0",
                "loss=0.7936 predicted=[] exact_match=false jaccard=0.0000 n_wrong=1",
                "loss=0.6931 predicted=[] exact_match=false jaccard=0.0000 n_wrong=2",
                "loss=- predicted=[0 2] exact_match=- jaccard=- n_wrong=-",
            ],
        );
    }

    #[test]
    fn large_logits_are_exact_and_nan_stops_nothing() {
        let batch = batch(
            DataType::Boolean,
            r#"{"logits":[10000,-10000,10000],"target":[true,false,true]}
               {"logits":[30000,-30000,30000],"target":[false,false,true]}
               {"logits":["inf","-inf","inf"],"target":[true,false,true]}
               {"logits":["inf","-inf","inf"],"target":[false,false,true]}
               {"logits":["NaN",1,1],"target":[false,true,true]}
               {"logits":["NaN",1,1]}"#,
        );
        check(
            &MultiLabel::default(),
            &batch,
            &[
                "loss=0.0000 predicted=[0 2] exact_match=true jaccard=1.0000 n_wrong=0",
                "loss=10000.0000 predicted=[0 2] exact_match=false jaccard=0.5000 n_wrong=1",
                "loss=0.0000 predicted=[0 2] exact_match=true jaccard=1.0000 n_wrong=0",
                "loss=inf predicted=[0 2] exact_match=false jaccard=0.5000 n_wrong=1",
                "loss=NaN predicted=- exact_match=false jaccard=NaN n_wrong=-",
                "loss=- predicted=- exact_match=- jaccard=- n_wrong=-",
            ],
        );
    }

    #[test]
    fn only_what_is_over_the_threshold_is_predicted() {
        // The sigmoid of 0 is a half; that of 2 is 0.8808.
        let batch = batch(DataType::Float32, r#"{"logits":[0,2,-2],"target":[1,1,0]}"#);
        for (threshold, expected) in [
            (
                0.0,
                "loss=0.3157 predicted=[0 1 2] exact_match=false jaccard=0.6667 n_wrong=1",
            ),
            (
                0.4,
                "loss=0.3157 predicted=[0 1] exact_match=true jaccard=1.0000 n_wrong=0",
            ),
            (
                0.5,
                "loss=0.3157 predicted=[1] exact_match=false jaccard=0.5000 n_wrong=1",
            ),
            (
                1.0,
                "loss=0.3157 predicted=[] exact_match=false jaccard=0.0000 n_wrong=2",
            ),
        ] {
            check(&MultiLabel::over(threshold).unwrap(), &batch, &[expected]);
        }
        for wrong in [-0.1, 1.1, f64::NAN] {
            assert!(MultiLabel::over(wrong).is_err());
        }
    }

    #[test]
    fn bad_outputs_are_named() {
        let one = r#"{"logits":[0,0,0],"target":[1,1,0]}"#;
        let cases = [
            (
                r#"{"logits":[0,0,0],"target":[1,2,0]}"#,
                "sample 1 of the batch has the target 2",
            ),
            (
                r#"{"logits":[0,0,0],"target":[1]}"#,
                "sample 1 of the batch has 3 predicted values, but 1",
            ),
            (
                r#"{"logits":[0,0,0],"target":[1,null,0]}"#,
                "\"target\" has no value at 1 in the list of sample 1",
            ),
            (
                r#"{"target":[1,1,0]}"#,
                "\"logits\" has no values for sample 1",
            ),
        ];
        for (second, expected) in cases {
            let lines = format!("{one}\n{second}");
            refused(
                &MultiLabel::default(),
                &batch(DataType::Float64, &lines),
                expected,
            );
        }
        let flat = [
            lists_of("logits", DataType::Float32, 3),
            Field::new("target", DataType::Int32, true),
        ];
        let flat = outputs(&flat, r#"{"logits":[0,0,0],"target":1}"#);
        refused(
            &MultiLabel::default(),
            &flat,
            "column \"target\" is Int32; it must be lists",
        );
    }

    proptest! {
        #[test]
        fn the_loss_is_the_plain_definition_where_that_can_be_computed(
            pairs in prop::collection::vec((-9.0_f32..9.0, any::<bool>()), 1..9),
        ) {
            let (scores, target): (Vec<f32>, Vec<bool>) = pairs.into_iter().unzip();
            let mut sum = 0.0;
            for (score, is) in scores.iter().zip(&target) {
                let p = sigmoid(f64::from(*score));
                sum -= if *is { p.ln() } else { (1.0 - p).ln() };
            }
            let plain = sum / f64::from(u8::try_from(scores.len()).unwrap());
            prop_assert!((loss(&scores, &target) - plain).abs() < 1e-9);
        }
    }
}
