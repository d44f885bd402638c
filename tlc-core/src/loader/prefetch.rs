//! Work done ahead of its consumer, on a thread of its own.
//!
//! The thread computes the items of an iterator and hands them over through a bounded channel. It
//! ends when the iterator does, after its first error, and when the consumer is dropped.

use std::any::Any;
use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use crate::error::{Error, ErrorKind, Result};

/// How many finished items wait for the consumer, beside the one that the thread is working on.
const AHEAD: usize = 2;

/// The items of an iterator, computed ahead. After an error it is over.
#[derive(Debug)]
pub(super) struct Prefetch<T> {
    /// `None` once it is over, so that nobody can wait for a thread that has ended.
    items: Option<Receiver<Result<T>>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts a thread called `name` on `work`. If there is no thread to be had, that is the first item.
    pub(super) fn start<I>(name: &str, work: I) -> Self
    where
        I: Iterator<Item = Result<T>> + Send + 'static,
    {
        let (sender, items) = sync_channel(AHEAD);
        let failure = sender.clone();
        if let Err(err) = Builder::new()
            .name(name.to_owned())
            .spawn(move || produce(work, &sender))
        {
            let err = Error::new(
                ErrorKind::Unavailable,
                "the system gives no thread to the loader",
            )
            .with_source(err);
            // The channel is empty and its receiver is here, so the send cannot fail.
            let _sent = failure.try_send(Err(err));
        }
        Self { items: Some(items) }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let item = self.items.as_ref()?.recv().ok();
        if !matches!(item, Some(Ok(_))) {
            self.items = None;
        }
        item
    }
}

impl<T> FusedIterator for Prefetch<T> {}

/// Runs on the thread. A send fails when the consumer is gone, and then there is nobody to tell.
fn produce<T>(work: impl Iterator<Item = Result<T>>, sender: &SyncSender<Result<T>>) {
    // What a panic may have left half-done is dropped with `work`, and never seen again.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        for item in work {
            let failed = item.is_err();
            if sender.send(item).is_err() || failed {
                break;
            }
        }
    }));
    if let Err(panic) = ended {
        let message = format!(
            "the loader panicked: {}; please report it",
            message_of(panic.as_ref())
        );
        let _told = sender.send(Err(Error::new(ErrorKind::Unavailable, message)));
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What the consumer sees of `work`, as text.
    fn seen(work: impl Iterator<Item = Result<u32>> + Send + 'static) -> Vec<String> {
        Prefetch::start("test", work)
            .map(|item| item.map_or_else(|err| err.to_string(), |n| n.to_string()))
            .collect()
    }

    #[test]
    fn items_arrive_in_order_and_end() {
        assert_eq!(seen((0..5).map(Ok)), ["0", "1", "2", "3", "4"]);
        assert!(seen(std::iter::empty()).is_empty());
    }

    #[test]
    fn an_error_is_the_last_item() {
        let work = (0..5).map(|n| {
            if n == 2 {
                Err(Error::invalid("two"))
            } else {
                Ok(n)
            }
        });
        assert_eq!(seen(work), ["0", "1", "two"]);
    }

    #[test]
    fn a_panic_is_an_error_and_no_hang() {
        let work = (0..5).map(|n| if n == 1 { panic!("at {n}") } else { Ok(n) });
        assert_eq!(
            seen(work),
            ["0", "the loader panicked: at 1; please report it"]
        );
    }

    #[test]
    fn a_consumer_that_leaves_ends_the_thread() {
        struct Endless(SyncSender<()>);
        impl Iterator for Endless {
            type Item = Result<u32>;
            fn next(&mut self) -> Option<Result<u32>> {
                Some(Ok(0))
            }
        }
        impl Drop for Endless {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (sender, ended) = sync_channel(1);
        let mut prefetch = Prefetch::start("test", Endless(sender));
        assert!(prefetch.next().is_some());
        drop(prefetch);
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn the_thread_works_at_most_three_items_ahead() {
        let (sender, started) = sync_channel(100);
        let work = (0..10_u32).map(move |n| {
            sender.send(n).unwrap();
            Ok(n)
        });
        let mut prefetch = Prefetch::start("test", work);
        let mut n_started = 0;
        for consumed in 0..10_u32 {
            assert_eq!(prefetch.next().unwrap().unwrap(), consumed);
            n_started += u32::try_from(started.try_iter().count()).unwrap();
            assert!(
                n_started <= consumed + 4,
                "{n_started} started when {consumed} was consumed"
            );
        }
    }
}
