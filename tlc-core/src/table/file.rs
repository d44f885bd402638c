//! One Parquet file of rows, ours or left in place: opened once, its footer kept.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use tokio::sync::OnceCell;

use super::snapshot::missing;
use crate::blob::{self, FileReader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::RowsAdded;
use crate::schema;
use crate::store::{self, Place};

/// A file of rows and where it lies.
#[derive(Debug)]
pub(crate) struct DataFile {
    rows: RowsAdded,
    store: Arc<dyn ObjectStore>,
    path: Path,
    opened: OnceCell<Opened>,
}

/// The footer of a file, and which of its columns is which of the table's.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) metadata: ArrowReaderMetadata,
    /// Top-level column positions by column id.
    pub(crate) columns: BTreeMap<i32, usize>,
}

impl DataFile {
    /// The file that `rows` names, below the table in `place` or wherever its URL says.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the name leads out of the table;
    /// [`ErrorKind::Invalid`] if the URL's store cannot be opened.
    pub(crate) fn new(place: &Place, rows: &RowsAdded) -> Result<Self> {
        let (store, path) = match &rows.in_place {
            None => (Arc::clone(&place.store), below(place, &rows.file)?),
            Some(_) => store::open(&store::parse_url(&rows.file)?, &place.options)?,
        };
        Ok(Self {
            rows: rows.clone(),
            store,
            path,
            opened: OnceCell::new(),
        })
    }

    /// The footer, read by the first caller.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the file if it is no Parquet, has
    /// another number of rows, or was left in place and has changed since;
    /// [`ErrorKind::NotFound`] if it is gone.
    pub(crate) async fn open(&self) -> Result<&Opened> {
        self.opened.get_or_try_init(|| self.read_footer()).await
    }

    pub(crate) fn reader(&self) -> FileReader {
        blob::reader(&self.store, &self.path, self.rows.bytes)
    }

    pub(crate) fn rows(&self) -> &RowsAdded {
        &self.rows
    }

    /// Decodes row groups of the file as a stream of batches. Whatever its bytes are, a failure
    /// arrives as an item of the stream that names the file.
    pub(crate) fn decode(
        self: &Arc<Self>,
        builder: ParquetRecordBatchStreamBuilder<FileReader>,
    ) -> Result<(SchemaRef, BoxStream<'static, Result<RecordBatch>>)> {
        let batches = builder.build().map_err(|err| self.unreadable(err))?;
        let schema = Arc::clone(batches.schema());
        let file = Arc::clone(self);
        let batches = AssertUnwindSafe(batches)
            .catch_unwind()
            .map(move |batch| match batch {
                Ok(batch) => batch.map_err(|err| file.unreadable(err)),
                Err(_panic) => Err(file.unreadable(blob::undecodable())),
            });
        Ok((schema, batches.boxed()))
    }

    /// `err`, naming the file.
    fn unreadable(&self, err: impl Into<Error>) -> Error {
        err.into()
            .context(format!("cannot read {}", self.rows.file))
    }

    async fn read_footer(&self) -> Result<Opened> {
        if let Some(in_place) = &self.rows.in_place {
            self.check_unchanged(in_place.etag.as_deref()).await?;
        }
        let opened = blob::open(&self.store, &self.path, self.rows.bytes).await;
        let metadata = opened.map_err(|err| match (err.kind(), &self.rows.in_place) {
            (ErrorKind::NotFound, None) => missing(&self.rows.file).with_source(err),
            _ => err,
        })?;
        let n_rows = metadata.metadata().file_metadata().num_rows();
        if u64::try_from(n_rows) != Ok(self.rows.rows) {
            let (file, rows) = (&self.rows.file, self.rows.rows);
            return Err(Error::corrupt(format!(
                "{file} has {n_rows} rows, but the log says {rows}"
            )));
        }
        let columns = self.columns(&metadata);
        Ok(Opened { metadata, columns })
    }

    fn columns(&self, metadata: &ArrowReaderMetadata) -> BTreeMap<i32, usize> {
        let fields = metadata.schema().fields();
        match &self.rows.in_place {
            None => fields
                .iter()
                .enumerate()
                .filter_map(|(at, field)| Some((schema::field_id(field)?, at)))
                .collect(),
            Some(in_place) => {
                let position = |name: &String| fields.iter().position(|field| field.name() == name);
                in_place
                    .columns
                    .iter()
                    .filter_map(|(id, name)| Some((*id, position(name)?)))
                    .collect()
            }
        }
    }

    async fn check_unchanged(&self, etag: Option<&str>) -> Result<()> {
        let file = &self.rows.file;
        let found = match self.store.head(&self.path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::not_found(format!(
                    "{file}, which a table reads in place, is gone; put it back, or import it anew"
                )));
            }
            Err(err) => return Err(self.unreadable(err)),
        };
        if found.size != self.rows.bytes || (etag.is_some() && found.e_tag.as_deref() != etag) {
            return Err(Error::corrupt(format!(
                "{file}, which a table reads in place, has changed since; put it back, or import it anew"
            )));
        }
        Ok(())
    }
}

/// `name` below the folder of a table: `folder/file`, nothing that climbs.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is something else.
pub(crate) fn below(place: &Place, name: &str) -> Result<Path> {
    let wrong = || {
        Error::corrupt(format!(
            "the log names a file {name:?}, which cannot be one of the table"
        ))
    };
    match name.split_once('/') {
        Some((folder @ ("data" | "edits" | "deletes" | "checkpoints"), file))
            if !file.is_empty()
                && file.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
                && !file.starts_with('.') =>
        {
            Ok(place.path.clone().join(folder).join(file))
        }
        _ => Err(wrong()),
    }
}
