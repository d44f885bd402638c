//! The background thread of a run: drains the buffer to segments and log entries.
//!
//! It has a runtime of its own, so neither the training program nor its threads need one. Trouble
//! of the store never leaves this thread except as an answer to somebody who asked: what could not
//! be stored is tried again, under the same name with the same bytes.
//!
//! Ten times a second what was logged is written to this machine's disk, and outlives the process from then on: to the
//! run's own folder, or for any other store to the [spool]. There segments cannot grow: they are folded
//! every few seconds. What goes to the store goes in [lanes](super::lane) of its own, so that a store that hangs holds up nothing here.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::buffer::{Lost, SCALARS_FLUSH, Scalars};
use super::captured;
use super::entries::Entries;
use super::lane::Lane;
use super::lasts::LastValues;
use super::read::Runs;
use super::record::{RunRecord, lost_text};
use super::segment::Stem;
use super::segments::{Identity, Segments};
use super::shared::{Answer, Ask, Request, Shared};
use super::spool::{self, Spool};
#[cfg(feature = "system")]
use super::system::System;
#[cfg(feature = "system")]
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Event, Outcome};
use crate::format::{self, VERSION};
use crate::id::{Revision, RunName};
use crate::provenance::{self, Captured};
use crate::store::Place;

/// How often metrics are written to this machine's disk.
pub const WRITE_EVERY: Duration = Duration::from_millis(100);

/// How often metrics are stored elsewhere in the first minute of a run.
pub const FLUSH_EVERY_MIN: Duration = Duration::from_secs(2);

/// How often metrics are stored elsewhere in a long run: less often, so that its files do not grow too many.
pub const FLUSH_EVERY_MAX: Duration = Duration::from_secs(10);

/// How often a run says that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// How long finishing waits until it is known what the process is made of.
const CAPTURE_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long finishing pauses before it tries a store again that has failed.
const FINISH_PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// See the module.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    runs: Runs,
    run: RunName,
    place: Place,
    entries: Entries,
    segments: Segments,
    /// On a disk of this machine, and where nothing can be kept, there is none.
    spool: Option<Spool>,
    /// Uploads what earlier attempts have left in the spool.
    left: Lane<()>,
    heartbeat: Lane<()>,
    /// What the process is made of, until the log says it.
    captured: Option<Receiver<Captured>>,
    /// Stores it.
    capture: Lane<Event>,
    /// Those who wait for what they logged to be stored.
    flushes: Vec<Flush>,
    id: String,
    /// Whether it says how the run ended, or only that it left.
    is_starter: bool,
    #[cfg(feature = "system")]
    system: Option<Box<System>>,
    /// When the run began.
    #[cfg(feature = "system")]
    began: Micros,
    lasts: LastValues,
    spare: Scalars,
    lost_told: Lost,
    has_warned_of_losses: bool,
    has_warned_of_errors: bool,
    error: Option<Error>,
    started: Instant,
    flushed: Instant,
    beat: Instant,
}

