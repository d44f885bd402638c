//! Batches of a table as tensors.

use std::borrow::Borrow;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, WithDType};
use tlc_core::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, Float32Array, PrimitiveArray, RecordBatch,
    Scalar,
};
use tlc_core::arrow::compute::kernels::zip::zip;
use tlc_core::arrow::compute::{CastOptions, cast, cast_with_options, is_not_null};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int64Type, UInt8Type, UInt32Type,
};
use tlc_core::loader::Weighted;
use tlc_core::schema::{self, Role};
use tlc_core::{Error, Result, Rows, Run, Snapshot};

/// The samples of a snapshot as batches of tensors: a [`tlc_core::Loader`] with a device.
///
/// Without further calls: all columns, batches of 32, by row id, every row whose weight is not 0.
/// The next batches are read and decoded on a thread of their own while the caller trains; a column
/// becomes a tensor when [`Batch::tensor`] asks for it.
#[derive(Clone)]
pub struct Loader {
    inner: tlc_core::Loader,
    device: Device,
}

impl Loader {
    /// A loader of all columns of a snapshot, onto `device`.
    #[must_use]
    pub fn new(snapshot: &Snapshot, device: &Device) -> Self {
        Self {
            inner: tlc_core::Loader::new(snapshot),
            device: device.clone(),
        }
    }

    /// Reads these columns only, in this order.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::columns`].
    pub fn columns<S: AsRef<str>>(self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self {
            inner: self.inner.columns(names)?,
            ..self
        })
    }

    /// The number of samples in a batch. The last one of an epoch may be smaller.
    #[must_use]
    pub fn batch_size(self, n_samples: usize) -> Self {
        Self {
            inner: self.inner.batch_size(n_samples),
            ..self
        }
    }

    /// Visits every sample once an epoch, in an order that `seed` and the epoch decide.
    #[must_use]
    pub fn shuffle(self, seed: u64) -> Self {
        Self {
            inner: self.inner.shuffle(seed),
            ..self
        }
    }

    /// Lets the weights decide what an epoch visits: a seed alone draws samples with replacement, in
    /// proportion to their weights, as many as there are. [`Weighted`] has the other ways.
    #[must_use]
    pub fn weighted(self, how: impl Into<Weighted>) -> Self {
        Self {
            inner: self.inner.weighted(how),
            ..self
        }
    }

    /// Leaves out the last batch of an epoch if it is smaller than the others.
    #[must_use]
    pub fn drop_last(self) -> Self {
        Self {
            inner: self.inner.drop_last(),
            ..self
        }
    }

    /// How many bytes of rows and pixels may stay in memory; 0 reads every batch from storage.
    #[must_use]
    pub fn cache_bytes_max(self, bytes: u64) -> Self {
        Self {
            inner: self.inner.cache_bytes_max(bytes),
            ..self
        }
    }

    /// Loads for a run: records the snapshot as an input of it, and names the batches' stream.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::run`].
    pub fn run(self, run: &Run, stream: &str) -> Result<Self> {
        Ok(Self {
            inner: self.inner.run(run, stream)?,
            ..self
        })
    }

    /// Cuts the samples into `n` folds, to predict each by a model that was not trained on it (cross-validation): for
    /// each fold a loader of all others, to train on, and one of the fold that is held out. A row stays in its fold
    /// whatever is edited or appended; the table is read, and its images are decoded, once for all folds.
    ///
    /// Log the predictions into one stream and one epoch, for all folds the same:
    /// [`tlc_core::Loader::folds`] says what else matters.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::folds`].
    pub fn folds(
        &self,
        n: usize,
        seed: u64,
    ) -> Result<impl ExactSizeIterator<Item = (Self, Self)> + use<>> {
        let device = self.device.clone();
        let folds = self.inner.folds(n, seed)?;
        Ok(folds.map(move |(train, held_out)| {
            let loader = |inner| Self {
                inner,
                device: device.clone(),
            };
            (loader(train), loader(held_out))
        }))
    }

    /// The number of samples an epoch visits: the rows whose weight is not 0, or the size that was asked
    /// for. Under [`Weighted::Repeat`] the most that one can visit.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::n_samples`].
    pub fn n_samples(&self) -> Result<usize> {
        self.inner.n_samples()
    }

    /// The number of batches in an epoch. Under [`Weighted::Repeat`], whose epochs differ, the most that one
    /// can have.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::n_batches`].
    pub fn n_batches(&self) -> Result<usize> {
        self.inner.n_batches()
    }

    /// The number of batches in this epoch: for every order exactly what [`Self::epoch`] gives.
    ///
    /// # Errors
    /// Those of [`tlc_core::Loader::n_batches_in`].
    pub fn n_batches_in(&self, epoch: i64) -> Result<usize> {
        self.inner.n_batches_in(epoch)
    }

    /// Starts an epoch: its batches are prepared from now on, at most three ahead of the caller.
    ///
    /// An error is an item, and the last one. An epoch may be dropped before its end.
    pub fn epoch(&self, epoch: i64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// Starts an epoch after its first `n_done` batches, for a job that goes on after a break: the same
    /// batches that [`Self::epoch`] gives after them, with the same steps. Those before are neither read nor
    /// decoded.
    pub fn epoch_from(&self, epoch: i64, n_done: usize) -> Epoch {
        Epoch {
            inner: self.inner.epoch_from(epoch, n_done),
            device: self.device.clone(),
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("inner", &self.inner)
            .field("device", &self.device.location())
            .finish()
    }
}

/// The batches of one epoch. Made by [`Loader::epoch`].
#[must_use = "an epoch does nothing for a program that does not iterate over it"]
pub struct Epoch {
    inner: tlc_core::loader::Epoch,
    device: Device,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let batch = self.inner.next()?;
        Some(batch.map(|batch| Batch {
            rows: batch.rows,
            record: batch.record,
            device: self.device.clone(),
        }))
    }
}

