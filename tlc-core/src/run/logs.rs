//! The logs of many runs, read at once, and whether a log that was read still is what it was.
//!
//! A log only grows, by consecutive numbers. So one that had `n` entries has not changed if entry `n` does not exist, and if
//! the entry before it is the object that it was: of a run that was deleted and made anew, it is not. On
//! a local disk that is asked of the file system directly, many runs in one piece of work, since handing a thousand small reads
//! from thread to thread takes ten times as long as reading.

use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path as DiskPath, PathBuf};
use std::sync::OnceLock;
use std::thread::available_parallelism;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use object_store::ObjectMeta;
use object_store::path::PathPart;

use crate::error::Result;
use crate::id::{Revision, RunName};
use crate::log::{self, ENTRY_BYTES_MAX, Log};
use crate::runtime::run_blocking;
use crate::store::{Place, decoded};

/// How many logs are read at the same time from a store that is not a disk.
const READS_MAX: usize = 32;

/// Less than this many items are not worth another thread.
const PIECE_MIN: usize = 64;

/// What a store says of the last entry of a log. Of two objects of one name it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// In nanoseconds since 1970, by the store's clock.
    pub(crate) modified: i64,
    pub(crate) bytes: u64,
    pub(crate) e_tag: Option<String>,
}

/// The log of a run as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunLog {
    /// Of entry 0 and all after it; at least one.
    pub(crate) entries: Vec<Bytes>,
    pub(crate) mark: Mark,
}

