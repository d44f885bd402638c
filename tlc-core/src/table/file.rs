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
use parquet::file::metadata::PageIndexPolicy;
use tokio::sync::OnceCell;

use super::snapshot::missing;
use crate::alias::Aliases;
use crate::blob::{self, FileReader};
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::{InPlace, RowsAdded};
use crate::schema;
use crate::store::{self, Place};

/// A file of rows and where it lies.
#[derive(Debug)]
pub(crate) struct DataFile {
    rows: RowsAdded,
    /// Where it lies; why that is not known, for a file in place.
    location: Result<Location>,
    opened: OnceCell<Opened>,
}

#[derive(Debug)]
struct Location {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// Whether it is a file of this disk that is not ours.
    is_local: bool,
    /// Its URL, where an alias led to it.
    by_alias: Option<String>,
}

/// The footer of a file, and which of its columns is which of the table's.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) metadata: ArrowReaderMetadata,
    /// Top-level column positions by column id.
    pub(crate) columns: BTreeMap<i32, usize>,
    /// The tag of a file left in place, as it was when the footer was read.
    etag: Option<String>,
}

impl Opened {
    /// The rows of each row group.
    pub(crate) fn group_rows(&self) -> impl Iterator<Item = u64> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The uncompressed bytes of all leaves of the top-level column at `position`.
    pub(crate) fn uncompressed(&self, position: usize) -> u64 {
        let metadata = self.metadata.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let leaves =
            (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == position);
        let bytes = leaves.flat_map(|leaf| {
            let groups = metadata.row_groups().iter();
            groups.filter_map(move |group| group.columns().get(leaf))
        });
        let bytes = bytes.map(|chunk| u64::try_from(chunk.uncompressed_size()).unwrap_or(0));
        bytes.fold(0, u64::saturating_add)
    }
}

impl DataFile {
    /// The file that `rows` names, below the table in `place` or wherever its URL says. A URL that
    /// leads nowhere is an error of [`Self::open`]: the rest of the table can still be read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the name leads out of the table.
    pub(crate) fn new(place: &Place, rows: &RowsAdded, aliases: &Aliases) -> Result<Self> {
        let location = match &rows.in_place {
            None => Ok(Location {
                store: Arc::clone(&place.store),
                path: below(place, &rows.file)?,
                is_local: false,
                by_alias: None,
            }),
            Some(_) => elsewhere(place, &rows.file, aliases),
        };
        Ok(Self {
            rows: rows.clone(),
            location,
            opened: OnceCell::new(),
        })
    }

    /// The footer, read by the first caller.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the file if it is no Parquet, has
    /// another number of rows, or was left in place and has changed since;
    /// [`ErrorKind::NotFound`] if it is gone, or lies below an alias that is not set;
    /// [`ErrorKind::Invalid`] if the URL's store cannot be opened.
    pub(crate) async fn open(&self) -> Result<&Opened> {
        self.opened.get_or_try_init(|| self.read_footer()).await
    }

    /// The footer if it was read before.
    #[cfg(feature = "sql")]
    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// Reads the file; one left in place, as long as it is what it was when it was opened.
    ///
    /// # Errors
    /// As [`Self::open`], if the file's URL leads nowhere.
    pub(crate) fn reader(&self) -> Result<FileReader> {
        let etag = self.opened.get().and_then(|opened| opened.etag.clone());
        self.reader_of(etag)
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

    fn location(&self) -> Result<&Location> {
        let again = |err: &Error| Error::new(err.kind(), format!("{err:#}"));
        self.location.as_ref().map_err(again)
    }

    async fn read_footer(&self) -> Result<Opened> {
        let etag = match &self.rows.in_place {
            Some(in_place) => self.check_tag(in_place).await?,
            None => None,
        };
        let mut reader = self.reader_of(etag.clone())?;
        if let Some(in_place) = &self.rows.in_place {
            self.check_footer(in_place, &mut reader).await?;
        }
        let opened = blob::open(&mut reader, PageIndexPolicy::Optional).await;
        let metadata = opened.map_err(|err| match (err.kind(), &self.rows.in_place) {
            (ErrorKind::NotFound, None) => missing(&self.rows.file).with_source(err),
            _ => err,
        })?;
        if let (Some(whole), None) = (reader.whole(), &self.rows.in_place) {
            blob::check_name(&self.rows.file, whole)?;
        }
        let n_rows = metadata.metadata().file_metadata().num_rows();
        if u64::try_from(n_rows) != Ok(self.rows.rows) {
            let (file, rows) = (&self.rows.file, self.rows.rows);
            return Err(Error::corrupt(format!(
                "{file} has {n_rows} rows, but the log says {rows}"
            )));
        }
        let columns = self.columns(&metadata);
        Ok(Opened {
            metadata,
            columns,
            etag,
        })
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

    /// Compares size and tag with those remembered, and gives the tag there is now.
    async fn check_tag(&self, in_place: &InPlace) -> Result<Option<String>> {
        let Location { store, path, .. } = self.location()?;
        let found = match store.head(path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Err(self.gone()),
            Err(err) => return Err(self.unreadable(err)),
        };
        // A tag is the store's own: it means something only where the file lay when it was remembered.
        let is_tagged = in_place.etag.is_some();
        if found.size != self.rows.bytes || (is_tagged && found.e_tag != in_place.etag) {
            return Err(self.changed());
        }
        Ok(found.e_tag)
    }

    /// Compares the footer with the one remembered, wherever the file lies.
    async fn check_footer(&self, in_place: &InPlace, reader: &mut FileReader) -> Result<()> {
        let Some(expected) = &in_place.footer else {
            return Ok(());
        };
        match reader.footer_hash().await {
            Ok(found) if found == *expected => Ok(()),
            Ok(_) => Err(self.changed()),
            Err(err) => Err(self.unreadable(err)),
        }
    }

    fn reader_of(&self, etag: Option<String>) -> Result<FileReader> {
        let location = self.location()?;
        let reader = blob::reader(&location.store, &location.path, self.rows.bytes);
        Ok(reader.only(etag, location.is_local))
    }

    fn gone(&self) -> Error {
        let file = &self.rows.file;
        Error::not_found(match self.by_alias() {
            None => format!(
                "{file}, which a table reads in place, is gone; put it back, or import it anew"
            ),
            Some(url) => format!(
                "{file}, which a table reads in place, is not at {url}; put it there, set the alias to where it is, or import it anew"
            ),
        })
    }

    fn changed(&self) -> Error {
        let file = &self.rows.file;
        let at = self.by_alias().map(|url| format!(" at {url}"));
        let at = at.unwrap_or_default();
        Error::corrupt(format!(
            "{file}{at}, which a table reads in place, has changed since; put it back, or import it anew"
        ))
    }

    /// Where an alias says that the file is.
    fn by_alias(&self) -> Option<&str> {
        self.location.as_ref().ok()?.by_alias.as_deref()
    }
}

/// Where a file in place lies for this reader.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the alias that is not set;
/// [`ErrorKind::Invalid`] if the URL's store cannot be opened.
fn elsewhere(place: &Place, file: &str, aliases: &Aliases) -> Result<Location> {
    let found = aliases.resolve(file).and_then(|url| {
        let url = store::parse_url(&url)?;
        let (store, path) = store::open(&url, &place.options)?;
        let is_local = url.scheme() == "file";
        let by_alias = file.starts_with('<').then(|| url.to_string());
        Ok(Location {
            store,
            path,
            is_local,
            by_alias,
        })
    });
    found.map_err(|err| err.context(format!("cannot read {file}, which a table reads in place")))
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
