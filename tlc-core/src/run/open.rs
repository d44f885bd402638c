//! Starting a run, and joining one that another process has started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use futures::FutureExt as _;

use super::entries::{self, encode_entry};
use super::name;
use super::read::Runs;
use super::record::{Folded, RunStatus};
use super::reduces::Reduces;
use super::rows::Streams;
use super::segments::Identity;
use super::shared::{self, Shared};
use super::spool::{self, Spool};
use super::writer::{Opened, Writer};
use crate::alias::Aliases;
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Event, Fork, Process};
use crate::id::{Revision, RunName};
use crate::log::{Append, Log};
use crate::provenance::{Captured, Provenance, captured, captured_in};
use crate::store::Place;

/// How many generated names are tried before giving up.
const NAMES_MAX: usize = 8;

/// What is stored of what a run is made of.
#[derive(Clone, Debug, Default)]
enum Made {
    /// What the process finds out.
    #[default]
    Found,
    /// The same, but the code lies in this folder.
    FoundIn(PathBuf),
    NotSaid,
    Said(Box<Captured>),
}

/// How to start a run. A name alone will do: `project.start_run("baseline")`.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    name: Option<String>,
    rank: i32,
    joins: bool,
    resumes: bool,
    launch: Option<String>,
    fork: Option<(String, i64)>,
    reduces: Option<Reduces>,
    #[cfg(feature = "system")]
    is_without_system: bool,
    provenance: Made,
    params: BTreeMap<String, String>,
}

impl RunOptions {
    /// A new run with a generated readable name, such as `brisk-otter-3f2a`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the run.
    ///
    /// If there is a run of that name whose process is gone, it goes on: what is logged from now on is its next
    /// attempt, and takes the place of what the one before logged at the same steps and later. A program that is
    /// started anew with the same name, after a crash or a kill, therefore continues its run. Of
    /// a run that goes on or has ended, the name is taken.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Records the seed as the parameter `seed`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.params.insert("seed".to_owned(), seed.to_string());
        self
    }

    /// The rank of this process among those that write the same run; 0 if it is alone. It is the
    /// column `rank` of the scalars.
    #[must_use]
    pub fn rank(mut self, rank: i32) -> Self {
        self.rank = rank;
        self
    }

    /// Logs nothing of the machine. Otherwise scalars whose names begin with
    /// `system/` say every ten seconds what the machine and this process do: processor, memory, disk, network, and
    /// each GPU of NVIDIA.
    #[cfg(feature = "system")]
    #[must_use]
    pub fn without_system(mut self) -> Self {
        self.is_without_system = true;
        self
    }

    /// Stores nothing of what the run is made of. Otherwise its code, command line, environment and machine are written
    /// down when it starts, without secrets: see [`Provenance`].
    #[must_use]
    pub fn without_provenance(mut self) -> Self {
        self.provenance = Made::NotSaid;
        self
    }

    /// Looks for the code in this folder and those above it, and nowhere else; without it, where the program was started, and then where
    /// its executable lies. For a program that starts the one that trains.
    #[must_use]
    pub fn code_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.provenance = Made::FoundIn(folder.into());
        self
    }

    /// Says what the run is made of, in place of what this process finds out about itself: for a program that records another one.
    /// `patch` is the difference to the commit. Both are stored as they are: take secrets out with [`redacted`](crate::redacted) before.
    #[must_use]
    pub fn provenance(mut self, provenance: Provenance, patch: Option<String>) -> Self {
        self.provenance = Made::Said(Box::new(Captured::of(provenance, patch)));
        self
    }

    /// Joins the run of that name, which another process has started, as one more writer. The run is
    /// complete when the process that started it says so, and all others have ended.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Goes on with the run of that name also if it was completed or has failed, as its next attempt; starts it if there is
    /// none.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.resumes = true;
        self
    }

    /// Says that this process was started together with all others that say the same `id`, such as the
    /// number of a cluster's job and of its restart: whichever comes first starts the run, or resumes it if it is
    /// there from an earlier launch, and the others join. No process is special.
    #[must_use]
    pub fn launch(mut self, id: &str) -> Self {
        self.launch = Some(id.to_owned());
        self
    }

    /// Begins where the run `source` of the same project was before `step`: `RunOptions::from("slower").fork("first", 2_000)`. For a
    /// training that starts from the checkpoint of that step, with another setting, and is to have one curve.
    ///
    /// The fork has the parameters of `source` (its own take their place), what it read, and the curves of its scalars: what
    /// counts of the attempts that `source` has when the fork begins, at steps before `step`. A scalar that never comes to
    /// `step`, because it is counted in epochs or has ended, is the fork's as far as it was logged before the others had come there. As
    /// with attempts, from the first step on that the fork itself logs of a scalar, its own counts. What the machine did
    /// (`system/…`), sample metrics, texts, histograms and files stay with `source`, which may go on, have ended or
    /// be interrupted, and is never changed. It may be a fork itself.
    ///
    /// Curves are not copied: whoever deletes `source` takes them from its forks. Parameters, what was read and last values stay.
    /// Starting reads the log and all scalars of `source`. A fork whose process is gone goes on like any run, also without this
    /// call; with it, only if it is the fork of that run at that step.
    #[must_use]
    pub fn fork(mut self, source: &str, step: i64) -> Self {
        self.fork = Some((source.to_owned(), step));
        self
    }

    /// Says that the run is a reduction of another one, and gives it the parameters of that. If there is a run of its name, whatever
    /// became of it, the name is taken, unless it was interrupted and is this reduction.
    #[must_use]
    pub(crate) fn reduces(mut self, reduces: Reduces) -> Self {
        self.params.extend(reduces.params.clone());
        self.reduces = Some(reduces);
        self
    }
}

