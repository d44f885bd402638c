//! Statements that write: a query of one snapshot, a patch of its rows, one commit.
//!
//! The table is pinned to its head before anything is planned, and the patch is made against that
//! snapshot. So a statement sees one state of the table in all its parts, and whoever changes the
//! same cells before it is committed makes it a conflict. There are no transactions of several
//! statements: a statement is one.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, RecordBatchReader, UInt64Array,
    make_comparator, new_null_array,
};
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::{FieldRef, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use futures::TryStreamExt as _;
use roaring::RoaringTreemap;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ROWID, Revision};
use crate::patch::Patch;
use crate::runtime::block_on;
use crate::schema::{column_index, fit};
use crate::table::{CommitOptions, Committed, MAIN, Snapshot, Table};

use super::catalog::{Catalog, NO_PROJECT};
use super::runs::Records;
use super::statement::{Change, Name, Write};
use super::{Sql, SqlStream, check};

/// What a statement that writes did.
#[derive(Clone, Debug)]
pub struct Written {
    /// The revision it made; or the one that it found, with no rows, if nothing was to change.
    pub committed: Committed,
    /// The ids that the inserted rows got: empty for `UPDATE` and `DELETE`.
    pub row_ids: Range<u64>,
}

impl Sql {
    /// Runs one `UPDATE`, `DELETE` or `INSERT` of one table, and commits what it changes.
    ///
    /// All of it is evaluated against one snapshot of the table, the newest, and may read any other
    /// table. Only what changes is written:
    ///
    /// - `UPDATE t SET a = x, … [FROM …] [WHERE …]` sets cells. A cell that holds the value already is
    ///   left out. Joined with other tables, one row must get one value.
    /// - `DELETE FROM t [USING …] [WHERE …]` drops rows; without `WHERE`, all of them.
    /// - `INSERT INTO t [(a, …)] VALUES …` or `SELECT …` appends rows, in the order of an `ORDER BY` if
    ///   there is one. A column that is not named is null.
    ///
    /// The table may be named with its branch, `"t@main"`. A label column takes the names of its
    /// classes as text, and no value is rounded to fit. If nothing changes, there is no new revision,
    /// and what is returned counts no rows.
    ///
    /// Costs a scan of the columns that the statement names. An `UPDATE` holds the cells that it sets
    /// in memory, each with its row id; a `DELETE` the row ids; an `INSERT` writes its rows as they
    /// come, and holds none.
    ///
    /// ```
    /// # use tlc_core::{Project, Sql, block_on};
    /// # block_on(async {
    /// # let project = Project::open("memory:///", "zoo").await?;
    /// # if project.table("train").await.is_ok() {
    /// let sql = Sql::open(project.root()).await?;
    /// let written = sql
    ///     .execute("UPDATE zoo.train SET label = 'dog' WHERE _rowid IN (3, 8)", "these are dogs")
    ///     .await?;
    /// println!("{} rows, revision {}", written.committed.rows, written.committed.revision);
    /// # }
    /// # Ok::<(), tlc_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown table or column, saying which there are;
    /// [`ErrorKind::Invalid`] for wrong SQL, a statement that does not write, a target that cannot
    /// change, a value that does not fit its column, and a row that would get two values;
    /// [`ErrorKind::Conflict`] naming the cells that another writer changed in the meantime; those of
    /// reading and writing. After any error the table is as it was.
    pub async fn execute(
        &self,
        sql: &str,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Written> {
        let options = options.into();
        let write = self
            .parsed(sql, |state, sql| Write::read(check::parse_any(state, sql)?))
            .await?;
        let head = self.target(&write.target).await?;
        let branch = write.target.table.split_once('@');
        let options = options.branch(branch.map_or(MAIN, |(_, branch)| branch));
        self.write(&head, write, options).await
    }

    /// Whether a text is a statement for [`Self::execute`], rather than one for [`Self::query`].
    /// Makes no request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no single statement.
    pub async fn writes(&self, sql: &str) -> Result<bool> {
        self.parsed(sql, |state, sql| {
            Ok(check::writes(&check::parse_any(state, sql)?))
        })
        .await
    }

    /// Evaluates a statement against `head`, and commits.
    pub(super) async fn write(
        &self,
        head: &Snapshot,
        write: Write,
        options: CommitOptions,
    ) -> Result<Written> {
        let name = head.table().name().as_str();
        check_columns(head, &write.change)?;
        let mut catalog = Catalog::new(&self.root, self.project.clone(), &self.opened)
            .pin(write.target.table.clone(), head)
            .pin(format!("{name}@{}", options.to_branch()), head);
        if options.to_branch() == MAIN && Records::named(name).is_none() {
            catalog = catalog.pin(name.to_owned(), head);
        }
        let rows = self.query_in(write.rows, catalog).await?;
        let mut n_inserted = 0;
        let patch = match &write.change {
            Change::Update(columns) => updated(head, rows, columns).await?,
            Change::Delete => deleted(head, rows).await?,
            Change::Insert(columns) => {
                let mut patch = head.patch();
                let rows = NewRows::new(head, rows, columns.as_deref())?;
                n_inserted = head.table().stage(&mut patch, rows).await?;
                patch
            }
        };
        let committed = head.table().commit(&patch, options).await?;
        let end = committed.snapshot.next_row_id();
        Ok(Written {
            row_ids: end.saturating_sub(n_inserted)..end,
            committed,
        })
    }

    /// The newest snapshot of the table that a statement writes to.
    async fn target(&self, name: &Name) -> Result<Snapshot> {
        let own = self.project.as_ref().map(ToString::to_string);
        let project = name.project.clone().or(own);
        let project = project.as_deref().unwrap_or(NO_PROJECT);
        if let Some(records) = Records::named(&name.table) {
            return Err(Error::invalid(format!(
                "{} is what runs and tables tell of themselves, and cannot be written to",
                records.name()
            )));
        }
        let (table, branch) = name.table.split_once('@').unwrap_or((&name.table, MAIN));
        let opened = match self.root.project(project) {
            Ok(opened) => opened.table(table).await,
            Err(err) => Err(err),
        };
        match opened {
            Ok(opened) => head_of(&opened, branch).await,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                let catalog = Catalog::new(&self.root, self.project.clone(), &self.opened);
                Err(catalog.unknown(project, table).await?)
            }
            Err(err) => Err(err),
        }
    }
}

