//! What is in a file or a folder of this machine: names, sizes and times, but no bytes yet.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use super::options::Source;
use super::paths::{DEPTH_MAX, FILES_MAX, flaw};
use crate::error::{Error, ErrorKind, Result};
use crate::format::COUNT_MAX;

/// A file or a folder as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    pub(super) is_file: bool,
    /// By path.
    pub(super) files: Vec<Found>,
    /// By path.
    pub(super) empty_folders: Vec<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its names from the folder on, with `/` between them.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) is_executable: bool,
    pub(super) content: Content,
}

/// Where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Disk {
        path: PathBuf,
        modified: Option<SystemTime>,
    },
    Memory(Bytes),
}

impl Walked {
    pub(super) fn bytes(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.bytes);
        sizes.fold(0, u64::saturating_add)
    }

    /// The same, if a version can have so many bytes.
    fn bounded(self, source: &Path) -> Result<Self> {
        match self.bytes() {
            bytes if bytes > COUNT_MAX => Err(Error::invalid(format!(
                "{} has {bytes} bytes, more than the {COUNT_MAX} that a version can have; put it as several artifacts",
                source.display()
            ))),
            _ => Ok(self),
        }
    }
}

/// Looks at a source. A link is followed if it is the source itself, and nowhere else.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none; [`ErrorKind::Invalid`] naming what cannot be in a version;
/// [`ErrorKind::Unavailable`] naming what cannot be read.
pub(super) fn walk(source: &Source) -> Result<Walked> {
    match source {
        Source::Disk(path) => on_disk(path),
        Source::Memory { name, bytes } => {
            check(name, Path::new(name))?;
            Ok(one(Found {
                path: name.clone(),
                bytes: bytes.len() as u64,
                is_executable: false,
                content: Content::Memory(bytes.clone()),
            }))
        }
    }
}

fn one(file: Found) -> Walked {
    Walked {
        is_file: true,
        files: vec![file],
        empty_folders: Vec::new(),
    }
}

fn on_disk(path: &Path) -> Result<Walked> {
    let metadata = fs::metadata(path).map_err(|err| unreadable(path, err))?;
    if metadata.is_dir() {
        return folder(path)?.bounded(path);
    }
    // Of a path such as `..` the name is not its last part; a file has one.
    let name = path.file_name().unwrap_or_default();
    let file = found(name_of(name, path)?, path, &metadata)?;
    check(&file.path, path)?;
    one(file).bounded(path)
}

fn folder(root: &Path) -> Result<Walked> {
    let mut walked = Walked {
        is_file: false,
        files: Vec::new(),
        empty_folders: Vec::new(),
    };
    let mut pending = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = pending.pop() {
        let entries = fs::read_dir(&folder).map_err(|err| unreadable(&folder, err))?;
        let mut is_empty = true;
        for entry in entries {
            let entry = entry.map_err(|err| unreadable(&folder, err))?;
            let disk = entry.path();
            is_empty = false;
            let path = format!("{prefix}{}", name_of(&entry.file_name(), &disk)?);
            check(&path, &disk)?;
            let metadata = fs::symlink_metadata(&disk).map_err(|err| unreadable(&disk, err))?;
            if metadata.is_dir() {
                pending.push((disk, format!("{path}/")));
            } else {
                walked.files.push(found(path, &disk, &metadata)?);
            }
        }
        if is_empty && !prefix.is_empty() {
            walked
                .empty_folders
                .push(prefix.trim_end_matches('/').to_owned());
        }
        let n = walked.files.len() + walked.empty_folders.len() + pending.len();
        if n > FILES_MAX {
            return Err(Error::invalid(format!(
                "{} has more than {FILES_MAX} files; pack them into larger ones",
                root.display()
            )));
        }
    }
    walked.files.sort_by(|a, b| a.path.cmp(&b.path));
    walked.empty_folders.sort();
    Ok(walked)
}

fn found(path: String, disk: &Path, metadata: &Metadata) -> Result<Found> {
    let what = match metadata.file_type() {
        kind if kind.is_file() => {
            return Ok(Found {
                path,
                bytes: metadata.len(),
                is_executable: is_executable(metadata),
                content: Content::Disk {
                    path: disk.to_owned(),
                    modified: metadata.modified().ok(),
                },
            });
        }
        kind if kind.is_symlink() => {
            "a symbolic link, which a version cannot hold; put the file in its place, or leave it out"
        }
        _ => "neither a file nor a folder",
    };
    Err(Error::invalid(format!("{} is {what}", disk.display())))
}

fn check(path: &str, disk: &Path) -> Result<()> {
    let deepest = DEPTH_MAX;
    match flaw(path) {
        None => Ok(()),
        Some(flaw) => Err(Error::invalid(format!(
            "{} cannot be in a version: {flaw} (at most {deepest} folders deep)",
            disk.display()
        ))),
    }
}

fn name_of(name: &OsStr, disk: &Path) -> Result<String> {
    let name = name.to_str().filter(|name| !name.is_empty());
    name.map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("the name of {} is not UTF-8", disk.display())))
}

#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &Metadata) -> bool {
    false
}

/// What a failure to read a path of this machine means.
pub(super) fn unreadable(path: &Path, err: std::io::Error) -> Error {
    let path = path.display();
    match err.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no {path}")),
        _ => Error::new(ErrorKind::Unavailable, format!("cannot read {path}")).with_source(err),
    }
}

/// The error for a file that is not any more what it was when it was looked at.
pub(super) fn changed(path: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{} changed while it was read; put it again when nothing writes to it",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_than_a_version_can_have_are_refused() {
        let walked = |sizes: &[u64]| {
            let file = |bytes: &u64| Found {
                path: "x".to_owned(),
                bytes: *bytes,
                is_executable: false,
                content: Content::Memory(Bytes::new()),
            };
            Walked {
                is_file: false,
                files: sizes.iter().map(file).collect(),
                empty_folders: Vec::new(),
            }
        };
        let at = Path::new("models");
        assert!(walked(&[COUNT_MAX - 1, 1]).bounded(at).is_ok());
        for sizes in [&[COUNT_MAX + 1][..], &[COUNT_MAX, 1], &[u64::MAX, 1]] {
            let err = walked(sizes).bounded(at).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Invalid);
            assert!(err.to_string().starts_with("models has "), "{err}");
        }
    }
}
