//! `aliases.yaml`: a project's own aliases, written by people.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::alias::Aliases;
use crate::error::{Error, Result};

/// The name of the file in a project's folder.
pub(crate) const FILE: &str = "aliases.yaml";

/// The most bytes such a file has.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Reads the text of the file `what`: a YAML map of names and paths. An empty one sets nothing.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming `what`, and the alias that is none.
pub(crate) fn decode(what: &str, text: &str) -> Result<Aliases> {
    let wrong = |message: &str| Error::invalid(format!("{what} {message}"));
    let entries: Option<BTreeMap<String, Value>> = serde_saphyr::from_str(text)
        .map_err(|err| wrong("is not a YAML map of aliases").with_source(err.to_string()))?;
    let mut aliases = Aliases::new();
    for (name, value) in entries.unwrap_or_default() {
        let Value::String(value) = value else {
            return Err(wrong(&format!("has the alias {name:?}, which is not text")));
        };
        let with = aliases.with(&name, &value);
        aliases = with.map_err(|err| err.context(format!("{what} cannot be used")))?;
    }
    Ok(aliases)
}
