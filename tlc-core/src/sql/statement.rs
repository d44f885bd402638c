//! Statements that write, each as what it changes and the query whose rows say how.
//!
//! ```text
//! UPDATE t SET a = x WHERE c   →  SELECT t._rowid, t.a, x FROM t WHERE c
//! DELETE FROM t WHERE c        →  SELECT t._rowid FROM t WHERE c
//! INSERT INTO t (a) SELECT …   →  SELECT …
//! ```
//!
//! So the engine evaluates what is a query, and never knows that something is written. Here are only
//! syntax trees and no table: what a name or a column leads to is for [`write`](super::write) to say.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Distinct, Expr, FromTable, Ident, Insert, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement as Ast, TableAlias, TableFactor,
    TableObject, TableWithJoins, Update, UpdateTableFromKind,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{Error, Result};
use crate::id::ROWID;

use super::catalog::CATALOG;

const NOT_A_WRITE: &str =
    "this is no UPDATE, DELETE or INSERT; run what asks for rows with `Sql::query`";
const NO_MERGE: &str = "MERGE is not known; write an UPDATE … FROM and an INSERT … SELECT";
const NO_TRUNCATE: &str = "TRUNCATE is not known; write DELETE FROM the table";
const NO_DEFAULT: &str =
    "DEFAULT is not known: a column has no default value; write NULL, or leave the column out";

/// A statement that writes.
pub(super) struct Write {
    pub(super) target: Name,
    pub(super) change: Change,
    pub(super) rows: Statement,
}

/// The table that is written to, as the statement names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) project: Option<String>,
    pub(super) table: String,
}

/// What becomes of the rows of a statement's query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// They are `_rowid`, then for each of these columns its value before and after.
    Update(Vec<String>),
    /// They are the `_rowid` of the rows to drop, which may come more than once.
    Delete,
    /// They are new rows: of these columns in this order, else of all.
    Insert(Option<Vec<String>>),
}

impl Write {
    /// Reads a statement.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for one that does not write, and naming the
    /// clause for one that has what is not known here.
    pub(super) fn read(statement: Statement) -> Result<Self> {
        let Statement::Statement(ast) = statement else {
            return Err(Error::invalid(NOT_A_WRITE));
        };
        match *ast {
            Ast::Update(update) => Self::read_update(update),
            Ast::Delete(delete) => Self::read_delete(delete),
            Ast::Insert(insert) => Self::read_insert(insert),
            Ast::Merge(_) => Err(Error::invalid(NO_MERGE)),
            Ast::Truncate(_) => Err(Error::invalid(NO_TRUNCATE)),
            _ => Err(Error::invalid(NOT_A_WRITE)),
        }
    }

    /// An update of the table `name`, known in its expressions as `alias`.
    pub(super) fn update(
        name: &[&str],
        alias: &str,
        sets: Vec<(String, Expr)>,
        predicate: Expr,
    ) -> Result<Self> {
        let quoted = |name: &&str| Ident::with_quote('"', *name);
        let name: Vec<Ident> = name.iter().map(quoted).collect();
        let alias = TableAlias {
            explicit: true,
            name: quoted(&alias),
            columns: Vec::new(),
            at: None,
        };
        let target = Target::of(plain(ObjectName::from(name), Some(alias)))?;
        target.update(sets, Vec::new(), Some(predicate))
    }

