//! Golden files: what a released version of the format wrote is read for ever, and what is written
//! today has the form that its version has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::schema::printer::print_schema;
use tlc_core::object_store::ObjectStoreExt as _;
use tlc_core::{ScanOptions, block_on};

use crate::golden::{all, files, folder, on_disk, options, transcript};
use crate::support::{Ground, rows, table, text};

#[path = "../../examples/golden_files/project.rs"]
mod today;

/// The version that is written today.
const CURRENT: &str = "v4";

#[test]
fn tables_of_version_1_are_read() {
    let (_folder, project) = on_disk("v1");
    let table = block_on(project.table("train")).unwrap();
    let at = |revision: u64| rows(&block_on(table.at(revision)).unwrap());
    assert_eq!(at(0), "0:0:1.0:6f6e65 1:1:0.0:74776f 2:-:0.5:-");
    assert_eq!(
        at(1),
        "0:2:1.0:6f6e65:as found 1:1:-:74776f:as found 3:0:1.0:6f6e65:as found"
    );
    let log = block_on(table.log()).unwrap();
    assert_eq!(log[0].message, "a cow, and a change of every kind");
    assert_eq!(
        (log[0].cells, log[0].rows_added, log[0].rows_dropped),
        (2, 1, 1)
    );
    let diff = block_on(table.diff(0, 1)).unwrap();
    assert_eq!(
        (diff.cells.len(), diff.rows_added, diff.rows_dropped),
        (2, vec![3], vec![2])
    );
    let names = block_on(
        block_on(table.head())
            .unwrap()
            .read(ScanOptions::new().columns(["note"])),
    )
    .unwrap();
    assert_eq!(text(&names), "as found as found as found");
}

#[test]
fn runs_of_version_1_are_read() {
    let (_folder, project) = on_disk("v1");
    let record = block_on(project.run("lenet")).unwrap();
    assert_eq!(record.status.as_str(), "completed");
    assert_eq!(record.params["lr"], "0.1");
    assert_eq!(record.inputs[0].0.as_str(), "train");
    assert_eq!(record.last["loss"], 0.5);
    assert!(record.last["accuracy"].is_nan());
    let files = block_on(project.sample_files(&record.name)).unwrap();
    assert_eq!(
        (files.len(), files[0].epoch, files[0].stream.as_str()),
        (1, 1, "train")
    );
}

/// Everything that can be read of version 2 stands in a text beside its files, which was checked by
/// hand against what the example says that it does.
#[test]
fn version_2_is_read_completely() {
    read_completely("v2");
}

/// Version 3 likewise, with runs that were resumed, and segments of one that was killed.
#[test]
fn version_3_is_read_completely() {
    read_completely("v3");
    let (_folder, project) = on_disk("v3");
    let record = block_on(project.run("resumed")).unwrap();
    assert_eq!((record.status.as_str(), record.attempts), ("completed", 2));
    let counts = |run: &str| {
        let rows = block_on(project.scalars(&run.parse().unwrap())).unwrap();
        let steps: Vec<String> = rows
            .iter()
            .map(|batch| text(&batch.project(&[0, 1, 5]).unwrap()))
            .filter(|rows| !rows.is_empty())
            .collect();
        steps.join(" ")
    };
    assert_eq!(counts("resumed"), "loss:0:1 loss:1:1 loss:2:2 loss:3:2");
    assert_eq!(
        counts("killed"),
        "loss:0:1 accuracy:0:1 loss:1:1 accuracy:1:1 loss:2:1 accuracy:2:1"
    );
}

/// Version 4 likewise, with a run that says what it is made of, and what it wrote.
#[test]
fn version_4_is_read_completely() {
    read_completely("v4");
    let (_folder, project) = on_disk("v4");
    let patch = block_on(project.code_patch("made")).unwrap().unwrap();
    assert!(
        patch.starts_with("diff --git a/new.rs b/new.rs\n"),
        "{patch}"
    );
    let record = block_on(project.run("made")).unwrap();
    assert_eq!(record.code.unwrap().is_dirty, Some(true));
    assert_eq!(record.outputs.len(), 1);
}

