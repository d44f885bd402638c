//! Rows written before they are committed: how more is appended than memory holds.
//!
//! A data file is named by its content and means nothing until a revision names it. So the files of
//! many rows are written while the rows come, the patch keeps their names, and the commit is one
//! entry as always. A patch that is never committed leaves files that nobody sees.

use arrow::array::RecordBatchReader;
use object_store::ObjectStoreExt as _;

use super::create::write_rows;
use super::{Snapshot, Table};
use crate::blob::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::format::table::RowsAdded;
use crate::patch::{Patch, StagedFile};
use crate::store::Place;

impl Table {
    /// Writes rows now, for `patch` to append when it is committed; returns how many there are.
    ///
    /// Use it in place of [`Patch::append`] where the rows may be many. Files are written as they
    /// fill, to about 64 MiB each, so memory does not grow with the rows. Nothing is visible before
    /// [`Self::commit`], which asks the store once for each of the files. Rows that are staged come
    /// before rows that are appended, in the order of the calls. After an error the patch is as it was.
    ///
    /// ```
    /// # use tlc_core::{Project, block_on, schema};
    /// # use tlc_core::arrow::array::{Float32Array, RecordBatch, RecordBatchIterator};
    /// # use tlc_core::arrow::datatypes::Schema;
    /// # use std::sync::Arc;
    /// # block_on(async {
    /// # let project = Project::open("memory:///", "zoo").await?;
    /// # let fields = Arc::new(Schema::new(vec![schema::weight("weight")]));
    /// # let rows = RecordBatch::try_new(Arc::clone(&fields), vec![Arc::new(Float32Array::from(vec![0.5; 3]))])?;
    /// # let reader = || RecordBatchIterator::new([Ok(rows.clone())], Arc::clone(&fields));
    /// let table = project.create_table("train", reader(), "three rows").await?;
    /// let mut patch = table.head().await?.patch();
    /// table.stage(&mut patch, reader()).await?;
    /// let committed = table.commit(&patch, "three more").await?;
    /// assert_eq!(committed.rows, 3);
    /// # Ok::<(), tlc_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the column that is missing, unknown or does not fit; those of
    /// the reader and of the store.
    pub async fn stage(
        &self,
        patch: &mut Patch,
        rows: impl RecordBatchReader + Send + 'static,
    ) -> Result<u64> {
        let rows = Rows::new(Box::new(rows));
        let files = write_rows(self.place(), rows, patch.base_schema(), 0).await?;
        let n_rows = files.iter().map(|file| file.rows).sum();
        patch.append_staged(files.into_iter().map(|file| StagedFile {
            file: file.file,
            rows: file.rows,
            bytes: file.bytes,
        }));
        Ok(n_rows)
    }
}

impl Snapshot {
    /// The id that the next row to be appended gets.
    #[cfg(feature = "sql")]
    pub(crate) fn next_row_id(&self) -> u64 {
        self.resolved().state.next_row_id
    }
}

/// The patch's staged files, then `appended`, as one sequence of rows whose ids count from 0.
pub(super) async fn with_staged(
    place: &Place,
    patch: &Patch,
    appended: Vec<RowsAdded>,
) -> Result<Vec<RowsAdded>> {
    let mut rows = Vec::with_capacity(patch.staged().len() + appended.len());
    let mut next = 0;
    for staged in patch.staged() {
        check_there(place, staged).await?;
        rows.push(RowsAdded {
            file: staged.file.clone(),
            first_row_id: next,
            rows: staged.rows,
            bytes: staged.bytes,
            in_place: None,
        });
        next += staged.rows;
    }
    rows.extend(appended.into_iter().map(|file| RowsAdded {
        first_row_id: file.first_row_id + next,
        ..file
    }));
    Ok(rows)
}

/// A patch may be committed to another table than its rows were staged in, or long after: no revision
/// may name a file that is not there.
async fn check_there(place: &Place, staged: &StagedFile) -> Result<()> {
    let path = staged
        .file
        .split('/')
        .fold(place.path.clone(), |path, part| path.join(part));
    let found = match place.store.head(&path).await {
        Ok(found) => found.size == staged.bytes,
        Err(object_store::Error::NotFound { .. }) => false,
        Err(err) => return Err(Error::from(err).context(format!("cannot find {path}"))),
    };
    if found {
        return Ok(());
    }
    let message = format!(
        "the rows staged as {path} are not there; stage them again, in the table that is to get them"
    );
    Err(Error::new(ErrorKind::Invalid, message))
}
