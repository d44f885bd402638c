//! What the targets share: roots in memory with planted bytes, and a reader of everything.
//!
//! A target plants its input as one file of a root that is otherwise sound, and reads all there is.
//! Whatever the bytes are, each call gives a value or an error; a panic that leaves the library, a
//! hang, an abort and a memory that grows without end are found by the fuzzer. Panics of decoders
//! that the library catches are none, so the fuzzer's hook, which would end the process, is replaced.

pub mod artifact;

use std::fs;
use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::{Arc, Once};

use tlc_core::arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Int32Array, RecordBatch, RecordBatchIterator, StringArray,
    new_null_array,
};
use tlc_core::arrow::datatypes::Schema;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectStore, ObjectStoreExt as _};
use tlc_core::{
    BlameOptions, Env, Project, Root, RootOptions, ScanOptions, Snapshot, Table, VerifyOptions,
    block_on, schema,
};

/// The folder of the one table that the targets read.
pub const TABLE: &str = "zoo/tables/train";

/// Lets the library catch the panics of decoders. A panic that nobody catches still ends the process,
/// and its message is in `$TLC_FUZZ_PANICS` if that names a file.
pub fn let_panics_be_caught() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = std::env::var_os("TLC_FUZZ_PANICS");
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(file) = &log
                && let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(file)
            {
                writeln!(file, "{panic}").unwrap_or_default();
            }
        }));
    });
}

/// The table of the golden files of the format's version, in memory.
pub fn golden() -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    let formats = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../tlc-core/tests/formats/v2");
    copy(&store, &formats.join(TABLE), &Path::from(TABLE));
    store
}

fn copy(store: &InMemory, from: &FilePath, to: &Path) {
    for entry in fs::read_dir(from).expect("the golden files are there") {
        let entry = entry.expect("a folder can be listed");
        let target = to
            .clone()
            .join(entry.file_name().to_string_lossy().as_ref());
        match entry.path().is_dir() {
            true => copy(store, &entry.path(), &target),
            false => plant(
                store,
                target.as_ref(),
                fs::read(entry.path()).expect("a file"),
            ),
        }
    }
}

/// A table of four rows and a column of each kind, in memory.
pub fn small() -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    let fields = vec![
        schema::label("animal", ["cat", "dog", "cow"]),
        schema::weight("weight"),
        schema::image("picture", "image/png"),
        schema::text("note"),
        schema::embedding("embedding", 3),
        schema::boxes("boxes", ["cat", "dog"]),
    ];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(0), Some(1), None, Some(2)])),
        Arc::new(Float32Array::from(vec![1.0, 0.0, 0.5, 1.0])),
        Arc::new(BinaryArray::from(vec![
            Some(&b"one"[..]),
            None,
            Some(b""),
            None,
        ])),
        Arc::new(StringArray::from(vec![
            Some("a"),
            None,
            Some(""),
            Some("d"),
        ])),
    ];
    columns.extend(
        fields[4..]
            .iter()
            .map(|field| new_null_array(field.data_type(), 4)),
    );
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns of one length");
    let rows = RecordBatchIterator::new([Ok(batch)], schema);
    let made = block_on(project(&store).create_table("train", rows, "four animals"));
    made.expect("a table in memory");
    store
}

/// The project in a store, as a program that was just started opens it.
pub fn project(store: &Arc<InMemory>) -> Project {
    let options = RootOptions::new().env(Env::manual()).checkpoint_every(0);
    let url = "memory:///".parse().expect("a URL");
    let store: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(store);
    let root = Root::in_store(store, Path::default(), url, options);
    root.project("zoo").expect("a name")
}

/// Puts a file into the store.
pub fn plant(store: &InMemory, path: &str, bytes: Vec<u8>) {
    let path = Path::parse(path).expect("a path");
    block_on(store.put(&path, bytes.into())).expect("memory takes all");
}

/// Reads a file of the store.
pub fn planted(store: &InMemory, path: &str) -> Option<Vec<u8>> {
    let path = Path::parse(path).expect("a path");
    let found = block_on(async { store.get(&path).await?.bytes().await });
    found.ok().map(|bytes| bytes.to_vec())
}

/// Another store with the same files, which the next input may change.
pub fn fork(store: &InMemory) -> Arc<InMemory> {
    Arc::new(store.fork())
}

/// Takes away all files in a folder of the table.
pub fn clear(store: &InMemory, folder: &str) {
    let folder = Path::from(format!("{TABLE}/{folder}"));
    let listed = block_on(store.list_with_delimiter(Some(&folder))).expect("memory can be listed");
    for object in listed.objects {
        block_on(store.delete(&object.location)).expect("what is listed can be deleted");
    }
}

/// The hashes of the entries of the table's log.
pub fn hashes(store: &InMemory) -> Vec<String> {
    let entries = (0..).map_while(|number| planted(store, &entry_path(number)));
    entries.map(|entry| hash(&entry)).collect()
}

/// Where entry `number` of the table's log lies.
pub fn entry_path(number: usize) -> String {
    format!("{TABLE}/log/{number:020}.json")
}

/// `text` with each `$n` replaced by the hash of entry `n`: a fuzzer cannot guess hashes.
pub fn with_hashes(text: &[u8], hashes: &[String]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let n_digits = after
            .iter()
            .take(3)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let number = std::str::from_utf8(&after[..n_digits])
            .ok()
            .and_then(|text| text.parse().ok());
        match number.and_then(|number: usize| hashes.get(number)) {
            Some(hash) if *first == b'$' => {
                filled.extend_from_slice(hash.as_bytes());
                rest = &after[n_digits..];
            }
            _ => {
                filled.push(*first);
                rest = after;
            }
        }
    }
    filled
}

/// The name that content has.
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Reads all that there is, as a program that was just started would. Errors are answers.
pub fn read_all(store: &Arc<InMemory>) {
    let_panics_be_caught();
    let project = project(store);
    block_on(async {
        if let Ok(table) = project.table("train").await {
            drop(read_table(&table).await);
        }
        // A table that cannot be opened can be verified all the same.
        drop(project.verify(VerifyOptions::new()).await);
    });
}

async fn read_table(table: &Table) -> tlc_core::Result<()> {
    let log = table.log().await.unwrap_or_default();
    drop((table.branches().await, table.tags().await));
    for record in log.iter().take(12) {
        drop(table.at(record.revision).await);
    }
    let head = table.head().await?;
    drop(read_rows(&head).await);
    if let Some(first) = log.last() {
        drop(table.diff(first.revision, head.revision()).await);
    }
    for field in head.schema().fields().iter().take(2) {
        drop(table.blame(field.name(), BlameOptions::new()).await);
    }
    Ok(())
}

async fn read_rows(snapshot: &Snapshot) -> tlc_core::Result<()> {
    let n_rows = snapshot.n_rows();
    std::hint::black_box(snapshot.contains(n_rows));
    drop(snapshot.row_ids().await);
    let rows = snapshot.read(ScanOptions::new()).await?;
    // More than counted, where ids were dropped that are no rows.
    assert!(
        rows.num_rows() as u64 >= n_rows,
        "rows are counted that nobody reads"
    );
    Ok(())
}