impl FusedIterator for Epoch {}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch")
            .field("device", &self.device.location())
            .finish_non_exhaustive()
    }
}

/// One batch of samples. Its columns become tensors one by one, when they are asked for.
#[derive(Clone)]
pub struct Batch {
    /// Which samples they are.
    pub rows: Rows,
    /// The columns as Arrow, a row a sample.
    pub record: RecordBatch,
    device: Device,
}

impl Batch {
    /// A column as a tensor on the loader's device, a sample in each position of its first dimension.
    ///
    /// | column | tensor |
    /// |---|---|
    /// | label, prediction (the roles) | U32, as `cross_entropy` takes it |
    /// | Float16, Float32, Float64 | F16, F32, F64 |
    /// | Boolean, UInt8 | U8 |
    /// | UInt16, UInt32 | U32 |
    /// | other integers | I64 |
    /// | fixed-size list, `arrow.fixed_shape_tensor`, image | one more dimension, or those of the shape; the items as above |
    ///
    /// A null in a weight column is 1.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) naming a column that the loader does
    /// not read. [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the row that has no
    /// value or one that the tensor cannot hold, or the column if it has a type that makes no tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (field, values) = self.column(name)?;
        to_tensor(field, values, &self.device).map_err(|err| match self.first_null(field, values) {
            Some(row_id) => Error::invalid(format!("row {row_id} has no value in column {name:?}")),
            None => err,
        })
    }

    /// A column of images as models take them: F32, samples × channels × height × width, 0 to 1.
    ///
    /// # Errors
    /// Those of [`Self::tensor`], and [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if the
    /// column holds no images of bytes.
    pub fn image(&self, name: &str) -> Result<Tensor> {
        let (field, _) = self.column(name)?;
        let pixels = self.tensor(name)?;
        if pixels.dtype() != DType::U8 || !matches!(pixels.rank(), 3 | 4) {
            let found = field.data_type();
            return Err(Error::invalid(format!(
                "column {name:?} of type {found} holds no images; use `tensor` for it"
            )));
        }
        scaled(&pixels).map_err(|err| {
            Error::invalid(format!("column {name:?} cannot be scaled")).with_source(err)
        })
    }

    fn column(&self, name: &str) -> Result<(&Field, &ArrayRef)> {
        let schema = self.record.schema_ref();
        let names = || {
            schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let found = schema
            .column_with_name(name)
            .map(|(index, field)| (field, self.record.column(index)));
        found.ok_or_else(|| {
            Error::not_found(format!(
                "the batch has no column {name:?}; its columns are {}",
                names()
            ))
        })
    }

    /// The row of the first cell without a value, unless the column gives nulls a meaning.
    fn first_null(&self, field: &Field, values: &ArrayRef) -> Option<u64> {
        if Role::of(field) == Some(Role::Weight) {
            return None;
        }
        let position = (0..values.len()).find(|position| values.is_null(*position))?;
        self.rows.row_ids.values().get(position).copied()
    }
}

