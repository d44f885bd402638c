//! Bad input: an error of the right kind that names the thing, and what was there before is intact.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::{Error, ErrorKind, Project, Result, Root, ScanOptions, block_on, import, schema};

use crate::support::{animals, head, project, project_on_disk, reader, table};

#[track_caller]
fn check<T>(outcome: Result<T>, kind: ErrorKind, named: &str) {
    let err: Error = outcome.err().unwrap();
    assert_eq!(err.kind(), kind, "{err:?}");
    assert!(
        format!("{err:#}").contains(named),
        "{err:#} does not name {named}"
    );
}

fn ints(name: &str) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap()
}

#[test]
fn names_that_are_paths_are_refused() {
    let project = project();
    for bad in ["a/b", "..", "../x", "", "a b", ".x"] {
        check(
            block_on(project.create_table(bad, reader(ints("n")), "x")),
            ErrorKind::Invalid,
            bad,
        );
        check(block_on(project.table(bad)), ErrorKind::Invalid, bad);
        check(block_on(project.run(bad)), ErrorKind::Invalid, bad);
        check(project.root().project(bad), ErrorKind::Invalid, bad);
        check(project.start_run(bad), ErrorKind::Invalid, bad);
    }
}

#[test]
fn schemas_that_no_table_can_have_are_refused() {
    let project = project();
    let create = |batch: RecordBatch| block_on(project.create_table("t", reader(batch), "x"));
    check(create(ints("_rowid")), ErrorKind::Invalid, "_rowid");
    check(create(ints("")), ErrorKind::Invalid, "\"\"");
    let field = schema::with_role(Field::new("n", DataType::Int32, true), tlc_core::Role::Text);
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![field])),
        ints("n").columns().to_vec(),
    )
    .unwrap();
    check(create(batch), ErrorKind::Invalid, "\"n\"");
    check(
        create(RecordBatch::new_empty(Arc::new(Schema::empty()))),
        ErrorKind::Invalid,
        "column",
    );
    assert!(block_on(project.tables()).unwrap().is_empty());
}

#[test]
fn rows_and_cells_that_do_not_fit_are_refused_and_nothing_changes() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    let snapshot = block_on(table.head()).unwrap();
    let mut patch = snapshot.patch();
    check(patch.append(&ints("animal")), ErrorKind::Invalid, "weight");
    check(patch.append(&ints("colour")), ErrorKind::Invalid, "colour");
    check(patch.set(0, "colour", 1), ErrorKind::NotFound, "colour");
    check(
        patch.set(0, "animal", "unicorn"),
        ErrorKind::Invalid,
        "unicorn",
    );
    check(
        patch.set(0, "animal", i64::MAX),
        ErrorKind::Invalid,
        "animal",
    );
    patch.set(7, "animal", 1).unwrap();
    check(
        block_on(table.commit(&patch, "x")),
        ErrorKind::NotFound,
        "row 7",
    );
    let mut patch = snapshot.patch();
    patch.drop_rows(&[2]);
    check(
        block_on(table.commit(&patch, "x")),
        ErrorKind::NotFound,
        "row 2",
    );
    let mut patch = snapshot.patch();
    patch.set(1, "animal", 2).unwrap();
    patch.drop_rows(&[1]);
    check(
        block_on(table.commit(&patch, "x")),
        ErrorKind::Invalid,
        "animal[1]",
    );
    assert_eq!(head(&table), "0:0:1.0 1:1:1.0");
    assert_eq!(block_on(table.log()).unwrap().len(), 1);
}

