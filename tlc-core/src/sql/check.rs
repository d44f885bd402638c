//! What a session refuses before it plans anything: text built to hurt, and what it is not asked for.
//!
//! A query that writes is refused by its kind, and once more by its plan. A statement that is meant to
//! write goes through the same bounds; what it may be is for [`statement`](super::statement) to say.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SQLOptions;
use datafusion::sql::parser::{ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, SetExpr, Statement as Ast, TableFactor, Visit as _, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::error::{Error, Result};

use super::files::root_url;

/// The longest query, in bytes.
const SQL_BYTES_MAX: usize = 1 << 20;

/// The most operators in one query. Each may nest the expression a level deeper, and the engine
/// walks and frees expressions recursively: a few times as many end a thread with a stack of 2 MiB.
const OPERATORS_MAX: usize = 500;

/// The most tables in one query, for the same reason.
const TABLES_MAX: usize = 100;

const HOW_TO_WRITE: &str =
    "queries only read; run a statement that writes with `Sql::execute`, which commits a revision";
const NO_EXPLAIN: &str = "EXPLAIN is for queries; explain a SELECT with the same condition instead";
const NO_WITH: &str = "WITH cannot stand before a statement that writes; put its query into FROM, USING, IN (…) or after INSERT INTO";
const HOW_TO_MAKE: &str =
    "queries only read; make tables with `tlc import` or `Project::create_table`";
const NO_SETTINGS: &str =
    "settings cannot be changed in SQL; they are given when the session is opened";
const ONLY_READ: &str = "only queries, EXPLAIN, SHOW and DESCRIBE can be run";

/// Reads one statement that asks for rows and changes nothing.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    let statement = parse_any(state, sql)?;
    check_statement(&statement)?;
    Ok(statement)
}

/// Reads one statement of bounded size, whatever it does.
pub(super) fn parse_any(state: &SessionState, sql: &str) -> Result<Statement> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the query is longer than {SQL_BYTES_MAX} bytes"
        )));
    }
    check_tokens(sql)?;
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect)?;
    check_tables(&statement)?;
    Ok(statement)
}

/// Whether the statement is of a kind that changes rows of a table.
pub(super) fn writes(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(ast) if changes_rows(ast))
}

fn changes_rows(ast: &Ast) -> bool {
    matches!(
        ast,
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Merge(_) | Ast::Truncate(_)
    )
}

/// Refuses, behind the statement's own kind, a plan that would write.
pub(super) fn reads_only(plan: &LogicalPlan) -> Result<()> {
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    options
        .verify_plan(plan)
        .map_err(|err| Error::invalid(ONLY_READ).with_source(err))
}

/// Refuses a plan from elsewhere that reads more than tables of a root.
pub(super) fn reads_tables(plan: &LogicalPlan) -> Result<()> {
    let mut wrong = None;
    let look = |node: &LogicalPlan| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(table) = source_as_provider(&scan.source)
            && table.is::<ListingTable>()
        {
            wrong = Some(scan.table_name.to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(look)?;
    match wrong {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "the plan reads files by their path: {name}"
        ))),
    }
}

/// Refuses a physical plan from elsewhere that writes, or reads files outside the root's store.
pub(super) fn runs_within(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if plan.is::<DataSinkExec>() {
        return Err(Error::invalid("the plan writes; plans only read"));
    }
    if let Some(source) = plan.downcast_ref::<DataSourceExec>()
        && let Some(files) = source.data_source().downcast_ref::<FileScanConfig>()
        && files.object_store_url != root_url()?
    {
        return Err(Error::invalid(format!(
            "the plan reads files of {}, which is not the root's store",
            files.object_store_url
        )));
    }
    plan.children().into_iter().try_for_each(runs_within)
}

/// One statement, of bounded depth. Text that is no SQL at all is left to the parser's message.
fn check_tokens(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        return Ok(());
    };
    let tokens: Vec<&Token> = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    if tokens.iter().all(|token| **token == Token::SemiColon) {
        return Err(Error::invalid("there is no query in the text"));
    }
    let deeper = (0..tokens.len()).filter(|at| nests(tokens[*at]) && !is_sign(&tokens, *at));
    if deeper.count() > OPERATORS_MAX {
        return Err(Error::invalid(format!(
            "the query has more than {OPERATORS_MAX} operators; use IN (…) or a join with VALUES for long lists"
        )));
    }
    let mut after = tokens
        .iter()
        .skip_while(|token| ***token != Token::SemiColon);
    if after.any(|token| **token != Token::SemiColon) {
        return Err(Error::invalid(
            "there is more than one statement; run one at a time",
        ));
    }
    Ok(())
}

