//! Names and numbers as types, checked once where they enter.
//!
//! A name becomes a folder of the root, a column of SQL or a part of a file name, so what a name
//! may be is decided here and nowhere else: a value of these types is always a good one.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The longest name, in bytes: file systems and stores allow 255, and suffixes need room.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The column that carries row ids wherever rows leave the library.
pub const ROWID: &str = "_rowid";

/// The number of a revision: `r0` is a table's first.
///
/// Prints as `7`; [`Revision::file_stem`] is the sortable form that names its log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The first revision of every table.
    pub const FIRST: Self = Self(0);

    /// The revision after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Twenty digits, so that the order of names is the order of numbers.
    #[must_use]
    pub fn file_stem(self) -> String {
        format!("{:020}", self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix('r').unwrap_or(text);
        digits.parse().map(Self).map_err(|err| {
            Error::invalid(format!(
                "{text:?} is not a revision; write a number such as 7"
            ))
            .with_source(err)
        })
    }
}

impl From<u64> for Revision {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Defines a name: a checked string with one rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                match $check(name) {
                    Ok(()) => Ok(Self(name.to_owned())),
                    Err(why) => Err(Error::invalid(format!("{name:?} cannot name {}: {why}", $what))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a project: a folder under the root.
    ProjectName, "a project", check_folder
}
name! {
    /// The name of a table, unique in its project.
    TableName, "a table", check_folder
}
name! {
    /// The name of a run, unique in its project.
    RunName, "a run", check_folder
}
name! {
    /// The name of a stream of sample metrics in a run, such as `train` or `val`.
    StreamName, "a stream", check_folder
}
name! {
    /// The name of an artifact, unique in its project.
    ArtifactName, "an artifact", check_folder
}
name! {
    /// The name of a column: any text that does not begin with `_row`, which the system keeps.
    ColumnName, "a column", check_column
}

/// Folder names: letters and digits of any script, `-`, `_`, `.` inside. No path can be spelled with them.
fn check_folder(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("it is longer than 128 bytes");
    }
    if !name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        return Err("use letters, digits, '-', '_' and '.'");
    }
    if name.starts_with(['.', '-']) || name.ends_with('.') {
        return Err("it may not begin with '.' or '-', nor end with '.'");
    }
    Ok(())
}

fn check_column(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("it is longer than 128 bytes");
    }
    if name.starts_with("_row") {
        return Err("names that begin with '_row' are kept for the system");
    }
    if name.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    Ok(())
}

/// One cell of a table: the unit of editing and of conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The row's id.
    pub row_id: u64,
    /// The column's name.
    pub column: ColumnName,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.column, self.row_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "../a",
            "a b",
            "a\0",
            ".hidden",
            "-x",
            "a.",
            &"x".repeat(129),
        ] {
            let err = bad.parse::<TableName>().unwrap_err().to_string();
            assert!(err.contains(&format!("{bad:?}")), "{err}");
        }
        for good in ["train", "train-2", "v1.2", "Zürich_東京", "7"] {
            assert_eq!(good.parse::<TableName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn columns_may_hold_any_text_but_ours() {
        assert!("loss (mean) / 2".parse::<ColumnName>().is_ok());
        for bad in ["", "_rowid", "_row_anything", "a\nb"] {
            assert!(bad.parse::<ColumnName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn revisions_sort_as_their_files_do() {
        assert_eq!("r12".parse::<Revision>().unwrap(), Revision(12));
        assert!(Revision(9).file_stem() < Revision(10).file_stem());
        assert!("-1".parse::<Revision>().is_err());
    }
}
