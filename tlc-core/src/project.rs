//! Roots and projects: what lies in a folder of a store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::alias::Aliases;
use crate::artifact::{self, Artifact, ArtifactSource, ArtifactVersion, PutOptions, VersionRecord};
use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::format::aliases;
use crate::id::{ArtifactName, ProjectName, Revision, RunName, StreamName, TableName};
use crate::provenance::Provenance;
use crate::redact::redacted_url;
use crate::run::captured;
use crate::run::{ItemKind, Run, RunOptions, RunRecord, Runs, SampleFile, ScalarFile};
use crate::runtime::Background;
use crate::store::{
    self, DECODED_BYTES_MAX, Decoded, Gate, Place, ProjectAliases, Remembered, SpoolFolder,
    StoreReport,
};
use crate::table::{
    CommitOptions, Finding, Garbage, GcOptions, Report, Severity, Table, VerifyOptions,
};

/// How many folders are looked into at the same time.
const LOOKS_MAX: usize = 32;

/// How a root is opened.
#[derive(Clone, Default)]
pub struct RootOptions {
    env: Option<Env>,
    options: Vec<(String, String)>,
    checkpoint_every: Option<u64>,
    aliases: Aliases,
    single_writer: bool,
    decoded_bytes_max: Option<usize>,
    spool: Option<PathBuf>,
}

/// After how many entries of a table's log these are folded into a checkpoint.
const CHECKPOINT_EVERY: u64 = 64;

impl RootOptions {
    /// The real clock, an unknown author, and a store's own defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who makes the revisions.
    #[must_use]
    pub fn author(self, author: &str) -> Self {
        self.env(Env::system(author))
    }

    /// After how many revisions of a table those who commit write a checkpoint, which keeps opening the
    /// table fast: 64 unless told otherwise, 0 for never.
    #[must_use]
    pub fn checkpoint_every(mut self, revisions: u64) -> Self {
        self.checkpoint_every = Some(revisions);
        self
    }

    /// Where time and ids come from, for tests.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    /// An option of the store, by [`object_store`]'s own keys, such as `aws_region`.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((key.into(), value.into()));
        self
    }

    /// What `<NAME>` stands for at the beginning of paths, whatever a project's own file says.
    ///
    /// # Errors
    /// As [`Aliases::with`].
    pub fn alias(mut self, name: &str, path: &str) -> Result<Self> {
        self.aliases = self.aliases.with(name, path)?;
        Ok(self)
    }

    /// As [`Self::alias`] for several; they take the place of those given before.
    #[must_use]
    pub fn aliases(mut self, aliases: Aliases) -> Self {
        self.aliases = aliases;
        self
    }

    /// Promises that only one process at a time writes under the root.
    ///
    /// For a store that ignores the condition of a put, where two writers would overwrite each
    /// other's revisions: without this promise nothing can be committed there. The library then looks
    /// before it writes, one request more for each entry, and lets the threads of this process take
    /// turns; whether the promise is kept, nobody can check. Disks and stores that keep conditional
    /// puts need no promise.
    #[must_use]
    pub fn single_writer(mut self, promised: bool) -> Self {
        self.single_writer = promised;
        self
    }

    /// The memory that decoded columns of sample metrics may take, so that a second question about an
    /// epoch reads and decodes nothing: 256 MiB unless told otherwise, 0 to keep none.
    #[must_use]
    pub fn decoded_bytes_max(mut self, bytes: usize) -> Self {
        self.decoded_bytes_max = Some(bytes);
        self
    }

    /// The folder on this machine's disk where runs keep what they log until it is in the store:
    /// `.local/state/tlc/spool` in the home folder unless told otherwise. A root that is on a disk itself needs none.
    ///
    /// It should outlive the process, and have room for what is logged while the store cannot be reached. Where it
    /// cannot be written, that is kept in memory.
    #[must_use]
    pub fn spool(mut self, folder: impl Into<PathBuf>) -> Self {
        self.spool = Some(folder.into());
        self
    }
}

