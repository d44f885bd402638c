//! The background thread of a run: drains the buffer to immutable files and log entries.
//!
//! It has a runtime of its own, so neither the training program nor its threads need one. Trouble
//! of the store never leaves this thread except as an answer to somebody who asked: what could not
//! be stored is tried again, under the same name with the same bytes, at the next tick.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::time::{Instant, sleep, timeout};

use super::buffer::{Lost, SCALARS_FLUSH, Scalars, Take, Taken};
use super::read::Runs;
use super::record::{RunRecord, lost_text};
use super::segment;
use super::shared::{Ask, Request, Shared};
#[cfg(feature = "system")]
use super::system::System;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Entry, Event, Last, Number, Outcome};
use crate::format::{self, VERSION};
use crate::id::{Revision, RunName};
use crate::log::{Append, Log};
use crate::store::Place;

/// How often metrics are stored in the first minute of a run.
pub const FLUSH_EVERY_MIN: Duration = Duration::from_secs(2);

/// How often metrics are stored in a long run: less often, so that its files do not grow too many.
pub const FLUSH_EVERY_MAX: Duration = Duration::from_secs(10);

/// How often a run says that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// How long finishing pauses before it tries a store again that has failed.
const FINISH_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A file that is not stored yet.
struct File {
    path: Path,
    bytes: Bytes,
    holds: Lost,
    sample_bytes: usize,
}

/// See the module.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    runs: Runs,
    run: RunName,
    place: Place,
    log: Log,
    /// The number of the next entry, unless another writer has it.
    next: Revision,
    /// Entries to be appended, in order.
    entries: VecDeque<Bytes>,
    /// Files to be stored, in order.
    files: VecDeque<File>,
    n_files: u64,
    id: String,
    rank: i32,
    /// Whether it began the run, or joined it.
    is_starter: bool,
    #[cfg(feature = "system")]
    system: Option<Box<System>>,
    names: Vec<Arc<str>>,
    lasts: Vec<Option<(i64, f64)>>,
    spare: Scalars,
    lost_told: Lost,
    error: Option<Error>,
    started: Instant,
    flushed: Instant,
    beat: Instant,
}

