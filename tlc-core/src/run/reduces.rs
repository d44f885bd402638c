//! A run that is a reduction of another one: it begins with all that decides what comes of it, and goes on after its process
//! is gone only if it is told the same.

use std::collections::BTreeMap;

use super::record::{RunRecord, RunStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;

/// The parameter that names the fitted map. Where the run itself stores it, it is known last.
pub(crate) const MODEL: &str = "model";

/// What a run reduces, and the parameters that decide what comes of it.
#[derive(Clone, Debug)]
pub(crate) struct Reduces {
    pub(crate) source: RunName,
    pub(crate) params: BTreeMap<String, String>,
}

impl Reduces {
    /// Refuses a run of the name that is to be made, unless it is this very reduction, which was interrupted.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] naming the run and what it is.
    pub(crate) fn expect_same(&self, record: &RunRecord) -> Result<()> {
        let (name, status) = (&record.name, record.status.as_str());
        let taken = |how: &str| {
            let message = format!("there is a run {name} already ({status}){how}");
            Err(Error::new(ErrorKind::Conflict, message))
        };
        match record.status {
            RunStatus::Interrupted if self.is_said_by(record) => Ok(()),
            RunStatus::Interrupted => taken(", which is not this reduction; choose another name"),
            _ => taken("; choose another name"),
        }
    }

    fn is_said_by(&self, record: &RunRecord) -> bool {
        let mut params = record.params.clone();
        if !self.params.contains_key(MODEL) {
            params.remove(MODEL);
        }
        record.reduced.as_ref() == Some(&self.source) && params == self.params
    }
}
