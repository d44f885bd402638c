//! The segments of one writer: one of scalars, one for each epoch of each stream, and one for each kind of items grow at
//! a time; those that have ended wait to be folded, one after the other, beside the writer's other work.
//!
//! They grow in the run's folder if that is on this machine's disk, where readers see them. For any other store they grow in the
//! [spool](super::spool), or in memory where there is none, and readers see what was folded.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use tokio::task::spawn_blocking;

use super::buffer::{Held, Scalars, Taken};
use super::frame::End;
use super::growing::{self, Closed, Content, Growing};
use super::item_columns;
use super::items::{Item, ItemKind};
use super::lane::Lane;
use super::segment::{self, PARQUET, Stem, Topic};
use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Place;

/// Bytes of a segment of scalars after which it ends: two million values.
const SCALARS_SEGMENT_BYTES: u64 = 16 << 20;

/// Bytes of a segment of sample metrics or items after which it ends, also inside an epoch.
const ROWS_SEGMENT_BYTES: u64 = 64 << 20;

/// Who writes, as its files say it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) run: String,
    pub(crate) writer: String,
    pub(crate) attempt: u32,
    pub(crate) rank: i32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Segments {
    shared: Arc<Shared>,
    /// The run's.
    place: Place,
    /// Where they grow; `None` for memory.
    folder: Option<PathBuf>,
    /// Whether that is the run's own.
    are_seen: bool,
    identity: Identity,
    n_files: u64,
    scalars: Option<Growing>,
    /// At most one for each stream and each kind of items.
    rows: Vec<Growing>,
    /// Those that end with the next [`Self::store`] that succeeds.
    ending: Vec<Growing>,
    closed: VecDeque<Closed>,
    folding: Lane<()>,
    /// How many were folded, or given up.
    n_folded: u64,
}

