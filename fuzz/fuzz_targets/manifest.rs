//! What a version of an artifact says that it holds: `$n` in the input is the hash of chunk `n`. What can be
//! got of it is inside the folder that it is got to.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_fuzz::artifact::{chunks, log_path, manifest_path, read_artifact, with_sum};
use tlc_fuzz::{hash, plant, with_hashes};

fuzz_target!(|input: &[u8]| {
    let store = Arc::new(InMemory::new());
    let manifest = with_hashes(input, &chunks(&store));
    let entry = format!(
        r#"{{"format":4,"stamp":"s","author":"a","time":"2026-11-01T12:00:00.000000Z","event":{{"kind":"version","version":1,
"manifest":"manifests/{}.json","files":1,"bytes":1,"bytes_stored":1}},"sum":"$s"}}"#,
        hash(&manifest)
    );
    plant(&store, &manifest_path(&manifest), manifest);
    plant(&store, &log_path(0), with_sum(entry.as_bytes()));
    read_artifact(&store);
});
