//! Where a version is written on this machine: under a name of its own beside the target, which becomes the target's
//! when it is whole.
//!
//! Everything below that name was made here: folders and files are made anew and never opened, so no link is
//! followed, and two paths that are one to this file system (`A` and `a` on some) are found out. All of this waits for the disk.

use std::collections::BTreeSet;
use std::fs::{self, File as DiskFile, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::paths::folders_of;
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::{File, Manifest};

/// What of a target may be replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaces {
    /// Whether anything may.
    pub(super) any: bool,
    /// The root's folder, if it is on this machine: neither it nor what is in it or around it is replaced by a folder.
    pub(super) root: Option<PathBuf>,
}

/// A version that is being written. Dropped before the end, it takes away what was written.
pub(super) struct Target {
    target: PathBuf,
    replaces: Replaces,
    /// Where it is written until it is whole.
    staging: PathBuf,
    is_file: bool,
    /// Those that were made, to be synced when all is in them.
    folders: Vec<PathBuf>,
    waiting: std::vec::IntoIter<File>,
    writing: Option<Writing>,
    is_over: bool,
}

/// A file that is being written.
struct Writing {
    file: File,
    disk: DiskFile,
    hasher: blake3::Hasher,
    n_left: u64,
}

impl Target {
    /// Begins to write what a manifest says to `target`; `id` is one that nobody else has.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if something is there and is not to be replaced; [`ErrorKind::Invalid`] if two paths are one
    /// here, if a file would take a folder's place, or a folder that of the current folder or the root;
    /// [`ErrorKind::Unavailable`] naming what cannot be written.
    pub(super) fn begin(
        target: &Path,
        replaces: Replaces,
        manifest: &Manifest,
        id: &str,
    ) -> Result<Self> {
        if let [file] = manifest.files.as_slice()
            && manifest.is_file
        {
            refuse_folder(target, &file.path)?;
        }
        // Of a bare name the folder is the current one, and `..` has a folder too.
        let target = std::path::absolute(target).map_err(|err| unwritable(target, err))?;
        refuse_existing(&target, &replaces)?;
        let folder = target.parent().filter(|_| target.file_name().is_some());
        let folder = folder
            .ok_or_else(|| Error::invalid(format!("{} cannot be written to", target.display())))?;
        fs::create_dir_all(folder).map_err(|err| unwritable(folder, err))?;
        let mut written = Self {
            staging: folder.join(format!(".tlc-{id}.part")),
            target,
            replaces,
            is_file: manifest.is_file,
            folders: Vec::new(),
            waiting: manifest.files.clone().into_iter(),
            writing: None,
            is_over: false,
        };
        if !written.is_file {
            written.make_folders(manifest)?;
        }
        Ok(written)
    }

    fn make_folders(&mut self, manifest: &Manifest) -> Result<()> {
        let files = manifest.files.iter().map(|file| file.path.as_str());
        let mut folders: BTreeSet<&str> = files.flat_map(folders_of).collect();
        for empty in &manifest.empty_folders {
            folders.extend(folders_of(empty));
            folders.insert(empty);
        }
        fs::create_dir(&self.staging).map_err(|err| unwritable(&self.staging, err))?;
        self.folders.push(self.staging.clone());
        for folder in folders {
            let path = self.staging.join(folder);
            fs::create_dir(&path).map_err(|err| unwritten(folder, err))?;
            self.folders.push(path);
        }
        Ok(())
    }