    fn read_update(update: Update) -> Result<Self> {
        known_only(&[
            (!update.optimizer_hints.is_empty(), "a hint"),
            (update.or.is_some(), "OR"),
            (update.returning.is_some(), "RETURNING"),
            (update.output.is_some(), "OUTPUT"),
            (!update.order_by.is_empty(), "ORDER BY"),
            (update.limit.is_some(), "LIMIT"),
        ])?;
        if !update.table.joins.is_empty() {
            return Err(Error::invalid(
                "one table is updated; name those that it is joined with after FROM",
            ));
        }
        let target = Target::of(update.table.relation)?;
        let sets = update.assignments.into_iter().map(assigned);
        let from = match update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
                from
            }
        };
        target.update(sets.collect::<Result<_>>()?, from, update.selection)
    }

    fn read_delete(delete: Delete) -> Result<Self> {
        known_only(&[
            (!delete.optimizer_hints.is_empty(), "a hint"),
            (!delete.tables.is_empty(), "a list of tables"),
            (delete.returning.is_some(), "RETURNING"),
            (delete.output.is_some(), "OUTPUT"),
            (!delete.order_by.is_empty(), "ORDER BY"),
            (delete.limit.is_some(), "LIMIT"),
        ])?;
        let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) =
            delete.from;
        let (Some(table), true) = (from.pop(), from.is_empty()) else {
            return Err(Error::invalid("rows are deleted from one table at a time"));
        };
        if !table.joins.is_empty() {
            return Err(Error::invalid(
                "rows are deleted from one table; name those that it is joined with after USING",
            ));
        }
        let target = Target::of(table.relation)?;
        let ids = vec![target.item(ROWID, ROWID)];
        let tables = target.joined(delete.using.unwrap_or_default());
        Ok(Self {
            rows: select(ids, tables, delete.selection, false)?,
            change: Change::Delete,
            target: target.name,
        })
    }

    fn read_insert(insert: Insert) -> Result<Self> {
        known_only(&[
            (!insert.optimizer_hints.is_empty(), "a hint"),
            (insert.or.is_some(), "OR"),
            (insert.ignore, "IGNORE"),
            (insert.overwrite, "OVERWRITE"),
            (insert.replace_into, "REPLACE"),
            (insert.priority.is_some(), "a priority"),
            (insert.partitioned.is_some(), "PARTITION"),
            (!insert.after_columns.is_empty(), "PARTITION"),
            (!insert.assignments.is_empty(), "SET"),
            (insert.on.is_some(), "ON CONFLICT"),
            (insert.returning.is_some(), "RETURNING"),
            (insert.output.is_some(), "OUTPUT"),
            (insert.insert_alias.is_some(), "an alias of its rows"),
            (insert.settings.is_some(), "SETTINGS"),
            (insert.format_clause.is_some(), "FORMAT"),
            (
                insert.multi_table_insert_type.is_some(),
                "more than one INTO",
            ),
        ])?;
        let TableObject::TableName(name) = insert.table else {
            return Err(Error::invalid("rows are inserted into a table by its name"));
        };
        let source = insert
            .source
            .ok_or_else(|| Error::invalid("there is nothing to insert; write VALUES or SELECT"))?;
        refuse_default(&source)?;
        let columns = insert
            .columns
            .iter()
            .map(column)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            target: Name::read(&name)?,
            change: Change::Insert((!columns.is_empty()).then_some(columns)),
            rows: Statement::Statement(Box::new(Ast::Query(source))),
        })
    }
}

impl Name {
    /// `table`, `project.table`, with or without the catalog before it.
    fn read(name: &ObjectName) -> Result<Self> {
        let parts = name.0.iter().map(part).collect::<Result<Vec<_>>>()?;
        let mut parts: Vec<String> = parts.into_iter().map(normal).collect();
        if parts.len() == 3 && parts.first().is_some_and(|first| first == CATALOG) {
            parts.remove(0);
        }
        let table = parts.pop();
        let (Some(table), project, true) = (table, parts.pop(), parts.is_empty()) else {
            return Err(Error::invalid(format!(
                "{name} is no name of a table; write PROJECT.TABLE"
            )));
        };
        Ok(Self { project, table })
    }
}

/// The table whose rows a query selects by id.
struct Target {
    name: Name,
    factor: TableFactor,
    /// What stands before its columns.
    qualifier: Vec<Ident>,
}

impl Target {
    fn of(factor: TableFactor) -> Result<Self> {
        let TableFactor::Table { name, alias, .. } = &factor else {
            return Err(Error::invalid("only the rows of a table can be changed"));
        };
        let renames = alias
            .as_ref()
            .is_some_and(|alias| !alias.columns.is_empty());
        if renames || factor != plain(name.clone(), alias.clone()) {
            return Err(Error::invalid(format!(
                "the table to change is given by its name alone, with an alias if need be, and not as {factor}"
            )));
        }
        let qualifier = match alias {
            Some(alias) => vec![alias.name.clone()],
            None => name
                .0
                .iter()
                .map(|name| part(name).cloned())
                .collect::<Result<_>>()?,
        };
        Ok(Self {
            name: Name::read(name)?,
            qualifier,
            factor,
        })
    }

