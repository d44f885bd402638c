//! Hostile files: whatever is done to a file, what is read is right, or an error that names the file.
//!
//! The golden files of the newest version are the corpus. Each is cut off at many places and gets bits
//! flipped at many, and all that reads it is asked. No answer may be a panic, none may take for ever,
//! and where a file's name is the hash of its bytes, none may be wrong. Beside these, files that claim
//! more than they have, with names that lead elsewhere. What a person might damage by hand is in
//! `bad_input`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use roaring::RoaringTreemap;
use serde_json::{Value, json};
#[cfg(feature = "sql")]
use tlc_core::Sql;
use tlc_core::object_store::ObjectStoreExt as _;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::{
    BlameOptions, CommitOptions, ErrorKind, Project, Resolution, ScanOptions, VerifyOptions,
    block_on, import,
};

use crate::golden::{
    Told, files, folder, in_memory, opened, put, run_text, states, table_at, verified,
};

const VERSION: &str = "v3";
const TRAIN: &str = "zoo/tables/train";

/// The number of the last entry in the log of `train`.
const LAST: u64 = 22;

/// A file of the corpus after something was done to it.
struct Damaged {
    how: String,
    bytes: Vec<u8>,
}

/// Cuts off and flips at `most` places each: at all where the file has no more, else at the first and
/// last bytes and at places that depend on nothing but the file's length.
fn damages(whole: &[u8], most: usize) -> impl Iterator<Item = Damaged> {
    let places = places(whole.len(), most);
    let cuts = places.clone().into_iter().map(|at| Damaged {
        how: format!("cut off at {at}"),
        bytes: whole[..at].to_vec(),
    });
    cuts.chain(places.into_iter().map(|at| {
        let mut bytes = whole.to_vec();
        let bit = 1 << (at * 5 % 8);
        bytes[at] ^= bit;
        Damaged {
            how: format!("with bit {bit:#x} of byte {at} flipped"),
            bytes,
        }
    }))
}

fn places(length: usize, most: usize) -> Vec<usize> {
    if length <= most {
        return (0..length).collect();
    }
    let mut state = length as u64;
    let mut places: Vec<usize> = (0..most.saturating_sub(16))
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % length
        })
        .collect();
    places.extend((0..4).chain(length - 12..length));
    places.sort_unstable();
    places.dedup();
    places
}

/// What may be said of a damaged file.
#[derive(Clone, Copy, PartialEq)]
enum Law {
    /// What is right, or an error of the kind `Corrupt` that names the file.
    RightOrNamed,
    /// What is right: nothing depends on the file.
    Right,
    /// Anything but a panic; an error names the file.
    AnyOrNamed,
}

/// The golden files, and which of the answers are right.
struct Corpus {
    store: InMemory,
}

impl Corpus {
    fn new() -> Self {
        let store = in_memory(VERSION);
        Self { store }
    }

    /// Without checkpoints, so that the log is what is read.
    fn of_log() -> Self {
        let corpus = Self::new();
        for (name, _) in corpus.files(&format!("{TRAIN}/checkpoints/")) {
            block_on(corpus.store.delete(&Path::from(name))).unwrap();
        }
        corpus
    }

    /// Without tables, so that verification looks at the runs alone.
    fn of_runs() -> Self {
        let corpus = Self::new();
        for (name, _) in corpus.files("zoo/tables/") {
            block_on(corpus.store.delete(&Path::from(name))).unwrap();
        }
        corpus
    }

    fn files(&self, below: &str) -> Vec<(String, Vec<u8>)> {
        let all = files(&folder(VERSION)).into_iter();
        all.filter(|(name, _)| name.starts_with(below)).collect()
    }

    fn project_with(&self, name: &str, bytes: &[u8]) -> Project {
        let store = self.store.fork();
        put(&store, name, bytes);
        opened(store, VERSION)
    }

    /// Damages a file in many ways and asks.
    fn damage(
        &self,
        name: &str,
        whole: &[u8],
        (law, named, most): (Law, &str, usize),
        ask: impl Fn(&Project) -> Vec<Told>,
    ) {
        self.damage_by(name, whole, (law, named, damages(whole, most)), ask);
    }

    /// Damages a file in these ways and asks.
    fn damage_by(
        &self,
        name: &str,
        whole: &[u8],
        (law, named, damages): (Law, &str, impl Iterator<Item = Damaged>),
        ask: impl Fn(&Project) -> Vec<Told>,
    ) {
        let right = ask(&self.project_with(name, whole));
        let right: BTreeMap<_, _> = right
            .iter()
            .map(|told| (told.asked.as_str(), told.answer.as_ref().unwrap()))
            .collect();
        for Damaged { how, bytes } in damages {
            let project = self.project_with(name, &bytes);
            let told = catch_unwind(AssertUnwindSafe(|| ask(&project)));
            let told = told.unwrap_or_else(|_panic| panic!("{name} {how}: a panic"));
            for Told { asked, answer } in &told {
                match answer {
                    Ok(_) if law == Law::AnyOrNamed => {}
                    Ok(answer) => assert_eq!(
                        Some(&answer),
                        right.get(asked.as_str()),
                        "{name} {how}: {asked}"
                    ),
                    Err(err) => {
                        let text = format!("{err:#}");
                        let newer =
                            err.kind() == ErrorKind::Invalid && text.contains("format version");
                        let refused = err.kind() == ErrorKind::Corrupt || newer;
                        assert!(
                            law != Law::Right
                                && refused
                                && named.split('|').any(|named| text.contains(named)),
                            "{name} {how}: {asked}: {err:?}"
                        );
                    }
                }
            }
        }
    }
}

