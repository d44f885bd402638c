//! What the training threads and the writer share: the buffer behind a lock, and two bells.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::Notify;

use super::buffer::{self, Buffer, Held, Lost, SAMPLE_BYTES_MAX};
use super::items::Item;
use super::record::RunRecord;
use super::rows::Rows;
use crate::env::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::format::run::{Event, Outcome};

/// How long one logging call waits for room in the buffer before it drops what it was given.
///
/// Once a call has waited in vain, the next ones do not wait at all until something was stored.
pub const LOG_WAIT_MAX: Duration = Duration::from_millis(100);

/// What somebody waits for the writer to do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Store everything that was logged so far.
    Flush,
    /// Store everything, say how the run ended, and stop.
    Finish(Outcome, Option<String>),
}

/// The answer: the record after [`Ask::Finish`], else nothing.
pub(crate) type Answer = Result<Option<RunRecord>>;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) reply: SyncSender<Answer>,
}

/// The part behind the lock. No I/O happens while it is held.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) buffer: Buffer,
    /// Log entries to be appended, in order.
    pub(crate) events: Vec<Event>,
    /// Each has a caller waiting, so there are never more than there are threads.
    pub(crate) requests: Vec<Request>,
    /// A call has waited in vain, and nothing was stored since.
    stalled: bool,
    /// The writer is gone.
    stopped: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Rings when there is room again.
    room: Condvar,
    /// Rings when the writer has something to do before its next tick.
    pub(crate) wake: Notify,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let (buffer, events, requests) = (Buffer::new(), Vec::new(), Vec::new());
        let state = State {
            buffer,
            events,
            requests,
            stalled: false,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            room: Condvar::new(),
            wake: Notify::new(),
        }
    }

    /// The state, also after a panic elsewhere: every change of it is complete before the next begins.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes scalars, or counts them as lost.
    pub(crate) fn log_scalars(&self, step: i64, time: Micros, values: &[(&str, f64)]) {
        let (mut state, fits) = self.wait_for_room(|buffer| buffer.fits_scalars(values.len()));
        if !fits {
            return state.buffer.lose(Lost {
                scalars: values.len() as u64,
                ..Lost::default()
            });
        }
        let is_enough = state.buffer.push_scalars(step, time.0, values);
        drop(state);
        if is_enough {
            self.wake.notify_one();
        }
    }

    /// Takes sample metrics, or counts them as lost.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if they are more than can be taken at one time.
    pub(crate) fn log_samples(&self, rows: Rows, columns: RecordBatch) -> Result<()> {
        let bytes = buffer::bytes_of(&columns);
        if bytes > SAMPLE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "stream {}: {bytes} bytes of sample metrics at one time, and {SAMPLE_BYTES_MAX} are the most; log fewer rows in each call, or a smaller column",
                rows.stream
            )));
        }
        let (mut state, fits) = self.wait_for_room(|buffer| buffer.fits_samples(bytes));
        if !fits {
            state.buffer.lose(Lost {
                sample_rows: columns.num_rows() as u64,
                ..Lost::default()
            });
            return Ok(());
        }
        let is_enough = state.buffer.push_samples(rows, columns, bytes);
        drop(state);
        if is_enough {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes a text, a histogram or a file, or counts it as lost.
    pub(crate) fn log_item(&self, mut item: Item) {
        let bytes = item.bytes();
        let (mut state, fits) = self.wait_for_room(|buffer| buffer.fits_items(bytes));
        state.buffer.number(&mut item);
        if !fits {
            return state.buffer.lose(Lost {
                items: 1,
                ..Lost::default()
            });
        }
        let is_enough = state.buffer.push_item(item, bytes);
        drop(state);
        if is_enough {
            self.wake.notify_one();
        }
    }

    /// Hands an entry to the writer, which appends it at once. Parameters that it has not come to yet become one entry with these.
    pub(crate) fn log_event(&self, event: Event) {
        let mut state = self.lock();
        match (state.events.last_mut(), event) {
            (Some(Event::Params { values: waiting }), Event::Params { values }) => {
                waiting.extend(values);
            }
            (_, event) => state.events.push(event),
        }
        drop(state);
        self.wake.notify_one();
    }

    fn wait_for_room(&self, fits: impl Fn(&Buffer) -> bool) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.lock();
        if !fits(&state.buffer) && !state.stalled && !state.stopped {
            self.wake.notify_one();
            let full = |state: &mut State| !state.stopped && !fits(&state.buffer);
            (state, _) = self
                .room
                .wait_timeout_while(state, LOG_WAIT_MAX, full)
                .unwrap_or_else(PoisonError::into_inner);
            state.stalled = !fits(&state.buffer);
        }
        let fits = !state.stopped && fits(&state.buffer);
        (state, fits)
    }

    /// What was taken is stored: waiting calls go on.
    pub(crate) fn stored(&self, held: Held) {
        if held.rows.is_none() {
            return;
        }
        let mut state = self.lock();
        state.buffer.release(&held);
        state.stalled = false;
        drop(state);
        self.room.notify_all();
    }

    /// What was taken is given up: its room is free, and `lost` of it are nowhere else.
    pub(crate) fn given_up(&self, held: Held, lost: Lost) {
        let mut state = self.lock();
        state.buffer.release(&held);
        state.buffer.lose(lost);
    }

    /// Asks the writer for something; the answer comes through the receiver, or an error if the
    /// writer is gone.
    pub(crate) fn ask(&self, ask: Ask) -> Receiver<Answer> {
        let (reply, answer) = sync_channel(1);
        let mut state = self.lock();
        if state.stopped {
            reply.try_send(Err(stopped())).unwrap_or_default();
        } else {
            state.requests.push(Request { ask, reply });
        }
        drop(state);
        self.wake.notify_one();
        answer
    }

    /// The writer ends. Nobody waits for it any more.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        for request in state.requests.drain(..) {
            request.reply.try_send(Err(stopped())).unwrap_or_default();
        }
        drop(state);
        self.room.notify_all();
    }
}

pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "the writer of this run has stopped")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::buffer::SCALARS_MAX;

    #[test]
    fn a_full_buffer_is_waited_for_once_and_what_does_not_fit_is_counted() {
        let shared = Shared::new();
        let many = vec![("a", 0.0); SCALARS_MAX];
        shared.log_scalars(0, Micros(0), &many);
        assert!(!shared.lock().stalled);
        shared.log_scalars(1, Micros(0), &[("a", 1.0), ("b", 1.0)]);
        assert!(shared.lock().stalled, "the next call does not wait");
        shared.log_scalars(2, Micros(0), &[("a", 1.0)]);
        assert_eq!(
            shared.lock().buffer.lost(),
            Lost {
                scalars: 3,
                ..Lost::default()
            }
        );
    }

    #[test]
    fn parameters_that_wait_together_are_one_entry_and_the_later_value_counts() {
        let shared = Shared::new();
        let params = |text: &str| {
            let values = text.split(' ').map(|pair| pair.split_once('=').unwrap());
            let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Event::Params {
                values: values.collect(),
            }
        };
        let input = Event::Input {
            table: "t".to_owned(),
            revision: 0,
        };
        for event in [
            params("a=1 b=2"),
            params("b=3"),
            input.clone(),
            params("a=4"),
        ] {
            shared.log_event(event);
        }
        assert_eq!(
            shared.lock().events,
            [params("a=1 b=3"), input, params("a=4")]
        );
    }

    #[test]
    fn a_stopped_writer_answers_everybody_and_takes_nothing() {
        let shared = Shared::new();
        let before = shared.ask(Ask::Flush);
        shared.stop();
        let after = shared.ask(Ask::Flush);
        for answer in [before, after] {
            assert_eq!(
                answer.recv().unwrap().unwrap_err().kind(),
                ErrorKind::Unavailable
            );
        }
        shared.log_scalars(0, Micros(0), &[("a", 1.0)]);
        assert_eq!(shared.lock().buffer.lost().scalars, 1);
    }
}
