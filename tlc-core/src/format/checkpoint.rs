//! What a checkpoint holds: the names and states that a log leads to, folded up to some entry.
//!
//! A checkpoint is a cache. It says nothing that the log does not say, and can be deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::table::{CellsSet, ColumnAdded, ParentRef, RowIds, RowsAdded};

/// Where the newest checkpoint lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newest {
    pub(crate) format: u32,
    /// `checkpoints/<blake3>.json` below the table.
    pub(crate) file: String,
}

/// The log up to an entry, folded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub(crate) format: u32,
    /// The number after the last entry that is folded.
    #[serde(deserialize_with = "super::count")]
    pub(crate) next: u64,
    #[serde(deserialize_with = "super::row_id")]
    pub(crate) next_row_id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_column_id: Option<i32>,
    pub(crate) branches: BTreeMap<String, ParentRef>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, ParentRef>,
    /// The states of the branches that moved last.
    pub(crate) states: Vec<State>,
    /// Entries in larger pieces, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blocks: Vec<Block>,
    /// Older checkpoints, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<Earlier>,
}

/// The state of a table at a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) at: ParentRef,
    pub(crate) schema: String,
    #[serde(deserialize_with = "super::row_id")]
    pub(crate) next_row_id: u64,
    pub(crate) next_column_id: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) defaults: Vec<ColumnAdded>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rows: Vec<Filed<RowsAdded>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dropped: Option<RowIds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_behind: Option<RowIds>,
    /// Oldest first; of several revisions in one file, where these follow each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cells: Vec<Filed<CellsSet>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns_left: Vec<i32>,
}

/// A file, and the newest revision that is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Filed<T> {
    pub(crate) revision: u64,
    pub(crate) file: T,
}

/// Entries `first` to `first + entries - 1` in one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    #[serde(deserialize_with = "super::count")]
    pub(crate) first: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) entries: u64,
    /// `checkpoints/<blake3>.parquet` below the table: one column `entry`, their bytes in order.
    pub(crate) file: String,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
}

/// A checkpoint that was the newest once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Earlier {
    #[serde(deserialize_with = "super::count")]
    pub(crate) next: u64,
    pub(crate) file: String,
    /// The revisions whose states it holds.
    pub(crate) states: Vec<u64>,
}

/// The revisions that were given up: their files may have been collected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GivenUp {
    pub(crate) format: u32,
    /// The first and the last number of each range, ascending.
    pub(crate) revisions: Vec<(u64, u64)>,
}