/// The revisions that name each file of a folder of `train`, as its log says.
fn named_by(corpus: &Corpus) -> BTreeMap<String, Vec<u64>> {
    let mut named: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (name, bytes) in corpus.files(&format!("{TRAIN}/log/")) {
        let entry: Value = serde_json::from_slice(&bytes).unwrap();
        let revision = entry["revision"].as_u64().unwrap();
        let mut pending = vec![&entry];
        while let Some(value) = pending.pop() {
            match value {
                Value::String(text) if text.contains('/') && !text.starts_with('/') => {
                    named.entry(text.clone()).or_default().push(revision);
                }
                Value::Object(fields) => pending.extend(fields.values()),
                Value::Array(items) => pending.extend(items),
                _ => {}
            }
        }
        assert!(revision <= LAST, "{name}");
    }
    named
}

/// How `train` is at a revision and at its head.
fn state(project: &Project, revision: u64) -> Vec<Told> {
    states(project, "train", revision)
}

/// Files of a folder that the log names are damaged; those whose names say what is in them.
fn check_folder(folder: &str, most: usize) {
    let corpus = Corpus::of_log();
    let named = named_by(&corpus);
    let mut n_checked = 0;
    let mut files = corpus.files(&format!("{TRAIN}/{folder}/"));
    files.sort_by_key(|(_, whole)| whole.len());
    for (name, whole) in files {
        let file = name.strip_prefix(&format!("{TRAIN}/")).unwrap();
        // What only a checkpoint names is read through it alone.
        let Some(revisions) = named.get(file) else {
            continue;
        };
        // The smallest at every place.
        let is_first = n_checked == 0 && whole.len() < 1 << 12;
        let most = if is_first { whole.len() } else { most };
        corpus.damage(&name, &whole, (Law::RightOrNamed, file, most), |project| {
            state(project, revisions[0])
        });
        n_checked += 1;
    }
    assert!(n_checked > 2, "the corpus has {n_checked} such files");
}

#[test]
fn a_damaged_file_of_cells_is_never_read_as_right() {
    check_folder("edits", 40);
}

#[test]
fn a_damaged_file_of_row_ids_is_never_read_as_right() {
    check_folder("deletes", 100);
}

#[test]
fn a_damaged_file_of_rows_is_never_read_as_right() {
    check_folder("data", 250);
}

/// The rows that answer a query, of a session that was just opened.
#[cfg(feature = "sql")]
fn asked(project: &Project, query: &str) -> tlc_core::Result<String> {
    let batches = block_on(async { Sql::open(project.root()).await?.collect(query).await })?;
    let lines: Vec<String> = batches.iter().map(crate::support::text).collect();
    Ok(lines.join(" "))
}

/// A filter and an aggregate of `train`, at a revision and at its head.
#[cfg(feature = "sql")]
fn queried(project: &Project, revision: u64) -> Vec<Told> {
    let tables = [format!("zoo.\"train@{revision}\""), "zoo.train".to_owned()];
    let queries = tables.iter().flat_map(|table| {
        [
            format!("SELECT * FROM {table} WHERE weight > 0.25 ORDER BY _rowid"),
            format!(
                "SELECT animal, count(*), sum(weight) FROM {table} GROUP BY animal ORDER BY animal"
            ),
        ]
    });
    let told = |query: String| Told {
        answer: asked(project, &query),
        asked: query,
    };
    queries.map(told).collect()
}

/// The engine stands between a damaged file and who asks: an error of it still names the file.
#[cfg(feature = "sql")]
#[test]
fn queries_of_damaged_files_are_answered_right_or_refused() {
    let corpus = Corpus::of_log();
    let named = named_by(&corpus);
    for (folder, step) in [("data", 5), ("edits", 23), ("deletes", 11)] {
        let mut n_checked = 0;
        for (name, whole) in corpus.files(&format!("{TRAIN}/{folder}/")) {
            let file = name.strip_prefix(&format!("{TRAIN}/")).unwrap();
            let Some(revisions) = named.get(file) else {
                continue;
            };
            // Other places in each file.
            let damages = damages(&whole, 40).skip(n_checked % step).step_by(step);
            corpus.damage_by(
                &name,
                &whole,
                (Law::RightOrNamed, file, damages),
                |project| queried(project, revisions[0]),
            );
            n_checked += 1;
        }
        assert!(n_checked > 2, "{folder} has {n_checked} such files");
    }
}

#[cfg(feature = "sql")]
#[test]
fn queries_of_a_damaged_log_or_checkpoint_are_answered_right_or_refused() {
    let corpus = Corpus::of_log();
    for number in [0, 7, LAST - 2] {
        let (name, whole) = corpus
            .files(&format!("{TRAIN}/log/{number:020}.json"))
            .remove(0);
        let named = format!("revision {number} |parent {number} ");
        let damages = damages(&whole, 40).step_by(11);
        corpus.damage_by(
            &name,
            &whole,
            (Law::RightOrNamed, &named, damages),
            |project| queried(project, LAST),
        );
    }
    let corpus = Corpus::new();
    for (name, whole) in corpus.files(&format!("{TRAIN}/checkpoints/")) {
        let damages = damages(&whole, 40).step_by(17);
        corpus.damage_by(&name, &whole, (Law::Right, "", damages), |project| {
            queried(project, LAST)
        });
    }
}

