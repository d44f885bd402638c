//! Which samples a batch is of, and the streams of a run with their columns.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};

use crate::collect::{Aggregate, Collector};
use crate::error::{Error, Result};
use crate::id::{ColumnName, ROWID, Revision, StreamName, TableName};

/// Columns that every row of sample metrics has, or gets in SQL; no stream may bring its own.
const KEPT: [&str; 9] = [
    "run", "stream", "epoch", "step", ROWID, "table", "revision", "rank", "attempt",
];

/// Which samples a batch of outputs belongs to. A loader's batch carries one.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The stream that the metrics go to, such as `train`.
    pub stream: StreamName,
    /// The epoch of the stream.
    pub epoch: i64,
    /// The training step, which the batch's scalars are logged at.
    pub step: i64,
    /// The row id of each sample.
    pub row_ids: UInt64Array,
    /// The table that the row ids are of, and its revision.
    pub source: Option<(TableName, Revision)>,
}

impl Rows {
    /// The samples `row_ids` in an epoch of a stream, at step 0 and of no stated table.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `stream` cannot name a stream, or a row id is null.
    pub fn new(stream: &str, epoch: i64, row_ids: impl Into<UInt64Array>) -> Result<Self> {
        let row_ids = row_ids.into();
        if row_ids.null_count() > 0 {
            return Err(Error::invalid(format!(
                "the row ids of stream {stream} hold nulls"
            )));
        }
        Ok(Self {
            stream: stream.parse()?,
            epoch,
            step: 0,
            row_ids,
            source: None,
        })
    }

    /// Sets the training step.
    #[must_use]
    pub fn step(mut self, step: i64) -> Self {
        self.step = step;
        self
    }

    /// Says which table at which revision the row ids are of.
    #[must_use]
    pub fn source(mut self, table: TableName, revision: Revision) -> Self {
        self.source = Some((table, revision));
        self
    }
}

/// The columns of each stream, fixed by its first batch.
#[derive(Debug, Default)]
pub(crate) struct Streams(BTreeMap<StreamName, SchemaRef>);

impl Streams {
    pub(crate) fn insert(&mut self, stream: StreamName, schema: SchemaRef) {
        self.0.entry(stream).or_insert(schema);
    }

    /// Checks a batch, and gives it the columns of its stream in their order. The flag says that
    /// the stream is new.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the stream, and the column or both lengths.
    pub(crate) fn accept(
        &mut self,
        rows: &Rows,
        columns: &RecordBatch,
    ) -> Result<(RecordBatch, bool)> {
        let stream = &rows.stream;
        if rows.row_ids.len() != columns.num_rows() {
            return Err(Error::invalid(format!(
                "stream {stream}: {} row ids, but {} rows of sample metrics",
                rows.row_ids.len(),
                columns.num_rows()
            )));
        }
        let is_new = !self.0.contains_key(stream);
        if is_new {
            let schema = first_schema(stream, &columns.schema())?;
            self.0.insert(stream.clone(), schema);
        }
        let schema = self
            .0
            .get(stream)
            .ok_or_else(|| Error::invalid(format!("stream {stream} is not known")))?;
        Ok((conform(stream, schema, columns)?, is_new))
    }
}

/// The columns of a stream's first batch, as the stream keeps them: all may be null.
fn first_schema(stream: &StreamName, schema: &Schema) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        let wrong = |why: &str| {
            Err(Error::invalid(format!(
                "stream {stream}: column {name:?} {why}"
            )))
        };
        if KEPT.contains(&name.as_str()) {
            return wrong("has a name that is kept for the system; give it another");
        }
        if fields.iter().any(|other| other.name() == name) {
            return wrong("is there twice");
        }
        name.parse::<ColumnName>()
            .map_err(|err| err.context(format!("stream {stream}: a column has no good name")))?;
        fields.push(field.as_ref().clone().with_nullable(true));
    }
    let schema = Arc::new(Schema::new(fields));
    super::columns::check_samples(&schema)
        .map_err(|err| err.context(format!("stream {stream}: the columns cannot be stored")))?;
    Ok(schema)
}

