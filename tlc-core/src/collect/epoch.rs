//! What collectors gather over an epoch: more than means, in memory that does not grow with the samples.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;

use super::aggregate::{Calibration, ConfusionMatrix, Quantiles};
use super::columns::{cast, column, numbers, spans};
use crate::error::Result;

/// Gathers something over the samples of an epoch, batch by batch.
pub trait Aggregate: Send {
    /// Adds a batch: the model's outputs, and the sample metrics that the collector made of them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if they are not what the collector makes.
    fn add(&mut self, outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()>;

    /// What was gathered so far, each with the name of its scalar; nothing of what has no value yet.
    fn scalars(&self) -> Vec<(String, f64)>;
}

/// Bins of confidence, as Guo et al. 2017 (On Calibration of Modern Neural Networks) take them.
const BINS: usize = 15;

/// More classes are not counted against each other: their matrix would take more than 8 MB.
const CLASSES_MAX: usize = 1_024;

/// Up to so many classes each has a curve of its own.
const CURVES_MAX: usize = 32;

/// The median, the 90th and the 99th percentile of a column, each within 1 % of its value.
pub(super) struct Spread {
    column: &'static str,
    quantiles: Quantiles,
}

impl Spread {
    pub(super) fn of(column: &'static str) -> Box<dyn Aggregate> {
        let quantiles = Quantiles::default();
        Box::new(Self { column, quantiles })
    }
}

impl Aggregate for Spread {
    fn add(&mut self, _outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
        self.quantiles.add_all(&numbers(metrics, self.column)?)
    }

    fn scalars(&self) -> Vec<(String, f64)> {
        let quantile = |(percent, q)| {
            let value = self.quantiles.quantile(q).ok().flatten()?;
            Some((format!("{}/p{percent}", self.column), value))
        };
        [(50, 0.5), (90, 0.9), (99, 0.99)]
            .into_iter()
            .filter_map(quantile)
            .collect()
    }
}

/// How far the confidence is from how often it is right: the expected calibration error.
pub(super) struct Reliability(Calibration);

impl Reliability {
    pub(super) fn boxed() -> Option<Box<dyn Aggregate>> {
        Some(Box::new(Self(Calibration::new(BINS).ok()?)))
    }
}

impl Aggregate for Reliability {
    fn add(&mut self, _outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
        self.0.add_columns(metrics, "confidence", "correct")
    }

    fn scalars(&self) -> Vec<(String, f64)> {
        let error = self.0.expected_error();
        error
            .map(|error| ("calibration_error".to_owned(), error))
            .into_iter()
            .collect()
    }
}

/// Which class was predicted as which: mean recall and F1 over the classes that there were, and of few classes the
/// recall of each.
#[derive(Default)]
pub(super) struct Confusion(Option<ConfusionMatrix>);

impl Aggregate for Confusion {
    fn add(&mut self, outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
        let matrix = match &mut self.0 {
            Some(matrix) => matrix,
            none => {
                let n_classes = n_classes(outputs)?;
                if !(1..=CLASSES_MAX).contains(&n_classes) {
                    return Ok(());
                }
                none.insert(ConfusionMatrix::new(n_classes)?)
            }
        };
        let labels = ("label", column(outputs, "label")?);
        let predicted = ("predicted", column(metrics, "predicted")?);
        let pairs = [labels, predicted].map(|(name, column)| (name, Arc::clone(column)));
        matrix.add_columns(&RecordBatch::try_from_iter(pairs)?, "label", "predicted")
    }

    fn scalars(&self) -> Vec<(String, f64)> {
        let Some(matrix) = &self.0 else {
            return Vec::new();
        };
        let classes = 0..matrix.n_classes();
        let recalls: Vec<(usize, f64)> = classes
            .filter_map(|class| Some((class, matrix.recall(class)?)))
            .collect();
        if recalls.is_empty() {
            return Vec::new();
        }
        let sum: f64 = recalls.iter().map(|(_, recall)| recall).sum();
        let mut scalars = vec![("mean_recall".to_owned(), sum / count(recalls.len()))];
        scalars.extend(matrix.mean_dice().map(|f1| ("mean_f1".to_owned(), f1)));
        if matrix.n_classes() <= CURVES_MAX {
            scalars.extend(
                recalls
                    .iter()
                    .map(|(class, recall)| (format!("recall/{class}"), *recall)),
            );
        }
        scalars
    }
}

/// The number of logits of the first sample that has any.
fn n_classes(outputs: &RecordBatch) -> Result<usize> {
    let spans = spans(column(outputs, "logits")?);
    let first = spans.and_then(|(spans, _)| spans.into_iter().flatten().next());
    Ok(first.map_or(0, |span| span.len()))
}

/// The perplexity of all tokens together: `exp(Σ loss · n_tokens / Σ n_tokens)`.
#[derive(Default)]
pub(super) struct Perplexity {
    loss: f64,
    n_tokens: u64,
}

impl Aggregate for Perplexity {
    fn add(&mut self, _outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
        let losses = numbers(metrics, "loss")?;
        let n_tokens: UInt64Array = cast::<UInt64Type>(column(metrics, "n_tokens")?, "n_tokens")?;
        for (loss, n_tokens) in losses.iter().zip(&n_tokens) {
            if let (Some(loss), Some(n_tokens)) = (loss, n_tokens) {
                self.loss += loss * count_of(n_tokens);
                self.n_tokens += n_tokens;
            }
        }
        Ok(())
    }

