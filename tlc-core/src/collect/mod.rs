//! Collectors: from one batch of model outputs to columns of sample metrics.
//!
//! A [`Collector`] is a pure function over Arrow: a batch of outputs in, a batch of as many rows
//! out. Any closure is one, [`CollectorExt::and`] puts two side by side, and these are ready-made:
//! [`Classification`] (and [`WideClassification`]), [`MultiLabel`], [`Regression`],
//! [`Segmentation`], [`Detection`], [`Language`] and [`Embedding`]. What they make of the samples
//! of an epoch can be brought together in a [`Summary`], [`Quantiles`], a [`ConfusionMatrix`] or a
//! [`Calibration`]. Nothing here knows a tensor, a run or a store.

mod aggregate;
#[cfg(test)]
mod cases;
mod classification;
mod columns;
mod detection;
mod embedding;
mod epoch;
mod language;
mod multi_label;
mod regression;
mod segmentation;
mod softmax;
mod wide;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;

pub use self::aggregate::{Calibration, CalibrationBin, ConfusionMatrix, Quantiles, Summary};
pub use self::classification::Classification;
pub use self::detection::Detection;
pub(crate) use self::detection::{Boxes, OneBox};
pub use self::embedding::Embedding;
pub use self::epoch::Aggregate;
pub use self::language::Language;
pub use self::multi_label::MultiLabel;
pub use self::regression::Regression;
pub use self::segmentation::Segmentation;
pub use self::wide::WideClassification;
use crate::error::{Error, Result};

/// Turns one batch of model outputs into columns of sample metrics.
///
/// A closure `Fn(&RecordBatch) -> Result<RecordBatch>` is a collector.
pub trait Collector {
    /// The sample metrics of a batch: one row for each row of `outputs`, in the same order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the outputs are not what the
    /// collector needs; the message names the column or the sample.
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch>;

    /// The columns whose mean is worth a curve, each with the name of its scalar.
    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[]
    }

    /// What is worth a curve of an epoch and is no mean: new ones, that have seen nothing.
    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        Vec::new()
    }
}

impl<F: Fn(&RecordBatch) -> Result<RecordBatch>> Collector for F {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        self(outputs)
    }
}

/// Conveniences for users of a [`Collector`]; implementors get them for free.
pub trait CollectorExt: Collector + Sized {
    /// Collects the columns of both, this one's first.
    fn and<C: Collector>(self, other: C) -> Both<Self, C> {
        let scalars = [self.scalars(), other.scalars()].concat();
        Both {
            first: self,
            second: other,
            scalars,
        }
    }
}

impl<C: Collector> CollectorExt for C {}

/// Two collectors side by side; made by [`CollectorExt::and`].
#[derive(Clone, Debug)]
pub struct Both<A, B> {
    first: A,
    second: B,
    scalars: Vec<(&'static str, &'static str)>,
}

impl<A: Collector, B: Collector> Collector for Both<A, B> {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let (first, second) = (self.first.collect(outputs)?, self.second.collect(outputs)?);
        if first.num_rows() != second.num_rows() {
            return Err(Error::invalid(format!(
                "the two collectors made {} and {} rows of one batch",
                first.num_rows(),
                second.num_rows()
            )));
        }
        let (first_schema, second_schema) = (first.schema(), second.schema());
        let fields: Vec<_> = first_schema
            .fields()
            .iter()
            .chain(second_schema.fields())
            .map(Arc::clone)
            .collect();
        let columns = first
            .columns()
            .iter()
            .chain(second.columns())
            .map(Arc::clone)
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(first.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            columns,
            &options,
        )?)
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &self.scalars
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        let mut aggregates = self.first.aggregates();
        aggregates.extend(self.second.aggregates());
        aggregates
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Int32Array};
    use arrow::datatypes::{DataType, Field};

    use super::cases::{list, lists_of, outputs};
    use super::*;
    use crate::testing::collector_contract;

    fn one(name: &'static str) -> impl Fn(&RecordBatch) -> Result<RecordBatch> {
        move |outputs| {
            Ok(RecordBatch::try_from_iter([(
                name,
                Arc::clone(outputs.column(0)),
            )])?)
        }
    }

    #[test]
    fn two_closures_stand_side_by_side() {
        let outputs =
            RecordBatch::try_from_iter([("x", Arc::new(Int32Array::from(vec![1, 2])) as _)])
                .unwrap();
        let both = one("a").and(one("b"));
        let found = both.collect(&outputs).unwrap();
        assert_eq!(
            found
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(both.scalars(), []);
    }

    #[test]
    fn the_scalars_of_both_are_kept() {
        let both = Classification.and(|_: &RecordBatch| {
            Ok(RecordBatch::try_from_iter([(
                "x",
                Arc::new(Float32Array::from(vec![1.0])) as _,
            )])?)
        });
        assert_eq!(both.scalars(), Classification.scalars());
    }

    /// That a collector keeps the contract with these outputs.
    #[track_caller]
    pub(super) fn keeps_its_contract(collector: &dyn Collector, outputs: &RecordBatch) {
        collector_contract(collector, std::slice::from_ref(outputs)).unwrap();
    }

    #[test]
    fn every_ready_made_collector_keeps_the_contract() {
        let fields = [
            lists_of("logits", DataType::Float32, 2),
            list("log_probs", DataType::Float32),
            Field::new("label", DataType::Int32, true),
            list("target", DataType::Int32),
            lists_of("hidden", DataType::Float32, 2),
        ];
        let case = outputs(
            &fields,
            r#"{"logits":[1,2],"log_probs":[-1,-2],"label":1,"target":[1,0],"hidden":[3,4]}
               {"logits":[1,2],"log_probs":[-1],"hidden":[5,6]}
               {"logits":[2,1],"log_probs":[-3,-1],"label":1,"target":[0,0],"hidden":[7,8]}"#,
        );
        let wide = Classification.wide().top_k(1).probabilities();
        let collectors: [&dyn Collector; 7] = [
            &Classification,
            &wide,
            &MultiLabel::default(),
            &Language::of_log_probs().with_token_loss(),
            &Embedding::new("hidden"),
            &Embedding::new("hidden").mean(),
            &Classification.and(Embedding::new("hidden")),
        ];
        for collector in collectors {
            keeps_its_contract(collector, &case);
        }
    }
}