impl fmt::Debug for RootOptions {
    /// Keys only: the values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.options.iter().map(|(key, _)| key).collect();
        f.debug_struct("RootOptions")
            .field("env", &self.env)
            .field("options", &keys)
            .field("aliases", &self.aliases)
            .field("single_writer", &self.single_writer)
            .finish()
    }
}

/// A folder in a store that holds projects. Cheap to clone.
#[derive(Clone)]
pub struct Root {
    place: Place,
    url: Arc<Url>,
}

impl Root {
    /// Opens a root by URL: `file:///…`, a bare path, `memory:///` (a new, empty one each time), and
    /// with their features `s3://…`, `gs://…`, `az://…`.
    ///
    /// Nothing is read or made: a root that does not exist yet has no projects.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no URL of a known store.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, RootOptions::new()).await
    }

    /// Opens a root with an author, or with options of its store.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[expect(
        clippy::unused_async,
        reason = "opening may come to ask the store; callers should not have to change"
    )]
    pub async fn open_with(url: &str, options: RootOptions) -> Result<Self> {
        let url = store::parse_url(url)?;
        let (store, path) = store::open(&url, &options.options)?;
        let mut root = Self::assemble(store, path, url, options);
        root.place.is_disk = root.url.scheme() == "file";
        if root.place.is_disk {
            root.place.spool = None;
        }
        Ok(root)
    }

    /// A root in a store that is open already: the folder `path` of it.
    ///
    /// `url` and the options say which store it is: of two with the same, what was found out about
    /// one is taken to be true of the other. A store at `file:` or `memory:` is trusted to create an
    /// object once.
    #[must_use]
    pub fn in_store(
        store: Arc<dyn ObjectStore>,
        path: Path,
        url: Url,
        options: RootOptions,
    ) -> Self {
        Self::assemble(store, path, url, options)
    }

    fn assemble(store: Arc<dyn ObjectStore>, path: Path, url: Url, options: RootOptions) -> Self {
        let env = options.env.unwrap_or_else(|| Env::system("unknown"));
        let writers = (&env, options.single_writer);
        let gate = Gate::new((&store, &path), &url, &options.options, writers);
        let spool = match url.scheme() {
            // They end with the process, or do not need it.
            "memory" | "file" => options.spool,
            _ => options.spool.or_else(|| env.spool()),
        };
        let spool = spool.map(|folder| {
            let root = redacted_url(&url);
            Arc::new(SpoolFolder { folder, root })
        });
        Self {
            place: Place {
                store,
                path,
                env,
                options: options.options.into(),
                checkpoint_every: options.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
                background: Background::default(),
                aliases: Arc::new(ProjectAliases::of_root(options.aliases)),
                gate,
                is_disk: false,
                spool,
                decoded: Decoded::new(options.decoded_bytes_max.unwrap_or(DECODED_BYTES_MAX)),
                remembered: Remembered::default(),
            },
            url: Arc::new(url),
        }
    }

    /// Where the root is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store that the root is in.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.place.store
    }

    /// The folder of the store that is the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Where time, ids and the author come from.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.place.env
    }

    /// Where runs under this root keep what is not in its store yet.
    pub(crate) fn spool(&self) -> Option<&SpoolFolder> {
        self.place.spool.as_deref()
    }

    /// Waits for what commits have started on the side, such as checkpoints. A program may end without
    /// it: what is not done then is done by the next one.
    pub async fn finish_background(&self) {
        self.place.background.finish().await;
    }

    /// The projects, by name. One listing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn projects(&self) -> Result<Vec<ProjectName>> {
        Ok(names(&self.place.folders().await?))
    }

    /// Tries what the store can do, and whether it is safe to write to. About sixty requests, with
    /// small objects under the root that are removed again.
    ///
    /// # Errors
    /// Those of the store, if not even a first object can be written. What it lacks is no error, but
    /// in the report.
    pub async fn examine(&self) -> Result<StoreReport> {
        store::examine(&self.place, &self.url).await
    }

    /// Verifies every table, run and artifact of every project: as [`Project::verify`].
    ///
    /// # Errors
    /// As [`Table::verify`].
    pub async fn verify(&self, options: impl Into<VerifyOptions> + Send) -> Result<Report> {
        let options = options.into();
        let mut report = Report::default();
        for name in self.projects().await? {
            let project = self.project(name.as_str())?;
            report.add(project.verify(options.clone()).await?);
        }
        Ok(report)
    }

    /// Collects the garbage of every project: as [`Project::gc`].
    ///
    /// # Errors
    /// As [`Table::gc`]; what was collected before the error stays collected.
    pub async fn gc(&self, options: impl Into<GcOptions> + Send) -> Result<Garbage> {
        let options = options.into();
        let mut garbage = Garbage::default();
        for name in self.projects().await? {
            let project = self.project(name.as_str())?;
            garbage.add(project.gc(options.clone()).await?);
        }
        Ok(garbage)
    }

    /// The project of that name. Nothing is requested: a project is there once it holds something.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if a project cannot have that name.
    pub fn project(&self, name: &str) -> Result<Project> {
        let name: ProjectName = name.parse()?;
        let mut place = self.place.child(name.as_str());
        let file = place.path.clone().join(aliases::FILE);
        place.aliases = Arc::new(self.place.aliases.of_project(file));
        Ok(Project {
            root: self.clone(),
            name,
            place,
        })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", redacted_url(&self.url))
    }
}