/// Words that are operators, or that a statement can begin with again and again.
const DEEPER: [&str; 26] = [
    "AND",
    "OR",
    "XOR",
    "NOT",
    "IS",
    "ISNULL",
    "NOTNULL",
    "IN",
    "LIKE",
    "ILIKE",
    "SIMILAR",
    "RLIKE",
    "REGEXP",
    "BETWEEN",
    "DIV",
    "AT",
    "COLLATE",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MINUS",
    "JOIN",
    "PIVOT",
    "UNPIVOT",
    "EXPLAIN",
    "PREPARE",
];

/// Whether the token can make the expression or the query a level deeper. What only separates
/// (commas, dots, parentheses) is excepted; the parser limits how deep parentheses go.
fn nests(token: &Token) -> bool {
    match token {
        Token::Word(Word {
            quote_style: None,
            value,
            ..
        }) => DEEPER.iter().any(|word| value.eq_ignore_ascii_case(word)),
        Token::Word(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::LParen
        | Token::RParen
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::EOF => false,
        _ => true,
    }
}

/// Whether the token is the sign of a number in a list, of which `VALUES` may have many.
fn is_sign(tokens: &[&Token], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    matches!(tokens.get(at), Some(Token::Minus))
        && matches!(before, Some(Token::LParen | Token::Comma))
        && matches!(tokens.get(at + 1), Some(Token::Number(..)))
}

/// Bounds how many tables a query names, in all its parts.
pub(super) fn check_tables(statement: &Statement) -> Result<()> {
    let mut tables = Tables(0);
    let counted = match statement {
        Statement::Explain(explain) => return check_tables(&explain.statement),
        Statement::Statement(ast) => ast.visit(&mut tables),
        _ => return Ok(()),
    };
    match counted {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::invalid(format!(
            "the query names more than {TABLES_MAX} tables"
        ))),
    }
}

struct Tables(usize);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, _table: &TableFactor) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > TABLES_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Refuses, by its kind, a statement that would change anything.
pub(super) fn check_statement(statement: &Statement) -> Result<()> {
    let refusal = match statement {
        Statement::Explain(explain) if writes(&explain.statement) => NO_EXPLAIN,
        Statement::Explain(explain) => return check_statement(&explain.statement),
        Statement::Statement(ast) => match &**ast {
            Ast::Query(query) if is_write(&query.body) => NO_WITH,
            Ast::Query(_)
            | Ast::ExplainTable { .. }
            | Ast::ShowTables { .. }
            | Ast::ShowColumns { .. }
            | Ast::ShowFunctions { .. }
            | Ast::ShowVariable { .. }
            | Ast::ShowVariables { .. } => return Ok(()),
            ast if changes_rows(ast) => HOW_TO_WRITE,
            Ast::CreateTable(_)
            | Ast::CreateView(_)
            | Ast::CreateSchema { .. }
            | Ast::Drop { .. } => HOW_TO_MAKE,
            Ast::AlterTable(_) => HOW_TO_MAKE,
            Ast::Set(_) => NO_SETTINGS,
            _ => ONLY_READ,
        },
        Statement::CreateExternalTable(_) => HOW_TO_MAKE,
        Statement::CopyTo(_) => ONLY_READ,
        Statement::Reset(ResetStatement::Variable(_)) => NO_SETTINGS,
    };
    Err(Error::invalid(refusal))
}

/// Whether what stands after `WITH …` changes rows.
fn is_write(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

/// Reads one expression.
pub(super) fn expression(state: &SessionState, text: &str) -> Result<Expr> {
    if text.len() > SQL_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the expression is longer than {SQL_BYTES_MAX} bytes"
        )));
    }
    check_tokens(text)?;
    let dialect = state.config().options().sql_parser.dialect;
    Ok(state.sql_to_expr(text, &dialect)?)
}
