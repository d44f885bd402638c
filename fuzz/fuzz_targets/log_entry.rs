//! A log: each line of the input is an entry, and `$n` in it is the hash of entry `n`. The files that
//! entries may name are those of the golden table.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_fuzz::{clear, entry_path, fork, golden, hash, plant, read_all, with_hashes};

const ENTRIES_MAX: usize = 64;

static FILES: LazyLock<Arc<InMemory>> = LazyLock::new(|| {
    let store = golden();
    clear(&store, "log");
    clear(&store, "checkpoints");
    store
});

fuzz_target!(|input: &[u8]| {
    let store = fork(&FILES);
    let mut hashes = Vec::new();
    for line in input.split(|byte| *byte == b'\n').take(ENTRIES_MAX) {
        let entry = with_hashes(line, &hashes);
        let number = hashes.len();
        hashes.push(hash(&entry));
        plant(&store, &entry_path(number), entry);
    }
    read_all(&store);
});