/// An entry is named by the hash of its bytes where it is a parent, and only there.
#[test]
fn a_damaged_entry_of_a_table_is_no_panic_and_a_parent_is_never_read_as_right() {
    let corpus = Corpus::of_log();
    let entries = corpus.files(&format!("{TRAIN}/log/"));
    let parents: Vec<u64> = entries
        .iter()
        .flat_map(|(_, bytes)| {
            let entry: Value = serde_json::from_slice(bytes).unwrap();
            let parents = entry["parents"].as_array().unwrap().clone();
            parents
                .into_iter()
                .filter_map(|parent| parent["revision"].as_u64())
        })
        .collect();
    for (number, (name, whole)) in (0..).zip(&entries) {
        let law = if parents.contains(&number) {
            Law::RightOrNamed
        } else {
            Law::AnyOrNamed
        };
        let mut named = format!("revision {number} |parent {number} |{number:020}");
        if number == LAST {
            // It may name another file or another branch: these are not there, and named.
            named.push_str("|edits/|branch");
        }
        corpus.damage(name, whole, (law, &named, 28), |project| {
            let mut told = state(project, LAST);
            let listed = catch_unwind(AssertUnwindSafe(|| table_at(project, "train", &[])));
            drop(listed.expect("what is listed is a value or an error"));
            told.push(Told {
                asked: "verify".into(),
                answer: verified(project).map(|_| String::new()),
            });
            told
        });
    }
}

/// A checkpoint says nothing that the log does not say.
#[test]
fn a_damaged_checkpoint_changes_no_answer() {
    let corpus = Corpus::new();
    for (name, whole) in corpus.files(&format!("{TRAIN}/checkpoints/")) {
        corpus.damage(&name, &whole, (Law::Right, "", 60), |project| {
            state(project, 10)
        });
    }
    // The rows that a state has dropped are in a file that may be the checkpoint's own.
    let named = named_by(&Corpus::of_log());
    for (name, whole) in corpus.files(&format!("{TRAIN}/deletes/")) {
        let file = name.strip_prefix(&format!("{TRAIN}/")).unwrap();
        if !named.contains_key(file) {
            corpus.damage(&name, &whole, (Law::Right, "", 60), |project| {
                state(project, 10)
            });
        }
    }
}

#[test]
fn damage_to_files_named_by_their_hash_is_found_by_verification() {
    let corpus = Corpus::new();
    for below in ["data", "edits", "deletes", "checkpoints"] {
        for (name, whole) in corpus.files(&format!("{TRAIN}/{below}/")) {
            if name.ends_with("newest.json") {
                continue;
            }
            for Damaged { how, bytes } in damages(&whole, 17).step_by(7) {
                let project = corpus.project_with(&name, &bytes);
                let report = block_on(project.verify(VerifyOptions::new())).unwrap();
                let file = name.strip_prefix(&format!("{TRAIN}/")).unwrap();
                let found = report.findings.iter().find(|finding| finding.file == file);
                assert!(found.is_some(), "{name} {how}: {:?}", report.findings);
            }
        }
    }
}

/// Files of runs have no hash in their names: an answer may be another, but none is a panic.
#[test]
fn a_damaged_file_of_a_run_is_no_panic() {
    let corpus = Corpus::of_runs();
    for (name, whole) in corpus.files("zoo/runs/") {
        // Of an entry, the number is named; of other files, the path.
        let file = name.rsplit('/').next().unwrap();
        let named = file.trim_start_matches('0').trim_end_matches(".json");
        let named = if name.contains("/log/") && named.is_empty() {
            "0"
        } else {
            named
        };
        corpus.damage(&name, &whole, (Law::AnyOrNamed, named, 120), |project| {
            let record = ["lenet", "broken", "resumed", "killed"]
                .map(|run| block_on(project.run(run)).map(|_| String::new()));
            drop(verified(project));
            let asked = |answer| Told {
                asked: String::new(),
                answer,
            };
            record.into_iter().map(asked).collect()
        });
    }
    let whole = opened(corpus.store.fork(), VERSION);
    assert!(run_text(&whole, "lenet").is_ok(), "undamaged, it is read");
}

/// While a run has not ended, its files of scalars are read for its last values.
#[test]
fn a_damaged_file_of_scalars_of_a_run_that_goes_on_is_an_error_or_a_value() {
    let corpus = Corpus::new();
    block_on(
        corpus
            .store
            .delete(&Path::from("zoo/runs/lenet/log/00000000000000000007.json")),
    )
    .unwrap();
    for (name, whole) in corpus.files("zoo/runs/lenet/scalars/") {
        let file = name.rsplit('/').next().unwrap();
        corpus.damage(&name, &whole, (Law::AnyOrNamed, file, 400), |project| {
            let answer = block_on(project.run("lenet")).map(|record| format!("{:?}", record.last));
            vec![Told {
                asked: "run".into(),
                answer,
            }]
        });
    }
}

#[test]
fn damaged_aliases_and_hints_are_errors_or_values() {
    let corpus = Corpus::new();
    for name in [
        "zoo/aliases.yaml",
        "zoo/tables/short/checkpoints/given-up.json",
    ] {
        let (_, whole) = corpus.files(name).remove(0);
        for Damaged { how, bytes } in damages(&whole, 200) {
            let project = corpus.project_with(name, &bytes);
            let answers = catch_unwind(AssertUnwindSafe(|| {
                [
                    block_on(project.aliases()).map(drop),
                    verified(&project).map(drop),
                ]
            }));
            for err in answers
                .unwrap_or_else(|_panic| panic!("{name} {how}"))
                .into_iter()
                .filter_map(Result::err)
            {
                assert!(
                    err.kind() == ErrorKind::Invalid && format!("{err:#}").contains(name),
                    "{name} {how}: {err:?}"
                );
            }
        }
    }
}

