//! The entries that a writer appends to the log of its run: in their order, beside its other work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::lane::Lane;
use super::shared::Shared;
use super::spool::Spool;
use crate::error::Result;
use crate::format::run::{Entry, Event};
use crate::format::{self, VERSION};
use crate::id::Revision;
use crate::log::{Append, Log};
use crate::store::Place;

/// See the module.
#[derive(Debug)]
pub(crate) struct Entries {
    shared: Arc<Shared>,
    /// The run's.
    place: Place,
    log: Log,
    /// The number of the next entry, unless another writer has it.
    next: Revision,
    waiting: VecDeque<Waiting>,
    appending: Lane<Revision>,
    /// How many were ever appended.
    n_appended: u64,
}

/// An entry that is not in the log yet.
#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    /// Where it is kept until then.
    file: Option<PathBuf>,
}

impl Entries {
    pub(crate) fn new(shared: Arc<Shared>, place: Place, next: Revision) -> Self {
        Self {
            shared,
            log: Log::of_thread(&place),
            place,
            next,
            waiting: VecDeque::new(),
            appending: Lane::default(),
            n_appended: 0,
        }
    }

    /// Puts an entry behind the others, and keeps it in `spool`. Once encoded, it keeps its stamp: tried again, it is
    /// recognised as the same.
    ///
    /// # Errors
    /// If it cannot be encoded, or kept; it is then appended all the same.
    pub(crate) fn queue(&mut self, event: Event, spool: Option<&mut Spool>) -> Result<()> {
        let bytes = encode_entry(&self.place, event)?;
        let kept = spool.map(|spool| spool.keep(self.next, &bytes)).transpose();
        let (file, kept) = match kept {
            Ok(file) => (file, Ok(())),
            Err(err) => (None, Err(err)),
        };
        self.waiting.push_back(Waiting { bytes, file });
        kept
    }

    /// How many are not in the log yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many will ever have been appended once those are that wait now.
    pub(crate) fn n_queued(&self) -> u64 {
        self.n_appended + self.waiting.len() as u64
    }

    pub(crate) fn n_appended(&self) -> u64 {
        self.n_appended
    }

    pub(crate) fn lane(&mut self) -> &mut Lane<Revision> {
        &mut self.appending
    }

    /// Goes on with appending without waiting for it.
    ///
    /// # Errors
    /// Why the last append failed; it is tried again.
    pub(crate) async fn append_some(&mut self) -> Result<()> {
        let ended = self.appending.ended().await;
        self.settle(ended)?;
        if self.appending.is_free() {
            self.begin();
        }
        Ok(())
    }

    /// Appends all.
    ///
    /// # Errors
    /// Why one could not be appended; it and those after it wait.
    pub(crate) async fn append_all(&mut self) -> Result<()> {
        loop {
            let ended = self.appending.end().await;
            self.settle(ended)?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.begin();
        }
    }

    fn begin(&mut self) {
        if let Some(Waiting { bytes, .. }) = self.waiting.front() {
            let append = append(self.log.clone(), self.next, bytes.clone());
            self.appending.begin(&self.shared, append);
        }
    }

    fn settle(&mut self, ended: Option<Result<Revision>>) -> Result<()> {
        let Some(next) = ended.transpose()? else {
            return Ok(());
        };
        self.next = next;
        self.n_appended += 1;
        if let Some(Waiting {
            file: Some(file), ..
        }) = self.waiting.pop_front()
        {
            // One that stays is recognised in the log when it is met again.
            std::fs::remove_file(file).unwrap_or_default();
        }
        Ok(())
    }
}

/// Appends `entry` with the first number from `next` on that nobody else has, and gives the number after it. An entry that is there
/// already is not appended again.
///
/// # Errors
/// As [`Log::append`].
pub(crate) async fn append(log: Log, mut next: Revision, entry: Bytes) -> Result<Revision> {
    while log.append(next, entry.clone()).await? == Append::Taken {
        next = next.next();
    }
    Ok(next.next())
}

/// An entry as bytes that no other writer writes.
///
/// # Errors
/// As [`format::encode`].
pub(crate) fn encode_entry(place: &Place, event: Event) -> Result<Bytes> {
    let (stamp, time) = (place.env.fresh_id(), place.env.now().to_rfc3339());
    format::encode(&Entry {
        format: VERSION,
        stamp,
        time,
        event,
    })
}
