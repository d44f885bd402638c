//! Immutable files named by their content: written once, verified when asked, safe to copy.
//!
//! Rows, cells and dropped row ids lie in such files; only the log says what they mean. A file's
//! name is the BLAKE3 hash of its bytes, so writing it twice is writing it once, and nothing is
//! ever overwritten.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, coalesce_ranges,
};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::{Compression, Encoding, Type as PhysicalType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

use crate::alias::Aliases;
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::format::{VERSION, footer};
use crate::store::Place;

/// Rows of a row group: the unit of parallel reading and of statistics.
pub(crate) const GROUP_ROWS: usize = 131_072;

/// Encoded bytes after which a row group is closed, whatever its rows: wide rows stay bounded.
const GROUP_BYTES: usize = 16 << 20;

/// Encoded bytes after which a file is closed and the next one begins. With [`GROUP_BYTES`] this
/// bounds what a writer holds in memory, and a file is always put by one request.
pub(crate) const FILE_BYTES: usize = 64 << 20;

/// Bytes of a page: what reading one row costs. Small, since loaders read rows at random.
const PAGE_BYTES: usize = 8 << 10;

/// Rows of a page at most.
const PAGE_ROWS: usize = 8_192;

/// Bytes of a dictionary, after which a column goes on without one. Small, since reading one row
/// decodes the dictionary of its row group.
const DICTIONARY_BYTES: usize = 32 << 10;

/// Bytes at the end of a file that are read at once when it is opened: what most footers need.
const TAIL_BYTES: u64 = 64 << 10;

/// The key in a Parquet file's footer under which it says its format version.
const FORMAT_KEY: &str = "tlc.format";

/// How a Parquet file of a root is written: zstd, row-group statistics, a page index, and the encodings
/// that suit the types of its columns where a dictionary does not pay: differences for whole numbers,
/// and floats byte by byte, which zstd packs better and unpacks sooner.
///
/// # Errors
/// If a type cannot be written as Parquet.
pub(crate) fn writer_properties(schema: &SchemaRef) -> Result<WriterPropertiesBuilder> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            FORMAT_KEY.to_owned(),
            VERSION.to_string(),
        )]))
        .set_created_by(concat!("tlc ", env!("CARGO_PKG_VERSION")).to_owned());
    for leaf in ArrowSchemaConverter::new().convert(schema)?.columns() {
        let encoding = match leaf.physical_type() {
            PhysicalType::INT32 | PhysicalType::INT64 => Encoding::DELTA_BINARY_PACKED,
            PhysicalType::FLOAT | PhysicalType::DOUBLE => Encoding::BYTE_STREAM_SPLIT,
            _ => continue,
        };
        properties = properties.set_column_encoding(leaf.path().clone(), encoding);
    }
    Ok(properties)
}

/// One encoded Parquet file.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    pub(crate) rows: u64,
}

/// Encodes a small number of rows, such as the cells of one edit, with as little around them as a
/// Parquet file allows: no Arrow schema, no page index.
///
/// # Errors
/// If a type cannot be written as Parquet.
pub(crate) fn encode_small(batch: &RecordBatch) -> Result<Bytes> {
    let properties = writer_properties(&batch.schema())?
        .set_offset_index_disabled(true)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::Chunk)
        .build();
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options)?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

/// Encodes the next file's worth of `rows`; `None` when they have ended.
///
/// Rows are taken until the file has about 64 MiB, so the memory needed does not grow with the
/// table. `schema` is written in place of the reader's own: same types, with field ids and roles.
///
/// # Errors
/// Those of the reader; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a batch does not fit.
pub(crate) fn encode_next(rows: &mut Rows, schema: &SchemaRef) -> Result<Option<Encoded>> {
    let Some(first) = rows.next(schema)? else {
        return Ok(None);
    };
    let properties = writer_properties(schema)?.build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?;
    let mut n_rows = 0;
    let mut next = Some(first);
    while let Some(batch) = next {
        writer.write(&batch)?;
        n_rows += batch.num_rows() as u64;
        if writer.in_progress_size() >= GROUP_BYTES {
            writer.flush()?;
        }
        if writer.bytes_written() + writer.in_progress_size() >= FILE_BYTES {
            break;
        }
        next = rows.next(schema)?;
    }
    Ok(Some(Encoded {
        bytes: writer.into_inner()?.into(),
        rows: n_rows,
    }))
}

