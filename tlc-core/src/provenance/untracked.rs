//! Files that are neither tracked nor ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::Repository;
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::dir::EntryRef;
use gix::dir::entry::{Kind, Status};
use gix::dir::walk::{Action, Delegate, ForDeletionMode};

use super::listing::{Listing, Paths};
use super::repository::told;

/// Their paths, without those in folders of data. What was found before something failed counts, and a folder
/// that cannot be read costs nothing but what is in it.
pub(super) fn untracked(
    (repository, top): (&Repository, &Path),
    data: &[PathBuf],
    (listing, stop): (&Listing, &AtomicBool),
) -> Paths {
    let mut walk = Walk {
        found: Paths::default(),
        max: listing.n_left(),
        data: data.iter().filter_map(|data| below(top, data)).collect(),
        n_closed: 0,
        top,
        stop,
    };
    let walked = look(repository, stop, &mut walk);
    let (mut found, n_closed) = (walk.found, walk.n_closed);
    if let Err(err) = walked
        && !stop.load(Ordering::Relaxed)
    {
        found.failed.push(not_all(&told(&err)));
    }
    if n_closed > 1 {
        let more = format!("{} more folders could not be read", n_closed - 1);
        found.failed.push(not_all(&more));
    }
    found
}

fn not_all(why: &str) -> String {
    format!("not all untracked files of the code are known: {why}")
}

fn look(repository: &Repository, stop: &AtomicBool, walk: &mut Walk<'_>) -> Result<(), gix::Error> {
    let index = repository.index_or_load_from_head_or_empty()?;
    let options = repository.dirwalk_options()?;
    let everything = Vec::<BString>::new();
    repository.dirwalk(&index, everything, stop, options, walk)?;
    Ok(())
}

/// Where a folder lies below the top, if it does.
fn below(top: &Path, folder: &Path) -> Option<BString> {
    let folder = real(folder);
    let path = folder.strip_prefix(real(top)).ok()?;
    let path = gix::path::to_unix_separators_on_windows(gix::path::into_bstr(path).ok()?);
    (!path.is_empty()).then(|| path.into_owned())
}

/// The path without symbolic links, also of what is not there yet.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(found), _, _) => found,
        (Err(_), Some(above), Some(name)) => real(above).join(name),
        _ => path.to_path_buf(),
    }
}

/// A walk through the work tree, which holds no more than `max` paths.
struct Walk<'a> {
    found: Paths,
    max: usize,
    data: Vec<BString>,
    n_closed: u64,
    top: &'a Path,
    stop: &'a AtomicBool,
}

impl Walk<'_> {
    /// Whether a folder can be read; says so if not.
    fn opens(&mut self, path: &BStr) -> bool {
        let Err(err) = fs::read_dir(self.top.join(path.to_path_lossy())) else {
            return true;
        };
        self.n_closed += 1;
        if self.n_closed == 1 {
            let why = format!("{} could not be read: {}", told(&path), told(&err));
            self.found.failed.push(not_all(&why));
        }
        false
    }
}

impl Delegate for Walk<'_> {
    fn emit(&mut self, entry: EntryRef<'_>, _above: Option<Status>) -> Action {
        // A folder comes here only if it was not gone into.
        if entry.status == Status::Untracked && entry.disk_kind != Some(Kind::Directory) {
            self.found.add(entry.rela_path.into_owned(), self.max);
        }
        match self.stop.load(Ordering::Relaxed) {
            true => Action::Break(()),
            false => Action::Continue(()),
        }
    }

    fn can_recurse(
        &mut self,
        entry: EntryRef<'_>,
        deletion: Option<ForDeletionMode>,
        is_repository: bool,
    ) -> bool {
        let (kind, pathspec) = (entry.disk_kind, entry.pathspec_match);
        let path = &*entry.rela_path;
        entry
            .status
            .can_recurse(kind, pathspec, deletion, is_repository)
            && !self.data.iter().any(|data| data == path)
            && self.opens(path)
    }
}
