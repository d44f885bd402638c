//! The log of an artifact: each line of the input is an entry, `$n` in it the hash of chunk `n`, and `$s`
//! that of the line before its sum. There are no manifests.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_fuzz::artifact::{chunks, log_path, read_artifact, with_sum};
use tlc_fuzz::{plant, with_hashes};

const ENTRIES_MAX: usize = 64;

fuzz_target!(|input: &[u8]| {
    let store = Arc::new(InMemory::new());
    let hashes = chunks(&store);
    for (number, line) in input
        .split(|byte| *byte == b'\n')
        .take(ENTRIES_MAX)
        .enumerate()
    {
        plant(
            &store,
            &log_path(number),
            with_sum(&with_hashes(line, &hashes)),
        );
    }
    read_artifact(&store);
});
