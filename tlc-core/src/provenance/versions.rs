//! A file as the commit has it, and as it is.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use gix::Repository;
use gix::bstr::{BString, ByteSlice as _};
use gix::object::tree::{Entry, EntryKind};

use super::changes::{self, FILE_BYTES_MAX, File, Sides};

/// How the text begins that Git LFS puts into a commit instead of a file.
const POINTER: &[u8] = b"version https://git-lfs";

/// The same sides, without what is no difference between them, or none that a patch could hold.
pub(super) fn settle(repository: &Repository, sides: Sides) -> Sides {
    let Sides { mut old, mut new } = sides;
    if !are_modes_known(repository)
        && let Ok(Some(new)) = &mut new
    {
        new.is_executable = matches!(&old, Ok(Some(old)) if old.is_executable);
    }
    let is_pointer = |side: &Result<Option<File>, &'static str>| matches!(side, Ok(Some(file)) if file.bytes.starts_with(POINTER));
    if is_pointer(&old) && !is_pointer(&new) {
        old = Err("its content is in Git LFS");
    }
    Sides { old, new }
}

/// Whether files on this disk have modes that are those of the repository.
fn are_modes_known(repository: &Repository) -> bool {
    let config = repository.config_snapshot();
    cfg!(unix) && config.boolean("core.fileMode") != Some(false)
}

fn entry<'a>(repository: &'a Repository, path: &BString) -> Result<Option<Entry<'a>>, gix::Error> {
    // Before the first commit there is none.
    if repository.head()?.is_unborn() {
        return Ok(None);
    }
    let tree = repository.head_tree()?;
    tree.lookup_entry_by_path(path.to_path_lossy())
}

/// Whether the commit has a file of this path.
pub(super) fn is_committed(repository: &Repository, path: &BString) -> bool {
    let entry = entry(repository, path).ok().flatten();
    entry.is_some_and(|entry| entry.mode().kind() != EntryKind::Tree)
}

/// The file as the commit has it.
pub(super) fn committed(
    repository: &Repository,
    path: &BString,
) -> Result<Option<File>, &'static str> {
    let unknown = "the commit could not be read";
    let Some(entry) = entry(repository, path).map_err(|_damaged| unknown)? else {
        return Ok(None);
    };
    match entry.mode().kind() {
        EntryKind::Blob | EntryKind::BlobExecutable => {}
        EntryKind::Link => return Err("it was a symbolic link"),
        EntryKind::Commit => return Err("it was a submodule"),
        EntryKind::Tree => return Err("it was a folder"),
    }
    let size = repository
        .find_header(entry.id())
        .map(|header| header.size());
    if size.map_err(|_damaged| unknown)? > FILE_BYTES_MAX {
        return Err("it was too large");
    }
    let blob = entry.object().map_err(|_damaged| unknown)?;
    Ok(Some(File {
        bytes: blob.data.clone(),
        is_executable: entry.mode().kind() == EntryKind::BlobExecutable,
    }))
}

/// The file as it is. Nothing but a plain file is opened: anything else might never answer.
pub(super) fn on_disk(
    repository: &Repository,
    path: &BString,
    is_untracked: bool,
) -> Result<Option<File>, &'static str> {
    let Some(folder) = repository.workdir() else {
        return Ok(None);
    };
    let path = path.to_path_lossy();
    if is_behind_link(folder, &path) {
        return Err("it lies behind a symbolic link");
    }
    let path = folder.join(path);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(err) if is_gone(&err) => return Ok(None),
        Err(_) => return Err("it could not be read"),
    };
    let max = match is_untracked {
        true => changes::UNTRACKED_BYTES_MAX,
        false => FILE_BYTES_MAX,
    };
    match found.is_file() {
        true if found.len() > max => Err("it is too large"),
        true => Ok(Some(File {
            bytes: read(&path, max).map_err(|_io| "it could not be read")?,
            is_executable: is_executable(&found),
        })),
        false => Err("it is no plain file"),
    }
}

/// Whether there is no such file, because of what is there instead of its folder or otherwise.
fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether a folder above is a symbolic link.
pub(super) fn is_behind_link(top: &Path, path: &Path) -> bool {
    let is_link = |above: &Path| top.join(above).is_symlink();
    path.parent()
        .is_some_and(|folder| folder.ancestors().any(is_link))
}

/// At most one byte more than `max`, whatever the file has become meanwhile.
fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn is_executable(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_found: &fs::Metadata) -> bool {
    false
}