impl From<&str> for RunOptions {
    fn from(name: &str) -> Self {
        Self::new().name(name)
    }
}

impl From<String> for RunOptions {
    fn from(name: String) -> Self {
        Self {
            name: Some(name),
            ..Self::new()
        }
    }
}

impl From<&RunName> for RunOptions {
    fn from(name: &RunName) -> Self {
        Self::new().name(name.as_str())
    }
}

/// What the training thread has to know of a run that has begun.
pub(crate) struct Begun {
    pub(crate) name: RunName,
    pub(crate) streams: Streams,
    pub(crate) params: BTreeMap<String, String>,
    /// The run that it is a reduction of, which its log does not say yet.
    pub(crate) reduced: Option<RunName>,
    pub(crate) aliases: Aliases,
}

/// Starts the writer's thread, and waits until the run has begun in the log.
///
/// # Errors
/// Those of [`begin`]; [`ErrorKind::Unavailable`] if the system gives no thread.
pub(crate) fn spawn(
    project: Place,
    options: RunOptions,
    shared: Arc<Shared>,
) -> Result<(Begun, JoinHandle<()>)> {
    let (reply, answer) = sync_channel(1);
    let none = |err: std::io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            "the system gives no thread for the run's writer",
        )
        .with_source(err)
    };
    let writer = thread::Builder::new()
        .name("tlc-run".to_owned())
        .spawn(move || {
            let _stop = Stop(Arc::clone(&shared));
            match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime.block_on(work(project, options, shared, &reply)),
                Err(err) => reply.try_send(Err(none(err))).unwrap_or_default(),
            }
        })
        .map_err(none)?;
    let begun = answer.recv().map_err(|_gone| shared::stopped())??;
    Ok((begun, writer))
}

