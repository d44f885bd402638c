//! What a manifest may say: it may come from a stranger, and becomes files on somebody's disk.
//!
//! No path leads out of the folder that it is written to, no two files have the same path, the files lie one after the other
//! in the stream, and the chunks make up the stream. Who reads a manifest relies on all of this.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::format::artifact::{File, Manifest};

/// Where the artifacts of a project lie.
pub(crate) const FOLDER: &str = "artifacts";

/// Where the chunks of a project lie.
pub(crate) const CHUNKS: &str = "chunks";

/// Where the manifests of an artifact lie.
pub(super) const MANIFESTS: &str = "manifests";

/// The largest manifest that is written or read: one of a million files, or of about four terabytes.
pub(super) const MANIFEST_BYTES_MAX: usize = 256 << 20;

/// Files and empty folders of a version at most.
pub(super) const FILES_MAX: usize = 1 << 20;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4_096;

/// The longest name in a path, in bytes: as file systems have it.
const NAME_BYTES_MAX: usize = 255;

/// The most names in a path.
pub(super) const DEPTH_MAX: usize = 64;

/// The largest chunk that is read.
pub(super) const CHUNK_BYTES_MAX: u64 = 16 << 20;

/// What is wrong with a path as one of a file in a version, if anything.
pub(super) fn flaw(path: &str) -> Option<&'static str> {
    let mut names = path.split('/');
    if path.len() > PATH_BYTES_MAX {
        return Some("it is longer than 4,096 bytes");
    }
    if path.split('/').count() > DEPTH_MAX {
        return Some("it has more than 64 folders in each other");
    }
    if names.any(|name| name.is_empty() || name == "." || name == "..") {
        return Some("it does not lead from name to name");
    }
    if path.split('/').any(|name| name.len() > NAME_BYTES_MAX) {
        return Some("a name in it is longer than 255 bytes");
    }
    if path.chars().any(|c| c == '\\' || c.is_control()) {
        return Some("it has a backslash or a control character in it");
    }
    // A drive or a second stream of a file, and no name there.
    if cfg!(windows) && path.contains(':') {
        return Some("it has a colon in it");
    }
    None
}

/// The manifest, if it is one that can be relied upon.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) saying what is wrong with it.
pub(super) fn checked(manifest: Manifest) -> Result<Manifest> {
    let folders = &manifest.empty_folders;
    if manifest.files.len() + folders.len() > FILES_MAX {
        return Err(Error::corrupt("it has more files than a version can have"));
    }
    check_tree(&manifest)?;
    let end = check_stream(&manifest.files)?;
    let mut sum = 0;
    for chunk in &manifest.chunks {
        let is_named = is_hash(&chunk.blake3) && chunk.id.as_deref().is_none_or(is_id);
        if !is_named || chunk.bytes == 0 || chunk.bytes > CHUNK_BYTES_MAX {
            return Err(Error::corrupt(format!(
                "{:?} of {} bytes is no chunk",
                chunk.file(),
                chunk.bytes
            )));
        }
        sum += chunk.bytes;
    }
    match sum == end {
        true => Ok(manifest),
        false => Err(Error::corrupt(format!(
            "its files have {end} bytes and its chunks {sum}"
        ))),
    }
}

fn check_tree(manifest: &Manifest) -> Result<()> {
    let (files, folders) = (&manifest.files, &manifest.empty_folders);
    let paths = files.iter().map(|file| &file.path).chain(folders);
    for path in paths {
        if let Some(flaw) = flaw(path) {
            return Err(Error::corrupt(format!(
                "{path:?} is no path of a file: {flaw}"
            )));
        }
    }
    let are_sorted =
        files.is_sorted_by(|a, b| a.path < b.path) && folders.is_sorted_by(|a, b| a < b);
    if !are_sorted {
        return Err(Error::corrupt(
            "its files are not in the order of their paths",
        ));
    }
    let leaves: BTreeSet<&str> = files
        .iter()
        .map(|file| file.path.as_str())
        .chain(folders.iter().map(String::as_str))
        .collect();
    let is_inside = |path: &str| folders_of(path).any(|folder| leaves.contains(folder));
    let is_twofold = leaves.len() < files.len() + folders.len();
    if is_twofold || leaves.iter().any(|path| is_inside(path)) {
        return Err(Error::corrupt("a file in it has the path of a folder"));
    }
    let is_by_itself = |files: &[File]| matches!(files, [file] if !file.path.contains('/'));
    if manifest.is_file && !(is_by_itself(files) && folders.is_empty()) {
        return Err(Error::corrupt("it is said to be one file, and is not"));
    }
    Ok(())
}

/// Where the stream of the files ends.
fn check_stream(files: &[File]) -> Result<u64> {
    let mut end = 0_u64;
    for file in files {
        if file.offset != end || !is_hash(&file.blake3) {
            return Err(Error::corrupt(format!(
                "{} is not where it must be",
                file.path
            )));
        }
        // Each is bounded, and so is their number.
        end = end.saturating_add(file.bytes);
    }
    Ok(end)
}

/// The folders that a path leads through, the outermost first.
pub(super) fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

