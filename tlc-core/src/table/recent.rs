//! Columns of data files that were decoded whole, kept while they are few: who compares revisions
//! asks for the same ones again. A cache of what never changes, with a bound on its memory.

use std::sync::{Arc, Mutex};

use arrow::array::{Array as _, ArrayRef};

use super::file::DataFile;
use super::lock;

/// The memory that the columns kept of one table may take together.
const BYTES_MAX: usize = 64 << 20;

/// Some columns, those used last at the end.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<Column>>);

struct Column {
    file: Arc<DataFile>,
    column: i32,
    values: ArrayRef,
}

impl Recent {
    /// A column, if it is kept.
    pub(super) fn get(&self, file: &Arc<DataFile>, column: i32) -> Option<ArrayRef> {
        let mut kept = lock(&self.0);
        let is_it = |kept: &Column| kept.column == column && Arc::ptr_eq(&kept.file, file);
        let at = kept.iter().position(is_it)?;
        let found = kept.remove(at);
        let values = Arc::clone(&found.values);
        kept.push(found);
        Some(values)
    }

    /// Keeps a column in place of those that were not used for the longest time. One that is too large
    /// by itself is not kept.
    pub(super) fn put(&self, file: &Arc<DataFile>, column: i32, values: &ArrayRef) {
        let own = values.get_buffer_memory_size();
        if own > BYTES_MAX {
            return;
        }
        let mut kept = lock(&self.0);
        kept.retain(|kept| kept.column != column || !Arc::ptr_eq(&kept.file, file));
        let bytes = |kept: &Column| kept.values.get_buffer_memory_size();
        let mut total = own + kept.iter().map(bytes).sum::<usize>();
        let mut n_oldest = 0;
        for oldest in kept.iter() {
            if total <= BYTES_MAX {
                break;
            }
            total -= bytes(oldest);
            n_oldest += 1;
        }
        kept.drain(..n_oldest);
        kept.push(Column {
            file: Arc::clone(file),
            column,
            values: Arc::clone(values),
        });
    }
}
