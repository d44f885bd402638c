//! Reading a table's log: what is new, what is older, what revision a name means.

use std::sync::Arc;

use super::history::{Address, Known, Loaded, ancestors, checked_parent};
use super::snapshot::Resolved;
use super::{MAIN, Table, lock};
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::format::table::{Entry, ParentRef};
use crate::id::Revision;

/// How many older entries are read at one time: those of a block of a checkpoint.
pub(super) const BLOCK: u64 = 256;

/// One revision, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRecord {
    /// Its number.
    pub revision: Revision,
    /// The branch it was made on.
    pub branch: String,
    /// What it follows: none for the first.
    pub parents: Vec<Parent>,
    /// Who made it.
    pub author: String,
    /// When.
    pub time: Micros,
    /// Why.
    pub message: String,
    /// With what.
    pub tool: String,
    /// Cells set.
    pub cells: u64,
    /// Rows appended.
    pub rows_added: u64,
    /// Rows dropped.
    pub rows_dropped: u64,
    /// Rows that had been dropped and are there again.
    pub rows_restored: u64,
    /// Bytes it added under the root: its files and its entry. Files left in place count nothing.
    pub bytes: u64,
}

/// A revision by number and by what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its number.
    pub revision: Revision,
    /// The BLAKE3 hash of its log entry, in hexadecimal.
    pub hash: String,
}

