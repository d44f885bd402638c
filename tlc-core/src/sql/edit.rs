//! Cells set by expression: an `UPDATE` of one snapshot, for callers that have no statement.

use datafusion::sql::sqlparser::ast::Expr;

use crate::error::Result;
use crate::table::{CommitOptions, Committed, Table};

use super::statement::Write;
use super::{Sql, check};

impl Sql {
    /// Sets columns to expressions in the rows of a branch's head that satisfy `predicate`, and commits
    /// to that branch.
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
        let head = table.branch(options.to_branch()).await?;
        let session = self.clone().with_project(table.project().as_str())?;
        let sets = session.assignments(sets)?;
        let predicate = check::expression(&self.state, predicate)
            .map_err(|err| err.context("the condition is not an expression"))?;
        let name = format!("{}@{}", table.name(), options.to_branch());
        let name = [table.project().as_str(), &name];
        let write = Write::update(&name, table.name().as_str(), sets, predicate)?;
        check::check_tables(&write.rows)?;
        let written = session.write(&head, write, options).await?;
        Ok(written.committed)
    }

    fn assignments(&self, sets: &[(&str, &str)]) -> Result<Vec<(String, Expr)>> {
        let assignment = |(column, expression): &(&str, &str)| {
            let expression = check::expression(&self.state, expression).map_err(|err| {
                err.context(format!(
                    "what column {column:?} is set to is not an expression"
                ))
            })?;
            Ok(((*column).to_owned(), expression))
        };
        sets.iter().map(assignment).collect()
    }
}
