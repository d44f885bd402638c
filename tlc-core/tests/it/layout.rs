//! What lies in a root is what `docs/format.md` says: all files that there are, and all that it speaks of.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt as _;
use serde_json::Value;
use tlc_core::artifact::AliasOptions;
use tlc_core::object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use tlc_core::{
    Code, CommitOptions, GcOptions, Keep, Merged, Patch, Project, Provenance, PutOptions,
    Resolution, RunOptions, Table, block_on, schema,
};

use crate::support::{animals, project, table};

const FORMAT: &str = include_str!("../../../docs/format.md");

/// The text below a heading, up to the next of its level.
fn section(heading: &str) -> &'static str {
    let (_, text) = FORMAT.split_once(&format!("\n{heading}\n")).unwrap();
    let level = heading.split(' ').next().unwrap();
    text.split(&format!("\n{level} ")).next().unwrap()
}

/// The files that the layout names: paths in a root with words in angle brackets.
fn patterns() -> Vec<String> {
    let drawn = section("## Layout").split("```").nth(1).unwrap();
    let mut folders: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();
    for line in drawn.lines().skip(1) {
        let indent = line.len() - line.trim_start().len();
        let name = line.split_whitespace().next().unwrap();
        folders.retain(|(folder_indent, _)| *folder_indent < indent);
        let folder = folders.last().map_or("", |(_, folder)| folder.as_str());
        let path = format!("{folder}{name}");
        match path.ends_with('/') {
            true => folders.push((indent, path)),
            false => found.push(path.trim_start_matches("<root>/").to_owned()),
        }
    }
    found
}

fn matches(pattern: &str, path: &str) -> bool {
    let (patterns, parts) = (pattern.split('/'), path.split('/'));
    patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| is_name(pattern, part))
}

/// Whether a part of a path is what a pattern such as `<writer>-<n>.parquet` says.
fn is_name(pattern: &str, part: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else {
        return pattern == part;
    };
    let (what, after) = rest.split_once('>').unwrap();
    let Some(part) = part.strip_prefix(before) else {
        return false;
    };
    (1..=part.len()).any(|end| {
        let is_it = part.is_char_boundary(end) && is_a(what, &part[..end]);
        is_it && is_name(after, &part[end..])
    })
}

fn is_a(what: &str, text: &str) -> bool {
    let is_hex = |text: &str, n: usize| {
        let is_digit = |c| matches!(c, '0'..='9' | 'a'..='f');
        text.len() == n && text.chars().all(is_digit)
    };
    match what {
        "number" => text.len() == 20 && text.chars().all(|c| c.is_ascii_digit()),
        "blake3" => match text.split_once('.') {
            Some((hash, id)) => is_hex(hash, 64) && is_hex(id, 32),
            None => is_hex(text, 64),
        },
        "n" | "attempt" => text.chars().all(|c| c.is_ascii_digit()),
        "epoch" => text.parse::<i64>().is_ok(),
        "writer" => is_hex(text, text.len()),
        "project" | "table" | "run" | "stream" | "artifact" => text == "zoo" || text == "train",
        other => panic!("the layout has <{other}>, which this test does not know"),
    }
}

fn commit(table: &Table, branch: &str, change: impl FnOnce(&mut Patch)) -> u64 {
    let mut patch = block_on(table.branch(branch)).unwrap().patch();
    change(&mut patch);
    let options = CommitOptions::new("a change").branch(branch);
    block_on(table.commit(&patch, options)).unwrap().revision.0
}

