//! What two steps of reading tell each other: which rows passed in the first.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::error::ArrowError;

use crate::error::{Error, Result};

/// The ids of rows that passed and whose other columns are still to come, in order.
#[derive(Default)]
pub(super) struct Passed {
    ids: VecDeque<u64>,
    failed: Option<Error>,
}

impl Passed {
    /// Keeps the ids of the rows that passed, and gives the verdict on to the reader.
    pub(super) fn note(
        &mut self,
        ids: &[u64],
        verdict: Result<Option<BooleanArray>>,
    ) -> Result<BooleanArray, ArrowError> {
        match verdict {
            Ok(None) => {
                self.ids.extend(ids);
                Ok(vec![true; ids.len()].into())
            }
            Ok(Some(kept)) => {
                let passed = ids.iter().zip(kept.iter());
                self.ids.extend(
                    passed
                        .filter(|(_, kept)| *kept == Some(true))
                        .map(|(id, _)| id),
                );
                Ok(kept)
            }
            Err(err) => {
                self.failed = Some(err);
                Err(ArrowError::ComputeError("the condition failed".to_owned()))
            }
        }
    }

    /// A batch with the ids of its rows.
    pub(super) fn take(&mut self, batch: Result<RecordBatch>) -> Result<(Vec<u64>, RecordBatch)> {
        if let Some(err) = self.failed.take() {
            return Err(err);
        }
        let batch = batch?;
        let n = batch.num_rows().min(self.ids.len());
        let ids: Vec<u64> = self.ids.drain(..n).collect();
        if ids.len() == batch.num_rows() {
            return Ok((ids, batch));
        }
        Err(Error::corrupt("a file gave more rows than were asked for"))
    }
}

pub(super) fn lock(passed: &Mutex<Passed>) -> MutexGuard<'_, Passed> {
    passed.lock().unwrap_or_else(PoisonError::into_inner)
}
