//! Verifying a table: whether all that its log names is there and is what it was.
//!
//! Nothing is changed. Where something is wrong, a finding says which revisions it takes away; all
//! others are safe. What was left in place and has changed since is told apart from damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::Table;
use super::checkpoint::{Checkpoint, FOLDER, NEWEST};
use super::file::{DataFile, below};
use super::gc::{GIVEN_UP, is_ours};
use super::history::Loaded;
use super::named::{Named, is_entry, of_entry, of_folded, of_state};
use super::snapshot::{read_cells, read_file, read_row_ids};
use super::state::State;
use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::checkpoint::{self as record, Block, Newest};
use crate::format::table::{Entry, ParentRef};
use crate::id::{ProjectName, Revision, TableName};
use crate::store;

/// How many files are read at the same time.
const READS_MAX: usize = 8;

/// How thoroughly to look, and whom to tell.
#[derive(Clone, Default)]
pub struct VerifyOptions {
    pub(crate) quick: bool,
    progress: Option<Arc<dyn Fn(Checked) + Send + Sync>>,
}

impl VerifyOptions {
    /// Every byte is read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only log entries are read; of other files, that they are there in their size.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Told after each file. Must not wait.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(Checked) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(told));
        self
    }

    pub(crate) fn tell(&self, checked: Checked) {
        if let Some(told) = &self.progress {
            told(checked);
        }
    }
}

impl fmt::Debug for VerifyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("quick", &self.quick)
            .finish_non_exhaustive()
    }
}

/// One file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its size.
    pub bytes: u64,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost and nothing need be done.
    Harmless,
    /// A file that a table reads in place is gone or another one now.
    SourceChanged,
    /// Something that was stored is lost, or cannot be read until it is repaired.
    Damage,
}

impl Severity {
    /// In a few lower-case words, as scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::SourceChanged => "source changed",
            Self::Damage => "damage",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The folder of the table or run in the store.
    pub folder: String,
    /// The file in that folder, or the URL of a file used in place.
    pub file: String,
    /// What is wrong with it, and what helps.
    pub what: String,
    /// The revisions that cannot be read because of it: ranges of numbers. All others are safe.
    pub unreadable: Vec<RangeInclusive<u64>>,
}

/// A table that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTable {
    /// Its project.
    pub project: ProjectName,
    /// Its name.
    pub table: TableName,
    /// How many revisions its log has.
    pub n_revisions: u64,
    /// Those that cannot be read.
    pub unreadable: Vec<Revision>,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The worst first; none if all is well.
    pub findings: Vec<Finding>,
    /// The tables, by project and name.
    pub tables: Vec<VerifiedTable>,
    /// How many runs were looked at.
    pub n_runs: u64,
    /// How many files.
    pub n_files: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl Report {
    /// Whether anything is worse than harmless.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let mut severities = self.findings.iter().map(|finding| finding.severity);
        severities.any(|severity| severity > Severity::Harmless)
    }

    /// Adds what was found elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        self.tables.extend(other.tables);
        self.n_runs += other.n_runs;
        self.n_files += other.n_files;
        self.bytes += other.bytes;
    }
}

impl Table {
    /// Checks that the table is what its log says: entries in order, each naming its parents by their
    /// hashes; every file there, in its size, with the bytes that its name says and the rows, cells or
    /// ids that the log says; checkpoints that say nothing else.
    ///
    /// Reads the log and, unless [`VerifyOptions::quick`], all files of the table once, a few at a
    /// time and each in pieces. Writers may go on meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such table; [`ErrorKind::Invalid`] if a newer version
    /// wrote it; those of the store. Damage is no error.
    pub async fn verify(&self, options: impl Into<VerifyOptions> + Send) -> Result<Report> {
        let options = options.into();
        let mut flaws = Vec::new();
        let log = self.read_log(&options, &mut flaws).await?;
        flaws.extend(log.flaws());
        // After the log: what an entry names was there before it.
        let listed = self.files().await?;
        let named = log.named();
        let mut checking = Checking {
            table: self,
            listed: &listed,
            options: &options,
            next_row_id: log.next_row_id(),
        };
        let bad = checking.files(&named).await?;
        let (lines, given_up) = (log.fold(&bad), self.given_up(log.n_entries).await?);
        flaws.extend(lines.flaws(bad, &given_up));
        flaws.extend(checking.others(&log, &named).await?);
        Ok(self.report(&log, flaws, &listed))
    }

