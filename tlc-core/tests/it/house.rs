//! Keeping the house: a compaction reads as before, verify tells all that is wrong and nothing else,
//! and gc takes only what nobody needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use tlc_core::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tlc_core::arrow::datatypes::Schema;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{
    self, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    BlameOptions, Env, Error, ErrorKind, GcOptions, Keep, Merged, Project, Report, Resolution,
    Result, Root, RootOptions, ScanOptions, Severity, Snapshot, Table, VerifyOptions, block_on,
    schema,
};

use crate::support::{animals, head, project, project_on_disk, project_over, reader, rows, table};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A commit of whatever `change` does to the head.
fn commit(table: &Table, change: impl FnOnce(&mut tlc_core::Patch)) -> u64 {
    let mut patch = block_on(table.head()).unwrap().patch();
    change(&mut patch);
    block_on(table.commit(&patch, "a change"))
        .unwrap()
        .revision
        .0
}

/// A table with edits, dropped and added rows and a new column: revisions 0 to 4.
fn busy(project: &Project) -> Table {
    let table = table(project, "0:1 1:1 2:1 0:1 1:1");
    commit(&table, |p| p.set(0, "animal", 2).unwrap());
    commit(&table, |p| p.drop_rows(&[1, 3]));
    commit(&table, |p| p.append(&animals("2:7 2:8")).unwrap());
    commit(&table, |p| {
        p.add_column(schema::text("note"), "x").unwrap();
        p.set(5, "note", "y").unwrap();
    });
    table
}

pub(crate) fn fresh(project: &Project) -> Project {
    project_over(project, |store| store)
}

#[track_caller]
pub(crate) fn clean(project: &Project) -> Report {
    let report = block_on(project.verify(VerifyOptions::new())).unwrap();
    assert!(!report.is_damaged(), "{:#?}", report.findings);
    report
}

fn compact(table: &Table) -> Result<u64> {
    block_on(table.compact("smaller")).map(|done| done.revision.0)
}

fn merged(done: Result<Merged>) -> Result<u64> {
    match done? {
        Merged::Committed(done) => Ok(done.revision.0),
        Merged::Conflicts(conflicts) => Err(Error::invalid(format!("{conflicts:?}"))),
    }
}

/// Everything a reader can ask of a snapshot.
fn all(snapshot: &Snapshot) -> String {
    let ids = block_on(snapshot.row_ids()).unwrap();
    let names: Vec<&str> = snapshot
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    let taken = block_on(snapshot.take(&ids, &names)).unwrap();
    format!(
        "{} | {ids:?} {} | {}",
        rows(snapshot),
        snapshot.n_rows(),
        crate::support::text(&taken)
    )
}

