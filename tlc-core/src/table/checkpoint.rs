//! Checkpoints: the log and its edits folded, so that opening a table costs the same however long
//! its history is.
//!
//! A checkpoint is written in the background by whoever commits the entry that makes one due, and is
//! found by one small file that names the newest. Everything in it follows from the log: if it is
//! missing, damaged or behind, the log is read in its place. Commits do not wait for it.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use roaring::RoaringTreemap;

use super::history::{Known, Refs, check_ref_name};
use super::log::BLOCK;
use super::snapshot::{Resolved, read_file, read_overlay, read_row_ids};
use super::state::{Filed, State};
use super::write::{write_cells, write_row_ids};
use super::{MAIN, Table, lock};
use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::format::checkpoint::{self as record, Block, Earlier, Newest};
use crate::format::table::{CellsSet, ColumnAdded};
use crate::format::{self, VERSION};
use crate::id::Revision;
use crate::store;

/// The states of how many branches are kept: those that moved last.
const STATES_MAX: usize = 16;

/// The file that names the newest checkpoint. A hint: it is overwritten, and may be behind.
pub(super) const NEWEST: &str = "newest.json";

/// The folder of checkpoints below a table.
pub(super) const FOLDER: &str = "checkpoints";

/// One checkpoint, as it was read or written.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) record: record::Checkpoint,
    pub(super) file: String,
}

impl Checkpoint {
    /// What is known of the log from here.
    pub(super) fn known(&self) -> Known {
        let record = &self.record;
        let refs = Refs {
            branches: record.branches.clone(),
            tags: record.tags.clone(),
        };
        Known::from_checkpoint(
            record.next,
            refs,
            (record.next_row_id, record.next_column_id),
        )
    }
}

impl Table {
    /// Writes a checkpoint of all that is known of the log, unless the newest is of the same.
    ///
    /// Committing does this by itself now and then. Folds the edits since the last one, and writes
    /// a few files; nothing that others rely on changes.
    ///
    /// # Errors
    /// Those of reading and of the store. The table is then as it was.
    pub async fn checkpoint(&self) -> Result<()> {
        self.refresh().await?;
        let earlier = self.newest_checkpoint().await;
        let next = self.with_known(|known| known.next()).unwrap_or(0);
        if earlier
            .as_ref()
            .is_some_and(|earlier| earlier.record.next >= next)
        {
            return Ok(());
        }
        let record = self.fold(earlier.as_deref()).await?;
        let place = self.place();
        let folder = place.path.clone().join(FOLDER);
        let name = blob::put(place, &folder, "json", format::encode(&record)?).await?;
        let file = format!("{FOLDER}/{name}");
        let newest = Newest {
            format: VERSION,
            file: file.clone(),
        };
        let hint = format::encode(&newest)?;
        place.store.put(&folder.join(NEWEST), hint.into()).await?;
        let checkpoint = Arc::new(Checkpoint { record, file });
        *lock(&self.inner.checkpoint) = Some(Arc::clone(&checkpoint));
        self.build_on(&checkpoint).await
    }

    /// Lets later snapshots build on the folded states, so that what they share stays small.
    async fn build_on(&self, checkpoint: &Checkpoint) -> Result<()> {
        let next = checkpoint.record.next;
        let mut folded = Vec::new();
        for state in &checkpoint.record.states {
            let earlier = self.cached(state.at.revision);
            folded.push(Arc::new(self.unfold(state, earlier.as_deref()).await?));
        }
        lock(&self.inner.snapshots).retain(|known| known.revision.0 < next);
        for resolved in folded {
            self.cache(&resolved);
        }
        Ok(())
    }

