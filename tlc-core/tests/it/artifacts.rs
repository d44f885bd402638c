//! Files and folders as versions: what was put comes back, whatever fails; and nothing is stored twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as DiskPath;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::join_all;
use proptest::prelude::*;
use tlc_core::artifact::{AliasOptions, ArtifactProgress, ArtifactRole};
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{self, ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    ArtifactSource, ErrorKind, GcOptions, GetOptions, Project, PutOptions, Result, VerifyOptions,
    VersionRecord, block_on,
};

use crate::house::{answering, clean, fresh, hooked, later};
use crate::support::{Ground, project, project_in, project_over};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that look like noise, always the same.
fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..n).map(next).collect()
}

/// Files by path, with whether they are programs; a folder that nothing is in has no bytes and a `/` at its end.
type Tree = BTreeMap<String, (Vec<u8>, bool)>;

fn tree(files: &[(&str, &[u8])]) -> Tree {
    let file = |(path, bytes): &(&str, &[u8])| ((*path).to_owned(), (bytes.to_vec(), false));
    files.iter().map(file).collect()
}

fn write_tree(folder: &DiskPath, tree: &Tree) {
    fs::create_dir_all(folder).unwrap();
    for (path, (bytes, is_program)) in tree {
        let disk = folder.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(&disk).unwrap();
            continue;
        }
        fs::create_dir_all(disk.parent().unwrap()).unwrap();
        fs::write(&disk, bytes).unwrap();
        set_program(&disk, *is_program);
    }
}

fn read_tree(folder: &DiskPath) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        let entries: Vec<_> = fs::read_dir(&at)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        if entries.is_empty() && at != folder {
            let path = at.strip_prefix(folder).unwrap().to_str().unwrap();
            tree.insert(format!("{path}/"), (Vec::new(), false));
        }
        for path in entries {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
            let content = (fs::read(&path).unwrap(), is_program(&path));
            tree.insert(name.to_owned(), content);
        }
    }
    tree
}

#[cfg(unix)]
fn set_program(path: &DiskPath, is_program: bool) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
fn is_program(path: &DiskPath) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn set_program(_path: &DiskPath, _is_program: bool) {}

#[cfg(not(unix))]
fn is_program(_path: &DiskPath) -> bool {
    false
}

fn put(project: &Project, name: &str, source: impl Into<ArtifactSource> + Send) -> VersionRecord {
    block_on(project.put_artifact(name, source, "made for a test")).unwrap()
}

fn put_bytes(project: &Project, name: &str, bytes: impl Into<Vec<u8>>) -> VersionRecord {
    put(project, name, ArtifactSource::bytes("x.bin", bytes.into()))
}

fn get(project: &Project, version: &str, target: &DiskPath) -> Result<()> {
    let version = block_on(project.artifact_version(version))?;
    block_on(version.get(target, GetOptions::new()))
}

/// What is in a version that is one file.
fn bytes_of(project: &Project, version: &str) -> Vec<u8> {
    let version = block_on(project.artifact_version(version)).unwrap();
    block_on(version.read("")).unwrap()
}

/// The objects below a folder of the project, without their hashes' names.
fn objects(project: &Project, folder: &str) -> Vec<ObjectMeta> {
    let root = project.root();
    let below = format!("zoo/{folder}");
    let path = below
        .split('/')
        .fold(root.path().clone(), |path, part| path.join(part));
    block_on(root.store().list(Some(&path)).try_collect()).unwrap()
}

fn bytes_in(objects: &[ObjectMeta]) -> u64 {
    objects.iter().map(|object| object.size).sum()
}

#[test]
fn a_file_comes_back_as_it_was() {
    for ground in [Ground::memory(), Ground::disk()] {
        let project = ground.project();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("empty", Vec::new()),
            ("small", b"0123456789".to_vec()),
            ("large", noise(9_000_000, 1)),
        ] {
            let (source, target) = (folder.path().join("model.bin"), folder.path().join(name));
            fs::write(&source, &bytes).unwrap();
            set_program(&source, name == "small");
            let version = put(&project, name, &source);
            assert_eq!((version.version, version.n_files), (1, 1));
            assert_eq!(
                (version.bytes, version.author.as_str()),
                (bytes.len() as u64, "ada")
            );
            get(&project, name, &target).unwrap();
            assert_eq!(fs::read(&target).unwrap(), bytes);
            assert_eq!(is_program(&target), name == "small");
            assert_eq!(bytes_of(&project, name), bytes);
            let files = block_on(async { project.artifact_version(name).await?.files().await });
            assert_eq!(files.unwrap()[0].path, "model.bin");
        }
        let names: Vec<String> = block_on(project.artifacts())
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["empty", "large", "small"]);
        clean(&project);
    }
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let large = noise(5_000_000, 3);
    let mut trees = [
        Tree::new(),
        tree(&[("a", b"")]),
        tree(&[
            ("a/b/c", b"1"),
            ("a.b", b"22"),
            ("a-b", b""),
            ("deep//", b""),
        ]),
        tree(&[
            ("config.json", b"{}"),
            ("weights/1.bin", &large),
            ("weights/2.bin", &large),
        ]),
    ];
    trees[3].insert("bin/run".to_owned(), (b"#!/bin/sh\n".to_vec(), true));
    for ground in [Ground::memory(), Ground::disk()] {
        let project = ground.project();
        for (at, tree) in trees.iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let (source, target) = (folder.path().join("source"), folder.path().join("target"));
            write_tree(&source, tree);
            let name = format!("folder-{at}");
            let version = put(&project, &name, source.as_path());
            assert_eq!(
                version.n_files,
                tree.keys().filter(|path| !path.ends_with('/')).count() as u64
            );
            get(&project, &name, &target).unwrap();
            assert_eq!(read_tree(&target), read_tree(&source));
        }
        clean(&project);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_folder_comes_back_as_it_was(
        files in prop::collection::btree_map("[ab]{1,2}(/[ab.c é-]{1,3}x){0,3}", (prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 0..12),
        empty in prop::collection::vec("[cd](/[cd]){0,2}", 0..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        fs::create_dir(&source).unwrap();
        for (path, (bytes, is_program)) in &files {
            // A path of which a beginning is a file already is none.
            let disk = source.join(path);
            if fs::create_dir_all(disk.parent().unwrap()).is_ok() && fs::write(&disk, bytes).is_ok() {
                set_program(&disk, *is_program);
            }
        }
        for path in &empty {
            fs::create_dir_all(source.join(path)).unwrap();
        }
        let project = project();
        put(&project, "any", source.as_path());
        get(&project, "any", &target).unwrap();
        prop_assert_eq!(read_tree(&target), read_tree(&source));
    }
}

#[test]
fn a_change_in_the_middle_of_a_large_file_stores_a_small_part_of_it() {
    let ground = Ground::disk();
    let project = ground.project();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let first = noise(20_000_000, 5);
    let mut second = first.clone();
    // Also bytes that are new there: what is behind them has moved.
    second.splice(10_000_000..10_000_100, noise(1_000, 6));
    fs::write(&path, &first).unwrap();
    assert_eq!(put(&project, "model", &path).bytes_stored, 20_000_000);
    let n_chunks = objects(&project, "chunks").len();
    fs::write(&path, &second).unwrap();
    let version = put(&project, "model", &path);
    assert_eq!((version.version, version.bytes), (2, 20_000_900));
    let n_new = objects(&project, "chunks").len() - n_chunks;
    assert!(
        (1..=2).contains(&n_new),
        "{n_new} of {n_chunks} chunks are new"
    );
    assert!(version.bytes_stored <= 16 << 20, "{}", version.bytes_stored);
    assert_eq!(
        bytes_in(&objects(&project, "chunks")),
        20_000_000 + version.bytes_stored
    );
    for (at, bytes) in [
        ("model@1", &first),
        ("model@2", &second),
        ("model", &second),
    ] {
        assert_eq!(&bytes_of(&project, at), bytes, "{at}");
    }
    let before = objects(&project, "");
    assert_eq!(put(&project, "model", &path).bytes_stored, 0);
    assert_eq!(
        objects(&project, "").len(),
        before.len() + 1,
        "only an entry of the log"
    );
    let other = put(&project, "other", &path);
    assert_eq!(
        other.bytes_stored, 0,
        "chunks are those of the whole project"
    );
    fs::write(&path, &first).unwrap();
    assert_eq!(
        put(&project, "model", &path).bytes_stored,
        0,
        "back to the first"
    );
    clean(&project);
}

/// Which versions there are, and what they hold.
fn seen(project: &Project) -> String {
    let record = block_on(async { project.artifact("model").await?.record().await });
    match record {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            assert_eq!(block_on(project.artifacts()).unwrap(), []);
            "none".to_owned()
        }
        Err(err) => panic!("{err:?}"),
        Ok(record) => {
            let version = |version: &VersionRecord| {
                let bytes = bytes_of(project, &format!("model@{}", version.version));
                format!("{}:{}", version.version, bytes.len())
            };
            let versions: Vec<String> = record.versions.iter().map(version).collect();
            let alias = |name| record.alias(name).and_then(|alias| alias.version);
            format!("{} best={:?}", versions.join(" "), alias("best"))
        }
    }
}