/// The head of a branch: only a branch can move on.
async fn head_of(table: &Table, branch: &str) -> Result<Snapshot> {
    let name = table.name();
    match branch.parse::<Revision>() {
        Ok(revision) => Err(Error::invalid(format!(
            "revision {revision} of table {name} cannot be changed; write to the table, or to a branch"
        ))),
        Err(_) => table.branch(branch).await,
    }
}

/// The columns that are written to are the table's, each once.
fn check_columns(head: &Snapshot, change: &Change) -> Result<()> {
    let columns: &[String] = match change {
        Change::Update(columns) if columns.is_empty() => {
            return Err(Error::invalid(
                "nothing is set; name a column and an expression",
            ));
        }
        Change::Update(columns) | Change::Insert(Some(columns)) => columns,
        Change::Delete | Change::Insert(None) => &[],
    };
    for (at, column) in columns.iter().enumerate() {
        if column == ROWID {
            return Err(Error::invalid(format!(
                "{ROWID} is given once, by the table, and cannot be set"
            )));
        }
        column_index(head.schema(), column)?;
        if columns[..at].contains(column) {
            return Err(Error::invalid(format!("column {column:?} is set twice")));
        }
    }
    Ok(())
}

/// The cells that get another value, from rows `_rowid, old0, new0, old1, new1, …`.
async fn updated(head: &Snapshot, mut rows: SqlStream, columns: &[String]) -> Result<Patch> {
    let schema = head.schema();
    let fields = columns
        .iter()
        .map(|column| Ok(Arc::clone(&schema.fields()[column_index(schema, column)?])))
        .collect::<Result<Vec<FieldRef>>>()?;
    let mut patch = head.patch();
    let mut seen = RoaringTreemap::new();
    while let Some(batch) = rows.try_next().await? {
        let ids = row_ids(&batch)?;
        if let Some(twice) = ids.values().iter().find(|id| !seen.insert(**id)) {
            return Err(Error::invalid(format!(
                "row {twice} of table {} would get two values; let each row be joined with one",
                head.table().name()
            )));
        }
        for (at, field) in fields.iter().enumerate() {
            let values = (batch.column(1 + 2 * at), batch.column(2 + 2 * at));
            set_changed(&mut patch, field, ids, values)?;
        }
    }
    Ok(patch)
}

