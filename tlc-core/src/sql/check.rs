//! What a session refuses before it plans anything: everything but reading, and text built to hurt.

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
use datafusion::sql::sqlparser::ast::{Statement as Ast, TableFactor, Visit as _, Visitor};
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

const HOW_TO_EDIT: &str =
    "queries only read; change cells with `tlc table edit` or `Sql::edit`, which commit a revision";
const HOW_TO_MAKE: &str =
    "queries only read; make tables with `tlc import` or `Project::create_table`";
const NO_SETTINGS: &str =
    "settings cannot be changed in SQL; they are given when the session is opened";
const ONLY_READ: &str = "only queries, EXPLAIN, SHOW and DESCRIBE can be run";

/// Reads one statement that asks for rows and changes nothing.
pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Statement> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the query is longer than {SQL_BYTES_MAX} bytes"
        )));
    }
    check_tokens(sql)?;
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect)?;
    check_statement(&statement)?;
    check_tables(&statement)?;
    Ok(statement)
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
    let tokens = || {
        tokens
            .iter()
            .filter(|token| !matches!(token, Token::Whitespace(_)))
    };
    if tokens().all(|token| *token == Token::SemiColon) {
        return Err(Error::invalid("there is no query in the text"));
    }
    if tokens().filter(|token| nests(token)).count() > OPERATORS_MAX {
        return Err(Error::invalid(format!(
            "the query has more than {OPERATORS_MAX} operators; use IN (…) or a join with VALUES for long lists"
        )));
    }
    let after = tokens().skip_while(|token| **token != Token::SemiColon);
    if after.filter(|token| **token != Token::SemiColon).count() > 0 {
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

/// Bounds how many tables a query names, in all its parts.
fn check_tables(statement: &Statement) -> Result<()> {
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

fn check_statement(statement: &Statement) -> Result<()> {
    let refusal = match statement {
        Statement::Explain(explain) => return check_statement(&explain.statement),
        Statement::Statement(ast) => match &**ast {
            Ast::Query(_)
            | Ast::ExplainTable { .. }
            | Ast::ShowTables { .. }
            | Ast::ShowColumns { .. }
            | Ast::ShowFunctions { .. }
            | Ast::ShowVariable { .. }
            | Ast::ShowVariables { .. } => return Ok(()),
            Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) | Ast::Merge(_) | Ast::Truncate(_) => {
                HOW_TO_EDIT
            }
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

/// Reads one expression, and gives it back as text that is one expression wherever it is put.
pub(super) fn expression(state: &SessionState, text: &str) -> Result<String> {
    check_tokens(text)?;
    let dialect = state.config().options().sql_parser.dialect;
    let expression = state.sql_to_expr(text, &dialect)?;
    Ok(format!("({expression})"))
}