/// A folder of a root: tables, runs and artifacts. Cheap to clone.
#[derive(Clone)]
pub struct Project {
    root: Root,
    name: ProjectName,
    place: Place,
}

impl Project {
    /// Opens the project `name` of the root at `url`.
    ///
    /// # Errors
    /// As [`Root::open`] and [`Root::project`].
    pub async fn open(url: &str, name: &str) -> Result<Self> {
        Root::open(url).await?.project(name)
    }

    /// The project's name.
    #[must_use]
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// The root that it is in.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The aliases that hold for what is read and written through this value: those the root was
    /// opened with, over those of the project's own file.
    ///
    /// The file is read once, by the first call that needs it; a file that changes later is heard of
    /// by a new [`Root::project`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the file if it is no map of aliases;
    /// those of the store.
    pub async fn aliases(&self) -> Result<Aliases> {
        self.place.aliases().await
    }

    /// The text of `aliases.yaml`, in which the project keeps its own aliases; `None` without one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no text; those of the store.
    pub async fn aliases_file(&self) -> Result<Option<String>> {
        store::read_aliases(&*self.place.store, &self.aliases_path()).await
    }

    /// Reads what [`Self::aliases_file`] gives: the project's own aliases, without the root's.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the file, and the alias that is none.
    pub fn parse_aliases(&self, text: &str) -> Result<Aliases> {
        aliases::decode(self.aliases_path().as_ref(), text)
    }

    /// Writes `aliases.yaml`, in place of what it was: with the heartbeat of runs the only file that
    /// is written twice. Of two writers the later one counts.
    ///
    /// # Errors
    /// As [`Self::parse_aliases`], and then nothing is written; those of the store.
    pub async fn write_aliases_file(&self, text: &str) -> Result<()> {
        self.parse_aliases(text)?;
        let path = self.aliases_path();
        self.place.store.put(&path, text.to_owned().into()).await?;
        Ok(())
    }

    /// The tables, by name. One listing, and one request for each.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tables(&self) -> Result<Vec<TableName>> {
        let names: Vec<TableName> = names(&self.place.child("tables").folders().await?);
        let looked = stream::iter(names).map(|name| async {
            let first = format!("{}.json", Revision::FIRST.file_stem());
            let first = self
                .place
                .path
                .clone()
                .join("tables")
                .join(name.as_str())
                .join("log")
                .join(first);
            // A creation that was cut off leaves a folder without a first revision.
            match self.place.store.head(&first).await {
                Ok(_) => Ok(Some(name)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(err) => Err(err.into()),
            }
        });
        looked
            .buffered(LOOKS_MAX)
            .try_filter_map(|name| async { Ok(name) })
            .try_collect()
            .await
    }

