//! What collectors share: reading the columns of the outputs, and making columns of metrics.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, Float64Array, OffsetSizeTrait,
    PrimitiveArray, RecordBatch,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};

use crate::error::{Error, Result};

/// The column of that name.
pub(super) fn column<'a>(outputs: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    outputs
        .column_by_name(name)
        .ok_or_else(|| Error::invalid(format!("the outputs have no column {name:?}")))
}

/// Whether numbers can be made of values of this type; true and false are 1 and 0.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// `values` as values of `T`; none is lost or cut.
pub(super) fn cast<T: ArrowPrimitiveType>(
    values: &dyn Array,
    name: &str,
) -> Result<PrimitiveArray<T>> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(values, &T::DATA_TYPE, &strict).map_err(|err| {
        let to = T::DATA_TYPE;
        Error::invalid(format!("column {name:?} holds a value that is no {to}")).with_source(err)
    })?;
    Ok(cast.as_primitive::<T>().clone())
}

/// A column of numbers, one for each sample, in 64 bits.
pub(super) fn numbers(outputs: &RecordBatch, name: &str) -> Result<Float64Array> {
    let column = column(outputs, name)?;
    if !is_number(column.data_type()) {
        let found = column.data_type();
        return Err(Error::invalid(format!(
            "column {name:?} is {found}; it must be numbers"
        )));
    }
    cast::<Float64Type>(column, name)
}

/// Where the lists of a column end in their values, and these.
fn ends_and_values<O: OffsetSizeTrait>(column: &ArrayRef) -> Option<(Vec<usize>, ArrayRef)> {
    let lists = column.as_list::<O>();
    let ends = lists.value_offsets().iter().map(|end| end.to_usize());
    Some((ends.collect::<Option<_>>()?, Arc::clone(lists.values())))
}

/// Where the list of each sample lies, and the values of these lists alone.
///
/// `None` if the column is not of lists. Lists of one length inside lists are laid end to end: the
/// matrix of a sample becomes its rows one after another.
pub(super) fn spans(column: &ArrayRef) -> Option<(Vec<Option<Range<usize>>>, ArrayRef)> {
    let (mut ends, mut values): (Vec<usize>, ArrayRef) = match column.data_type() {
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).ok()?;
            let lists = column.as_fixed_size_list();
            let ends = (0..=lists.len()).map(|sample| sample * length).collect();
            (ends, Arc::clone(lists.values()))
        }
        DataType::List(_) => ends_and_values::<i32>(column)?,
        DataType::LargeList(_) => ends_and_values::<i64>(column)?,
        _ => return None,
    };
    let (start, end) = (*ends.first()?, *ends.last()?);
    values = values.slice(start, end - start);
    ends.iter_mut().for_each(|end| *end -= start);
    while let DataType::FixedSizeList(_, length) = values.data_type() {
        let length = usize::try_from(*length).ok()?;
        if values.null_count() > 0 {
            return None;
        }
        ends.iter_mut().for_each(|end| *end *= length);
        values = Arc::clone(values.as_fixed_size_list().values());
    }
    let spans = ends
        .windows(2)
        .enumerate()
        .map(|(sample, ends)| match ends {
            [start, end] if column.is_valid(sample) => Some(*start..*end),
            _ => None,
        });
    Some((spans.collect(), values))
}

/// The lists of one column, one for each sample, as values of one type.
pub(super) struct Lists<T: ArrowPrimitiveType> {
    name: String,
    values: PrimitiveArray<T>,
    spans: Vec<Option<Range<usize>>>,
}

impl<T: ArrowPrimitiveType> Lists<T> {
    /// Reads the column `name`, whose values must be of a type that `fits`.
    pub(super) fn read(
        outputs: &RecordBatch,
        name: &str,
        fits: fn(&DataType) -> bool,
        of: &str,
    ) -> Result<Self> {
        let column = column(outputs, name)?;
        let read = spans(column).filter(|(_, values)| fits(values.data_type()));
        let Some((spans, values)) = read else {
            let found = column.data_type();
            return Err(Error::invalid(format!(
                "column {name:?} is {found}; it must be lists of {of}"
            )));
        };
        Ok(Self {
            values: cast(&values, name)?,
            name: name.to_owned(),
            spans,
        })
    }

    /// The values of a sample, whatever stands for those that are null; `None` if it has no list.
    pub(super) fn get(&self, sample: usize) -> Option<&[T::Native]> {
        let span = self.spans.get(sample)?.clone()?;
        self.values.values().get(span)
    }

    /// Whether the sample's value at that position is null.
    pub(super) fn is_null(&self, sample: usize, position: usize) -> bool {
        if self.values.null_count() == 0 {
            return false;
        }
        match self.spans.get(sample) {
            Some(Some(span)) if position < span.len() => self.values.is_null(span.start + position),
            _ => true,
        }
    }

    /// The values of a sample, none of them null; `None` if it has no list.
    pub(super) fn complete(&self, sample: usize) -> Result<Option<&[T::Native]>> {
        let Some(values) = self.get(sample) else {
            return Ok(None);
        };
        match (0..values.len()).find(|position| self.is_null(sample, *position)) {
            None => Ok(Some(values)),
            Some(position) => Err(Error::invalid(format!(
                "column {:?} has no value at {position} in the list of sample {sample} of the batch",
                self.name
            ))),
        }
    }

    /// The values of a sample, of which there must be all.
    pub(super) fn required(&self, sample: usize) -> Result<&[T::Native]> {
        self.complete(sample)?.ok_or_else(|| {
            Error::invalid(format!(
                "column {:?} has no values for sample {sample} of the batch",
                self.name
            ))
        })
    }
}

/// That two lists of a sample are of one length.
pub(super) fn same_length(sample: usize, prediction: usize, target: usize) -> Result<()> {
    match prediction == target {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "sample {sample} of the batch has {prediction} predicted values, but {target} targets"
        ))),
    }
}

/// A column of metrics: any value may be null.
pub(super) fn metric(name: &str, values: impl Array + 'static) -> (Field, ArrayRef) {
    let field = Field::new(name, values.data_type().clone(), true);
    (field, Arc::new(values))
}

/// The columns of metrics as one batch.
pub(super) fn record(columns: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// A metric, worked out in 64 bits and kept in 32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the columns are documented as Float32"
)]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// One count as a part of another; NaN if both are 0.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of more than 2^53 things is exact enough"
)]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// A count as an `Int32` column keeps it.
pub(super) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
