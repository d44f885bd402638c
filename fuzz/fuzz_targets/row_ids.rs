//! A bitmap of row ids: dropped by one revision, restored by the next. The first eight bytes of the
//! input are how many ids the log says there are.

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
    let Some((claim, file)) = input.split_first_chunk() else {
        return;
    };
    let (base, parent) = &*TABLE_OF_FOUR;
    let store = fork(base);
    let name = format!("deletes/{}.bin", hash(file));
    plant(&store, &format!("{TABLE}/{name}"), file.to_vec());
    let mut parent = parent.clone();
    for (number, field) in [(1, "rows_dropped"), (2, "rows_restored")] {
        let entry = format!(
            r#"{{"format":2,"revision":{number},"stamp":"s","branch":"main","parents":[{{"revision":{},"hash":"{parent}"}}],
"author":"a","time":"2026-11-01T12:00:00.000000Z","message":"m","tool":"t","next_row_id":4,
"{field}":{{"file":"{name}","rows":{},"bytes":{}}}}}"#,
            number - 1,
            u64::from_le_bytes(*claim),
            file.len()
        );
        parent = hash(entry.as_bytes());
        plant(&store, &entry_path(number), entry.into_bytes());
    }
    read_all(&store);
});