    /// The table of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; as [`Table::head`].
    pub async fn table(&self, name: &str) -> Result<Table> {
        let table = self.handle(name)?;
        table.found().await?;
        Ok(table)
    }

    /// Makes a table of rows that stream in; they get the ids 0, 1, 2, … in their order.
    ///
    /// Rows are written as files of about 64 MiB, so memory does not grow with the table. The table
    /// is there when the call returns, and not before.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if there is a table of that name;
    /// [`ErrorKind::Invalid`] naming a column that cannot be one; those of
    /// `rows` and of the store.
    pub async fn create_table(
        &self,
        name: &str,
        rows: impl RecordBatchReader + Send + 'static,
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Table> {
        let table = self.handle(name)?;
        table.create(Box::new(rows), options.into()).await?;
        Ok(table)
    }

    /// Makes a table of Parquet files that stay where they are, in the order given.
    ///
    /// Each of `urls` is a file, or a folder: then all files below it whose names end in `.parquet`, by
    /// path, without those in whose path a name begins with `.` or `_`. All have the same columns;
    /// columns in the names of folders are not read. Reads the footers only, one request or two for
    /// each file, many at a time; memory grows by some hundred bytes for a file. Size, footer and,
    /// outside local disks, ETag are remembered, so that a file that changes later is an error that
    /// names it, while one that is copied to another place is the same file.
    ///
    /// # Errors
    /// As [`Self::create_table`]; also [`ErrorKind::NotFound`] or
    /// [`ErrorKind::Corrupt`] naming a file.
    pub async fn create_table_in_place(
        &self,
        name: &str,
        urls: &[&str],
        options: impl Into<CommitOptions> + Send,
    ) -> Result<Table> {
        let table = self.handle(name)?;
        table.create_in_place(urls, options.into()).await?;
        Ok(table)
    }

    /// The artifacts, by name. One listing, and one request for each.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn artifacts(&self) -> Result<Vec<ArtifactName>> {
        artifact::list(&self.place).await
    }

    /// The artifact of that name. Costs what [`Artifact::record`] costs.
    ///
    /// # Errors
    /// As [`Artifact::record`].
    pub async fn artifact(&self, name: &str) -> Result<Artifact> {
        let artifact = Artifact::new(&self.place, name.parse()?);
        artifact.record().await?;
        Ok(artifact)
    }

    /// The version that a text names: `model` the newest, `model@3` by its number, `model@best` by an alias.
    ///
    /// # Errors
    /// As [`Artifact::at`]; [`ErrorKind::Invalid`] if it cannot name a version.
    pub async fn artifact_version(&self, text: &str) -> Result<ArtifactVersion> {
        artifact::find(&self.place, text).await
    }

    /// Puts a file or a folder of this machine, or bytes in memory, as the next version of an artifact, or as the first one.
    ///
    /// It is read once, as a stream, and cut into chunks of about 2 MiB where its content says so; only chunks that the project does not
    /// have are stored, eight at a time. A put that was cut off leaves no version, and the next one sends the rest. Costs one
    /// request for each chunk, and one more for each that is new; holds about 20 MB of memory, at
    /// most 100, and for each chunk some hundred bytes. Of what a file system knows of a file only its name, its
    /// bytes and whether it is a program are kept; folders that nothing is in are kept too.
    ///
    /// A chunk that is gone or has another size than it must have is stored again, and so is a manifest that is damaged: then the earlier versions
    /// that name it can be read again too. The bytes of chunks that are there are not compared; [`Self::verify`] does that.
    ///
    /// With [`PutOptions::run`], the run's log says from then on that it made the version.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file or run; [`ErrorKind::Invalid`] naming what cannot be in a version: a symbolic link
    /// (only the path itself may be one), a name that is not UTF-8 or has a backslash or a control character in it, more than 2^42 bytes, a folder that the root is in; or if an
    /// alias cannot be one; [`ErrorKind::Conflict`] naming a file that changed while it was read, as far as sizes and times tell; those of the
    /// store. There is no version then, except where only the log of the run could not be written, which the error says.
    pub async fn put_artifact(
        &self,
        name: &str,
        source: impl Into<ArtifactSource> + Send,
        options: impl Into<PutOptions> + Send,
    ) -> Result<VersionRecord> {
        let (source, options) = (source.into(), options.into());
        self.run_files().put_artifact(name, source, options).await
    }

