//! The background thread of a run: drains the buffer to segments and log entries.
//!
//! It has a runtime of its own, so neither the training program nor its threads need one. Trouble
//! of the store never leaves this thread except as an answer to somebody who asked: what could not
//! be stored is tried again, under the same name with the same bytes, at the next tick.
//!
//! On a disk of this machine, what was logged is written ten times a second and outlives the process from
//! then on. In any other store segments cannot grow: they are folded every few seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::buffer::{Lost, SCALARS_FLUSH, Scalars};
use super::read::Runs;
use super::record::{Lasts, RunRecord, keep_last, lost_text};
use super::segment::Stem;
use super::segments::{Identity, Segments};
use super::shared::{Ask, Request, Shared};
#[cfg(feature = "system")]
use super::system::System;
#[cfg(feature = "system")]
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Entry, Event, Last, Number, Outcome};
use crate::format::{self, VERSION};
use crate::id::{Revision, RunName};
use crate::log::{Append, Log};
use crate::store::Place;

/// How often metrics are written to a disk of this machine.
pub const WRITE_EVERY: Duration = Duration::from_millis(100);

/// How often metrics are stored elsewhere in the first minute of a run.
pub const FLUSH_EVERY_MIN: Duration = Duration::from_secs(2);

/// How often metrics are stored elsewhere in a long run: less often, so that its files do not grow too many.
pub const FLUSH_EVERY_MAX: Duration = Duration::from_secs(10);

