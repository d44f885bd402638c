//! The library's own runtime, so that a training program needs none.
//!
//! Calls that touch storage are `async`. A synchronous program runs them through [`block_on`];
//! an asynchronous one awaits them and never comes here.

pub(crate) mod parallel;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

/// Runs a call of this library to its end, and waits for it.
///
/// The future runs on the calling thread, with timers and I/O on the library's own runtime, which
/// starts with the first call and lives as long as the process. In asynchronous code `.await` the
/// call instead: this one would hold up the thread it is called from.
///
/// ```
/// use tlc_core::{Root, block_on};
///
/// let root = block_on(Root::open("memory:///"))?;
/// assert!(block_on(root.projects())?.is_empty());
/// # Ok::<(), tlc_core::Error>(())
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = RUNTIME.get_or_init(build).as_ref();
    let _guard = runtime.map(Runtime::enter);
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake-up before this leaves a token; one that a wait inside this one took, its own mark.
            Poll::Pending => {
                while !unpark.is_woken.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
            }
        }
    }
}

/// Wakes a future by waking the thread that waits for it. Unlike the executors of runtimes it may be
/// nested, which is no more than waiting inside a wait.
struct Unpark {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The runtime that this code runs on: the caller's own, else the library's.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the system gives no threads for a runtime.
pub(crate) fn handle() -> Result<Handle> {
    if let Ok(current) = Handle::try_current() {
        return Ok(current);
    }
    let own = RUNTIME.get_or_init(build).as_ref();
    own.map(|runtime| runtime.handle().clone()).ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "the system gives no threads for a runtime",
        )
    })
}

/// Runs `work`, which holds the processor for more than a millisecond, off the runtime's threads.
///
/// # Errors
/// Those of `work`; [`ErrorKind::Unavailable`] if its thread ended without an answer.
pub(crate) fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    Box::pin(async move {
        let task = handle()?.spawn_blocking(work);
        task.await.unwrap_or_else(|err| {
            Err(Error::new(ErrorKind::Unavailable, "a worker thread ended early").with_source(err))
        })
    })
}

/// Runs `work`, which waits and decodes by turns, as a task of its own: where the runtime has several
/// threads, several of them at the same time.
///
/// # Errors
/// Those of `work`; [`ErrorKind::Unavailable`] if its task ended without an answer.
pub(crate) fn run_aside<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    Box::pin(async move {
        let task = handle()?.spawn(work);
        task.await.unwrap_or_else(|err| {
            Err(Error::new(ErrorKind::Unavailable, "a reading task ended early").with_source(err))
        })
    })
}

/// Work on the side, which can be waited for before a process ends. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Background {
    /// Starts `work` on the library's own runtime, which outlives that of any caller. Without one it
    /// is not done.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = RUNTIME.get_or_init(build) {
            let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|task| !task.is_finished());
            running.push(runtime.spawn(work));
        }
    }

    /// Waits for all that was started.
    pub(crate) async fn finish(&self) {
        let running = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for task in running {
            // A task that failed or panicked was not needed by anybody.
            task.await.unwrap_or_default();
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

fn build() -> Option<Runtime> {
    Builder::new_multi_thread()
        .thread_name("tlc")
        .enable_all()
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_inside_another_runtime_is_slow_but_no_panic() {
        let outer = Builder::new_current_thread().build().unwrap();
        let answer = outer.block_on(async { block_on(run_blocking(|| Ok(7))) });
        assert_eq!(answer.unwrap(), 7);
    }

    #[test]
    fn waiting_inside_a_wait_is_no_panic() {
        let answer = block_on(async { block_on(async { block_on(run_blocking(|| Ok(7))) }) });
        assert_eq!(answer.unwrap(), 7);
    }
}
