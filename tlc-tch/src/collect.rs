//! Tensors as columns of Arrow, and from there into a run.

use std::borrow::Borrow;
use std::sync::Arc;

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};
use tlc_core::arrow::array::{
    Array as _, ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, PrimitiveArray,
    RecordBatch,
};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    UInt8Type,
};
use tlc_core::{Collector, Error, Result, Rows, Run, schema};

/// What a run takes from a training loop in libtorch.
///
/// `rows` says which samples the tensors belong to, one in each position of their first dimension: a
/// [`Batch`](crate::Batch), or [`Rows`] that the program made by itself. Each tensor is copied once,
/// in one piece, from wherever it is; gradients are neither needed nor touched.
pub trait RunExt {
    /// Computes sample metrics from the outputs of one batch, and logs them and their scalars.
    ///
    /// ```
    /// # use tlc_tch::{RunExt as _, tch::Tensor};
    /// # use tlc_core::{Project, Rows, block_on, collect::Classification};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let run = block_on(Project::open("memory:///", "demo"))?.start_run("doc")?;
    /// # let logits = Tensor::from_slice2(&[&[2_f32, 1., 0.], &[0., 0., 3.]]);
    /// # let label = Tensor::from_slice(&[0_i64, 1]);
    /// let rows = Rows::new("val", 0, vec![17, 4])?;
    /// run.collect_tensors(&rows, &Classification, &[("logits", &logits), ("label", &label)])?;
    /// # run.finish()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that is no column of
    /// these rows ([`to_record`]); those of [`Run::collect`].
    fn collect_tensors(
        &self,
        rows: &impl Borrow<Rows>,
        collector: &dyn Collector,
        outputs: &[(&str, &Tensor)],
    ) -> Result<()>;

    /// Logs tensors as sample metrics just as they are: what the program computed by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that is no column of
    /// these rows ([`to_record`]); those of [`Run::samples`].
    fn sample_tensors(&self, rows: &impl Borrow<Rows>, columns: &[(&str, &Tensor)]) -> Result<()>;
}

impl RunExt for Run {
    fn collect_tensors(
        &self,
        rows: &impl Borrow<Rows>,
        collector: &dyn Collector,
        outputs: &[(&str, &Tensor)],
    ) -> Result<()> {
        let rows = rows.borrow();
        self.collect(rows, collector, &of_rows(rows, outputs)?)
    }

    fn sample_tensors(&self, rows: &impl Borrow<Rows>, columns: &[(&str, &Tensor)]) -> Result<()> {
        let rows = rows.borrow();
        self.samples(rows, &of_rows(rows, columns)?)
    }
}

/// Tensors as the columns of one batch. Their first dimensions must be equal.
///
/// A tensor of one dimension is an ordinary column; one of more is an `arrow.fixed_shape_tensor`
/// whose shape is that of the other dimensions. For the types see [`to_arrow`].
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that has no dimension,
/// another number of rows, or a type that Arrow lacks.
pub fn to_record(tensors: &[(&str, &Tensor)]) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(tensors.len());
    let mut columns = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let shape = dims(tensor).map_err(|err| no_column(name, err))?;
        let column = to_arrow(tensor).map_err(|err| no_column(name, err))?;
        fields.push(match column.data_type() {
            DataType::FixedSizeList(item, _) => {
                let inner = shape.get(1..).unwrap_or(&[]);
                schema::tensor(name, item.data_type().clone(), inner)
            }
            flat => Field::new(*name, flat.clone(), true),
        });
        columns.push(column);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// A tensor as an Arrow array, a row for each position of its first dimension.