impl RunLog {
    pub(crate) fn n_entries(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn known(&self, run: &RunName) -> Known {
        Known {
            run: run.clone(),
            n_entries: self.n_entries(),
            mark: self.mark.clone(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.len() as u64).sum()
    }
}

/// What has to be known of a log to tell whether it is the same.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) run: RunName,
    pub(crate) n_entries: u64,
    pub(crate) mark: Mark,
}

/// The names of the runs below a folder, in order. Of what is no name of ours, somebody else knows.
///
/// # Errors
/// As the disk says, also if the folder is not there.
pub(crate) fn names(runs: &DiskPath) -> io::Result<Vec<RunName>> {
    let mut names: Vec<RunName> = Vec::new();
    for file in fs::read_dir(runs)? {
        let file = file?;
        let kind = file.file_type()?;
        let is_folder = kind.is_dir() || kind.is_symlink() && file.path().is_dir();
        let name = file.file_name();
        let name = name.to_str().and_then(|name| decoded(name).parse().ok());
        names.extend(name.filter(|_| is_folder));
    }
    names.sort();
    Ok(names)
}

/// For each of `known`, whether the log of that run in `project` still is what it was. On a disk two look-ups for each, elsewhere one
/// listing from the last entry on. Trouble with one of them means that it has to be read again.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the system gives no threads.
pub(crate) async fn are_same(project: &Place, known: Vec<Known>) -> Result<Vec<bool>> {
    let runs = project.child("runs");
    if let Some(folder) = runs.on_disk() {
        return spread(known, move |known| is_same_on_disk(&folder, &known)).await;
    }
    let asked = known.into_iter().map(move |known| {
        let log = Log::of(&runs.child(known.run.as_str()));
        async move { is_same(&log, &known).await }.boxed()
    });
    Ok(stream::iter(asked).buffered(READS_MAX).collect().await)
}

async fn is_same(log: &Log, known: &Known) -> bool {
    let Some(last) = known.n_entries.checked_sub(1) else {
        return false;
    };
    let tail = log.tail(Revision(last)).await.unwrap_or_default();
    matches!(&tail[..], [(number, object)] if *number == last && mark_of(object) == known.mark)
}

fn is_same_on_disk(runs: &DiskPath, known: &Known) -> bool {
    let Some(last) = known.n_entries.checked_sub(1) else {
        return false;
    };
    let folder = log_folder(runs, &known.run);
    let is_last = fs::metadata(entry(&folder, last))
        .and_then(|found| mark_on_disk(&found))
        .is_ok_and(|mark| mark == known.mark);
    let next = || fs::metadata(entry(&folder, known.n_entries));
    is_last && next().is_err_and(|err| err.kind() == io::ErrorKind::NotFound)
}

/// The logs of `names`; `None` for one that cannot be read in this way, and that [`Log::entries`] knows what to say of. On a disk a listing
/// and a read for each entry, elsewhere as requests of the store.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the system gives no threads.
pub(crate) async fn read(project: &Place, names: Vec<RunName>) -> Result<Vec<Option<RunLog>>> {
    let runs = project.child("runs");
    if let Some(folder) = runs.on_disk() {
        let read = move |name: RunName| read_on_disk(&log_folder(&folder, &name)).ok();
        return spread(names, read).await;
    }
    let reads = names.into_iter().map(move |name| {
        let log = Log::of(&runs.child(name.as_str()));
        async move { read_log(&log).await.ok().flatten() }.boxed()
    });
    Ok(stream::iter(reads).buffered(READS_MAX).collect().await)
}

async fn read_log(log: &Log) -> Result<Option<RunLog>> {
    let tail = log.tail(Revision::FIRST).await?;
    let Some((last, object)) = tail.into_iter().max_by_key(|(number, _)| *number) else {
        return Ok(None);
    };
    let end = Revision(last.saturating_add(1));
    let (entries, mark) = (log.range(Revision::FIRST, end).await?, mark_of(&object));
    Ok(Some(RunLog { entries, mark }))
}

fn mark_of(object: &ObjectMeta) -> Mark {
    Mark {
        modified: object
            .last_modified
            .timestamp_nanos_opt()
            .unwrap_or_default(),
        bytes: object.size,
        e_tag: object.e_tag.clone(),
    }
}

/// # Errors
/// As the disk says, and if there is no log, or not all of one.
fn read_on_disk(folder: &DiskPath) -> io::Result<RunLog> {
    let mut last = None;
    for file in fs::read_dir(folder)? {
        last = last.max(file?.file_name().to_str().and_then(log::number));
    }
    let last = last.ok_or(io::ErrorKind::NotFound)?;
    let mut entries = Vec::new();
    for number in 0..last {
        entries.push(fs::read(entry(folder, number))?.into());
    }
    let mark = mark_on_disk(&fs::metadata(entry(folder, last))?)?;
    entries.push(fs::read(entry(folder, last))?.into());
    match entries
        .iter()
        .all(|entry: &Bytes| entry.len() <= ENTRY_BYTES_MAX)
    {
        true => Ok(RunLog { entries, mark }),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// # Errors
/// Where the system does not say when a file was written.
fn mark_on_disk(file: &fs::Metadata) -> io::Result<Mark> {
    let since = file.modified()?.duration_since(UNIX_EPOCH);
    let modified = since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    });
    Ok(Mark {
        modified,
        bytes: file.len(),
        e_tag: None,
    })
}

/// The folder of the log of a run, whose name is spelled on disk as in any store.
fn log_folder(runs: &DiskPath, run: &RunName) -> PathBuf {
    let mut folder = runs.join(PathPart::from(run.as_str()).as_ref());
    folder.push("log");
    folder
}

fn entry(folder: &DiskPath, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.json"))
}

/// `work` on each of `items`, on as many threads as there are processors; the results in order.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the system gives no threads.
pub(crate) async fn spread<T: Send + 'static, R: Send + 'static>(
    mut items: Vec<T>,
    work: impl Fn(T) -> R + Clone + Send + 'static,
) -> Result<Vec<R>> {
    static N_CORES: OnceLock<usize> = OnceLock::new();
    let n_cores = *N_CORES.get_or_init(|| available_parallelism().map_or(1, NonZero::get));
    let piece = items.len().div_ceil(n_cores).max(PIECE_MIN);
    let mut pieces = Vec::new();
    while !items.is_empty() {
        let rest = items.split_off(piece.min(items.len()));
        let (piece, work) = (std::mem::replace(&mut items, rest), work.clone());
        pieces.push(run_blocking(move || {
            Ok(piece.into_iter().map(work).collect::<Vec<R>>())
        }));
    }
    // Each begins when it is first polled: all at once.
    let done = futures::future::try_join_all(pieces).await?;
    Ok(done.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    #[test]
    fn what_is_spread_over_threads_keeps_its_order() {
        for n in [0, 1, PIECE_MIN, 7 * PIECE_MIN + 3] {
            let items: Vec<usize> = (0..n).collect();
            let done = block_on(spread(items, |item| item * 2)).unwrap();
            assert!(done.iter().copied().eq((0..n).map(|item| item * 2)), "{n}");
        }
    }

    #[test]
    fn a_log_on_disk_is_read_whole_or_not_at_all() {
        let runs = tempfile::tempdir().unwrap();
        let run: RunName = "r".parse().unwrap();
        let folder = log_folder(runs.path(), &run);
        assert!(read_on_disk(&folder).is_err());
        fs::create_dir_all(&folder).unwrap();
        assert!(read_on_disk(&folder).is_err());
        for (number, text) in [(0, "zero"), (1, "one"), (2, "two")] {
            fs::write(entry(&folder, number), text).unwrap();
        }
        fs::write(folder.join("00000000000000000007.json#1"), "staging").unwrap();
        let RunLog { entries, mark } = read_on_disk(&folder).unwrap();
        assert_eq!(entries, ["zero", "one", "two"]);
        let known = Known {
            run,
            n_entries: 3,
            mark,
        };
        assert!(is_same_on_disk(runs.path(), &known));
        let fewer = Known {
            n_entries: 2,
            ..known.clone()
        };
        assert!(!is_same_on_disk(runs.path(), &fewer));
        fs::write(entry(&folder, 3), "three").unwrap();
        assert!(!is_same_on_disk(runs.path(), &known));
        fs::remove_file(entry(&folder, 1)).unwrap();
        assert!(read_on_disk(&folder).is_err(), "a gap");
    }
}