/// A reader of rows, cut into slices small enough to watch the size of what is being written.
pub(crate) struct Rows {
    reader: Box<dyn RecordBatchReader + Send>,
    rest: Option<RecordBatch>,
    /// Few enough to be about [`Self::SLICE_BYTES`], for rows may be wide.
    slice_rows: usize,
    aliases: Aliases,
}

impl Rows {
    const SLICE_ROWS: usize = 8_192;
    const SLICE_BYTES: usize = 8 << 20;

    pub(crate) fn new(reader: Box<dyn RecordBatchReader + Send>) -> Self {
        Self {
            reader,
            rest: None,
            slice_rows: Self::SLICE_ROWS,
            aliases: Aliases::new(),
        }
    }

    /// The same rows, their paths stored with these aliases.
    pub(crate) fn shortened(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }

    fn next(&mut self, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.rest.take_if(|batch| batch.num_rows() > 0) {
                let n_rows = batch.num_rows().min(self.slice_rows);
                self.rest = Some(batch.slice(n_rows, batch.num_rows() - n_rows));
                let rows = crate::schema::conform(&batch.slice(0, n_rows), schema)?;
                return Ok(Some(self.aliases.shorten_batch(&rows)?));
            }
            match self.reader.next() {
                Some(batch) => {
                    let batch = batch?;
                    let row_bytes = batch.get_array_memory_size() / batch.num_rows().max(1);
                    self.slice_rows =
                        (Self::SLICE_BYTES / row_bytes.max(1)).clamp(1, Self::SLICE_ROWS);
                    self.rest = Some(batch);
                }
                None => return Ok(None),
            }
        }
    }
}

/// How old a file that no revision names must be, at least, before it may be collected.
pub(crate) const COLLECTED_AFTER_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes `bytes` under `folder` by their hash, and gives the file's name. One request; another if a
/// file of that name is there already.
///
/// A file that is there is the same file, and is used if it is young. An old one may be collected as
/// garbage at any moment, until the entry lands that is to name it; so the bytes are then written
/// once more, under a name that nobody else has.
///
/// # Errors
/// Those of the store.
pub(crate) async fn put(
    place: &Place,
    folder: &Path,
    extension: &str,
    bytes: Bytes,
) -> Result<String> {
    let hash = blake3::hash(&bytes).to_hex();
    let name = format!("{hash}.{extension}");
    let path = folder.clone().join(name.as_str());
    if create(place, &path, bytes.clone()).await? || is_young(place, &path).await? {
        return Ok(name);
    }
    let name = format!("{hash}.{}.{extension}", place.env.fresh_id());
    create(place, &folder.clone().join(name.as_str()), bytes).await?;
    Ok(name)
}

/// Creates a file; `false` if there is one of that name, or if another writer is about to write one.
///
/// # Errors
/// Those of the store.
pub(crate) async fn create(place: &Place, path: &Path, bytes: Bytes) -> Result<bool> {
    let put = place
        .store
        .put_opts(path, bytes.into(), PutMode::Create.into());
    match put.await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(err) => Err(Error::from(err).context(format!("cannot write {path}"))),
    }
}

/// Whether a file is there and far from being collected: younger than half of the least age.
async fn is_young(place: &Place, path: &Path) -> Result<bool> {
    match place.store.head(path).await {
        Ok(found) => Ok(is_young_file(place, &found)),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(err) => Err(Error::from(err).context(format!("cannot look at {path}"))),
    }
}

/// The same of a file that was looked at.
pub(crate) fn is_young_file(place: &Place, found: &ObjectMeta) -> bool {
    let written = Micros(found.last_modified.timestamp_micros());
    place.env.now().since(written) < COLLECTED_AFTER_MIN / 2
}

/// Reads the footer of a Parquet file, and its page index where `pages` says so. One request, or two
/// if they are large.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the file if it has another size, is cut
/// off or no Parquet; those of the store.
pub(crate) async fn open(
    file: &mut FileReader,
    pages: PageIndexPolicy,
) -> Result<ArrowReaderMetadata> {
    let bytes = file.bytes;
    let options = ArrowReaderOptions::new().with_page_index_policy(pages);
    let load = AssertUnwindSafe(async {
        file.keep_tail().await?;
        ArrowReaderMetadata::load_async(file, options).await
    });
    let loaded = match load.catch_unwind().await {
        Ok(loaded) => loaded.map_err(Error::from),
        Err(_panic) => Err(undecodable()),
    };
    let checked = loaded.and_then(|metadata| check_ranges(metadata, bytes));
    match checked {
        Ok(metadata) => Ok(metadata),
        Err(err) => {
            let path = &file.path;
            let found = file.store.head(path).await?.size;
            let err = match found == bytes {
                true => err,
                false => Error::corrupt(format!("it has {found} bytes in place of {bytes}")),
            };
            Err(err.context(format!("cannot read {path}")))
        }
    }
}