impl Segments {
    /// `spool` is the writer's folder there, if it has one.
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: Place,
        spool: Option<PathBuf>,
        identity: Identity,
    ) -> Self {
        let own = place.on_disk();
        Self {
            shared,
            are_seen: own.is_some(),
            folder: own.or(spool),
            place,
            identity,
            n_files: 0,
            scalars: None,
            rows: Vec::new(),
            ending: Vec::new(),
            closed: VecDeque::new(),
            folding: Lane::default(),
            n_folded: 0,
        }
    }

    /// Whether readers see segments while they grow.
    pub(crate) fn are_seen(&self) -> bool {
        self.are_seen
    }

    /// How many will have been folded once all those are that have ended.
    pub(crate) fn n_closed(&self) -> u64 {
        self.n_folded + self.closed.len() as u64
    }

    pub(crate) fn n_folded(&self) -> u64 {
        self.n_folded
    }

    /// How many have ended and are not folded.
    pub(crate) fn n_waiting(&self) -> usize {
        self.closed.len()
    }

    pub(crate) fn lane(&mut self) -> &mut Lane<()> {
        &mut self.folding
    }

    /// Adds rows to the segments they belong to. What cannot be encoded is counted as lost.
    ///
    /// # Errors
    /// If something was lost, why.
    pub(crate) fn add(&mut self, taken: &Taken, names: &[Arc<str>]) -> Result<()> {
        let mut failed = Ok(());
        if taken.scalars.len() > 0
            && let Err(err) = self.add_scalars(&taken.scalars, names)
        {
            let mut held = Held::default();
            held.rows.scalars = taken.scalars.len() as u64;
            failed = self.lose(held, err);
        }
        if taken.forgets_names {
            self.ending.extend(self.scalars.take());
        }
        for group in &taken.groups {
            let topic = Topic::Samples(group.stream.clone(), group.epoch);
            if let Err(err) = self.add_rows(topic, |growing| growing.add_samples(group)) {
                let mut held = Held::default();
                (held.rows.sample_rows, held.sample_bytes) = (group.n_rows as u64, group.bytes);
                failed = self.lose(held, err);
            }
        }
        for kind in ItemKind::ALL {
            let items = taken.items.iter().filter(|item| item.kind() == kind);
            failed = failed.and(self.add_items(kind, &items.collect::<Vec<_>>()));
        }
        failed
    }

    fn add_items(&mut self, kind: ItemKind, items: &[&Item]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let mut held = Held::default();
        held.rows.items = items.len() as u64;
        held.item_bytes = items.iter().map(|item| item.bytes()).sum();
        let added = item_columns::batch(kind, items).and_then(|batch| {
            let add = |growing: &mut Growing| growing.add_items(&batch, held);
            self.add_rows(Topic::Items(kind), add)
        });
        added.or_else(|err| self.lose(held, err))
    }

    fn lose(&self, held: Held, err: Error) -> Result<()> {
        self.shared.given_up(held, held.rows);
        Err(err.context("cannot encode metrics"))
    }

    fn add_scalars(&mut self, scalars: &Scalars, names: &[Arc<str>]) -> Result<()> {
        let mut growing = match self.scalars.take() {
            Some(growing) => growing,
            None => self.begin(Topic::Scalars)?,
        };
        let added = growing.add_scalars(scalars, names);
        match growing.bytes() < SCALARS_SEGMENT_BYTES {
            true => self.scalars = Some(growing),
            false => self.ending.push(growing),
        }
        added
    }

    /// An epoch that begins ends the segment of the one before.
    fn add_rows(
        &mut self,
        topic: Topic,
        add: impl FnOnce(&mut Growing) -> Result<()>,
    ) -> Result<()> {
        let is_before = |growing: &Growing| match (&growing.stem.topic, &topic) {
            (Topic::Samples(before, _), Topic::Samples(stream, _)) => before == stream,
            (before, topic) => before == topic,
        };
        let before = self.rows.iter().position(is_before);
        let before = before.map(|at| self.rows.swap_remove(at));
        let mut growing = match before {
            Some(growing) if growing.stem.topic == topic => growing,
            ended => {
                self.ending.extend(ended);
                self.begin(topic)?
            }
        };
        let added = add(&mut growing);
        match growing.bytes() < ROWS_SEGMENT_BYTES {
            true => self.rows.push(growing),
            false => self.ending.push(growing),
        }
        added
    }

    fn begin(&mut self, topic: Topic) -> Result<Growing> {
        let Identity {
            run,
            writer,
            attempt,
            rank,
        } = &self.identity;
        let stem = Stem {
            topic,
            attempt: *attempt,
            writer: writer.clone(),
            number: self.n_files,
        };
        self.n_files += 1;
        Growing::new(self.folder.as_deref(), run, stem, *rank)
    }

    fn end_all(&mut self) {
        self.ending.extend(self.scalars.take());
        self.ending.append(&mut self.rows);
    }

    /// Writes what is to be written, and makes it outlive a loss of power if `sync`.
    ///
    /// # Errors
    /// The first of the disk; the rest was tried all the same.
    pub(crate) fn store(&mut self, sync: bool) -> Result<()> {
        let mut failed = Ok(());
        for growing in self.scalars.iter_mut().chain(&mut self.rows) {
            if let Err(err) = store(growing, sync, &self.shared) {
                failed = failed.and(Err(err));
            }
        }
        for mut growing in std::mem::take(&mut self.ending) {
            let stored = store(&mut growing, true, &self.shared);
            // Where the spool takes no more, the store itself may.
            let can_close = stored.is_ok() || (!self.are_seen && growing.recall().is_ok());
            failed = failed.and(stored);
            match can_close {
                true => self.closed.push_back(growing.close()),
                false => self.ending.push(growing),
            }
        }
        failed
    }

    /// Ends all segments. What was never written to the run's own folder goes into the folded ones at once.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(crate) fn close_all(&mut self) -> Result<()> {
        self.end_all();
        if self.are_seen {
            let unwritten = self.ending.extract_if(.., |growing| !growing.has_file());
            self.closed.extend(unwritten.map(Growing::close));
        }
        self.store(true)
    }

    /// Goes on with folding without waiting for it.
    ///
    /// # Errors
    /// Why the last fold failed; it is tried again.
    pub(crate) async fn fold_some(&mut self) -> Result<()> {
        let ended = self.folding.ended().await;
        self.settle(ended)?;
        if self.folding.is_free() {
            self.begin_fold();
        }
        Ok(())
    }

    /// Folds all that have ended.
    ///
    /// # Errors
    /// Why one could not be folded; it and those after it are still there.
    pub(crate) async fn fold_all(&mut self) -> Result<()> {
        loop {
            let ended = self.folding.end().await;
            self.settle(ended)?;
            if self.closed.is_empty() {
                return Ok(());
            }
            self.begin_fold();
        }
    }

    fn begin_fold(&mut self) {
        if let Some(closed) = self.closed.front() {
            let path = closed.stem.path(PARQUET);
            let fold = fold(self.place.clone(), path, closed.content.clone());
            self.folding.begin(&self.shared, fold);
        }
    }

    fn settle(&mut self, ended: Option<Result<()>>) -> Result<()> {
        // Somebody removed the file, or it was damaged: trying again does not help.
        let is_lost = |err: &Error| matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Corrupt);
        let folded = match ended {
            None => return Ok(()),
            Some(Err(err)) if !is_lost(&err) => return Err(err),
            Some(folded) => folded,
        };
        self.n_folded += 1;
        if let Some(Closed { held, total, .. }) = self.closed.pop_front() {
            match &folded {
                Ok(()) => self.shared.stored(held),
                Err(_) => self.shared.given_up(held, total.rows),
            }
        }
        folded
    }

    /// Takes over segments that a writer left which is no more: they are folded as if they were its own.
    pub(crate) fn adopt(&mut self, left: impl Iterator<Item = Stem>) {
        let Some(folder) = &self.folder else { return };
        self.closed.extend(left.map(|stem| Closed {
            content: Content::Disk(growing::path(folder, &stem)),
            stem,
            held: Held::default(),
            total: Held::default(),
        }));
    }

    /// Rows that are stored nowhere yet.
    pub(crate) fn held(&self) -> Held {
        let growing = self.scalars.iter().chain(&self.rows).chain(&self.ending);
        let held = growing.map(Growing::held);
        let mut sum = Held::default();
        for held in held.chain(self.closed.iter().map(|closed| closed.held)) {
            sum.add(held);
        }
        sum
    }

    /// Counts as lost what is stored nowhere. What is in the spool stays there.
    pub(crate) fn give_up(&mut self) {
        let growing = self.scalars.take().into_iter();
        let growing = growing
            .chain(self.rows.drain(..))
            .chain(self.ending.drain(..));
        for held in growing.map(|growing| growing.held()) {
            self.shared.given_up(held, held.rows);
        }
        self.closed.retain(|closed| {
            let is_kept = matches!(closed.content, Content::Disk(_));
            if !is_kept {
                self.shared.given_up(closed.held, closed.total.rows);
            }
            is_kept
        });
    }
}

