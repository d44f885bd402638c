//! Burn's metrics as scalars of a run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricAttributes, MetricDefinition, MetricId, NumericEntry};
use tlc_core::Run;

/// Writes each metric of a training into a run: the value of a batch as `train/batch/loss`, at the
/// number of the batch, and that of an epoch as `train/loss`, at the number of the epoch, from 0.
///
/// The prefix is Burn's name of the split: `train`, `valid` or `test`. A metric's name is written in
/// small letters and `_`; what Burn counts in percent is a share, 0 to 1, as in other runs.
pub struct RunLogger {
    run: Arc<Run>,
    metrics: HashMap<MetricId, Metric>,
    means: HashMap<(MetricId, Split, usize), Mean>,
    n_batches: HashMap<Split, i64>,
}

/// What a metric is called, there and here.
struct Metric {
    name: String,
    scalar: String,
    scale: f64,
}

/// The value of an epoch: what Burn says it is, or else the mean of its batches.
#[derive(Default)]
struct Mean {
    sum: f64,
    weight: usize,
}

impl Mean {
    fn add(&mut self, entry: &NumericEntry) {
        let (value, weight) = match entry {
            NumericEntry::Value(value) => (*value, 1),
            NumericEntry::Aggregated {
                aggregated_value,
                count,
            } => (*aggregated_value, *count),
            NumericEntry::Final(value) => {
                // The last of an epoch, in place of what its batches say.
                *self = Self::default();
                (*value, 1)
            }
        };
        self.sum += value * weight as f64;
        self.weight += weight;
    }

    fn value(&self) -> f64 {
        self.sum / self.weight as f64
    }
}

impl RunLogger {
    /// A logger of one training into `run`.
    #[must_use]
    pub fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            metrics: HashMap::new(),
            means: HashMap::new(),
            n_batches: HashMap::new(),
        }
    }
}

impl MetricLogger for RunLogger {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let mut of_batch = Vec::new();
        for update in update.entries_numeric {
            // Without a value, the metric is one that only an epoch has.
            let Some(entry) = update.numeric_entry else {
                continue;
            };
            let id = update.entry.metric_id;
            let Some(metric) = self.metrics.get(&id) else {
                continue;
            };
            if !matches!(entry, NumericEntry::Final(_)) {
                let name = format!("{}/batch/{}", prefix(split), metric.scalar);
                of_batch.push((name, entry.current() * metric.scale));
            }
            let key = (id, split.clone(), epoch);
            self.means.entry(key).or_default().add(&entry);
        }
        if of_batch.is_empty() {
            return;
        }
        let step = self.n_batches.entry(split.clone()).or_default();
        let values: Vec<(&str, f64)> = of_batch
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        self.run.log(*step, &values);
        *step += 1;
    }

    /// What early stopping and checkpoints by metric ask for: one value for each epoch, as Burn counts it.
    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let found = self.metrics.iter().find(|(_, metric)| metric.name == name);
        let mean = found.and_then(|(id, _)| self.means.get(&(id.clone(), split.clone(), epoch)));
        Ok(mean
            .map(|mean| NumericEntry::Final(mean.value()))
            .into_iter()
            .collect())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        let scale = scale(&definition.attributes);
        let metric = Metric {
            scalar: scalar(&definition.name),
            name: definition.name.to_string(),
            scale,
        };
        self.metrics.insert(definition.metric_id, metric);
    }

    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        let EpochSummary {
            epoch_number,
            split,
        } = summary;
        let step = i64::try_from(epoch_number).unwrap_or(i64::MAX) - 1;
        let mean = |(id, metric): (&MetricId, &Metric)| {
            let key = (id.clone(), split.clone(), epoch_number);
            let value = self.means.get(&key)?.value() * metric.scale;
            Some((format!("{}/{}", prefix(&split), metric.scalar), value))
        };
        let means: BTreeMap<String, f64> = self.metrics.iter().filter_map(mean).collect();
        for (name, value) in &means {
            self.run.log(step, &[(name.as_str(), *value)]);
        }
    }
}

/// `train`, `valid`, `test`, or `test/name` of a test with a name.
fn prefix(split: &Split) -> String {
    match split {
        Split::Test(Some(name)) => format!("test/{name}"),
        other => other.to_string(),
    }
}

/// `Top-K Accuracy` as `top_k_accuracy`.
pub(crate) fn scalar(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
    words.collect::<Vec<_>>().join("_")
}

/// What makes a share of percent.
pub(crate) fn scale(attributes: &MetricAttributes) -> f64 {
    match attributes {
        MetricAttributes::Numeric(numeric) if numeric.unit.as_deref() == Some("%") => 0.01,
        _ => 1.0,
    }
}
