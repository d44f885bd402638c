//! Chunks in the store: which are there, those that are not, and reading them back.

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _, PutMode};
use tokio::sync::OnceCell;

use super::cut::Piece;
use super::named::named_at_hand;
use super::paths::CHUNKS;
use crate::blob::is_young_file;
use crate::error::{Error, Result};
use crate::format::artifact::Chunk;
use crate::runtime::run_blocking;
use crate::store::Place;

/// The chunks of a project as one put sees them.
#[derive(Debug)]
pub(super) struct Stored {
    project: Place,
    /// Those that a version of the artifact names: they are there as long as it is.
    known: BTreeSet<String>,
    /// Those that any version of the project names; read when it matters.
    named: OnceCell<BTreeSet<String>>,
}

impl Stored {
    pub(super) fn new(project: &Place, known: BTreeSet<String>) -> Self {
        Self {
            project: project.clone(),
            known,
            named: OnceCell::new(),
        }
    }

    /// Sees to it that a chunk is there, and says how many bytes were sent for it.
    ///
    /// One request where it is there; two where it is not. One that is there, old, and named by no version may be collected at any
    /// moment: it is stored once more, under a name that nobody else has.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn store(&self, piece: Piece) -> Result<(Chunk, u64)> {
        let bytes = piece.bytes.len() as u64;
        let mut chunk = Chunk {
            blake3: piece.hash.to_hex().to_string(),
            bytes,
            id: None,
        };
        if let Some(id) = id_in(&self.known, &chunk.blake3) {
            chunk.id = id;
            return Ok((chunk, 0));
        }
        let path = path(&self.project, &chunk);
        match self.project.store.head(&path).await {
            Err(object_store::Error::NotFound { .. }) => {
                self.create(&path, piece.bytes).await?;
                return Ok((chunk, bytes));
            }
            Err(err) => return Err(Error::from(err).context(format!("cannot look at {path}"))),
            Ok(found) if found.size == bytes && is_young_file(&self.project, &found) => {
                return Ok((chunk, 0));
            }
            Ok(found) if found.size == bytes => {
                let named = named_at_hand(&self.project, &self.named).await?;
                if let Some(id) = named.and_then(|named| id_in(named, &chunk.blake3)) {
                    chunk.id = id;
                    return Ok((chunk, 0));
                }
            }
            // Cut off by somebody; readers must never meet it.
            Ok(_) => {}
        }
        chunk.id = Some(self.project.env.fresh_id());
        let path = self::path(&self.project, &chunk);
        self.create(&path, piece.bytes).await?;
        Ok((chunk, bytes))
    }

    /// Creates an object; one that is there meanwhile is the same, and new.
    async fn create(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let put = self
            .project
            .store
            .put_opts(path, bytes.into(), PutMode::Create.into());
        match put.await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(err) => Err(Error::from(err).context(format!("cannot write {path}"))),
        }
    }
}

/// Under which name a chunk of that hash is in `names`: that of its hash, or the id that comes after it.
fn id_in(names: &BTreeSet<String>, hash: &str) -> Option<Option<String>> {
    let name = names.range(hash.to_owned()..).next()?;
    let rest = name.strip_prefix(hash)?;
    Some(rest.strip_prefix('.').map(str::to_owned))
}

/// Where a chunk lies.
pub(super) fn path(project: &Place, chunk: &Chunk) -> Path {
    project.path.clone().join(CHUNKS).join(chunk.file())
}

/// Reads a chunk and verifies it. One request.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the chunk if it is missing or damaged; those of the store.
pub(super) async fn read(project: &Place, chunk: Chunk) -> Result<Bytes> {
    let path = path(project, &chunk);
    let found = match project.store.get(&path).await {
        Err(object_store::Error::NotFound { .. }) => {
            return Err(Error::corrupt(format!("chunk {} is missing", chunk.file())));
        }
        found => found?,
    };
    if let Some(flaw) = flaw_of_size(&chunk, &found.meta) {
        return Err(flaw);
    }
    let bytes = found.bytes().await?;
    run_blocking(
        move || match blake3::hash(&bytes).to_hex().as_str() == chunk.blake3 {
            true => Ok(bytes),
            false => Err(Error::corrupt(format!(
                "chunk {} is damaged: its bytes are not those that its name says",
                chunk.file()
            ))),
        },
    )
    .await
}

/// What is wrong with a chunk that has this size, if anything.
pub(super) fn flaw_of_size(chunk: &Chunk, found: &ObjectMeta) -> Option<Error> {
    (found.size != chunk.bytes).then(|| {
        Error::corrupt(format!(
            "chunk {} is damaged: it has {} bytes in place of {}",
            chunk.file(),
            found.size,
            chunk.bytes
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_found_under_either_of_its_names() {
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        let names: BTreeSet<String> = [a.clone(), format!("{b}.7"), format!("{a}.9")].into();
        assert_eq!(id_in(&names, &a), Some(None));
        assert_eq!(id_in(&names, &b), Some(Some("7".to_owned())));
        assert_eq!(id_in(&names, &c), None);
        assert_eq!(id_in(&names, &"0".repeat(64)), None);
    }
}