fn read_completely(version: &str) {
    let (folder, project) = on_disk(version);
    let mut told = all(&project);
    check(version, &transcript(&told));
    // Without checkpoints the log says the same; only what they alone named belongs to nobody then.
    fs::remove_dir_all(folder.path().join("zoo/tables/train/checkpoints")).unwrap();
    let (_same, again) = reopened(folder);
    let mut without = all(&again);
    for told in [&mut told, &mut without] {
        told.retain(|told| told.asked != "verify");
    }
    assert_eq!(transcript(&without), transcript(&told));
    let report = block_on(again.verify(tlc_core::VerifyOptions::new())).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

fn reopened(folder: tempfile::TempDir) -> (tempfile::TempDir, tlc_core::Project) {
    let url = folder.path().to_str().unwrap();
    let root = block_on(tlc_core::Root::open_with(url, options(folder.path()))).unwrap();
    let project = root.project("zoo").unwrap();
    (folder, project)
}

/// Compares with the text of a version, line by line.
#[track_caller]
fn check(version: &str, found: &str) {
    let expected = fs::read_to_string(folder(version).with_extension("txt")).unwrap_or_default();
    if found == expected {
        return;
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{version}.txt"));
    fs::write(&path, found).unwrap();
    let differs = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    panic!("{} is not {version}.txt: {differs:#?}", path.display());
}

/// A checkpoint is what is opened, where there is one: entries that it has folded are not needed then.
#[test]
fn checkpoints_of_version_2_are_used() {
    let (folder, project) = on_disk("v2");
    let head = |project: &tlc_core::Project| {
        let head = block_on(async { project.table("train").await?.head().await });
        head.map(|head| rows(&head))
    };
    let expected = head(&project).unwrap();
    let train = folder.path().join("zoo/tables/train");
    fs::remove_file(train.join("log/00000000000000000004.json")).unwrap();
    let (folder, again) = reopened(folder);
    assert_eq!(head(&again).unwrap(), expected);
    fs::remove_dir_all(train.join("checkpoints")).unwrap();
    let (_folder, again) = reopened(folder);
    let err = head(&again).unwrap_err();
    assert!(
        format!("{err:#}").contains("00000000000000000004.json"),
        "{err:#}"
    );
}

/// Whoever changes a field, a type or a file must raise the version, and write its golden files.
#[test]
fn what_is_written_today_has_the_form_of_its_version() {
    let written = tempfile::tempdir().unwrap();
    today::write(&written.path().join("root")).unwrap();
    let form = |folder: &Path| -> BTreeSet<String> {
        files(folder)
            .iter()
            .flat_map(|(name, bytes)| form_of(name, bytes))
            .collect()
    };
    let (golden, today) = (form(&folder(CURRENT)), form(&written.path().join("root")));
    let gone: Vec<_> = golden.difference(&today).collect();
    let new: Vec<_> = today.difference(&golden).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "not as in {CURRENT}, so this is another version of the format\ngone: {gone:#?}\nnew: {new:#?}"
    );
}

/// What is fixed about a file: its kind, and the fields of a record or the columns of a Parquet file.
fn form_of(name: &str, bytes: &[u8]) -> Vec<String> {
    let kind = kind_of(name);
    let parts = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("json") => fields(&serde_json::from_slice(bytes).unwrap()),
        Some("parquet") => vec![columns(bytes)],
        _ => vec![String::new()],
    };
    parts
        .into_iter()
        .map(|part| format!("{kind}: {part}"))
        .collect()
}

/// The file's path without what differs from file to file.
fn kind_of(name: &str) -> String {
    let is_number =
        |text: &str| text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = name.split_inclusive(['/', '.', '-']);
    words
        .map(|word| {
            let (text, end) = word.split_at(word.trim_end_matches(['/', '.', '-']).len());
            let text = match text.len() {
                64 | 20 | 16 if is_number(text) => "#",
                _ => text,
            };
            format!("{text}{end}")
        })
        .collect()
}

/// The fields of a record with their types, at any depth. Events and references of several kinds
/// have their own.
fn fields(value: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::Object(object) => {
            let own = object
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let members = object.iter().flat_map(|(name, value)| {
                let inner = fields(value);
                inner
                    .into_iter()
                    .map(move |inner| format!("{own}.{name}{inner}"))
            });
            members.collect()
        }
        Value::Array(items) => {
            let items = items.iter().flat_map(fields);
            std::iter::once("[]".to_owned())
                .chain(items.map(|item| format!("[]{item}")))
                .collect()
        }
        Value::String(_) => vec![" text".to_owned()],
        Value::Number(_) => vec![" number".to_owned()],
        Value::Bool(_) => vec![" bool".to_owned()],
        Value::Null => vec![" null".to_owned()],
    }
}

/// The columns of a Parquet file, how they are compressed, and what its metadata holds.
fn columns(bytes: &[u8]) -> String {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).unwrap();
    let metadata = reader.metadata();
    let file = metadata.file_metadata();
    let mut text = Vec::new();
    print_schema(&mut text, file.schema());
    let text = String::from_utf8(text).unwrap();
    let keys = file.key_value_metadata().into_iter().flatten();
    let keys: Vec<String> = keys
        .map(|pair| match pair.key.as_str() {
            "tlc.format" => format!("tlc.format={:?}", pair.value),
            key => key.to_owned(),
        })
        .collect();
    let chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let compressed: BTreeSet<String> = chunks
        .map(|chunk| {
            let statistics = chunk.statistics().is_some();
            format!(
                "{:?} statistics {statistics} index {}",
                chunk.compression(),
                chunk.offset_index_offset().is_some()
            )
        })
        .collect();
    format!("{text}{keys:?} {compressed:?}")
}

/// A block needs more entries than golden files should be, so its form stands here.
#[test]
fn a_block_of_entries_has_the_form_that_the_document_says() {
    let ground = Ground::memory();
    let project = ground.project();
    let table = table(&project, "0:1");
    for number in 0..256 {
        block_on(table.create_tag(&format!("t{number}"), 0, "one more entry")).unwrap();
    }
    block_on(table.checkpoint()).unwrap();
    let read = |file: &str| {
        let path = project
            .root()
            .path()
            .clone()
            .join("zoo")
            .join("tables")
            .join("train");
        let path = file.split('/').fold(path, |path, part| path.join(part));
        block_on(async { project.root().store().get(&path).await?.bytes().await }).unwrap()
    };
    let json = |file: &str| serde_json::from_slice::<serde_json::Value>(&read(file)).unwrap();
    let newest = json("checkpoints/newest.json");
    let checkpoint = json(newest["file"].as_str().unwrap());
    let block = &checkpoint["blocks"][0];
    assert_eq!(
        (&block["first"], &block["entries"]),
        (&0.into(), &256.into())
    );
    assert_eq!(
        fields(&checkpoint["blocks"]),
        [
            "[]",
            "[].bytes number",
            "[].entries number",
            "[].file text",
            "[].first number"
        ]
    );
    let bytes = read(block["file"].as_str().unwrap());
    assert_eq!(block["bytes"], bytes.len());
    let form = columns(&bytes);
    assert!(form.contains("REQUIRED BYTE_ARRAY entry;"), "{form}");
}