/// Every column must lie within the file: a footer may say anything.
fn check_ranges(metadata: ArrowReaderMetadata, bytes: u64) -> Result<ArrowReaderMetadata> {
    let groups = metadata.metadata().row_groups().iter();
    let rows = groups
        .map(RowGroupMetaData::num_rows)
        .try_fold(0_i64, |sum, rows| {
            sum.checked_add(rows).filter(|_| rows >= 0)
        });
    if rows != Some(metadata.metadata().file_metadata().num_rows()) {
        return Err(undecodable());
    }
    let columns = metadata
        .metadata()
        .row_groups()
        .iter()
        .flat_map(RowGroupMetaData::columns);
    for column in columns {
        let start = column
            .dictionary_page_offset()
            .unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size());
        let inside = start >= 0
            && column.data_page_offset() >= 0
            && column.compressed_size() >= 0
            && end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end <= bytes));
        if !inside {
            return Err(undecodable());
        }
    }
    Ok(metadata)
}

/// Whether `bytes` are those of the file `name`, which begins with their hash.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the file.
pub(crate) fn check_name(name: &str, bytes: &[u8]) -> Result<()> {
    let hash = blake3::hash(bytes).to_hex();
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.strip_prefix(hash.as_str()) {
        Some(rest) if rest.starts_with('.') => Ok(()),
        _ => Err(Error::corrupt(format!(
            "{name} is damaged: its bytes are not those that its name says"
        ))),
    }
}

/// The error for bytes that made a decoder stop in its tracks.
pub(crate) fn undecodable() -> Error {
    Error::corrupt("its bytes are not those of a Parquet file that can be decoded")
}

/// A reader of ranges of one Parquet file.
pub(crate) fn reader(store: &Arc<dyn ObjectStore>, path: &Path, bytes: u64) -> FileReader {
    FileReader {
        store: Arc::clone(store),
        path: path.clone(),
        bytes,
        n_read: None,
        etag: None,
        is_local: false,
        tail: Bytes::new(),
    }
}

/// One Parquet file of a known size in a store.
#[derive(Clone, Debug)]
pub(crate) struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    /// Counts the bytes that are asked for.
    n_read: Option<Arc<AtomicU64>>,
    /// The tag that the file must still have whenever it is read: for one that is not ours.
    etag: Option<String>,
    /// Whether asking for the tag is nearly free, and one request for several ranges is not.
    is_local: bool,
    /// The last bytes of the file, if they were read.
    tail: Bytes,
}

impl FileReader {
    /// The same reader, which adds to `n_read` the bytes that it is asked for.
    pub(crate) fn counting(mut self, n_read: &Arc<AtomicU64>) -> Self {
        self.n_read = Some(Arc::clone(n_read));
        self
    }

    fn count(&self, range: &Range<u64>) {
        if let Some(n_read) = &self.n_read {
            n_read.fetch_add(range.end.saturating_sub(range.start), Ordering::Relaxed);
        }
    }

    /// Reads the file only as long as it has this tag. `is_local` says that it is on this disk.
    pub(crate) fn only(mut self, etag: Option<String>, is_local: bool) -> Self {
        (self.etag, self.is_local) = (etag, is_local);
        self
    }

