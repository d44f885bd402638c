//! Who set which cell, and when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, stream};
use roaring::RoaringTreemap;

use super::Table;
use super::history::{Loaded, fork};
use super::log::{RevisionRecord, record};
use super::snapshot::{Snapshot, read_cells, read_row_ids};
use super::state::span;
use crate::error::{Error, Result};
use crate::id::{ColumnName, Revision};
use crate::schema::{column_index, field_id};

/// How many files of cells are read at the same time.
const READS_MAX: usize = 32;

/// Which cells to blame: all of a column at the head of `main`, unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlameOptions {
    at: Option<Revision>,
    row_ids: Option<Vec<u64>>,
}

impl BlameOptions {
    /// Every cell at the head of `main`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As the table is at a revision.
    #[must_use]
    pub fn at(mut self, revision: impl Into<Revision>) -> Self {
        self.at = Some(revision.into());
        self
    }

    /// Only these rows.
    #[must_use]
    pub fn row_ids(mut self, row_ids: impl Into<Vec<u64>>) -> Self {
        self.row_ids = Some(row_ids.into());
        self
    }
}

/// The revision that gave each cell of a column its value.
#[derive(Clone, Debug)]
pub struct Blame {
    /// The column.
    pub column: ColumnName,
    /// The rows, ascending.
    pub row_ids: Vec<u64>,
    /// One a row: the revision that set the cell, added the row, or added the column.
    pub revisions: Vec<Revision>,
    /// What is known of each of these revisions.
    pub records: BTreeMap<Revision, RevisionRecord>,
}

impl Table {
    /// Finds for each cell of a column the revision that gave it its value: the last one that set it,
    /// or else the one that added the row, or the column if that came later.
    ///
    /// A cell that came by a merge is attributed to the revision that was merged, unless somebody
    /// decided a conflict. Reads the whole log, all edits of the column and, unless rows are given, the
    /// footers of files of which nothing was read yet; costs 16 bytes a row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown column, revision or row;
    /// those of reading.
    pub async fn blame(
        &self,
        column: &str,
        options: impl Into<BlameOptions> + Send,
    ) -> Result<Blame> {
        let options = options.into();
        let snapshot = match options.at {
            Some(revision) => self.at(revision).await?,
            None => self.head().await?,
        };
        let field = snapshot
            .schema()
            .field(column_index(snapshot.schema(), column)?);
        let id = field_id(field)
            .ok_or_else(|| Error::corrupt(format!("column {column:?} has no id")))?;
        let name = field.name().parse()?;
        let row_ids = rows(&snapshot, options.row_ids).await?;
        let wanted = (row_ids.len() < 1_024).then(|| row_ids.iter().copied().collect());
        let tracing = Tracing {
            table: self,
            column: id,
            wanted,
        };
        let line = self.line_from_first(snapshot.revision().0).await?;
        let traced = tracing.walk(&line).await?;
        let revisions: Vec<Revision> = row_ids
            .iter()
            .map(|row_id| Revision(traced.of(*row_id)))
            .collect();
        let mut records = BTreeMap::new();
        for revision in &revisions {
            if !records.contains_key(revision) {
                records.insert(*revision, record(&*self.entry(revision.0).await?));
            }
        }
        Ok(Blame {
            column: name,
            row_ids,
            revisions,
            records,
        })
    }
}

/// The rows that are asked for, which must be there.
async fn rows(snapshot: &Snapshot, asked: Option<Vec<u64>>) -> Result<Vec<u64>> {
    let Some(mut row_ids) = asked else {
        return snapshot.row_ids().await;
    };
    row_ids.sort_unstable();
    row_ids.dedup();
    match row_ids.iter().find(|row_id| !snapshot.contains(**row_id)) {
        None => Ok(row_ids),
        Some(row_id) => {
            let (revision, table) = (snapshot.revision(), snapshot.table().name());
            Err(Error::not_found(format!(
                "revision {revision} of table {table} has no row {row_id}"
            )))
        }
    }
}

/// What is known so far of one line.
#[derive(Default)]
struct Traced {
    /// The revision that set a cell.
    set: HashMap<u64, u64>,
    /// The revision that added rows: ranges of ids by their start, with their end.
    added: BTreeMap<u64, (u64, u64)>,
    /// The revision that added the column, and the first row id that was free then.
    column_added: Option<(u64, u64)>,
}

impl Traced {
    /// Takes in rows that a revision added, or that it brought from another line. There, they may have
    /// been added by several revisions.
    fn add(&mut self, rows: Range<u64>, revision: u64, merged: Option<&Self>) {
        let mut at = rows.start;
        let brought = merged.map(|merged| {
            let first = merged.added.range(..=rows.start).next_back();
            let first = first.map_or(rows.start, |(start, _)| *start);
            merged.added.range(first..rows.end)
        });
        for (start, (end, origin)) in brought.into_iter().flatten() {
            let own = at.max(*start)..rows.end.min(*end);
            if own.is_empty() {
                continue;
            }
            if at < own.start {
                self.added.insert(at, (own.start, revision));
            }
            self.added.insert(own.start, (own.end, *origin));
            at = own.end;
        }
        if at < rows.end {
            self.added.insert(at, (rows.end, revision));
        }
    }

