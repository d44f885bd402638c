//! What became of each sample: the last epochs of a stream that two runs have, side by side.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, UInt64Array,
    new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::there;
#[cfg(feature = "sql")]
use crate::error::Error;
use crate::error::{ErrorKind, Result};
use crate::id::{ROWID, StreamName};
use crate::project::Project;
use crate::questions::{Labels, plain, table_names};
use crate::run::{EpochColumns, Epochs, RunRecord, StreamRecord};
use crate::schema::Role;

/// The columns that samples are compared by, the first that both streams have; and whether more of it is better.
const MEASURES: [(&str, bool); 2] = [("correct", true), ("loss", false)];

/// The column that says of which table a row is.
const TABLE: &str = "table";

/// What became of the samples of one stream.
#[derive(Clone, Debug)]
pub struct StreamComparison {
    /// The stream.
    pub stream: StreamName,
    /// The last epochs of the two runs.
    pub epochs: (i64, i64),
    /// The column that the samples are compared by.
    pub measure: &'static str,
    /// `label` (as its column has it; null for samples without one), `samples`, `better`, `worse` (Int64), and the means `first` and `other` (Float64), of the samples that
    /// both epochs have; by label.
    pub classes: RecordBatch,
    /// `_rowid`, `label`, `first`, `other` (Float64): the samples that changed most, those that got worse first; of equal changes the lowest row id.
    pub changed: RecordBatch,
}

/// One sample in both epochs.
struct Sample {
    row_id: u64,
    /// Its place in the other epoch.
    at: usize,
    first: f64,
    other: f64,
}

impl Project {
    /// Compares the streams that both runs have, and that have a measure.
    pub(super) async fn compare_streams(
        &self,
        first: &RunRecord,
        other: &RunRecord,
        samples_max: usize,
    ) -> Result<Vec<StreamComparison>> {
        let mut compared = Vec::new();
        for stream in &first.streams {
            let shared = other.streams.iter().find(|own| own.name == stream.name);
            let Some(shared) = shared else {
                continue;
            };
            let open = |run: &RunRecord| {
                self.epochs_of_stream(run.name.to_string(), stream.name.to_string())
            };
            let (first, other) = (open(first).await?, open(other).await?);
            compared.extend(
                self.compare_stream(shared, (&first, &other), samples_max)
                    .await?,
            );
        }
        compared.sort_by(|a, b| a.stream.cmp(&b.stream));
        Ok(compared)
    }

    /// Compares one stream, which both runs must have.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the run or the stream that is not there, and if there is nothing to compare the stream by; those
    /// of reading.
    #[cfg(feature = "sql")]
    pub(crate) async fn compare_stream_of(
        &self,
        (first, other): (&str, &str),
        stream: &str,
        samples_max: usize,
    ) -> Result<StreamComparison> {
        let epochs = (
            self.epochs(first, stream).await?,
            self.epochs(other, stream).await?,
        );
        let record = self.run(other).await?;
        let own = record
            .streams
            .iter()
            .find(|own| own.name.as_str() == stream);
        let found = match own {
            Some(own) => {
                self.compare_stream(own, (&epochs.0, &epochs.1), samples_max)
                    .await?
            }
            None => None,
        };
        found.ok_or_else(|| {
            let measures = MEASURES.map(|(name, _)| name).join(" or ");
            Error::not_found(format!(
                "runs {first} and {other} have no {measures} of stream {stream} to compare it by"
            ))
        })
    }

    async fn epochs_of_stream(&self, run: String, stream: String) -> Result<Epochs> {
        self.epochs(&run, &stream).await
    }

    /// The column of the labels: `label`, or of a table that has none the only column with the role of one.
    async fn label_column(&self, stream: &StreamRecord) -> Result<String> {
        const LABEL: &str = "label";
        let (Some(table), Some(revision)) = (&stream.table, stream.revision) else {
            return Ok(LABEL.to_owned());
        };
        if stream.schema.index_of(LABEL).is_ok() {
            return Ok(LABEL.to_owned());
        }
        let opened = async { self.table(table.as_str()).await?.at(revision).await };
        let Some(snapshot) = there(opened.await)? else {
            return Ok(LABEL.to_owned());
        };
        let fields = snapshot.schema().fields().iter();
        let labels = fields.filter(|field| Role::of(field) == Some(Role::Label));
        Ok(match labels.collect::<Vec<_>>().as_slice() {
            [only] if snapshot.schema().index_of(LABEL).is_err() => only.name().clone(),
            _ => LABEL.to_owned(),
        })
    }

