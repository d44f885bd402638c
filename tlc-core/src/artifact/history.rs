//! The log of one artifact: read, and gone on with.

use bytes::Bytes;

use super::Artifact;
use super::record::ArtifactRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::format::VERSION;
use crate::format::artifact::{Entry, Event};
use crate::id::Revision;
use crate::log::{Append, Log};

/// How often a number that somebody else has taken meanwhile is a reason to try the next.
const ATTEMPTS_MAX: usize = 1_000;

/// An artifact as its log says so far.
#[derive(Debug)]
pub(super) struct History {
    pub(super) record: ArtifactRecord,
    artifact: Artifact,
    log: Log,
    n_entries: u64,
}

impl History {
    /// Reads the log to its end; of an artifact that is not there, that is nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the entry that is damaged, [`ErrorKind::Invalid`] if a newer version wrote it; those of the store.
    pub(super) async fn read(artifact: &Artifact) -> Result<Self> {
        let mut history = Self {
            record: ArtifactRecord::new(artifact.name.clone()),
            artifact: artifact.clone(),
            log: Log::of(&artifact.place()),
            n_entries: 0,
        };
        let entries = history.log.entries(Revision::FIRST).await;
        let entries = entries.map_err(|err| err.context(format!("cannot read {artifact}")))?;
        history.add(&entries)?;
        Ok(history)
    }

    /// Finds out whether entries can be appended safely, for a caller with much to do before that.
    pub(super) async fn check_store(&self) -> Result<()> {
        self.log.check_store().await
    }

    /// Appends what `event` makes of the artifact as it is when the entry lands: it is asked anew each time that another
    /// entry came first. Without an event nothing is appended, and the answer is `false`.
    ///
    /// # Errors
    /// Those of `event` and of the store; [`ErrorKind::Unavailable`] if others came first all the time.
    pub(super) async fn append(
        &mut self,
        event: impl Fn(&ArtifactRecord) -> Result<Option<Event>> + Send,
    ) -> Result<bool> {
        let env = self.artifact.project.env.clone();
        let stamp = env.fresh_id();
        for _ in 0..ATTEMPTS_MAX {
            let Some(event) = event(&self.record)? else {
                return Ok(false);
            };
            let entry = Entry {
                format: VERSION,
                stamp: stamp.clone(),
                author: env.author().to_owned(),
                time: env.now().to_rfc3339(),
                event,
                sum: None,
            };
            let entry = entry.encoded()?;
            let next = Revision(self.n_entries);
            match self.log.append(next, entry.clone()).await? {
                Append::Written => return self.add(&[entry]).map(|()| true),
                Append::Taken => {
                    let others = self.log.entries(next).await?;
                    self.add(&others)?;
                }
            }
        }
        let artifact = &self.artifact;
        let message = format!("{artifact} changes all the time; try again");
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn add(&mut self, entries: &[Bytes]) -> Result<()> {
        for bytes in entries {
            let what = format!("entry {} of artifact {}", self.n_entries, self.artifact);
            let entry = Entry::decoded(&what, bytes)?;
            let applied = self.record.apply(entry);
            applied.map_err(|err| Error::corrupt(what).with_source(err))?;
            self.n_entries += 1;
        }
        Ok(())
    }
}