    /// The entries that can be read.
    async fn read_log(&self, options: &VerifyOptions, flaws: &mut Vec<Flaw>) -> Result<Read> {
        let listed = self.files().await?;
        let numbers = listed.keys().filter_map(|name| name.strip_prefix("log/"));
        let numbers: BTreeSet<u64> = numbers.filter_map(crate::log::number).collect();
        let Some(last) = numbers.last() else {
            return Err(Error::not_found(format!(
                "project {} has no table {}",
                self.project(),
                self.name()
            )));
        };
        let reads = (0..=*last).map(|number| async move {
            let bytes = match self.inner.log.read(Revision(number)).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(Err((number, "is missing".to_owned()))),
                Err(err) => return told(err).map(|what| Err((number, what))),
            };
            options.tell(Checked {
                bytes: bytes.len() as u64,
            });
            match self.loaded(number, &bytes) {
                Ok(loaded) => Ok(Ok(loaded)),
                Err(err) => told(err).map(|what| Err((number, what))),
            }
        });
        let mut reads = stream::iter(reads).buffered(READS_MAX);
        let mut read = Read {
            n_entries: last + 1,
            ..Read::default()
        };
        while let Some(entry) = reads.try_next().await? {
            match entry {
                Ok(loaded) => drop(read.entries.insert(loaded.number(), loaded)),
                Err((number, what)) => flaws.push(Flaw::of_entry(number, what, last + 1)),
            }
        }
        Ok(read)
    }

    fn report(
        &self,
        log: &Read,
        flaws: Vec<Flaw>,
        listed: &BTreeMap<String, ObjectMeta>,
    ) -> Report {
        let is_revision = |number: &u64| {
            let loaded = log.entries.get(number);
            loaded.is_none_or(|loaded| loaded.entry.is_revision())
        };
        let mut unreadable = BTreeSet::new();
        let mut findings = Vec::new();
        for mut flaw in flaws {
            flaw.unreadable.retain(is_revision);
            unreadable.extend(flaw.unreadable.iter().copied());
            findings.push(Finding {
                severity: flaw.severity,
                folder: self.place().path.to_string(),
                file: flaw.file,
                what: flaw.what,
                unreadable: ranges(flaw.unreadable),
            });
        }
        let table = VerifiedTable {
            project: self.project().clone(),
            table: self.name().clone(),
            n_revisions: (0..log.n_entries).filter(is_revision).count() as u64,
            unreadable: unreadable.into_iter().map(Revision).collect(),
        };
        let mut report = Report::default();
        report.add(Report {
            findings,
            tables: vec![table],
            n_runs: 0,
            n_files: listed.len() as u64,
            bytes: listed.values().map(|file| file.size).sum(),
        });
        report
    }
}

/// Numbers as ranges.
fn ranges(numbers: BTreeSet<u64>) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if range.end() + 1 == number => *range = *range.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

/// What is wrong, if the error tells of stored bytes; otherwise the error.
fn told(err: Error) -> Result<String> {
    match err.kind() {
        ErrorKind::Corrupt | ErrorKind::NotFound => Ok(format!("{err:#}")),
        _ => Err(err),
    }
}

#[derive(Debug)]
struct Flaw {
    severity: Severity,
    file: String,
    what: String,
    unreadable: BTreeSet<u64>,
}

