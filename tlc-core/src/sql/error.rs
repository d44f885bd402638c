//! The two ways between the engine's errors and ours.
//!
//! An error of this library that passes through the engine comes out as itself. What the engine
//! says of a wrong query becomes [`ErrorKind::Invalid`]; what storage
//! did to it keeps the kind that the rest of the library gives it.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{Error, ErrorKind};

impl From<Error> for DataFusionError {
    fn from(err: Error) -> Self {
        Self::External(Box::new(err))
    }
}

impl From<DataFusionError> for Error {
    fn from(err: DataFusionError) -> Self {
        match err {
            DataFusionError::External(source) => match source.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => found_in(&*other).unwrap_or_else(|| Self::invalid(other.to_string())),
            },
            DataFusionError::ObjectStore(source) => (*source).into(),
            DataFusionError::ParquetError(source) => (*source).into(),
            DataFusionError::ArrowError(source, _) => from_arrow(*source),
            DataFusionError::SQL(source, _) => from_parser(*source),
            DataFusionError::IoError(source) => {
                Self::new(ErrorKind::Unavailable, "the query cannot use its temporary files").with_source(source)
            }
            DataFusionError::ResourcesExhausted(message) => Self::new(
                ErrorKind::Unavailable,
                "the query needs more memory than it may use; select fewer columns or rows, or raise the limit",
            )
            .with_source(message),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => (*inner).into(),
            DataFusionError::Collection(mut all) if !all.is_empty() => all.swap_remove(0).into(),
            err => found_in(&err).unwrap_or_else(|| Self::invalid(plain(&err))),
        }
    }
}

fn from_parser(err: ParserError) -> Error {
    match err {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            Error::invalid(lower_first(&message))
        }
        ParserError::RecursionLimitExceeded => Error::invalid("the query is nested too deep"),
    }
}

fn from_arrow(err: ArrowError) -> Error {
    match err {
        ArrowError::ExternalError(source) => match source.downcast::<DataFusionError>() {
            Ok(engine) => (*engine).into(),
            Err(other) => ArrowError::ExternalError(other).into(),
        },
        ArrowError::ParquetError(message) => {
            Error::corrupt("not a readable Parquet file").with_source(message)
        }
        err => Error::invalid(lower_first(&err.to_string())),
    }
}

/// An error of this library somewhere below `err`, where it is shared and cannot be taken out.
fn found_in(err: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(err);
    while let Some(err) = next {
        if let Some(own) = err.downcast_ref::<Error>() {
            return Some(Error::new(own.kind(), format!("{own:#}")));
        }
        if let Some(store) = err.downcast_ref::<object_store::Error>() {
            let kind = match store {
                object_store::Error::NotFound { .. } => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            };
            return Some(Error::new(
                kind,
                format!("the store did not do as asked: {store}"),
            ));
        }
        next = err.source();
    }
    None
}

/// The engine's message without its own headings.
fn plain(err: &DataFusionError) -> String {
    let text = err.strip_backtrace();
    let headings = [
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
    ];
    let text = headings
        .iter()
        .find_map(|heading| text.strip_prefix(heading))
        .unwrap_or(&text);
    lower_first(text.trim_end_matches('.'))
}

/// Messages begin with a small letter, unless the first word is all capitals.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_own_error_comes_out_of_the_engine_as_itself() {
        let wrap: [fn(DataFusionError) -> DataFusionError; 4] = [
            |err| err,
            |err| err.context("while scanning"),
            |err| DataFusionError::Shared(Arc::new(err)),
            |err| ArrowError::ExternalError(Box::new(err)).into(),
        ];
        for wrap in wrap {
            let err = Error::from(wrap(Error::corrupt("entry 3 is cut off").into()));
            assert_eq!(err.kind(), ErrorKind::Corrupt);
            assert!(err.to_string().contains("entry 3 is cut off"), "{err}");
        }
    }

    #[test]
    fn messages_lose_the_engines_headings() {
        let err = Error::from(DataFusionError::Plan("Invalid function 'summ'.".to_owned()));
        assert_eq!(err.to_string(), "invalid function 'summ'");
        assert_eq!(err.kind(), ErrorKind::Invalid);
    }
}
