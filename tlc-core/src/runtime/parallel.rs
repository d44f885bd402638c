//! One function over many items, on as many cores as there are.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

/// What `work` makes of each item, in their order. Up to `n_threads` threads share the work, this one
/// among them, but no more than there are cores; each takes the next item when it is done with one.
///
/// A panic in `work` is one of the caller.
pub(crate) fn map<T, U>(items: &[T], n_threads: usize, work: impl Fn(&T) -> U + Sync) -> Vec<U>
where
    T: Sync,
    U: Send,
{
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let n_helpers = n_threads.min(n_cores()).saturating_sub(1);
    let mut done = scope(|scope| {
        // Where the system gives no further thread, those that are there do the work.
        let start = |_| {
            let thread = Builder::new().name("tlc-worker".to_owned());
            thread.spawn_scoped(scope, take).ok()
        };
        let helpers: Vec<_> = (0..n_helpers).map_while(start).collect();
        let mut done = take();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How many threads run at the same time. The system is asked once.
fn n_cores() -> usize {
    static N_CORES: OnceLock<usize> = OnceLock::new();
    *N_CORES.get_or_init(|| available_parallelism().map_or(1, NonZero::get))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_items() {
        for (n_items, n_threads) in [(0, 0), (0, 4), (1, 4), (1_000, 0), (1_000, 1), (1_000, 8)] {
            let items: Vec<u64> = (0..n_items).collect();
            let expected: Vec<u64> = items.iter().map(|item| item * 3).collect();
            assert_eq!(map(&items, n_threads, |item| item * 3), expected);
        }
    }

    #[test]
    fn as_many_items_are_in_work_at_once_as_there_are_threads() {
        // Each waits for all the others, so fewer threads would never end.
        let n_threads = n_cores().min(4);
        let all = Barrier::new(n_threads);
        let items = vec![(); n_threads];
        let n_leaders = map(&items, n_threads, |()| all.wait().is_leader());
        assert_eq!(
            n_leaders.into_iter().filter(|is_leader| *is_leader).count(),
            1
        );
    }

    #[test]
    fn a_panic_keeps_its_message() {
        let all = Barrier::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            map(&[0, 1], n_cores(), |item| {
                if n_cores() > 1 {
                    all.wait();
                }
                assert_ne!(*item, 1, "one is too many");
            })
        }));
        let message = caught.unwrap_err();
        assert!(
            message
                .downcast_ref::<String>()
                .is_some_and(|text| text.contains("one is too many"))
        );
    }
}