    fn scalars(&self) -> Vec<(String, f64)> {
        match self.n_tokens {
            0 => Vec::new(),
            n => vec![("perplexity".to_owned(), (self.loss / count_of(n)).exp())],
        }
    }
}

fn count(n: usize) -> f64 {
    count_of(n as u64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "tokens and classes of an epoch are far below 2^53"
)]
fn count_of(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::collect::cases::{list, lists_of, outputs};
    use crate::collect::{Classification, Collector, CollectorExt as _, Language, Regression};

    /// The scalars of an epoch of these batches, to three digits.
    fn told(collector: &dyn Collector, batches: &[RecordBatch]) -> String {
        let mut aggregates = collector.aggregates();
        for batch in batches {
            let metrics = collector.collect(batch).unwrap();
            for aggregate in &mut aggregates {
                aggregate.add(batch, &metrics).unwrap();
            }
        }
        let scalars = aggregates.iter().flat_map(|aggregate| aggregate.scalars());
        let scalars = scalars.map(|(name, value)| format!("{name}={value:.3}"));
        scalars.collect::<Vec<_>>().join(" ")
    }

    fn classes(lines: &str) -> RecordBatch {
        let fields = [
            lists_of("logits", DataType::Float32, 3),
            Field::new("label", DataType::Int32, true),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn classes_have_recalls_and_a_calibration() {
        // Logits so far apart that the confidence is 1, and 0.2 of the predictions are wrong.
        let right = classes(
            r#"{"logits":[99,0,0],"label":0}
               {"logits":[99,0,0],"label":0}
               {"logits":[0,99,0],"label":1}"#,
        );
        let wrong = classes(
            r#"{"logits":[0,99,0],"label":0}
               {"logits":[0,99,0],"label":1}
               {"logits":[0,99,0]}"#,
        );
        let batches = [right, wrong];
        let expected =
            "mean_recall=0.833 mean_f1=0.800 recall/0=0.667 recall/1=1.000 calibration_error=0.200";
        for collector in [&Classification as &dyn Collector, &Classification.wide()] {
            let told = told(collector, &batches);
            assert!(told.ends_with(expected), "{told}");
            assert!(told.starts_with("loss/p50=0.000 loss/p90="), "{told}");
        }
        assert_eq!(told(&Classification, &[]), "");
    }

    #[test]
    fn both_of_two_collectors_gather() {
        let fields = [
            Field::new("prediction", DataType::Float32, true),
            Field::new("target", DataType::Float32, true),
        ];
        let lines: Vec<String> = (1..=100)
            .map(|n| format!(r#"{{"prediction":{n},"target":0}}"#))
            .collect();
        let batch = outputs(&fields, &lines.join("\n"));
        let told = told(
            &Regression.and(|batch: &RecordBatch| Ok(batch.clone())),
            &[batch],
        );
        let values = told.split(' ').map(|part| part.split_once('=').unwrap());
        for ((name, value), (expected, about)) in values.zip([
            ("absolute_error/p50", 50.0),
            ("absolute_error/p90", 90.0),
            ("absolute_error/p99", 99.0),
        ]) {
            let value: f64 = value.parse().unwrap();
            assert!(
                name == expected && (value - about).abs() < about * 0.02,
                "{name} {value}"
            );
        }
        assert_eq!(told.split(' ').count(), 3);
    }

    #[test]
    fn the_perplexity_of_an_epoch_is_over_tokens() {
        let fields = [
            list("log_probs", DataType::Float32),
            list("target", DataType::Int32),
        ];
        let batch = |line: &str| outputs(&fields, line);
        let batches = [
            batch(r#"{"log_probs":[-1,-1,-1],"target":[1,1,1]}"#),
            batch(r#"{"log_probs":[-3],"target":[1]}"#),
        ];
        let told = told(&Language::of_log_probs(), &batches);
        assert!(
            told.ends_with(&format!("perplexity={:.3}", 1.5_f64.exp())),
            "{told}"
        );
    }

    #[test]
    fn many_classes_are_not_counted_against_each_other() {
        let n = i32::try_from(CLASSES_MAX + 1).unwrap();
        let logits: Vec<String> = (0..n).map(|class| class.to_string()).collect();
        let line = format!(r#"{{"logits":[{}],"label":0}}"#, logits.join(","));
        let fields = [
            lists_of("logits", DataType::Float32, n),
            Field::new("label", DataType::Int32, true),
        ];
        let told = told(&Classification, &[outputs(&fields, &line)]);
        assert!(
            !told.contains("recall") && told.contains("calibration_error"),
            "{told}"
        );
    }
}
