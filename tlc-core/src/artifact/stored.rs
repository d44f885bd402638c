//! Chunks in the store: which are there, those that are not, and reading them back.

use std::collections::BTreeSet;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::cut::Piece;
use super::named::{NamedChunks, named_at_hand};
use super::paths::CHUNKS;
use crate::blob::{self, is_young_file};
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::Chunk;
use crate::runtime::run_blocking;
use crate::store::Place;

/// How often a chunk is looked for that another writer is said to have, and that is not there.
const ATTEMPTS_MAX: usize = 5;

/// The chunks of a project as one put sees them.
#[derive(Debug)]
pub(super) struct Stored {
    project: Place,
    /// Those that the newest version of the artifact names: nobody collects them.
    known: BTreeSet<String>,
    /// Those that any version of the project names; read when it matters.
    named: NamedChunks,
}

impl Stored {
    pub(super) fn new(project: &Place, known: BTreeSet<String>) -> Self {
        Self {
            project: project.clone(),
            known,
            named: NamedChunks::new(),
        }
    }

    /// Sees to it that a chunk is there, and says how many bytes were sent for it.
    ///
    /// One request where it is there; two where it is not. One that has another size than it must have is written again under its
    /// own name, so that the versions that name it can be read again. One that is there, old, and named by no version may be collected at any
    /// moment: it is stored once more, under a name that nobody else has.
    ///
    /// # Errors
    /// Those of the store; [`ErrorKind::Unavailable`] if it says that a chunk is there, and does not have it.
    pub(super) async fn store(&self, piece: Piece) -> Result<(Chunk, u64)> {
        let blake3 = piece.hash.to_hex().to_string();
        let known = id_in(&self.known, &blake3);
        let mut chunk = Chunk {
            bytes: piece.bytes.len() as u64,
            id: known.clone().flatten(),
            blake3,
        };
        let (found, mut sent) = self.mend(&chunk, &piece.bytes).await?;
        let is_relied_upon = |found: &ObjectMeta| is_young_file(&self.project, found);
        if known.is_some() || found.as_ref().is_none_or(is_relied_upon) {
            return Ok((chunk, sent));
        }
        let named = named_at_hand(&self.project, &self.named).await?;
        match named.and_then(|named| id_in(named, &chunk.blake3)) {
            Some(None) => return Ok((chunk, sent)),
            Some(id) => chunk.id = id,
            None => chunk.id = Some(self.project.env.fresh_id()),
        }
        sent += self.mend(&chunk, &piece.bytes).await?.1;
        Ok((chunk, sent))
    }

    /// Writes a chunk where it is absent or has the wrong size. Gives what was there before, and how many bytes were sent.
    async fn mend(&self, chunk: &Chunk, bytes: &Bytes) -> Result<(Option<ObjectMeta>, u64)> {
        let (store, path) = (&self.project.store, path(&self.project, chunk));
        for _ in 0..ATTEMPTS_MAX {
            match store.head(&path).await {
                Err(object_store::Error::NotFound { .. }) => {
                    if blob::create(&self.project, &path, bytes.clone()).await? {
                        return Ok((None, chunk.bytes));
                    }
                    // Somebody else writes it, who may still fail.
                }
                Err(err) => return Err(Error::from(err).context(format!("cannot look at {path}"))),
                Ok(found) if found.size == chunk.bytes => return Ok((Some(found), 0)),
                Ok(found) => {
                    let put = store.put(&path, bytes.clone().into()).await;
                    put.map_err(|err| Error::from(err).context(format!("cannot write {path}")))?;
                    return Ok((Some(found), chunk.bytes));
                }
            }
        }
        let message = format!("{path} is being written by somebody else all the time; try again");
        Err(Error::new(ErrorKind::Unavailable, message))
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
/// [`ErrorKind::Corrupt`] naming the chunk if it is missing or damaged; those of the store.
pub(crate) async fn read(project: &Place, chunk: Chunk) -> Result<Bytes> {
    let path = path(project, &chunk);
    let found = match project.store.get(&path).await {
        Err(object_store::Error::NotFound { .. }) => {
            return Err(missing(&chunk));
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
                "chunk {} is damaged: its bytes are not those that its name says; {}",
                chunk.file(),
                way_out(&chunk)
            ))),
        },
    )
    .await
}

/// What is wrong with a chunk that has this size, if anything.
pub(super) fn flaw_of_size(chunk: &Chunk, found: &ObjectMeta) -> Option<Error> {
    (found.size != chunk.bytes).then(|| {
        Error::corrupt(format!(
            "chunk {} is damaged: it has {} bytes in place of {}; {}",
            chunk.file(),
            found.size,
            chunk.bytes,
            way_out(chunk)
        ))
    })
}

/// That a chunk is not there.
pub(super) fn missing(chunk: &Chunk) -> Error {
    let (file, way_out) = (chunk.file(), way_out(chunk));
    Error::corrupt(format!("chunk {file} is missing; {way_out}"))
}

/// What makes the versions whole again that name a chunk which is damaged or missing. A put stores what is absent under the plain name.
fn way_out(chunk: &Chunk) -> String {
    let (file, plain) = (chunk.file(), &chunk.blake3);
    match &chunk.id {
        None => format!(
            "remove {CHUNKS}/{file} if it is there and put the file again, which restores it for all versions"
        ),
        Some(_) => format!(
            "remove {CHUNKS}/{file} if it is there and put the file again; if that stores {CHUNKS}/{plain} instead, copy it to {CHUNKS}/{file} for the earlier versions"
        ),
    }
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