    async fn compare_stream(
        &self,
        stream: &StreamRecord,
        (first, other): (&Epochs, &Epochs),
        samples_max: usize,
    ) -> Result<Option<StreamComparison>> {
        let (Some(first_epoch), Some(other_epoch)) = (first.numbers().pop(), other.numbers().pop())
        else {
            return Ok(None);
        };
        let mut measure = None;
        for (column, is_more_better) in MEASURES {
            if is_measure(first, column).await? && is_measure(other, column).await? {
                measure = Some((column, is_more_better));
                break;
            }
        }
        let Some((measure, is_more_better)) = measure else {
            return Ok(None);
        };
        let label = self.label_column(stream).await?;
        let mut labels = Labels::new(self, other, &label, None).await?;
        let read_first = first.columns(first_epoch, &[measure, TABLE]).await?;
        let mut columns = labels.columns(measure);
        columns.push(TABLE);
        let read_other = other.columns(other_epoch, &columns).await?;
        let samples = both(&read_first, &read_other)?;
        let labels = match labels.of(&read_other).await {
            Ok(values) => Given::new(&labels.field(values.data_type()), &values, &samples)?,
            // Samples that have no classes, or of which nobody can say what they are.
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                let none = new_null_array(&DataType::Utf8, read_other.row_ids.len());
                Given::new(&Field::new("label", DataType::Utf8, true), &none, &samples)?
            }
            Err(err) => return Err(err),
        };
        let worsened = |sample: &Sample| match is_more_better {
            true => sample.first - sample.other,
            false => sample.other - sample.first,
        };
        Ok(Some(StreamComparison {
            stream: stream.name.clone(),
            epochs: (first_epoch, other_epoch),
            measure,
            classes: by_class(&samples, &labels, worsened)?,
            changed: most_changed(&samples, &labels, worsened, samples_max)?,
        }))
    }
}

/// Whether a stream has such a column, of numbers or of what is true or false.
async fn is_measure(epochs: &Epochs, column: &str) -> Result<bool> {
    let schema = epochs.schema().await?;
    let found = schema.field_with_name(column);
    Ok(found.is_ok_and(|field| {
        field.data_type().is_numeric() || *field.data_type() == DataType::Boolean
    }))
}

/// The samples that both epochs have, with their first row of each, where both values are finite numbers. A sample is a row id of a
/// table; a row that names no table is of any.
fn both(first: &EpochColumns, other: &EpochColumns) -> Result<Vec<Sample>> {
    let (first_values, other_values) = (numbers(first)?, numbers(other)?);
    let mut known = HashMap::new();
    let (first_tables, other_tables) = (tables(first, &mut known)?, tables(other, &mut known)?);
    let mut rest = rows(first, &first_tables).enumerate().peekable();
    let (mut samples, mut group): (Vec<Sample>, Vec<(usize, u32)>) = (Vec::new(), Vec::new());
    let mut last: Option<u64> = None;
    // Of the other epoch the tables of the rows with the last row id.
    let mut met: Vec<u32> = Vec::new();
    for (at, (row_id, table)) in rows(other, &other_tables).enumerate() {
        if last.replace(row_id) != Some(row_id) {
            met.clear();
            group.clear();
            while rest.next_if(|(_, (id, _))| *id < row_id).is_some() {}
            while let Some((at, (_, table))) = rest.next_if(|(_, (id, _))| *id == row_id) {
                group.push((at, table));
            }
        }
        if met.contains(&table) {
            continue;
        }
        met.push(table);
        let mut same = group
            .iter()
            .filter(|(_, of)| *of == table || *of == NO_TABLE || table == NO_TABLE);
        let Some((first_at, _)) = same.next() else {
            continue;
        };
        let value = |values: &Float64Array, at: usize| {
            values
                .is_valid(at)
                .then(|| values.value(at))
                .filter(|value| value.is_finite())
        };
        if let (Some(first), Some(other)) =
            (value(&first_values, *first_at), value(&other_values, at))
        {
            samples.push(Sample {
                row_id,
                at,
                first,
                other,
            });
        }
    }
    Ok(samples)
}

/// The number of the table that a row does not name.
const NO_TABLE: u32 = 0;

/// Row ids and the numbers of their tables.
fn rows(read: &EpochColumns, tables: &[u32]) -> impl Iterator<Item = (u64, u32)> {
    let ids = read.row_ids.values().iter().copied();
    ids.zip(tables.iter().copied())
}