impl Borrow<Rows> for Batch {
    fn borrow(&self) -> &Rows {
        &self.rows
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("rows", &self.rows)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// Bytes, height × width × channels, as 0 to 1, channels × height × width. A missing dimension is
/// one channel. What crosses to the device is the bytes.
fn scaled(pixels: &Tensor) -> candle_core::Result<Tensor> {
    let pixels = match *pixels.dims() {
        // One channel stays where it is: only the names of the dimensions change.
        [n, height, width] | [n, height, width, 1] => pixels.reshape((n, 1, height, width))?,
        _ => pixels.permute((0, 3, 1, 2))?.contiguous()?,
    };
    pixels.to_dtype(DType::F32)?.affine(1.0 / 255.0, 0.0)
}

/// An Arrow column as a tensor; [`Batch::tensor`] says which types become which.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming the column if it holds nulls, a value
/// that the tensor cannot hold, or a type that makes no tensor.
pub fn to_tensor(field: &Field, values: &ArrayRef, device: &Device) -> Result<Tensor> {
    let DataType::FixedSizeList(_, length) = field.data_type() else {
        return flat(field, values, &[values.len()], device);
    };
    no_nulls(field, values.as_ref())?;
    let length = usize::try_from(*length).unwrap_or(0);
    let shape = [
        vec![values.len()],
        schema::shape(field).unwrap_or_else(|| vec![length]),
    ]
    .concat();
    flat(field, values.as_fixed_size_list().values(), &shape, device)
}

/// The values, one after another, as a tensor of `shape`.
fn flat(field: &Field, values: &ArrayRef, shape: &[usize], device: &Device) -> Result<Tensor> {
    let name = field.name();
    let of_classes = matches!(Role::of(field), Some(Role::Label | Role::Prediction));
    let values = match Role::of(field) {
        Some(Role::Weight) => &ones_for_nulls(values)?,
        _ => values,
    };
    no_nulls(field, values.as_ref())?;
    match values.data_type() {
        integer if of_classes && integer.is_integer() => {
            numbers::<UInt32Type>(name, values, shape, device)
        }
        DataType::Float16 => numbers::<Float16Type>(name, values, shape, device),
        DataType::Float32 => numbers::<Float32Type>(name, values, shape, device),
        DataType::Float64 => numbers::<Float64Type>(name, values, shape, device),
        DataType::UInt8 | DataType::Boolean => numbers::<UInt8Type>(name, values, shape, device),
        DataType::UInt16 | DataType::UInt32 => numbers::<UInt32Type>(name, values, shape, device),
        integer if integer.is_integer() => numbers::<Int64Type>(name, values, shape, device),
        other => Err(Error::invalid(format!(
            "column {name:?} of type {other} makes no tensor"
        ))),
    }
}

fn numbers<T>(name: &str, values: &ArrayRef, shape: &[usize], device: &Device) -> Result<Tensor>
where
    T: ArrowPrimitiveType<Native: WithDType>,
{
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(values, &T::DATA_TYPE, &strict).map_err(|err| {
        Error::invalid(format!(
            "column {name:?} holds a value that a tensor of {} cannot hold",
            T::DATA_TYPE
        ))
        .with_source(err)
    })?;
    let numbers: &PrimitiveArray<T> = cast.as_primitive();
    Tensor::from_slice(numbers.values(), shape, device).map_err(|err| {
        Error::invalid(format!("column {name:?} cannot become a tensor")).with_source(err)
    })
}

/// A weight that is not given counts as 1.
fn ones_for_nulls(weights: &ArrayRef) -> Result<ArrayRef> {
    if weights.null_count() == 0 {
        return Ok(Arc::clone(weights));
    }
    let ones: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    let one = Scalar::new(cast(&ones, weights.data_type())?);
    Ok(zip(&is_not_null(weights)?, weights, &one)?)
}

fn no_nulls(field: &Field, values: &dyn Array) -> Result<()> {
    match values.null_count() {
        0 => Ok(()),
        n => Err(Error::invalid(format!(
            "column {:?} has no value in {n} places, and a tensor has no nulls",
            field.name()
        ))),
    }
}