impl Table {
    /// The revision that `text` names: a number (`7`, `r7`), a branch, a tag, or a time such as
    /// `2026-11-01T12:00Z`, which means the newest revision of `main` by then.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) or
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), saying what a name may be.
    pub async fn resolve(&self, text: &str) -> Result<Revision> {
        self.refresh().await?;
        match Address::parse(text)? {
            Address::Number(revision) => {
                self.entry(revision.0).await?;
                Ok(revision)
            }
            Address::Name(name) => {
                let found = self.with_known(|known| known.refs().get(&name).cloned());
                match found.flatten() {
                    Some(named) => Ok(Revision(named.revision)),
                    None => Err(self.no_ref("branch or tag", &name)),
                }
            }
            Address::Time(time) => self.at_time(time).await,
        }
    }

    /// All revisions, of all branches, newest first. Reads the whole log once.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub async fn log(&self) -> Result<Vec<RevisionRecord>> {
        self.refresh().await?;
        self.read_back_to(0).await?;
        let records = self.with_known(|known| {
            let revisions = known
                .iter()
                .rev()
                .filter(|loaded| loaded.entry.is_revision());
            revisions.map(|loaded| record(loaded)).collect()
        });
        Ok(records.unwrap_or_default())
    }

    /// The revisions that led to one, itself included, newest first. Reads the whole log once.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub async fn log_of(
        &self,
        revision: impl Into<Revision> + Send,
    ) -> Result<Vec<RevisionRecord>> {
        let revision = revision.into();
        let all = self.log().await?;
        self.entry(revision.0).await?;
        let led = self.ancestry(|known| ancestors(known, revision.0)).await?;
        Ok(all
            .into_iter()
            .filter(|record| led.contains(&record.revision.0))
            .collect())
    }

    /// Whether it is the table that it was at the first call, and not one that somebody put in its
    /// place. One request.
    #[cfg(feature = "sql")]
    pub(crate) async fn is_same(&self) -> Result<bool> {
        let first = self.inner.log.read(Revision::FIRST).await?;
        let first = first.map(|bytes| blake3::hash(&bytes).to_hex().to_string());
        Ok(self.inner.first.get_or_init(|| first.clone()) == &first && first.is_some())
    }

    async fn at_time(&self, time: Micros) -> Result<Revision> {
        let mut next = Some(self.branch_head(MAIN)?.revision);
        while let Some(revision) = next {
            let loaded = self.entry(revision).await?;
            if Micros::from_rfc3339(&loaded.entry.time).is_some_and(|made| made <= time) {
                return Ok(Revision(revision));
            }
            next = loaded.entry.parents.first().map(|parent| parent.revision);
        }
        Err(Error::not_found(format!(
            "table {} was not there yet at {}",
            self.name(),
            time.to_rfc3339()
        )))
    }

    /// Asks what is known of the log; `None` before it was read.
    pub(super) fn with_known<T>(&self, ask: impl FnOnce(&Known) -> T) -> Option<T> {
        lock(&self.inner.known).as_ref().map(ask)
    }

    /// Asks what came before what, reading back as far as the answer needs.
    pub(super) async fn ancestry<T: Send>(
        &self,
        ask: impl Fn(&Known) -> Option<T> + Send,
    ) -> Result<T> {
        loop {
            if let Some(found) = self.with_known(&ask).flatten() {
                return Ok(found);
            }
            match self.with_known(|known| known.first()) {
                Some(first) if first > 0 => self.read_back_to(first - 1).await?,
                _ => {
                    let name = self.name();
                    return Err(Error::corrupt(format!(
                        "the revisions of table {name} have no beginning in common"
                    )));
                }
            }
        }
    }

    /// What a branch names.
    pub(super) fn branch_head(&self, name: &str) -> Result<ParentRef> {
        let found = self.with_known(|known| known.refs().branches.get(name).cloned());
        found.flatten().ok_or_else(|| self.no_ref("branch", name))
    }

    pub(super) fn no_ref(&self, what: &str, name: &str) -> Error {
        let names = self.with_known(|known| {
            let (branches, tags) = (known.refs().branches.keys(), known.refs().tags.keys());
            let tags = tags.filter(|_| what != "branch");
            branches.chain(tags).cloned().collect::<Vec<_>>().join(", ")
        });
        let is_tag = self.with_known(|known| known.refs().tags.contains_key(name));
        let tag = match (what, is_tag) {
            ("branch", Some(true)) => ", which is a tag",
            _ => "",
        };
        Error::not_found(format!(
            "table {} has no {what} {name:?}{tag}; there is {}",
            self.name(),
            names.unwrap_or_default()
        ))
    }

    /// Finds the table: its log is there and can be read, whatever becomes of what it names.
    pub(crate) async fn found(&self) -> Result<()> {
        self.refresh().await
    }

    /// Reads what the log has beyond the entries known so far.
    pub(super) async fn refresh(&self) -> Result<()> {
        let unreadable = |err: Error| {
            let (project, name) = (self.project(), self.name());
            err.context(format!("cannot read the log of table {project}/{name}"))
        };
        let known = self.with_known(|known| known.next());
        let next = match known {
            Some(next) => next,
            None => self.begin().await.map_err(unreadable)?,
        };
        let entries = match known {
            Some(_) => self.inner.log.entries(Revision(next)).await,
            None => self.inner.log.listed(Revision(next)).await,
        };
        let entries = entries.map_err(unreadable)?;
        if next == 0 && entries.is_empty() {
            let (project, name) = (self.project(), self.name());
            return Err(Error::not_found(format!(
                "project {project} has no table {name}"
            )));
        }
        let read = (next..)
            .zip(&entries)
            .map(|(number, bytes)| self.loaded(number, bytes));
        let read = read.collect::<Result<Vec<_>>>()?;
        let mut shared = lock(&self.inner.known);
        let known = shared.get_or_insert_default();
        for loaded in read {
            known.push(loaded);
        }
        Ok(())
    }

    /// Begins with the newest checkpoint, if there is one that can be read: the number after it.
    async fn begin(&self) -> Result<u64> {
        let Some(checkpoint) = self.newest_checkpoint().await else {
            return Ok(0);
        };
        let known = checkpoint.known();
        let next = known.next();
        lock(&self.inner.known).get_or_insert(known);
        Ok(next)
    }

    /// Remembers an entry that we wrote.
    pub(super) fn keep(&self, loaded: &Arc<Loaded>) {
        if let Some(known) = lock(&self.inner.known).as_mut() {
            known.push(Arc::clone(loaded));
        }
    }

    pub(super) fn loaded(&self, number: u64, bytes: &[u8]) -> Result<Arc<Loaded>> {
        Loaded::read(self.name().as_str(), number, bytes).map(Arc::new)
    }

    /// The entry of a revision, read if it is older than what is known.
    pub(super) async fn entry(&self, revision: u64) -> Result<Arc<Loaded>> {
        self.read_back_to(revision).await?;
        let found = self
            .with_known(|known| known.get(revision).cloned())
            .flatten();
        match found {
            Some(loaded) if loaded.entry.is_revision() => Ok(loaded),
            Some(_) => Err(Error::not_found(format!(
                "table {} has no revision {revision}: entry {revision} of its log only sets branches and tags",
                self.name()
            ))),
            None => {
                let newest = self.with_known(|known| {
                    let revisions = known.refs().branches.values().map(|head| head.revision);
                    revisions.max().unwrap_or(0)
                });
                Err(Error::not_found(format!(
                    "table {} has no revision {revision}; its newest is {}",
                    self.name(),
                    newest.unwrap_or(0)
                )))
            }
        }
    }

    /// Makes the entries from `number` on known. Older ones are read a block at a time, so that
    /// whoever walks back asks rarely.
    pub(super) async fn read_back_to(&self, number: u64) -> Result<()> {
        loop {
            let first = self.with_known(|known| known.first()).unwrap_or(0);
            if number >= first {
                return Ok(());
            }
            let start = (first - 1) / BLOCK * BLOCK;
            let older = match self.block(start, first).await {
                Some(older) => older,
                None => {
                    self.inner
                        .log
                        .range(Revision(start), Revision(first))
                        .await?
                }
            };
            let read = (start..)
                .zip(&older)
                .map(|(number, bytes)| self.loaded(number, bytes));
            let read = read.collect::<Result<Vec<_>>>()?;
            if let Some(known) = lock(&self.inner.known).as_mut() {
                known.prepend(read);
            }
        }
    }

    /// The state at a revision: from the nearest one on its line that is known already.
    pub(super) async fn resolved(&self, revision: u64) -> Result<Arc<Resolved>> {
        let mut line: Vec<Arc<Loaded>> = Vec::new();
        let mut named: Option<(u64, ParentRef)> = None;
        let mut next = revision;
        let start = loop {
            if let Some(found) = self.cached(next) {
                break found;
            }
            let hash = named.as_ref().map(|(_, parent)| parent.hash.as_str());
            if let Some(found) = self.checkpointed(next, hash).await {
                break found;
            }
            let loaded = self.entry(next).await?;
            if let Some((child, parent)) = &named {
                checked_parent(self.name().as_str(), *child, parent, &loaded)?;
            }
            let parent = loaded.entry.parents.first().cloned();
            line.push(loaded);
            match parent {
                Some(parent) => {
                    let child = std::mem::replace(&mut next, parent.revision);
                    named = Some((child, parent));
                }
                None => break Arc::new(Resolved::empty(self.place().aliases().await?)),
            }
        };
        if line.is_empty() {
            return Ok(start);
        }
        line.reverse();
        let resolved = Arc::new(start.followed_by(self, &line).await?);
        self.cache(&resolved);
        Ok(resolved)
    }
}