/// For each row the number of its table, which is the last column; the same name has the same number in all that share `known`.
fn tables(read: &EpochColumns, known: &mut HashMap<String, u32>) -> Result<Vec<u32>> {
    let (keys, texts) = table_names(read.column(read.columns.num_columns().saturating_sub(1))?)?;
    let mut number = |text: Option<&str>| match text {
        None => NO_TABLE,
        Some(text) => {
            let next = u32::try_from(known.len() + 1).unwrap_or(u32::MAX);
            *known.entry(text.to_owned()).or_insert(next)
        }
    };
    let numbers: Vec<u32> = texts.iter().map(&mut number).collect();
    let of = |key: Option<i32>| {
        let key = key.and_then(|key| usize::try_from(key).ok());
        key.and_then(|key| numbers.get(key).copied())
            .unwrap_or(NO_TABLE)
    };
    Ok(keys.iter().map(of).collect())
}

/// The measure of each row.
fn numbers(read: &EpochColumns) -> Result<Float64Array> {
    let values = cast(read.column(0)?, &DataType::Float64)?;
    Ok(values.as_primitive::<Float64Type>().clone())
}

/// The label of each sample.
struct Given {
    field: Field,
    values: ArrayRef,
}

impl Given {
    /// Those of `samples`, of the labels of all rows of the other epoch.
    fn new(field: &Field, labels: &ArrayRef, samples: &[Sample]) -> Result<Self> {
        let rows = samples.iter().map(|sample| sample.at as u64);
        let values = take(labels, &UInt64Array::from_iter_values(rows), None)?;
        let values = cast(&values, plain(values.data_type()))?;
        let field = field.clone().with_name("label").with_nullable(true);
        let field = field.with_data_type(values.data_type().clone());
        Ok(Self { field, values })
    }

    /// As texts, by which they are told apart.
    fn texts(&self) -> Result<Vec<Option<String>>> {
        let options = FormatOptions::new();
        let shown = ArrayFormatter::try_new(&self.values, &options)?;
        let text = |row: usize| {
            let is_there = self.values.is_valid(row);
            is_there.then(|| shown.value(row).to_string())
        };
        Ok((0..self.values.len()).map(text).collect())
    }

    /// The labels of some of the samples, by their places.
    fn at(&self, places: impl Iterator<Item = usize>) -> Result<ArrayRef> {
        let places = UInt64Array::from_iter_values(places.map(|at| at as u64));
        Ok(take(&self.values, &places, None)?)
    }
}

/// The samples of one class.
#[derive(Default)]
struct Class {
    /// The place of one of them.
    at: usize,
    samples: i64,
    better: i64,
    worse: i64,
    first: f64,
    other: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 samples"
)]
fn by_class(
    samples: &[Sample],
    labels: &Given,
    worsened: impl Fn(&Sample) -> f64,
) -> Result<RecordBatch> {
    let mut classes: BTreeMap<(bool, Order, Option<String>), Class> = BTreeMap::new();
    for (at, (sample, label)) in samples.iter().zip(labels.texts()?).enumerate() {
        let class = classes.entry((label.is_none(), order(label.as_deref()), label));
        let class = class.or_default();
        let worsened = worsened(sample);
        class.at = at;
        class.samples += 1;
        class.better += i64::from(worsened < 0.0);
        class.worse += i64::from(worsened > 0.0);
        class.first += sample.first;
        class.other += sample.other;
    }
    let count = |of: fn(&Class) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(classes.values().map(of)))
    };
    let mean = |of: fn(&Class) -> f64| -> ArrayRef {
        let means = classes
            .values()
            .map(|class| of(class) / class.samples.max(1) as f64);
        Arc::new(Float64Array::from_iter_values(means))
    };
    let integer = |name: &str| Field::new(name, DataType::Int64, false);
    let float = |name: &str| Field::new(name, DataType::Float64, false);
    let fields = vec![
        labels.field.clone(),
        integer("samples"),
        integer("better"),
        integer("worse"),
        float("first"),
        float("other"),
    ];
    let columns = vec![
        labels.at(classes.values().map(|class| class.at))?,
        count(|class| class.samples),
        count(|class| class.better),
        count(|class| class.worse),
        mean(|class| class.first),
        mean(|class| class.other),
    ];
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Numbers as numbers, before texts.
type Order = (bool, i64);

fn order(label: Option<&str>) -> Order {
    let number = label.and_then(|label| label.parse().ok());
    (number.is_none(), number.unwrap_or_default())
}

