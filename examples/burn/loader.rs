//! A table as a data loader of Burn.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::prelude::{Device, Int, Tensor};
use burn::tensor::TensorData;
use burn::train::Interrupter;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::collect::Classification;
use tlc_core::loader::Epoch;
use tlc_core::{Error, Loader, Result, Rows, Run};

use crate::tensors::{collect, to_data};

/// Where a batch goes to say what the model thought of its samples. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    /// The run.
    pub run: Arc<Run>,
    /// Stops the training where something cannot be recorded: a step cannot give an error.
    pub interrupter: Interrupter,
}

/// Grey images with their labels, and which rows of the table they are.
pub struct Batch {
    /// n × 1 × height × width, 0 to 1.
    pub images: Tensor<4>,
    /// n class indices.
    pub labels: Tensor<1, Int>,
    rows: Rows,
    recorder: Recorder,
}

impl Batch {
    /// Logs what the model thought of each sample, by its logits.
    pub fn record(&self, logits: &Tensor<2>) {
        let record = || {
            let logits = data(logits.clone().without_autodiff().try_into_data())?;
            let labels = data(self.labels.clone().try_into_data())?;
            let outputs = [("logits", &logits), ("label", &labels)];
            collect(&self.recorder.run, &self.rows, &Classification, &outputs)
        };
        if let Err(err) = record() {
            let reason = format!("sample metrics cannot be recorded: {err:#}");
            self.recorder.interrupter.stop(Some(&reason));
        }
    }
}

fn data<E>(read: std::result::Result<TensorData, E>) -> Result<TensorData>
where
    E: std::error::Error + Send + Sync + 'static,
{
    read.map_err(|err| Error::invalid("a tensor cannot be read").with_source(err))
}

/// The samples of a loader as Burn's training asks for them: each call of `iter` is the next epoch.
pub struct TableLoader {
    inner: Loader,
    recorder: Recorder,
    device: Device,
    n_samples: usize,
    range: Range<usize>,
    /// Shared by what Burn makes of this loader for other devices.
    epoch: Arc<AtomicI64>,
}

impl TableLoader {
    /// A loader of the columns `image` and `label`.
    ///
    /// # Errors
    /// Those of [`Loader::n_samples`].
    pub fn new(inner: Loader, recorder: Recorder, device: Device) -> Result<Self> {
        let n_samples = inner.n_samples()?;
        Ok(Self {
            inner,
            recorder,
            device,
            n_samples,
            range: 0..n_samples,
            epoch: Arc::default(),
        })
    }

    fn like(&self, device: &Device, range: Range<usize>) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            inner: self.inner.clone(),
            recorder: self.recorder.clone(),
            device: device.clone(),
            n_samples: self.n_samples,
            range,
            epoch: Arc::clone(&self.epoch),
        })
    }
}

impl DataLoader<Batch> for TableLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        Box::new(Batches {
            loader: self,
            epoch: self.inner.epoch(epoch),
            position: 0,
            n_done: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.range.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        self.like(device, self.range.clone())
    }

    /// Reads the whole epoch, and gives this part of it; its epochs are counted alone.
    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        let first = self.range.start;
        let range = first + start..(first + end).min(self.range.end);
        Arc::new(Self {
            inner: self.inner.clone(),
            recorder: self.recorder.clone(),
            device: self.device.clone(),
            n_samples: self.n_samples,
            range,
            epoch: Arc::new(AtomicI64::new(self.epoch.load(Ordering::Relaxed))),
        })
    }
}

struct Batches<'a> {
    loader: &'a TableLoader,
    epoch: Epoch,
    /// How many samples of the epoch have come by, and how many of them were given.
    position: usize,
    n_done: usize,
}

impl Batches<'_> {
    /// The part of a batch that is in the loader's range; none of it is an empty one.
    fn part(&mut self, batch: tlc_core::loader::Batch) -> (Rows, RecordBatch) {
        let (begin, n_rows) = (self.position, batch.record.num_rows());
        self.position += n_rows;
        let range = &self.loader.range;
        let start = range.start.clamp(begin, self.position) - begin;
        let end = range.end.clamp(begin + start, self.position) - begin;
        let mut rows = batch.rows;
        rows.row_ids = rows.row_ids.slice(start, end - start);
        (rows, batch.record.slice(start, end - start))
    }

    fn batch(&self, rows: Rows, record: &RecordBatch) -> Result<Batch> {
        let device = &self.loader.device;
        let pixels = column(record, "image")?;
        let shape = match *pixels.shape().as_slice() {
            [n, height, width] | [n, height, width, 1] => [n, 1, height, width],
            _ => return Err(Error::invalid("the images are not grey")),
        };
        let (bytes, _, dtype) = pixels.into_parts();
        let pixels = data(TensorData::try_from_bytes(bytes, shape, dtype))?;
        Ok(Batch {
            images: Tensor::from_data(pixels, device).div_scalar(255.0),
            labels: Tensor::from_data(column(record, "label")?, device),
            rows,
            recorder: self.loader.recorder.clone(),
        })
    }
}

fn column(record: &RecordBatch, name: &str) -> Result<TensorData> {
    let schema = record.schema();
    let (index, field) = schema
        .column_with_name(name)
        .ok_or_else(|| Error::invalid(format!("the batch has no column {name:?}")))?;
    to_data(field, record.column(index))
}

impl Iterator for Batches<'_> {
    type Item = std::result::Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.position < self.loader.range.end {
            let batch = match self.epoch.next()? {
                Ok(batch) => batch,
                Err(err) => return Some(Err(DatasetError::new(err))),
            };
            let (rows, record) = self.part(batch);
            self.n_done += record.num_rows();
            if record.num_rows() > 0 {
                return Some(self.batch(rows, &record).map_err(DatasetError::new));
            }
        }
        None
    }
}

impl DataLoaderIterator<Batch> for Batches<'_> {
    fn progress(&self) -> Progress {
        Progress::new(
            self.n_done,
            self.loader.range.len(),
            Some("samples".to_owned()),
        )
    }
}