pub(super) fn record(loaded: &Loaded) -> RevisionRecord {
    let entry = &loaded.entry;
    let parents = entry.parents.iter();
    RevisionRecord {
        revision: Revision(entry.revision),
        branch: entry.branch.clone(),
        parents: parents
            .map(|parent| Parent {
                revision: Revision(parent.revision),
                hash: parent.hash.clone(),
            })
            .collect(),
        author: entry.author.clone(),
        time: Micros::from_rfc3339(&entry.time).unwrap_or_default(),
        message: entry.message.clone(),
        tool: entry.tool.clone(),
        cells: entry.cells_set.iter().map(|set| set.cells).sum(),
        rows_added: entry.rows_added.iter().map(|rows| rows.rows).sum(),
        rows_dropped: entry
            .rows_dropped
            .as_ref()
            .map_or(0, |dropped| dropped.rows),
        rows_restored: entry
            .rows_restored
            .as_ref()
            .map_or(0, |restored| restored.rows),
        bytes: loaded.bytes + file_bytes(entry),
    }
}

/// Bytes of the files that a revision wrote, beside its entry.
fn file_bytes(entry: &Entry) -> u64 {
    let compacted = entry.compacted.iter();
    let rows = entry
        .rows_added
        .iter()
        .chain(compacted.clone().flat_map(|compacted| &compacted.rows))
        .filter(|rows| rows.in_place.is_none())
        .map(|rows| rows.bytes);
    let ids = entry.rows_dropped.iter().chain(&entry.rows_restored);
    let ids = ids.chain(compacted.flat_map(|compacted| &compacted.left_behind));
    let dropped = ids.map(|dropped| dropped.bytes);
    let cells = entry.cells_set.iter().map(|cells| cells.bytes);
    rows.chain(dropped).chain(cells).sum()
}