/// The names of the files under a folder of the table.
fn files(project: &Project, folder: &str) -> Vec<String> {
    let path = Path::from(format!(
        "{}/zoo/tables/train/{folder}",
        project.root().path()
    ));
    let listing = project.root().store().list(Some(&path));
    let found: Vec<ObjectMeta> = block_on(listing.try_collect()).unwrap();
    let mut names: Vec<String> = found.iter().map(|file| file.location.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_compacted_table_reads_as_before_and_so_does_its_past() {
    for (_folder, project) in [(None, project()), {
        let (folder, project) = project_on_disk();
        (Some(folder), project)
    }] {
        let table = busy(&project);
        let before = block_on(table.head()).unwrap();
        let past: Vec<String> = (0..5)
            .map(|r| rows(&block_on(table.at(r)).unwrap()))
            .collect();
        let blame = |at: u64| {
            let found = block_on(table.blame("animal", BlameOptions::new().at(at))).unwrap();
            (found.row_ids, found.revisions)
        };
        assert_eq!(compact(&table).unwrap(), 5);
        assert_eq!(blame(4), blame(5));
        assert!(block_on(table.diff(4, 5)).unwrap().is_empty());
        assert_eq!(compact(&table).unwrap(), 5, "there is nothing left to do");
        for table in [&table, &block_on(project.table("train")).unwrap()] {
            let after = block_on(table.head()).unwrap();
            assert_eq!(all(&before), all(&after));
            assert_eq!(after.schema(), before.schema());
            for (revision, rows_then) in (0..5).zip(&past) {
                assert_eq!(&rows(&block_on(table.at(revision)).unwrap()), rows_then);
            }
        }
        block_on(table.checkpoint()).unwrap();
        let again = block_on(project.table("train")).unwrap();
        assert_eq!(all(&before), all(&block_on(again.head()).unwrap()));
        assert_eq!(compact(&again).unwrap(), 5, "a folded state is compact too");
        assert!(
            block_on(again.log()).unwrap()[0].bytes > 1_000,
            "the files count"
        );
        commit(&again, |p| p.set(0, "animal", 1).unwrap());
        commit(&again, |p| p.drop_rows(&[2]));
        let expected = head(&again);
        assert_eq!(compact(&again).unwrap(), 8);
        assert_eq!(head(&block_on(project.table("train")).unwrap()), expected);
        assert!(clean(&project).findings.is_empty());
    }
}

#[test]
fn dropped_rows_are_nulls_in_the_new_files_however_many() {
    let project = project();
    let n = 30_000_i64;
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|n| n.to_string())));
    let batch = RecordBatch::try_from_iter([("n", values), ("t", texts)]).unwrap();
    let table = block_on(project.create_table("train", reader(batch), "numbers")).unwrap();
    let sparse = (0..4_000).step_by(2);
    let gone: Vec<u64> = sparse.chain(8_000..28_000).chain([29_999]).collect();
    commit(&table, |p| p.drop_rows(&gone));
    let before = all(&block_on(table.head()).unwrap());
    compact(&table).unwrap();
    assert_eq!(all(&block_on(table.head()).unwrap()), before);
    let again = block_on(project.table("train")).unwrap();
    assert_eq!(all(&block_on(again.head()).unwrap()), before);
    clean(&project);
}

#[test]
fn ids_of_other_branches_are_gaps_and_what_they_added_can_still_be_merged() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    block_on(table.create_branch("side", 0, "a branch")).unwrap();
    let mut side = block_on(table.branch("side")).unwrap().patch();
    side.append(&animals("2:2 2:3")).unwrap();
    side.add_column(schema::text("note"), "x").unwrap();
    side.set(0, "note", "side").unwrap();
    let options = tlc_core::CommitOptions::new("side").branch("side");
    block_on(table.commit(&side, options)).unwrap();
    commit(&table, |p| p.append(&animals("1:4")).unwrap());
    commit(&table, |p| p.append(&animals("1:5")).unwrap());
    assert_eq!(head(&table), "0:0:1.0 1:1:1.0 4:1:4.0 5:1:5.0");
    compact(&table).unwrap();
    assert_eq!(head(&table), "0:0:1.0 1:1:1.0 4:1:4.0 5:1:5.0");
    let from = block_on(table.branch("side")).unwrap().revision();
    merged(block_on(table.merge(from, &Resolution::new(), "bring it"))).unwrap();
    let expected = "0:0:1.0:side 1:1:1.0:x 2:2:2.0:x 3:2:3.0:x 4:1:4.0:x 5:1:5.0:x";
    assert_eq!(head(&table), expected);
    compact(&table).unwrap();
    assert_eq!(head(&block_on(project.table("train")).unwrap()), expected);
    clean(&project);
}

