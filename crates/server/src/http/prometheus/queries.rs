//! Threads for what reads the store: a bounded number, of lower priority than the loop's, each query until its deadline
//! or until nobody waits for it any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::setpriority_process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::answer::Error;

/// The deepest query takes 1.2 MB in unoptimised code.
const STACK_BYTES: usize = 4 << 20;

/// Gives way to the loop where both want the processor.
const NICENESS: i32 = 5;

pub(super) struct Queries(Arc<Semaphore>);

/// Until when a query may run.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) began: Instant,
    timeout: Duration,
    is_unwanted: Arc<AtomicBool>,
}

impl Lease {
    fn begin(timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            timeout,
            is_unwanted: Arc::default(),
        }
    }

    /// Asked often by whoever works under it.
    pub(super) fn is_over(&self) -> bool {
        self.is_unwanted.load(Ordering::Relaxed) || self.began.elapsed() >= self.timeout
    }

    /// What a query that stopped because of it answers.
    pub(super) fn error(&self) -> Error {
        if self.is_unwanted.load(Ordering::Relaxed) {
            return Error::canceled("query was canceled in query execution");
        }
        timed_out(self.timeout)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_over() {
            return Err(self.error());
        }
        Ok(())
    }
}

fn timed_out(timeout: Duration) -> Error {
    Error::timeout(format!(
        "query timed out in query execution: it may take {timeout:?} (query.timeout)"
    ))
}

/// Dropped with the request, also when the client goes away before its answer.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queries {
    pub(super) fn new(concurrency: usize) -> Self {
        Self(Arc::new(Semaphore::new(concurrency)))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&Lease) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let lease = Lease::begin(timeout);
        let began = lease.began;
        let _wanted = Wanted(Arc::clone(&lease.is_unwanted));
        let permit = tokio::time::timeout(timeout, Arc::clone(&self.0).acquire_owned());
        let permit = match permit.await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(Error::unavailable("the server is stopping")),
            Err(_elapsed) => {
                return Err(Error::timeout(
                    "query timed out in query queue: as many run as may at once (query.concurrency; two imports and exports)",
                ));
            }
        };
        let (answer, answered) = oneshot::channel();
        let on_its_thread = move || {
            // Refused where somebody has taken this right away; then it runs like all else.
            setpriority_process(None, NICENESS).ok();
            let worked = work(&lease);
            drop::<OwnedSemaphorePermit>(permit);
            // Whoever asked may be gone.
            answer.send(worked).ok();
        };
        let thread = thread::Builder::new()
            .name("query".to_owned())
            .stack_size(STACK_BYTES);
        thread.spawn(on_its_thread).map_err(|error| {
            Error::unavailable(format!("no thread for the query can be started: {error}"))
        })?;
        // The thread may be in the middle of something that takes longer than what is left.
        let left = timeout.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, answered).await {
            Ok(Ok(worked)) => worked,
            Ok(Err(_panicked)) => Err(Error::internal(
                "the query ended badly; the server's log says how",
            )),
            Err(_elapsed) => Err(timed_out(timeout)),
        }
    }
}
