//! Events of the `tracing` crate as scalars: a program that says `event!(target: "tlc", …)` logs
//! without knowing this library.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Run;
use super::shared::Shared;
use crate::env::Env;

/// The target of the events that are logged, and the beginning of that of others: `tlc::train`.
const TARGET: &str = "tlc";

/// The field that says the step.
const STEP: &str = "step";

/// Fields that are handed on at a time: more than an event has.
const FIELDS_MAX: usize = 32;

/// A layer for `tracing_subscriber` that logs the numbers in events to a run; made by [`Run::layer`].
pub struct EventLayer {
    shared: Arc<Shared>,
    env: Env,
    /// The step of the next event that says none.
    next: AtomicI64,
}

impl Run {
    /// A layer for `tracing_subscriber`: each number in an event whose target is `tlc`, or begins with `tlc::`, is
    /// logged as the scalar of the field's name, at the step in its field `step`. Integers and
    /// booleans become floats; text is passed over. Events without `step` are numbered from 0 on.
    ///
    /// Costs what [`Self::log`] costs, and allocates nothing. The layer may outlive the run; what it is given
    /// after the end counts as lost.
    ///
    /// ```
    /// use tracing_subscriber::layer::SubscriberExt as _;
    ///
    /// # fn main() -> tlc_core::Result<()> {
    /// # let project = tlc_core::block_on(tlc_core::Project::open("memory:///", "demo"))?;
    /// let run = project.start_run("baseline")?;
    /// let subscriber = tracing_subscriber::registry().with(run.layer());
    /// tracing::subscriber::with_default(subscriber, || {
    ///     tracing::info!(target: "tlc", step = 7, loss = 0.25, "train/accuracy" = 0.9);
    /// });
    /// let record = run.finish()?;
    /// assert_eq!(record.last["train/accuracy"], 0.9);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer(&self) -> EventLayer {
        EventLayer {
            shared: Arc::clone(&self.shared),
            env: self.env.clone(),
            next: AtomicI64::new(0),
        }
    }
}

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let target = event.metadata().target();
        let is_ours = target
            .strip_prefix(TARGET)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        if !is_ours {
            return;
        }
        let mut numbers = Numbers::default();
        event.record(&mut numbers);
        let numbered = || self.next.fetch_add(1, Ordering::Relaxed);
        let step = numbers.step.unwrap_or_else(numbered);
        let values = numbers.values.get(..numbers.n).unwrap_or_default();
        if !values.is_empty() {
            self.shared.log_scalars(step, self.env.now(), values);
        }
    }
}

impl fmt::Debug for EventLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLayer").finish_non_exhaustive()
    }
}

/// The numbers of one event.
#[derive(Default)]
struct Numbers {
    step: Option<i64>,
    values: [(&'static str, f64); FIELDS_MAX],
    n: usize,
}

impl Numbers {
    fn add(&mut self, field: &Field, value: f64) {
        if let Some(next) = self.values.get_mut(self.n) {
            *next = (field.name(), value);
            self.n += 1;
        }
    }
}

impl Visit for Numbers {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    #[expect(clippy::cast_precision_loss, reason = "a scalar is a float")]
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            STEP => self.step = Some(value),
            _ => self.add(field, value as f64),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a scalar is a float")]
    fn record_u64(&mut self, field: &Field, value: u64) {
        match (field.name(), i64::try_from(value)) {
            (STEP, Ok(step)) => self.step = Some(step),
            _ => self.add(field, value as f64),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, f64::from(u8::from(value)));
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use tracing::{Level, event};
    use tracing_subscriber::layer::SubscriberExt as _;

    use crate::{Project, block_on};

    #[test]
    fn numbers_of_our_events_are_scalars_and_nothing_else_is() {
        let project = block_on(Project::open("memory:///", "zoo")).unwrap();
        let run = project.start_run("events").unwrap();
        let subscriber = tracing_subscriber::registry().with(run.layer());
        tracing::subscriber::with_default(subscriber, || {
            event!(target: "tlc", Level::INFO, step = 5_i64, loss = 0.5, note = "text", is_best = true);
            event!(target: "tlc::train", Level::TRACE, step = 6_u64, loss = f64::NAN, n = 3_u64, debt = -2);
            event!(target: "tlc::train", Level::INFO, unstepped = 1.0);
            event!(target: "tlc", Level::INFO, unstepped = 2.0);
            event!(target: "tlcx", Level::INFO, foreign = 1.0);
            event!(Level::INFO, foreign = 1.0);
            event!(target: "tlc", Level::INFO, step = 9, "only text");
        });
        let record = run.finish().unwrap();
        let names: Vec<&str> = record.last.keys().map(String::as_str).collect();
        assert_eq!(names, ["debt", "is_best", "loss", "n", "unstepped"]);
        let last = |name: &str| record.last[name];
        assert!(last("loss").is_nan());
        let others = ["debt", "is_best", "n", "unstepped"].map(last);
        assert_eq!(others, [-2.0, 1.0, 3.0, 2.0]);
    }

    #[test]
    fn an_event_after_the_end_counts_as_lost() {
        let project = block_on(Project::open("memory:///", "zoo")).unwrap();
        let run = project.start_run("events").unwrap();
        let subscriber = tracing_subscriber::registry().with(run.layer());
        let shared = std::sync::Arc::clone(&run.shared);
        run.finish().unwrap();
        tracing::subscriber::with_default(subscriber, || {
            event!(target: "tlc", Level::INFO, step = 5, loss = 0.5);
        });
        assert_eq!(shared.lock().buffer.lost().scalars, 1);
    }
}