/// Sets the cells of a column whose new value is another than the old.
fn set_changed(
    patch: &mut Patch,
    field: &FieldRef,
    ids: &UInt64Array,
    (old, new): (&ArrayRef, &ArrayRef),
) -> Result<()> {
    let new = fit(new, field)?;
    let changed = changed(old, &new)?;
    if changed.true_count() == 0 {
        return Ok(());
    }
    let ids = filter(ids, &changed)?;
    let ids: &UInt64Array = ids.as_primitive::<UInt64Type>();
    patch.set_column(field.name(), ids.values(), &filter(&new, &changed)?)
}

/// Where two columns of one type hold different values. Nulls are the same, and so are NaNs.
fn changed(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanArray> {
    let order = make_comparator(old, new, SortOptions::default())?;
    Ok((0..old.len())
        .map(|row| Some(order(row, row).is_ne()))
        .collect())
}

/// The rows to drop, from rows of `_rowid`.
async fn deleted(head: &Snapshot, mut rows: SqlStream) -> Result<Patch> {
    let mut patch = head.patch();
    while let Some(batch) = rows.try_next().await? {
        patch.drop_rows(row_ids(&batch)?.values());
    }
    Ok(patch)
}

fn row_ids(batch: &RecordBatch) -> Result<&UInt64Array> {
    let ids = batch.column(0).as_primitive_opt::<UInt64Type>();
    ids.filter(|ids| ids.null_count() == 0)
        .ok_or_else(|| Error::invalid("a row of the statement has no row id"))
}

/// The rows of a query as rows of a table, read from a thread that may wait.
struct NewRows {
    rows: SqlStream,
    schema: SchemaRef,
    /// For each column of the table its position in the query; `None` if it is left out.
    positions: Vec<Option<usize>>,
}

impl NewRows {
    fn new(head: &Snapshot, rows: SqlStream, columns: Option<&[String]>) -> Result<Self> {
        let schema = Arc::clone(head.schema());
        let names = schema.fields().iter().map(|field| field.name());
        let positions: Vec<_> = match columns {
            None => names.enumerate().map(|(at, _)| Some(at)).collect(),
            Some(columns) => names
                .map(|name| columns.iter().position(|column| column == name))
                .collect(),
        };
        let (wanted, given) = (
            positions.iter().flatten().count(),
            rows.schema().fields().len(),
        );
        if wanted != given {
            let extra = match rows.schema().field_with_name(ROWID) {
                Ok(_) => format!("; leave {ROWID} out, as in SELECT * EXCEPT ({ROWID})"),
                Err(_) => String::new(),
            };
            return Err(Error::invalid(format!(
                "the rows to insert have {given} columns in place of {wanted}{extra}"
            )));
        }
        Ok(Self {
            rows,
            schema,
            positions,
        })
    }

    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let fields = self.schema.fields().iter();
        let columns = fields.zip(&self.positions).map(|(field, position)| {
            match position.and_then(|at| batch.columns().get(at)) {
                Some(values) => fit(values, field),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

impl Iterator for NewRows {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = block_on(self.rows.try_next()).transpose()?;
        let batch = batch.and_then(|batch| self.conform(&batch));
        Some(batch.map_err(|err| ArrowError::ExternalError(Box::new(err))))
    }
}

impl RecordBatchReader for NewRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
