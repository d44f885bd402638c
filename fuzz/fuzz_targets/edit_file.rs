//! A file of new values. The first byte of the input is the id of the column, the second how many
//! cells the log says there are; the others are the file, whose name is their hash.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_fuzz::{TABLE, entry_path, fork, hash, hashes, plant, read_all, small};

static TABLE_OF_FOUR: LazyLock<(Arc<InMemory>, String)> = LazyLock::new(|| {
    let store = small();
    let first = hashes(&store).remove(0);
    (store, first)
});

fuzz_target!(|input: &[u8]| {
    let [column, cells, file @ ..] = input else {
        return;
    };
    let (base, parent) = &*TABLE_OF_FOUR;
    let store = fork(base);
    let name = format!("edits/{}.parquet", hash(file));
    plant(&store, &format!("{TABLE}/{name}"), file.to_vec());
    let entry = format!(
        r#"{{"format":2,"revision":1,"stamp":"s","branch":"main","parents":[{{"revision":0,"hash":"{parent}"}}],"author":"a",
"time":"2026-11-01T12:00:00.000000Z","message":"m","tool":"t","next_row_id":4,
"cells_set":[{{"column":{column},"file":"{name}","cells":{cells},"bytes":{}}}]}}"#,
        file.len()
    );
    plant(&store, &entry_path(1), entry.into_bytes());
    read_all(&store);
});
