//! The records of many runs, where those of runs that have ended are read once.
//!
//! What a log says of a run that has ended, and whose writers have all ended, is true until the log grows. So such a record is kept in memory, for
//! all who work through one opened root, and with each question only the logs are asked whether they are the
//! same ([`super::logs`]). A process that has read nothing yet finds the logs in the project's pack ([`super::pack`]), which
//! writers write when enough runs are new ([`super::packing`]). All other runs are read as if they were alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::logs::{self, Known, Mark, RunLog, spread};
use super::read::{Runs, expand, fold_log};
use super::record::{Folded, RunRecord};
use crate::alias::Aliases;
use crate::error::{ErrorKind, Result};
use crate::id::RunName;

/// How many runs that go on are read at the same time.
const READS_MAX: usize = 16;

/// How many runs are looked at in one go: what bounds the memory that logs take on their way.
const GO: usize = 4_096;

/// How many runs that are not known yet make it worth reading the pack.
const UNKNOWN_MIN: usize = 16;

/// The most records that are kept of a project: about four kilobytes each.
const KEPT_MAX: usize = 1 << 17;

/// What is kept of the runs of a project that have ended.
#[derive(Default)]
pub(crate) struct Ended(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The aliases that stand in the records.
    aliases: Aliases,
    runs: BTreeMap<RunName, KeptRun>,
    /// What is not decoded yet of the pack; `None` until it is read.
    packed: Option<BTreeMap<RunName, RunLog>>,
}

#[derive(Clone)]
pub(crate) struct KeptRun {
    record: Arc<RunRecord>,
    n_entries: u64,
    mark: Mark,
}

impl Ended {
    /// What is kept, with these aliases in the records.
    fn lock(&self, aliases: &Aliases) -> MutexGuard<'_, Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.aliases.iter().eq(aliases.iter()) {
            *kept = Kept {
                aliases: aliases.clone(),
                ..Kept::default()
            };
        }
        kept
    }
}

impl Kept {
    /// What has to be asked of the logs of those of `names` that are known.
    fn known(&self, names: &[RunName]) -> Vec<Known> {
        let packed = |name| {
            let log: &RunLog = self.packed.as_ref()?.get(name)?;
            Some((log.n_entries(), &log.mark))
        };
        let known = names.iter().filter_map(|name| {
            let kept = self.runs.get(name).map(|run| (run.n_entries, &run.mark));
            let (n_entries, mark) = kept.or_else(|| packed(name))?;
            Some(Known {
                run: name.clone(),
                n_entries,
                mark: mark.clone(),
            })
        });
        known.collect()
    }

    /// Whether enough of `names` are unknown for the pack to be of use.
    fn lacks_pack(&self, names: &[RunName]) -> bool {
        let unknown = names.iter().filter(|name| !self.runs.contains_key(*name));
        self.packed.is_none() && unknown.take(UNKNOWN_MIN).count() == UNKNOWN_MIN
    }

    fn keep(&mut self, name: RunName, run: KeptRun) {
        if self.runs.len() < KEPT_MAX {
            self.runs.insert(name, run);
        }
    }
}

impl Runs {
    /// The records of the runs of `names` in their order; a folder that no run began in is left out.
    ///
    /// Of a run that has ended and was read before, or that is packed, it is only asked whether its log is the same: two look-ups
    /// on a disk, a listing elsewhere. Of any other run as [`Self::read`].
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn records_of(&self, names: &[RunName]) -> Result<Vec<Arc<RunRecord>>> {
        let aliases = self.project().aliases().await?;
        let mut records = Vec::with_capacity(names.len());
        let ended: Arc<Ended> = self.project().remembered.of(&self.project().path);
        let lacks_pack = ended.lock(&aliases).lacks_pack(names);
        if lacks_pack {
            let packed = self.pack().await.unwrap_or_default().logs;
            ended.lock(&aliases).packed = Some(packed);
        }
        for names in names.chunks(GO) {
            let mut found = self.unchanged(&ended, &aliases, names).await?;
            let missing = names.iter().filter(|name| !found.contains_key(*name));
            let missing: Vec<RunName> = missing.cloned().collect();
            found.extend(self.read_anew(&ended, &aliases, missing).await?);
            records.extend(names.iter().filter_map(|name| found.remove(name)));
        }
        Ok(records)
    }