    /// Starts writing a checkpoint on the side if so many entries are new that one is due.
    pub(super) fn checkpoint_if_due(&self) {
        let every = self.place().checkpoint_every;
        let last = lock(&self.inner.checkpoint)
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.record.next);
        let next = self.with_known(|known| known.next()).unwrap_or(0);
        // Exactly at a multiple: of many writers that commit past it, one has that number.
        if every == 0 || next < last + every || !next.is_multiple_of(every) {
            return;
        }
        let table = self.clone();
        self.place().background.spawn(async move {
            // A cache that could not be written is written by the next one who comes by.
            table.checkpoint().await.unwrap_or_default();
        });
    }

    /// The newest checkpoint: the one that is known, else the one that the hint names.
    pub(super) async fn newest_checkpoint(&self) -> Option<Arc<Checkpoint>> {
        if let Some(known) = lock(&self.inner.checkpoint).clone() {
            return Some(known);
        }
        let place = self.place();
        let hint = place.path.clone().join(FOLDER).join(NEWEST);
        let hint = store::read(&*place.store, &hint).await.ok()??;
        let newest: Newest = format::decode(NEWEST, &hint).ok()?;
        let found = self.read_checkpoint(&newest.file).await?;
        Some(Arc::clone(
            lock(&self.inner.checkpoint).get_or_insert(found),
        ))
    }

    /// Reads a checkpoint; `None` if it is not there, or not what it should be.
    pub(super) async fn read_checkpoint(&self, file: &str) -> Option<Arc<Checkpoint>> {
        let bytes = read_file(self.place(), file).await.ok()?;
        let record: record::Checkpoint = format::decode(file, &bytes).ok()?;
        is_sound(&record).then(|| {
            Arc::new(Checkpoint {
                record,
                file: file.to_owned(),
            })
        })
    }

    /// The state of a revision, if a checkpoint holds it. Where `hash` is known, it must be the one.
    pub(super) async fn checkpointed(
        &self,
        revision: u64,
        hash: Option<&str>,
    ) -> Option<Arc<Resolved>> {
        let newest = lock(&self.inner.checkpoint).clone()?;
        let is_it = |state: &&record::State| {
            state.at.revision == revision && hash.is_none_or(|hash| state.at.hash == hash)
        };
        let found = match newest.record.states.iter().find(is_it) {
            Some(state) => self.unfold(state, None).await,
            None => {
                let mut earlier = newest.record.earlier.iter();
                let earlier = earlier.find(|earlier| earlier.states.contains(&revision))?;
                let earlier = self.read_checkpoint(&earlier.file).await?;
                self.unfold(earlier.record.states.iter().find(is_it)?, None)
                    .await
            }
        };
        let resolved = Arc::new(found.ok()?);
        self.cache(&resolved);
        Some(resolved)
    }

    /// The entries of a block that begins at `start` and reaches up to `end` at least.
    pub(super) async fn block(&self, start: u64, end: u64) -> Option<Vec<Bytes>> {
        let checkpoint = lock(&self.inner.checkpoint).clone()?;
        let block = checkpoint
            .record
            .blocks
            .iter()
            .find(|block| block.first == start)?;
        if start + block.entries < end {
            return None;
        }
        let bytes = read_file(self.place(), &block.file).await.ok()?;
        let batch = blob::decode_small(bytes).ok()?;
        let entries = batch.column_by_name("entry")?.as_binary_opt::<i32>()?;
        let wanted = usize::try_from(end - start).ok()?;
        (entries.null_count() == 0 && entries.len() >= wanted).then(|| {
            let entries = entries.iter().take(wanted).flatten();
            entries.map(Bytes::copy_from_slice).collect()
        })
    }

    async fn fold(&self, earlier: Option<&Checkpoint>) -> Result<record::Checkpoint> {
        let known = self.with_known(|known| {
            let (next_row_id, next_column_id) = known.next_ids();
            record::Checkpoint {
                format: VERSION,
                next: known.next(),
                next_row_id,
                next_column_id,
                branches: known.refs().branches.clone(),
                tags: known.refs().tags.clone(),
                ..record::Checkpoint::default()
            }
        });
        let mut folded = known.ok_or_else(|| Error::corrupt("a log has no entries"))?;
        let mut heads: Vec<_> = folded.branches.values().cloned().collect();
        heads.sort_by_key(|head| std::cmp::Reverse(head.revision));
        heads.dedup();
        heads.truncate(STATES_MAX);
        for head in heads {
            let resolved = self.resolved(head.revision).await?;
            let edits = self.folded_edits(&resolved).await?;
            folded
                .states
                .push(self.state_record(head, &resolved, edits).await?);
        }
        if let Some(earlier) = earlier {
            folded.blocks.clone_from(&earlier.record.blocks);
            folded.earlier.clone_from(&earlier.record.earlier);
            folded.earlier.push(Earlier {
                next: earlier.record.next,
                file: earlier.file.clone(),
                states: earlier
                    .record
                    .states
                    .iter()
                    .map(|state| state.at.revision)
                    .collect(),
            });
        }
        self.add_blocks(&mut folded).await?;
        Ok(folded)
    }

    /// Puts entries that fill another block into one file.
    async fn add_blocks(&self, folded: &mut record::Checkpoint) -> Result<()> {
        let mut first = folded
            .blocks
            .last()
            .map_or(0, |block| block.first + block.entries);
        while first + BLOCK <= folded.next {
            let end = first + BLOCK;
            let entries = self.inner.log.range(Revision(first), Revision(end)).await?;
            let entries = BinaryArray::from_iter_values(entries.iter());
            let field = Field::new("entry", DataType::Binary, false);
            let schema = Arc::new(Schema::new(vec![field]));
            let batch = RecordBatch::try_new(schema, vec![Arc::new(entries) as ArrayRef])?;
            let bytes = blob::encode_small(&batch)?;
            let size = bytes.len() as u64;
            let place = self.place();
            let folder = place.path.clone().join(FOLDER);
            let name = blob::put(place, &folder, "parquet", bytes).await?;
            folded.blocks.push(Block {
                first,
                entries: BLOCK,
                file: format!("{FOLDER}/{name}"),
                bytes: size,
            });
            first = end;
        }
        Ok(())
    }

    /// The edits of a state with the newest of each column in one file.
    ///
    /// How many are folded follows from their sizes: a file is folded again only with as many cells
    /// as it has, so each cell is written a few times however long the history gets, and a column
    /// has few files.
    async fn folded_edits(&self, resolved: &Resolved) -> Result<Vec<Filed<CellsSet>>> {
        let mut folded = Vec::new();
        for (column, edits) in &resolved.state.edits {
            let keep = edits.len() - n_to_fold(edits.iter().map(|edit| edit.file.cells));
            let (kept, newest) = edits.split_at(keep);
            folded.extend(kept.iter().cloned());
            let field = resolved.state.field(*column);
            let (Some(last), Some(field), true) = (newest.last(), field, newest.len() > 1) else {
                folded.extend(newest.iter().cloned());
                continue;
            };
            match read_overlay(self.place(), newest, field).await {
                Ok(None) => (),
                Ok(Some(overlay)) => folded.push(Filed {
                    revision: last.revision,
                    file: write_cells(self.place(), *column, &overlay).await?,
                }),
                // What was folded before is lost; the next checkpoint folds it again.
                Err(err) if err.kind() == ErrorKind::Corrupt => {
                    folded.truncate(folded.len() - kept.len());
                    folded.extend(self.edits_by_log(resolved.revision, *column).await?);
                }
                Err(err) => return Err(err),
            }
        }
        Ok(folded)
    }

    async fn state_record(
        &self,
        at: format::table::ParentRef,
        resolved: &Resolved,
        cells: Vec<Filed<CellsSet>>,
    ) -> Result<record::State> {
        let state = &resolved.state;
        let defaults = state.defaults.iter().map(|(column, default)| {
            Ok(ColumnAdded {
                column: *column,
                default: format::encode_value(default)?,
            })
        });
        Ok(record::State {
            at,
            schema: format::encode_schema(&state.schema)?,
            next_row_id: state.next_row_id,
            next_column_id: state.next_column_id,
            defaults: defaults.collect::<Result<_>>()?,
            rows: state.files.iter().map(recorded).collect(),
            dropped: write_row_ids(self.place(), &resolved.dropped).await?,
            left_behind: state.left_behind.clone(),
            cells: cells.iter().map(recorded).collect(),
            columns_left: state.columns_left.clone(),
        })
    }

    /// The state that was folded. Overlays that `same` has read already are taken over.
    async fn unfold(&self, folded: &record::State, same: Option<&Resolved>) -> Result<Resolved> {
        let state = State::unfolded(folded)?;
        let dropped = match &folded.dropped {
            Some(rows) => read_row_ids(self.place(), rows).await?,
            None => RoaringTreemap::new(),
        };
        let aliases = self.place().aliases().await?;
        let revision = Revision(folded.at.revision);
        Resolved::folded(self, revision, state, dropped, same, aliases)
    }
}

