//! The one error of this library: a message, a kind, a source.
//!
//! The kind tells the caller what to do; the message names the thing concerned; the source is
//! what a lower layer said. Outcomes that the library settles by itself (a number that another
//! writer took, an entry that is not there) are values inside it and never reach this type.

use std::error::Error as StdError;
use std::fmt;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// The result of this library's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named thing does not exist. Check the name.
    NotFound,
    /// Another writer changed the same cells, or took the same name. Reload, then decide again.
    Conflict,
    /// The request itself is wrong. Correct it; a retry cannot help.
    Invalid,
    /// Storage did not answer, refused, or is full. The same call may go through later.
    Unavailable,
    /// Stored bytes do not follow the format. Do not overwrite them.
    Corrupt,
}

impl ErrorKind {
    /// The kind in one lower-case word, as scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
        }
    }
}

type Source = Box<dyn StdError + Send + Sync>;

/// What went wrong, in words for a person and a kind for a program.
///
/// `{}` prints the message alone; `{:#}` appends the messages of all sources.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// Makes an error. The message is lower case, names the thing, and ends without a stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Makes an error of kind [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an error of kind [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Makes an error of kind [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Keeps what a lower layer said. It is printed after the message, never inside it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts a wider message in front: what the caller was doing, to which thing.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            message: message.into(),
            source: Some(Box::new(self)),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            let mut source = self.source();
            while let Some(err) = source {
                write!(f, ": {err}")?;
                source = err.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:#})", self.kind.as_str())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<ArrowError> for Error {
    /// A value that does not fit its type: the request is wrong.
    fn from(err: ArrowError) -> Self {
        match err {
            ArrowError::ExternalError(source) => match source.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::invalid("the values cannot be read").with_source(other),
            },
            err => Self::invalid("the values do not fit the schema").with_source(err),
        }
    }
}

impl From<ParquetError> for Error {
    /// Bytes that are not the Parquet they should be, unless the store failed while reading them.
    fn from(err: ParquetError) -> Self {
        match err {
            ParquetError::External(source) => match source.downcast::<object_store::Error>() {
                Ok(store) => (*store).into(),
                Err(source) => match source.downcast::<Self>() {
                    Ok(own) => *own,
                    Err(other) => Self::corrupt("not a readable Parquet file").with_source(other),
                },
            },
            err => Self::corrupt("not a readable Parquet file").with_source(err),
        }
    }
}

impl From<object_store::Error> for Error {
    /// The one place that decides what a failure of storage means.
    fn from(err: object_store::Error) -> Self {
        use object_store::Error as Store;
        let (kind, message) = match &err {
            Store::NotFound { path, .. } => {
                (ErrorKind::NotFound, format!("{path} is not in the store"))
            }
            Store::AlreadyExists { path, .. } => {
                (ErrorKind::Conflict, format!("{path} exists already"))
            }
            Store::Precondition { path, .. } => {
                (ErrorKind::Conflict, format!("{path} has changed"))
            }
            Store::InvalidPath { .. } => (
                ErrorKind::Invalid,
                "not a path that the store accepts".to_owned(),
            ),
            Store::NotSupported { .. } | Store::NotImplemented { .. } => {
                (ErrorKind::Invalid, "the store cannot do this".to_owned())
            }
            Store::UnknownConfigurationKey { key, .. } => (
                ErrorKind::Invalid,
                format!("the store does not know the option {key:?}"),
            ),
            Store::PermissionDenied { path, .. } | Store::Unauthenticated { path, .. } => (
                ErrorKind::Unavailable,
                format!("no permission for {path}; check the rights and the credentials"),
            ),
            _ => (
                ErrorKind::Unavailable,
                "the store did not do as asked".to_owned(),
            ),
        };
        Self::new(kind, message).with_source(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alternate_form_names_every_source_once() {
        let inner = Error::corrupt("entry 3 is cut off").with_source("unexpected end");
        let outer = inner.context("cannot open table train");
        assert_eq!(outer.to_string(), "cannot open table train");
        assert_eq!(
            format!("{outer:#}"),
            "cannot open table train: entry 3 is cut off: unexpected end"
        );
        assert_eq!(outer.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn an_own_error_survives_the_way_through_arrow() {
        let own = Error::not_found("no row 7");
        let back = Error::from(ArrowError::ExternalError(Box::new(own)));
        assert_eq!(back.kind(), ErrorKind::NotFound);
    }
}