#[test]
fn a_damaged_source_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("animals.parquet");
    let (_, whole) = Corpus::new().files("zoo/source/").remove(0);
    for Damaged { how, bytes } in damages(&whole, 800) {
        std::fs::write(&path, bytes).unwrap();
        let project = crate::support::project();
        let url = path.to_str().unwrap();
        let made = catch_unwind(AssertUnwindSafe(|| {
            let rows = import::parquet(&path);
            let copied = rows.and_then(|rows| block_on(project.create_table("copied", rows, "x")));
            let in_place = block_on(project.create_table_in_place("in_place", &[url], "x"));
            let read = in_place.and_then(|_| {
                table_at(&project, "in_place", &[0])
                    .into_iter()
                    .map(|told| told.answer)
                    .collect::<Result<Vec<_>, _>>()
                    .map(drop)
            });
            [copied.map(drop), read]
        }));
        for err in made
            .unwrap_or_else(|_panic| panic!("{how}: a panic"))
            .into_iter()
            .filter_map(Result::err)
        {
            assert!(
                [ErrorKind::Corrupt, ErrorKind::Invalid].contains(&err.kind()),
                "{how}: {err:?}"
            );
        }
    }
}

/// Reads a log whose last entry was changed. Nothing may panic, and what is refused is named.
#[track_caller]
fn claim(how: &str, change: impl FnOnce(&mut Value), reads: bool) {
    let corpus = Corpus::of_log();
    let name = format!("{TRAIN}/log/{LAST:020}.json");
    let (_, whole) = corpus.files(&name).remove(0);
    let mut entry: Value = serde_json::from_slice(&whole).unwrap();
    change(&mut entry);
    check_last(&corpus, how, entry.to_string().as_bytes(), reads);
}

#[track_caller]
fn check_last(corpus: &Corpus, how: &str, entry: &[u8], reads: bool) {
    let project = corpus.project_with(&format!("{TRAIN}/log/{LAST:020}.json"), entry);
    let told = state(&project, LAST);
    drop(verified(&project));
    for Told { asked, answer } in &told {
        match answer {
            Ok(_) => assert!(reads, "{how}: {asked} is answered"),
            Err(err) => {
                let text = format!("{err:#}");
                let kinds = [
                    ErrorKind::Corrupt,
                    ErrorKind::Invalid,
                    ErrorKind::NotFound,
                    ErrorKind::Unavailable,
                ];
                assert!(
                    !reads && kinds.contains(&err.kind()),
                    "{how}: {asked}: {err:?}"
                );
                let named = [
                    "revision",
                    "edits/",
                    "data/",
                    "deletes/",
                    "no branch",
                    "the log names a file",
                    "which a table reads in place",
                    "cannot read ",
                ];
                assert!(
                    named.iter().any(|name| text.contains(name)),
                    "{how}: {text}"
                );
            }
        }
    }
}

#[test]
fn numbers_that_no_table_has_are_refused() {
    for (pointer, number) in [
        ("/cells_set/0/cells", json!(u64::MAX)),
        ("/cells_set/0/cells", json!(1_u64 << 40)),
        ("/cells_set/0/cells", json!(-1)),
        ("/cells_set/0/cells", json!(1.5)),
        ("/cells_set/0/bytes", json!(u64::MAX)),
        ("/cells_set/0/column", json!(i64::MAX)),
        ("/next_row_id", json!(u64::MAX)),
        ("/next_row_id", json!(0)),
        ("/next_column_id", json!(0)),
        ("/next_column_id", json!(i32::MIN)),
        ("/next_column_id", json!(i32::MAX)),
        ("/parents/0/revision", json!(u64::MAX)),
        ("/parents/0/revision", json!(LAST)),
        ("/parents/0/revision", json!(0)),
        ("/revision", json!(u64::MAX)),
        ("/format", json!(u64::MAX)),
        ("/format", json!(u32::MAX)),
    ] {
        let how = format!("{pointer} = {number}");
        claim(
            &how,
            |entry| *entry.pointer_mut(pointer).unwrap() = number,
            false,
        );
    }
}

/// Sums of what several files claim do not overflow either.
#[test]
fn files_that_claim_too_much_are_refused() {
    let rows = |file: &str, first: u64, rows: u64| json!({"file": file, "first_row_id": first, "rows": rows, "bytes": 10});
    let data = format!("data/{}.parquet", "0".repeat(64));
    for (field, value) in [
        ("rows_added", json!([rows(&data, 7, u64::MAX)])),
        ("rows_added", json!([rows(&data, u64::MAX, 1)])),
        ("rows_added", json!([rows(&data, 0, 7)])),
        (
            "rows_dropped",
            json!({"file": "deletes/0.bin", "rows": u64::MAX, "bytes": u64::MAX}),
        ),
        (
            "rows_restored",
            json!({"file": "deletes/0.bin", "rows": 1, "bytes": 1}),
        ),
        ("compacted", json!({"revision": u64::MAX, "rows": []})),
        (
            "compacted",
            json!({"revision": 0, "rows": [rows(&data, u64::MAX, u64::MAX)]}),
        ),
        (
            "columns_added",
            json!([{"column": i32::MAX, "default": ""}]),
        ),
        ("schema", json!("")),
        ("schema", json!("/////wAAAIA=")),
        ("schema", json!("/////////38=")),
    ] {
        let how = format!("{field} = {value}");
        claim(&how, |entry| entry[field] = value, false);
    }
    // What fits each alone, and not together.
    claim(
        "many cells",
        |entry| {
            let mut cells = entry["cells_set"][0].clone();
            cells["cells"] = json!(1_u64 << 42);
            cells["bytes"] = json!(1_u64 << 42);
            entry["cells_set"] = Value::Array(vec![cells; 1_000]);
        },
        false,
    );
}