    /// Verifies every table, run and artifact of the project: as [`Table::verify`]; of runs that log entries and
    /// files can be read, of artifacts that all chunks are there and what they were.
    ///
    /// # Errors
    /// As [`Table::verify`].
    pub async fn verify(&self, options: impl Into<VerifyOptions> + Send) -> Result<Report> {
        let options = options.into();
        let mut report = Report::default();
        let tables: Vec<TableName> = names(&self.place.child("tables").folders().await?);
        for name in tables {
            let table = self.handle(name.as_str())?;
            match table.verify(options.clone()).await {
                Ok(found) => report.add(found),
                // A creation that was cut off: garbage, but no table.
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        for name in self.runs().await? {
            report.add(self.verify_run(&name, &options).await?);
        }
        report.add(artifact::verify(&self.place, &options).await?);
        Ok(report)
    }

    /// Verifies one table, also if it is too damaged to be opened: as [`Table::verify`].
    ///
    /// # Errors
    /// As [`Table::verify`].
    pub async fn verify_table(
        &self,
        name: &str,
        options: impl Into<VerifyOptions> + Send,
    ) -> Result<Report> {
        self.handle(name)?.verify(options).await
    }

    async fn verify_run(&self, name: &RunName, options: &VerifyOptions) -> Result<Report> {
        let runs = Runs::new(self.place.clone());
        let flaws = runs.flaws(name, options).await?;
        let folder = runs.place(name).path.to_string();
        let findings = flaws.into_iter().map(|(file, what)| Finding {
            severity: Severity::Damage,
            folder: folder.clone(),
            file,
            what,
            unreadable: Vec::new(),
        });
        Ok(Report {
            findings: findings.collect(),
            n_runs: 1,
            ..Report::default()
        })
    }

    /// Collects the garbage of every table of the project: as [`Table::gc`]; and that of its artifacts: chunks and
    /// manifests that no version names.
    ///
    /// # Errors
    /// As [`Table::gc`]; what was collected before the error stays collected.
    pub async fn gc(&self, options: impl Into<GcOptions> + Send) -> Result<Garbage> {
        let options = options.into();
        let mut garbage = Garbage::default();
        let tables: Vec<TableName> = names(&self.place.child("tables").folders().await?);
        for name in tables {
            let table = self.handle(name.as_str())?;
            garbage.add(table.gc(options.clone()).await?);
        }
        garbage.add(artifact::gc(&self.place, &options).await?);
        Ok(garbage)
    }

    /// The runs, by name. One listing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn runs(&self) -> Result<Vec<RunName>> {
        Runs::new(self.place.clone()).names().await
    }

    /// Every run's record, by name.
    ///
    /// Of a run that has ended, and that was read before through this root, it is only asked whether its log has grown; the records of runs that have ended
    /// are kept in memory, about four kilobytes each.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_records(&self) -> Result<Vec<RunRecord>> {
        let records = Runs::new(self.place.clone()).records().await?;
        Ok(records.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// What the run of that name is and became.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; those of the store.
    pub async fn run(&self, name: &str) -> Result<RunRecord> {
        Runs::new(self.place.clone()).read(&name.parse()?).await
    }

    /// What a run is made of: its code, how it was built and called, and where it ran; `None` if it says nothing of that. Two requests
    /// beside those of [`Self::run`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run, or naming the file if it is gone; [`ErrorKind::Corrupt`] naming it if it is damaged; those of the store.
    pub async fn provenance(&self, run: &str) -> Result<Option<Provenance>> {
        match self.run(run).await?.code {
            Some(code) => captured::read(&self.place, &code).await.map(Some),
            None => Ok(None),
        }
    }

    /// The difference between the code of a run and the commit that it names, as `git apply` takes it, without secrets; `None` if there is
    /// none, or it is not known. As expensive as [`Self::provenance`] and one request more.
    ///
    /// # Errors
    /// As [`Self::provenance`].
    pub async fn code_patch(&self, run: &str) -> Result<Option<String>> {
        let provenance = self.provenance(run).await?;
        let patch = provenance.and_then(|provenance| provenance.code?.patch);
        match patch {
            Some(patch) => captured::read_patch(&self.place, &patch.blake3)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    /// Starts a run: `"lenet"`, or [`RunOptions`] for more. Synchronous: it is for training programs.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if there is a run of that name that goes on or has ended (see
    /// [`RunOptions::name`], [`RunOptions::resume`]); [`ErrorKind::NotFound`] naming the run that it is to be a fork of; those of the store.
    pub fn start_run(&self, options: impl Into<RunOptions>) -> Result<Run> {
        Run::start(&self.place, options.into())
    }

    /// The files of a run's scalars; of a fork its own.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn scalar_files(&self, run: &RunName) -> Result<Vec<ScalarFile>> {
        self.run_files().scalar_files(run).await
    }

    /// The files of a run's sample metrics, each of one stream and one epoch.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn sample_files(&self, run: &RunName) -> Result<Vec<SampleFile>> {
        self.run_files().sample_files(run).await
    }

    /// The scalars of a run that count, with the columns of [`scalar_schema`](crate::run::scalar_schema): of one that was resumed, an attempt counts
    /// from its first step on, for each scalar and rank. What a fork took over (see [`RunOptions::fork`]) is its attempt 0. Reads all files of scalars of the run, and of the runs
    /// that a fork goes back to, as far as they are there.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a file that is damaged; those of the store.
    pub async fn scalars(&self, run: &RunName) -> Result<Vec<RecordBatch>> {
        self.run_files().scalars(run).await
    }

    /// The sample metrics of an epoch of a stream that count, with the columns of
    /// [`sample_schema`](crate::run::sample_schema). Rows of one batch are in the order of their row ids, or in the order
    /// they were logged in as long as their file grows.
    ///
    /// # Errors
    /// As [`Self::scalars`].
    pub async fn samples(
        &self,
        run: &RunName,
        stream: &StreamName,
        epoch: i64,
    ) -> Result<Vec<RecordBatch>> {
        self.run_files().samples(run, stream, epoch).await
    }

    /// The texts, the histograms or the files of a run that count, with the columns of
    /// [`item_schema`](crate::run::item_schema): an attempt counts as for [`Self::scalars`], and of texts without a step those of all
    /// attempts do. Texts of one name, writer and step are in the order they were logged in. Reads all files of that kind.
    ///
    /// # Errors
    /// As [`Self::scalars`].
    pub async fn items(&self, run: &RunName, kind: ItemKind) -> Result<Vec<RecordBatch>> {
        self.run_files().items(run, kind).await
    }

    /// All rows of a file of scalars or of sample metrics, whether it is folded or not; of one that grows those that its
    /// writer has written so far. Reads the file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file; [`ErrorKind::Corrupt`] naming it if it is
    /// damaged; those of the store.
    pub async fn read_metrics(&self, file: &Path) -> Result<Vec<RecordBatch>> {
        self.run_files().rows(file).await
    }

    pub(crate) fn run_files(&self) -> Runs {
        Runs::new(self.place.clone())
    }

    /// Its folder, and all that is needed to work in it.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    fn aliases_path(&self) -> Path {
        self.place.path.clone().join(aliases::FILE)
    }

    fn handle(&self, name: &str) -> Result<Table> {
        let name: TableName = name.parse()?;
        let place = self.place.child("tables").child(name.as_str());
        Ok(Table::new(place, self.name.clone(), name))
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Project({})", self.name)
    }
}

/// The names that are good ones; other folders are not ours.
fn names<T: std::str::FromStr>(folders: &[String]) -> Vec<T> {
    folders
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect()
}