/// A table of a thousand revisions and some more, in which all happens that an entry can say.
fn thousand(project: &Project) -> Table {
    let table = table(project, "0:1 1:1 2:1 0:1");
    let undecided = Resolution::new();
    for n in 0..1_000_u16 {
        commit(&table, "main", |patch| {
            patch.set(u64::from(n % 4), "weight", f32::from(n)).unwrap();
        });
        match n {
            100 => {
                block_on(table.create_branch("side", 50, "a branch")).unwrap();
                commit(&table, "side", |patch| patch.set(1, "animal", 2).unwrap());
            }
            200 => {
                let theirs = block_on(table.resolve("side")).unwrap();
                let merged = table.merge(theirs, &undecided, "merge");
                assert!(matches!(block_on(merged).unwrap(), Merged::Committed(_)));
                block_on(table.create_tag("gold", theirs, "a tag")).unwrap();
                block_on(table.drop_branch("side", "done")).unwrap();
            }
            300 => drop(commit(&table, "main", |patch| {
                patch.append(&animals("2:7 2:8")).unwrap();
            })),
            400 => {
                let dropping = commit(&table, "main", |patch| patch.drop_rows(&[4]));
                let undone = table.revert(dropping, dropping, &undecided, "back");
                assert!(matches!(block_on(undone).unwrap(), Merged::Committed(_)));
                commit(&table, "main", |patch| patch.drop_rows(&[5]));
            }
            500 => drop(commit(&table, "main", |patch| {
                patch.add_column(schema::text("note"), "x").unwrap();
            })),
            600 => drop(commit(&table, "main", |patch| {
                patch.rename_column("note", "remark").unwrap();
            })),
            700 => drop(block_on(table.compact("smaller")).unwrap()),
            _ => {}
        }
    }
    block_on(project.root().finish_background());
    table
}

/// All files of the root by their paths in it.
fn files(project: &Project) -> BTreeMap<String, Bytes> {
    let root = project.root();
    let all: Vec<ObjectMeta> =
        block_on(root.store().list(Some(root.path())).try_collect()).unwrap();
    let read = |file: ObjectMeta| {
        let bytes = block_on(async { root.store().get(&file.location).await?.bytes().await });
        let path = file.location.as_ref();
        let path = path.trim_start_matches(root.path().as_ref());
        (path.trim_start_matches('/').to_owned(), bytes.unwrap())
    };
    all.into_iter().map(read).collect()
}

fn with_all() -> Project {
    let project = project();
    let table = thousand(&project);
    block_on(project.write_aliases_file("ZOO: /data")).unwrap();
    let made_of = Provenance {
        code: Some(Code::default()),
        ..Provenance::default()
    };
    let options = RunOptions::from("zoo").provenance(made_of, Some("--- a\n".to_owned()));
    let run = project.start_run(options).unwrap();
    run.log(1, &[("loss", 1.0)]);
    run.text(1, "note", "begun");
    run.histogram(1, "weights", &[0.0_f32, 1.0]);
    run.file(1, "sound", vec![1, 2], "audio/wav").unwrap();
    let head = block_on(table.head()).unwrap();
    let loader = tlc_core::Loader::new(&head).batch_size(4);
    let loader = loader.run(&run, "train").unwrap();
    for batch in loader.epoch(0) {
        let batch = batch.unwrap();
        let seen = batch.record.project(&[1]).unwrap();
        run.samples(&batch.rows, &seen).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("model"), "weights").unwrap();
    let options = PutOptions::new("a folder").alias("best");
    run.put_artifact("zoo", folder.path(), options).unwrap();
    let artifact = block_on(project.artifact("zoo")).unwrap();
    block_on(artifact.set_alias("prod", 1, AliasOptions::new())).unwrap();
    run.finish().unwrap();
    // Far later than any file: the clock of the store is the real one.
    let century = std::time::Duration::from_secs(100 * 365 * 86_400);
    project.root().env().advance(century);
    let garbage = table.gc(GcOptions::new().keep(Keep::Newest(900)).delete());
    assert!(!block_on(garbage).unwrap().given_up.is_empty());
    project
}

