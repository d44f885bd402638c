//! Where a loader's batches come from: the rows of a snapshot, in memory if they fit, else in storage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema, UInt64Type};
use bytes::Bytes;
use futures::StreamExt as _;

use super::fetch::Images;
use super::pixels::{self, Encoded, Kept};
use super::samples::Samples;
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::runtime::block_on;
use crate::schema::{Role, column_index};
use crate::table::{ScanOptions, Snapshot};

/// The columns of a snapshot that a loader reads, and what it keeps of them between epochs.
pub(super) struct Source {
    pub(super) snapshot: Snapshot,
    /// The columns of a batch, in its order.
    fields: Vec<FieldRef>,
    images: Images,
    cache_bytes_max: u64,
    samples: Mutex<Option<Arc<Samples>>>,
    rows: Mutex<Option<Arc<Rows>>>,
}

impl Source {
    pub(super) fn new(snapshot: &Snapshot, fields: Vec<FieldRef>, cache_bytes_max: u64) -> Self {
        let (samples, rows) = (Mutex::new(None), Mutex::new(None));
        Self {
            snapshot: snapshot.clone(),
            fields,
            images: Images::of(snapshot),
            cache_bytes_max,
            samples,
            rows,
        }
    }

    /// The same columns with another bound for what is kept in memory.
    pub(super) fn with_cache(&self, bytes_max: u64) -> Self {
        Self::new(&self.snapshot, self.fields.clone(), bytes_max)
    }