    /// Reads the file from here on only as it is now, and gives the tag that it has.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn pin(&mut self) -> Result<Option<String>> {
        self.etag = self.keep_tail().await?;
        Ok(self.etag.clone())
    }

    /// The BLAKE3 hash of the Parquet footer, with the eight bytes after it: a rewritten file has
    /// another, for the footer holds sizes, places and statistics of all that is in the file.
    ///
    /// # Errors
    /// Those of the store. Bytes that are no footer have a hash too.
    pub(crate) async fn footer_hash(&mut self) -> Result<String> {
        self.keep_tail().await?;
        let length = match self.tail.as_ref() {
            [.., a, b, c, d, b'P', b'A', b'R', b'1'] => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => 0,
        };
        let start = self.bytes.saturating_sub(u64::from(length) + 8);
        let footer = self.fetch(start..self.bytes).await?;
        Ok(blake3::hash(&footer).to_hex().to_string())
    }

    /// Reads the last bytes, in which a footer usually lies, unless they are there. Gives the tag that
    /// the file has: a listing may spell it differently.
    async fn keep_tail(&mut self) -> Result<Option<String>, ParquetError> {
        if !self.tail.is_empty() || self.bytes == 0 {
            return Ok(self.etag.clone());
        }
        let start = self.bytes.saturating_sub(TAIL_BYTES);
        let found = self.get(start..self.bytes).await?;
        let etag = found.meta.e_tag.clone();
        self.tail = found.bytes().await.map_err(outside)?;
        Ok(etag)
    }

    /// Reads the footer into memory, unless it is there, and looks at what it claims.
    async fn check_footer(&mut self) -> Result<(), ParquetError> {
        self.keep_tail().await?;
        if let [.., a, b, c, d, b'P', b'A', b'R', b'1'] = self.tail.as_ref() {
            let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d])) + 8;
            if (self.tail.len() as u64) < length && length <= self.bytes {
                let found = self.get(self.bytes - length..self.bytes).await?;
                self.tail = found.bytes().await.map_err(outside)?;
            }
        }
        match footer::is_bounded(&self.tail) {
            true => Ok(()),
            false => Err(ParquetError::External(Box::new(undecodable()))),
        }
    }

    /// All bytes of the file, if it is so small that it is in memory.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        (self.tail.len() as u64 == self.bytes).then_some(&self.tail)
    }

    /// A range of the file: from memory if that holds it, else by one request.
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let tail_start = self.bytes.saturating_sub(self.tail.len() as u64);
        if tail_start <= range.start && range.start < range.end && range.end <= self.bytes {
            // Both are positions in the tail, which is in memory.
            let at = |position: u64| usize::try_from(position - tail_start).unwrap_or(usize::MAX);
            return Ok(self.tail.slice(at(range.start)..at(range.end)));
        }
        let found = self.get(range).await?;
        found.bytes().await.map_err(outside)
    }

    async fn get(&self, range: Range<u64>) -> Result<GetResult, ParquetError> {
        let options = GetOptions::new()
            .with_range(Some(range))
            .with_if_match(self.etag.clone());
        let found = self.store.get_opts(&self.path, options).await;
        found.map_err(outside)
    }
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.count(&range);
        Box::pin(self.fetch(range))
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        ranges.iter().for_each(|range| self.count(range));
        Box::pin(async move {
            if self.etag.is_some() && !self.is_local {
                let fetch = |range| self.fetch(range);
                return coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await;
            }
            let read = self.store.get_ranges(&self.path, &ranges).await;
            let read = read.map_err(outside)?;
            if self.etag.is_some() {
                // Who has the tag now had it while it was read.
                let found = self.store.head(&self.path).await.map_err(outside)?;
                if found.e_tag != self.etag {
                    return Err(changed());
                }
            }
            Ok(read)
        })
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let footer = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        let bytes = self.bytes;
        Box::pin(async move {
            self.check_footer().await?;
            Ok(Arc::new(footer.load_and_finish(self, bytes).await?))
        })
    }
}

/// What a store says, as a failure to read Parquet; [`Error`] tells it apart again.
fn outside(err: object_store::Error) -> ParquetError {
    match err {
        object_store::Error::Precondition { .. } => changed(),
        err => ParquetError::External(Box::new(err)),
    }
}

fn changed() -> ParquetError {
    let text = "it has changed since it was opened; put it back, or import it anew";
    ParquetError::External(Box::new(Error::corrupt(text)))
}

/// Decodes a whole small Parquet file from memory.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if the bytes are no Parquet.
pub(crate) fn decode_small(bytes: Bytes) -> Result<RecordBatch> {
    if !footer::is_bounded(&bytes) {
        return Err(undecodable());
    }
    std::panic::catch_unwind(|| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let schema = Arc::clone(builder.schema());
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>();
        let batches = batches.map_err(|err| undecodable().with_source(err))?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    })
    .unwrap_or_else(|_panic| Err(undecodable()))
}