/// Says that the writer has stopped, however it does.
struct Stop(Arc<Shared>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn work(
    project: Place,
    options: RunOptions,
    shared: Arc<Shared>,
    reply: &SyncSender<Result<Begun>>,
) {
    match begin(&project, options).await {
        Ok((begun, opened)) => {
            reply.try_send(Ok(begun)).unwrap_or_default();
            Writer::new(shared, opened).work().await;
        }
        Err(err) => reply.try_send(Err(err)).unwrap_or_default(),
    }
}

/// Writes the first entry of a new run, or the one that joins or resumes a run.
///
/// # Errors
/// [`ErrorKind::Conflict`] if the name is taken, [`ErrorKind::NotFound`] if there is nothing to
/// join or to fork, [`ErrorKind::Invalid`] if the name is not one, the run has ended, or a fork is to join; those of the store.
async fn begin(project: &Place, options: RunOptions) -> Result<(Begun, Opened)> {
    match (&options.name, options.joins) {
        (_, true) if options.fork.is_some() => Err(Error::invalid(
            "a run that is joined has begun already: leave out join() or fork()",
        )),
        (Some(name), true) => join(project, name.parse()?, &options).await,
        (None, true) => Err(Error::invalid("to join a run, say its name")),
        (Some(name), false) => {
            let name: RunName = name.parse()?;
            let runs = Runs::new(project.clone());
            // What a fork that goes on was forked from may be gone.
            let is_there = options.fork.is_some() && runs.first(&name).await?.is_some();
            let begun = match is_there {
                true => None,
                false => {
                    let fork = fork(project, &options).await?;
                    start(project, &name, &options, fork).await?
                }
            };
            match begun {
                Some(begun) => Ok(begun),
                None => go_on(project, name, &options).await,
            }
        }
        (None, false) => {
            let fork = fork(project, &options).await?;
            for _ in 0..NAMES_MAX {
                let name = name::readable(&project.env.fresh_id()).parse()?;
                if let Some(begun) = start(project, &name, &options, fork.clone()).await? {
                    return Ok(begun);
                }
            }
            Err(Error::new(
                ErrorKind::Conflict,
                "all generated names are taken; name the run",
            ))
        }
    }
}

/// What the run begins with, if it is to be a fork.
async fn fork(project: &Place, options: &RunOptions) -> Result<Option<Box<Fork>>> {
    let Some((source, step)) = &options.fork else {
        return Ok(None);
    };
    let fork = Runs::new(project.clone()).fork(source, *step).boxed().await;
    let fork = fork.map_err(|err| err.context(format!("cannot fork run {source}")))?;
    Ok(Some(Box::new(fork)))
}

/// Resumes a run, or joins it if that was begun by a process of the same launch.
async fn go_on(project: &Place, name: RunName, options: &RunOptions) -> Result<(Begun, Opened)> {
    let runs = Runs::new(project.clone());
    loop {
        let folded = runs.judged(&name).await?;
        let is_ours = options.launch.is_some() && options.launch == folded.launch;
        let status = folded.record.status;
        let taken = |how: &str| {
            let message = format!("there is a run {name} already, which {how}");
            Err(Error::new(ErrorKind::Conflict, message))
        };
        if let Some(other) = forked_otherwise(&folded, options) {
            return taken(&format!("{other}; choose another name"));
        }
        if let Some(reduces) = &options.reduces {
            reduces.expect_same(&folded.record)?;
        }
        match status {
            _ if is_ours && status != RunStatus::Interrupted => {
                return enter(project, &name, options, folded).await;
            }
            RunStatus::Running => {
                return taken(
                    "goes on as far as is known; choose another name, or join it. If its process is gone, that shows within a minute",
                );
            }
            RunStatus::Completed | RunStatus::Failed
                if !(options.resumes || options.launch.is_some()) =>
            {
                return taken(&format!(
                    "has ended ({}); choose another name, or resume it",
                    status.as_str()
                ));
            }
            _ => {
                if let Some(begun) = resume(project, &name, options, folded).await? {
                    return Ok(begun);
                }
            }
        }
    }
}

/// What the run is, if it is not the fork that is asked for.
fn forked_otherwise(folded: &Folded, options: &RunOptions) -> Option<String> {
    let (source, step) = options.fork.as_ref()?;
    match &folded.record.forked {
        None => Some("is no fork".to_owned()),
        Some(fork) if fork.run.as_str() == source && fork.step == *step => None,
        Some(fork) => Some(format!(
            "was forked from {} at step {}",
            fork.run, fork.step
        )),
    }
}

/// The digits of a fresh id that writers are told apart by.
fn writer_id(project: &Place) -> String {
    let id = project.env.fresh_id();
    id.get(id.len().saturating_sub(16)..)
        .unwrap_or(&id)
        .to_owned()
}

fn process(project: &Place) -> Process {
    let process = project.env.process();
    Process {
        machine: process.machine,
        id: process.id,
        started: process.started,
    }
}

/// `None` if the name is taken.
async fn start(
    project: &Place,
    name: &RunName,
    options: &RunOptions,
    fork: Option<Box<Fork>>,
) -> Result<Option<(Begun, Opened)>> {
    let failed = |err: Error| err.context(format!("cannot start run {name}"));
    let aliases = project.aliases().await.map_err(failed)?;
    let runs = Runs::new(project.clone());
    let place = runs.place(name);
    let id = writer_id(project);
    let event = Event::Started {
        run: name.to_string(),
        author: project.env.author().to_owned(),
        writer: id.clone(),
        rank: options.rank,
        process: process(project),
        launch: options.launch.clone(),
        fork,
    };
    let entry = encode_entry(&place, event)?;
    let log = Log::of_thread(&place);
    let began = project.env.now();
    match log.append(Revision::FIRST, entry).await {
        Ok(Append::Written) => {}
        Ok(Append::Taken) => return Ok(None),
        Err(err) => return Err(failed(err)),
    }
    let begun = Begun {
        name: name.clone(),
        streams: Streams::default(),
        params: options.params.clone(),
        reduced: options
            .reduces
            .as_ref()
            .map(|reduces| reduces.source.clone()),
        aliases,
    };
    let (next, identity) = (Revision::FIRST.next(), identity(name, id, 1, options));
    let opened = opened(project, name, options, (next, identity, began));
    Ok(Some((begun, opened)))
}

fn identity(run: &RunName, writer: String, attempt: u32, options: &RunOptions) -> Identity {
    Identity {
        run: run.to_string(),
        writer,
        attempt,
        rank: options.rank,
    }
}

/// The folders of this machine's disk that a project, its root and its spool are in.
fn data(project: &Place) -> Vec<PathBuf> {
    let project_folder = project.on_disk();
    let root = project_folder.as_deref().and_then(Path::parent);
    let root = root.map(Path::to_path_buf);
    let spool = project.spool.as_ref().map(|spool| spool.folder.clone());
    let folders = project_folder.iter().cloned().chain(root).chain(spool);
    folders.collect()
}

/// A writer that says how the run ended, and takes over nothing.
fn opened(
    project: &Place,
    run: &RunName,
    options: &RunOptions,
    (next, identity, began): (Revision, Identity, Micros),
) -> Opened {
    #[cfg(not(feature = "system"))]
    let _machine = began;
    let captured = match &options.provenance {
        Made::Said(said) => Some(said.known()),
        // Under the clock of a test everything is as the test says.
        _ if project.env.is_manual() => None,
        Made::Found => Some(captured(&project.env, data(project))),
        Made::FoundIn(folder) => Some(captured_in(&project.env, folder, data(project))),
        Made::NotSaid => None,
    };
    // Without one, what is not in the store yet is kept in memory.
    let spool = project.spool.as_ref().and_then(|spool| {
        let begun = Spool::begin(spool, project, (run, &identity.writer));
        let warn = |err: &Error| {
            let err = format!("{err:#}");
            tracing::warn!(%run, err, "what is not uploaded yet is kept in memory");
        };
        begun.inspect_err(warn).ok()
    });
    Opened {
        runs: Runs::new(project.clone()),
        run: run.clone(),
        spool,
        next,
        identity,
        is_starter: true,
        captured,
        left: Vec::new(),
        #[cfg(feature = "system")]
        began,
        #[cfg(feature = "system")]
        is_without_system: options.is_without_system,
    }
}

async fn join(project: &Place, name: RunName, options: &RunOptions) -> Result<(Begun, Opened)> {
    let folded = Runs::new(project.clone()).folded(&name).await?;
    let status = folded.record.status;
    if status != RunStatus::Running {
        return Err(Error::invalid(format!(
            "run {name} has ended ({}); start another",
            status.as_str()
        )));
    }
    enter(project, &name, options, folded).await
}

/// Becomes one more writer of the newest attempt.
async fn enter(
    project: &Place,
    name: &RunName,
    options: &RunOptions,
    folded: Folded,
) -> Result<(Begun, Opened)> {
    let runs = Runs::new(project.clone());
    let place = runs.place(name);
    let id = writer_id(project);
    let event = Event::Joined {
        writer: id.clone(),
        rank: options.rank,
        process: process(project),
    };
    let entry = encode_entry(&place, event)?;
    let next = entries::append(Log::of_thread(&place), Revision(folded.n_entries), entry).await?;
    let identity = identity(name, id, folded.record.attempts, options);
    let began = folded.record.started;
    let begun = begun(project, name, options, folded).await?;
    let mut opened = opened(project, name, options, (next, identity, began));
    opened.is_starter = false;
    // It is made of what the process is made of that began the attempt.
    opened.captured = None;
    Ok((begun, opened))
}

/// Begins the next attempt; `None` if something was written to the log since `folded` was read.
async fn resume(
    project: &Place,
    name: &RunName,
    options: &RunOptions,
    folded: Folded,
) -> Result<Option<(Begun, Opened)>> {
    if spool::append_left_of(project, name).await {
        return Ok(None);
    }
    let runs = Runs::new(project.clone());
    let place = runs.place(name);
    let id = writer_id(project);
    let event = Event::Resumed {
        writer: id.clone(),
        rank: options.rank,
        process: process(project),
        launch: options.launch.clone(),
    };
    let entry = encode_entry(&place, event)?;
    let next = Revision(folded.n_entries);
    if Log::of_thread(&place).append(next, entry).await? == Append::Taken {
        return Ok(None);
    }
    let identity = identity(name, id, folded.record.attempts.saturating_add(1), options);
    let mut opened = opened(
        project,
        name,
        options,
        (next.next(), identity, folded.record.started),
    );
    if place.is_disk {
        opened.left = runs.left_segments(name, &folded).await?;
    }
    Ok(Some((begun(project, name, options, folded).await?, opened)))
}

async fn begun(
    project: &Place,
    name: &RunName,
    options: &RunOptions,
    folded: Folded,
) -> Result<Begun> {
    let mut streams = Streams::default();
    for stream in folded.record.streams {
        streams.insert(stream.name, stream.schema);
    }
    Ok(Begun {
        name: name.clone(),
        streams,
        params: options.params.clone(),
        // It goes on only if its log says so.
        reduced: None,
        aliases: project.aliases().await?,
    })
}