fn conform(stream: &StreamName, schema: &SchemaRef, columns: &RecordBatch) -> Result<RecordBatch> {
    let found = columns.schema();
    if let Some(extra) = found
        .fields()
        .iter()
        .find(|field| schema.index_of(field.name()).is_err())
    {
        let name = extra.name();
        return Err(Error::invalid(format!(
            "stream {stream}: column {name:?} was not in its first batch"
        )));
    }
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        let Some(array) = columns.column_by_name(name) else {
            return Err(Error::invalid(format!(
                "stream {stream}: column {name:?} of its first batch is missing"
            )));
        };
        if array.data_type() != field.data_type() {
            return Err(Error::invalid(format!(
                "stream {stream}: column {name:?} is {}, but was {} in its first batch",
                array.data_type(),
                field.data_type()
            )));
        }
        arrays.push(Arc::clone(array));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(columns.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        arrays,
        &options,
    )?)
}

/// The means of a stream's current epoch, over all samples so far.
#[derive(Default)]
pub(crate) struct Means {
    epoch: i64,
    sums: BTreeMap<&'static str, (f64, u64)>,
    /// `None` before the first batch of the epoch.
    aggregates: Option<Vec<Box<dyn Aggregate>>>,
    grown: bool,
}

/// Names and values to be logged as scalars at a step.
pub(crate) type Values = Vec<(Cow<'static, str>, f64)>;

impl Means {
    /// Adds a batch. Gives the batch's own means, and those of the epoch before if it has ended. An aggregate that the batch
    /// does not suit, such as one with more classes than the first, is warned of, and has no value in this epoch.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a column of `scalars` is missing or not numeric.
    pub(crate) fn add(
        &mut self,
        epoch: i64,
        (outputs, columns): (&RecordBatch, &RecordBatch),
        collector: &dyn Collector,
    ) -> Result<(Values, Option<(i64, Values)>)> {
        let sums = collector
            .scalars()
            .iter()
            .map(|(column, scalar)| Ok((*scalar, sum(columns, column)?)));
        let sums = sums.collect::<Result<Vec<_>>>()?;
        let ended = match self.epoch == epoch {
            true => None,
            false => self.so_far(),
        };
        if self.epoch != epoch {
            *self = Self {
                epoch,
                ..Self::default()
            };
        }
        let mut batch = Vec::with_capacity(sums.len());
        for (scalar, (sum, n)) in sums {
            if n > 0 {
                let total = self.sums.entry(scalar).or_default();
                *total = (total.0 + sum, total.1 + n);
                self.grown = true;
                batch.push((scalar.into(), mean(sum, n)));
            }
        }
        let aggregates = self
            .aggregates
            .get_or_insert_with(|| collector.aggregates());
        // One that cannot take a batch says nothing of this epoch; that holds up neither the samples nor the others.
        aggregates.retain_mut(|aggregate| {
            let added = aggregate.add(outputs, columns);
            let warn = |err: &Error| {
                let err = format!("{err:#}");
                tracing::warn!(epoch, err, "a curve of the epoch is left out");
            };
            added.inspect_err(warn).is_ok()
        });
        self.grown |= !aggregates.is_empty();
        Ok((batch, ended))
    }

    /// The means of the epoch, if samples came since they were last asked for.
    pub(crate) fn so_far(&mut self) -> Option<(i64, Values)> {
        let grown = std::mem::take(&mut self.grown);
        let means = self.sums.iter();
        let means = means.map(|(scalar, (sum, n))| ((*scalar).into(), mean(*sum, *n)));
        let aggregates = self.aggregates.iter().flatten();
        let aggregates = aggregates.flat_map(|aggregate| aggregate.scalars());
        let aggregates = aggregates.map(|(scalar, value)| (scalar.into(), value));
        grown.then(|| (self.epoch, means.chain(aggregates).collect()))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the number of samples of an epoch is far below 2^53"
)]
fn mean(sum: f64, n: u64) -> f64 {
    sum / n as f64
}

/// The sum of a column and the number of its values; nulls are not counted.
fn sum(columns: &RecordBatch, name: &str) -> Result<(f64, u64)> {
    let column = columns.column_by_name(name).ok_or_else(|| {
        Error::invalid(format!(
            "the collector made no column {name:?} to take the mean of"
        ))
    })?;
    if !(column.data_type().is_numeric() || matches!(column.data_type(), DataType::Boolean)) {
        let found = column.data_type();
        return Err(Error::invalid(format!(
            "column {name:?} is {found}, which has no mean"
        )));
    }
    let numbers = cast(column, &DataType::Float64)?;
    let sum = numbers.as_primitive::<Float64Type>().iter().flatten().sum();
    Ok((sum, (numbers.len() - numbers.null_count()) as u64))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BooleanArray, Float32Array, Int32Array, StringArray};

    use super::*;

    /// Columns such as `loss:f32 id:i32`, of two rows.
    fn batch(columns: &str) -> RecordBatch {
        let columns = columns.split_whitespace().map(|column| {
            let (name, kind) = column.split_once(':').unwrap();
            let array: ArrayRef = match kind {
                "f32" => Arc::new(Float32Array::from(vec![1.0, 2.0])),
                "i32" => Arc::new(Int32Array::from(vec![1, 2])),
                "text" => Arc::new(StringArray::from(vec!["a", "b"])),
                _ => panic!("unknown type {kind}"),
            };
            (name.to_owned(), array)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// Two batches of one stream; what the second is told.
    #[track_caller]
    fn check(first: &str, second: &str, expected: &str) {
        let mut streams = Streams::default();
        let rows = Rows::new("train", 0, vec![1, 2]).unwrap();
        let found = streams
            .accept(&rows, &batch(first))
            .and_then(|_| streams.accept(&rows, &batch(second)));
        let found = match found {
            Ok((batch, _)) => batch
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .collect::<Vec<_>>()
                .join(" "),
            Err(err) => err.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stream_keeps_the_columns_of_its_first_batch() {
        check("loss:f32 id:i32", "id:i32 loss:f32", "loss id");
        check(
            "loss:f32",
            "loss:i32",
            "stream train: column \"loss\" is Int32, but was Float32 in its first batch",
        );
        check(
            "loss:f32 id:i32",
            "loss:f32",
            "stream train: column \"id\" of its first batch is missing",
        );
        check(
            "loss:f32",
            "loss:f32 id:i32",
            "stream train: column \"id\" was not in its first batch",
        );
    }

    #[test]
    fn names_of_the_system_are_refused() {
        for name in KEPT {
            let expected = format!(
                "stream train: column {name:?} has a name that is kept for the system; give it another"
            );
            check(&format!("{name}:i32"), "", &expected);
        }
        check(
            "_rownumber:i32",
            "",
            "stream train: a column has no good name",
        );
    }

    #[test]
    fn lengths_that_differ_are_both_named() {
        let rows = Rows::new("train", 0, vec![1, 2, 3]).unwrap();
        let err = Streams::default()
            .accept(&rows, &batch("loss:f32"))
            .unwrap_err()
            .to_string();
        assert_eq!(err, "stream train: 3 row ids, but 2 rows of sample metrics");
    }

    #[test]
    fn null_row_ids_and_bad_streams_are_refused() {
        assert!(Rows::new("train", 0, UInt64Array::from(vec![Some(1), None])).is_err());
        assert!(Rows::new("a/b", 0, vec![1]).is_err());
    }

    /// Makes nothing; what it names is what counts here. With the largest value of the first column, if that is asked for.
    struct Named(&'static [(&'static str, &'static str)], bool);

    impl Collector for Named {
        fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
            Ok(outputs.clone())
        }

        fn scalars(&self) -> &[(&'static str, &'static str)] {
            self.0
        }

        fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
            match self.1 {
                true => vec![Box::new(Largest(0.0))],
                false => Vec::new(),
            }
        }
    }

    /// Takes nothing over 100.
    struct Largest(f64);

    impl Aggregate for Largest {
        fn add(&mut self, _outputs: &RecordBatch, metrics: &RecordBatch) -> Result<()> {
            let values = cast(metrics.column(0), &DataType::Float64)?;
            let values = values.as_primitive::<Float64Type>().iter().flatten();
            self.0 = values.fold(self.0, f64::max);
            match self.0 > 100.0 {
                true => Err(Error::invalid("too large")),
                false => Ok(()),
            }
        }

        fn scalars(&self) -> Vec<(String, f64)> {
            vec![("largest".to_owned(), self.0)]
        }
    }

    /// A batch with its means, and the values of the epoch that it ended, as text.
    fn added(means: &mut Means, epoch: i64, batch: &RecordBatch, named: &Named) -> String {
        match means.add(epoch, (batch, batch), named) {
            Ok((batch, ended)) => {
                let ended =
                    ended.map(|(epoch, values)| format!("e{epoch} {}", values_text(&values)));
                format!("{} | {}", values_text(&batch), ended.unwrap_or_default())
            }
            Err(err) => err.to_string(),
        }
    }

    fn values_text(values: &Values) -> String {
        let values = values.iter().map(|(name, value)| format!("{name}={value}"));
        values.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_told_of_an_epoch_is_over_samples_and_not_over_batches() {
        let named = Named(&[("loss", "loss"), ("correct", "accuracy")], true);
        let samples = |loss: &[f32], correct: &[Option<bool>]| {
            let loss: ArrayRef = Arc::new(Float32Array::from(loss.to_vec()));
            let correct: ArrayRef = Arc::new(BooleanArray::from(correct.to_vec()));
            RecordBatch::try_from_iter([("loss", loss), ("correct", correct)]).unwrap()
        };
        let mut means = Means::default();
        let first = samples(&[1.0, 1.0, 1.0], &[Some(true), None, Some(false)]);
        assert_eq!(
            added(&mut means, 0, &first, &named),
            "loss=1 accuracy=0.5 | "
        );
        let second = samples(&[5.0], &[None]);
        assert_eq!(added(&mut means, 0, &second, &named), "loss=5 | ");
        let so_far = means
            .so_far()
            .map(|(epoch, values)| format!("e{epoch} {}", values_text(&values)));
        assert_eq!(so_far.as_deref(), Some("e0 accuracy=0.5 loss=2 largest=5"));
        assert!(means.so_far().is_none());
        let third = samples(&[3.0], &[Some(true)]);
        assert_eq!(
            added(&mut means, 1, &third, &named),
            "loss=3 accuracy=1 | ",
            "what was told is not told again"
        );
        assert_eq!(
            added(&mut means, 2, &second, &named),
            "loss=5 | e1 accuracy=1 loss=3 largest=3"
        );
    }

    #[test]
    fn an_aggregate_that_a_batch_does_not_suit_is_left_out_of_its_epoch() {
        let named = Named(&[("loss", "loss")], true);
        let samples = |loss: f32| {
            let loss: ArrayRef = Arc::new(Float32Array::from(vec![loss]));
            RecordBatch::try_from_iter([("loss", loss)]).unwrap()
        };
        let mut means = Means::default();
        for (epoch, loss, expected) in [
            (0, 1.0, "loss=1 | "),
            (0, 200.0, "loss=200 | "),
            (0, 3.0, "loss=3 | "),
            (1, 4.0, "loss=4 | e0 loss=68"),
            (2, 5.0, "loss=5 | e1 loss=4 largest=4"),
        ] {
            let told = added(&mut means, epoch, &samples(loss), &named);
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_column_without_a_mean_is_named() {
        for (column, named, expected) in [
            ("x:text", Named(&[("x", "x")], false), "\"x\" is Utf8"),
            ("x:f32", Named(&[("y", "y")], false), "no column \"y\""),
        ] {
            let told = added(&mut Means::default(), 0, &batch(column), &named);
            assert!(told.contains(expected), "{told}");
        }
    }
}