#[test]
fn each_file_is_one_that_the_layout_names_and_each_that_it_names_is_there() {
    let (patterns, files) = (patterns(), files(&with_all()));
    assert!(patterns.len() > 10, "{patterns:?}");
    let mut seen = BTreeSet::new();
    for path in files.keys() {
        let fits: Vec<&String> = patterns.iter().filter(|p| matches(p, path)).collect();
        let [pattern] = fits[..] else {
            panic!("{path} is named by {fits:?}");
        };
        seen.insert(pattern.as_str());
    }
    // Memory needs no trial of whether it creates an object once, a heartbeat ends with its run, and one run is not worth a pack.
    let is_optional = |pattern: &str| {
        let seldom = ["heartbeat", "cache/runs.pack"];
        pattern.starts_with(".tlc/") || seldom.iter().any(|end| pattern.ends_with(end))
    };
    let missing = patterns.iter().filter(|p| !seen.contains(p.as_str()));
    let missing: Vec<&String> = missing.filter(|p| !is_optional(p)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn files_are_named_by_their_hash_and_by_the_log_or_a_checkpoint() {
    let files = files(&with_all());
    let records: Vec<&Bytes> = files
        .iter()
        .filter(|(path, _)| path.ends_with(".json"))
        .map(|(_, bytes)| bytes)
        .collect();
    let records: Vec<&str> = records
        .iter()
        .map(|b| std::str::from_utf8(b).unwrap())
        .collect();
    let records = records.concat();
    for (path, bytes) in &files {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let Some(folder) = folder.strip_prefix("zoo/tables/train/") else {
            continue;
        };
        let is_hint = folder == "checkpoints" && name.len() < 64;
        if folder != "log" && !is_hint {
            let hash = blake3::hash(bytes).to_hex();
            assert_eq!(&name[..64], hash.as_str(), "{path}");
            assert!(
                records.contains(&format!("{folder}/{name}")),
                "{path}: unnamed"
            );
        }
    }
}

#[test]
fn entries_are_numbered_without_gaps_and_say_only_what_is_described() {
    let files = files(&with_all());
    let log = "zoo/tables/train/log/";
    let numbers = files.keys().filter_map(|path| path.strip_prefix(log));
    let expected: Vec<String> = (0..numbers.clone().count())
        .map(|n| format!("{n:020}.json"))
        .collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected);
    assert!(expected.len() > 1_000);
    let words = described(section("## Logs")).chain(described(section("## Tables")));
    let words: BTreeSet<&str> = words.collect();
    let mut seen = BTreeSet::new();
    for (path, bytes) in files {
        if path.starts_with("zoo/tables/") && path.ends_with(".json") {
            keys(&serde_json::from_slice(&bytes).unwrap(), &mut seen);
        }
    }
    let undescribed: Vec<&String> = seen
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
    for word in [
        "rows_restored",
        "columns_added",
        "compacted",
        "left_behind",
        "refs",
        "blocks",
    ] {
        assert!(seen.contains(word), "no entry and no checkpoint has {word}");
    }
}

#[test]
fn what_is_stored_of_artifacts_is_described() {
    let words: BTreeSet<&str> = described(section("## Artifacts")).collect();
    let mut seen = BTreeSet::new();
    for (path, bytes) in files(&with_all()) {
        if path.starts_with("zoo/artifacts/") && path.ends_with(".json") {
            keys(&serde_json::from_slice(&bytes).unwrap(), &mut seen);
        }
        if let Some(chunk) = path.strip_prefix("zoo/chunks/") {
            assert_eq!(chunk, blake3::hash(&bytes).to_hex().as_str());
        }
    }
    let undescribed: Vec<&String> = seen
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
    for word in ["alias", "aliases", "run", "empty_folders", "chunks", "cut"] {
        assert!(seen.contains(word), "nothing says {word}");
    }
}

/// The words in backquotes of a text, and the keys of its JSON.
fn described(text: &'static str) -> impl Iterator<Item = &'static str> {
    let marks = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.flat_map(move |quoted| quoted.split(marks))
}

/// The keys of the objects in a value.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                // A map by name or by number has no words for keys.
                if !key.chars().all(|c| c.is_ascii_digit()) && key != "main" && key != "gold" {
                    found.insert(key.clone());
                }
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}