///
/// One dimension gives an array of numbers or of truth values, more give a fixed-size list of the
/// others, flat and row-major. Half, BFloat16 and the floats of 8 bits widen to Float32; Uint8, Int8,
/// Int16, Int, Int64, Float, Double and Bool stay as they are. The values are copied once, in one
/// piece, also from a device.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) for a tensor of no dimension, of a type that
/// Arrow lacks, or whose values libtorch does not give (an undefined or a sparse one).
pub fn to_arrow(tensor: &Tensor) -> Result<ArrayRef> {
    let shape = dims(tensor)?;
    let [n_rows, inner @ ..] = shape.as_slice() else {
        return Err(Error::invalid(
            "a tensor of no dimension has no rows; log a single number with `Run::log`",
        ));
    };
    let values = values(tensor)?;
    if inner.is_empty() {
        return Ok(values);
    }
    let DataType::FixedSizeList(item, length) =
        schema::tensor("", values.data_type().clone(), inner)
            .data_type()
            .clone()
    else {
        return Err(Error::invalid("a tensor of this shape is no Arrow column"));
    };
    let lists = FixedSizeListArray::try_new_with_length(item, length, values, None, *n_rows);
    Ok(Arc::new(lists?))
}

/// The lengths of the dimensions. `Tensor::size` would panic where they are not one number each, as in
/// a nested tensor.
fn dims(tensor: &Tensor) -> Result<Vec<usize>> {
    let lengths = tensor.f_internal_shape_as_tensor().map_err(unreadable)?;
    let lengths = Vec::<i64>::try_from(lengths).map_err(unreadable)?;
    let lengths = lengths.into_iter();
    Ok(lengths
        .map(|length| usize::try_from(length).unwrap_or(0))
        .collect())
}

/// All values of a tensor, row-major.
fn values(tensor: &Tensor) -> Result<ArrayRef> {
    let kind = tensor.f_kind().map_err(unreadable)?;
    match kind {
        Kind::Uint8 => numbers::<UInt8Type>(tensor),
        Kind::Int8 => numbers::<Int8Type>(tensor),
        Kind::Int16 => numbers::<Int16Type>(tensor),
        Kind::Int => numbers::<Int32Type>(tensor),
        Kind::Int64 => numbers::<Int64Type>(tensor),
        Kind::Float
        | Kind::Half
        | Kind::BFloat16
        | Kind::Float8e5m2
        | Kind::Float8e4m3fn
        | Kind::Float8e5m2fnuz
        | Kind::Float8e4m3fnuz => numbers::<Float32Type>(tensor),
        Kind::Double => numbers::<Float64Type>(tensor),
        Kind::Bool => Ok(Arc::new(BooleanArray::from(copied::<bool>(tensor)?))),
        Kind::ComplexHalf
        | Kind::ComplexFloat
        | Kind::ComplexDouble
        | Kind::QInt8
        | Kind::QUInt8
        | Kind::QInt32 => Err(Error::invalid(format!(
            "Arrow has no type for {kind:?}; convert the tensor to Float"
        ))),
    }
}

fn numbers<T>(tensor: &Tensor) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType<Native: Element>,
{
    let numbers = copied::<T::Native>(tensor)?;
    Ok(Arc::new(PrimitiveArray::<T>::new(numbers.into(), None)))
}

/// The values as `T`. What crosses from a device is the type that the tensor has.
fn copied<T: Element>(tensor: &Tensor) -> Result<Vec<T>> {
    let copied = || {
        // None of these copies what is as it should be already. A view may stand for the negative
        // of what lies in memory, which is made up for before memory is read.
        let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(T::KIND)?;
        let tensor = tensor.f_resolve_neg()?;
        let mut values = vec![T::ZERO; tensor.numel()];
        let n_values = values.len();
        tensor.f_copy_data(&mut values, n_values)?;
        Ok(values)
    };
    copied().map_err(unreadable)
}

fn no_column(name: &str, err: Error) -> Error {
    err.context(format!("tensor {name:?} is no column"))
}

fn unreadable(err: TchError) -> Error {
    Error::invalid("the tensor's values cannot be read").with_source(err)
}

/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that is not of these rows.
fn of_rows(rows: &Rows, tensors: &[(&str, &Tensor)]) -> Result<RecordBatch> {
    let n_rows = rows.row_ids.len();
    for (name, tensor) in tensors {
        let shape = dims(tensor).map_err(|err| no_column(name, err))?;
        if shape.first().is_some_and(|n_found| *n_found != n_rows) {
            return Err(Error::invalid(format!(
                "tensor {name:?} of shape {shape:?} does not belong to a batch of {n_rows} samples"
            )));
        }
    }
    to_record(tensors)
}
