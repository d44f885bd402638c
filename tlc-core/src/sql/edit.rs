//! Cells set by expression: `UPDATE`, as a patch against one snapshot.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::array::{Array as _, ArrayRef, BooleanArray, RecordBatch, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::{FieldRef, UInt64Type};
use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::patch::Patch;
use crate::schema::{column_index, fit};
use crate::table::{CommitOptions, Committed, Snapshot, Table};

use super::catalog::Catalog;
use super::{Sql, check};

impl Sql {
    /// Sets columns to expressions in the rows of the head that satisfy `predicate`, and commits.
    ///
    /// Every expression is evaluated against one snapshot, and may read any table of the project by
    /// its name. A label column takes the names of its classes as text. Cells that hold the value
    /// already are left out; if none is left, there is no new revision, and what is returned counts
    /// zero cells. Costs a scan of the columns named, and memory for the cells set.
    ///
    /// ```
    /// # use tlc_core::{Project, Sql, block_on};
    /// # block_on(async {
    /// # let project = Project::open("memory:///", "zoo").await?;
    /// # if let Ok(table) = project.table("train").await {
    /// let sql = Sql::open(project.root()).await?;
    /// sql.edit(&table, &[("label", "'dog'")], "_rowid IN (3, 8)", "these are dogs").await?;
    /// # }
    /// # Ok::<(), tlc_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column, which lists the
    /// columns; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an expression that is not
    /// one, or whose value does not fit its column; [`ErrorKind::Conflict`](crate::ErrorKind::Conflict)
    /// if another writer set the same cells in the meantime; those of reading and writing.
    pub async fn edit(
        &self,
        table: &Table,
        sets: &[(&str, &str)],
        predicate: &str,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Committed> {
        let options = options.into();
        let head = table.head().await?;
        let targets = self.targets(&head, sets)?;
        let predicate = check::expression(&self.state, predicate)
            .map_err(|err| err.context("the condition is not an expression"))?;
        let patch = self.patch(&head, &targets, &predicate).await?;
        table.commit(&patch, options).await
    }

    fn targets(&self, head: &Snapshot, sets: &[(&str, &str)]) -> Result<Vec<Target>> {
        if sets.is_empty() {
            return Err(Error::invalid(
                "nothing is set; name a column and an expression",
            ));
        }
        let mut targets: Vec<Target> = Vec::with_capacity(sets.len());
        for (column, expression) in sets {
            if *column == ROWID {
                return Err(Error::invalid(format!(
                    "{ROWID} is given once and cannot be set"
                )));
            }
            let field = Arc::clone(&head.schema().fields()[column_index(head.schema(), column)?]);
            if targets
                .iter()
                .any(|target| target.field.name() == field.name())
            {
                return Err(Error::invalid(format!("column {column:?} is set twice")));
            }
            let expression = check::expression(&self.state, expression).map_err(|err| {
                err.context(format!(
                    "what column {column:?} is set to is not an expression"
                ))
            })?;
            targets.push(Target { field, expression });
        }
        Ok(targets)
    }

    async fn patch(&self, head: &Snapshot, targets: &[Target], predicate: &str) -> Result<Patch> {
        let table = head.table();
        let name = format!("{}@{}", table.name(), head.revision());
        let values: Vec<String> = targets
            .iter()
            .enumerate()
            .map(|(at, target)| {
                format!(
                    ", \"{}\" AS old{at}, {} AS new{at}",
                    escaped(target.field.name()),
                    target.expression
                )
            })
            .collect();
        let query = format!(
            "SELECT \"{ROWID}\"{} FROM \"{}\".\"{name}\" AS \"{}\" WHERE {predicate}",
            values.concat(),
            table.project(),
            table.name(),
        );
        let session = self.clone().with_project(table.project().as_str())?;
        let catalog = Catalog::new(&self.root, session.project.clone()).pin(name, head);
        let mut rows = session.query_in(&query, catalog).await?;
        let mut patch = head.patch();
        while let Some(batch) = rows.try_next().await? {
            for (at, target) in targets.iter().enumerate() {
                target.add(&batch, at, &mut patch)?;
            }
        }
        Ok(patch)
    }
}

/// A column, and what it is set to.
struct Target {
    field: FieldRef,
    expression: String,
}

impl Target {
    /// Adds the cells of one batch of `_rowid, old0, new0, …` that get another value.
    fn add(&self, batch: &RecordBatch, at: usize, patch: &mut Patch) -> Result<()> {
        let name = self.field.name();
        let new = fit(batch.column(2 + 2 * at), &self.field)
            .map_err(|err| err.context(format!("cannot set column {name:?}")))?;
        let changed = changed(batch.column(1 + 2 * at), &new)?;
        if changed.true_count() == 0 {
            return Ok(());
        }
        let ids = filter(batch.column(0), &changed)?;
        let ids: &UInt64Array = ids.as_primitive::<UInt64Type>();
        patch.set_column(name, ids.values(), &filter(&new, &changed)?)
    }
}

/// Where two columns of one type hold different values. Nulls are the same, and so are NaNs.
fn changed(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanArray> {
    let order = make_comparator(old, new, SortOptions::default())?;
    Ok((0..old.len())
        .map(|row| Some(order(row, row).is_ne()))
        .collect())
}

fn escaped(name: &str) -> String {
    name.replace('"', "\"\"")
}
