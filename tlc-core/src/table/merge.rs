//! Bringing changes that were made elsewhere to a branch: merge, revert, cherry-pick.
//!
//! All are one thing: what turned `base` into `theirs` happens to the head of the branch. Merging,
//! `base` is where both came from; reverting, what is reverted is the base and what was before it is
//! `theirs`; and a commit that comes too late brings its patch in the same way ([`Table::commit`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchIterator};
use arrow::datatypes::SchemaRef;
use roaring::RoaringTreemap;

use super::Table;
use super::commit::{ATTEMPTS_MAX, CommitOptions, Committed};
use super::create::write_rows;
use super::history::{Loaded, merge_base};
use super::reconcile::{Reconciling, has, schema_has};
use super::resolution::{Merged, Resolution};
use super::rows::{runs, within};
use super::scan::ScanOptions;
use super::snapshot::{Snapshot, read_row_ids};
use super::state::span;
use super::write::{Columns, Position, Written, new_entry, next_entry, no_turn, write_row_ids};
use crate::blob::Rows;
use crate::error::{Error, Result};
use crate::format::table::{ParentRef, RowsAdded};
use crate::id::Revision;
use crate::patch::merge::Changes;
use crate::schema;

impl Table {
    /// Brings all that led to `from` into the branch of `options`, as one revision with two parents.
    ///
    /// A cell that only one side changed since both parted has its value; a cell that both changed
    /// differently is a conflict, unless `resolution` decides. Elements of a cell that have ids are
    /// told apart. Where the branch itself has not moved, the revision changes nothing and only says
    /// so (a fast-forward). If `from` is in the branch already, there is no revision.
    ///
    /// Reads and writes the cells that differ, not the tables.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for an unknown revision or branch; those of
    /// reading and writing. Conflicts are no error.
    pub async fn merge(
        &self,
        from: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (from, options) = (from.into(), options.into());
        // Somebody is asked to decide by what this finds, so it looks at the newest.
        self.refresh().await?;
        let theirs = self.at(from).await?;
        for _ in 0..ATTEMPTS_MAX {
            let turn = self.turn(&options.branch).await?;
            let (mine, other) = (turn.1.revision, from.0);
            let base = self
                .ancestry(|known| merge_base(known, mine, other))
                .await?;
            if base == from.0 {
                let head = self.snapshot_of(self.resolved(mine).await?);
                return Ok(Merged::Committed(Committed::nothing(&options.branch, head)));
            }
            let done = if base == mine {
                self.fast_forward(turn, &theirs, &options).await?
            } else {
                let bringing = Bringing {
                    base: self.at(base).await?,
                    theirs: theirs.clone(),
                    second_parent: Some(self.entry(from.0).await?.named()),
                };
                self.bring(&bringing, turn, resolution, &options).await?
            };
            match done {
                Some(merged) => return Ok(merged),
                None => self.refresh().await?,
            }
        }
        Err(no_turn(self))
    }

    /// Undoes the revisions from `first` to `last`, both included, on the line of `last`, as a new
    /// revision of the branch of `options`.
    ///
    /// What was set since by others is a conflict, as in [`Self::merge`]. Rows and columns that were
    /// dropped come back with their values.
    ///
    /// # Errors
    /// As [`Self::merge`]; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a table's first
    /// revision, or if `first` does not lead to `last`.
    pub async fn revert(
        &self,
        first: impl Into<Revision> + Send,
        last: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (first, last, options) = (first.into(), last.into(), options.into());
        let base = self.at(last).await?;
        let line = match first <= last {
            true => self.line(first.0.saturating_sub(1), last.0).await?,
            false => Vec::new(),
        };
        let Some(oldest) = line.iter().find(|loaded| loaded.number() == first.0) else {
            return Err(Error::invalid(format!(
                "revision {first} is not on the way to revision {last} of table {}",
                self.name()
            )));
        };
        let theirs = self.at(self.before(oldest).await?).await?;
        let bringing = Bringing {
            base,
            theirs,
            second_parent: None,
        };
        self.bring_until_done(&bringing, resolution, &options).await
    }

