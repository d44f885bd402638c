//! The golden files of each version of the format, in memory or on disk, and all that is read of
//! them, as text.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tlc_core::arrow::array::RecordBatch;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::object_store::{ObjectStore as _, ObjectStoreExt as _};
use tlc_core::{
    BlameOptions, Env, Error, Project, Result, Role, Root, RootOptions, ScanOptions, Snapshot,
    Table, VerifyOptions, block_on, schema,
};

use crate::support::text;

/// The folder of a version's golden files.
pub(crate) fn folder(version: &str) -> PathBuf {
    let formats = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    formats.join(version)
}

/// The golden files of a version, copied so that a test cannot change them.
pub(crate) fn on_disk(version: &str) -> (tempfile::TempDir, Project) {
    let copied = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&folder(version)) {
        let path = copied.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let url = copied.path().to_str().unwrap();
    let root = block_on(Root::open_with(url, options(copied.path()))).unwrap();
    let project = root.project("zoo").unwrap();
    (copied, project)
}

/// The golden files of a version in memory; what they read in place stays where it is.
pub(crate) fn in_memory(version: &str) -> InMemory {
    let store = InMemory::new();
    for (name, bytes) in files(&folder(version)) {
        put(&store, &name, &bytes);
    }
    store
}

/// The project in a store, as a program that was just started opens it.
pub(crate) fn opened(store: InMemory, version: &str) -> Project {
    let url = "memory:///".parse().unwrap();
    let options = options(&folder(version));
    let root = Root::in_store(Arc::new(store), Path::default(), url, options);
    root.project("zoo").unwrap()
}

pub(crate) fn options(folder: &FilePath) -> RootOptions {
    let source = folder.join("zoo/source");
    let options = RootOptions::new().env(Env::manual()).checkpoint_every(0);
    options.alias("SOURCE", source.to_str().unwrap()).unwrap()
}