fn store(growing: &mut Growing, sync: bool, shared: &Shared) -> Result<()> {
    let stored = growing.write()?;
    shared.stored(stored);
    match sync {
        true => growing.sync(),
        false => Ok(()),
    }
}

/// Writes the rows of a segment as Parquet, and removes the segment.
pub(crate) async fn fold(place: Place, path: String, content: Content) -> Result<()> {
    let at = path
        .split('/')
        .fold(place.path.clone(), |at, name| at.join(name));
    let what = path.clone();
    let source = content.clone();
    let folded = spawn_blocking(move || {
        let bytes = match source {
            Content::Memory(bytes) => bytes,
            Content::Disk(file) => read(&file)?,
        };
        let content = segment::read(&what, &bytes)?;
        match content.end {
            End::Damaged => Err(Error::corrupt(format!(
                "{what} was damaged after it was written"
            ))),
            End::Whole | End::Torn => content.fold(),
        }
    });
    let folded = folded.await.map_err(|err| {
        Error::new(ErrorKind::Unavailable, format!("cannot fold {path}")).with_source(err)
    })??;
    if let Some(folded) = folded {
        let put = place.store.put(&at, folded.into()).await;
        put.map_err(|err| Error::from(err).context(format!("cannot write {at}")))?;
    }
    if let Content::Disk(file) = content {
        // Where it stays, the folded file counts.
        std::fs::remove_file(file).unwrap_or_default();
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Bytes> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(bytes.into()),
        Err(err) => {
            let kind = match err.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::Unavailable,
            };
            Err(Error::new(kind, format!("cannot read {}", file.display())).with_source(err))
        }
    }
}
