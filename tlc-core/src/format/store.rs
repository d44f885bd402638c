//! What a root remembers of the store that it is in.

use serde::{Deserialize, Serialize};

/// A store that was tried and creates an object once. The file's name says which store it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreRecord {
    pub(crate) format: u32,
    /// When, by the store's own clock: a record that is much younger than this was copied here.
    pub(crate) tried: String,
    pub(crate) tool: String,
}