fn recorded<T: Clone>(filed: &Filed<T>) -> record::Filed<T> {
    record::Filed {
        revision: filed.revision,
        file: filed.file.clone(),
    }
}

/// Whether a log may lead to what a checkpoint says, as far as it alone tells.
fn is_sound(record: &record::Checkpoint) -> bool {
    let mut names = record.branches.keys().chain(record.tags.keys());
    let is_reached = |state: &record::State| {
        state.next_row_id <= record.next_row_id
            && record
                .next_column_id
                .is_none_or(|next| next >= state.next_column_id)
            && State::unfolded(state).is_ok()
    };
    record.next > 0
        && record.branches.contains_key(MAIN)
        && names.all(|name| check_ref_name(name).is_ok())
        && record.states.iter().all(is_reached)
}

/// How many of the newest files are folded into one: as long as the next older has no more than
/// twice the cells of those that are newer.
fn n_to_fold(cells: impl DoubleEndedIterator<Item = u64>) -> usize {
    let mut sum = 0;
    let mut n = 0;
    for cells in cells.rev() {
        if n > 0 && cells > 2 * sum {
            break;
        }
        sum += cells;
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_folded_again_only_with_as_many_others() {
        let mut files: Vec<u64> = Vec::new();
        let (mut written, mut most) = (0, 0);
        for _ in 0..1_000 {
            files.extend([1_000; 64]);
            let n = n_to_fold(files.iter().copied());
            let folded: u64 = files.split_off(files.len() - n).iter().sum();
            files.push(folded);
            (written, most) = (written + folded, most.max(files.len()));
        }
        let cells = 64 * 1_000 * 1_000;
        assert!(most <= 16, "{most} files");
        assert!(
            written <= 12 * cells,
            "each cell was written {} times",
            written / cells
        );
    }
}