#[test]
fn a_put_that_fails_at_any_request_is_all_or_nothing_and_goes_on_where_it_was() {
    let bytes = noise(9_000_000, 8);
    let operation = |project: &Project| {
        let source = ArtifactSource::bytes("x.bin", bytes.clone());
        let options = PutOptions::new("try").alias("best");
        block_on(project.put_artifact("model", source, options))
    };
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 100, "the put never succeeds");
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faults = Faults::at(k, when);
            let faulty = project_in(Arc::new(FaultyStore::new(
                Arc::clone(&store),
                Arc::clone(&faults),
            )));
            let outcome = operation(&faulty);
            let clean_project = project_in(Arc::clone(&store));
            let left = seen(&clean_project);
            let n_requests = faults.n_requests();
            match &outcome {
                Ok(version) => assert_eq!(
                    (version.version, left.as_str()),
                    (1, "1:9000000 best=Some(1)")
                ),
                Err(err) => {
                    assert_eq!(err.kind(), ErrorKind::Unavailable, "{err:?}");
                    assert_eq!(left, "none", "request {k} {when:?}");
                }
            }
            if n_requests < k {
                outcome.unwrap();
                break;
            }
            if outcome.is_ok() {
                continue;
            }
            let stored = bytes_in(&objects(&clean_project, "chunks"));
            faults.heal();
            let again = operation(&faulty).unwrap();
            assert_eq!(
                again.bytes_stored,
                9_000_000 - stored,
                "request {k} {when:?}: only the rest is sent"
            );
            assert_eq!(bytes_in(&objects(&clean_project, "chunks")), 9_000_000);
            assert_eq!(
                seen(&clean_project),
                "1:9000000 best=Some(1)",
                "request {k} {when:?}"
            );
            clean(&clean_project);
        }
    }
}

#[test]
fn what_is_there_is_not_sent_again_and_is_asked_for_once() {
    let ground = Ground::memory();
    let bytes = noise(12_000_000, 8);
    let count = |operation: &dyn Fn(&Project)| {
        let faults = Faults::at(0, When::Before);
        let root = ground.root_over(|store| Arc::new(FaultyStore::new(store, Arc::clone(&faults))));
        operation(&root.project("zoo").unwrap());
        faults.n_requests()
    };
    let n_first = count(&|project| drop(put_bytes(project, "model", bytes.clone())));
    let n_chunks = objects(&ground.project(), "chunks").len() as u64;
    assert!(n_chunks >= 3);
    // A listing of the log, each chunk asked for and put, the manifest, and the entry.
    assert_eq!(n_first, 1 + 2 * n_chunks + 2);
    // The log and its entry, the manifest of before, each chunk asked for, and the new entry.
    let n_again = count(&|project| drop(put_bytes(project, "model", bytes.clone())));
    assert_eq!(n_again, 4 + n_chunks);
    // The listing, each chunk asked for, a manifest, the entry.
    let n_other = count(&|project| drop(put_bytes(project, "other", bytes.clone())));
    assert_eq!(n_other, 1 + n_chunks + 2);
    let n_got = count(&|project| {
        let folder = tempfile::tempdir().unwrap();
        get(project, "other", &folder.path().join("x")).unwrap();
    });
    // The log and its entry, the manifest, and each chunk.
    assert_eq!(n_got, 3 + n_chunks);
}

#[test]
fn a_get_that_fails_at_any_request_leaves_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    put_bytes(
        &project_in(Arc::clone(&store)),
        "model",
        noise(9_000_000, 8),
    );
    for k in 1.. {
        assert!(k < 50, "the get never succeeds");
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        let faults = Faults::at(k, When::Before);
        let faulty = project_in(Arc::new(FaultyStore::new(
            Arc::clone(&store),
            Arc::clone(&faults),
        )));
        let outcome = get(&faulty, "model", &target);
        if faults.n_requests() < k {
            outcome.unwrap();
            assert_eq!(fs::metadata(&target).unwrap().len(), 9_000_000);
            break;
        }
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "request {k}"
        );
    }
}

/// Harms an object.
fn harm(project: &Project, path: &Path, how: &str) {
    let store = project.root().store();
    block_on(async {
        let bytes = store.get(path).await.unwrap().bytes().await.unwrap();
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        match how {
            "gone" => return store.delete(path).await.unwrap(),
            "cut" => bytes.truncate(middle),
            _ => bytes[middle] ^= 1,
        }
        store.put(path, bytes.into()).await.unwrap();
    });
}

