//! What a folder of the spool says of itself.

use serde::{Deserialize, Serialize};

/// Of which run a folder is, and which of its writers logged what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    pub(crate) format: u32,
    /// The root's URL, without what it may hold of credentials.
    pub(crate) root: String,
    pub(crate) project: String,
    pub(crate) run: String,
    pub(crate) writer: String,
}
