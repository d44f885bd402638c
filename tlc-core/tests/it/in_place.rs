//! Tables of Parquet files that stay where they are: folders of them, and what is said when one is
//! no longer what it was.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tlc_core::arrow::array::RecordBatch;
use tlc_core::{Error, ErrorKind, Project, Result, ScanOptions, Snapshot, block_on};

use crate::support::{Ground, animals, head, rows};
use crate::tables::write_parquet;

/// A project on disk, or where `TLC_TEST_STORE` says, and a folder `source` with a file for each of `files`.
struct Site {
    folder: tempfile::TempDir,
    ground: Ground,
    project: Project,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let ground = Ground::chosen_or(Ground::disk);
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            project: ground.project(),
            ground,
        };
        for (name, rows) in files {
            site.write(name, &animals(rows));
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }

    fn write(&self, name: &str, batch: &RecordBatch) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_parquet(&path, batch);
    }

    fn register(&self, name: &str, sources: &[&str]) -> Result<()> {
        let paths = sources.iter().map(|source| self.path(source));
        let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        block_on(self.project.create_table_in_place(name, &paths, "in place")).map(drop)
    }

    /// The table as another process would open it.
    fn opened(&self, name: &str) -> Snapshot {
        let project = self.ground.project();
        block_on(async { project.table(name).await?.head().await }).unwrap()
    }

    fn read(&self, name: &str) -> Result<RecordBatch> {
        block_on(self.opened(name).read(ScanOptions::new()))
    }

    /// What is said of the table after `change` to the only file of it, which is `a.parquet`.
    #[track_caller]
    fn check_changed(change: impl Fn(&Path), kind: ErrorKind, says: &str) {
        let site = Self::new(&[("a.parquet", "0:1 1:1 2:0.5")]);
        site.register("t", &["a.parquet"]).unwrap();
        site.read("t").unwrap();
        change(&site.path("a.parquet"));
        check_err(site.read("t").map(drop), kind, &["a.parquet", says]);
    }
}

#[track_caller]
fn check_err(outcome: Result<()>, kind: ErrorKind, parts: &[&str]) {
    let err: Error = outcome.unwrap_err();
    let text = format!("{err:#}");
    assert_eq!(err.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn a_folder_is_all_its_parquet_files_by_path() {
    let files = [
        ("b.parquet", "1:1"),
        ("a/2.parquet", "0:2"),
        ("a/1.parquet", "0:1 2:1"),
        ("c d%.parquet", "2:9"),
        (".hidden.parquet", "2:0"),
        ("_tmp/x.parquet", "2:0"),
    ];
    let site = Site::new(&files);
    fs::write(site.path("notes.txt"), "not rows").unwrap();
    for (name, source) in [("with_slash", "./"), ("without", "")] {
        site.register(name, &[source]).unwrap();
        let table = block_on(site.project.table(name)).unwrap();
        assert_eq!(head(&table), "0:0:1.0 1:2:1.0 2:0:2.0 3:1:1.0 4:2:9.0");
    }
    site.register("mixed", &["b.parquet", "a"]).unwrap();
    assert_eq!(
        rows(&site.opened("mixed")),
        "0:1:1.0 1:0:1.0 2:2:1.0 3:0:2.0"
    );
}

#[test]
fn what_is_no_file_and_no_folder_of_them_is_named() {
    let site = Site::new(&[("a.parquet", "0:1")]);
    fs::create_dir(site.path("empty")).unwrap();
    for source in ["absent.parquet", "empty", "absent/"] {
        let name = source.trim_end_matches('/');
        check_err(site.register("t", &[source]), ErrorKind::NotFound, &[name]);
    }
    check_err(
        site.register("t", &[]),
        ErrorKind::Invalid,
        &["at least one"],
    );
    assert!(block_on(site.project.tables()).unwrap().is_empty());
}

#[test]
fn a_file_with_other_columns_is_named_with_the_column() {
    let site = Site::new(&[("a.parquet", "0:1"), ("b.parquet", "1:1")]);
    let other = animals("0:1").project(&[0]).unwrap();
    site.write("c.parquet", &other);
    let parts = ["c.parquet", "a.parquet", "no column \"weight\""];
    check_err(site.register("t", &[""]), ErrorKind::Invalid, &parts);
    fs::write(site.path("b.parquet"), "PAR1 and nothing more").unwrap();
    check_err(
        site.register("t", &[""]),
        ErrorKind::Corrupt,
        &["b.parquet"],
    );
}

#[test]
fn a_thousand_files_are_one_table() {
    let site = Site::new(&[("0000.parquet", "0:1 1:2 2:3")]);
    for number in 1..1_000 {
        fs::copy(
            site.path("0000.parquet"),
            site.path(&format!("{number:04}.parquet")),
        )
        .unwrap();
    }
    site.register("t", &[""]).unwrap();
    let snapshot = site.opened("t");
    assert_eq!(snapshot.n_rows(), 3_000);
    let taken = block_on(snapshot.take(&[2_999, 0], &["weight"])).unwrap();
    assert_eq!(crate::support::text(&taken), "3.0 1.0");
}

#[test]
fn a_file_that_changed_vanished_or_was_cut_off_is_named() {
    let rewrite = |rows: &'static str| move |path: &Path| write_parquet(path, &animals(rows));
    // Of the same size, and with as many rows: only the footer tells.
    Site::check_changed(rewrite("0:1 1:1 2:0.25"), ErrorKind::Corrupt, "changed");
    Site::check_changed(rewrite("0:1 1:1"), ErrorKind::Corrupt, "changed");
    let cut = |path: &Path| {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() - 9]).unwrap();
    };
    Site::check_changed(cut, ErrorKind::Corrupt, "changed");
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    Site::check_changed(remove, ErrorKind::NotFound, "is gone");
}

