//! Starting a run, and joining one that another process has started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::name;
use super::read::Runs;
use super::record::RunStatus;
use super::rows::Streams;
use super::shared::{self, Shared};
use super::writer::{Opened, Writer, encode_entry};
use crate::alias::Aliases;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Event, Process};
use crate::id::{Revision, RunName};
use crate::log::{Append, Log};
use crate::store::Place;

/// How many generated names are tried before giving up.
const NAMES_MAX: usize = 8;

/// How to start a run. A name alone will do: `project.start_run("baseline")`.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    name: Option<String>,
    rank: i32,
    joins: bool,
    #[cfg(feature = "system")]
    is_without_system: bool,
    params: BTreeMap<String, String>,
}

impl RunOptions {
    /// A new run with a generated readable name, such as `brisk-otter-3f2a`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the run. The name must be free.
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

    /// Joins the run of that name, which another process has started, as one more writer. The
    /// process that started it says when it is complete.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.joins = true;
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

/// Writes the first entry of a new run, or the one that joins a run.
///
/// # Errors
/// [`ErrorKind::Conflict`] if the name is taken, [`ErrorKind::NotFound`] if there is nothing to
/// join, [`ErrorKind::Invalid`] if the name is not one or the run has ended; those of the store.
async fn begin(project: &Place, options: RunOptions) -> Result<(Begun, Opened)> {
    match (&options.name, options.joins) {
        (Some(name), true) => join(project, name.parse()?, &options).await,
        (None, true) => Err(Error::invalid("to join a run, say its name")),
        (Some(name), false) => {
            let name: RunName = name.parse()?;
            let taken = || {
                Error::new(
                    ErrorKind::Conflict,
                    format!("there is a run {name} already; choose another name"),
                )
            };
            start(project, &name, &options).await?.ok_or_else(taken)
        }
        (None, false) => {
            for _ in 0..NAMES_MAX {
                let name = name::readable(&project.env.fresh_id()).parse()?;
                if let Some(begun) = start(project, &name, &options).await? {
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
    };
    let entry = encode_entry(&place, event)?;
    let log = Log::of(&place);
    match log.append(Revision::FIRST, entry).await {
        Ok(Append::Written) => {}
        Ok(Append::Taken) => return Ok(None),
        Err(err) => return Err(failed(err)),
    }
    let begun = Begun {
        name: name.clone(),
        streams: Streams::default(),
        params: options.params.clone(),
        aliases,
    };
    let next = Revision::FIRST.next();
    Ok(Some((
        begun,
        Opened {
            runs,
            run: name.clone(),
            next,
            id,
            rank: options.rank,
            is_starter: true,
            #[cfg(feature = "system")]
            is_without_system: options.is_without_system,
        },
    )))
}

async fn join(project: &Place, name: RunName, options: &RunOptions) -> Result<(Begun, Opened)> {
    let aliases = project.aliases().await?;
    let runs = Runs::new(project.clone());
    let place = runs.place(&name);
    let record = runs.folded(&name).await?.record;
    if record.status != RunStatus::Running {
        return Err(Error::invalid(format!(
            "run {name} has ended ({}); start another",
            record.status.as_str()
        )));
    }
    let mut streams = Streams::default();
    for stream in record.streams {
        streams.insert(stream.name, stream.schema);
    }
    let id = writer_id(project);
    let event = Event::Joined {
        writer: id.clone(),
        rank: options.rank,
        process: process(project),
    };
    let entry = encode_entry(&place, event)?;
    let log = Log::of(&place);
    let mut next = Revision::FIRST.next();
    while log.append(next, entry.clone()).await? == Append::Taken {
        next = next.next();
    }
    let next = next.next();
    let begun = Begun {
        name: name.clone(),
        streams,
        params: options.params.clone(),
        aliases,
    };
    Ok((
        begun,
        Opened {
            runs,
            run: name,
            next,
            id,
            rank: options.rank,
            is_starter: false,
            #[cfg(feature = "system")]
            is_without_system: options.is_without_system,
        },
    ))
}