/// A project on disk with a table of two revisions, and the table's folder.
fn two_revisions() -> (tempfile::TempDir, Project, PathBuf) {
    let (folder, project) = project_on_disk();
    let table = table(&project, "0:1 1:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(0, "animal", 2).unwrap();
    patch.drop_rows(&[1]);
    block_on(table.commit(&patch, "second")).unwrap();
    let path = folder.path().join("zoo/tables/train");
    (folder, project, path)
}

/// The head of `train` through a new handle, as the next command would read it.
fn read(project: &Project) -> Result<RecordBatch> {
    block_on(async {
        project
            .table("train")
            .await?
            .head()
            .await?
            .read(ScanOptions::new())
            .await
    })
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[test]
fn a_log_entry_of_a_newer_format_is_refused_and_left_alone() {
    let (_folder, project, table) = two_revisions();
    let entry = table.join("log/00000000000000000002.json");
    let newer = br#"{"format": 99, "revision": 2, "novelty": "?"}"#;
    fs::write(&entry, newer).unwrap();
    check(read(&project), ErrorKind::Invalid, "version 99");
    let handle = block_on(async { project.table("train").await });
    check(handle, ErrorKind::Invalid, "revision 2 of table train");
    assert_eq!(fs::read(&entry).unwrap(), newer);
}

#[test]
fn damaged_files_are_corrupt_and_named() {
    for (file, named) in [
        ("log/00000000000000000001.json", "revision 1"),
        ("log/00000000000000000000.json", "revision 0"),
        ("data", "data/"),
        ("edits", "edits/"),
        ("deletes", "deletes/"),
    ] {
        let (_folder, project, table) = two_revisions();
        assert!(read(&project).is_ok());
        let path = table.join(file);
        let path = if path.is_dir() {
            only_file(&path)
        } else {
            path
        };
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            check(read(&project), ErrorKind::Corrupt, named);
        }
        fs::write(&path, b"something else entirely, and longer than a footer").unwrap();
        check(read(&project), ErrorKind::Corrupt, named);
        fs::write(&path, &whole).unwrap();
        assert!(
            read(&project).is_ok(),
            "{file} is put back, and all is well"
        );
    }
}

#[test]
fn no_flipped_bit_of_a_data_file_is_a_panic() {
    let (_folder, project, table) = two_revisions();
    for folder in ["data", "edits", "deletes", "log"] {
        let path = match folder {
            "log" => table.join("log/00000000000000000001.json"),
            _ => only_file(&table.join(folder)),
        };
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 150 + 1) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            fs::write(&path, &flipped).unwrap();
            // Either an error or a value: which one depends on what the bit was part of.
            let _outcome = read(&project);
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(read(&project).is_ok());
}

#[test]
fn a_file_that_the_log_names_but_nobody_has_is_corrupt() {
    for folder in ["edits", "deletes"] {
        let (_folder, project, table) = two_revisions();
        fs::remove_file(only_file(&table.join(folder))).unwrap();
        check(read(&project), ErrorKind::Corrupt, folder);
    }
    let (_folder, project, table) = two_revisions();
    fs::remove_file(table.join("log/00000000000000000000.json")).unwrap();
    let outcome = block_on(project.table("train"));
    check(outcome, ErrorKind::Corrupt, "00000000000000000000.json");
}

#[test]
fn an_entry_cannot_name_a_file_outside_its_table() {
    let (folder, project, table) = two_revisions();
    let path = table.join("log/00000000000000000001.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(folder.path().join("secret.parquet"), "x").unwrap();
    for name in [
        "../../../secret.parquet",
        "edits/../../x",
        "/etc/passwd",
        "edits/.hidden",
        "log/x",
    ] {
        let start = text.find("edits/").unwrap();
        let end = start + text[start..].find('"').unwrap();
        fs::write(&path, format!("{}{name}{}", &text[..start], &text[end..])).unwrap();
        check(read(&project), ErrorKind::Corrupt, name);
    }
}

#[test]
fn foreign_and_cut_off_sources_are_refused_by_name() {
    let (folder, project) = project_on_disk();
    let path = folder.path().join("source.parquet");
    check(
        import::parquet(&path).map(drop),
        ErrorKind::NotFound,
        "source.parquet",
    );
    fs::write(&path, "PAR1 but not really PAR1").unwrap();
    check(
        import::parquet(&path).map(drop),
        ErrorKind::Corrupt,
        "source.parquet",
    );
    let url = path.to_str().unwrap();
    check(
        block_on(project.create_table_in_place("t", &[url], "x")),
        ErrorKind::Corrupt,
        "source.parquet",
    );
    crate::tables::write_parquet(&path, &animals("0:1 1:1"));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check(
        import::parquet(&path).map(drop),
        ErrorKind::Corrupt,
        "source.parquet",
    );
    check(
        import::parquet(folder.path()).map(drop),
        ErrorKind::Invalid,
        "folder",
    );
    let csv = folder.path().join("rows.csv");
    fs::write(&csv, "a,b\n1,2\n3\n").unwrap();
    let reader = import::csv(&csv);
    let outcome = reader.and_then(|reader| block_on(project.create_table("t", reader, "x")));
    check(outcome, ErrorKind::Invalid, "");
    assert!(block_on(project.tables()).unwrap().is_empty());
}

#[test]
fn roots_that_cannot_be_are_refused_by_name() {
    check(
        block_on(Root::open("ftp://host/x")),
        ErrorKind::Invalid,
        "ftp://host/x",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a file, not a folder").unwrap();
    let below_file = file.join("root");
    let project = block_on(Project::open(below_file.to_str().unwrap(), "zoo")).unwrap();
    let outcome = block_on(project.create_table("train", reader(animals("0:1")), "x"));
    check(outcome, ErrorKind::Unavailable, "file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file, not a folder");
}

#[test]
fn a_full_disk_is_unavailable_and_the_table_stays_as_it_was() {
    // A device that is always full stands in for the disk; where there is none, nothing is to test.
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let (_folder, project, table_folder) = two_revisions();
    let before = read(&project).unwrap();
    let edits = table_folder.join("edits");
    fs::remove_dir_all(table_folder.join("kept")).unwrap_or_default();
    fs::rename(&edits, table_folder.join("kept")).unwrap();
    std::os::unix::fs::symlink(full, &edits).unwrap();
    let table = block_on(project.table("train")).unwrap();
    let outcome = block_on(async {
        let mut patch = table.head().await?.patch();
        patch.set(0, "weight", 0.5)?;
        table.commit(&patch, "no room").await
    });
    check(outcome, ErrorKind::Unavailable, "edits");
    fs::remove_file(&edits).unwrap();
    fs::rename(table_folder.join("kept"), &edits).unwrap();
    assert_eq!(read(&project).unwrap(), before);
}
