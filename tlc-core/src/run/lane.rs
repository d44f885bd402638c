//! Work in the store that goes on beside the writer's own, one piece after the other.
//!
//! A request to a store may take minutes. What was logged meanwhile has to reach this machine's disk all the same,
//! so the writer never waits for the store, except where somebody ended the run.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};

/// How long a store that has failed is left alone, unless somebody asks.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    going: Option<JoinHandle<Result<T>>>,
    /// The number of the piece that goes on, or was the last: they count from 1.
    begun: u64,
    /// The last piece that failed; 0 for none.
    failed: u64,
    rests_until: Option<Instant>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            going: None,
            begun: 0,
            failed: 0,
            rests_until: None,
        }
    }
}

impl<T: Send + 'static> Lane<T> {
    /// Whether a piece may begin: none goes on, and the last has not just failed.
    pub(crate) fn is_free(&self) -> bool {
        self.going.is_none() && self.rests_until.is_none_or(|until| until <= Instant::now())
    }

    /// Begins a piece, whose end wakes the writer.
    pub(crate) fn begin(
        &mut self,
        shared: &Arc<Shared>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let shared = Arc::clone(shared);
        self.begun += 1;
        self.rests_until = None;
        self.going = Some(tokio::spawn(async move {
            let done = work.await;
            shared.wake.notify_one();
            done
        }));
    }

    /// What came of the piece that went on; `None` if there was none, or it still goes on.
    pub(crate) async fn ended(&mut self) -> Option<Result<T>> {
        match &self.going {
            Some(going) if going.is_finished() => self.end().await,
            _ => None,
        }
    }

    /// The same, after waiting for it.
    pub(crate) async fn end(&mut self) -> Option<Result<T>> {
        let ended = self.going.take()?.await;
        let ended = ended.unwrap_or_else(|err| {
            Err(
                Error::new(ErrorKind::Unavailable, "work in the store did not end")
                    .with_source(err),
            )
        });
        if ended.is_err() {
            self.failed = self.begun;
            self.rests_until = Some(Instant::now() + PAUSE);
        }
        Some(ended)
    }

    /// Lets a store be tried again that has just failed, and gives the number of the last piece.
    pub(crate) fn ask(&mut self) -> u64 {
        self.rests_until = None;
        self.begun
    }

    /// Whether a piece has failed that began later than the one with this number.
    pub(crate) fn has_failed_since(&self, begun: u64) -> bool {
        self.failed > begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing() -> Error {
        Error::new(ErrorKind::Unavailable, "made to fail")
    }

    #[tokio::test]
    async fn a_failure_counts_for_those_who_asked_before_its_piece_began() {
        let shared = Arc::new(Shared::new());
        let mut lane = Lane::default();
        let before = lane.ask();
        lane.begin(&shared, async { Err::<(), _>(failing()) });
        let meanwhile = lane.ask();
        assert!(!lane.is_free());
        assert!(lane.end().await.unwrap().is_err());
        assert!(lane.has_failed_since(before) && !lane.has_failed_since(meanwhile));
        assert!(!lane.is_free(), "the store is left alone for a while");
        lane.ask();
        assert!(lane.is_free());
        lane.begin(&shared, async { Ok(()) });
        assert!(lane.end().await.unwrap().is_ok());
        assert!(lane.is_free() && !lane.has_failed_since(meanwhile));
    }

    #[tokio::test]
    async fn the_end_of_a_piece_wakes_the_writer() {
        let shared = Arc::new(Shared::new());
        let mut lane = Lane::default();
        assert!(lane.ended().await.is_none(), "there is none");
        lane.begin(&shared, async { Ok(7) });
        assert!(lane.ended().await.is_none(), "it goes on");
        shared.wake.notified().await;
        assert_eq!(lane.ended().await.unwrap().unwrap(), 7);
    }
}
