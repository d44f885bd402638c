//! Columns that were decoded from files that never change, kept while there is room: who asks a second
//! question does not wait for the decoder again.
//!
//! A cache that needs no invalidation. Its keys name the files, and a file of that name has these
//! values or is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;

/// The memory that decoded columns of one root may take together, unless it is opened with another bound.
pub(crate) const DECODED_BYTES_MAX: usize = 256 << 20;

/// Decoded columns, those used last kept longest. Clones share them.
#[derive(Clone)]
pub(crate) struct Decoded {
    bytes_max: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    columns: BTreeMap<String, Column>,
    /// The key of each column by when it was used last.
    by_use: BTreeMap<u64, String>,
    bytes: usize,
    n_uses: u64,
}

struct Column {
    values: RecordBatch,
    bytes: usize,
    used: u64,
}

impl Decoded {
    /// An empty cache that holds at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Arc::default(),
        }
    }

    /// The column `column` of `files`, if it is kept.
    pub(crate) fn get(&self, files: &str, column: &str) -> Option<RecordBatch> {
        let mut kept = self.lock();
        let Kept {
            columns,
            by_use,
            n_uses,
            ..
        } = &mut *kept;
        let found = columns.get_mut(&key(files, column))?;
        *n_uses += 1;
        if let Some(key) = by_use.remove(&found.used) {
            by_use.insert(*n_uses, key);
        }
        found.used = *n_uses;
        Some(found.values.clone())
    }

    /// Keeps a column in place of those that were not used for the longest time. One that is too large
    /// by itself is not kept.
    pub(crate) fn put(&self, files: &str, column: &str, values: &RecordBatch) {
        let key = key(files, column);
        let bytes = values.get_array_memory_size() + 2 * key.len();
        let mut kept = self.lock();
        if let Some(former) = kept.columns.remove(&key) {
            kept.by_use.remove(&former.used);
            kept.bytes -= former.bytes;
        }
        if bytes > self.bytes_max {
            return;
        }
        while kept.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = kept.by_use.pop_first() else {
                break;
            };
            kept.bytes -= kept.columns.remove(&oldest).map_or(0, |old| old.bytes);
        }
        kept.n_uses += 1;
        kept.bytes += bytes;
        let used = kept.n_uses;
        kept.by_use.insert(used, key.clone());
        let values = values.clone();
        let column = Column {
            values,
            bytes,
            used,
        };
        kept.columns.insert(key, column);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded")
            .field("bytes_max", &self.bytes_max)
            .field("bytes", &self.lock().bytes)
            .finish_non_exhaustive()
    }
}

/// No path and no name of a column holds a zero.
fn key(files: &str, column: &str) -> String {
    format!("{files}\0{column}")
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt64Array};

    use super::*;

    fn column(n: usize) -> RecordBatch {
        let values: ArrayRef = Arc::new(UInt64Array::from(vec![7; n]));
        RecordBatch::try_from_iter([("x", values)]).unwrap()
    }

    /// Puts and gets, such as `+a a +b`; what is kept at the end of `a b c d`.
    #[track_caller]
    fn check(steps: &str, expected: &str) {
        let cache = Decoded::new(3 * (8 * 1024 + 512));
        for step in steps.split_whitespace() {
            match step.strip_prefix('+') {
                Some("huge") => cache.put("huge", "x", &column(8 * 1024)),
                Some(name) => cache.put(name, "x", &column(1024)),
                None => assert!(cache.get(step, "x").is_some(), "{step} in {steps}"),
            }
        }
        let names = ["a", "b", "c", "d", "huge"].into_iter();
        let kept: Vec<_> = names
            .filter(|name| cache.get(name, "x").is_some())
            .collect();
        assert_eq!(kept.join(" "), expected, "{steps}");
        let inside = cache.lock();
        assert!(inside.bytes <= cache.bytes_max);
        assert_eq!(inside.by_use.len(), inside.columns.len());
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_for_what_is_new() {
        check("+a +b +c", "a b c");
        check("+a +b +c +d", "b c d");
        check("+a +b +c a +d", "a c d");
        check("+a +b +a +c +d", "a c d");
        check("+a +huge", "a");
    }

    #[test]
    fn columns_of_one_file_are_told_apart() {
        let cache = Decoded::new(DECODED_BYTES_MAX);
        cache.put("file", "x", &column(1));
        assert!(cache.get("file", "y").is_none() && cache.get("filex", "").is_none());
    }
}