/// What a writer is made from.
pub(crate) struct Opened {
    pub(crate) runs: Runs,
    pub(crate) run: RunName,
    pub(crate) next: Revision,
    pub(crate) id: String,
    pub(crate) rank: i32,
    pub(crate) is_starter: bool,
    #[cfg(feature = "system")]
    pub(crate) is_without_system: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let Opened {
            runs,
            run,
            next,
            id,
            rank,
            is_starter,
            #[cfg(feature = "system")]
            is_without_system,
        } = opened;
        let place = runs.place(&run);
        let log = Log::of(&place);
        let now = Instant::now();
        Self {
            shared,
            runs,
            run,
            place,
            log,
            next,
            entries: VecDeque::new(),
            files: VecDeque::new(),
            n_files: 0,
            id,
            rank,
            is_starter,
            #[cfg(feature = "system")]
            system: (!is_without_system)
                .then(System::new)
                .flatten()
                .map(Box::new),
            names: Vec::new(),
            lasts: Vec::new(),
            spare: Scalars::with_capacity(SCALARS_FLUSH),
            lost_told: Lost::default(),
            error: None,
            started: now,
            flushed: now,
            beat: now,
        }
    }

    /// Works until the run is finished.
    pub(crate) async fn work(mut self) {
        loop {
            let tick = self.flush_at().min(self.beat + HEARTBEAT_EVERY);
            let pause = tick.saturating_duration_since(Instant::now());
            // Woken or not, there may be something to do.
            timeout(pause, self.shared.wake.notified())
                .await
                .unwrap_or_default();
            let requests = std::mem::take(&mut self.shared.lock().requests);
            let is_due = self.flush_at() <= Instant::now();
            self.round(!requests.is_empty(), is_due).await;
            self.heartbeat().await;
            if self.answer(requests).await {
                return;
            }
        }
    }

    fn flush_at(&self) -> Instant {
        let every = (self.started.elapsed() / 30).clamp(FLUSH_EVERY_MIN, FLUSH_EVERY_MAX);
        self.flushed + every
    }

    /// Answers those who wait. `true` when the run is finished.
    async fn answer(&mut self, requests: Vec<Request>) -> bool {
        let mut finished = false;
        for Request { ask, reply } in requests {
            let answer = match ask {
                Ask::Flush => self.report().map(|()| None),
                Ask::Finish(outcome, reason) => {
                    finished = true;
                    self.finish(outcome, reason).await.map(Some)
                }
            };
            // Nobody listens any more where the caller did not want to wait.
            reply.try_send(answer).unwrap_or_default();
        }
        finished
    }

    /// Stores what is there to be stored: everything if asked or due, else what has reached its size.
    async fn round(&mut self, asked: bool, is_due: bool) {
        self.error = None;
        self.append_entries().await;
        self.store_files().await;
        // While the store fails, few large files wait for it rather than many small ones.
        let take = match asked || (is_due && self.files.is_empty()) {
            true => Take::All,
            false => Take::Full,
        };
        if is_due || asked {
            self.flushed = Instant::now();
        }
        let taken = self.shared.lock().buffer.take(take, &mut self.spare);
        self.encode(taken);
        self.store_files().await;
    }

    fn is_clean(&self) -> bool {
        self.files.is_empty() && self.entries.is_empty()
    }

    async fn append_entries(&mut self) {
        let events = std::mem::take(&mut self.shared.lock().events);
        for event in events {
            self.queue(event);
        }
        while let Some(entry) = self.entries.front().cloned() {
            match self.log.append(self.next, entry).await {
                Ok(Append::Written) => {
                    self.entries.pop_front();
                    self.next = self.next.next();
                }
                Ok(Append::Taken) => self.next = self.next.next(),
                Err(err) => return self.error = Some(err),
            }
        }
    }

    /// Once encoded, an entry keeps its stamp: tried again, it is recognised as the same.
    fn queue(&mut self, event: Event) {
        match encode_entry(&self.place, event) {
            Ok(entry) => self.entries.push_back(entry),
            Err(err) => self.error = Some(err),
        }
    }

    fn encode(&mut self, taken: Taken) {
        let Taken {
            mut scalars,
            names,
            groups,
        } = taken;
        self.names.extend(names);
        if scalars.len() > 0 {
            self.remember_last(&scalars);
            let file = segment::encode_scalars(&scalars, &self.names, self.rank);
            let path = segment::scalar_path(&self.id, self.n_files);
            self.add_file(
                &path,
                file,
                Lost {
                    scalars: scalars.len() as u64,
                    sample_rows: 0,
                },
                0,
            );
        }
        scalars.clear();
        if scalars.values.capacity() > self.spare.values.capacity() {
            self.spare = scalars;
        }
        for group in groups {
            let path = segment::sample_path(&group.stream, group.epoch, &self.id, self.n_files);
            let holds = Lost {
                scalars: 0,
                sample_rows: group.n_rows as u64,
            };
            self.add_file(&path, segment::encode_samples(&group), holds, group.bytes);
        }
    }

    fn remember_last(&mut self, scalars: &Scalars) {
        self.lasts.resize(self.names.len(), None);
        for ((name, step), value) in scalars
            .names
            .iter()
            .zip(&scalars.steps)
            .zip(&scalars.values)
        {
            if let Some(last) = self.lasts.get_mut(*name as usize)
                && last.is_none_or(|(last, _)| *step >= last)
            {
                *last = Some((*step, *value));
            }
        }
    }

    fn add_file(&mut self, name: &str, encoded: Result<Bytes>, holds: Lost, sample_bytes: usize) {
        let path = name
            .split('/')
            .fold(self.place.path.clone(), |path, part| path.join(part));
        self.n_files += 1;
        match encoded {
            Ok(bytes) => self.files.push_back(File {
                path,
                bytes,
                holds,
                sample_bytes,
            }),
            Err(err) => {
                self.shared.given_up(holds, sample_bytes);
                self.error = Some(err.context(format!("cannot encode {path}")));
            }
        }
    }

    async fn store_files(&mut self) {
        while let Some(file) = self.files.front() {
            if let Err(err) = self
                .place
                .store
                .put(&file.path, file.bytes.clone().into())
                .await
            {
                let err = Error::from(err).context(format!("cannot write {}", file.path));
                return self.error = Some(err);
            }
            self.shared.stored(
                usize::try_from(file.holds.scalars).unwrap_or(usize::MAX),
                file.sample_bytes,
            );
            self.files.pop_front();
            self.heartbeat().await;
        }
    }

    /// Says that the run lives, if it is time to. A store that fails is heard of elsewhere.
    async fn heartbeat(&mut self) {
        if self.beat.elapsed() < HEARTBEAT_EVERY {
            return;
        }
        self.beat = Instant::now();
        #[cfg(feature = "system")]
        self.log_system();
        let beat =
            serde_json::json!({ "format": VERSION, "time": self.place.env.now().to_rfc3339() });
        let path = self.place.path.clone().join("heartbeat");
        drop(self.place.store.put(&path, beat.to_string().into()).await);
    }

    #[cfg(feature = "system")]
    fn log_system(&mut self) {
        let values = self
            .system
            .as_deref_mut()
            .map(System::sample)
            .unwrap_or_default();
        let values: Vec<(&str, f64)> = values
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let step = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        let mut state = self.shared.lock();
        // Nobody waits here for room that only this thread can make.
        if state.buffer.fits_scalars(values.len()) {
            state
                .buffer
                .push_scalars(step, self.place.env.now().0, &values);
        } else {
            state.buffer.lose(Lost {
                scalars: values.len() as u64,
                sample_rows: 0,
            });
        }
    }

    /// What somebody who flushed has to know. A loss is told once.
    fn report(&mut self) -> Result<()> {
        let lost = self.shared.lock().buffer.lost();
        let news = Lost {
            scalars: lost.scalars - self.lost_told.scalars,
            sample_rows: lost.sample_rows - self.lost_told.sample_rows,
        };
        self.lost_told = lost;
        let mut told = Vec::new();
        if !self.is_clean() {
            let waiting = self.waiting();
            told.push(format!(
                "{} scalars, {} rows of sample metrics and {} log entries are not stored yet; they are kept in memory and tried again",
                waiting.scalars,
                waiting.sample_rows,
                self.entries.len()
            ));
        }
        if !news.is_none() {
            told.push(lost_text(news));
        }
        if told.is_empty() {
            return Ok(());
        }
        let err = Error::new(
            ErrorKind::Unavailable,
            format!("run {}: {}", self.run, told.join("; ")),
        );
        Err(match self.error.take() {
            Some(source) => err.with_source(source),
            None => err,
        })
    }

    fn waiting(&self) -> Lost {
        let mut waiting = Lost::default();
        for file in &self.files {
            waiting.add(file.holds);
        }
        waiting
    }

    /// Stores the rest, says in the log how the run ended, and reads back what it became.
    async fn finish(&mut self, outcome: Outcome, reason: Option<String>) -> Result<RunRecord> {
        for pause in FINISH_PAUSES {
            if self.is_clean() {
                break;
            }
            sleep(pause).await;
            self.round(true, true).await;
        }
        for file in std::mem::take(&mut self.files) {
            self.shared.given_up(file.holds, file.sample_bytes);
        }
        let why = self.error.take();
        let event = self.end(outcome, reason);
        self.queue(event);
        for pause in FINISH_PAUSES {
            self.append_entries().await;
            if self.is_clean() {
                break;
            }
            sleep(pause).await;
        }
        if !self.is_clean() {
            let lost = self.shared.lock().buffer.lost();
            let lost = if lost.is_none() {
                String::new()
            } else {
                format!("; {}", lost_text(lost))
            };
            let message = format!(
                "run {} could not be marked as ended, and will read as interrupted{lost}",
                self.run
            );
            let err = Error::new(ErrorKind::Unavailable, message);
            return Err(match self.error.take().or(why) {
                Some(source) => err.with_source(source),
                None => err,
            });
        }
        self.runs.read(&self.run).await
    }

    fn end(&self, outcome: Outcome, reason: Option<String>) -> Event {
        let (writer, last) = (self.id.clone(), self.last());
        let lost = self.shared.lock().buffer.lost();
        let lost = format::run::Lost {
            scalars: lost.scalars,
            sample_rows: lost.sample_rows,
        };
        match outcome {
            Outcome::Completed if !self.is_starter => Event::Left { writer, lost, last },
            _ => Event::Finished {
                writer,
                outcome,
                reason,
                lost,
                last,
            },
        }
    }

    fn last(&self) -> BTreeMap<String, Last> {
        let named = self.names.iter().zip(&self.lasts);
        let last = |(name, last): (&Arc<str>, &Option<(i64, f64)>)| {
            last.map(|(step, value)| {
                (
                    name.to_string(),
                    Last {
                        step,
                        value: Number(value),
                    },
                )
            })
        };
        named.filter_map(last).collect()
    }
}

/// An entry as bytes that no other writer writes.
///
/// # Errors
/// As [`format::encode`].
pub(crate) fn encode_entry(place: &Place, event: Event) -> Result<Bytes> {
    let (stamp, time) = (place.env.fresh_id(), place.env.now().to_rfc3339());
    format::encode(&Entry {
        format: VERSION,
        stamp,
        time,
        event,
    })
}
