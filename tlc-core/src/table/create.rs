//! Making a table: revision 0 from rows that stream in, or from Parquet files that stay in place.

use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;

use super::commit::CommitOptions;
use super::write::new_entry;
use super::{MAIN, Table, in_place};
use crate::blob::{self, Encoded, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::table::{Entry, RowsAdded};
use crate::id::Revision;
use crate::log::Append;
use crate::runtime::run_blocking;
use crate::schema;
use crate::store::Place;

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
        let (schema, files) = in_place::register(self.place(), urls).await?;
        self.publish_first(&schema, files, options).await
    }

    async fn check_absent(&self) -> Result<()> {
        self.inner.log.check_store().await?;
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
    rows: Rows,
    schema: &SchemaRef,
    first_row_id: u64,
) -> Result<Vec<RowsAdded>> {
    let mut rows = rows.shortened(place.aliases().await?);
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
