//! `tlc table column`: a column's name, its role, and its end.

use clap::{Args, Subcommand};
use tlc_core::{Error, Patch, Result as CoreResult, Role};

use super::writing::{Why, change};
use crate::command::TableSpec;
use crate::command::session::Session;
use crate::error::Result;

/// The roles that a column can have.
const ROLES: [Role; 8] = [
    Role::Label,
    Role::Prediction,
    Role::Weight,
    Role::Image,
    Role::Embedding,
    Role::Boxes,
    Role::Instances,
    Role::Text,
];

/// Rename, drop or describe a column, as one revision
#[derive(Debug, Args)]
pub(in crate::command) struct Column {
    /// The table, as PROJECT/TABLE or PROJECT/TABLE@BRANCH
    table: TableSpec,
    #[command(flatten)]
    why: Why,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Give a column another name; its history follows it
    #[command(after_help = "Examples:
  tlc table column mnist/train rename digit label
  tlc table column mnist/train@cleanup rename digit label -m 'as the others call it'")]
    Rename {
        /// The column
        old: String,
        /// Its new name
        new: String,
    },
    /// Drop a column; its values stay in earlier revisions
    #[command(after_help = "Examples:
  tlc table column mnist/train drop note
  tlc table column mnist/train drop note -m 'nobody reads it' --json")]
    Drop {
        /// The column
        column: String,
    },
    /// Say what a column means: label, prediction, weight, image, embedding, boxes, instances, text, or none
    #[command(after_help = "Examples:
  tlc table column mnist/train role digit label
  tlc table column mnist/train role note none")]
    Role {
        /// The column
        column: String,
        /// The role, or none
        role: String,
    },
}

impl Column {
    pub(in crate::command) fn author(&self) -> Option<&str> {
        self.why.author()
    }

    pub(in crate::command) fn run(&self, session: &Session) -> Result<()> {
        let what = &self.what.message();
        change(session, &self.table, &self.why, what, |patch| {
            self.what.apply(patch)
        })
    }
}

impl What {
    fn message(&self) -> String {
        match self {
            Self::Rename { old, new } => format!("rename column {old} to {new}"),
            Self::Drop { column } => format!("drop column {column}"),
            Self::Role { column, role } => format!("role of column {column}: {role}"),
        }
    }

    fn apply(&self, patch: &mut Patch) -> CoreResult<()> {
        match self {
            Self::Rename { old, new } => patch.rename_column(old, new),
            Self::Drop { column } => patch.drop_column(column),
            Self::Role { column, role } => patch.set_role(column, named_role(role)?),
        }
    }
}

fn named_role(name: &str) -> CoreResult<Option<Role>> {
    if name == "none" {
        return Ok(None);
    }
    let role = ROLES.into_iter().find(|role| role.as_str() == name);
    role.map(Some).ok_or_else(|| {
        let names = ROLES.map(Role::as_str).join(", ");
        Error::invalid(format!("there is no role {name:?}; write {names}, or none"))
    })
}