/// Every file below a folder: its path from there, and its bytes.
pub(crate) fn files(folder: &FilePath) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
            found.push((name.replace('\\', "/"), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

pub(crate) fn put(store: &InMemory, name: &str, bytes: &[u8]) {
    block_on(store.put(&Path::from(name), bytes.to_vec().into())).unwrap();
}

/// One thing that was asked, and the answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) asked: String,
    pub(crate) answer: Result<String>,
}

impl Told {
    fn new(asked: impl Into<String>, answer: Result<String>) -> Self {
        let asked = asked.into();
        Self { asked, answer }
    }
}

/// All answers as one text; of errors the kind, for the words may get better.
pub(crate) fn transcript(told: &[Told]) -> String {
    let mut text = String::new();
    for Told { asked, answer } in told {
        let answer = answer
            .as_ref()
            .map_or_else(|err| err.kind().as_str().to_owned(), Clone::clone);
        writeln!(text, "# {asked}\n{}\n", answer.trim_end()).unwrap();
    }
    text
}

/// All that can be read of a project.
pub(crate) fn all(project: &Project) -> Vec<Told> {
    let mut told = Vec::new();
    for table in block_on(project.tables()).unwrap() {
        let n = n_entries(project, table.as_str());
        told.extend(table_at(
            project,
            table.as_str(),
            &(0..n).collect::<Vec<_>>(),
        ));
    }
    for run in block_on(project.runs()).unwrap() {
        told.push(Told::new(
            format!("run {run}"),
            run_text(project, run.as_str()),
        ));
    }
    told.push(Told::new("verify", verified(project)));
    told
}

/// How many entries the log of a table has.
pub(crate) fn n_entries(project: &Project, table: &str) -> u64 {
    let folder = Path::from(format!("zoo/tables/{table}/log"));
    let folder = project
        .root()
        .path()
        .parts()
        .chain(folder.parts())
        .collect::<Path>();
    let listed = block_on(project.root().store().list_with_delimiter(Some(&folder)));
    listed.unwrap().objects.len() as u64
}

/// What a table says, and how it was at some revisions.
pub(crate) fn table_at(project: &Project, name: &str, revisions: &[u64]) -> Vec<Told> {
    let asked = |what: &str| format!("{name}: {what}");
    let table = match block_on(project.table(name)) {
        Ok(table) => table,
        Err(err) => return vec![Told::new(asked("open"), Err(err))],
    };
    let mut told = vec![
        Told::new(asked("names"), names(&table)),
        Told::new(asked("log"), log(&table)),
    ];
    for revision in revisions {
        let snapshot = block_on(table.at(*revision));
        let answer = snapshot.and_then(|snapshot| state(&snapshot));
        told.push(Told::new(asked(&format!("r{revision}")), answer));
    }
    let head = block_on(table.head());
    told.push(Told::new(asked("head"), head.and_then(|head| state(&head))));
    if let Some((first, last)) = revisions.first().zip(revisions.last()) {
        told.push(Told::new(asked("diff"), diff(&table, *first, *last)));
    }
    told.push(Told::new(asked("blame"), blame(&table)));
    told
}

/// How a table is at a revision and at its head, and nothing else.
pub(crate) fn states(project: &Project, name: &str, revision: u64) -> Vec<Told> {
    let at = |head: bool| {
        let table = block_on(project.table(name))?;
        state(&match head {
            true => block_on(table.head())?,
            false => block_on(table.at(revision))?,
        })
    };
    vec![
        Told::new(format!("r{revision}"), at(false)),
        Told::new("head", at(true)),
    ]
}

fn names(table: &Table) -> Result<String> {
    let mut text = String::new();
    for branch in block_on(table.branches())? {
        writeln!(text, "branch {} r{}", branch.name, branch.revision).unwrap();
    }
    for tag in block_on(table.tags())? {
        let (time, who) = (tag.time.to_rfc3339(), tag.author);
        writeln!(
            text,
            "tag {} r{} {who} {time} {}",
            tag.name, tag.revision, tag.message
        )
        .unwrap();
    }
    Ok(text)
}

fn log(table: &Table) -> Result<String> {
    let mut text = String::new();
    for record in block_on(table.log())? {
        let parents: Vec<String> = record
            .parents
            .iter()
            .map(|parent| format!("r{} {}", parent.revision, &parent.hash[..8]))
            .collect();
        writeln!(
            text,
            "r{} on {} after [{}] {} {} {} with {}: {} cells, +{} -{} ~{} rows, {} bytes",
            record.revision,
            record.branch,
            parents.join(", "),
            record.author,
            record.time.to_rfc3339(),
            record.message,
            record.tool,
            record.cells,
            record.rows_added,
            record.rows_dropped,
            record.rows_restored,
            record.bytes
        )
        .unwrap();
    }
    Ok(text)
}

/// Columns with what they mean, and all rows.
fn state(snapshot: &Snapshot) -> Result<String> {
    let mut text = format!(
        "revision {}, {} rows\n",
        snapshot.revision(),
        snapshot.n_rows()
    );
    for field in snapshot.schema().fields() {
        let role = Role::of(field).map_or("-", Role::as_str);
        let classes = schema::classes(field)?;
        let classes: Vec<String> = classes
            .iter()
            .map(|class| match class.merged_into {
                Some(other) => format!("{} in {other}", class.name),
                None => class.name.clone(),
            })
            .collect();
        writeln!(
            text,
            "{}: {}, {role} [{}]",
            field.name(),
            field.data_type(),
            classes.join("|")
        )
        .unwrap();
    }
    let batch = block_on(snapshot.read(ScanOptions::new()))?;
    text.push_str(&lines(&batch));
    Ok(text)
}

/// A row a line.
fn lines(batch: &RecordBatch) -> String {
    let rows = (0..batch.num_rows()).map(|row| text(&batch.slice(row, 1)));
    rows.collect::<Vec<_>>().join("\n")
}

fn diff(table: &Table, from: u64, to: u64) -> Result<String> {
    let diff = block_on(table.diff(from, to))?;
    let mut text = format!(
        "r{from} to r{to}: rows +{:?} -{:?}, columns +{:?} -{:?}\n",
        diff.rows_added, diff.rows_dropped, diff.columns_added, diff.columns_dropped
    );
    for column in &diff.columns_changed {
        writeln!(
            text,
            "column {} is {}",
            column.old.name(),
            column.new.name()
        )
        .unwrap();
    }
    for cells in &diff.cells {
        let values = [("old", &cells.old), ("new", &cells.new)];
        let values = values.map(|(name, values)| (name, Arc::clone(values)));
        let batch = RecordBatch::try_from_iter_with_nullable(
            values.map(|(name, values)| (name, values, true)),
        )?;
        writeln!(
            text,
            "{} of {:?}: {}",
            cells.column,
            cells.row_ids,
            crate::support::text(&batch)
        )
        .unwrap();
    }
    Ok(text)
}

/// Who set the cells of the first column.
fn blame(table: &Table) -> Result<String> {
    let head = block_on(table.head())?;
    let column = head.schema().field(0).name().clone();
    let blame = block_on(table.blame(&column, BlameOptions::new()))?;
    Ok(format!(
        "{column} of {:?}: {:?}",
        blame.row_ids, blame.revisions
    ))
}

/// A run's record and the rows of all its files.
pub(crate) fn run_text(project: &Project, run: &str) -> Result<String> {
    let record = block_on(project.run(run))?;
    let mut text = format!(
        "{} {:?} by {} from {} to {:?}, lost Lost {{ scalars: {}, sample_rows: {} }}\n{:?}\n{:?}\n{:?}\n",
        record.status.as_str(),
        record.reason,
        record.author,
        record.started.to_rfc3339(),
        record.finished.map(|time| time.to_rfc3339()),
        record.lost.scalars,
        record.lost.sample_rows,
        record.params,
        record.inputs,
        record.last
    );
    if let Some(code) = &record.code {
        let made_of = block_on(project.provenance(run))?;
        let patch = block_on(project.code_patch(run))?;
        writeln!(text, "{code:?}\n{made_of:?}\n{patch:?}").unwrap();
    }
    if !record.artifacts.is_empty() {
        writeln!(text, "artifacts {:?}", record.artifacts).unwrap();
    }
    if !record.outputs.is_empty() {
        writeln!(text, "outputs {:?}", record.outputs).unwrap();
    }
    for stream in &record.streams {
        let columns = stream.schema.fields().iter().map(|field| field.to_string());
        let columns = columns.collect::<Vec<_>>().join(", ");
        writeln!(
            text,
            "stream {} of {:?} {:?}: {columns}",
            stream.name, stream.table, stream.revision
        )
        .unwrap();
    }
    for file in block_on(project.scalar_files(&record.name))? {
        let rows = rows_text(project, &file.path, file.is_folded)?;
        writeln!(text, "scalars {rows}").unwrap();
    }
    for file in block_on(project.sample_files(&record.name))? {
        let rows = rows_text(project, &file.path, file.is_folded)?;
        writeln!(text, "samples {} e{}: {rows}", file.stream, file.epoch).unwrap();
    }
    Ok(text)
}

/// The rows of a file of metrics.
fn rows_text(project: &Project, path: &Path, is_folded: bool) -> Result<String> {
    if is_folded {
        return parquet_text(project, path);
    }
    let rows = block_on(project.read_metrics(path))?;
    Ok(rows.iter().map(text).collect::<Vec<_>>().join(" "))
}

/// The rows of a Parquet file, as a program without this library reads them.
fn parquet_text(project: &Project, path: &Path) -> Result<String> {
    let bytes = block_on(async { project.root().store().get(path).await?.bytes().await })?;
    let foreign = |err: parquet::errors::ParquetError| Error::from(err);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(foreign)?;
    let reader = reader.build().map_err(foreign)?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(batches.iter().map(text).collect::<Vec<_>>().join(" "))
}

/// What is found in a whole project, without the words.
pub(crate) fn verified(project: &Project) -> Result<String> {
    let report = block_on(project.verify(VerifyOptions::new()))?;
    let mut text = format!("{} findings\n", report.findings.len());
    for finding in &report.findings {
        let (kind, file) = (finding.severity.as_str(), &finding.file);
        writeln!(text, "{kind}: {file}, {:?}", finding.unreadable).unwrap();
    }
    Ok(text)
}
