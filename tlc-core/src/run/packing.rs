//! Who writes a project's pack, and when: a writer whose run has ended, if enough runs are new.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::time::timeout;

use super::ended::{Decoded, decode};
use super::logs::{self, Known, RunLog};
use super::pack::{self, BEFORE_HEAD, LOG_BYTES_MAX, PACK, Pack};
use super::read::Runs;
use crate::alias::Aliases;
use crate::error::Result;
use crate::id::RunName;
use crate::store;

/// One in so many writers looks whether a new pack is due.
const LOOKS: u8 = 16;

/// How many runs must be new for a new pack at least, and otherwise which part of all: a log is written into a few packs, however
/// many runs there are.
const NEW_MIN: u64 = 64;
const NEW_PART: u64 = 4;

/// How many logs are read for a new pack at most: the rest is left to the next.
const NEW_LOGS_MAX: usize = 4_096;

/// How long the end of a run waits at most until a pack is written.
const PACK_WAIT_MAX: Duration = Duration::from_secs(5);

impl Runs {
    fn pack_path(&self) -> Path {
        let path = self.project().path.clone();
        PACK.into_iter().fold(path, Path::join)
    }

    /// The pack of the project, if there is one that can be read. One request.
    pub(crate) async fn pack(&self) -> Option<Pack> {
        let file = store::read(&*self.project().store, &self.pack_path()).await;
        Pack::decode(&file.ok()??)
    }

    /// Writes the pack anew if so many runs are new since it was written that this is due. Called at the end of a run by its writer, of whom one in
    /// [`LOOKS`] looks. Whether it is done matters to nobody but who waits for the next question.
    pub(crate) async fn pack_if_due(&self, writer: &str) {
        let [chance, start, ..] = *blake3::hash(writer.as_bytes()).as_bytes();
        if chance.is_multiple_of(LOOKS) {
            let work = Box::pin(self.write_due_pack(start.into()));
            drop(timeout(PACK_WAIT_MAX, work).await);
        }
    }

    async fn write_due_pack(&self, start: usize) -> Result<()> {
        let names = self.names().await?;
        let (n_runs, path) = (names.len() as u64, self.pack_path());
        let store = &self.project().store;
        // Also where there is none, or a damaged one.
        let before = store.get_range(&path, 0..BEFORE_HEAD as u64).await;
        let n_looked = before.ok().and_then(|before| pack::n_looked(&before));
        let n_looked = n_looked.unwrap_or(0);
        if !is_due(n_runs, n_looked) {
            return Ok(());
        }
        let pack = self.new_pack(&names, start).await?;
        store.put(&path, pack.encode()?.into()).await?;
        Ok(())
    }

    /// What holds of the pack, and the runs that have ended since. Of very many new ones some, beginning with number `start`.
    async fn new_pack(&self, names: &[RunName], start: usize) -> Result<Pack> {
        let former = self.pack().await.unwrap_or_default().logs;
        let known: Vec<Known> = former.iter().map(|(run, log)| log.known(run)).collect();
        let same = logs::are_same(self.project(), known).await?;
        let former = former.into_iter().zip(same);
        let mut logs: BTreeMap<RunName, RunLog> = former
            .filter_map(|(packed, is_same)| is_same.then_some(packed))
            .collect();
        let mut new: Vec<&RunName> = names
            .iter()
            .filter(|name| !logs.contains_key(*name))
            .collect();
        let n_left = new.len().saturating_sub(NEW_LOGS_MAX);
        if n_left > 0 {
            // A run that never ends must not stand in the way of others for ever.
            let start = start * new.len() / 256;
            new.rotate_left(start);
            new.truncate(NEW_LOGS_MAX);
        }
        let new: Vec<RunName> = new.into_iter().cloned().collect();
        let read = logs::read(self.project(), new.clone()).await?;
        let read = new.into_iter().zip(read);
        let read: Vec<(RunName, RunLog)> = read
            .filter_map(|(name, log)| Some((name, log?)))
            .filter(|(_, log)| log.bytes() <= LOG_BYTES_MAX)
            .collect();
        let decoded = decode(read.clone(), &Aliases::new()).await?;
        let is_ended = decoded
            .iter()
            .map(|(_, decoded)| matches!(decoded, Decoded::Ended(_)));
        let ended = read.into_iter().zip(is_ended);
        logs.extend(ended.filter_map(|(read, is_ended)| is_ended.then_some(read)));
        let n_looked = (names.len() - n_left) as u64;
        Ok(Pack { n_looked, logs })
    }
}

/// Whether a pack is due where there are `n_runs`, and `n_looked` were looked at for the last one: also if many are gone since.
fn is_due(n_runs: u64, n_looked: u64) -> bool {
    n_runs.abs_diff(n_looked) > NEW_MIN.max(n_runs.min(n_looked) / NEW_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_into_few_packs_however_many_runs_there_are() {
        let (mut n_looked, mut written) = (0, 0);
        for n_runs in 0..100_000_u64 {
            if is_due(n_runs, n_looked) {
                (n_looked, written) = (n_runs, written + n_runs);
            }
        }
        assert!(n_looked > 75_000, "{n_looked} runs are packed");
        assert!(written < 500_000, "{written} logs were written");
        assert!(!is_due(64, 0) && is_due(65, 0));
        assert!(!is_due(1_250, 1_000) && is_due(1_251, 1_000));
        assert!(is_due(10, u64::MAX), "a number that cannot be");
    }
}