#[test]
fn a_compacted_branch_can_be_merged_and_what_it_left_behind_does_not_come_as_nulls() {
    let project = project();
    let table = table(&project, "0:1 1:1");
    block_on(table.create_branch("side", 0, "a branch")).unwrap();
    commit(&table, |p| p.append(&animals("1:4")).unwrap());
    let on_side = |change: &dyn Fn(&mut tlc_core::Patch)| {
        let mut patch = block_on(table.branch("side")).unwrap().patch();
        change(&mut patch);
        let options = tlc_core::CommitOptions::new("side").branch("side");
        block_on(table.commit(&patch, options)).unwrap().revision.0
    };
    on_side(&|p| p.append(&animals("2:5 2:6 2:7")).unwrap());
    let dropping = on_side(&|p| p.drop_rows(&[4]));
    let options = tlc_core::CommitOptions::new("smaller").branch("side");
    let from = block_on(table.compact(options)).unwrap().revision;
    merged(block_on(table.merge(from, &Resolution::new(), "bring it"))).unwrap();
    let expected = "0:0:1.0 1:1:1.0 2:1:4.0 3:2:5.0 5:2:7.0";
    assert_eq!(head(&table), expected);
    // Row 4 comes back with its values, or not at all.
    let back = merged(block_on(table.revert(
        dropping,
        dropping,
        &Resolution::new(),
        "back",
    )));
    match back {
        Ok(_) => assert_eq!(
            head(&table),
            "0:0:1.0 1:1:1.0 2:1:4.0 3:2:5.0 4:2:6.0 5:2:7.0"
        ),
        Err(err) => assert_eq!(err.kind(), ErrorKind::Invalid, "{err:?}"),
    }
    clean(&project);
}

#[test]
fn edits_are_undone_across_a_compaction_and_drops_before_it_are_not() {
    let project = project();
    let table = busy(&project);
    compact(&table).unwrap();
    let undo = |revision: u64| {
        merged(block_on(table.revert(
            revision,
            revision,
            &Resolution::new(),
            "undo",
        )))
    };
    let err = undo(2).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("left it behind"), "{err}");
    undo(1).unwrap();
    assert!(
        head(&table).starts_with("0:0:1.0:x 2:2:1.0:x"),
        "{}",
        head(&table)
    );
    let dropping = commit(&table, |p| p.drop_rows(&[2]));
    undo(dropping).unwrap();
    assert!(
        head(&table).starts_with("0:0:1.0:x 2:2:1.0:x"),
        "{}",
        head(&table)
    );
    clean(&project);
}

#[test]
fn files_in_place_are_copied_in() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("animals.parquet");
    crate::tables::write_parquet(&source, &animals("0:1 1:1 2:1"));
    let (_root, project) = project_on_disk();
    let urls = [source.to_str().unwrap()];
    let table = block_on(project.create_table_in_place("train", &urls, "in place")).unwrap();
    commit(&table, |p| p.set(1, "animal", 0).unwrap());
    clean(&project);
    compact(&table).unwrap();
    std::fs::remove_file(&source).unwrap();
    let again = block_on(project.table("train")).unwrap();
    assert_eq!(head(&again), "0:0:1.0 1:0:1.0 2:2:1.0");
    let report = block_on(project.verify(VerifyOptions::new())).unwrap();
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.severity, f.unreadable.clone()))
        .collect();
    assert_eq!(
        found,
        [(Severity::SourceChanged, vec![0..=1])],
        "{report:#?}"
    );
}

/// A store that does something else right before each request of which the path has some text in it, or in its place.
struct Hooked {
    inner: Arc<dyn ObjectStore>,
    request: &'static str,
    path: &'static str,
    hook: Mutex<Box<Hook>>,
}

type Hook = dyn FnMut() -> object_store::Result<()> + Send;