/// Somebody who waits for what was logged until then.
struct Flush {
    reply: SyncSender<Answer>,
    /// As many entries and segments have to be stored before.
    entries: u64,
    segments: u64,
    /// The pieces of work that began before do not count if they fail.
    appends: u64,
    folds: u64,
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
    /// What the process is made of, where the log is to say it.
    pub(crate) captured: Option<Receiver<Captured>>,
    /// Segments of earlier attempts in the run's own folder whose processes are no more.
    pub(crate) left: Vec<Stem>,
    pub(crate) spool: Option<Spool>,
    #[cfg(feature = "system")]
    pub(crate) is_without_system: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let place = opened.runs.place(&opened.run);
        let now = Instant::now();
        let id = opened.identity.writer.clone();
        let has_earlier = opened.identity.attempt > 1;
        let folder = opened.spool.as_ref().map(|spool| spool.folder().to_owned());
        let entries = Entries::new(Arc::clone(&shared), place.clone(), opened.next);
        let mut segments =
            Segments::new(Arc::clone(&shared), place.clone(), folder, opened.identity);
        segments.adopt(opened.left.into_iter());
        let mut left = Lane::default();
        if has_earlier && opened.is_starter {
            let project = opened.runs.project().clone();
            left.begin(&shared, spool::upload_left_of(project, opened.run.clone()));
        }
        Self {
            entries,
            segments,
            spool: opened.spool,
            left,
            heartbeat: Lane::default(),
            captured: opened.captured,
            capture: Lane::default(),
            flushes: Vec::new(),
            shared,
            runs: opened.runs,
            run: opened.run,
            place,
            id,
            is_starter: opened.is_starter,
            #[cfg(feature = "system")]
            system: (!opened.is_without_system)
                .then(System::new)
                .flatten()
                .map(Box::new),
            #[cfg(feature = "system")]
            began: opened.began,
            lasts: LastValues::default(),
            spare: Scalars::with_capacity(SCALARS_FLUSH),
            lost_told: Lost::default(),
            has_warned_of_losses: false,
            has_warned_of_errors: false,
            error: None,
            started: now,
            flushed: now,
            beat: now,
        }
    }

    /// Works until the run is finished.
    pub(crate) async fn work(mut self) {
        loop {
            let tick = match self.segments.are_seen() || self.spool.is_some() {
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
            let (mut flushes, mut finish) = (Vec::new(), None);
            for Request { ask, reply } in requests {
                match ask {
                    Ask::Flush => flushes.push(reply),
                    Ask::Finish(outcome, reason) => finish = Some((outcome, reason, reply)),
                }
            }
            if finish.is_none() || !flushes.is_empty() {
                self.round(flushes).await;
            }
            if let Some((outcome, reason, reply)) = finish {
                let finished = self.finish(outcome, reason).await.map(Some);
                // Nobody listens any more where the caller did not want to wait.
                reply.try_send(finished).unwrap_or_default();
                // Who waited has the answer; a thread that waits for this one waits at most some seconds.
                return self.runs.pack_if_due(&self.id).await;
            }
            self.heartbeat().await;
        }
    }

    fn flush_at(&self) -> Instant {
        let every = (self.started.elapsed() / 30).clamp(FLUSH_EVERY_MIN, FLUSH_EVERY_MAX);
        self.flushed + every
    }

    /// Writes what was logged to this machine's disk, lets the lanes go on, and answers those whose turn it is.
    async fn round(&mut self, flushes: Vec<SyncSender<Answer>>) {
        let asked = !flushes.is_empty();
        self.take();
        let stored = match self.segments.are_seen() {
            true => self.segments.store(asked),
            false if asked || self.flush_at() <= Instant::now() => {
                self.flushed = Instant::now();
                self.segments.close_all()
            }
            false => self.segments.store(false),
        };
        // Where the spool takes no more, the store may.
        let is_failing = stored.is_err() && self.segments.are_seen();
        self.note(stored);
        for reply in flushes {
            self.flushes.push(Flush {
                reply,
                entries: self.entries.n_queued(),
                segments: self.segments.n_closed(),
                appends: self.entries.lane().ask(),
                folds: self.segments.lane().ask(),
            });
        }
        self.go_on().await;
        self.answer_flushes(is_failing);
        self.warn_of_losses();
    }

    /// Lets each lane go on, without waiting for the store.
    async fn go_on(&mut self) {
        let appended = self.entries.append_some().await;
        self.note(appended);
        // Entries come before the files that they speak of.
        if self.entries.is_empty() {
            let folded = self.segments.fold_some().await;
            self.note(folded);
        }
        if let Some(uploaded) = self.left.ended().await {
            self.note(uploaded);
        }
        match self.capture.ended().await {
            Some(stored) => self.end_capture(stored),
            None if self.capture.is_free() => self.begin_capture(),
            None => {}
        }
    }

    /// Begins to store what the process is made of, once that is known.
    fn begin_capture(&mut self) {
        if let Some(captured) = self.captured.clone() {
            let (project, writer) = (self.runs.project().clone(), self.id.clone());
            self.capture.begin(&self.shared, async move {
                let captured = provenance::whole(captured).await;
                captured::store(&project, writer, captured).await
            });
        }
    }

    fn end_capture(&mut self, stored: Result<Event>) {
        match stored {
            Ok(event) => {
                self.captured = None;
                self.queue(event);
            }
            Err(err) => self.note(Err(err)),
        }
    }

    /// Stores what is known by now of what the process is made of, if the log does not say it yet.
    async fn finish_capture(&mut self) {
        // One that has just failed is tried again.
        self.capture.ask();
        if self.captured.is_some() && self.capture.is_free() {
            self.begin_capture();
        }
        match timeout(CAPTURE_WAIT_MAX, self.capture.end()).await {
            Ok(Some(stored)) => self.end_capture(stored),
            Ok(None) => {}
            Err(_late) => {
                if let Some(captured) = &self.captured {
                    let known = provenance::so_far(captured, "the run had ended before");
                    let project = self.runs.project().clone();
                    let stored = captured::store(&project, self.id.clone(), known);
                    if let Ok(stored) = timeout(CAPTURE_WAIT_MAX, stored).await {
                        self.end_capture(stored);
                    }
                }
            }
        }
    }

    /// Answers those whose rows and entries are stored, and those for whom that has failed: all that are left, if this machine's disk
    /// is failing.
    fn answer_flushes(&mut self, is_failing: bool) {
        for flush in std::mem::take(&mut self.flushes) {
            let are_folded = self.segments.are_seen() || self.segments.n_folded() >= flush.segments;
            let is_stored = are_folded && self.entries.n_appended() >= flush.entries;
            let has_failed = is_failing
                || self.entries.lane().has_failed_since(flush.appends)
                || self.segments.lane().has_failed_since(flush.folds);
            if !is_stored && !has_failed {
                self.flushes.push(flush);
                continue;
            }
            let answer = self.report(is_failing || !is_stored).map(|()| None);
            flush.reply.try_send(answer).unwrap_or_default();
        }
    }

    /// Stores what was logged, and folds everything.
    async fn close(&mut self) {
        self.take();
        let closed = self.segments.close_all();
        self.note(closed);
        let appended = self.entries.append_all().await;
        self.note(appended);
        if self.entries.is_empty() {
            let folded = self.segments.fold_all().await;
            self.note(folded);
        }
    }

    fn note(&mut self, done: Result<()>) {
        if let Err(err) = done {
            if !std::mem::replace(&mut self.has_warned_of_errors, true) {
                let err = format!("{err:#}");
                tracing::warn!(run = %self.run, err, "storing fails; it is tried again, and not warned of once more");
            }
            self.error = Some(err);
        }
    }

    fn warn_of_losses(&mut self) {
        let lost = self.shared.lock().buffer.lost();
        if !lost.is_none() && !std::mem::replace(&mut self.has_warned_of_losses, true) {
            let so_far = lost_text(lost);
            tracing::warn!(run = %self.run, "{so_far}; the end of the run says how many in all");
        }
    }

    /// Whether nothing has to be done any more for what was logged to be where it belongs.
    fn is_clean(&self) -> bool {
        let are_there = self.segments.are_seen() || self.segments.n_waiting() == 0;
        self.segments.held().rows.is_none() && self.entries.is_empty() && are_there
    }

    /// Puts an entry behind the others.
    fn queue(&mut self, event: Event) {
        let queued = self.entries.queue(event, self.spool.as_mut());
        self.note(queued);
    }

    /// Takes what was logged: into segments, and entries of the log before the rows that they speak of.
    fn take(&mut self) {
        let mut state = self.shared.lock();
        let events = std::mem::take(&mut state.events);
        let mut taken = state.buffer.take(&mut self.spare);
        drop(state);
        for event in events {
            self.queue(event);
        }
        self.lasts.add(&mut taken.names, &taken.scalars);
        let added = self.segments.add(&taken, self.lasts.names());
        self.note(added);
        if taken.forgets_names {
            self.lasts.forget_names();
        }
        taken.scalars.clear();
        if taken.scalars.values.capacity() > self.spare.values.capacity() {
            self.spare = taken.scalars;
        }
    }

    /// Says that the run lives, if it is time to. A store that fails is heard of elsewhere.
    async fn heartbeat(&mut self) {
        // One that failed is not tried again before the next.
        drop(self.heartbeat.ended().await);
        if self.beat.elapsed() < HEARTBEAT_EVERY {
            return;
        }
        self.beat = Instant::now();
        #[cfg(feature = "system")]
        self.log_system();
        if !self.heartbeat.is_free() {
            return;
        }
        let beat =
            serde_json::json!({ "format": VERSION, "time": self.place.env.now().to_rfc3339() });
        let path = self.place.path.clone().join("heartbeat");
        let store = Arc::clone(&self.place.store);
        self.heartbeat.begin(&self.shared, async move {
            let put = store.put(&path, beat.to_string().into()).await;
            Ok(put.map(drop)?)
        });
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
    fn report(&mut self, has_failed: bool) -> Result<()> {
        let lost = self.shared.lock().buffer.lost();
        let news = Lost {
            scalars: lost.scalars - self.lost_told.scalars,
            sample_rows: lost.sample_rows - self.lost_told.sample_rows,
            items: lost.items - self.lost_told.items,
        };
        self.lost_told = lost;
        let mut told = Vec::new();
        if has_failed {
            told.push(format!("{} and tried again", self.waiting_text()));
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

    /// What is not stored yet, and where it is kept.
    fn waiting_text(&self) -> String {
        let n_entries = self.entries.len();
        let waiting = self.segments.held().rows;
        let in_memory = format!(
            "{} scalars, {} rows of sample metrics, {} texts, histograms or files, and {n_entries} log entries are not stored yet; they are kept in memory",
            waiting.scalars, waiting.sample_rows, waiting.items,
        );
        match &self.spool {
            Some(spool) if waiting.is_none() => format!(
                "{} files of metrics and {n_entries} log entries are not uploaded yet; they are kept in {}",
                self.segments.n_waiting(),
                spool.folder().display()
            ),
            _ => in_memory,
        }
    }

    /// Stores the rest, says in the log how the run ended, and reads back what it became.
    async fn finish(&mut self, outcome: Outcome, reason: Option<String>) -> Result<RunRecord> {
        self.finish_capture().await;
        self.close().await;
        for pause in FINISH_PAUSES {
            if self.is_clean() && self.captured.is_none() {
                break;
            }
            sleep(pause).await;
            self.finish_capture().await;
            self.close().await;
        }
        if let Some(uploaded) = self.left.end().await {
            self.note(uploaded);
        }
        self.answer_flushes(!self.is_clean());
        self.segments.give_up();
        self.warn_of_losses();
        let why = self.error.take();
        let event = self.end(outcome, reason);
        self.queue(event);
        for pause in FINISH_PAUSES {
            let appended = self.entries.append_all().await;
            self.note(appended);
            if self.entries.is_empty() {
                break;
            }
            sleep(pause).await;
        }
        if !self.entries.is_empty() {
            return Err(self.unfinished(why));
        }
        if let Some(spool) = &self.spool {
            spool.end();
        }
        self.runs.read(&self.run).await
    }

    /// Why the log could not be told that the run has ended.
    fn unfinished(&mut self, why: Option<Error>) -> Error {
        let lost = self.shared.lock().buffer.lost();
        let (run, waiting) = (&self.run, self.waiting_text());
        let root = self.place.spool.as_ref().map(|spool| &spool.root);
        let mut message = match root.filter(|_| self.spool.is_some()) {
            Some(root) => format!(
                "run {run} could not be uploaded to its end, and reads as interrupted until it is: {waiting}; `tlc sync --root {root}` uploads them once the store answers"
            ),
            None => {
                format!("run {run} could not be marked as ended, and will read as interrupted")
            }
        };
        if !lost.is_none() {
            message = format!("{message}; {}", lost_text(lost));
        }
        let err = Error::new(ErrorKind::Unavailable, message);
        match self.error.take().or(why) {
            Some(source) => err.with_source(source),
            None => err,
        }
    }

    fn end(&mut self, outcome: Outcome, reason: Option<String>) -> Event {
        let (writer, last) = (self.id.clone(), self.lasts.take());
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