fn most_changed(
    samples: &[Sample],
    labels: &Given,
    worsened: impl Fn(&Sample) -> f64,
    samples_max: usize,
) -> Result<RecordBatch> {
    let changed = samples.iter().enumerate();
    let changed = changed.map(|(at, sample)| (worsened(sample), sample, at));
    let mut changed: Vec<_> = changed.filter(|(worsened, ..)| *worsened != 0.0).collect();
    changed.sort_by(|a, b| {
        b.0.abs()
            .total_cmp(&a.0.abs())
            .then(a.1.row_id.cmp(&b.1.row_id))
    });
    changed.truncate(samples_max);
    changed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.row_id.cmp(&b.1.row_id)));
    let ids = UInt64Array::from_iter_values(changed.iter().map(|(_, sample, _)| sample.row_id));
    let float = |of: fn(&Sample) -> f64| -> ArrayRef {
        let values = changed.iter().map(|(_, sample, _)| of(sample));
        Arc::new(Float64Array::from_iter_values(values))
    };
    let fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        labels.field.clone(),
        Field::new("first", DataType::Float64, false),
        Field::new("other", DataType::Float64, false),
    ];
    let columns = vec![
        Arc::new(ids) as ArrayRef,
        labels.at(changed.iter().map(|(_, _, at)| *at))?,
        float(|sample| sample.first),
        float(|sample| sample.other),
    ];
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    /// `id:value`, `-` for null, of no table; `id:value:table` of one.
    fn epoch(text: &str) -> EpochColumns {
        let rows = text
            .split_whitespace()
            .map(|row| row.split_once(':').unwrap());
        let (mut ids, mut values, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for (id, rest) in rows {
            let (value, table) = match rest.split_once(':') {
                Some((value, table)) => (value, Some(table)),
                None => (rest, None),
            };
            ids.push(id.parse::<u64>().unwrap());
            values.push(value.parse::<f64>().ok());
            tables.push(table);
        }
        let values: ArrayRef = Arc::new(Float64Array::from(values));
        let tables: DictionaryArray<Int32Type> = tables.into_iter().collect();
        let columns = [("loss", values), (TABLE, Arc::new(tables) as ArrayRef)];
        EpochColumns {
            row_ids: UInt64Array::from(ids),
            columns: RecordBatch::try_from_iter_with_nullable(
                columns.map(|(name, values)| (name, values, true)),
            )
            .unwrap(),
        }
    }

    fn compared(first: &str, other: &str, labels: &str, samples_max: usize) -> (String, String) {
        let samples = both(&epoch(first), &epoch(other)).unwrap();
        let labels: StringArray = labels
            .split_whitespace()
            .map(|label| (label != "-").then_some(label))
            .collect();
        let field = Field::new("class", DataType::Utf8, false);
        let labels = Given::new(&field, &(Arc::new(labels) as ArrayRef), &samples).unwrap();
        let worsened = |sample: &Sample| sample.other - sample.first;
        let rows = |batch: &RecordBatch| {
            let options = FormatOptions::new().with_null("-");
            let columns = batch.columns().iter();
            let shown: Vec<_> = columns
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            let row = |row: usize| {
                let values: Vec<String> = shown
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect();
                values.join(":")
            };
            (0..batch.num_rows()).map(row).collect::<Vec<_>>().join(" ")
        };
        (
            rows(&by_class(&samples, &labels, worsened).unwrap()),
            rows(&most_changed(&samples, &labels, worsened, samples_max).unwrap()),
        )
    }

    #[test]
    fn samples_of_both_epochs_are_compared_by_class() {
        let (classes, changed) = compared(
            "1:0.5 2:1 3:2 4:- 6:1 6:9 9:1 10:3 11:NaN",
            "2:3 3:1 4:1 5:1 6:1 6:7 9:0.5 10:3.5 11:1",
            "10 2 2 2 2 2 - 10 2",
            10,
        );
        assert_eq!(classes, "2:2:1:0:1.5:1.0 10:2:0:2:2.0:3.25 -:1:1:0:1.0:0.5");
        assert_eq!(
            changed,
            "2:10:1.0:3.0 10:10:3.0:3.5 9:-:1.0:0.5 3:2:2.0:1.0"
        );
    }

    #[test]
    fn the_same_row_of_another_table_is_another_sample() {
        let check = |first: &str, other: &str, expected: &str| {
            let labels = "a ".repeat(other.split_whitespace().count());
            let (_, changed) = compared(first, other, &labels, 10);
            assert_eq!(changed, expected, "{first}, {other}");
        };
        check("1:1:x 1:2:y", "1:2:y 1:4:x", "1:a:1.0:4.0");
        check("1:1:x", "1:2:y", "");
        check("1:1:x", "1:2", "1:a:1.0:2.0");
        check("1:1", "1:2:y 1:3:y", "1:a:1.0:2.0");
    }

    #[test]
    fn the_most_changed_are_kept() {
        let (_, changed) = compared("1:0 2:0 3:0 4:0", "1:1 2:-3 3:2 4:-1", "a a a a", 2);
        assert_eq!(changed, "3:a:0.0:2.0 2:a:0.0:-3.0");
    }
}
