//! The spool: on this machine's disk, what runs have logged that is not yet in a store elsewhere.
//!
//! Each writer of such a run has a folder of its own, `<spool>/<writer>`: `spool.json` says of which run, `entries/` holds log
//! entries, and segments lie as in a run's folder. A folder is removed once all of it is in the store. One whose writer was
//! killed, or could not reach the store to the end, is uploaded by the run's next attempt on this machine, or by
//! `Root::sync_spool`. That a writer lives shows by its lock on `spool.json`.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::entries;
use super::growing::Content;
use super::read::Runs;
use super::segment::{PARQUET, SEGMENT, Stem};
use super::segments::fold;
use crate::error::{Error, ErrorKind, Result};
use crate::format::spool::Note;
use crate::format::{self, VERSION};
use crate::id::{Revision, RunName};
use crate::log::Log;
use crate::runtime::run_blocking;
use crate::store::{Place, SpoolFolder, decoded};

/// What says of which run a folder is.
const NOTE: &str = "spool.json";

/// Where log entries are kept, each named by its turn and by the number that it has at the least.
const ENTRIES: &str = "entries";

/// Folders below folders that are looked into.
const DEPTH_MAX: usize = 8;

/// How much was uploaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uploaded {
    pub(crate) runs: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// The folder of one writer that lives.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// Locked as long as this lives.
    _note: File,
    n_kept: u64,
}

impl Spool {
    /// Makes the folder of a writer.
    ///
    /// # Errors
    /// As the disk says.
    pub(crate) fn begin(
        spool: &SpoolFolder,
        project: &Place,
        (run, writer): (&RunName, &str),
    ) -> Result<Self> {
        let note = Note {
            format: VERSION,
            root: spool.root.clone(),
            project: project.name(),
            run: run.to_string(),
            writer: writer.to_owned(),
        };
        let folder = spool.folder.join(writer);
        let note = format::encode(&note)?;
        let begin = || {
            private_folder(&folder)?;
            let path = folder.join(NOTE);
            fs::write(&path, &note)?;
            let note = File::open(&path)?;
            note.try_lock()?;
            Ok(note)
        };
        let note = begin().map_err(|err| failed("make", &folder, err))?;
        Ok(Self {
            folder,
            _note: note,
            n_kept: 0,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a log entry whose number is `from` or later.
    ///
    /// # Errors
    /// As the disk says.
    pub(crate) fn keep(&mut self, from: Revision, entry: &Bytes) -> Result<PathBuf> {
        let folder = self.folder.join(ENTRIES);
        let path = folder.join(format!("{:06}-{}.json", self.n_kept, from.file_stem()));
        let staging = path.with_extension("new");
        let keep = || {
            fs::create_dir_all(&folder)?;
            fs::write(&staging, entry)?;
            File::open(&staging)?.sync_all()?;
            fs::rename(&staging, &path)
        };
        keep().map_err(|err| failed("write", &path, err))?;
        self.n_kept += 1;
        Ok(path)
    }

    /// Removes the folder, of which everything is in the store.
    pub(crate) fn end(&self) {
        // What stays is met again, and found to be in the store.
        fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// A folder that its owner alone can look into: it may hold anything that is logged.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn failed(what: &str, path: &Path, err: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot {what} {}", path.display()),
    )
    .with_source(err)
}

/// The folder of a writer that is no more.
#[derive(Debug)]
struct Left {
    note: Note,
    folder: PathBuf,
    /// Locked, so that nobody else uploads it at the same time.
    _lock: File,
    entries: Vec<(Revision, PathBuf)>,
    segments: Vec<(Stem, PathBuf)>,
}

/// What writers have left under this root that are no more, of the runs that are `meant`.
fn left(spool: &SpoolFolder, meant: impl Fn(&Note) -> bool) -> Result<Vec<Left>> {
    let folders = match fs::read_dir(&spool.folder) {
        Ok(folders) => folders,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(failed("read", &spool.folder, err)),
    };
    let mut left = Vec::new();
    for folder in folders.flatten() {
        let folder = folder.path();
        let Ok(lock) = File::open(folder.join(NOTE)) else {
            continue;
        };
        let what = folder.join(NOTE).display().to_string();
        let note = fs::read(folder.join(NOTE)).map_err(|err| failed("read", &folder, err))?;
        // One that was killed while it wrote this had logged nothing.
        let Ok(note) = format::decode::<Note>(&what, &note) else {
            continue;
        };
        if note.root != spool.root || !meant(&note) {
            continue;
        }
        match lock.try_lock() {
            Ok(()) => left.push(Left::read(note, folder, lock)?),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(err)) => return Err(failed("lock", &folder, err)),
        }
    }
    Ok(left)
}

impl Left {
    fn read(note: Note, folder: PathBuf, lock: File) -> Result<Self> {
        let mut files = Vec::new();
        walk(&folder, "", DEPTH_MAX, &mut files).map_err(|err| failed("read", &folder, err))?;
        files.sort();
        let mut left = Self {
            note,
            folder,
            _lock: lock,
            entries: Vec::new(),
            segments: Vec::new(),
        };
        for path in files {
            let file = left.folder.join(&path);
            let entry = path.strip_prefix(ENTRIES).and_then(|name| {
                let (_turn, from) = name.strip_suffix(".json")?.split_once('-')?;
                Some(Revision(from.parse().ok()?))
            });
            if let Some(from) = entry {
                left.entries.push((from, file));
            } else if let Some((stem, SEGMENT)) = Stem::parse(&decoded(&path)) {
                left.segments.push((stem, file));
            }
        }
        Ok(left)
    }

    /// Brings it to its run, entries before the files that they speak of, and removes it.
    async fn upload(self, project: &Place) -> Result<Uploaded> {
        let mut uploaded = self.append_entries(project).await?;
        let place = Runs::new(project.clone()).place(&self.note.run.parse()?);
        for (stem, file) in &self.segments {
            uploaded.files += 1;
            uploaded.bytes += fs::metadata(file).map_or(0, |file| file.len());
            let content = Content::Disk(file.clone());
            fold(place.clone(), stem.path(PARQUET), content).await?;
        }
        fs::remove_dir_all(&self.folder).unwrap_or_default();
        uploaded.runs = u64::from(uploaded.files > 0);
        Ok(uploaded)
    }

    /// Appends its entries to the log of its run.
    async fn append_entries(&self, project: &Place) -> Result<Uploaded> {
        let run: RunName = self.note.run.parse()?;
        let runs = Runs::new(project.clone());
        let known = runs.folded(&run).await?;
        if !known.writers.contains_key(&self.note.writer) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "run {run} is another one than that which is kept in {}; remove the folder if it is not needed",
                    self.folder.display()
                ),
            ));
        }
        let mut uploaded = Uploaded::default();
        for (from, file) in &self.entries {
            let entry = Bytes::from(fs::read(file).map_err(|err| failed("read", file, err))?);
            uploaded.files += 1;
            uploaded.bytes += entry.len() as u64;
            entries::append(Log::of(&runs.place(&run)), *from, entry).await?;
            fs::remove_file(file).unwrap_or_default();
        }
        Ok(uploaded)
    }
}