    /// The revision that added a row.
    fn adder(&self, row_id: u64) -> Option<u64> {
        let (_, (end, revision)) = self.added.range(..=row_id).next_back()?;
        (row_id < *end).then_some(*revision)
    }

    /// The revision that gave a row's cell its value.
    fn of(&self, row_id: u64) -> u64 {
        if let Some(revision) = self.set.get(&row_id) {
            return *revision;
        }
        let added = self.adder(row_id).unwrap_or(0);
        match self.column_added {
            Some((revision, _)) if added < revision => revision,
            _ => added,
        }
    }
}

/// The parts of a range of rows that are left without some of them.
fn without(rows: Range<u64>, dropped: &RoaringTreemap) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut at = rows.start;
    let mut gaps = dropped.iter();
    gaps.advance_to(rows.start);
    for row_id in gaps.take_while(|row_id| *row_id < rows.end) {
        if at < row_id {
            left.push(at..row_id);
        }
        at = row_id + 1;
    }
    if at < rows.end {
        left.push(at..rows.end);
    }
    left
}

/// One column, followed along lines of revisions.
struct Tracing<'a> {
    table: &'a Table,
    column: i32,
    /// If few rows are asked for, only these.
    wanted: Option<BTreeSet<u64>>,
}

impl Tracing<'_> {
    /// Takes the revisions of a line in, oldest first, reading what some of them set at the same time.
    async fn walk(&self, line: &[Arc<Loaded>]) -> Result<Traced> {
        let mut traced = Traced::default();
        let reads: Vec<_> = line
            .iter()
            .map(|loaded| self.set_by(loaded).boxed())
            .collect();
        let mut reads = stream::iter(line).zip(stream::iter(reads).buffered(READS_MAX));
        while let Some((loaded, set)) = reads.next().await {
            self.follow(loaded, set?, &mut traced).await?;
        }
        Ok(traced)
    }

    /// Takes one more revision of the line in, which set the column in the rows `set`.
    async fn follow(&self, loaded: &Loaded, set: Vec<u64>, traced: &mut Traced) -> Result<()> {
        let (entry, revision) = (&loaded.entry, loaded.number());
        if entry
            .columns_added
            .iter()
            .any(|added| added.column == self.column)
        {
            traced.column_added = Some((revision, entry.next_row_id));
        }
        let merged = match entry.parents.get(1) {
            Some(theirs) => Some(self.merged(loaded, theirs.revision).await?),
            None => None,
        };
        let dropped = match &entry.rows_dropped {
            Some(dropped) if !entry.rows_added.is_empty() => {
                read_row_ids(self.table.place(), dropped).await?
            }
            _ => RoaringTreemap::new(),
        };
        for rows in &entry.rows_added {
            // A file that was brought for some of its rows: the others never were on this line.
            for kept in without(span(rows), &dropped) {
                traced.add(kept, revision, merged.as_ref());
            }
        }
        if let Some(restored) = &entry.rows_restored {
            for row_id in &read_row_ids(self.table.place(), restored).await? {
                if traced.adder(row_id).is_none() {
                    traced.add(row_id..row_id + 1, revision, merged.as_ref());
                }
            }
        }
        for row_id in set {
            let origin = merged.as_ref().and_then(|merged| merged.set.get(&row_id));
            traced
                .set
                .insert(row_id, origin.copied().unwrap_or(revision));
        }
        Ok(())
    }

    /// The rows in which a revision set the column.
    async fn set_by(&self, loaded: &Loaded) -> Result<Vec<u64>> {
        let sets = loaded.entry.cells_set.iter();
        let mut rows = Vec::new();
        for set in sets.filter(|set| set.column == self.column) {
            let (ids, _) = read_cells(self.table.place(), set).await?;
            rows.extend(ids.into_iter().filter(|id| self.is_wanted(*id)));
        }
        Ok(rows)
    }

    fn is_wanted(&self, row_id: u64) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&row_id))
    }

    /// What a merge brought: followed along the other line since both parted, without the cells for
    /// which the merge has another value.
    async fn merged(&self, merge: &Loaded, theirs: u64) -> Result<Traced> {
        let ours = merge
            .entry
            .parents
            .first()
            .map_or(0, |parent| parent.revision);
        let parted = self
            .table
            .ancestry(|known| fork(known, ours, theirs))
            .await?;
        let line = self.table.line(parted, theirs).await?;
        let mut traced = Box::pin(self.walk(&line)).await?;
        let mut set: Vec<u64> = traced.set.keys().copied().collect();
        set.sort_unstable();
        let (after, before) = (
            self.table.at(merge.number()).await?,
            self.table.at(theirs).await?,
        );
        set.retain(|row_id| after.contains(*row_id) && before.contains(*row_id));
        let now = self.table.values(&after, self.column, &set).await?;
        let then = self.table.values(&before, self.column, &set).await?;
        let same = |row_id: &u64| {
            let value =
                |overlay: &Option<crate::patch::overlay::Overlay>| overlay.as_ref()?.get(*row_id);
            value(&now)
                .is_some_and(|now| value(&then).is_some_and(|then| now.to_data() == then.to_data()))
        };
        traced.set.retain(|row_id, _| same(row_id));
        Ok(traced)
    }
}