    /// Writes the next bytes of the stream.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a file whose bytes are not those that its hash says; as [`Self::begin`].
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.turn_to_next()?;
            let Some(writing) = &mut self.writing else {
                return Err(Error::corrupt("its chunks have more bytes than its files"));
            };
            let n = bytes
                .len()
                .min(usize::try_from(writing.n_left).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(n);
            let written = writing.disk.write_all(now);
            written.map_err(|err| unwritten(&writing.file.path, err))?;
            writing.hasher.update(now);
            writing.n_left -= n as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Gives what was written its name, once all of it is on the disk.
    ///
    /// # Errors
    /// As [`Self::write`] and [`Self::begin`].
    pub(super) fn finish(mut self) -> Result<()> {
        self.turn_to_next()?;
        if self.writing.is_some() {
            return Err(Error::corrupt("its chunks have fewer bytes than its files"));
        }
        refuse_existing(&self.target, &self.replaces)?;
        let target = &self.target;
        for folder in &self.folders {
            sync_folder(folder).map_err(|err| unwritable(folder, err))?;
        }
        let named = match fs::symlink_metadata(target) {
            Ok(_) if !self.is_file => self.change_places(),
            _ => fs::rename(&self.staging, target),
        };
        named.map_err(|err| unwritable(target, err))?;
        self.is_over = true;
        let above = target.parent().map_or(Ok(()), sync_folder);
        above.map_err(|err| unwritable(target, err))
    }

    /// Puts a folder where something else is now, which takes two steps.
    fn change_places(&self) -> std::io::Result<()> {
        let before = self.staging.with_extension("before");
        fs::rename(&self.target, &before)?;
        if let Err(err) = fs::rename(&self.staging, &self.target) {
            fs::rename(&before, &self.target)?;
            return Err(err);
        }
        remove(&before);
        Ok(())
    }

    /// Goes on to the file that the next byte belongs to; to none at the end.
    fn turn_to_next(&mut self) -> Result<()> {
        while self
            .writing
            .as_ref()
            .is_none_or(|writing| writing.n_left == 0)
        {
            if let Some(done) = self.writing.take() {
                done.check()?;
            }
            let Some(file) = self.waiting.next() else {
                return Ok(());
            };
            let path = match self.is_file {
                true => self.staging.clone(),
                false => self.staging.join(&file.path),
            };
            let disk = create(&path, file.executable).map_err(|err| unwritten(&file.path, err))?;
            self.writing = Some(Writing {
                disk,
                hasher: blake3::Hasher::new(),
                n_left: file.bytes,
                file,
            });
        }
        Ok(())
    }
}

impl Writing {
    /// Compares what was written with its hash, and sees to it that it is on the disk.
    fn check(self) -> Result<()> {
        let path = &self.file.path;
        if self.hasher.finalize().to_hex().as_str() != self.file.blake3 {
            return Err(Error::corrupt(format!(
                "{path} is not what its hash says, though its chunks are"
            )));
        }
        self.disk.sync_all().map_err(|err| unwritten(path, err))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_over {
            remove(&self.staging);
        }
    }
}

/// A file never takes the place of a folder, which may hold anything.
fn refuse_folder(target: &Path, file: &str) -> Result<()> {
    let is_folder = fs::symlink_metadata(target).is_ok_and(|found| found.is_dir());
    let text = target.to_string_lossy();
    if !is_folder && !text.ends_with(std::path::is_separator) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{text} names a folder, and the version is one file; name a file in it, such as {}",
        target.join(file).display()
    )))
}

fn refuse_existing(target: &Path, replaces: &Replaces) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(_) if !replaces.any => Err(Error::new(
            ErrorKind::Conflict,
            format!("{} is there already", target.display()),
        )),
        Ok(found) if found.is_dir() => refuse_needed(target, replaces.root.as_deref()),
        _ => Ok(()),
    }
}

/// Refuses to replace a folder that somebody is in, or that the root is in.
fn refuse_needed(target: &Path, root: Option<&Path>) -> Result<()> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let (Some(folder), current) = (real(target), real(Path::new("."))) else {
        return Err(Error::invalid(format!(
            "{} cannot be looked at, and is not replaced; name another target",
            target.display()
        )));
    };
    let root = root.and_then(real);
    let why = match (current, root) {
        (Some(current), _) if current.starts_with(&folder) => "the current folder is in it",
        (_, Some(root)) if root.starts_with(&folder) => "the root is in it",
        (_, Some(root)) if folder.starts_with(&root) => "it is in the root",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!(
        "{} is not replaced: {why}; name another folder",
        target.display()
    )))
}

/// Takes away a file or a folder, a link itself. What cannot be removed stays in its hidden place.
fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    removed.unwrap_or_default();
}

/// Sees to it that the names in a folder are on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    DiskFile::open(folder)?.sync_all()
}

/// A folder cannot be opened there.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn create(path: &Path, is_executable: bool) -> std::io::Result<DiskFile> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = if is_executable { 0o777 } else { 0o666 };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _is_executable: bool) -> std::io::Result<DiskFile> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// What a failure to make a file or a folder of a version means.
fn unwritten(path: &str, err: std::io::Error) -> Error {
    match err.kind() {
        std::io::ErrorKind::AlreadyExists => Error::invalid(format!(
            "{path} and another path of the version are one on this file system; get it on one that tells them apart"
        )),
        _ => unwritable(Path::new(path), err),
    }
}