/// Everything that lists the ids of rows, or rows without reading a column of their file.
fn listed(project: &Project, last: u64) -> Vec<Told> {
    let told = |asked: &str, answer: tlc_core::Result<String>| Told {
        asked: asked.into(),
        answer,
    };
    let table = block_on(project.table("train")).unwrap();
    // What the file was before the last entry, by the same table.
    let before = block_on(table.at(last - 1)).unwrap();
    assert_eq!(block_on(before.row_ids()).unwrap().len(), 5);
    let head = block_on(table.head()).unwrap();
    let diff = |from: u64, to: u64| {
        let diff = block_on(table.diff(from, to));
        diff.map(|diff| format!("{:?} {:?}", diff.rows_added.len(), diff.rows_dropped.len()))
    };
    let ids = ScanOptions::new().columns(["_rowid"]);
    let brought =
        block_on(table.revert(last, last, &Resolution::new(), CommitOptions::new("undo")));
    vec![
        told(
            "ids",
            block_on(head.row_ids()).map(|ids| ids.len().to_string()),
        ),
        told(
            "scan",
            block_on(head.read(ids)).map(|rows| rows.num_rows().to_string()),
        ),
        told("diff", diff(last - 1, last)),
        told("diff back", diff(last, last - 1)),
        told(
            "blame",
            block_on(table.blame("weight", BlameOptions::new())).map(|_| String::new()),
        ),
        told("revert", brought.map(|_| String::new())),
        told(
            "compact",
            block_on(table.compact("smaller")).map(|_| String::new()),
        ),
        #[cfg(feature = "sql")]
        told(
            "sql",
            asked(project, "SELECT _rowid FROM zoo.train LIMIT 6"),
        ),
        #[cfg(feature = "sql")]
        told(
            "sql",
            asked(
                project,
                "SELECT sum(_rowid) FROM zoo.train WHERE _rowid > 3",
            ),
        ),
    ]
}

/// An entry may claim more rows than any memory holds: its file is asked before their ids are listed.
#[test]
fn rows_that_only_the_log_claims_are_never_listed() {
    let corpus = Corpus::of_log();
    let name = format!("{TRAIN}/log/{:020}.json", LAST - 2);
    let compaction: Value = serde_json::from_slice(&corpus.files(&name)[0].1).unwrap();
    let rows = compaction["compacted"]["rows"][0].clone();
    let last = format!("{TRAIN}/log/{LAST:020}.json");
    let (_, whole) = corpus.files(&last).remove(0);
    // Few first, so that whoever believes them is told by this test and not by the memory.
    for claimed in [1_u64 << 10, 1 << 42] {
        for is_added in [true, false] {
            let mut rows = rows.clone();
            rows["rows"] = json!(claimed);
            let mut entry: Value = serde_json::from_slice(&whole).unwrap();
            entry["next_row_id"] = json!(7 + claimed);
            if is_added {
                rows["first_row_id"] = json!(7);
                entry["rows_added"] = json!([rows]);
            }
            let bytes = entry.to_string();
            let store = corpus.store.fork();
            put(&store, &last, bytes.as_bytes());
            if !is_added {
                // Of a file whose true rows the table knows from the entry before.
                let hash = blake3::hash(bytes.as_bytes()).to_hex().to_string();
                entry["parents"] = json!([{"revision": LAST, "hash": hash}]);
                entry["revision"] = json!(LAST + 1);
                entry["compacted"] = json!({"revision": LAST, "rows": [rows]});
                let next = format!("{TRAIN}/log/{:020}.json", LAST + 1);
                put(&store, &next, entry.to_string().as_bytes());
            }
            let last = if is_added { LAST } else { LAST + 1 };
            for Told { asked, answer } in listed(&opened(store, VERSION), last) {
                let how = format!("{claimed} rows, added {is_added}: {asked}");
                let err = answer.expect_err(&how);
                let text = format!("{err:#}");
                assert_eq!(err.kind(), ErrorKind::Corrupt, "{how}: {text}");
                let said = format!("the log says {claimed}");
                let file = rows["file"].as_str().unwrap();
                assert!(text.contains(file) && text.contains(&said), "{how}: {text}");
            }
        }
    }
}

