//! What Burn shows of a training: a line for each epoch, and how far it is as a scalar of the run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use tlc_core::Run;

use crate::logger::{scalar, scale};

/// Says one line for each epoch, and logs the scalar `progress`: the share of the epochs that are done.
///
/// The metrics themselves are what [`RunLogger`](crate::RunLogger) writes; Burn gives a renderer the same
/// numbers to show, and the progress besides.
pub struct RunRenderer {
    run: Arc<Run>,
    say: Box<dyn FnMut(&str) + Send + Sync>,
    n_epochs: usize,
    names: HashMap<MetricId, (String, f64)>,
    shown: BTreeMap<String, f64>,
}

impl RunRenderer {
    /// A renderer that hands each line to `say`.
    pub fn new(run: Arc<Run>, say: impl FnMut(&str) + Send + Sync + 'static) -> Self {
        Self {
            run,
            say: Box::new(say),
            n_epochs: 0,
            names: HashMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Keeps the value of an epoch; those of batches go by too fast to be read.
    fn show(&mut self, split: &str, state: &MetricState) {
        let MetricState::Numeric(entry, Some(NumericEntry::Final(value))) = state else {
            return;
        };
        if let Some((name, scale)) = self.names.get(&entry.metric_id) {
            self.shown.insert(format!("{split}/{name}"), value * scale);
        }
    }
}

impl MetricsRendererTraining for RunRenderer {
    fn update_train(&mut self, state: MetricState) {
        self.show("train", &state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.show("valid", &state);
    }
}

impl TrainingProgressLogger for RunRenderer {
    fn start(&mut self, n_epochs: usize, _first: usize, _n_items: Option<usize>, _: Option<&str>) {
        self.n_epochs = n_epochs;
    }

    fn update_epoch(&mut self, epoch: usize) {
        let step = i64::try_from(epoch).unwrap_or(i64::MAX) - 1;
        let done = epoch as f64 / self.n_epochs.max(1) as f64;
        self.run.log(step, &[("progress", done)]);
        let values = self.shown.iter();
        let values: Vec<String> = values
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        (self.say)(&format!("epoch {step}: {}", values.join(", ")));
        self.shown.clear();
    }

    fn start_split(&mut self, _split: &str, _n_items: usize) {}

    fn update_split(&mut self, _n_items: usize) {}

    fn end_split(&mut self) {}

    fn end(&mut self) {}

    fn log_event_training(&mut self, _event: String) {}
}

// A training has no tests; what an evaluator would show, it writes by its own logger.
impl MetricsRendererEvaluation for RunRenderer {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        self.show(name.as_str(), &state);
    }
}

impl EvaluationProgressLogger for RunRenderer {
    fn start_global_progress(&mut self, _n_tests: usize) {}

    fn start_test(&mut self, _name: &str, _n_items: usize) {}

    fn update_test_progress(&mut self, _n_items: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRenderer for RunRenderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let name = scalar(&definition.name);
        let scale = scale(&definition.attributes);
        self.names.insert(definition.metric_id, (name, scale));
    }
}
