//! `tlc table class`: the classes of a label.

use clap::{Args, Subcommand};
use tlc_core::{Patch, Result as CoreResult};

use super::writing::{Why, change};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::Result;

/// Rename, add or merge the classes of a label, as one revision
#[derive(Debug, Args)]
pub(in crate::command) struct Class {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@BRANCH
    table: TableSpec,
    /// The label's column
    column: String,
    #[command(flatten)]
    why: Why,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Give a class another name; the cells stay as they are
    #[command(after_help = "Example:
  tlc table class zoo/pictures animal rename kat cat")]
    Rename {
        /// The class
        old: String,
        /// Its new name
        new: String,
    },
    /// Add a class after the last
    #[command(after_help = "Example:
  tlc table class zoo/pictures animal add bird -m 'there are birds'")]
    Add {
        /// The class
        class: String,
    },
    /// Make one class part of another: its cells become the other's
    #[command(after_help = "Example:
  tlc table class zoo/pictures animal merge kitten cat")]
    Merge {
        /// The class that ends
        class: String,
        /// The class that it becomes part of
        into: String,
    },
}

impl Class {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.why.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let what = &self.what.message(&self.column);
        change(session, &self.table, &self.why, what, |patch| {
            self.what.apply(&self.column, patch)
        })
    }
}

impl What {
    fn message(&self, column: &str) -> String {
        match self {
            Self::Rename { old, new } => format!("rename class {old} of {column} to {new}"),
            Self::Add { class } => format!("add class {class} to {column}"),
            Self::Merge { class, into } => format!("merge class {class} of {column} into {into}"),
        }
    }

    fn apply(&self, column: &str, patch: &mut Patch) -> CoreResult<()> {
        match self {
            Self::Rename { old, new } => patch.rename_class(column, old, new),
            Self::Add { class } => patch.add_class(column, class),
            Self::Merge { class, into } => patch.merge_classes(column, class, into),
        }
    }
}