    /// Joined with other tables, a row may come often: equal rows then count as one.
    fn update(
        self,
        sets: Vec<(String, Expr)>,
        from: Vec<TableWithJoins>,
        selection: Option<Expr>,
    ) -> Result<Write> {
        let is_joined = !from.is_empty();
        let mut items = vec![self.item(ROWID, ROWID)];
        let mut columns = Vec::with_capacity(sets.len());
        for (at, (column, value)) in sets.into_iter().enumerate() {
            items.push(self.item(&column, &format!("old{at}")));
            items.push(SelectItem::ExprWithAlias {
                expr: value,
                alias: Ident::with_quote('"', format!("new{at}")),
            });
            columns.push(column);
        }
        Ok(Write {
            rows: select(items, self.joined(from), selection, is_joined)?,
            change: Change::Update(columns),
            target: self.name,
        })
    }

    /// One of its columns, under another name.
    fn item(&self, column: &str, alias: &str) -> SelectItem {
        let mut parts = self.qualifier.clone();
        parts.push(Ident::with_quote('"', column));
        SelectItem::ExprWithAlias {
            expr: Expr::CompoundIdentifier(parts),
            alias: Ident::with_quote('"', alias),
        }
    }

    fn joined(&self, others: Vec<TableWithJoins>) -> Vec<TableWithJoins> {
        let own = TableWithJoins {
            relation: self.factor.clone(),
            joins: Vec::new(),
        };
        std::iter::once(own).chain(others).collect()
    }
}

/// A table by its name and nothing else.
fn plain(name: ObjectName, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name,
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// `SELECT items FROM tables WHERE selection`, made from the shortest query there is.
fn select(
    items: Vec<SelectItem>,
    tables: Vec<TableWithJoins>,
    selection: Option<Expr>,
    is_distinct: bool,
) -> Result<Statement> {
    let mut query = Parser::new(&GenericDialect {})
        .try_with_sql("SELECT 1")
        .and_then(|mut parser| parser.parse_query())
        .map_err(datafusion::common::DataFusionError::from)?;
    if let SetExpr::Select(select) = &mut *query.body {
        let select: &mut Select = select;
        select.projection = items;
        select.from = tables;
        select.selection = selection;
        select.distinct = is_distinct.then_some(Distinct::Distinct);
    }
    Ok(Statement::Statement(Box::new(Ast::Query(query))))
}

fn assigned(assignment: Assignment) -> Result<(String, Expr)> {
    let AssignmentTarget::ColumnName(name) = &assignment.target else {
        return Err(Error::invalid(
            "columns are set one by one: SET a = …, b = …",
        ));
    };
    if is_default(&assignment.value) {
        return Err(Error::invalid(NO_DEFAULT));
    }
    Ok((column(name)?, assignment.value))
}

/// A column to write to, which stands without its table.
fn column(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [one] => Ok(normal(part(one)?)),
        _ => Err(Error::invalid(format!(
            "{name} is no column of the table; write the column alone"
        ))),
    }
}

fn part(part: &ObjectNamePart) -> Result<&Ident> {
    part.as_ident()
        .ok_or_else(|| Error::invalid(format!("{part} is no name")))
}

/// A name as the engine understands it: in small letters, unless it is quoted.
fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(Ident { quote_style: None, value, .. }) if value.eq_ignore_ascii_case("default"))
}

fn refuse_default(source: &Query) -> Result<()> {
    let SetExpr::Values(values) = &*source.body else {
        return Ok(());
    };
    match values
        .rows
        .iter()
        .any(|row| row.content.iter().any(is_default))
    {
        true => Err(Error::invalid(NO_DEFAULT)),
        false => Ok(()),
    }
}

/// Refuses a statement with a clause that would be passed over.
fn known_only(clauses: &[(bool, &str)]) -> Result<()> {
    match clauses.iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => Err(Error::invalid(format!(
            "a statement that writes cannot have {clause} here"
        ))),
        None => Ok(()),
    }
}