impl Flaw {
    fn harmless(file: &str, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Harmless,
            file: file.to_owned(),
            what: what.into(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Without one entry the log cannot be read at all.
    fn of_entry(number: u64, what: impl fmt::Display, n_entries: u64) -> Self {
        Self {
            severity: Severity::Damage,
            file: format!("log/{}.json", Revision(number).file_stem()),
            what: format!("{what}; restore it from a copy, and all revisions are there again"),
            unreadable: (0..n_entries).collect(),
        }
    }
}

/// The entries of a log, as far as they can be read.
#[derive(Debug, Default)]
struct Read {
    entries: BTreeMap<u64, Arc<Loaded>>,
    n_entries: u64,
}

impl Read {
    fn next_row_id(&self) -> u64 {
        let next = self.entries.values().map(|loaded| loaded.entry.next_row_id);
        next.max().unwrap_or(0)
    }

    /// Entries that are not those that later ones name.
    fn flaws(&self) -> Vec<Flaw> {
        let mut flaws: BTreeMap<u64, Flaw> = BTreeMap::new();
        for loaded in self.entries.values() {
            for named in named_entries(&loaded.entry) {
                let Some(found) = self.entries.get(&named.revision) else {
                    // Told already, unless it was never there.
                    continue;
                };
                if found.hash != named.hash || !found.entry.is_revision() {
                    let child = loaded.number();
                    let what = format!("is not the entry that entry {child} builds on");
                    let flaw = Flaw::of_entry(named.revision, what, self.n_entries);
                    flaws.entry(named.revision).or_insert(flaw);
                }
            }
        }
        flaws.into_values().collect()
    }

    /// Every file that entries name, with all that they say of it.
    fn named(&self) -> BTreeMap<String, Vec<Named>> {
        let mut files = BTreeMap::new();
        for loaded in self.entries.values() {
            add_named(&mut files, of_entry(&loaded.entry));
        }
        files
    }

    /// The entries up to each revision that no other builds on first, oldest first.
    fn lines(&self) -> Vec<Vec<&Arc<Loaded>>> {
        let first_parent =
            |loaded: &Loaded| loaded.entry.parents.first().map(|named| named.revision);
        let entries = self
            .entries
            .values()
            .filter(|loaded| loaded.entry.is_revision());
        let inner: BTreeSet<u64> = entries
            .clone()
            .filter_map(|loaded| first_parent(loaded))
            .collect();
        let leaves = entries.filter(|loaded| !inner.contains(&loaded.number()));
        let line = |leaf| {
            let before = |loaded: &&Arc<Loaded>| self.entries.get(&first_parent(loaded)?);
            let mut line: Vec<_> = std::iter::successors(Some(leaf), before).collect();
            line.reverse();
            line
        };
        leaves.map(line).collect()
    }

    /// Follows every line: which revisions do not follow, and which read one of the `bad` files.
    fn fold(&self, bad: &BTreeMap<String, Bad>) -> Lines {
        let mut lines = Lines::default();
        for line in self.lines() {
            let mut state = State::default();
            let mut read: BTreeSet<String> = BTreeSet::new();
            for (at, loaded) in line.iter().enumerate() {
                if let Err(err) = state.apply(&loaded.entry) {
                    let later = line.iter().skip(at).map(|loaded| loaded.number());
                    let (_, broken) = lines
                        .broken
                        .entry(loaded.number())
                        .or_insert_with(|| (format!("{err:#}"), BTreeSet::new()));
                    broken.extend(later);
                    break;
                }
                let named = match loaded.entry.compacted {
                    Some(_) => {
                        read.clear();
                        of_state(&state)
                    }
                    None => of_entry(&loaded.entry),
                };
                let files = named.iter().map(|named| named.file().to_owned());
                read.extend(files.filter(|file| bad.contains_key(file)));
                for file in &read {
                    let readers = lines.readers.entry(file.clone()).or_default();
                    readers.insert(loaded.number());
                }
            }
        }
        lines
    }

    /// The state at a revision; `None` if it cannot be told.
    fn state(&self, revision: u64) -> Option<State> {
        let mut line = vec![self.entries.get(&revision)?];
        while let Some(parent) = line.last()?.entry.parents.first() {
            line.push(self.entries.get(&parent.revision)?);
        }
        let mut state = State::default();
        for loaded in line.iter().rev() {
            state.apply(&loaded.entry).ok()?;
        }
        Some(state)
    }
}

fn add_named(files: &mut BTreeMap<String, Vec<Named>>, named: Vec<Named>) {
    for named in named {
        let said = files.entry(named.file().to_owned()).or_default();
        if !said.contains(&named) {
            said.push(named);
        }
    }
}

fn named_entries(entry: &Entry) -> impl Iterator<Item = &ParentRef> {
    let targets = entry.refs.iter().filter_map(|name| name.target.as_ref());
    entry.parents.iter().chain(targets)
}

/// What is wrong with a file.
#[derive(Debug)]
struct Bad {
    severity: Severity,
    what: String,
    is_missing: bool,
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

#[derive(Debug, Default)]
struct Lines {
    /// By the first revision that does not follow: why, and all that build on it.
    broken: BTreeMap<u64, (String, BTreeSet<u64>)>,
    /// By bad file.
    readers: BTreeMap<String, BTreeSet<u64>>,
}

impl Lines {
    fn flaws(self, bad: BTreeMap<String, Bad>, given_up: &BTreeSet<u64>) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (number, (what, unreadable)) in self.broken {
            flaws.push(Flaw {
                unreadable,
                ..Flaw::of_entry(number, what, 0)
            });
        }
        let mut readers = self.readers;
        for (file, bad) in bad {
            let unreadable = readers.remove(&file).unwrap_or_default();
            let is_collected = bad.is_missing && unreadable.is_subset(given_up);
            let (severity, what) = match is_collected {
                true => {
                    let what = "was collected, for the revisions that read it were given up";
                    (Severity::Harmless, what.to_owned())
                }
                false if bad.severity == Severity::Damage => {
                    let what = format!("{}; restore it from a copy", bad.what);
                    (bad.severity, what)
                }
                false => (bad.severity, bad.what),
            };
            flaws.push(Flaw {
                severity,
                file,
                what,
                unreadable,
            });
        }
        flaws
    }
}

/// Looking at the files of one table.
struct Checking<'a> {
    table: &'a Table,
    listed: &'a BTreeMap<String, ObjectMeta>,
    options: &'a VerifyOptions,
    next_row_id: u64,
}

impl Checking<'_> {
    /// The files that are not what is said of them.
    async fn files(&self, named: &BTreeMap<String, Vec<Named>>) -> Result<BTreeMap<String, Bad>> {
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
    async fn others(
        &mut self,
        log: &Read,
        named: &BTreeMap<String, Vec<Named>>,
    ) -> Result<Vec<Flaw>> {
        let mut flaws = Vec::new();
        let mut folded: BTreeMap<String, Vec<Named>> = BTreeMap::new();
        let mut blocks: BTreeMap<String, Block> = BTreeMap::new();
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
            flaws.extend(differing(&checkpoint, log));
            let states = checkpoint.record.states.iter();
            add_named(&mut folded, states.flat_map(of_folded).collect());
            let own = checkpoint.record.blocks.iter();
            blocks.extend(own.map(|block| (block.file.clone(), block.clone())));
        }
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

/// Where a checkpoint says something else than the log.
fn differing(checkpoint: &Checkpoint, log: &Read) -> Option<Flaw> {
    let (next, n_entries) = (checkpoint.record.next, log.n_entries);
    if next > n_entries {
        let what = format!(
            "is missing, though {} was written when it was there",
            checkpoint.file
        );
        return Some(Flaw::of_entry(n_entries, what, next));
    }
    let differs = |state: &record::State| {
        let Some(loaded) = log.entries.get(&state.at.revision) else {
            return false;
        };
        loaded.hash != state.at.hash
            || log
                .state(state.at.revision)
                .is_some_and(|folded| !is_same(state, &folded))
    };
    let state = checkpoint
        .record
        .states
        .iter()
        .find(|state| differs(state))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_range() {
        let check = |numbers: &[u64], expected: &[RangeInclusive<u64>]| {
            assert_eq!(ranges(numbers.iter().copied().collect()), expected);
        };
        check(&[], &[]);
        check(&[3], &[3..=3]);
        check(&[0, 1, 2, 5, 7, 8], &[0..=2, 5..=5, 7..=8]);
    }
}