    /// Those of `names` that are known and have not changed.
    async fn unchanged(
        &self,
        ended: &Ended,
        aliases: &Aliases,
        names: &[RunName],
    ) -> Result<BTreeMap<RunName, Arc<RunRecord>>> {
        let known = ended.lock(aliases).known(names);
        let same = logs::are_same(self.project(), known.clone()).await?;
        let (mut found, mut packed) = (BTreeMap::new(), Vec::new());
        {
            let mut kept = ended.lock(aliases);
            for (Known { run, .. }, is_same) in known.into_iter().zip(same) {
                let log = kept.packed.as_mut().and_then(|logs| logs.remove(&run));
                match (kept.runs.get(&run), log) {
                    (Some(known), _) if is_same => {
                        drop(found.insert(run, Arc::clone(&known.record)));
                    }
                    (None, Some(log)) if is_same => packed.push((run, log)),
                    // It goes on, or is another one.
                    _ => drop(kept.runs.remove(&run)),
                }
            }
        }
        for (name, decoded) in decode(packed, aliases).await? {
            if let Decoded::Ended(run) = decoded {
                found.insert(name.clone(), Arc::clone(&run.record));
                ended.lock(aliases).keep(name, run);
            }
        }
        Ok(found)
    }

    /// Those of `names` that there are; keeps those that have ended.
    async fn read_anew(
        &self,
        ended: &Ended,
        aliases: &Aliases,
        names: Vec<RunName>,
    ) -> Result<BTreeMap<RunName, Arc<RunRecord>>> {
        let logs = logs::read(self.project(), names.clone()).await?;
        let (mut found, mut others) = (BTreeMap::new(), Vec::new());
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for (name, log) in names.into_iter().zip(logs) {
            match log {
                Some(log) => read.push((name, log)),
                None => unread.push(name),
            }
        }
        for (name, decoded) in decode(read, aliases).await? {
            match decoded {
                Decoded::Ended(run) => {
                    found.insert(name.clone(), Arc::clone(&run.record));
                    ended.lock(aliases).keep(name, run);
                }
                Decoded::Open(folded) => others.push((name, Some(folded))),
                Decoded::Wrong => unread.push(name),
            }
        }
        others.extend(unread.into_iter().map(|name| (name, None)));
        let reads: Vec<_> = others
            .into_iter()
            .map(|(name, folded)| self.read_alone(name, folded).boxed())
            .collect();
        let read: Vec<_> = stream::iter(reads)
            .buffer_unordered(READS_MAX)
            .try_collect()
            .await?;
        found.extend(read.into_iter().flatten());
        Ok(found)
    }

    /// One that goes on, or whose log is not as it should be; `None` if there is none.
    async fn read_alone(
        &self,
        name: RunName,
        folded: Option<Box<Folded>>,
    ) -> Result<Option<(RunName, Arc<RunRecord>)>> {
        let record = match folded {
            Some(folded) => self.settle(&name, *folded).await,
            None => self.read(&name).await,
        };
        match record {
            Ok(record) => Ok(Some((name, Arc::new(record)))),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }
}

/// What a log says of a run.
pub(crate) enum Decoded {
    /// All that there is to know, unless it grows.
    Ended(KeptRun),
    /// The run goes on, or some of its writers may.
    Open(Box<Folded>),
    /// It cannot be read.
    Wrong,
}

/// Decodes logs, on as many threads as there are processors; in their order.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the system gives no threads.
pub(crate) async fn decode(
    logs: Vec<(RunName, RunLog)>,
    aliases: &Aliases,
) -> Result<Vec<(RunName, Decoded)>> {
    let aliases = aliases.clone();
    spread(logs, move |(name, log)| {
        let decoded = match fold_log(&name, &log.entries) {
            Ok(folded) if folded.has_ended() => {
                let mut record = folded.record;
                expand(&mut record, &aliases);
                Decoded::Ended(KeptRun {
                    record: Arc::new(record),
                    n_entries: log.n_entries(),
                    mark: log.mark,
                })
            }
            Ok(folded) => Decoded::Open(Box::new(folded)),
            Err(_) => Decoded::Wrong,
        };
        (name, decoded)
    })
    .await
}
