//! The head of a pack: which runs' log entries it holds, and how these logs ended when it was written.
//!
//! A pack is a cache. It says nothing that the logs do not say, and can be deleted.

use serde::{Deserialize, Serialize};

/// What a pack holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) runs: Vec<PackedRun>,
}

/// One run that had ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackedRun {
    pub(crate) run: String,
    /// The bytes of each entry of its log, from entry 0 on.
    pub(crate) entries: Vec<u64>,
    /// When the last of them was written by the store's clock, in nanoseconds since 1970.
    pub(crate) modified: i64,
    /// What else tells it from another object of its name, where the store says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) e_tag: Option<String>,
}
