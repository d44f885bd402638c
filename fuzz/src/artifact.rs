//! An artifact in memory, whose log or manifest is planted.

use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;

use tlc_core::object_store::memory::InMemory;
use tlc_core::{ArtifactVersion, GetOptions, VerifyOptions, block_on};

use crate::{hash, let_panics_be_caught, plant, project};

const ARTIFACT: &str = "zoo/artifacts/model";

/// Chunk `n` is the letter `x` n times, so that two chunks in a row are a third one's bytes.
const N_CHUNKS: usize = 10;

/// How many folders are around that which versions are got to.
const DEPTH: usize = 6;

/// Plants the chunks, and gives their hashes.
pub fn chunks(store: &InMemory) -> Vec<String> {
    let planted = (0..N_CHUNKS).map(|length| {
        let chunk = vec![b'x'; length];
        let hash = hash(&chunk);
        plant(store, &format!("zoo/chunks/{hash}"), chunk);
        hash
    });
    planted.collect()
}

/// Where entry `number` of the log lies.
pub fn log_path(number: usize) -> String {
    format!("{ARTIFACT}/log/{number:020}.json")
}

/// Where a manifest lies.
pub fn manifest_path(manifest: &[u8]) -> String {
    format!("{ARTIFACT}/manifests/{}.json", hash(manifest))
}

/// An entry that ends with `,"sum":"$s"}`, with its sum: a fuzzer cannot guess it.
pub fn with_sum(entry: &[u8]) -> Vec<u8> {
    match entry.strip_suffix(br#","sum":"$s"}"#) {
        None => entry.to_vec(),
        Some(summed) => [summed, format!(r#","sum":"{}"}}"#, hash(summed)).as_bytes()].concat(),
    }
}

/// Reads all that there is of the artifact. Errors are answers.
pub fn read_artifact(store: &Arc<InMemory>) {
    let_panics_be_caught();
    let project = project(store);
    block_on(async {
        if let Ok(artifact) = project.artifact("model").await {
            let record = artifact.record().await.expect("it was just read");
            for alias in &record.aliases {
                assert!(alias.version.is_none() || artifact.at(&alias.name).await.is_ok());
            }
            if let Ok(newest) = artifact.newest().await {
                read_version(&newest).await;
            }
        }
        drop(project.verify(VerifyOptions::new()).await);
    });
}

async fn read_version(version: &ArtifactVersion) {
    drop((version.is_file().await, version.n_chunks().await));
    for file in version.files().await.unwrap_or_default().iter().take(12) {
        if let Ok(bytes) = version.read(&file.path).await {
            assert_eq!(
                (bytes.len() as u64, hash(&bytes)),
                (file.bytes, file.blake3.clone())
            );
        }
        drop(version.tensors(&file.path).await);
    }
    let outside = tempfile::tempdir().expect("a folder for what is got");
    let folder = (0..DEPTH).fold(outside.path().to_owned(), |folder, _| folder.join("in"));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let got = version.get(folder.join("got"), GetOptions::new()).await;
    assert_eq!(
        n_names(&folder),
        usize::from(got.is_ok()),
        "all of it or nothing"
    );
    let around = folder
        .ancestors()
        .take_while(|folder| folder.starts_with(outside.path()));
    for folder in around.filter(|around| **around != folder) {
        assert_eq!(
            n_names(folder),
            1,
            "{folder:?} has more in it than the next one"
        );
    }
}

fn n_names(folder: &FilePath) -> usize {
    fs::read_dir(folder).expect("the folder is there").count()
}