    /// Does what one revision did once more, to the branch of `options`.
    ///
    /// # Errors
    /// As [`Self::revert`].
    pub async fn cherry_pick(
        &self,
        revision: impl Into<Revision> + Send,
        resolution: &Resolution,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Merged> {
        let (revision, options) = (revision.into(), options.into());
        let theirs = self.at(revision).await?;
        let loaded = self.entry(revision.0).await?;
        let base = self.at(self.before(&loaded).await?).await?;
        let bringing = Bringing {
            base,
            theirs,
            second_parent: None,
        };
        self.bring_until_done(&bringing, resolution, &options).await
    }

    /// What the branch was before a revision of it. A fast-forward has what it took over as its first
    /// parent, and where the branch was as its second.
    async fn before(&self, loaded: &Loaded) -> Result<Revision> {
        let parents: Vec<u64> = loaded
            .entry
            .parents
            .iter()
            .map(|parent| parent.revision)
            .collect();
        match parents[..] {
            [] => Err(Error::invalid(format!(
                "revision {} made table {}; there is nothing before it",
                loaded.number(),
                self.name()
            ))),
            [first, second, ..] => {
                let base = self
                    .ancestry(|known| merge_base(known, first, second))
                    .await?;
                Ok(Revision(if base == second { second } else { first }))
            }
            [first] => Ok(Revision(first)),
        }
    }

    async fn bring_until_done(
        &self,
        bringing: &Bringing,
        resolution: &Resolution,
        options: &CommitOptions,
    ) -> Result<Merged> {
        self.refresh().await?;
        for _ in 0..ATTEMPTS_MAX {
            let turn = self.turn(&options.branch).await?;
            match self.bring(bringing, turn, resolution, options).await? {
                Some(merged) => return Ok(merged),
                None => self.refresh().await?,
            }
        }
        Err(no_turn(self))
    }

    /// Moves the branch to `theirs`, which builds on it. `None` if the number was taken.
    async fn fast_forward(
        &self,
        (position, ours): (Position, ParentRef),
        theirs: &Snapshot,
        options: &CommitOptions,
    ) -> Result<Option<Merged>> {
        let theirs_named = self.entry(theirs.revision().0).await?.named();
        let position = position.after([theirs_named, ours]);
        let columns = Columns {
            schema: Arc::clone(theirs.schema()),
            defaults: BTreeMap::new(),
        };
        let template = new_entry(&self.place().env, options);
        let entry = next_entry(&template, &Written::default(), &columns, theirs, position)?;
        let done = self.append(&entry, &Changes::default(), theirs).await?;
        Ok(done.map(Merged::Committed))
    }

    /// One attempt to bring changes to the head `ours`. `None` if the number was taken.
    async fn bring(
        &self,
        bringing: &Bringing,
        (position, ours): (Position, ParentRef),
        resolution: &Resolution,
        options: &CommitOptions,
    ) -> Result<Option<Merged>> {
        let Bringing {
            base,
            theirs,
            second_parent,
        } = bringing;
        let head = self.snapshot_of(self.resolved(ours.revision).await?);
        let changes = self.changes(base, theirs).await?;
        let found = self
            .reconcile(Reconciling {
                base,
                changes: &changes,
                schema: theirs.schema(),
                head: &head,
                take: Some(resolution),
            })
            .await?;
        if !found.conflicts.is_empty() {
            let conflicts = self
                .conflict_table(&found.conflicts, base, &head, theirs)
                .await?;
            return Ok(Some(Merged::Conflicts(conflicts)));
        }
        let mut changes = found.changes;
        let cells = changes
            .cells
            .iter()
            .map(|(column, set)| (*column, set.row_ids().to_vec()));
        let news = self
            .really_changed(cells.collect(), &changes, &head)
            .await?;
        changes.retain_cells(|column, row_id| has(&news, column, row_id))?;
        let rows = self.rows_from(theirs, &head, &mut changes).await?;
        self.bring_edits(theirs, &rows.with_file, &found.schema, &mut changes)
            .await?;
        let unchanged = changes.cells.is_empty()
            && changes.added.is_empty()
            && changes.dropped.is_empty()
            && found.schema == *head.schema();
        if unchanged && second_parent.is_none() {
            return Ok(Some(Merged::Committed(Committed::nothing(
                &options.branch,
                head,
            ))));
        }
        let columns = Columns {
            defaults: new_defaults(theirs, &found.schema),
            schema: found.schema,
        };
        self.check_kept_columns(&head, &columns)?;
        let written = Written {
            brought: rows.brought,
            restored: write_row_ids(self.place(), &rows.restored).await?,
            ..Written::write(self.place(), &changes).await?
        };
        let position = position.after(std::iter::once(ours).chain(second_parent.clone()));
        let template = new_entry(&self.place().env, options);
        let entry = next_entry(&template, &written, &columns, &head, position)?;
        let done = self.append(&entry, &changes, &head).await?;
        Ok(done.map(Merged::Committed))
    }

    /// Where the rows that come lie: in a file that the head has (then they were dropped and are
    /// restored), in a file of `theirs`, or in one that is written now.
    async fn rows_from(
        &self,
        theirs: &Snapshot,
        head: &Snapshot,
        changes: &mut Changes,
    ) -> Result<RowsFrom> {
        let (ours, theirs_state) = (head.resolved(), &theirs.resolved().state);
        let here = runs(&ours.state);
        changes.dropped = within(&changes.dropped, &here) - &*ours.dropped;
        changes.added -= within(&changes.added, &here) - &*ours.dropped;
        let mut found = RowsFrom {
            brought: Vec::new(),
            with_file: RoaringTreemap::new(),
            restored: within(&changes.added, &here),
        };
        let rest = &changes.added - &found.restored;
        if let Some(left) = ours
            .state
            .left_behind
            .as_ref()
            .filter(|_| !found.restored.is_empty())
        {
            let left = read_row_ids(self.place(), left).await?;
            if let Some(row_id) = (&left & &found.restored).min() {
                return Err(Error::invalid(format!(
                    "row {row_id} cannot come back to table {}: it was dropped before a compaction, which left it behind; read it at an earlier revision",
                    self.name()
                )));
            }
        }
        let left = match &theirs_state.left_behind {
            Some(left) if !rest.is_empty() => read_row_ids(self.place(), left).await?,
            _ => RoaringTreemap::new(),
        };
        for file in theirs_state.files.iter() {
            let range = span(&file.file);
            let wanted = within(&rest, std::slice::from_ref(&range));
            if wanted.is_empty() {
                continue;
            }
            let meets =
                |other: &RowsAdded| span(other).start < range.end && range.start < span(other).end;
            // Rows that a compaction left behind must not come here as if they had values.
            let has_left = left.range_cardinality(range.clone()) > 0;
            if has_left || ours.state.files.iter().any(|other| meets(&other.file)) {
                found.brought.extend(self.copied(theirs, &wanted).await?);
            } else {
                found.brought.push(file.file.clone());
                // All its ids: that the head has not what `theirs` has was found out with its footer.
                changes.dropped.insert_range(range);
                changes.dropped -= &wanted;
                found.with_file |= wanted;
            }
        }
        Ok(found)
    }

    /// Adds to the changes what edits of `theirs` say of rows that come with their file, which has
    /// them as they were before.
    async fn bring_edits(
        &self,
        theirs: &Snapshot,
        rows: &RoaringTreemap,
        schema: &SchemaRef,
        changes: &mut Changes,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = theirs.schema().fields().iter();
        let columns = columns.filter_map(|field| schema::field_id(field));
        for column in columns.filter(|column| schema_has(schema, *column)) {
            let edits = theirs.resolved().overlay(self, column).await?;
            let edits = edits.map(|edits| edits.filtered(|row_id| rows.contains(row_id)));
            let Some(mut edits) = edits.transpose()?.flatten() else {
                continue;
            };
            if let Some(meant) = changes.cells.get(&column) {
                edits = edits.under(meant)?;
            }
            changes.cells.insert(column, edits);
        }
        Ok(())
    }

    /// Writes rows of a snapshot anew, under the ids they have: one file for each run of ids.
    async fn copied(&self, theirs: &Snapshot, wanted: &RoaringTreemap) -> Result<Vec<RowsAdded>> {
        let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
        for row_id in wanted {
            match runs.last_mut() {
                Some(run) if run.end == row_id => run.end += 1,
                _ => runs.push(row_id..row_id + 1),
            }
        }
        let schema = theirs.schema();
        let names: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let mut files = Vec::new();
        for run in runs {
            let first_row_id = run.start;
            let rows = theirs
                .read(ScanOptions::new().columns(names.clone()).row_ids(run))
                .await?;
            let rows = RecordBatchIterator::new([Ok(rows)], Arc::clone(schema));
            files.extend(
                write_rows(
                    self.place(),
                    Rows::new(Box::new(rows)),
                    schema,
                    first_row_id,
                )
                .await?,
            );
        }
        Ok(files)
    }

    /// A column that comes back must have kept its values. One that the head never had is new to it.
    fn check_kept_columns(&self, head: &Snapshot, columns: &Columns) -> Result<()> {
        let state = &head.resolved().state;
        let is_new =
            |id: &i32| columns.defaults.contains_key(id) && !state.defaults.contains_key(id);
        let is_left = |id: i32| state.columns_left.contains(&id) && !is_new(&id);
        let back = columns
            .schema
            .fields()
            .iter()
            .find(|field| schema::field_id(field).is_some_and(is_left));
        match back {
            None => Ok(()),
            Some(field) => Err(Error::invalid(format!(
                "column {:?} cannot come back to table {}: it was dropped before a compaction, which left it behind; read it at an earlier revision",
                field.name(),
                self.name()
            ))),
        }
    }
}

/// What turned `base` into `theirs`, and the revision that says it came from there.
struct Bringing {
    base: Snapshot,
    theirs: Snapshot,
    second_parent: Option<ParentRef>,
}

struct RowsFrom {
    brought: Vec<RowsAdded>,
    /// The rows that come with a file of `theirs`, without its edits.
    with_file: RoaringTreemap,
    restored: RoaringTreemap,
}

/// Defaults of `theirs` in the columns of `schema`.
fn new_defaults(theirs: &Snapshot, schema: &SchemaRef) -> BTreeMap<i32, ArrayRef> {
    let defaults = theirs.resolved().state.defaults.iter();
    let used = defaults.filter(|(column, _)| schema_has(schema, **column));
    used.map(|(column, default)| (*column, Arc::clone(default)))
        .collect()
}
