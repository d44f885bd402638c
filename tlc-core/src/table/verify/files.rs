//! Whether the files of a table hold what is said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::log::{Read, add_named};
use super::{Checked, Flaw, READS_MAX, Severity, VerifyOptions, told};
use crate::blob;
use crate::error::{Error, Result};
use crate::format;
use crate::format::checkpoint::{self as record, Block, Newest};
use crate::store;
use crate::table::Table;
use crate::table::checkpoint::{Checkpoint, FOLDER, NEWEST};
use crate::table::file::{DataFile, below};
use crate::table::gc::{GIVEN_UP, is_ours};
use crate::table::named::{Named, is_entry, of_folded};
use crate::table::snapshot::{read_cells, read_file, read_row_ids};
use crate::table::state::State;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) is_missing: bool,
}

impl Bad {
    fn damage(what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Damage,
            what: what.into(),
            is_missing: false,
        }
    }
}

/// Looking at the files of one table.
pub(super) struct Checking<'a> {
    pub(super) table: &'a Table,
    pub(super) listed: &'a BTreeMap<String, ObjectMeta>,
    pub(super) options: &'a VerifyOptions,
    pub(super) next_row_id: u64,
}

impl Checking<'_> {
    /// The files that are not what is said of them.
    pub(super) async fn files(
        &self,
        named: &BTreeMap<String, Vec<Named>>,
    ) -> Result<BTreeMap<String, Bad>> {
        let checks = named.iter().map(|(file, said)| async move {
            let bad = self.file(file, said).await?;
            let bytes = said.first().map_or(0, Named::bytes);
            self.options.tell(Checked { bytes });
            Ok::<_, Error>(bad.map(|bad| (file.clone(), bad)))
        });
        let checks = stream::iter(checks).buffered(READS_MAX);
        checks
            .try_filter_map(|bad| async { Ok(bad) })
            .try_collect()
            .await
    }

    async fn file(&self, file: &str, said: &[Named]) -> Result<Option<Bad>> {
        if said.iter().any(Named::is_in_place) {
            return self.source(said).await;
        }
        let path = match below(self.table.place(), file) {
            Ok(path) => path,
            Err(err) => return Ok(Some(Bad::damage(format!("{err:#}")))),
        };
        let Some(found) = self.listed.get(file) else {
            return Ok(Some(Bad {
                is_missing: true,
                ..Bad::damage("is missing")
            }));
        };
        if let Some(other) = said.iter().find(|named| named.bytes() != found.size) {
            let (found, bytes) = (found.size, other.bytes());
            return Ok(Some(Bad::damage(format!(
                "has {found} bytes in place of {bytes}"
            ))));
        }
        if self.options.quick {
            return Ok(None);
        }
        if !self.is_whole(&path).await? {
            return Ok(Some(Bad::damage(
                "has other bytes than those that its name says",
            )));
        }
        for named in said {
            if let Err(err) = self.content(named).await {
                return told(err).map(|what| Some(Bad::damage(what)));
            }
        }
        Ok(None)
    }

    /// A file that is used where it is.
    async fn source(&self, said: &[Named]) -> Result<Option<Bad>> {
        for named in said {
            let Err(err) = self.content(named).await else {
                continue;
            };
            let severity = Severity::SourceChanged;
            return told(err).map(|what| {
                Some(Bad {
                    severity,
                    ..Bad::damage(what)
                })
            });
        }
        Ok(None)
    }

    /// Whether the name of a file begins with the hash of its bytes. Reads it in pieces.
    async fn is_whole(&self, path: &Path) -> Result<bool> {
        let hash = hash(&*self.table.place().store, path).await?;
        let name = path.filename().unwrap_or_default();
        Ok(hash.is_some_and(|hash| name.starts_with(hash.to_hex().as_str())))
    }

    /// Whether a file holds what is said of it.
    async fn content(&self, named: &Named) -> Result<()> {
        let place = self.table.place();
        let astray = |file: &str| {
            Err(Error::corrupt(format!(
                "{file} names rows that the table never had, or not in order"
            )))
        };
        match named {
            Named::Rows(rows) => {
                let aliases = place.aliases().await?;
                DataFile::new(place, rows, &aliases)?.open().await.map(drop)
            }
            Named::RowIds(ids) => match read_row_ids(place, ids).await?.max() {
                Some(last) if last >= self.next_row_id => astray(&ids.file),
                _ => Ok(()),
            },
            Named::Cells(cells) => {
                let (ids, _) = read_cells(place, cells).await?;
                let is_sorted = ids.is_sorted_by(|a, b| a < b);
                match ids.last() {
                    Some(last) if !is_sorted || *last >= self.next_row_id => astray(&cells.file),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Files that no entry names: checkpoints, and what belongs to nobody.
    pub(super) async fn others(
        &mut self,
        log: &Read,
        named: &BTreeMap<String, Vec<Named>>,
    ) -> Result<Vec<Flaw>> {
        let mut flaws = Vec::new();
        let mut folded: BTreeMap<String, Vec<Named>> = BTreeMap::new();
        let mut blocks: BTreeMap<String, Block> = BTreeMap::new();
        let mut checkpoints = Vec::new();
        for name in self.listed.keys() {
            let is_json = name.starts_with(FOLDER) && name.ends_with(".json");
            if !is_json || !is_ours(name) {
                continue;
            }
            let Some(checkpoint) = self.table.read_checkpoint(name).await else {
                flaws.push(Flaw::harmless(
                    name,
                    "is a checkpoint that cannot be read; the log is read in its place",
                ));
                continue;
            };
            let states = checkpoint.record.states.iter();
            add_named(&mut folded, states.flat_map(of_folded).collect());
            let own = checkpoint.record.blocks.iter();
            blocks.extend(own.map(|block| (block.file.clone(), block.clone())));
            checkpoints.push(checkpoint);
        }
        flaws.extend(differing(&checkpoints, log));
        flaws.extend(self.hint().await?);
        let only_folded = folded.iter().filter(|(file, _)| !named.contains_key(*file));
        let only_folded = only_folded.map(|(file, said)| (file.clone(), said.clone()));
        for (file, bad) in self.files(&only_folded.collect()).await? {
            let what = bad.what;
            flaws.push(Flaw::harmless(
                &file,
                format!("{what}; only a checkpoint names it, and the log is read in its place"),
            ));
        }
        for block in blocks.values() {
            if !self.options.quick && !self.is_block(block, log).await {
                flaws.push(Flaw::harmless(
                    &block.file,
                    "does not hold the entries that it should; the log is read in its place",
                ));
            }
        }
        let is_known = |name: &String| {
            named.contains_key(name) || folded.contains_key(name) || blocks.contains_key(name)
        };
        for name in self.listed.keys().filter(|name| !is_known(name)) {
            flaws.extend(stray(name));
        }
        Ok(flaws)
    }

    /// Whether a block holds the entries of the log.
    async fn is_block(&self, block: &Block, log: &Read) -> bool {
        let Ok(bytes) = read_file(self.table.place(), &block.file).await else {
            return false;
        };
        let Ok(batch) = blob::decode_small(bytes) else {
            return false;
        };
        let column = batch.column_by_name("entry");
        let entries = column.and_then(|column| {
            use arrow::array::AsArray as _;
            column.as_binary_opt::<i32>()
        });
        entries.is_some_and(|entries| {
            let hashes = entries.iter().map(|entry| entry.map(blake3::hash));
            let mut pairs = (block.first..).zip(hashes);
            entries.iter().len() as u64 == block.entries
                && pairs.all(|(number, hash)| {
                    let loaded = log.entries.get(&number);
                    // An entry that cannot be read is told elsewhere.
                    loaded.is_none_or(|loaded| {
                        hash.is_some_and(|hash| hash.to_hex().as_str() == loaded.hash)
                    })
                })
        })
    }

    /// What is wrong with the file that names the newest checkpoint.
    async fn hint(&self) -> Result<Option<Flaw>> {
        let place = self.table.place();
        let path = place.path.clone().join(FOLDER).join(NEWEST);
        let Some(hint) = store::read(&*place.store, &path).await? else {
            return Ok(None);
        };
        let newest = format::decode::<Newest>(NEWEST, &hint).ok();
        let is_there = newest.is_some_and(|newest| self.listed.contains_key(&newest.file));
        let name = format!("{FOLDER}/{NEWEST}");
        Ok((!is_there).then(|| {
            Flaw::harmless(
                &name,
                "names no checkpoint that is there; the log is read in its place",
            )
        }))
    }
}

/// The hash of an object; `None` if it is not there.
async fn hash(store: &dyn ObjectStore, path: &Path) -> Result<Option<blake3::Hash>> {
    let mut pieces = match store.get(path).await {
        Ok(found) => found.into_stream(),
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let mut hasher = blake3::Hasher::new();
    while let Some(piece) = pieces.try_next().await? {
        hasher.update(&piece);
    }
    Ok(Some(hasher.finalize()))
}

/// Where checkpoints say something else than the log.
fn differing(checkpoints: &[Arc<Checkpoint>], log: &Read) -> Vec<Flaw> {
    let said = checkpoints.iter().flat_map(|known| &known.record.states);
    let states = log.states(&said.map(|state| state.at.revision).collect());
    let differs = |state: &&record::State| {
        let told = (
            log.entries.get(&state.at.revision),
            states.get(&state.at.revision),
        );
        let (Some(loaded), folded) = told else {
            return false;
        };
        loaded.hash != state.at.hash || folded.is_some_and(|folded| !is_same(state, folded))
    };
    let flaws = checkpoints.iter().filter_map(|checkpoint| {
        let (next, n_entries) = (checkpoint.record.next, log.n_entries);
        if next > n_entries {
            let what = format!(
                "is missing, though {} was written when it was there",
                checkpoint.file
            );
            return Some(Flaw::of_entry(n_entries, what, n_entries + 1));
        }
        let state = checkpoint.record.states.iter().find(differs)?;
        let revision = state.at.revision;
        Some(Flaw {
            severity: Severity::Damage,
            unreadable: BTreeSet::from([revision]),
            ..Flaw::harmless(
                &checkpoint.file,
                format!(
                    "says of revision {revision} what the log does not say; delete the folder {FOLDER}, and the log is read in its place"
                ),
            )
        })
    });
    flaws.collect()
}

/// Whether a folded state has the rows and columns that the log says.
fn is_same(folded: &record::State, state: &State) -> bool {
    let rows = folded.rows.iter().map(|rows| &rows.file);
    folded.next_row_id == state.next_row_id
        && folded.next_column_id == state.next_column_id
        && format::decode_schema(&folded.schema).is_ok_and(|schema| schema == state.schema)
        && rows.eq(state.files.iter().map(|rows| &rows.file))
}

/// A file that nothing names.
fn stray(name: &str) -> Option<Flaw> {
    let special = [NEWEST, GIVEN_UP].map(|special| format!("{FOLDER}/{special}"));
    let is_checkpoint = name.starts_with(FOLDER) && name.ends_with(".json");
    match is_ours(name) {
        _ if is_entry(name) || special.iter().any(|special| special == name) => None,
        true if is_checkpoint => None,
        true => Some(Flaw::harmless(
            name,
            "is named by no revision; it can be collected once it is old",
        )),
        false => Some(Flaw::harmless(name, "is none of ours; it is left alone")),
    }
}
