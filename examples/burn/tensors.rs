//! Columns of Arrow as tensors' data, and back.
//!
//! Burn's tensors have their rank and their kind in their type; [`TensorData`] has them as values, as a
//! column has. It is what crosses between the two: `Tensor::from_data` makes a tensor of it on any
//! device, and `Tensor::into_data` gives it back, whatever view the tensor was.

use std::sync::Arc;

use burn::tensor::{BoolStore, DType, DataError, Element, TensorData};
use tlc_core::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, BooleanArray, FixedSizeListArray,
    PrimitiveArray, RecordBatch,
};
use tlc_core::arrow::compute::{CastOptions, cast_with_options};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use tlc_core::{Collector, Error, Result, Rows, Run, schema};

/// A column as a tensor's data: the rows are the first dimension, the shape of the field the others.
///
/// Every type of number stays as it is, but that `Float16` widens. Copied once.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the column if it holds nulls, or values
/// that are neither numbers nor truth values.
pub fn to_data(field: &Field, values: &ArrayRef) -> Result<TensorData> {
    let name = field.name();
    no_nulls(name, values)?;
    let DataType::FixedSizeList(_, length) = field.data_type() else {
        return flat(name, values, vec![values.len()]);
    };
    let length = usize::try_from(*length).unwrap_or(0);
    let inner = schema::shape(field).unwrap_or_else(|| vec![length]);
    let items = values.as_fixed_size_list().values();
    no_nulls(name, items)?;
    flat(name, items, [vec![values.len()], inner].concat())
}

fn flat(name: &str, values: &ArrayRef, shape: Vec<usize>) -> Result<TensorData> {
    match values.data_type() {
        DataType::Float16 | DataType::Float32 => numbers::<Float32Type>(name, values, shape),
        DataType::Float64 => numbers::<Float64Type>(name, values, shape),
        DataType::Int8 => numbers::<Int8Type>(name, values, shape),
        DataType::Int16 => numbers::<Int16Type>(name, values, shape),
        DataType::Int32 => numbers::<Int32Type>(name, values, shape),
        DataType::Int64 => numbers::<Int64Type>(name, values, shape),
        DataType::UInt8 => numbers::<UInt8Type>(name, values, shape),
        DataType::UInt16 => numbers::<UInt16Type>(name, values, shape),
        DataType::UInt32 => numbers::<UInt32Type>(name, values, shape),
        DataType::UInt64 => numbers::<UInt64Type>(name, values, shape),
        DataType::Boolean => {
            let truths: Vec<bool> = values.as_boolean().values().iter().collect();
            Ok(TensorData::new(truths, shape))
        }
        other => Err(Error::invalid(format!(
            "column {name:?} of type {other} makes no tensor"
        ))),
    }
}

fn numbers<T>(name: &str, values: &ArrayRef, shape: Vec<usize>) -> Result<TensorData>
where
    T: ArrowPrimitiveType<Native: Element>,
{
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(values, &T::DATA_TYPE, &strict).map_err(|err| {
        Error::invalid(format!("column {name:?} cannot become a tensor")).with_source(err)
    })?;
    let numbers: &PrimitiveArray<T> = cast.as_primitive();
    Ok(TensorData::new(numbers.values().to_vec(), shape))
}

fn no_nulls(name: &str, values: &dyn Array) -> Result<()> {
    match values.null_count() {
        0 => Ok(()),
        n => Err(Error::invalid(format!(
            "column {name:?} has no value in {n} places, and a tensor has no nulls"
        ))),
    }
}

/// Tensors' data as the columns of one batch, a row for each position of their first dimensions.
///
/// One dimension gives an ordinary column, more give an `arrow.fixed_shape_tensor`. Numbers stay as they
/// are, but that the floats of 16 bits widen. Copied once.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that has no dimension, another
/// number of rows, or a quantised type.
pub fn to_record(tensors: &[(&str, &TensorData)]) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(tensors.len());
    let mut columns = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let no_column = |err: Error| err.context(format!("tensor {name:?} is no column"));
        let [n_rows, inner @ ..] = data.shape().as_slice() else {
            return Err(no_column(Error::invalid("it has no dimension")));
        };
        let values = to_arrow(data).map_err(no_column)?;
        if inner.is_empty() {
            fields.push(Field::new(*name, values.data_type().clone(), true));
            columns.push(values);
            continue;
        }
        let field = schema::tensor(name, values.data_type().clone(), inner);
        let DataType::FixedSizeList(item, length) = field.data_type() else {
            return Err(no_column(Error::invalid("its shape is no Arrow type")));
        };
        let item = Arc::clone(item);
        let lists = FixedSizeListArray::try_new_with_length(item, *length, values, None, *n_rows);
        columns.push(Arc::new(lists?) as ArrayRef);
        fields.push(field);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// All values, row-major.
fn to_arrow(data: &TensorData) -> Result<ArrayRef> {
    match data.dtype() {
        DType::F64 => copied::<Float64Type>(data),
        DType::F32 => copied::<Float32Type>(data),
        DType::Flex32 | DType::F16 | DType::BF16 => copied::<Float32Type>(&cast(data, DType::F32)?),
        DType::I64 => copied::<Int64Type>(data),
        DType::I32 => copied::<Int32Type>(data),
        DType::I16 => copied::<Int16Type>(data),
        DType::I8 => copied::<Int8Type>(data),
        DType::U64 => copied::<UInt64Type>(data),
        DType::U32 => copied::<UInt32Type>(data),
        DType::U16 => copied::<UInt16Type>(data),
        DType::U8 => copied::<UInt8Type>(data),
        DType::Bool(_) => {
            let data = cast(data, DType::Bool(BoolStore::Native))?;
            let truths = data.as_slice::<bool>().map_err(unreadable)?;
            Ok(Arc::new(BooleanArray::from(truths.to_vec())))
        }
        DType::QFloat(_) => Err(Error::invalid(
            "Arrow has no type for quantised numbers; dequantise the tensor first",
        )),
    }
}

fn cast(data: &TensorData, to: DType) -> Result<TensorData> {
    data.clone().try_cast(to).map_err(unreadable)
}

fn copied<T>(data: &TensorData) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType<Native: Element>,
{
    let numbers = data.as_slice::<T::Native>().map_err(unreadable)?;
    Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(
        numbers.iter().copied(),
    )))
}

fn unreadable(err: DataError) -> Error {
    Error::invalid("the tensor's values cannot be read").with_source(err)
}

/// Logs what a collector makes of tensors' data as sample metrics of `rows`, and no scalars: those are
/// what Burn's own metrics are for.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that is not of these rows; those
/// of [`to_record`], of the collector and of [`Run::samples`].
pub fn collect(
    run: &Run,
    rows: &Rows,
    collector: &dyn Collector,
    outputs: &[(&str, &TensorData)],
) -> Result<()> {
    for (name, data) in outputs {
        let n_found = data.shape().as_slice().first().copied();
        let n_rows = rows.row_ids.len();
        if n_found.is_some_and(|n_found| n_found != n_rows) {
            return Err(Error::invalid(format!(
                "tensor {name:?} of shape {:?} does not belong to a batch of {n_rows} samples",
                data.shape().as_slice()
            )));
        }
    }
    run.samples(rows, &collector.collect(&to_record(outputs)?)?)
}
