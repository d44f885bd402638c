//! Making a table: revision 0 from rows that stream in, or from Parquet files that stay in place.

use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use object_store::ObjectStoreExt as _;

use super::commit::CommitOptions;
use super::write::new_entry;
use super::{MAIN, Table};
use crate::blob::{self, Encoded, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::table::{Entry, InPlace, RowsAdded};
use crate::id::Revision;
use crate::log::Append;
use crate::runtime::run_blocking;
use crate::store::{self, Place};
use crate::{schema, schema::field_id};

impl Table {
    /// Writes `rows` and makes revision 0 of them.
    ///
    /// Files are written as they fill, so memory stays bounded whatever the rows. Until the last
    /// request nothing is visible; a creation that was cut off leaves files that no revision names.
    pub(crate) async fn create(
        &self,
        rows: Box<dyn RecordBatchReader + Send>,
        options: CommitOptions,
    ) -> Result<()> {
        self.check_absent().await?;
        let rows = Rows::new(rows);
        let schema = schema::for_table(&rows.schema())?;
        let files = write_rows(self.place(), rows, &schema, 0).await?;
        self.publish_first(&schema, files, options).await
    }

    /// Makes revision 0 of Parquet files that stay where they are. Reads their footers only.
    pub(crate) async fn create_in_place(
        &self,
        urls: &[&str],
        options: CommitOptions,
    ) -> Result<()> {
        self.check_absent().await?;
        let mut files: Vec<RowsAdded> = Vec::new();
        let mut schema: Option<SchemaRef> = None;
        for url in urls {
            let first_row_id = files.last().map_or(0, |last| last.first_row_id + last.rows);
            let (own, file) = register(self.place(), url, schema.as_ref(), first_row_id).await?;
            schema = Some(own);
            files.push(file);
        }
        let schema = schema
            .ok_or_else(|| Error::invalid("a table in place needs at least one Parquet file"))?;
        self.publish_first(&schema, files, options).await
    }

    async fn check_absent(&self) -> Result<()> {
        match self.inner.log.read(Revision::FIRST).await? {
            None => Ok(()),
            Some(_) => Err(self.exists()),
        }
    }

    async fn publish_first(
        &self,
        schema: &SchemaRef,
        files: Vec<RowsAdded>,
        options: CommitOptions,
    ) -> Result<()> {
        let entry = Entry {
            branch: MAIN.to_owned(),
            next_row_id: files.last().map_or(0, |last| last.first_row_id + last.rows),
            next_column_id: i32::try_from(schema.fields().len() + 1).ok(),
            schema: Some(format::encode_schema(schema)?),
            rows_added: files,
            ..new_entry(&self.place().env, &options)
        };
        match self
            .inner
            .log
            .append(Revision::FIRST, format::encode(&entry)?)
            .await?
        {
            Append::Written => Ok(()),
            Append::Taken => Err(self.exists()),
        }
    }

    fn exists(&self) -> Error {
        let message = format!(
            "project {} has a table {} already",
            self.project(),
            self.name()
        );
        Error::new(ErrorKind::Conflict, message)
    }
}

/// Writes rows as data files; the first row gets the id `first_row_id`.
pub(crate) async fn write_rows(
    place: &Place,
    mut rows: Rows,
    schema: &SchemaRef,
    first_row_id: u64,
) -> Result<Vec<RowsAdded>> {
    let folder = place.path.clone().join("data");
    let mut files = Vec::new();
    let mut next = first_row_id;
    loop {
        let own_schema = Arc::clone(schema);
        let encode =
            move || blob::encode_next(&mut rows, &own_schema).map(|encoded| (rows, encoded));
        let (rest, encoded) = run_blocking(encode).await?;
        rows = rest;
        let Some(Encoded {
            bytes,
            rows: n_rows,
        }) = encoded
        else {
            return Ok(files);
        };
        let size = bytes.len() as u64;
        let name = blob::put(place, &folder, "parquet", bytes).await?;
        files.push(RowsAdded {
            file: format!("data/{name}"),
            first_row_id: next,
            rows: n_rows,
            bytes: size,
            in_place: None,
        });
        next += n_rows;
    }
}

/// Reads the footer of a Parquet file that stays where it is.
async fn register(
    place: &Place,
    url: &str,
    known: Option<&SchemaRef>,
    first_row_id: u64,
) -> Result<(SchemaRef, RowsAdded)> {
    let url = store::parse_url(url)?;
    let shown = store::redacted(&url);
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(format!(
            "{shown} is given with credentials or a query, which would be kept in the table's log; give them as options of the root"
        )));
    }
    let (source, path) = store::open(&url, &place.options)?;
    let found = match source.head(&path).await {
        Ok(found) => found,
        Err(err) => return Err(Error::from(err).context(format!("cannot read {shown}"))),
    };
    let metadata = blob::open(&source, &path, found.size)
        .await
        .map_err(|err| err.context(format!("cannot read {shown}")))?;
    let own = schema::for_table(metadata.schema())?;
    let schema = match known {
        None => own,
        Some(known) if same_columns(known, &own) => Arc::clone(known),
        Some(_) => {
            return Err(Error::invalid(format!(
                "{shown} has other columns than the files before it"
            )));
        }
    };
    let columns = schema
        .fields()
        .iter()
        .filter_map(|field| Some((field_id(field)?, field.name().clone())));
    let file = RowsAdded {
        file: url.to_string(),
        first_row_id,
        rows: u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0),
        bytes: found.size,
        in_place: Some(InPlace {
            etag: found.e_tag,
            columns: columns.collect(),
        }),
    };
    Ok((schema, file))
}

fn same_columns(a: &SchemaRef, b: &SchemaRef) -> bool {
    let columns = |schema: &SchemaRef| -> Vec<_> {
        schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    columns(a) == columns(b)
}