impl Hooked {
    fn at(&self, request: &str, path: &Path) -> object_store::Result<()> {
        match request == self.request && path.as_ref().contains(self.path) {
            // One that panicked before may be asked again.
            true => (self.hook.lock().unwrap_or_else(PoisonError::into_inner))(),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl fmt::Display for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hooked")
    }
}

#[async_trait]
impl ObjectStore for Hooked {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.at("put", path)?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.at("get", path)?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.at("delete", &Path::from("any")) {
            Ok(()) => self.inner.delete_stream(paths),
            Err(err) => stream::once(ready(Err(err))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A project on the store of another, where `hook` happens right before the first such request.
pub(crate) fn hooked(
    project: &Project,
    request: &'static str,
    path: &'static str,
    hook: impl FnOnce(&Project) + Send + 'static,
) -> Project {
    let other = fresh(project);
    let mut hook = Some(move || hook(&other));
    answering(project, request, path, move || {
        hook.take().into_iter().for_each(|hook| hook());
        Ok(())
    })
}

/// A project on the store of another, where each such request fails for which `hook` says so.
pub(crate) fn answering(
    project: &Project,
    request: &'static str,
    path: &'static str,
    hook: impl FnMut() -> object_store::Result<()> + Send + 'static,
) -> Project {
    project_over(project, |inner| {
        Arc::new(Hooked {
            inner,
            request,
            path,
            hook: Mutex::new(Box::new(hook)),
        })
    })
}

/// Compacts `busy` while `meanwhile` happens between reading and appending.
#[track_caller]
fn compact_while(meanwhile: fn(&Table)) -> Result<()> {
    let project = project();
    busy(&project);
    let hooked = hooked(&project, "put", "/data/", move |other| {
        meanwhile(&block_on(other.table("train")).unwrap());
    });
    let table = block_on(hooked.table("train")).unwrap();
    let done = compact(&table);
    let expected = {
        let project = crate::support::project();
        let table = busy(&project);
        meanwhile(&table);
        head(&table)
    };
    let again = block_on(fresh(&project).table("train")).unwrap();
    assert_eq!(head(&again), expected);
    assert_eq!(head(&table), expected);
    clean(&project);
    let done = done?;
    assert_eq!(block_on(again.head()).unwrap().revision().0, done);
    block_on(again.checkpoint()).unwrap();
    assert_eq!(
        head(&block_on(fresh(&project).table("train")).unwrap()),
        expected
    );
    Ok(())
}

#[test]
fn what_lands_while_a_table_is_compacted_stays_upon_it() {
    compact_while(|table| change(table, |p| p.set(0, "animal", 1).unwrap())).unwrap();
    compact_while(|table| change(table, |p| p.drop_rows(&[0]))).unwrap();
    compact_while(|table| change(table, |p| p.append(&noted("0:9")).unwrap())).unwrap();
    compact_while(|table| change(table, |p| p.drop_column("weight").unwrap())).unwrap();
    compact_while(|table| {
        commit(table, |p| p.add_column(schema::text("more"), "z").unwrap());
        commit(table, |p| p.set(2, "more", "w").unwrap());
        block_on(table.checkpoint()).unwrap();
    })
    .unwrap();
}

#[test]
fn a_compaction_gives_way_where_it_cannot_hold() {
    let check = |meanwhile: fn(&Table), why: &str| {
        let err = compact_while(meanwhile).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict);
        assert!(err.to_string().contains(why), "{err}");
    };
    check(
        |table| {
            block_on(table.compact("another")).unwrap();
        },
        "another compacted it",
    );
    check(
        |table| {
            merged(block_on(table.revert(2, 2, &Resolution::new(), "back"))).unwrap();
        },
        "dropped rows came back",
    );
}

fn change(table: &Table, change: impl FnOnce(&mut tlc_core::Patch)) {
    commit(table, change);
}

/// Rows with the column that `busy` adds.
fn noted(text: &str) -> RecordBatch {
    let batch = animals(text);
    let notes: ArrayRef = Arc::new(StringArray::from(vec!["n"; batch.num_rows()]));
    let own = batch.schema();
    let columns = own
        .fields()
        .iter()
        .cloned()
        .chain([Arc::new(schema::text("note"))]);
    let schema = Schema::new(columns.collect::<Vec<_>>());
    let columns = batch.columns().iter().cloned().chain([notes]);
    RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap()
}

/// All revisions that can be read, with their rows.
fn readable(project: &Project, n: u64) -> BTreeMap<u64, String> {
    let Ok(table) = block_on(project.table("train")) else {
        return BTreeMap::new();
    };
    let read = |revision: u64| {
        let snapshot = block_on(table.at(revision)).ok()?;
        let batch = block_on(snapshot.read(ScanOptions::new())).ok()?;
        Some((revision, crate::support::text(&batch)))
    };
    (0..n).filter_map(read).collect()
}

/// The same objects in memory.
fn copied(project: &Project) -> Project {
    let store = Arc::new(InMemory::new());
    block_on(async {
        let from = project.root().store();
        let all = from.list(Some(project.root().path()));
        let all: Vec<ObjectMeta> = all.try_collect().await.unwrap();
        for file in all {
            let bytes = from
                .get(&file.location)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            store.put(&file.location, bytes.into()).await.unwrap();
        }
    });
    project_over(project, |_| store)
}

fn busy_with_all() -> (Project, u64) {
    let project = project();
    let table = busy(&project);
    compact(&table).unwrap();
    commit(&table, |p| p.set(0, "animal", 1).unwrap());
    commit(&table, |p| p.set(2, "animal", 1).unwrap());
    let dropping = commit(&table, |p| p.drop_rows(&[2]));
    merged(block_on(table.revert(
        dropping,
        dropping,
        &Resolution::new(),
        "back",
    )))
    .unwrap();
    (project, 10)
}

#[test]
fn what_verify_calls_safe_is_read_as_before_whatever_was_done_to_any_file() {
    for with_checkpoint in [false, true] {
        let (project, n) = busy_with_all();
        let named = files(&project, "");
        if with_checkpoint {
            block_on(block_on(project.table("train")).unwrap().checkpoint()).unwrap();
        }
        let before = readable(&project, n);
        assert_eq!(before.len() as u64, n);
        assert!(clean(&project).findings.is_empty());
        for file in &files(&project, "") {
            for harm in ["gone", "cut", "flipped"] {
                let harmed = copied(&project);
                do_harm(&harmed, file, harm);
                let is_last = file.contains(&format!("{:020}", n - 1));
                if is_last && harm != "cut" && !with_checkpoint {
                    continue; // Nothing names the last entry, or says that there was one.
                }
                let is_cache = !named.contains(file);
                check_harmed(&harmed, (file, is_cache), harm, &before);
            }
        }
    }
}

fn do_harm(project: &Project, file: &str, harm: &str) {
    let store = Arc::clone(project.root().store());
    let path = Path::from(file);
    block_on(async {
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        match harm {
            "gone" => return store.delete(&path).await.unwrap(),
            "cut" => bytes.truncate(middle),
            _ => bytes[middle] ^= 1,
        }
        store.put(&path, Bytes::from(bytes).into()).await.unwrap();
    });
}

#[track_caller]
fn check_harmed(
    project: &Project,
    (file, is_cache): (&str, bool),
    harm: &str,
    before: &BTreeMap<u64, String>,
) {
    let told = format!("{file} {harm}");
    let report = block_on(project.verify(VerifyOptions::new())).unwrap();
    // A checkpoint may be absent, and its hint.
    let may_be_absent = file.contains("/checkpoints/") && harm == "gone";
    assert!(
        may_be_absent || !report.findings.is_empty(),
        "{told}: not found out"
    );
    assert_eq!(
        report.is_damaged(),
        !is_cache,
        "{told}: {:#?}",
        report.findings
    );
    let [table] = &report.tables[..] else {
        panic!("{told}: {report:?}")
    };
    let unreadable: Vec<u64> = table.unreadable.iter().map(|revision| revision.0).collect();
    let n = before.len() as u64;
    let has_checkpoint = !files(project, "checkpoints").is_empty();
    let after = readable(&fresh(project), n);
    for (revision, rows) in before {
        let is_safe = !unreadable.contains(revision);
        if is_safe {
            assert_eq!(
                after.get(revision),
                Some(rows),
                "{told}: r{revision} is not safe: {report:#?}"
            );
        }
        // A checkpoint may know what the log cannot tell any more.
        if !is_safe && harm == "gone" && !has_checkpoint && !file.contains("/log/") {
            assert_eq!(after.get(revision), None, "{told}: r{revision} can be read");
        }
    }
    let quick = block_on(project.verify(VerifyOptions::new().quick())).unwrap();
    if harm != "flipped" && !is_cache {
        assert!(quick.is_damaged(), "{told}: quick does not see it");
    }
}

#[test]
fn a_lost_file_of_folded_edits_is_in_no_later_checkpoint() {
    let project = project();
    let table = busy(&project);
    let edits = |project: &Project| -> BTreeSet<String> {
        let all = files(project, "").into_iter();
        all.filter(|file| file.ends_with(".parquet")).collect()
    };
    let rows = |project: &Project| {
        let table = block_on(fresh(project).table("train")).unwrap();
        all(&block_on(table.head()).unwrap())
    };
    commit(&table, |p| p.set(2, "animal", 1).unwrap());
    let written = edits(&project);
    block_on(table.checkpoint()).unwrap();
    let folded: Vec<String> = edits(&project).difference(&written).cloned().collect();
    let [folded] = &folded[..] else {
        panic!("{folded:?}")
    };
    let before = rows(&project);
    do_harm(&project, folded, "gone");
    assert_eq!(rows(&project), before);

    let name = folded.rsplit('/').next().unwrap();
    assert!(newest_checkpoint(&project).contains(name));
    let table = block_on(fresh(&project).table("train")).unwrap();
    commit(&table, |p| p.set(4, "animal", 0).unwrap());
    block_on(table.checkpoint()).unwrap();
    assert!(!newest_checkpoint(&project).contains(name));
    assert_eq!(rows(&project), all(&block_on(table.head()).unwrap()));
}

/// The newest checkpoint of the table `train`, as it is stored.
fn newest_checkpoint(project: &Project) -> String {
    let read = |name: &str| {
        let path = format!("{}/zoo/tables/train/{name}", project.root().path());
        let store = project.root().store();
        let bytes = block_on(async { store.get(&path.into()).await.unwrap().bytes().await });
        String::from_utf8(bytes.unwrap().to_vec()).unwrap()
    };
    let hint = read("checkpoints/newest.json");
    let file = hint
        .split('"')
        .find(|text| text.ends_with(".json"))
        .unwrap();
    read(file)
}

#[test]
fn runs_are_verified_too() {
    let project = project();
    let run = project.start_run("lenet").unwrap();
    run.log(1, &[("loss", 1.0)]);
    run.finish().unwrap();
    assert_eq!(clean(&project).n_runs, 1);
    let path = block_on(project.scalar_files(&"lenet".parse().unwrap())).unwrap()[0]
        .path
        .clone();
    do_harm(&project, path.as_ref(), "cut");
    let report = block_on(project.verify(VerifyOptions::new())).unwrap();
    assert!(report.is_damaged());
    assert!(
        report.findings[0].file.starts_with("scalars/"),
        "{report:?}"
    );
}

/// Moves the clock of a project to so much after the newest file in its store.
pub(crate) fn later(project: &Project, by: Duration) {
    let all = project.root().store().list(Some(project.root().path()));
    let all: Vec<ObjectMeta> = block_on(all.try_collect()).unwrap();
    let newest = all
        .iter()
        .map(|file| file.last_modified.timestamp())
        .max()
        .unwrap();
    let now = u64::try_from(newest).unwrap();
    project.root().env().advance(Duration::from_secs(now) + by);
}

/// Leaves files that no revision names: a patch that met a conflict.
fn orphans(table: &Table) {
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(0, "weight", 77.0).unwrap();
    patch.drop_rows(&[2]);
    commit(table, |p| p.set(0, "weight", 5.0).unwrap());
    assert_eq!(
        block_on(table.commit(&patch, "too late"))
            .unwrap_err()
            .kind(),
        ErrorKind::Conflict
    );
}

fn gc(project: &Project, options: GcOptions) -> Vec<String> {
    let garbage = block_on(project.gc(options)).unwrap();
    let mut files: Vec<String> = garbage.files.into_iter().map(|file| file.path).collect();
    files.sort();
    files
}

#[test]
fn only_old_files_that_nobody_names_are_collected() {
    let project = project();
    let table = busy(&project);
    compact(&table).unwrap();
    block_on(table.checkpoint()).unwrap();
    let before = files(&project, "");
    orphans(&table);
    let below = |name: String| Path::from(format!("{}/{name}", project.root().path()));
    let unknown = below("zoo/tables/train/data/notes.parquet".to_owned());
    let half = format!("zoo/tables/half/data/{}.parquet", "a".repeat(64));
    let cut_off = below(half);
    block_on(async {
        project
            .root()
            .store()
            .put(&unknown, "mine".into())
            .await
            .unwrap();
        project
            .root()
            .store()
            .put(&cut_off, "half".into())
            .await
            .unwrap();
    });
    let named = block_on(table.log()).unwrap().len();
    let all = files(&project, "");
    later(&project, DAY);
    assert!(gc(&project, GcOptions::new()).is_empty(), "all are young");
    let garbage = block_on(project.gc(GcOptions::new())).unwrap();
    assert_eq!(
        (garbage.n_young, garbage.unknown.len()),
        (3, 1),
        "{garbage:?}"
    );
    project.root().env().advance(7 * DAY);
    let found = gc(&project, GcOptions::new());
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        files(&project, ""),
        all,
        "nothing is deleted unless told so"
    );
    assert_eq!(gc(&project, GcOptions::new().delete()), found);
    let left = files(&project, "");
    assert_eq!(
        left.len(),
        all.len() - 2,
        "one of the three is of another table"
    );
    assert!(before.iter().all(|file| left.contains(file)));
    assert!(left.contains(&unknown.to_string()));
    assert_eq!(gc(&project, GcOptions::new()), [""; 0]);
    assert_eq!(block_on(table.log()).unwrap().len(), named);
    clean(&project);
}

#[test]
fn files_younger_than_a_day_are_never_asked_for() {
    let (_folder, project) = project_on_disk();
    table(&project, "0:1");
    let err = block_on(project.gc(GcOptions::new().older_than(DAY / 2))).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(gc(&project, GcOptions::new().older_than(DAY)).is_empty());
}

#[test]
fn a_commit_that_wants_a_file_just_when_it_is_collected_does_not_lose_it() {
    let project = project();
    let table = busy(&project);
    orphans(&table);
    let collecting = hooked(&project, "delete", "", |other| {
        later(other, 8 * DAY);
        let table = block_on(other.table("train")).unwrap();
        commit(&table, |p| {
            p.set(0, "weight", 77.0).unwrap();
            p.drop_rows(&[2]);
        });
    });
    later(&collecting, 8 * DAY);
    assert_eq!(gc(&collecting, GcOptions::new().delete()).len(), 2);
    clean(&project);
    assert!(head(&block_on(fresh(&project).table("train")).unwrap()).starts_with("0:2:77.0"));
}

#[test]
fn revisions_that_are_given_up_are_told_apart_from_damage() {
    let (project, n) = busy_with_all();
    let table = block_on(project.table("train")).unwrap();
    block_on(table.create_tag("v1", 3, "keep this")).unwrap();
    block_on(table.checkpoint()).unwrap();
    let before = readable(&project, n);
    let options = GcOptions::new().keep(Keep::Newest(3));
    assert!(gc(&project, options.clone()).is_empty());
    later(&project, 8 * DAY);
    commit(&table, |p| p.set(4, "weight", 3.0).unwrap());
    let found = block_on(project.gc(options.clone().delete())).unwrap();
    assert!(!found.files.is_empty());
    let given_up: Vec<u64> = found
        .given_up
        .iter()
        .map(|(_, _, revision)| revision.0)
        .collect();
    assert_eq!(given_up, [0, 1, 2, 4, 5, 6, 7]);
    let report = clean(&project);
    let after = readable(&fresh(&project), n);
    for revision in [3, 8, 9] {
        assert_eq!(
            after.get(&revision),
            before.get(&revision),
            "r{revision} {report:#?}"
        );
    }
    let lost: Vec<u64> = report.tables[0]
        .unreadable
        .iter()
        .map(|revision| revision.0)
        .collect();
    assert!(
        !lost.is_empty() && lost.iter().all(|revision| given_up.contains(revision)),
        "{lost:?}"
    );
    for revision in 0..n {
        assert_eq!(
            after.contains_key(&revision),
            !lost.contains(&revision),
            "r{revision}"
        );
    }
    let old = block_on(fresh(&project).table("train")).unwrap();
    let old = block_on(old.at(lost[0])).and_then(|old| block_on(old.read(ScanOptions::new())));
    let err = format!("{:#}", old.unwrap_err());
    assert!(
        err.contains("is missing") && err.contains("given up"),
        "{err}"
    );
}

/// Every request of `operation` fails once, on memory and on disk; afterwards nothing is lost.
fn fails_everywhere(
    prepare: fn(&Project),
    operation: fn(&Project) -> Result<()>,
    observe: fn(&Project) -> String,
) {
    for on_disk in [false, true] {
        for when in [When::Before, When::After] {
            for k in 1.. {
                assert!(k < 300, "the operation never succeeds");
                let folder = tempfile::tempdir().unwrap();
                let (store, path): (Arc<dyn ObjectStore>, Path) = match on_disk {
                    false => (Arc::new(InMemory::new()), Path::default()),
                    true => {
                        let root = block_on(Root::open(folder.path().to_str().unwrap())).unwrap();
                        (Arc::clone(root.store()), root.path().clone())
                    }
                };
                let open = |store: Arc<dyn ObjectStore>| {
                    let options = RootOptions::new().env(Env::manual());
                    let url = "memory:///".parse().unwrap();
                    Root::in_store(store, path.clone(), url, options)
                        .project("zoo")
                        .unwrap()
                };
                let project = open(Arc::clone(&store));
                prepare(&project);
                let before = observe(&project);
                let faults = Faults::at(k, when);
                let faulty = open(Arc::new(FaultyStore::new(
                    Arc::clone(&store),
                    Arc::clone(&faults),
                )));
                let outcome = operation(&faulty);
                let after = open(Arc::clone(&store));
                assert_eq!(observe(&after), before, "request {k} {when:?}");
                clean(&after);
                if faults.n_requests() < k {
                    outcome.unwrap();
                    break;
                }
                faults.heal();
                operation(&faulty).unwrap();
                assert_eq!(
                    observe(&open(store)),
                    before,
                    "request {k} {when:?}: the retry"
                );
            }
        }
    }
}

/// The rows of all revisions by number, up to the last that `busy` makes, and of the head.
fn seen(project: &Project) -> String {
    let table = block_on(project.table("train")).unwrap();
    let past = readable(project, 5);
    assert_eq!(past.len(), 5);
    format!("{past:?} {}", head(&table))
}

#[test]
fn a_compaction_that_fails_at_any_request_loses_nothing() {
    let operation = |project: &Project| {
        let table = block_on(project.table("train"))?;
        compact(&table).map(drop)
    };
    fails_everywhere(|project| drop(busy(project)), operation, seen);
}

#[test]
fn a_checkpoint_that_fails_at_any_request_loses_nothing() {
    let operation = |project: &Project| {
        let table = block_on(project.table("train"))?;
        block_on(table.checkpoint())
    };
    let prepare = |project: &Project| {
        let table = busy(project);
        block_on(table.checkpoint()).unwrap();
        commit(&table, |p| p.set(0, "animal", 0).unwrap());
        commit(&table, |p| p.set(2, "animal", 0).unwrap());
        commit(&table, |p| p.drop_rows(&[4]));
    };
    fails_everywhere(prepare, operation, seen);
}

#[test]
fn a_collection_that_fails_at_any_request_loses_nothing() {
    let prepare = |project: &Project| {
        let table = busy(project);
        orphans(&table);
        compact(&table).unwrap();
        block_on(table.checkpoint()).unwrap();
    };
    let operation = |project: &Project| {
        // Later than any file: the clock of the store is the real one.
        project.root().env().advance(100 * 365 * DAY);
        block_on(project.gc(GcOptions::new().delete())).map(drop)
    };
    fails_everywhere(prepare, operation, seen);
}
