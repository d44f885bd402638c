//! Verifying a table: whether all that its log names is there and is what it was.
//!
//! Nothing is changed. Where something is wrong, a finding says which revisions it takes away; all
//! others are safe. What was left in place and has changed since is told apart from damage.

mod files;
mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;

use super::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ProjectName, Revision, TableName};
use files::Checking;
use log::Read;

/// How many files are read at the same time.
const READS_MAX: usize = 8;

/// More entries in a row than any accident takes out of a log.
const GAP_MAX: u64 = 1 << 16;

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
    /// The folder of the table, run or artifact in the store; of a chunk that of the project.
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
    /// How many artifacts.
    pub n_artifacts: u64,
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
        self.n_artifacts += other.n_artifacts;
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
        if numbers.is_empty() {
            return Err(Error::not_found(format!(
                "project {} has no table {}",
                self.project(),
                self.name()
            )));
        }
        let (n_entries, astray) = counted(&numbers);
        flaws.extend(astray.map(|number| {
            let what = "is far after all other entries, and no reader gets past it: take it away";
            Flaw {
                what: what.to_owned(),
                ..Flaw::of_entry(number, "", n_entries)
            }
        }));
        let reads = (0..n_entries).map(|number| async move {
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
            n_entries,
            ..Read::default()
        };
        while let Some(entry) = reads.try_next().await? {
            match entry {
                Ok(loaded) => drop(read.entries.insert(loaded.number(), loaded)),
                Err((number, what)) => flaws.push(Flaw::of_entry(number, what, n_entries)),
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
            n_artifacts: 0,
            n_files: listed.len() as u64,
            bytes: listed.values().map(|file| file.size).sum(),
        });
        report
    }
}

/// How many entries a log has, judged by the numbers that are there; and one that cannot belong to it.
fn counted(numbers: &BTreeSet<u64>) -> (u64, Option<u64>) {
    let mut n_entries = 0;
    for number in numbers {
        if number - n_entries > GAP_MAX {
            return (n_entries, Some(*number));
        }
        n_entries = number + 1;
    }
    (n_entries, None)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_far_after_the_others_is_no_entry() {
        let check = |numbers: &[u64], expected| {
            assert_eq!(counted(&numbers.iter().copied().collect()), expected);
        };
        check(&[0, 1, 2], (3, None));
        check(&[0, 2, 70_000 - 4_461], (65_540, None));
        check(&[0, 1, 9_999_999_999], (2, Some(9_999_999_999)));
        check(&[u64::MAX], (0, Some(u64::MAX)));
    }

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