/// A row that comes back brings its file to a branch that lacks it, with all rows that the log claims.
#[test]
fn a_file_is_looked_at_before_it_is_brought_to_another_branch() {
    let corpus = Corpus::of_log();
    let mut ids = Vec::new();
    let bitmap = RoaringTreemap::from_iter([8]);
    bitmap.serialize_into(&mut ids).unwrap();
    let name = format!("deletes/{}.bin", blake3::hash(&ids).to_hex());
    put(&corpus.store, &format!("{TRAIN}/{name}"), &ids);
    let ids = json!({"file": name, "rows": 1, "bytes": ids.len()});
    let log = corpus.files(&format!("{TRAIN}/log/"));
    let before: Value = serde_json::from_slice(&log[log.len() - 2].1).unwrap();
    let mut rows = before["rows_added"][0].clone();
    rows["first_row_id"] = json!(7);
    rows["rows"] = json!(1 << 10);
    let mut hash = blake3::hash(&log[log.len() - 2].1).to_hex().to_string();
    let steps = [
        ("rows_added", json!([rows])),
        ("rows_dropped", ids.clone()),
        ("rows_restored", ids),
    ];
    for (number, (field, value)) in (LAST..).zip(steps) {
        let mut entry: Value = serde_json::from_slice(&log[log.len() - 1].1).unwrap();
        entry["revision"] = json!(number);
        entry["branch"] = json!("side");
        entry["parents"] = json!([{"revision": number - 1, "hash": hash}]);
        entry["next_row_id"] = json!(7 + (1 << 10));
        entry.as_object_mut().unwrap().remove("cells_set");
        entry[field] = value;
        let bytes = entry.to_string();
        hash = blake3::hash(bytes.as_bytes()).to_hex().to_string();
        put(
            &corpus.store,
            &format!("{TRAIN}/log/{number:020}.json"),
            bytes.as_bytes(),
        );
    }
    let table = block_on(opened(corpus.store.fork(), VERSION).table("train")).unwrap();
    let brought = block_on(table.cherry_pick(LAST + 2, &Resolution::new(), "once more"));
    let err = brought.map(|_| "it is brought").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Corrupt, "{err:#}");
    assert!(
        format!("{err:#}").contains(rows["file"].as_str().unwrap()),
        "{err:#}"
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = format!("edits/{}", "a".repeat(100_000));
    for file in [
        "",
        "/",
        "edits/",
        "edits/..",
        "../x",
        "edits/../../../../x",
        "/etc/passwd",
        "edits\\..\\x",
        "edits/a\0b",
        "C:\\x",
        "log/00000000000000000000.json",
        "edits/.x",
        &long,
    ] {
        let how = format!("{:.40}", format!("{file:?}"));
        claim(
            &how,
            |entry| entry["cells_set"][0]["file"] = json!(file),
            false,
        );
    }
    for url in [
        "",
        "..",
        "<>/x",
        "<UNSET>/x",
        "<SOURCE>/../../x",
        "<SOURCE>/%2e%2e/x",
        "file:///",
        "file://host/x",
        "http://localhost/x",
        "s3://",
        "data:,x",
        &"x".repeat(100_000),
    ] {
        let rows = json!({"file": url, "first_row_id": 7, "rows": 1, "bytes": 1, "in_place": {"columns": {"1": "animal"}}});
        let how = format!("in place: {url:.40}");
        claim(
            &how,
            |entry| {
                entry["next_row_id"] = json!(8);
                entry["rows_added"] = json!([rows]);
            },
            false,
        );
    }
}

/// A name that the format does not allow is refused, wherever an entry has it.
#[test]
fn branches_and_tags_with_names_that_are_none_are_refused() {
    let target = json!({"revision": LAST - 1, "hash": "0".repeat(64)});
    let long = "x".repeat(1 << 20);
    for name in ["..", "../../x", "a/b", "a b", "\0", "7", "r7", "-x", &long] {
        let how = format!("{name:.20}");
        let set = |kind: &str, target: &Value| match target {
            Value::Null => json!([{"kind": kind, "name": name}]),
            _ => json!([{"kind": kind, "name": name, "target": target}]),
        };
        claim(&how, |entry| entry["branch"] = json!(name), false);
        for kind in ["branch", "tag"] {
            claim(&how, |entry| entry["refs"] = set(kind, &target), false);
            claim(&how, |entry| entry["refs"] = set(kind, &Value::Null), false);
        }
    }
}

/// Names lead nowhere: whatever they are of, what is asked for is there or it is not.
#[test]
fn branches_and_tags_of_what_is_not_there_are_no_harm() {
    let corpus = Corpus::of_log();
    let last = format!("{TRAIN}/log/{LAST:020}.json");
    let (_, whole) = corpus.files(&last).remove(0);
    for (name, hash) in [("x", ""), ("main", ".."), ("gold", "main")] {
        let refs = json!([{"kind": "tag", "name": name}, {"kind": "branch", "name": name, "target": {"revision": u64::MAX, "hash": hash}}]);
        for (field, value) in [("branch", json!(name)), ("refs", refs)] {
            let mut entry: Value = serde_json::from_slice(&whole).unwrap();
            entry[field] = value;
            let project = corpus.project_with(&last, entry.to_string().as_bytes());
            let told = table_at(&project, "train", &[LAST]);
            assert!(!told.is_empty(), "an answer or an error for each question");
            drop(verified(&project));
        }
    }
}

#[test]
fn text_that_is_nested_or_endless_is_refused() {
    let corpus = Corpus::of_log();
    let deep = |open: &str, close: &str| {
        format!(
            "{{\"format\":2,\"x\":{}{}}}",
            open.repeat(200_000),
            close.repeat(200_000)
        )
    };
    for (how, entry) in [
        ("arrays", deep("[", "]").into_bytes()),
        ("objects", deep("{\"x\":", "}").into_bytes()),
        ("without an end", b"{\"format\":2,".repeat(100_000)),
        ("bytes", vec![0xff; 1 << 20]),
        ("nothing", Vec::new()),
        (
            "a number with many digits",
            [b"{\"format\":".to_vec(), vec![b'9'; 1 << 20], b"}".to_vec()].concat(),
        ),
    ] {
        check_last(&corpus, how, &entry, false);
    }
    let name = "zoo/aliases.yaml";
    let bomb = "A: &a [x,x,x,x,x,x,x,x,x]\nB: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nC: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nD: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nE: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nF: &f [*e,*e,*e,*e,*e,*e,*e,*e]\nG: [*f,*f,*f,*f,*f,*f,*f,*f]\n";
    for text in [
        "[".repeat(100_000),
        "{A: ".repeat(100_000),
        "A:\n ".repeat(10_000),
        bomb.to_owned(),
        "A: &a <A>\nA: *a".to_owned(),
        "? ".repeat(50_000),
        "- ".repeat(50_000),
    ] {
        let project = corpus.project_with(name, text.as_bytes());
        let err = block_on(project.aliases()).err().unwrap();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{text:.30}");
        assert!(format!("{err:#}").contains(name), "{err:#}");
    }
}

