//! A checkpoint over the log of the golden table: `$n` in the input is the hash of entry `n`.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_fuzz::{TABLE, fork, golden, hash, hashes, plant, read_all, with_hashes};

static GOLDEN: LazyLock<(Arc<InMemory>, Vec<String>)> = LazyLock::new(|| {
    let store = golden();
    let hashes = hashes(&store);
    (store, hashes)
});

fuzz_target!(|input: &[u8]| {
    let (base, hashes) = &*GOLDEN;
    let store = fork(base);
    let checkpoint = with_hashes(input, hashes);
    let name = format!("checkpoints/{}.json", hash(&checkpoint));
    let newest = format!(r#"{{"format":2,"file":"{name}"}}"#);
    plant(&store, &format!("{TABLE}/{name}"), checkpoint);
    plant(
        &store,
        &format!("{TABLE}/checkpoints/newest.json"),
        newest.into_bytes(),
    );
    read_all(&store);
});
