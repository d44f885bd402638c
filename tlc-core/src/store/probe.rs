//! Whether a store keeps its word: an object that is to be created if absent is created once.
//!
//! All commits rest on that. Some servers accept a conditional put and ignore the condition; others
//! look first and write then, so that of two who come at the same time both are told that they won.

use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};

use crate::error::{Error, Result};

/// How many writers create one object at the same time.
pub(crate) const RACERS: usize = 8;

/// How often they race. The first race also opens the connections, so it alone would prove little.
const RACES: usize = 3;

/// What came of creating objects that existed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// An object was created once, by one of those who tried.
    Once,
    /// An object that existed was created again.
    Again,
    /// Of [`RACERS`] who tried at the same time, this many were told that they had created it.
    By(usize),
}

impl Creation {
    /// What the store did wrong, to follow "the store"; `None` if nothing.
    pub(crate) fn breach(self) -> Option<String> {
        match self {
            Self::Once => None,
            Self::Again => Some(
                "ignores the condition of a put: an object was there, and was created again"
                    .to_owned(),
            ),
            Self::By(n_won) => Some(format!(
                "let {n_won} of {RACERS} writers create the same object at the same time"
            )),
        }
    }
}

/// The objects that [`create_twice`] leaves in `folder`.
pub(super) fn names(folder: &Path) -> [Path; RACES + 1] {
    std::array::from_fn(|number| folder.clone().join(format!("create-{number}")))
}

/// Creates objects in `folder`, each more than once.
///
/// # Errors
/// Those of the store, where it refuses or does not answer: then nothing is known.
pub(super) async fn create_twice(store: &dyn ObjectStore, folder: &Path) -> Result<Creation> {
    let [first, races @ ..] = names(folder);
    // If it is there already, the second put tells the same.
    create(store, &first, 0).await?;
    if create(store, &first, 1).await? {
        return Ok(Creation::Again);
    }
    for path in races {
        let answers = join_all((0..RACERS).map(|racer| create(store, &path, racer))).await;
        let n_won = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(true)))
            .count();
        match (n_won, answers.into_iter().find_map(Result::err)) {
            (0, Some(err)) => return Err(err),
            // With none, the answer of the one who won was lost.
            (0 | 1, _) => {}
            _ => return Ok(Creation::By(n_won)),
        }
    }
    Ok(Creation::Once)
}

/// Whether the store says that it created the object; `false` if it says that one is there.
async fn create(store: &dyn ObjectStore, path: &Path, writer: usize) -> Result<bool> {
    let content = format!("tlc tries what this store can do ({writer})\n");
    let put = store.put_opts(path, content.into(), PutMode::Create.into());
    match put.await {
        Ok(_) => Ok(true),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(false),
        Err(err) => Err(Error::from(err).context(format!("cannot write {path}"))),
    }
}

/// Removes the objects that were made. What cannot be removed is left: no reader looks there.
pub(super) async fn clean(store: &dyn ObjectStore, paths: &[Path]) {
    for path in paths {
        // A store that may not be deleted from is no worse to commit to.
        store.delete(path).await.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::runtime::block_on;
    use crate::store::disk::Disk;

    #[test]
    fn disk_and_memory_create_an_object_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = Path::from_absolute_path(folder.path()).unwrap();
        let stores: [(Arc<dyn ObjectStore>, Path); 2] = [
            (Arc::new(Disk::new()), path),
            (Arc::new(InMemory::new()), Path::from("a")),
        ];
        for (store, path) in stores {
            for _ in 0..2 {
                let found = block_on(create_twice(&*store, &path)).unwrap();
                assert_eq!(found, Creation::Once, "{store}");
            }
            block_on(clean(&*store, &names(&path)));
            let left = block_on(store.list_with_delimiter(Some(&path))).unwrap();
            assert!(left.objects.is_empty());
        }
    }
}