/// The files below `folder`, with their paths in it.
fn walk(folder: &Path, at: &str, depth: usize, files: &mut Vec<String>) -> std::io::Result<()> {
    for found in fs::read_dir(folder)? {
        let found = found?;
        let name = found.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = match at {
            "" => name.to_owned(),
            at => format!("{at}/{name}"),
        };
        match found.file_type()? {
            kind if kind.is_dir() && depth > 0 => walk(&found.path(), &path, depth - 1, files)?,
            kind if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Uploads what writers have left that are no more, of the runs that are `meant`; `project` gives the place of a project.
///
/// # Errors
/// [`ErrorKind::NotFound`] or [`ErrorKind::Conflict`] naming a run that is gone or another one by now, [`ErrorKind::Corrupt`] naming
/// a file that is damaged; those of the store and of the disk. Only the first; the rest was tried all the same, and what was not uploaded is still there.
pub(crate) async fn upload_left(
    spool: &SpoolFolder,
    meant: impl Fn(&Note) -> bool + Send + 'static,
    project: impl Fn(&str) -> Result<Place>,
) -> Result<Uploaded> {
    let spool = spool.clone();
    let left = run_blocking(move || left(&spool, meant)).await?;
    let (mut sum, mut failed) = (Uploaded::default(), Ok(()));
    for left in left {
        let what = format!(
            "cannot upload what is kept of run {}/{} in {}",
            left.note.project,
            left.note.run,
            left.folder.display()
        );
        let uploaded = match project(&left.note.project) {
            Ok(project) => left.upload(&project).await,
            Err(err) => Err(err),
        };
        match uploaded {
            Ok(uploaded) => {
                sum.runs += uploaded.runs;
                sum.files += uploaded.files;
                sum.bytes += uploaded.bytes;
            }
            Err(err) => failed = failed.and(Err(err.context(what))),
        }
    }
    failed.map(|()| sum)
}

/// The same for a run that goes on with its next attempt.
pub(crate) async fn upload_left_of(project: Place, run: RunName) -> Result<()> {
    let Some(spool) = project.spool.clone() else {
        return Ok(());
    };
    let uploaded = upload_left(&spool, is_of(&project, &run), |_| Ok(project.clone()));
    uploaded.await.map(drop)
}

/// Appends the entries that writers of a run have left that are no more, before its next attempt begins: what that says comes
/// after them. Whether there were any; what cannot be appended is left where it is.
pub(crate) async fn append_left_of(project: &Place, run: &RunName) -> bool {
    let Some(spool) = project.spool.clone() else {
        return false;
    };
    let is_its = is_of(project, run);
    let left = run_blocking(move || left(&spool, is_its)).await;
    let mut has_appended = false;
    for left in left.unwrap_or_default() {
        let appended = left.append_entries(project).await;
        has_appended |= appended.is_ok_and(|appended| appended.files > 0);
    }
    has_appended
}

fn is_of(project: &Place, run: &RunName) -> impl Fn(&Note) -> bool + Send + 'static {
    let (project, run) = (project.name(), run.to_string());
    move |note| (&note.project, &note.run) == (&project, &run)
}
