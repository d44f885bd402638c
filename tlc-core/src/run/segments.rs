//! The segments of one writer: one of scalars, one for each epoch of each stream, and one for each kind of items grow at
//! a time; those that have ended wait to be folded, one after the other, beside the writer's other work.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffer::{Held, Scalars, Taken};
use super::frame::End;
use super::growing::{self, Closed, Content, Growing};
use super::item_columns;
use super::items::{Item, ItemKind};
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
    folder: Option<PathBuf>,
    identity: Identity,
    n_files: u64,
    scalars: Option<Growing>,
    /// At most one for each stream and each kind of items.
    rows: Vec<Growing>,
    /// Those that end with the next [`Self::store`] that succeeds.
    ending: Vec<Growing>,
    closed: VecDeque<Closed>,
    folding: Option<JoinHandle<Result<()>>>,
}

impl Segments {
    pub(crate) fn new(shared: Arc<Shared>, place: Place, identity: Identity) -> Self {
        Self {
            shared,
            folder: place.on_disk(),
            place,
            identity,
            n_files: 0,
            scalars: None,
            rows: Vec::new(),
            ending: Vec::new(),
            closed: VecDeque::new(),
            folding: None,
        }
    }

    /// Whether readers see segments while they grow.
    pub(crate) fn are_seen(&self) -> bool {
        self.folder.is_some()
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
        self.shared.given_up(held);
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
            match store(&mut growing, true, &self.shared) {
                Ok(()) => self.closed.push_back(growing.close()),
                Err(err) => {
                    failed = failed.and(Err(err));
                    self.ending.push(growing);
                }
            }
        }
        failed
    }

    /// Ends all segments. What was never written to a file goes into the folded ones at once.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(crate) fn close_all(&mut self) -> Result<()> {
        self.end_all();
        let unwritten = self.ending.extract_if(.., |growing| !growing.has_file());
        self.closed.extend(unwritten.map(Growing::close));
        self.store(true)
    }

    /// Goes on with folding without waiting for it.
    ///
    /// # Errors
    /// Why the last fold failed; it is tried again with the next call.
    pub(crate) async fn fold_some(&mut self) -> Result<()> {
        match &self.folding {
            Some(folding) if !folding.is_finished() => Ok(()),
            _ => {
                let before = self.folded().await;
                if before.is_ok() {
                    self.begin_fold();
                }
                before
            }
        }
    }

    /// Folds all that have ended.
    ///
    /// # Errors
    /// Why one could not be folded; it and those after it are still there.
    pub(crate) async fn fold_all(&mut self) -> Result<()> {
        loop {
            self.folded().await?;
            if self.closed.is_empty() {
                return Ok(());
            }
            self.begin_fold();
        }
    }

    fn begin_fold(&mut self) {
        if let Some(closed) = self.closed.front() {
            let path = closed.stem.path(PARQUET);
            let folding = fold(self.place.clone(), path, closed.content.clone());
            self.folding = Some(tokio::spawn(folding));
        }
    }

    /// Waits for the fold that goes on.
    async fn folded(&mut self) -> Result<()> {
        let Some(folding) = self.folding.take() else {
            return Ok(());
        };
        let folded = match folding.await {
            Ok(folded) => folded,
            Err(err) => {
                Err(Error::new(ErrorKind::Unavailable, "folding did not end").with_source(err))
            }
        };
        match folded {
            Ok(()) => {
                if let Some(Closed { held, .. }) = self.closed.pop_front() {
                    self.shared.stored(held);
                }
                Ok(())
            }
            // Somebody removed the file, or it was damaged: trying again does not help.
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                if let Some(Closed { held, total, .. }) = self.closed.pop_front() {
                    // What was in a file takes no room any more.
                    match held.rows.is_none() {
                        true => self.shared.lock().buffer.lose(total.rows),
                        false => self.shared.given_up(held),
                    }
                }
                Err(err)
            }
            Err(err) => Err(err),
        }
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

    /// Counts as lost what is stored nowhere.
    pub(crate) fn give_up(&mut self) {
        self.shared.given_up(self.held());
        (self.scalars, self.rows, self.ending) = (None, Vec::new(), Vec::new());
        self.closed.clear();
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
