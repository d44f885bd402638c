//! What the modules above remember in memory for all who work through one opened root.
//!
//! Each kind of thing is a type of its own, made empty when it is first asked for in a folder. What may be
//! believed of it, and how much it may grow, is for that type to say.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;

type Things = BTreeMap<(Path, TypeId), Arc<dyn Any + Send + Sync>>;

/// Things by folder and type. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Remembered(Arc<Mutex<Things>>);

impl Remembered {
    /// The `T` of `folder`, the same for all who ask.
    pub(crate) fn of<T: Any + Default + Send + Sync>(&self, folder: &Path) -> Arc<T> {
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (folder.clone(), TypeId::of::<T>());
        let thing = things.entry(key).or_insert_with(|| Arc::new(T::default()));
        // Found by its type, it is of its type.
        Arc::clone(thing).downcast().unwrap_or_default()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

    use super::*;

    #[test]
    fn each_folder_has_one_thing_of_each_type() {
        let remembered = Remembered::default();
        let (a, b) = (Path::from("a"), Path::from("b"));
        remembered.of::<AtomicU8>(&a).store(7, Ordering::Relaxed);
        let clone = remembered.clone();
        assert_eq!(clone.of::<AtomicU8>(&a).load(Ordering::Relaxed), 7);
        assert_eq!(clone.of::<AtomicU8>(&b).load(Ordering::Relaxed), 0);
        assert_eq!(clone.of::<AtomicU16>(&a).load(Ordering::Relaxed), 0);
    }
}