#[test]
fn what_is_damaged_is_found_out_and_named() {
    for folder in ["chunks", "artifacts/model/manifests", "artifacts/model/log"] {
        for how in ["flipped", "cut", "gone"] {
            let project = project();
            put_bytes(&project, "model", noise(4_000_000, 9));
            let object = objects(&project, folder).remove(0).location;
            harm(&project, &object, how);
            let told = format!("{object} {how}");
            let temp = tempfile::tempdir().unwrap();
            let err = get(&project, "model", &temp.path().join("x")).unwrap_err();
            let is_gone = how == "gone" && folder.ends_with("log");
            let expected = if is_gone {
                ErrorKind::NotFound
            } else {
                ErrorKind::Corrupt
            };
            assert_eq!(err.kind(), expected, "{told}: {err:?}");
            let text = format!("{err:#}");
            assert!(text.contains("zoo/model"), "{told}: {text}");
            if folder == "chunks" {
                let name = object.filename().unwrap();
                assert!(
                    text.contains("zoo/model@1") && text.contains(name),
                    "{told}: {text}"
                );
            }
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "{told}");
            // An artifact whose only entry is gone never was.
            let report = block_on(project.verify(VerifyOptions::new())).unwrap();
            assert_eq!(report.is_damaged(), !is_gone, "{told}: {report:?}");
            let quick = block_on(project.verify(VerifyOptions::new().quick())).unwrap();
            let is_seen = !is_gone && (how != "flipped" || folder != "chunks");
            assert_eq!(quick.is_damaged(), is_seen, "{told}: {quick:?}");
            if let [finding] = &report.findings[..] {
                assert!(
                    folder.ends_with("log") || finding.what.contains("zoo/model@1"),
                    "{finding:?}"
                );
            }
            let gc = block_on(project.gc(GcOptions::new()));
            assert_eq!(
                gc.is_err(),
                !is_gone && folder != "chunks",
                "{told}: {gc:?}"
            );
        }
    }
}

/// The bytes of an object.
fn stored(project: &Project, path: &Path) -> Vec<u8> {
    let store = project.root().store();
    let bytes = block_on(async { store.get(path).await?.bytes().await });
    bytes.unwrap().to_vec()
}

fn overwrite(project: &Project, path: &Path, bytes: impl Into<Vec<u8>>) {
    let bytes: Vec<u8> = bytes.into();
    block_on(project.root().store().put(path, bytes.into())).unwrap();
}

#[test]
fn an_entry_that_says_something_else_by_now_is_refused_by_whoever_reads_it() {
    for (entry, from, to) in [(0, "made for", "mode for"), (1, "\"best\"", "\"bess\"")] {
        let project = project();
        put_bytes(&project, "model", b"weights".to_vec());
        let artifact = block_on(project.artifact("model")).unwrap();
        block_on(artifact.set_alias("best", 1, AliasOptions::new())).unwrap();
        let log = objects(&project, "artifacts/model/log");
        let path = &log[entry].location;
        let text = String::from_utf8(stored(&project, path)).unwrap();
        overwrite(&project, path, text.replacen(from, to, 1));
        let refused = |err: tlc_core::Error| {
            let text = format!("{err:#}");
            assert_eq!(err.kind(), ErrorKind::Corrupt, "{text}");
            assert!(
                text.contains(&format!("entry {entry}")) && text.contains("model"),
                "{text}"
            );
            assert!(text.contains("restore it from a copy"), "{text}");
        };
        refused(block_on(artifact.record()).unwrap_err());
        refused(block_on(project.gc(GcOptions::new())).unwrap_err());
        refused(block_on(project.sync_to(&crate::support::project(), &[])).unwrap_err());
        let source = ArtifactSource::bytes("x", b"more".to_vec());
        refused(block_on(project.put_artifact("model", source, "")).unwrap_err());
        let report = block_on(project.verify(VerifyOptions::new())).unwrap();
        assert!(
            report.is_damaged() && report.findings[0].what.contains(&format!("entry {entry}")),
            "{report:?}"
        );
    }
}

#[test]
fn an_entry_or_a_manifest_that_is_larger_than_any_is_refused() {
    for (folder, bytes) in [("log", 64 << 20), ("manifests", 256 << 20)] {
        let project = project();
        put_bytes(&project, "model", b"weights".to_vec());
        let path = objects(&project, &format!("artifacts/model/{folder}"));
        overwrite(&project, &path[0].location, vec![b' '; bytes + 1]);
        let read = async { project.artifact_version("model").await?.files().await };
        let err = block_on(read).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
        let text = format!("{err:#}");
        assert!(
            text.contains(folder) && text.contains(&format!("more than the {bytes}")),
            "{text}"
        );
    }
}

#[test]
fn an_entry_that_was_written_without_a_sum_is_read() {
    let project = project();
    put_bytes(&project, "model", b"weights".to_vec());
    let path = objects(&project, "artifacts/model/log").remove(0).location;
    let text = String::from_utf8(stored(&project, &path)).unwrap();
    let (bare, _) = text.split_once(",\"sum\":").unwrap();
    overwrite(&project, &path, format!("{bare}}}"));
    assert_eq!(bytes_of(&project, "model"), b"weights");
    assert_eq!(put_bytes(&project, "model", b"more".to_vec()).version, 2);
    clean(&project);
}

#[test]
fn what_is_damaged_is_repaired_by_the_next_put_that_has_it() {
    for how in ["cut", "gone"] {
        for (age, name) in [
            (Duration::ZERO, "model"),
            (Duration::ZERO, "other"),
            (DAY, "model"),
            (DAY, "other"),
        ] {
            let project = project();
            let bytes = noise(4_000_000, 9);
            put_bytes(&project, "model", bytes.clone());
            let before = objects(&project, "chunks");
            harm(&project, &before[0].location, how);
            later(&project, age);
            let put = put_bytes(&fresh_at(&project, age), name, bytes.clone());
            let told = format!("{how}, {age:?} old, as {name}");
            assert_eq!(put.bytes_stored, before[0].size, "{told}");
            assert_eq!(objects(&project, "chunks").len(), before.len(), "{told}");
            assert_eq!(bytes_of(&project, "model@1"), bytes, "{told}");
            assert_eq!(bytes_of(&project, name), bytes, "{told}");
            clean(&project);
        }
    }
}

#[test]
fn a_damaged_manifest_is_written_again_by_the_next_put_that_has_it() {
    for how in ["flipped", "cut", "gone"] {
        for age in [Duration::ZERO, DAY] {
            for is_newest in [true, false] {
                let project = project();
                put_bytes(&project, "model", b"weights".to_vec());
                let manifests = || objects(&project, "artifacts/model/manifests");
                let path = manifests().remove(0).location;
                if !is_newest {
                    put_bytes(&project, "model", b"others".to_vec());
                }
                let n_before = manifests().len();
                harm(&project, &path, how);
                later(&project, age);
                put_bytes(&fresh_at(&project, age), "model", b"weights".to_vec());
                let told = format!("{how}, {age:?} old, newest: {is_newest}");
                for version in ["model@1", "model"] {
                    assert_eq!(bytes_of(&project, version), b"weights", "{told}");
                }
                assert_eq!(manifests().len(), n_before, "{told}");
                clean(&project);
            }
        }
    }
}

