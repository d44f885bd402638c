//! A log: numbered entries, each created once and never overwritten.
//!
//! This is the whole commit protocol of tables and runs. The next entry is created with
//! [`PutMode::Create`], which a store must keep ([`Gate`] sees to it); there is no pointer, no lock and no ETag. An
//! answer that was lost is settled by reading back, which is why an entry must hold something that
//! no other writer writes (its stamp).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, PutMode};

use crate::error::{Error, Result};
use crate::id::Revision;
use crate::store::{self, Gate, Place};

/// How many entries are read at the same time.
const READS_MAX: usize = 32;

/// How many numbers after the last known one are tried before the folder is listed.
const PROBES_MAX: u64 = 4;

/// The largest entry that is read: a log entry holds references, not rows.
pub(crate) const ENTRY_BYTES_MAX: usize = 64 << 20;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Append {
    /// The entry is now part of the log, for every reader.
    Written,
    /// Another writer has this number already.
    Taken,
}

/// The entries of one table or run, in one folder of a store. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    gate: Gate,
}

impl Log {
    /// The log in the folder `folder` of `store`, which is trusted to create an object once. Nothing
    /// is requested.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, folder: Path) -> Self {
        Self {
            store,
            folder,
            gate: Gate::open(),
        }
    }

    /// The log of a table or a run.
    pub(crate) fn of(place: &Place) -> Self {
        Self {
            store: Arc::clone(&place.store),
            folder: place.path.clone().join("log"),
            gate: place.gate.clone(),
        }
    }

    /// The same for a thread of its own, which may wait for the disk itself.
    pub(crate) fn of_thread(place: &Place) -> Self {
        Self {
            store: place.waiting_store(),
            ..Self::of(place)
        }
    }

    /// Finds out whether entries can be appended safely, for a caller with much to do before that.
    ///
    /// # Errors
    /// As [`Self::append`], where the store is the reason.
    pub(crate) async fn check_store(&self) -> Result<()> {
        self.gate.pass().await.map(drop)
    }

    /// Appends `entry` as number `revision`, unless another entry is there.
    ///
    /// At most one writer gets each number. `entry` must hold something that no other writer
    /// writes: where an answer was lost after the bytes landed, the entry that is found is our own.
    /// One request; two more after an unclear answer; one more for a single writer, who looks first.
    /// The first append to a store that is not known costs more: it is tried out.
    ///
    /// # Errors
    /// Those of the store, when even reading back does not tell. Calling again *with the same
    /// bytes* is then safe. [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the store would let
    /// two writers have one number, or if the entry is too large.
    pub async fn append(&self, revision: Revision, entry: Bytes) -> Result<Append> {
        let path = self.path(revision);
        if entry.len() > ENTRY_BYTES_MAX {
            let bytes = entry.len();
            return Err(Error::invalid(format!(
                "a log entry of {bytes} bytes is too large; change less at one time"
            )));
        }
        let alone = self.gate.pass().await?;
        if alone.is_some()
            && let Some(found) = store::read_at_most(&*self.store, &path, ENTRY_BYTES_MAX).await?
        {
            return Ok(outcome(&found, &entry));
        }
        let put = self
            .store
            .put_opts(&path, entry.clone().into(), PutMode::Create.into());
        match put.await {
            Ok(_) => Ok(Append::Written),
            Err(err) => match store::read_at_most(&*self.store, &path, ENTRY_BYTES_MAX).await {
                Ok(Some(found)) => Ok(outcome(&found, &entry)),
                Ok(None) => Err(Error::from(err).context(format!("cannot write {path}"))),
                // The read tells why the store cannot say; the put may only have said "exists".
                Err(unclear) => {
                    Err(unclear.context(format!("cannot tell whether {path} was written")))
                }
            },
        }
    }

    /// Reads entry `revision`; `None` if there is none. One request.
    ///
    /// # Errors
    /// Those of the store; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if the entry is
    /// larger than an entry can be.
    pub async fn read(&self, revision: Revision) -> Result<Option<Bytes>> {
        store::read_at_most(&*self.store, &self.path(revision), ENTRY_BYTES_MAX).await
    }

    /// Reads the entries from `first` to the last, in order.
    ///
    /// A few numbers are tried one by one, which is all that a caller who is nearly up to date
    /// needs; after that the folder is listed from there on, and the rest is read at the same time.
    ///
    /// # Errors
    /// Those of the store; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if a number is missing.
    pub async fn entries(&self, first: Revision) -> Result<Vec<Bytes>> {
        let mut entries = Vec::new();
        if first > Revision::FIRST {
            while (entries.len() as u64) < PROBES_MAX {
                match self.read(Revision(first.0 + entries.len() as u64)).await? {
                    Some(entry) => entries.push(entry),
                    None => return Ok(entries),
                }
            }
        }
        let next = Revision(first.0 + entries.len() as u64);
        entries.extend(self.listed(next).await?);
        Ok(entries)
    }

    /// The same for a caller who may be far behind: the folder is listed at once.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub async fn listed(&self, first: Revision) -> Result<Vec<Bytes>> {
        let end = self.end(first).await?;
        self.range(first, end).await
    }

    /// Reads the entries from `first` up to `end`, which must all be there, in order.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub async fn range(&self, first: Revision, end: Revision) -> Result<Vec<Bytes>> {
        let reads = (first.0..end.0).map(|number| async move {
            let path = self.path(Revision(number));
            let missing =
                || Error::corrupt(format!("{path} is missing, though later entries are there"));
            self.read(Revision(number)).await?.ok_or_else(missing)
        });
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }

    /// The number after the last entry, which is `first` if there is none from there on: one listing.
    async fn end(&self, first: Revision) -> Result<Revision> {
        let tail = self.tail(first).await?;
        let ends = tail
            .iter()
            .map(|(number, _)| Revision(number.saturating_add(1)));
        Ok(ends.fold(first, Revision::max))
    }

    /// The entries from `first` on by their numbers, unread, in the order in which the store lists them: one listing.
    pub(crate) async fn tail(&self, first: Revision) -> Result<Vec<(u64, ObjectMeta)>> {
        let mut listing = match first.0.checked_sub(1) {
            Some(before) => {
                let offset = self.path(Revision(before));
                self.store.list_with_offset(Some(&self.folder), &offset)
            }
            None => self.store.list(Some(&self.folder)),
        };
        let mut tail = Vec::new();
        while let Some(object) = listing.try_next().await? {
            if let Some(number) = object.location.filename().and_then(number) {
                tail.push((number, object));
            }
        }
        Ok(tail)
    }

    fn path(&self, revision: Revision) -> Path {
        self.folder
            .clone()
            .join(format!("{}.json", revision.file_stem()))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("folder", &self.folder.as_ref())
            .finish_non_exhaustive()
    }
}

/// Whose entry it is that was found.
fn outcome(found: &Bytes, own: &Bytes) -> Append {
    match found == own {
        true => Append::Written,
        false => Append::Taken,
    }
}

/// The number in a name of twenty digits and `.json`; other files are not entries.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twenty_digits_and_json_are_an_entry() {
        assert_eq!(number("00000000000000000007.json"), Some(7));
        for other in [
            "7.json",
            "00000000000000000007.json#1",
            "checkpoint.json",
            "0000000000000000000x.json",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