/// The last entry names a file of cells that is as its hash says, and hostile.
#[track_caller]
fn check_cells(how: &str, file: &[u8]) {
    let corpus = Corpus::of_log();
    let name = format!("edits/{}.parquet", blake3::hash(file).to_hex());
    put(&corpus.store, &format!("{TRAIN}/{name}"), file);
    let (_, whole) = corpus
        .files(&format!("{TRAIN}/log/{LAST:020}.json"))
        .remove(0);
    let mut entry: Value = serde_json::from_slice(&whole).unwrap();
    entry["cells_set"][0]["file"] = json!(name);
    entry["cells_set"][0]["bytes"] = json!(file.len());
    check_last(&corpus, how, entry.to_string().as_bytes(), false);
    let data = format!("data/{}.parquet", blake3::hash(file).to_hex());
    put(&corpus.store, &format!("{TRAIN}/{data}"), file);
    let mut entry: Value = serde_json::from_slice(&whole).unwrap();
    entry["next_row_id"] = json!(8);
    entry["rows_added"] =
        json!([{"file": data, "first_row_id": 7, "rows": 1, "bytes": file.len()}]);
    check_last(&corpus, how, entry.to_string().as_bytes(), false);
}

/// A decoder that believed these would make room for more than there is, or follow them until its
/// stack ends, and either ends the process.
#[test]
fn footers_that_claim_the_impossible_are_refused() {
    let parquet = |footer: &[u8]| {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [b"PAR1", footer, &length, b"PAR1"].concat()
    };
    let endless = [0xff, 0xff, 0xff, 0xff, 0x07];
    let root_of = |n: &[u8]| [&[0x15, 2, 0x19, 0x1c, 0x48, 1, b'r', 0x15][..], n, &[0]].concat();
    // One group in another, many times: a name, one child.
    let nested: Vec<u8> = [0x35, 2, 0x18, 1, b'g', 0x15, 2, 0].repeat(100_000);
    let columns = [
        &[
            0x15, 2, 0x19, 0xfc, 0xa1, 0x8d, 0x06, 0x48, 1, b'r', 0x15, 2, 0,
        ][..],
        &nested,
        &[0x16, 0, 0x19, 0x0c, 0],
    ]
    .concat();
    for (how, file) in [
        (
            "rows groups",
            parquet(&[&root_of(&[0])[..], &[0x16, 0, 0x19, 0xfc], &endless].concat()),
        ),
        (
            "columns",
            parquet(&[&[0x15, 2, 0x19, 0xfc], &endless[..]].concat()),
        ),
        (
            "children",
            parquet(
                &[
                    &root_of(&[0xfe, 0xff, 0xff, 0xff, 0x0f])[..],
                    &[0x16, 0, 0x19, 0x0c, 0],
                ]
                .concat(),
            ),
        ),
        ("columns in columns", parquet(&columns)),
        (
            "a long footer",
            [&b"PAR1"[..], &[0xff; 4], b"PAR1"].concat(),
        ),
        (
            "a footer as long as the file",
            [&b"PAR1"[..], &[8, 0, 0, 0], b"PAR1"].concat(),
        ),
        (
            "an encrypted footer",
            [&b"PAR1"[..], &[0; 16], &[16, 0, 0, 0], b"PARE"].concat(),
        ),
    ] {
        check_cells(how, &file);
    }
}

#[test]
fn bitmaps_that_claim_the_impossible_are_refused() {
    // Full containers of runs: few bytes, 2^32 ids in each of the bitmaps.
    let full = |n: u16| {
        let n_containers = u32::from(n) + 1;
        let mut bytes = ((u32::from(n) << 16) | 12_347).to_le_bytes().to_vec();
        bytes.extend(vec![0xff; n_containers.div_ceil(8) as usize]);
        (0..n_containers).for_each(|key| {
            bytes.extend(
                [
                    &u16::try_from(key).unwrap().to_le_bytes()[..],
                    &[0xff, 0xff],
                ]
                .concat(),
            )
        });
        if n_containers >= 4 {
            bytes.extend(vec![0; 4 * n_containers as usize]);
        }
        (0..n_containers).for_each(|_| bytes.extend([1, 0, 0, 0, 0xff, 0xff]));
        bytes
    };
    let of = |count: u64, bitmap: &[u8]| [&count.to_le_bytes()[..], &[0; 4], bitmap].concat();
    for (how, file, rows) in [
        ("many bitmaps", of(u64::MAX, &full(0)), 65_536),
        ("a full bitmap", of(1, &full(u16::MAX)), 1),
        ("a short one", of(1, &full(3)[..30]), 1),
        ("none, of many", of(u64::MAX, &[]), 0),
        ("an unknown cookie", of(1, &[7; 64]), 1),
        (
            "many containers",
            of(1, &[&12_346_u32.to_le_bytes()[..], &[0xff; 4]].concat()),
            1,
        ),
    ] {
        let corpus = Corpus::of_log();
        let name = format!("deletes/{}.bin", blake3::hash(&file).to_hex());
        put(&corpus.store, &format!("{TRAIN}/{name}"), &file);
        let (_, whole) = corpus
            .files(&format!("{TRAIN}/log/{LAST:020}.json"))
            .remove(0);
        let mut entry: Value = serde_json::from_slice(&whole).unwrap();
        entry["rows_dropped"] = json!({"file": name, "rows": rows, "bytes": file.len()});
        check_last(&corpus, how, entry.to_string().as_bytes(), false);
    }
}