#[test]
fn a_young_manifest_that_no_version_names_is_used_only_if_it_is_whole() {
    let project = project();
    put_bytes(&project, "whole", b"weights".to_vec());
    let name = objects(&project, "artifacts/whole/manifests").remove(0);
    let name = name.location.filename().unwrap().to_owned();
    let path = Path::from(format!(
        "{}/zoo/artifacts/model/manifests/{name}",
        project.root().path()
    ));
    overwrite(&project, &path, "{\"format\":4");
    put_bytes(&project, "model", b"weights".to_vec());
    assert_eq!(bytes_of(&project, "model"), b"weights");
    clean(&project);
}

#[test]
fn whoever_meets_a_damaged_chunk_is_told_the_way_out_and_it_is_one() {
    for how in ["flipped", "cut", "gone"] {
        let project = project();
        let bytes = noise(700, 9);
        put_bytes(&project, "model", bytes.clone());
        put_bytes(&project, "model", noise(800, 10));
        let first = blake3_of(&bytes);
        let named = |object: &ObjectMeta| object.location.filename() == Some(first.as_str());
        let all = objects(&project, "chunks");
        let chunk = &all.iter().find(|object| named(object)).unwrap().location;
        harm(&project, chunk, how);
        let way_out = format!("remove chunks/{first} if it is there and put the file again");
        let temp = tempfile::tempdir().unwrap();
        let err = get(&project, "model@1", &temp.path().join("x")).unwrap_err();
        assert!(format!("{err:#}").contains(&way_out), "{err:#}");
        let report = block_on(project.verify(VerifyOptions::new())).unwrap();
        assert!(report.findings[0].what.contains(&way_out), "{report:?}");
        if how != "gone" {
            block_on(project.root().store().delete(chunk)).unwrap();
        }
        put_bytes(&project, "model", bytes.clone());
        assert_eq!(bytes_of(&project, "model@1"), bytes, "{how}");
        clean(&project);
    }
}

#[test]
fn a_chunk_that_somebody_else_writes_meanwhile_is_looked_at() {
    let project = project();
    let bytes = noise(700, 9);
    let path = format!("{}/zoo/chunks/{}", project.root().path(), blake3_of(&bytes));
    let meanwhile = move |other: &Project| overwrite(other, &Path::from(path), "cut off");
    let hooked = hooked(&project, "put", "/chunks/", meanwhile);
    put_bytes(&hooked, "model", bytes.clone());
    assert_eq!(bytes_of(&project, "model"), bytes);
    clean(&project);
}

#[test]
fn a_chunk_that_somebody_else_failed_to_write_is_written_or_there_is_no_version() {
    for (n_refused, is_put) in [(1, true), (3, true), (1_000, false)] {
        let project = project();
        // The store says of the first chunks that somebody else writes them, who never does.
        let mut n_left = n_refused;
        let contested = answering(&project, "put", "/chunks/", move || {
            let is_refused = n_left > 0;
            n_left -= usize::from(is_refused);
            match is_refused {
                true => Err(object_store::Error::AlreadyExists {
                    path: "a chunk".to_owned(),
                    source: "somebody else writes it".into(),
                }),
                false => Ok(()),
            }
        });
        let source = ArtifactSource::bytes("x.bin", b"weights".to_vec());
        match block_on(contested.put_artifact("model", source, "")) {
            Ok(_) => assert_eq!(bytes_of(&project, "model"), b"weights"),
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
                assert_eq!(block_on(project.artifacts()).unwrap(), []);
            }
        }
        assert_eq!(seen_versions(&project), usize::from(is_put));
    }
}

/// How many versions of `model` there are.
fn seen_versions(project: &Project) -> usize {
    let record = block_on(async { project.artifact("model").await?.record().await });
    record.map_or(0, |record| record.versions.len())
}

#[test]
fn versions_that_are_put_at_once_have_numbers_of_their_own() {
    let ground = Ground::memory();
    let faults = Faults::at(0, When::Before);
    faults.slow_down(Duration::from_millis(2));
    let root = ground.root_over(|store| Arc::new(FaultyStore::new(store, faults)));
    let project = root.project("zoo").unwrap();
    let puts = (0..8_u8).map(|n| {
        let source = ArtifactSource::bytes("x", vec![n]);
        project.put_artifact("model", source, PutOptions::new("").alias("best"))
    });
    let mut numbers: Vec<u64> = block_on(join_all(puts))
        .into_iter()
        .map(|put| put.unwrap().version)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    let record = block_on(async { project.artifact("model").await?.record().await }).unwrap();
    let best = record.alias("best").unwrap();
    assert_eq!(best.version, Some(8), "the later one holds");
    let moves: Vec<_> = best.moves.iter().map(|m| (m.from, m.to)).collect();
    let expected = (1..=8).map(|n| ((n > 1).then(|| n - 1), Some(n)));
    assert_eq!(
        moves,
        expected.collect::<Vec<_>>(),
        "both are in the history"
    );
}

#[test]
fn of_two_who_move_an_alias_from_one_version_one_does() {
    let ground = Ground::memory();
    let project = ground.project();
    for n in 0..6_u8 {
        put_bytes(&project, "model", vec![n]);
    }
    let artifact = block_on(project.artifact("model")).unwrap();
    let set = |version, options| block_on(artifact.set_alias("best", version, options));
    let first = set(1, AliasOptions::new().only_new()).unwrap();
    assert_eq!(
        (first.from, first.to, first.author.as_str()),
        (None, Some(1), "ada")
    );
    let err = set(2, AliasOptions::new().only_new()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    assert!(
        format!("{err:#}").contains("it names version 1, not none"),
        "{err:#}"
    );

    let faults = Faults::at(0, When::Before);
    faults.slow_down(Duration::from_millis(2));
    let slow = ground.root_over(|store| Arc::new(FaultyStore::new(store, faults)));
    let slow = block_on(slow.project("zoo").unwrap().artifact("model")).unwrap();
    let moves =
        (2..=6).map(|version| slow.set_alias("best", version, AliasOptions::new().only_from(1)));
    let moved = block_on(join_all(moves));
    let (done, refused): (Vec<_>, Vec<_>) = moved.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 4));
    assert!(
        refused
            .iter()
            .all(|err| err.as_ref().unwrap_err().kind() == ErrorKind::Conflict)
    );
    let to = done[0].as_ref().unwrap().to;
    let record = block_on(artifact.record()).unwrap();
    let best = record.alias("best").unwrap();
    assert_eq!((best.version, best.moves.len()), (to, 2));

    let before = objects(&project, "artifacts/model/log").len();
    let stays = set(to.unwrap(), AliasOptions::new()).unwrap();
    assert_eq!((stays.from, stays.to), (to, to));
    assert_eq!(
        objects(&project, "artifacts/model/log").len(),
        before,
        "it is there already"
    );
    let gone = block_on(artifact.remove_alias("best", AliasOptions::new())).unwrap();
    assert_eq!((gone.from, gone.to), (to, None));
    let err = block_on(artifact.remove_alias("best", AliasOptions::new())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    let err = block_on(artifact.at("best")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(
        set(7, AliasOptions::new()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        block_on(artifact.set_alias("3", 1, AliasOptions::new()))
            .unwrap_err()
            .kind(),
        ErrorKind::Invalid
    );
    put_bytes(&project, "model", b"7".to_vec());
    let newest = block_on(artifact.newest()).unwrap();
    assert_eq!(newest.number(), 7, "moves of aliases take no number");
}

#[test]
fn an_alias_that_fails_at_any_request_moves_or_stays() {
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 30);
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let project = project_in(Arc::clone(&store));
            put_bytes(&project, "model", b"1".to_vec());
            let faults = Faults::at(k, when);
            let faulty = project_in(Arc::new(FaultyStore::new(store, Arc::clone(&faults))));
            let operation = || {
                block_on(async {
                    let artifact = faulty.artifact("model").await?;
                    artifact.set_alias("best", 1, AliasOptions::new()).await
                })
            };
            let outcome = operation();
            if faults.n_requests() < k {
                outcome.unwrap();
                break;
            }
            let expected = if outcome.is_ok() {
                "1:1 best=Some(1)"
            } else {
                "1:1 best=None"
            };
            assert_eq!(seen(&project), expected, "request {k} {when:?}");
            faults.heal();
            operation().unwrap();
            assert_eq!(seen(&project), "1:1 best=Some(1)");
        }
    }
}