    /// The same bound with other columns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming a column that is not there.
    pub(super) fn with_columns<S: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let schema = self.snapshot.schema();
        let mut fields: Vec<FieldRef> = Vec::new();
        for name in names {
            let index = column_index(schema, name.as_ref())?;
            let field = &schema.fields()[index];
            if !fields.iter().any(|known| known.name() == field.name()) {
                fields.push(Arc::clone(field));
            }
        }
        Ok(Self::new(&self.snapshot, fields, self.cache_bytes_max))
    }

    /// The rows that take part in training. Reads the weights, once; where there are none, the footers
    /// of the files.
    pub(super) fn samples(&self) -> Result<Arc<Samples>> {
        once(&self.samples, || {
            let weight = self
                .snapshot
                .schema()
                .fields()
                .iter()
                .find(|field| Role::of(field) == Some(Role::Weight));
            match weight {
                Some(weight) => weighted(&self.snapshot, weight.name()),
                None => Ok(Samples::unweighted(block_on(self.snapshot.row_ids())?)),
            }
        })
    }

    /// The samples at these positions of [`Self::samples`], as a batch.
    pub(super) fn batch(&self, samples: &Samples, indices: &[usize]) -> Result<RecordBatch> {
        let rows = once(&self.rows, || self.open(samples))?;
        let row_ids: Vec<u64> = indices
            .iter()
            .filter_map(|index| samples.row_ids.get(*index).copied())
            .collect();
        let fetched = match &rows.place {
            Place::Memory(memory) => memory.fetch(indices)?,
            Place::Storage => self.read(&row_ids)?,
        };
        let mut fields = Vec::with_capacity(self.fields.len());
        let mut columns = Vec::with_capacity(self.fields.len());
        for ((field, kept), cells) in self.fields.iter().zip(&rows.kept).zip(&fetched) {
            let (field, column) = match kept {
                None => (Arc::clone(field), cells.gather()?),
                Some(kept) => self.pixels(field, cells, kept, (indices, &row_ids))?,
            };
            fields.push(field);
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(row_ids.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            columns,
            &options,
        )?)
    }

    /// The images of one column as pixels, for these samples and their row ids.
    fn pixels(
        &self,
        field: &Field,
        cells: &Cells,
        kept: &Kept,
        (samples, row_ids): (&[usize], &[u64]),
    ) -> Result<(FieldRef, ArrayRef)> {
        let fetched = match pixels::is_url(field) {
            true => Some(self.fetched(field.name(), cells, kept, (samples, row_ids))?),
            false => None,
        };
        let mut images = Vec::with_capacity(row_ids.len());
        for (position, (sample, row_id)) in samples.iter().zip(row_ids).enumerate() {
            let bytes = match &fetched {
                Some(fetched) => fetched.get(position).and_then(Option::as_deref),
                None => cells.bytes(position)?,
            };
            images.push(Encoded {
                sample: *sample,
                row_id: *row_id,
                bytes,
            });
        }
        pixels::column(field.name(), &images, kept)
    }

    /// The bytes of the images that a column of URLs names; none where there is no URL, or where the
    /// pixels are here already.
    fn fetched(
        &self,
        column: &str,
        cells: &Cells,
        kept: &Kept,
        (samples, row_ids): (&[usize], &[u64]),
    ) -> Result<Vec<Option<Bytes>>> {
        let mut urls = Vec::with_capacity(samples.len());
        for (position, sample) in samples.iter().enumerate() {
            let url = if kept.has(*sample) {
                None
            } else {
                cells.url(position)?
            };
            urls.push(url);
        }
        let fetched = block_on(self.images.fetch(&urls));
        let named = |(bytes, row_id): (Result<Option<Bytes>>, &u64)| {
            bytes.map_err(|err| {
                err.context(format!(
                    "the image of row {row_id} in column {column:?} cannot be read; set its weight to 0 to leave it out"
                ))
            })
        };
        fetched.into_iter().zip(row_ids).map(named).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.fields
            .iter()
            .map(|field| field.name().as_str())
            .collect()
    }

    /// What the columns of numbers take in memory, which the files may hold in far less.
    fn fixed_bytes(&self) -> u64 {
        let widths = self
            .fields
            .iter()
            .filter_map(|field| field.data_type().primitive_width());
        self.snapshot
            .n_rows()
            .saturating_mul(widths.sum::<usize>() as u64)
    }

    /// Decides where the rows are read from, and reads them if that is memory.
    fn open(&self, samples: &Samples) -> Result<Rows> {
        let bytes = block_on(self.snapshot.column_bytes(&self.names()))?.max(self.fixed_bytes());
        let free = self.cache_bytes_max.checked_sub(bytes);
        let place = match free {
            Some(_) => Place::Memory(Memory::read(&self.snapshot, &self.names(), samples)?),
            None => Place::Storage,
        };
        let n_images = self
            .fields
            .iter()
            .filter(|field| pixels::is_image(field))
            .count() as u64;
        let share = free.unwrap_or(0).checked_div(n_images).unwrap_or(0);
        let kept = self
            .fields
            .iter()
            .map(|field| pixels::is_image(field).then(|| Kept::new(samples.row_ids.len(), share)));
        Ok(Rows {
            place,
            kept: kept.collect(),
        })
    }

    fn read(&self, row_ids: &[u64]) -> Result<Vec<Cells>> {
        if self.fields.is_empty() {
            return Ok(Vec::new());
        }
        let record = block_on(self.snapshot.take(row_ids, &self.names()))?;
        let places: Vec<(usize, usize)> = (0..record.num_rows()).map(|row| (0, row)).collect();
        let places: Arc<[(usize, usize)]> = places.into();
        let cells = |column: &ArrayRef| Cells {
            chunks: vec![Arc::clone(column)].into(),
            places: Arc::clone(&places),
        };
        Ok(record.columns().iter().map(cells).collect())
    }
}

/// The rows as the batches find them.
struct Rows {
    place: Place,
    /// For each column that holds encoded images, the pixels kept.
    kept: Vec<Option<Kept>>,
}

enum Place {
    Memory(Memory),
    Storage,
}

/// All rows of the columns, as they were read.
struct Memory {
    /// For each column its arrays, chunk by chunk.
    columns: Vec<Arc<[ArrayRef]>>,
    /// For each sample its chunk, and its row there.
    places: Vec<(usize, usize)>,
}

