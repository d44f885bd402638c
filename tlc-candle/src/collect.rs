//! Tensors as columns of Arrow, and from there into a run.

use std::borrow::Borrow;
use std::sync::Arc;

use candle_core::{DType, Tensor, WithDType};
use tlc_core::arrow::array::{
    Array as _, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, PrimitiveArray, RecordBatch,
};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type,
    UInt32Type,
};
use tlc_core::{Collector, Error, Result, Rows, Run, schema};

/// What a run takes from a training loop in Candle.
///
/// `rows` says which samples the tensors belong to, one in each position of their first dimension: a
/// [`Batch`](crate::Batch), or [`Rows`] that the program made by itself. Each tensor is copied once,
/// in one piece, from wherever it is; gradients are neither needed nor touched.
pub trait RunExt {
    /// Computes sample metrics from the outputs of one batch, and logs them and their scalars.
    ///
    /// ```
    /// # use tlc_candle::{RunExt as _, candle_core::{Device, Tensor}};
    /// # use tlc_core::{Project, Rows, block_on, collect::Classification};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let run = block_on(Project::open("memory:///", "demo"))?.start_run("doc")?;
    /// # let logits = Tensor::new(&[[2_f32, 1., 0.], [0., 0., 3.]], &Device::Cpu)?;
    /// # let label = Tensor::new(&[0_u32, 1], &Device::Cpu)?;
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
        let column =
            to_arrow(tensor).map_err(|err| err.context(format!("tensor {name:?} is no column")))?;
        fields.push(match column.data_type() {
            DataType::FixedSizeList(item, _) => {
                let shape = tensor.dims().get(1..).unwrap_or(&[]);
                schema::tensor(name, item.data_type().clone(), shape)
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
/// One dimension gives a primitive array, more give a fixed-size list of the others, flat and
/// row-major. F16 and BF16 widen to Float32; U8, U32, I16, I32, I64, F32 and F64 stay as they are.
/// The values are copied once, in one piece, also from a device.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) for a tensor of no dimension, or of a type
/// that Arrow lacks.
pub fn to_arrow(tensor: &Tensor) -> Result<ArrayRef> {
    let [n_rows, inner @ ..] = tensor.dims() else {
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

/// All values of a tensor, row-major.
fn values(tensor: &Tensor) -> Result<ArrayRef> {
    match tensor.dtype() {
        DType::U8 => numbers::<UInt8Type>(tensor),
        DType::U32 => numbers::<UInt32Type>(tensor),
        DType::I16 => numbers::<Int16Type>(tensor),
        DType::I32 => numbers::<Int32Type>(tensor),
        DType::I64 => numbers::<Int64Type>(tensor),
        DType::F32 | DType::F16 | DType::BF16 => numbers::<Float32Type>(tensor),
        DType::F64 => numbers::<Float64Type>(tensor),
        other => {
            let message = format!(
                "Arrow has no type for {}; convert the tensor to F32",
                other.as_str()
            );
            Err(Error::invalid(message))
        }
    }
}

fn numbers<T>(tensor: &Tensor) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType<Native: WithDType>,
{
    let numbers = || {
        // A tensor that has the type already is not copied here.
        let flat = tensor.flatten_all()?.to_dtype(T::Native::DTYPE)?;
        flat.to_vec1::<T::Native>()
    };
    let numbers = numbers()
        .map_err(|err| Error::invalid("the tensor's values cannot be read").with_source(err))?;
    Ok(Arc::new(PrimitiveArray::<T>::new(numbers.into(), None)))
}

/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the tensor that is not of these rows.
fn of_rows(rows: &Rows, tensors: &[(&str, &Tensor)]) -> Result<RecordBatch> {
    let n_rows = rows.row_ids.len();
    for (name, tensor) in tensors {
        let n_found = tensor.dims().first().copied();
        if n_found.is_some_and(|n_found| n_found != n_rows) {
            let shape = tensor.dims();
            return Err(Error::invalid(format!(
                "tensor {name:?} of shape {shape:?} does not belong to a batch of {n_rows} samples"
            )));
        }
    }
    to_record(tensors)
}