/// Puts a manifest that says `manifest`, and a version that names it, by hand.
fn plant(project: &Project, manifest: &str) {
    let hash = blake3_of(manifest.as_bytes());
    let below = |path: &str| {
        let path = format!("zoo/artifacts/evil/{path}");
        path.split('/')
            .fold(project.root().path().clone(), |path, part| path.join(part))
    };
    let entry = format!(
        r#"{{"format":3,"stamp":"s","author":"eve","time":"1970-01-01T00:00:00.000000Z","event":{{"kind":"version","version":1,"manifest":"manifests/{hash}.json","files":1,"bytes":4,"bytes_stored":4}}}}"#
    );
    let store = project.root().store();
    block_on(async {
        let file = below(&format!("manifests/{hash}.json"));
        store.put(&file, manifest.to_owned().into()).await.unwrap();
        let first = below("log/00000000000000000000.json");
        store.put(&first, entry.into()).await.unwrap();
    });
}

/// The hash of some bytes, as the library has it of a file.
fn blake3_of(bytes: &[u8]) -> String {
    let project = project();
    put_bytes(&project, "x", bytes);
    let files = block_on(async { project.artifact_version("x").await?.files().await });
    files.unwrap()[0].blake3.clone()
}

#[test]
fn a_manifest_of_a_stranger_writes_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    let (hash, cut) = (
        blake3_of(b"evil"),
        r#"{"algorithm":"x","bytes_min":1,"bytes_average":1,"bytes_max":1}"#,
    );
    let absolute = outside.path().join("evil").display().to_string();
    let far = ["x"; 70].join("/");
    let check = |is_file: bool, path: &str, chunks: &str, expected: &str| {
        let project = project();
        // The chunk that all of them name.
        put_bytes(&project, "good", b"evil".to_vec());
        let path = path.replace('\\', "\\\\").replace('\n', "\\n");
        plant(
            &project,
            &format!(
                r#"{{"format":3,"is_file":{is_file},"cut":{cut},"files":[{{"path":"{path}","offset":0,"bytes":4,"blake3":"{hash}"}}],"chunks":[{chunks}]}}"#
            ),
        );
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("in/target");
        let got = get(&project, "evil", &target);
        match expected {
            "" => {
                got.unwrap();
                assert!(target.exists());
            }
            expected => {
                let err = got.unwrap_err();
                assert_eq!(err.kind(), ErrorKind::Corrupt, "{path}: {err:?}");
                assert!(format!("{err:#}").contains(expected), "{err:#}");
                assert!(
                    !target.exists() && !temp.path().join("in").exists(),
                    "{path}"
                );
                let report = block_on(project.verify(VerifyOptions::new())).unwrap();
                assert!(report.is_damaged(), "{path}");
            }
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    };
    let chunk = format!(r#"{{"blake3":"{hash}","bytes":4}}"#);
    for good in ["evil", "a/b/c", "..."] {
        check(false, good, &chunk, "");
    }
    for bad in [
        "../evil",
        "a/../../evil",
        &absolute,
        "..",
        "",
        "a\\..\\b",
        "a\nb",
        &far,
        "./a",
        "a//b",
    ] {
        check(false, bad, &chunk, "is no path");
        check(true, bad, &chunk, "is no path");
    }
    check(true, "a/b", &chunk, "one file");
    check(true, "evil", "", "bytes");
    check(true, "evil", &format!("{chunk},{chunk}"), "bytes");
    let astray = r#"{"blake3":"../../../../artifacts","bytes":4}"#;
    check(true, "evil", astray, "is no chunk");
    let huge = format!(r#"{{"blake3":"{hash}","bytes":4000000000}}"#);
    check(true, "evil", &huge, "is no chunk");
}

#[test]
fn a_manifest_that_is_not_the_one_it_is_named_after_is_refused() {
    let project = project();
    put_bytes(&project, "model", b"good".to_vec());
    let manifest = objects(&project, "artifacts/model/manifests")
        .remove(0)
        .location;
    let store = project.root().store();
    let text = block_on(async { store.get(&manifest).await?.bytes().await }).unwrap();
    let text = String::from_utf8(text.to_vec())
        .unwrap()
        .replace("x.bin", "y.bin");
    block_on(store.put(&manifest, text.into())).unwrap();
    let err =
        block_on(async { project.artifact_version("model").await?.files().await }).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt);
    assert!(format!("{err:#}").contains("zoo/model@1"), "{err:#}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_only_where_they_are_named() {
    use std::os::unix::fs::symlink;
    let project = project();
    let folder = tempfile::tempdir().unwrap();
    let (file, source) = (folder.path().join("file"), folder.path().join("source"));
    fs::write(&file, "text").unwrap();
    fs::create_dir(&source).unwrap();
    symlink(&file, folder.path().join("newest")).unwrap();
    put(&project, "model", folder.path().join("newest"));
    assert_eq!(bytes_of(&project, "model"), b"text");
    for (to, name) in [
        (file.as_path(), "to-file"),
        (folder.path(), "to-folder"),
        (DiskPath::new("nowhere"), "broken"),
    ] {
        let link = source.join(name);
        symlink(to, &link).unwrap();
        let err = block_on(project.put_artifact("folder", source.as_path(), "")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let text = err.to_string();
        assert!(
            text.contains("symbolic link") && text.contains(name),
            "{text}"
        );
        fs::remove_file(link).unwrap();
    }
    assert_eq!(
        block_on(project.artifacts()).unwrap().len(),
        1,
        "nothing was stored"
    );
}

#[test]
fn what_cannot_be_put_is_named() {
    let project = project();
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, source: ArtifactSource, options: PutOptions| {
        block_on(project.put_artifact(name, source, options)).unwrap_err()
    };
    let absent = refused(
        "model",
        folder.path().join("absent").into(),
        PutOptions::default(),
    );
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert!(absent.to_string().contains("absent"), "{absent}");
    let bytes = || ArtifactSource::bytes("x", b"1".to_vec());
    let err = refused("a/b", bytes(), PutOptions::default());
    assert_eq!(
        err.to_string(),
        "\"a/b\" cannot name an artifact: use letters, digits, '-', '_' and '.'"
    );
    assert_eq!(
        refused("m", bytes(), PutOptions::new("").alias("3")).kind(),
        ErrorKind::Invalid
    );
    let err = refused("m", bytes(), PutOptions::new("").run("nobody"));
    assert_eq!(err.kind(), ErrorKind::NotFound);
    for bad in ["", "a/b", "..", "a\\b"] {
        let err = refused(
            "m",
            ArtifactSource::bytes(bad, b"1".to_vec()),
            PutOptions::default(),
        );
        assert_eq!(err.kind(), ErrorKind::Invalid, "{bad:?}: {err}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"bad\xff");
        fs::write(folder.path().join(name), "1").unwrap();
        let err = refused("m", folder.path().into(), PutOptions::default());
        assert!(err.to_string().contains("is not UTF-8"), "{err}");
    }
    assert_eq!(block_on(project.artifacts()).unwrap(), []);
}

#[test]
fn a_folder_that_the_root_is_in_is_not_put() {
    let ground = Ground::disk();
    let project = ground.project();
    let root = project.root().url().to_file_path().unwrap();
    for is_there in [false, true] {
        for folder in [root.as_path(), root.parent().unwrap()] {
            let err = block_on(project.put_artifact("model", folder, "")).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
            assert!(err.to_string().contains("the root lies in it"), "{err}");
        }
        if !is_there {
            put_bytes(&project, "other", b"1".to_vec());
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_put_makes_no_version() {
    let change: [fn(&DiskPath); 3] = [
        |path| fs::write(path.join("b"), "other").unwrap(),
        |path| fs::write(path.join("c"), "new").unwrap(),
        |path| fs::remove_file(path.join("a")).unwrap(),
    ];
    for change in change {
        let project = project();
        let folder = tempfile::tempdir().unwrap();
        write_tree(
            folder.path(),
            &tree(&[("a", b"1"), ("b", &noise(3_000_000, 2))]),
        );
        let path = folder.path().to_owned();
        let done = std::sync::Once::new();
        let options = PutOptions::new("").progress(move |_| done.call_once(|| change(&path)));
        let err = block_on(project.put_artifact("model", folder.path(), options)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict);
        assert!(
            err.to_string().contains("changed while it was read"),
            "{err}"
        );
        assert_eq!(block_on(project.artifacts()).unwrap(), []);
    }
}

#[test]
fn who_asks_is_told_how_far_it_is() {
    let project = project();
    let told = Arc::new(std::sync::Mutex::new(Vec::<ArtifactProgress>::new()));
    let tell = |told: &Arc<std::sync::Mutex<Vec<ArtifactProgress>>>| {
        let told = Arc::clone(told);
        move |progress| told.lock().unwrap().push(progress)
    };
    let source = || ArtifactSource::bytes("x", noise(9_000_000, 8));
    let all = |bytes_moved| ArtifactProgress {
        bytes: 9_000_000,
        bytes_total: 9_000_000,
        bytes_moved,
    };
    for expected in [9_000_000, 0] {
        let options = PutOptions::new("").progress(tell(&told));
        block_on(project.put_artifact("model", source(), options)).unwrap();
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert!(told.len() >= 3 && told.is_sorted_by_key(|told| told.bytes));
        assert_eq!(told.last(), Some(&all(expected)));
    }
    let folder = tempfile::tempdir().unwrap();
    let version = block_on(project.artifact_version("model@1")).unwrap();
    let options = GetOptions::new().progress(tell(&told));
    block_on(version.get(folder.path().join("x"), options)).unwrap();
    assert_eq!(told.lock().unwrap().last(), Some(&all(9_000_000)));
    let again = block_on(version.get(folder.path().join("x"), GetOptions::new())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    block_on(version.get(folder.path().join("x"), GetOptions::new().replace())).unwrap();
}

/// A put that fails after its chunks were stored.
fn cut_off(project: &Project, name: &str, bytes: Vec<u8>) {
    let cut = hooked(project, "put", "/manifests/", |_| panic!("cut off"));
    let source = ArtifactSource::bytes("x.bin", bytes);
    let put = || block_on(cut.put_artifact(name, source, ""));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(put)).unwrap_err();
}

fn gc(project: &Project) -> usize {
    let garbage = block_on(project.gc(GcOptions::new().delete())).unwrap();
    assert!(garbage.unknown.is_empty(), "{garbage:?}");
    garbage.files.len()
}

#[test]
fn only_old_chunks_and_manifests_that_no_version_names_are_collected() {
    let project = project();
    let (kept, left) = (noise(4_000_000, 1), noise(5_000_000, 2));
    put_bytes(&project, "model", kept.clone());
    put_bytes(&project, "other", [&kept[..], b"more"].concat());
    let named = objects(&project, "chunks").len();
    cut_off(&project, "model", left.clone());
    cut_off(&project, "never", noise(100, 3));
    let n_left = objects(&project, "chunks").len() - named;
    assert!(n_left >= 3);
    let stray = Path::from(format!("{}/zoo/chunks/notes", project.root().path()));
    later(&project, DAY);
    let garbage = block_on(project.gc(GcOptions::new())).unwrap();
    assert_eq!(
        (garbage.files.len(), garbage.n_young),
        (0, n_left as u64),
        "all are young"
    );
    later(&project, 8 * DAY);
    assert_eq!(gc(&project), n_left);
    assert_eq!(objects(&project, "chunks").len(), named);
    assert_eq!(gc(&project), 0);
    let store = project.root().store();
    block_on(store.put(&stray, "mine".into())).unwrap();
    later(&project, 8 * DAY);
    let garbage = block_on(project.gc(GcOptions::new().delete())).unwrap();
    assert_eq!(
        (garbage.files.len(), garbage.unknown.len()),
        (0, 1),
        "left alone"
    );
    clean(&project);
    assert_eq!(bytes_of(&project, "model"), kept);
    assert_eq!(block_on(project.artifacts()).unwrap().len(), 2);
}

#[test]
fn an_old_chunk_is_relied_upon_only_if_a_version_names_it() {
    let project = project();
    let (named, left) = (noise(2_500_000, 1), noise(2_500_000, 2));
    put_bytes(&project, "model", named.clone());
    cut_off(&project, "other", left.clone());
    later(&project, DAY);
    let n_chunks = objects(&project, "chunks").len();
    let again = put_bytes(&fresh_at(&project, DAY), "other", named.clone());
    assert_eq!(again.bytes_stored, 0, "that of another artifact");
    let stored = put_bytes(&fresh_at(&project, DAY), "other", left.clone());
    assert_eq!(stored.bytes_stored, 2_500_000, "stored once more");
    assert!(objects(&project, "chunks").len() > n_chunks);
    let once = put_bytes(&fresh_at(&project, DAY), "third", left.clone());
    assert_eq!(once.bytes_stored, 0, "under the name that it has now");
    later(&project, 30 * DAY);
    assert!(gc(&project) > 0);
    clean(&project);
    assert_eq!(bytes_of(&project, "other"), left);
    assert_eq!(bytes_of(&project, "third"), left);
}

/// The project as another process opens it, so much later.
fn fresh_at(project: &Project, by: Duration) -> Project {
    let fresh = fresh(project);
    later(&fresh, by);
    fresh
}

#[test]
fn a_put_that_wants_a_chunk_just_when_it_is_collected_does_not_lose_it() {
    let project = project();
    let left = noise(3_000_000, 2);
    cut_off(&project, "model", left.clone());
    let again = left.clone();
    let collecting = hooked(&project, "delete", "", move |other| {
        later(other, 8 * DAY);
        put_bytes(other, "model", again);
    });
    later(&collecting, 8 * DAY);
    assert!(gc(&collecting) > 0);
    clean(&project);
    assert_eq!(bytes_of(&fresh(&project), "model"), left);
}

#[test]
fn a_chunk_that_a_sync_brings_while_it_is_collected_stays() {
    // In memory, where times are exact: of what is written twice within a second, servers say the same.
    let (from, to) = (project(), project_in(Arc::new(InMemory::new())));
    let left = noise(3_000_000, 2);
    put_bytes(&from, "model", left.clone());
    put_bytes(&to, "kept", b"kept".to_vec());
    cut_off(&to, "model", left.clone());
    // After the listing, and after it was seen which artifacts there are.
    let collecting = hooked(&to, "get", "/artifacts/kept/", move |other| {
        later(other, 8 * DAY);
        block_on(from.sync_to(other, &[])).unwrap();
    });
    later(&collecting, 8 * DAY);
    let garbage = block_on(collecting.gc(GcOptions::new().delete())).unwrap();
    assert!(
        garbage.files.is_empty() && garbage.n_young > 0,
        "{garbage:?}"
    );
    clean(&to);
    assert_eq!(bytes_of(&fresh(&to), "model"), left);
}

#[test]
fn artifacts_are_brought_over_with_their_history_and_chunks_once() {
    let (from, to) = (project(), project());
    let first = noise(9_000_000, 4);
    let sync = || block_on(from.sync_to(&to, &[])).unwrap();
    put_bytes(&from, "model", first.clone());
    cut_off(&from, "model", noise(3_000_000, 5));
    let synced = sync();
    assert_eq!((synced.artifacts, synced.tables, synced.runs), (1, 0, 0));
    assert_eq!(
        bytes_in(&objects(&to, "chunks")),
        9_000_000,
        "and nothing that no version names"
    );
    assert_eq!(sync().files, 0);
    let artifact = block_on(from.artifact("model")).unwrap();
    block_on(artifact.set_alias("best", 1, AliasOptions::new())).unwrap();
    let mut second = first.clone();
    second.extend(b"more");
    put_bytes(&from, "model", second.clone());
    let synced = sync();
    let sent = bytes_in(&objects(&to, "chunks")) - 9_000_000;
    assert_eq!(synced.artifacts, 1);
    assert!(
        sent < 8_000_000 && synced.bytes < sent + 10_000,
        "{synced:?}"
    );
    let record = |project: &Project| {
        block_on(async { project.artifact("model").await?.record().await }).unwrap()
    };
    assert_eq!(record(&to), record(&from));
    assert_eq!(bytes_of(&to, "model@best"), first);
    assert_eq!(bytes_of(&to, "model"), second);
    clean(&to);
    put_bytes(&to, "model", b"here".to_vec());
    put_bytes(&from, "model", b"there".to_vec());
    let err = block_on(from.sync_to(&to, &["model".to_owned()])).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict);
    let err = block_on(from.sync_to(&to, &["absent".to_owned()])).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
}

#[test]
fn a_sync_that_fails_at_any_request_leaves_no_version_without_its_chunks() {
    let (from, bytes) = (project(), noise(5_000_000, 4));
    put_bytes(&from, "model", bytes.clone());
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 60);
            let to = project();
            let faults = Faults::at(k, when);
            let faulty = project_over(&to, |store| {
                Arc::new(FaultyStore::new(store, Arc::clone(&faults)))
            });
            let outcome = block_on(from.sync_to(&faulty, &[]));
            clean(&to);
            if faults.n_requests() < k {
                outcome.unwrap();
                break;
            }
            faults.heal();
            block_on(from.sync_to(&faulty, &[])).unwrap();
            assert_eq!(bytes_of(&to, "model"), bytes, "request {k} {when:?}");
        }
    }
}

#[test]
fn damage_is_not_brought_over_and_what_is_cut_off_there_does_not_count() {
    let (from, to) = (project(), project());
    let bytes = noise(5_000_000, 4);
    put_bytes(&from, "model", bytes.clone());
    let chunk = objects(&from, "chunks").remove(0).location;
    let name = chunk.filename().unwrap();
    let there = ["zoo", "chunks", name].into_iter();
    let there = there.fold(to.root().path().clone(), |path, part| path.join(part));
    overwrite(&to, &there, "cut off");
    block_on(from.sync_to(&to, &[])).unwrap();
    assert_eq!(bytes_of(&to, "model"), bytes);
    for how in ["flipped", "cut", "gone"] {
        harm(&from, &chunk, how);
        let to = project();
        let err = block_on(from.sync_to(&to, &[])).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt, "{how}: {err:?}");
        assert!(format!("{err:#}").contains(name), "{how}: {err:#}");
        assert_eq!(block_on(to.artifacts()).unwrap(), [], "{how}");
        clean(&to);
        if how != "gone" {
            block_on(from.root().store().delete(&chunk)).unwrap();
        }
        put_bytes(&from, "model", bytes.clone());
    }
}

#[test]
fn a_run_says_what_it_made_and_read() {
    let project = project();
    put_bytes(&project, "base", b"pretrained".to_vec());
    let artifact = block_on(project.artifact("base")).unwrap();
    block_on(artifact.set_alias("prod", 1, AliasOptions::new())).unwrap();
    let run = project.start_run("first").unwrap();
    let base = run.use_artifact("base@prod").unwrap();
    assert_eq!(block_on(base.read("x.bin")).unwrap(), b"pretrained");
    run.use_artifact("base").unwrap();
    let source = || ArtifactSource::bytes("model.bin", b"trained".to_vec());
    let put = run
        .put_artifact("model", source(), PutOptions::new("done").alias("best"))
        .unwrap();
    assert_eq!(put.run.as_ref().map(|run| run.as_str()), Some("first"));
    for err in [
        run.use_artifact("base@none").unwrap_err(),
        run.use_artifact("absent").unwrap_err(),
        run.put_artifact("model", "no/such/file", "").unwrap_err(),
    ] {
        assert_eq!(err.kind(), ErrorKind::NotFound);
    }
    run.log(1, &[("loss", 0.5)]);
    let record = run.finish().unwrap();
    let uses: Vec<_> = record
        .artifacts
        .iter()
        .map(|used| format!("{} {}@{}", used.role.as_str(), used.artifact, used.version))
        .collect();
    assert_eq!(uses, ["input base@1", "output model@1"]);
    assert_eq!(record.artifacts[0].role, ArtifactRole::Input);

    // By another process, and after the run has ended.
    let options = PutOptions::new("later").run("first");
    let put = block_on(fresh(&project).put_artifact("model", source(), options)).unwrap();
    assert_eq!((put.version, put.message.as_str()), (2, "later"));
    let record = block_on(fresh(&project).run("first")).unwrap();
    assert_eq!(record.artifacts.len(), 3);
    assert_eq!(record.last["loss"], 0.5);
    let versions = block_on(async { project.artifact("model").await?.record().await })
        .unwrap()
        .versions;
    assert!(versions.iter().all(|version| version.run.is_some()));
}

#[test]
fn what_a_version_says_of_its_run_is_lineage_also_where_the_run_does_not_say_it() {
    let project = project();
    project.start_run("first").unwrap().finish().unwrap();
    let source = ArtifactSource::bytes("x", b"1".to_vec());
    let options = PutOptions::new("").run("first");
    block_on(project.put_artifact("model", source, options)).unwrap();
    let edges = |project: &Project| {
        let edges = block_on(project.lineage()).unwrap();
        let edges = edges.iter();
        let edges: Vec<String> = edges
            .filter(|edge| edge.source == "first")
            .map(|edge| format!("{} {}", edge.role.as_str(), edge.target))
            .collect();
        edges.join(", ")
    };
    assert_eq!(edges(&project), "output artifacts/model@1");
    // As if the put had ended before the run's log was written.
    let note = objects(&project, "runs/first/log").pop().unwrap().location;
    block_on(project.root().store().delete(&note)).unwrap();
    let again = fresh(&project);
    assert_eq!(block_on(again.run("first")).unwrap().artifacts, []);
    assert_eq!(edges(&again), "output artifacts/model@1");
}

#[test]
fn a_put_that_fails_does_not_end_the_run() {
    let project = project();
    let faults = Faults::at(0, When::Before);
    let faulty = project_over(&project, |store| {
        Arc::new(FaultyStore::new(store, Arc::clone(&faults)))
    });
    let run = faulty.start_run("first").unwrap();
    run.flush().unwrap();
    faults.break_down();
    let source = || ArtifactSource::bytes("model.bin", b"trained".to_vec());
    let err = run.put_artifact("model", source(), "").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    run.log(1, &[("loss", 0.5)]);
    faults.heal();
    run.put_artifact("model", source(), "").unwrap();
    let record = run.finish().unwrap();
    assert_eq!((record.artifacts.len(), record.last["loss"]), (1, 0.5));
}

#[test]
fn tensors_are_listed_from_the_first_chunk_alone() {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let data = noise(8_000_000, 3);
    let tensors = [
        (
            "bias",
            TensorView::new(Dtype::BF16, vec![5], &data[..10]).unwrap(),
        ),
        (
            "weight",
            TensorView::new(Dtype::F32, vec![1_000, 1_999], &data[..7_996_000]).unwrap(),
        ),
    ];
    let metadata = [("format".to_owned(), "pt".to_owned())];
    let file = serialize(tensors, Some(metadata.into())).unwrap();
    let ground = Ground::memory();
    put(
        &ground.project(),
        "model",
        ArtifactSource::bytes("model.safetensors", file),
    );
    let faults = Faults::at(0, When::Before);
    let root = ground.root_over(|store| Arc::new(FaultyStore::new(store, Arc::clone(&faults))));
    let project = root.project("zoo").unwrap();
    let version = block_on(project.artifact_version("model")).unwrap();
    let before = faults.n_requests();
    let found = block_on(version.tensors("model.safetensors")).unwrap();
    assert_eq!(
        faults.n_requests() - before,
        3,
        "a manifest, and the first chunk for its length and its header"
    );
    let text: Vec<String> = found
        .tensors
        .iter()
        .map(|t| format!("{} {} {:?} {}", t.name, t.dtype, t.shape, t.bytes))
        .collect();
    assert_eq!(
        text,
        ["weight F32 [1000, 1999] 7996000", "bias BF16 [5] 10"]
    );
    assert_eq!(found.metadata["format"], "pt");
    let wrong = |bytes: Vec<u8>| {
        put(
            &project,
            "wrong",
            ArtifactSource::bytes("x.safetensors", bytes),
        );
        let version = block_on(project.artifact_version("wrong")).unwrap();
        let err = block_on(version.tensors("")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{err:?}");
        format!("{err:#}")
    };
    assert!(wrong(Vec::new()).contains("too short"));
    assert!(wrong(u64::MAX.to_le_bytes().to_vec()).contains("16 MiB"));
    assert!(wrong([&9_u64.to_le_bytes()[..], b"{}"].concat()).contains("ends in its header"));
    assert!(wrong([&2_u64.to_le_bytes()[..], b"{}more"].concat()).contains("does not fit"));
    let err = block_on(version.tensors("other")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
}

#[test]
fn a_damaged_artifact_hinders_no_put() {
    let project = project();
    let (bytes, left) = (noise(700, 1), noise(600, 2));
    put_bytes(&project, "broken", bytes.clone());
    cut_off(&project, "model", left.clone());
    let manifest = objects(&project, "artifacts/broken/manifests").remove(0);
    harm(&project, &manifest.location, "cut");
    // Old, and nobody can say whether a version names it.
    let put = put_bytes(&fresh_at(&project, DAY), "model", left.clone());
    assert_eq!(put.bytes_stored, 600);
    assert_eq!(bytes_of(&project, "model"), left);
    let err = block_on(project.gc(GcOptions::new())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt, "nothing is deleted then");
    let again = put_bytes(&fresh_at(&project, DAY), "broken", bytes.clone());
    assert_eq!(again.version, 2);
    for version in ["broken@1", "broken@2"] {
        assert_eq!(bytes_of(&project, version), bytes);
    }
    clean(&project);
}

#[test]
fn a_damaged_artifact_is_looked_at_once_in_a_put() {
    let count = |n_bytes: usize| {
        let project = project();
        put_bytes(&project, "broken", b"weights".to_vec());
        cut_off(&project, "model", noise(n_bytes, 2));
        let manifest = objects(&project, "artifacts/broken/manifests").remove(0);
        harm(&project, &manifest.location, "cut");
        let n_chunks = objects(&project, "chunks").len() as u64 - 1;
        let faults = Faults::at(0, When::Before);
        let faulty = project_over(&project, |store| {
            Arc::new(FaultyStore::new(store, Arc::clone(&faults)))
        });
        later(&faulty, DAY);
        let before = faults.n_requests();
        put_bytes(&faulty, "model", noise(n_bytes, 2));
        (n_chunks, faults.n_requests() - before)
    };
    let ((few, once), (many, all)) = (count(100), count(12_000_000));
    // Each is asked for, asked for under its new name, and put.
    assert_eq!(all - once, 3 * (many - few));
}