/// How often a run says that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// How long finishing pauses before it tries a store again that has failed.
const FINISH_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Scalars whose last values the end of a run says; of more, the files know.
const LASTS_MAX: usize = 16 << 10;

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
    segments: Segments,
    id: String,
    /// Whether it says how the run ended, or only that it left.
    is_starter: bool,
    #[cfg(feature = "system")]
    system: Option<Box<System>>,
    /// When the run began.
    #[cfg(feature = "system")]
    began: Micros,
    names: Vec<Arc<str>>,
    /// By the numbers of names.
    lasts: Vec<Option<(i64, f64)>>,
    /// Of names whose numbers were forgotten.
    earlier_lasts: Lasts,
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
    pub(crate) identity: Identity,
    pub(crate) is_starter: bool,
    /// When the run began.
    #[cfg(feature = "system")]
    pub(crate) began: Micros,
    /// Segments of earlier attempts whose processes are no more.
    pub(crate) left: Vec<Stem>,
    #[cfg(feature = "system")]
    pub(crate) is_without_system: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let place = opened.runs.place(&opened.run);
        let log = Log::of_thread(&place);
        let now = Instant::now();
        let id = opened.identity.writer.clone();
        let mut segments = Segments::new(Arc::clone(&shared), place.clone(), opened.identity);
        segments.adopt(opened.left.into_iter());
        Self {
            segments,
            shared,
            runs: opened.runs,
            run: opened.run,
            place,
            log,
            next: opened.next,
            entries: VecDeque::new(),
            id,
            is_starter: opened.is_starter,
            #[cfg(feature = "system")]
            system: (!opened.is_without_system)
                .then(System::new)
                .flatten()
                .map(Box::new),
            #[cfg(feature = "system")]
            began: opened.began,
            names: Vec::new(),
            lasts: Vec::new(),
            earlier_lasts: Lasts::new(),
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
            let tick = match self.segments.are_seen() {
                true => Instant::now() + WRITE_EVERY,
                false => self.flush_at(),
            };
            let pause = tick.min(self.beat + HEARTBEAT_EVERY);
            let pause = pause.saturating_duration_since(Instant::now());
            // Woken or not, there may be something to do.
            timeout(pause, self.shared.wake.notified())
                .await
                .unwrap_or_default();
            let requests = std::mem::take(&mut self.shared.lock().requests);
            self.error = None;
            match requests
                .iter()
                .any(|request| matches!(request.ask, Ask::Finish(..)))
            {
                true => self.close().await,
                false => self.round(!requests.is_empty()).await,
            }
            self.heartbeat().await;
            if self.answer(requests).await {
                // Who waited has the answer; a thread that waits for this one waits at most some seconds.
                return self.runs.pack_if_due(&self.id).await;
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

    /// Stores what was logged; if `asked`, so that nothing can take it away.
    async fn round(&mut self, asked: bool) {
        self.append_entries().await;
        self.take();
        if self.segments.are_seen() {
            let stored = self.segments.store(asked);
            self.note(stored);
            let folded = self.segments.fold_some().await;
            self.note(folded);
        } else if asked || self.flush_at() <= Instant::now() {
            self.flushed = Instant::now();
            let closed = self.segments.close_all();
            self.note(closed);
            let folded = self.segments.fold_all().await;
            self.note(folded);
        }
    }

    /// Stores what was logged, and folds everything.
    async fn close(&mut self) {
        self.append_entries().await;
        self.take();
        let closed = self.segments.close_all();
        self.note(closed);
        let folded = self.segments.fold_all().await;
        self.note(folded);
    }

    fn note(&mut self, done: Result<()>) {
        if let Err(err) = done {
            self.error = Some(err);
        }
    }

    fn is_clean(&self) -> bool {
        self.segments.held().rows.is_none() && self.entries.is_empty()
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

    /// Takes what was logged into segments.
    fn take(&mut self) {
        let mut taken = self.shared.lock().buffer.take(&mut self.spare);
        self.names.append(&mut taken.names);
        self.remember_last(&taken.scalars);
        let added = self.segments.add(&taken, &self.names);
        self.note(added);
        if taken.forgets_names {
            self.forget_names();
        }
        taken.scalars.clear();
        if taken.scalars.values.capacity() > self.spare.values.capacity() {
            self.spare = taken.scalars;
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

    fn forget_names(&mut self) {
        let named = self.names.drain(..).zip(self.lasts.drain(..));
        for (name, last) in named {
            if let Some((step, value)) = last
                && (self.earlier_lasts.len() < LASTS_MAX || self.earlier_lasts.contains_key(&*name))
            {
                // Its writer is of one attempt.
                keep_last(&mut self.earlier_lasts, &name, (0, step), value);
            }
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
        let now = self.place.env.now();
        let step = i64::try_from(now.since(self.began).as_secs()).unwrap_or(i64::MAX);
        let mut state = self.shared.lock();
        // Nobody waits here for room that only this thread can make.
        if state.buffer.fits_scalars(values.len()) {
            state.buffer.push_scalars(step, now.0, &values);
        } else {
            state.buffer.lose(Lost {
                scalars: values.len() as u64,
                ..Lost::default()
            });
        }
    }

    /// What somebody who flushed has to know. A loss is told once.
    fn report(&mut self) -> Result<()> {
        let lost = self.shared.lock().buffer.lost();
        let news = Lost {
            scalars: lost.scalars - self.lost_told.scalars,
            sample_rows: lost.sample_rows - self.lost_told.sample_rows,
            items: lost.items - self.lost_told.items,
        };
        self.lost_told = lost;
        let mut told = Vec::new();
        if !self.is_clean() {
            let waiting = self.segments.held().rows;
            told.push(format!(
                "{} scalars, {} rows of sample metrics, {} texts, histograms or files, and {} log entries are not stored yet; they are kept in memory and tried again",
                waiting.scalars,
                waiting.sample_rows,
                waiting.items,
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

    /// Stores the rest, says in the log how the run ended, and reads back what it became.
    async fn finish(&mut self, outcome: Outcome, reason: Option<String>) -> Result<RunRecord> {
        for pause in FINISH_PAUSES {
            if self.is_clean() {
                break;
            }
            sleep(pause).await;
            self.close().await;
        }
        self.segments.give_up();
        let why = self.error.take();
        let event = self.end(outcome, reason);
        self.queue(event);
        for pause in FINISH_PAUSES {
            self.append_entries().await;
            if self.entries.is_empty() {
                break;
            }
            sleep(pause).await;
        }
        if !self.entries.is_empty() {
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

    fn end(&mut self, outcome: Outcome, reason: Option<String>) -> Event {
        self.forget_names();
        let lasts = std::mem::take(&mut self.earlier_lasts).into_iter();
        let last = lasts.map(|(name, (_, step, value))| {
            let value = Number(value);
            (name, Last { step, value })
        });
        let (writer, last) = (self.id.clone(), last.collect());
        let lost = self.shared.lock().buffer.lost();
        let lost = format::run::Lost {
            scalars: lost.scalars,
            sample_rows: lost.sample_rows,
            items: lost.items,
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