fn is_hex(text: &str, length: usize) -> bool {
    let mut digits = text.bytes();
    text.len() == length && digits.all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

pub(super) fn is_hash(text: &str) -> bool {
    is_hex(text, 64)
}

fn is_id(text: &str) -> bool {
    is_hex(text, 32)
}

/// Whether it is the name of a chunk: a hash, or a hash and an id.
pub(super) fn is_chunk(name: &str) -> bool {
    match name.split_once('.') {
        None => is_hash(name),
        Some((hash, id)) => is_hash(hash) && is_id(id),
    }
}

/// Whether it is the path of a manifest in the folder of its artifact.
pub(super) fn is_manifest(path: &str) -> bool {
    let name = path
        .strip_prefix(MANIFESTS)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|name| name.strip_suffix(".json"));
    name.is_some_and(is_chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::artifact::{Chunk, Cut};

    /// A manifest of files as `path:bytes`, folders as `path/`, and chunks of these sizes.
    fn manifest(files: &str, chunks: &[u64]) -> Manifest {
        let mut offset = 0;
        let (folders, files): (Vec<&str>, Vec<&str>) = files
            .split(' ')
            .filter(|word| !word.is_empty())
            .partition(|word| word.ends_with("//"));
        let file = |word: &str| {
            let (path, bytes) = word.rsplit_once(':').unwrap();
            let bytes = bytes.parse().unwrap();
            offset += bytes;
            File {
                path: path.to_owned(),
                offset: offset - bytes,
                bytes,
                blake3: "0".repeat(64),
                executable: false,
            }
        };
        Manifest {
            format: 1,
            is_file: false,
            cut: Cut {
                algorithm: "x".to_owned(),
                bytes_min: 1,
                bytes_average: 1,
                bytes_max: 1,
            },
            files: files.into_iter().map(file).collect(),
            empty_folders: folders
                .iter()
                .map(|word| word.trim_end_matches('/').to_owned())
                .collect(),
            chunks: chunks
                .iter()
                .map(|bytes| Chunk {
                    blake3: "a".repeat(64),
                    bytes: *bytes,
                    id: None,
                })
                .collect(),
        }
    }

    #[track_caller]
    fn refused(manifest: Manifest, expected: &str) {
        let shown = format!("{manifest:?}");
        let err = checked(manifest).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
        assert!(err.to_string().contains(expected), "{err}: {shown}");
    }

    #[test]
    fn a_good_manifest_is_taken() {
        for (files, chunks) in [
            ("", &[][..]),
            ("a:0", &[]),
            ("a-b:1 a.b:2 a/b:3", &[6]),
            ("a/b/c:5 d:1 b// c/d//", &[2, 4]),
        ] {
            checked(manifest(files, chunks)).unwrap();
        }
        let one = Manifest {
            is_file: true,
            ..manifest("a:1", &[1])
        };
        checked(one).unwrap();
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        let long = "x".repeat(256);
        let deep = ["x"; 65].join("/");
        let longest = [&"x".repeat(250); 17].map(String::as_str).join("/");
        for bad in [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "..\\a",
            "a\nb",
            "a\0b",
            &long,
            &deep,
            &longest,
        ] {
            assert!(flaw(bad).is_some(), "{bad:?}");
            let mut hostile = manifest("a:1", &[1]);
            hostile.files[0].path = bad.to_owned();
            refused(hostile, "is no path");
            let mut hostile = manifest("a:1", &[1]);
            hostile.empty_folders.push(bad.to_owned());
            refused(hostile, "is no path");
        }
        for good in [
            "a",
            "a/b",
            "...",
            "a b/ü.txt",
            ".hidden",
            "-x",
            &"x".repeat(255),
        ] {
            assert_eq!(flaw(good), None, "{good:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_together_are_refused() {
        refused(manifest("b:1 a:1", &[2]), "order");
        refused(manifest("a:1 a:1", &[2]), "order");
        refused(manifest("a:1 a/b:1", &[2]), "path of a folder");
        refused(manifest("a:1 a//", &[1]), "path of a folder");
        refused(manifest("a/b:1 a//", &[1]), "path of a folder");
        refused(manifest("a// a/b//", &[]), "path of a folder");
        for files in ["", "a:0 b:0", "a/b:0", "a:0 b//"] {
            let one = Manifest {
                is_file: true,
                ..manifest(files, &[])
            };
            refused(one, "one file");
        }
    }

    #[test]
    fn chunks_that_do_not_make_up_the_files_are_refused() {
        refused(manifest("a:5", &[4]), "bytes");
        refused(manifest("a:5", &[4, 2]), "bytes");
        refused(manifest("a:0", &[0]), "is no chunk");
        refused(
            manifest("a:16777217", &[CHUNK_BYTES_MAX + 1]),
            "is no chunk",
        );
        let mut astray = manifest("a:1 b:1", &[2]);
        astray.files[1].offset = 0;
        refused(astray, "not where it must be");
        for (blake3, id) in [
            ("A", None),
            ("../x", None),
            ("", None),
            ("ok", Some("../x")),
        ] {
            let mut bad = manifest("a:1", &[1]);
            if blake3 != "ok" {
                bad.chunks[0].blake3 = blake3.to_owned();
            }
            bad.chunks[0].id = id.map(str::to_owned);
            refused(bad, "is no chunk");
        }
    }

    #[test]
    fn only_our_names_are_ours() {
        let (hash, id) = ("a".repeat(64), "7".repeat(32));
        assert!(is_chunk(&hash) && is_chunk(&format!("{hash}.{id}")));
        assert!(is_manifest(&format!("manifests/{hash}.{id}.json")));
        for other in [
            "",
            "notes",
            &hash[1..],
            &format!("{hash}.x"),
            &format!("{hash}.{id}.x"),
        ] {
            assert!(!is_chunk(other), "{other}");
            assert!(!is_manifest(&format!("manifests/{other}.json")), "{other}");
        }
    }
}