/// A checkpoint with rows, columns and names to which no log leads is passed over, and told.
#[test]
fn checkpoints_that_no_log_leads_to_are_passed_over() {
    let corpus = Corpus::new();
    let newest = format!("{TRAIN}/checkpoints/newest.json");
    let (_, hint) = corpus.files(&newest).remove(0);
    let hint: Value = serde_json::from_slice(&hint).unwrap();
    let hinted = format!("{TRAIN}/{}", hint["file"].as_str().unwrap());
    let (_, whole) = corpus.files(&hinted).remove(0);
    let right = states(&opened(corpus.store.fork(), VERSION), "train", LAST - 1);
    let at = json!({"revision": 5, "hash": "0".repeat(64)});
    for (pointer, value) in [
        ("/next_row_id", json!(6)),
        ("/next_column_id", json!(10)),
        ("/states/0/next_row_id", json!(6)),
        ("/states/0/next_row_id", json!(8)),
        ("/states/0/next_column_id", json!(10)),
        ("/states/0/rows/1/file/first_row_id", json!(5)),
        ("/states/0/rows/0/file/rows", json!(7)),
        ("/states/0/rows/1/file/rows", json!(2)),
        ("/states/1/rows/1/file/rows", json!(1_u64 << 42)),
        ("/branches", json!({"main": at, "a/b": at})),
        ("/tags", json!({"7": at})),
    ] {
        let mut checkpoint: Value = serde_json::from_slice(&whole).unwrap();
        *checkpoint.pointer_mut(pointer).unwrap() = value.clone();
        let bytes = checkpoint.to_string();
        let hash = blake3::hash(bytes.as_bytes()).to_hex();
        let name = format!("checkpoints/{hash}.json");
        let store = corpus.store.fork();
        put(&store, &format!("{TRAIN}/{name}"), bytes.as_bytes());
        let hint = json!({"format": 2, "file": name}).to_string();
        put(&store, &newest, hint.as_bytes());
        let project = opened(store, VERSION);
        for (told, right) in states(&project, "train", LAST - 1).iter().zip(&right) {
            let (told, right) = (told.answer.as_ref(), right.answer.as_ref());
            assert_eq!(told.unwrap(), right.unwrap(), "{pointer} = {value}");
        }
        let report = block_on(project.verify(VerifyOptions::new())).unwrap();
        let found = report.findings.iter().find(|finding| finding.file == name);
        assert!(
            found.is_some_and(|finding| finding.what.contains("cannot be read")),
            "{pointer} = {value}: {found:?}"
        );
    }
}

/// A checkpoint that is as its hash says, and hostile: what it says may be used, but nothing breaks.
#[test]
fn checkpoints_that_claim_the_impossible_are_no_panic() {
    let corpus = Corpus::new();
    let newest = format!("{TRAIN}/checkpoints/newest.json");
    let (_, hint) = corpus.files(&newest).remove(0);
    let hint: Value = serde_json::from_slice(&hint).unwrap();
    let (_, whole) = corpus
        .files(&format!("{TRAIN}/{}", hint["file"].as_str().unwrap()))
        .remove(0);
    let block = |first: u64, entries: u64| json!([{"first": first, "entries": entries, "file": "checkpoints/x.parquet", "bytes": 1}]);
    for (pointer, value) in [
        ("/next", json!(u64::MAX)),
        // As when the end of the log was lost.
        ("/next", json!(1_u64 << 16)),
        ("/next", json!(1)),
        ("/next_row_id", json!(u64::MAX)),
        ("/branches/main/revision", json!(u64::MAX)),
        ("/branches/main/revision", json!(0)),
        ("/states", json!([])),
        ("/states/0/at/revision", json!(u64::MAX)),
        ("/states/0/schema", json!("/////////38=")),
        ("/states/0/next_row_id", json!(u64::MAX)),
        ("/states/0/rows/0/revision", json!(u64::MAX)),
        ("/states/0/rows/0/file/first_row_id", json!(u64::MAX)),
        ("/states/0/rows/0/file/rows", json!(u64::MAX)),
        ("/states/0/rows/0/file/file", json!("../../x")),
        ("/states/0/dropped/rows", json!(u64::MAX)),
        ("/states/0/cells/0/file/cells", json!(u64::MAX)),
        ("/states/0/cells/0/file/column", json!(i32::MIN)),
        ("/states/0/cells/0/revision", json!(u64::MAX)),
        ("/states/0/defaults/0/default", json!("/////////38=")),
        ("/earlier/0/file", json!(hint["file"])),
        ("/earlier/0/file", json!("/etc/passwd")),
        ("/blocks", block(0, u64::MAX)),
        ("/blocks", block(u64::MAX, u64::MAX)),
        ("/blocks", block(0, 1 << 42)),
    ] {
        let mut checkpoint: Value = serde_json::from_slice(&whole).unwrap();
        match pointer {
            "/blocks" => checkpoint["blocks"] = value.clone(),
            _ => *checkpoint.pointer_mut(pointer).unwrap() = value.clone(),
        }
        let bytes = checkpoint.to_string();
        let name = format!(
            "checkpoints/{}.json",
            blake3::hash(bytes.as_bytes()).to_hex()
        );
        let store = corpus.store.fork();
        put(&store, &format!("{TRAIN}/{name}"), bytes.as_bytes());
        put(
            &store,
            &newest,
            json!({"format": 2, "file": name}).to_string().as_bytes(),
        );
        let project = opened(store, VERSION);
        let asked = AssertUnwindSafe(|| {
            (
                table_at(&project, "train", &[0, 10, LAST]),
                verified(&project),
            )
        });
        drop(catch_unwind(asked).unwrap_or_else(|_panic| panic!("{pointer} = {value}: a panic")));
    }
}