#[test]
fn a_file_that_was_copied_or_touched_is_the_same_file() {
    let site = Site::new(&[("a.parquet", "0:1 1:1")]);
    site.register("t", &["a.parquet"]).unwrap();
    let (path, copy) = (site.path("a.parquet"), site.path("copy"));
    fs::copy(&path, &copy).unwrap();
    fs::remove_file(&path).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert_eq!(rows(&site.opened("t")), "0:0:1.0 1:1:1.0");
    touch(&path);
    assert_eq!(rows(&site.opened("t")), "0:0:1.0 1:1:1.0");
}

#[test]
fn a_file_that_changes_while_the_table_is_open_is_named_and_not_read() {
    let site = Site::new(&[("a.parquet", "0:1 1:1 2:0.5")]);
    site.register("t", &["a.parquet"]).unwrap();
    let snapshot = site.opened("t");
    assert_eq!(rows(&snapshot), "0:0:1.0 1:1:1.0 2:2:0.5");
    let path = site.path("a.parquet");
    write_parquet(&path, &animals("1:1 1:1 2:0.25"));
    touch(&path);
    let read = block_on(snapshot.read(ScanOptions::new())).map(drop);
    check_err(read, ErrorKind::Corrupt, &["a.parquet", "changed"]);
    let taken = block_on(snapshot.take(&[1], &["weight"])).map(drop);
    check_err(taken, ErrorKind::Corrupt, &["a.parquet", "changed"]);
}

/// The same in a bucket, where files have tags of their store.
#[cfg(any(feature = "aws", feature = "azure"))]
mod in_a_bucket {
    use tlc_core::object_store::path::Path;
    use tlc_core::object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload};

    use super::*;

    #[test]
    #[cfg(feature = "aws")]
    fn on_s3() {
        a_changed_object_is_named(&Ground::s3());
    }

    #[test]
    #[cfg(feature = "azure")]
    fn on_azure() {
        a_changed_object_is_named(&Ground::azure());
    }

    fn a_changed_object_is_named(ground: &Ground) {
        let scratch = tempfile::tempdir().unwrap();
        let root = ground.root();
        let source = root.path().clone().join("source");
        let put = |name: &str, rows: &str| {
            let file = scratch.path().join("scratch.parquet");
            write_parquet(&file, &animals(rows));
            let bytes = PutPayload::from(fs::read(&file).unwrap());
            let path: Path = source.clone().join(name);
            block_on(
                root.store()
                    .put_opts(&path, bytes, PutMode::Overwrite.into()),
            )
            .unwrap();
        };
        put("b c.parquet", "1:1 2:0.5");
        put("a.parquet", "0:1");
        let url = format!("{}/source/", root.url());
        let project = ground.project();
        block_on(project.create_table_in_place("t", &[&url], "in place")).unwrap();
        let opened = || block_on(async { ground.project().table("t").await?.head().await });
        let open = opened().unwrap();
        assert_eq!(rows(&open), "0:0:1.0 1:1:1.0 2:2:0.5");
        put("b c.parquet", "1:1 2:0.25");
        for snapshot in [open, opened().unwrap()] {
            let read = block_on(snapshot.read(ScanOptions::new())).map(drop);
            check_err(read, ErrorKind::Corrupt, &["b%20c.parquet", "changed"]);
        }
        block_on(root.store().delete(&source.clone().join("a.parquet"))).unwrap();
        let read = block_on(opened().unwrap().read(ScanOptions::new())).map(drop);
        check_err(read, ErrorKind::NotFound, &["a.parquet", "is gone"]);
    }
}

/// Gives the file another time of change, as a file system with coarse times may not.
fn touch(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(7);
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}
