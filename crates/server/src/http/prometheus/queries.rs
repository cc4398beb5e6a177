//! Threads for what reads the store: a bounded number, of lower priority than the loop's, each query until its deadline
//! or until nobody waits for it any more.
//!
//! The memory of a query is its turn's, and what its answer takes of it stays taken until the client has read it, or has
//! been cut off. Clients that don't read make others wait; they don't make the process grow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{body::to_bytes, response::Response};
use rustix::process::setpriority_process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{answer::Error, unread};
use crate::http::paced::PATIENCE;

/// The deepest query takes 1.2 MB in unoptimised code.
const STACK_BYTES: usize = 4 << 20;

/// Gives way to the loop where both want the processor.
const NICENESS: i32 = 5;

pub(super) struct Queries {
    turns: Arc<Semaphore>,
    /// In KiB: a share for each turn, and one more for answers on their way.
    memory: Arc<Semaphore>,
    share_kib: u32,
}

/// Until when a query may run.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) began: Instant,
    timeout: Duration,
    is_unwanted: Arc<AtomicBool>,
}

impl Lease {
    pub(super) fn begin(timeout: Duration) -> Self {
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
    pub(super) fn new(concurrency: usize, share_bytes: usize) -> Self {
        let share_kib = kib(share_bytes);
        let shares = concurrency.saturating_add(1);
        let all = shares.saturating_mul(share_kib as usize);
        Self {
            turns: Arc::new(Semaphore::new(concurrency)),
            memory: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            share_kib,
        }
    }

    /// For work whose result is small, or sent by the work itself.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&Lease) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, _memory) = self.work(timeout, work).await?;
        Ok(done)
    }

    /// For work whose result is an answer as a whole.
    pub(super) async fn answer(
        &self,
        timeout: Duration,
        work: impl FnOnce(&Lease) -> Result<Response, Error> + Send + 'static,
    ) -> Result<Response, Error> {
        let (response, mut memory) = self.work(timeout, work).await?;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await;
        let bytes = bytes.map_err(|error| Error::internal(format!("no answer: {error}")))?;
        // An estimate that was too low is no reason to have none.
        let taken = usize::min(kib(bytes.len()) as usize, memory.num_permits());
        let taken = memory.split(taken).expect("it has as many");
        let body = unread::body(bytes, taken, PATIENCE);
        Ok(Response::from_parts(parts, body))
    }

    async fn wait(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let memory = Arc::clone(&self.memory).acquire_many_owned(self.share_kib);
        match (turn, memory.await) {
            (Ok(turn), Ok(memory)) => Ok((turn, memory)),
            _closed => Err(Error::unavailable("the server is stopping")),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&Lease) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Error> {
        let lease = Lease::begin(timeout);
        let began = lease.began;
        let _wanted = Wanted(Arc::clone(&lease.is_unwanted));
        let waited = tokio::time::timeout(timeout, self.wait()).await;
        let (turn, memory) = waited.map_err(|_elapsed| {
            Error::timeout(
                "query timed out in query queue: as many run, or wait until their answers are read, as may at once (query.concurrency; two exports, two imports)",
            )
        })??;
        let (answer, answered) = oneshot::channel();
        let on_its_thread = move || {
            // Refused where somebody has taken this right away; then it runs like all else.
            setpriority_process(None, NICENESS).ok();
            let worked = work(&lease);
            drop(turn);
            // Whoever asked may be gone.
            answer.send(worked.map(|done| (done, memory))).ok();
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

/// Rounded up.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