fn unwritable(path: &Path, err: std::io::Error) -> Error {
    let message = format!("cannot write {}", path.display());
    Error::new(ErrorKind::Unavailable, message).with_source(err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::artifact::Cut;

    fn manifest(is_file: bool, files: &[(&str, &str)], empty_folders: &[&str]) -> Manifest {
        let mut offset = 0;
        let files = files.iter().map(|(path, text)| {
            let bytes = text.len() as u64;
            offset += bytes;
            File {
                path: (*path).to_owned(),
                offset: offset - bytes,
                bytes,
                blake3: blake3::hash(text.as_bytes()).to_hex().to_string(),
                executable: *text == "run",
            }
        });
        Manifest {
            format: 1,
            is_file,
            cut: Cut {
                algorithm: String::new(),
                bytes_min: 1,
                bytes_average: 1,
                bytes_max: 1,
            },
            files: files.collect(),
            empty_folders: empty_folders
                .iter()
                .map(|path| (*path).to_owned())
                .collect(),
            chunks: Vec::new(),
        }
    }

    /// The paths below a folder, with `/` behind folders.
    fn tree(folder: &Path) -> String {
        let mut paths = Vec::new();
        let mut pending = vec![folder.to_owned()];
        while let Some(at) = pending.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                if path.is_dir() {
                    pending.push(path);
                    paths.push(format!("{name}/"));
                } else {
                    paths.push(name);
                }
            }
        }
        paths.sort();
        paths.join(" ")
    }

    fn replaces(any: bool) -> Replaces {
        Replaces { any, root: None }
    }

    fn write(target: &Path, any: bool, manifest: &Manifest, stream: &str) -> Result<()> {
        let mut written = Target::begin(target, replaces(any), manifest, "7")?;
        for piece in stream.as_bytes().chunks(2) {
            written.write(piece)?;
        }
        written.finish()
    }

    #[test]
    fn a_folder_is_there_when_it_is_whole_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/model");
        let manifest = manifest(
            false,
            &[("a/b", "12345"), ("a/c", ""), ("d", "run")],
            &["e/f"],
        );
        let mut written = Target::begin(&target, replaces(false), &manifest, "7").unwrap();
        written.write(b"123").unwrap();
        assert!(!target.exists());
        drop(written);
        assert_eq!(tree(folder.path()), "new/");
        for (stream, expected) in [
            ("12345ru", "fewer bytes"),
            ("12345run1", "more bytes"),
            ("12346run", "a/b is not what its hash says"),
        ] {
            let err = write(&target, false, &manifest, stream).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Corrupt);
            assert!(err.to_string().contains(expected), "{err}");
            assert_eq!(tree(folder.path()), "new/");
        }
        write(&target, false, &manifest, "12345run").unwrap();
        assert_eq!(tree(&target), "a/ a/b a/c d e/ e/f/");
        assert_eq!(fs::read_to_string(target.join("a/b")).unwrap(), "12345");
    }

    #[test]
    fn what_is_there_is_replaced_only_if_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (
            manifest(true, &[("x", "12")], &[]),
            manifest(false, &[("y", "34")], &[]),
        );
        let target = folder.path().join("model");
        write(&target, false, &file, "12").unwrap();
        for manifest in [&file, &other] {
            let err = write(&target, false, manifest, "12").unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Conflict);
        }
        write(&target, true, &file, "12").unwrap();
        assert_eq!(tree(folder.path()), "model");
        write(&target, true, &other, "34").unwrap();
        assert_eq!(tree(folder.path()), "model/ model/y");
        write(&target, true, &other, "34").unwrap();
        assert_eq!(tree(folder.path()), "model/ model/y");
    }

    #[test]
    fn a_file_takes_the_place_of_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = manifest(true, &[("x.bin", "12")], &[]);
        fs::create_dir(folder.path().join("out")).unwrap();
        fs::write(folder.path().join("out/mine"), "").unwrap();
        for (target, any) in [
            ("out", true),
            ("out", false),
            ("out/", true),
            ("new/", false),
        ] {
            let err = write(&folder.path().join(target), any, &file, "12").unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Invalid, "{target}: {err}");
            let such_as = format!("{}/x.bin", target.trim_end_matches('/'));
            assert!(err.to_string().ends_with(&such_as), "{err}");
            assert_eq!(tree(folder.path()), "out/ out/mine");
        }
    }

    #[test]
    fn a_folder_that_the_root_or_somebody_is_in_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(false, &[("y", "34")], &[]);
        fs::create_dir_all(folder.path().join("a/root/zoo")).unwrap();
        fs::create_dir_all(folder.path().join("a/other")).unwrap();
        let replaces = Replaces {
            any: true,
            root: Some(folder.path().join("a/root")),
        };
        let begin = |target: &Path| Target::begin(target, replaces.clone(), &manifest, "7");
        for (target, why) in [
            (folder.path().join("a"), "the root is in it"),
            (folder.path().join("a/root"), "the root is in it"),
            (folder.path().join("a/root/zoo"), "it is in the root"),
            (folder.path().join("a/other/../root"), "the root is in it"),
            (PathBuf::from("."), "the current folder is in it"),
            (PathBuf::from("../.."), "the current folder is in it"),
            (PathBuf::from("/"), "the current folder is in it"),
        ] {
            let Err(err) = begin(&target) else {
                panic!("{} would be replaced", target.display());
            };
            assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
            assert!(err.to_string().contains(why), "{err}");
        }
        drop(begin(&folder.path().join("a/other")).map_err(drop).unwrap());
        assert_eq!(tree(folder.path()), "a/ a/other/ a/root/ a/root/zoo/");
    }

    #[test]
    fn paths_that_are_one_here_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(false, &[("A", "1"), ("a", "2")], &[]);
        let mut written =
            Target::begin(&folder.path().join("x"), replaces(false), &manifest, "7").unwrap();
        // As a file system that folds letters would have it.
        fs::write(folder.path().join(".tlc-7.part/a"), "1").unwrap();
        let err = written.write(b"12").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(
            err.to_string().contains("are one on this file system"),
            "{err}"
        );
        drop(written);
        assert_eq!(tree(folder.path()), "");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_at_the_target_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (elsewhere, target) = (folder.path().join("elsewhere"), folder.path().join("x"));
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &target).unwrap();
        let file = manifest(true, &[("x", "12")], &[]);
        let err = write(&target, false, &file, "12").unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict);
        write(&target, true, &file, "12").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&target).unwrap(), "12");
        assert!(!fs::symlink_metadata(&target).unwrap().is_symlink());
    }
}