impl Memory {
    fn read(snapshot: &Snapshot, names: &[&str], samples: &Samples) -> Result<Self> {
        let wanted: Vec<&str> = std::iter::once(ROWID)
            .chain(names.iter().copied())
            .collect();
        let mut columns = vec![Vec::new(); names.len()];
        let mut places = vec![None; samples.row_ids.len()];
        let mut n_chunks = 0;
        read(snapshot, &wanted, |batch| {
            for (row, row_id) in row_ids(batch)?.values().iter().enumerate() {
                // A row that is no sample has weight 0.
                if let Ok(sample) = samples.row_ids.binary_search(row_id) {
                    places[sample] = Some((n_chunks, row));
                }
            }
            for (column, chunk) in columns.iter_mut().zip(batch.columns().iter().skip(1)) {
                column.push(Arc::clone(chunk));
            }
            n_chunks += 1;
            Ok(())
        })?;
        let places = places.into_iter().collect::<Option<_>>();
        let places = places
            .ok_or_else(|| Error::corrupt("a scan of the snapshot lacks rows that it has"))?;
        Ok(Self {
            columns: columns.into_iter().map(Into::into).collect(),
            places,
        })
    }

    fn fetch(&self, indices: &[usize]) -> Result<Vec<Cells>> {
        let places = indices.iter().map(|index| self.places.get(*index).copied());
        let places: Option<Arc<[_]>> = places.collect();
        let places = places.ok_or_else(|| Error::invalid("a sample is beyond the table's rows"))?;
        let cells = |chunks: &Arc<[ArrayRef]>| Cells {
            chunks: Arc::clone(chunks),
            places: Arc::clone(&places),
        };
        Ok(self.columns.iter().map(cells).collect())
    }
}

/// The cells of one column and one batch, still where they were read.
struct Cells {
    chunks: Arc<[ArrayRef]>,
    /// For each row of the batch its chunk, and its row there.
    places: Arc<[(usize, usize)]>,
}

impl Cells {
    fn gather(&self) -> Result<ArrayRef> {
        let chunks: Vec<_> = self.chunks.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&chunks, &self.places)?)
    }

    fn bytes(&self, position: usize) -> Result<Option<&[u8]>> {
        let (chunk, row) = self.place(position)?;
        pixels::cell(chunk.as_ref(), row)
    }

    fn url(&self, position: usize) -> Result<Option<&str>> {
        let (chunk, row) = self.place(position)?;
        pixels::url(chunk.as_ref(), row)
    }

    fn place(&self, position: usize) -> Result<(&ArrayRef, usize)> {
        let found = self
            .places
            .get(position)
            .and_then(|(chunk, row)| Some((self.chunks.get(*chunk)?, *row)));
        found.ok_or_else(|| Error::corrupt("a row of the batch was not read"))
    }
}

/// The value of `slot`, made on the first call that succeeds. Other callers wait for it.
fn once<T>(slot: &Mutex<Option<Arc<T>>>, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
    let mut slot: MutexGuard<'_, Option<Arc<T>>> =
        slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = &*slot {
        return Ok(Arc::clone(value));
    }
    let value = Arc::new(make()?);
    *slot = Some(Arc::clone(&value));
    Ok(value)
}

fn weighted(snapshot: &Snapshot, weight: &str) -> Result<Samples> {
    let mut rows = Vec::new();
    read(snapshot, &[ROWID, weight], |batch| {
        let weights = cast(batch.column(1), &DataType::Float64)?;
        rows.extend(
            row_ids(batch)?
                .values()
                .iter()
                .copied()
                .zip(weights.as_primitive::<Float64Type>()),
        );
        Ok(())
    })?;
    Samples::new(rows)
}

/// Reads all rows of some columns, batch by batch.
fn read(
    snapshot: &Snapshot,
    columns: &[&str],
    mut take: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut scan = snapshot.scan(ScanOptions::new().columns(columns.iter().copied()))?;
    while let Some(batch) = block_on(scan.next()) {
        take(&batch?)?;
    }
    Ok(())
}

/// The row ids of a scanned batch, which are its first column.
fn row_ids(batch: &RecordBatch) -> Result<&UInt64Array> {
    let column = batch
        .columns()
        .first()
        .and_then(|column| column.as_primitive_opt::<UInt64Type>());
    column.ok_or_else(|| Error::corrupt("a scan of the snapshot lacks row ids"))
}
