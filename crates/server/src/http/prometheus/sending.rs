//! An answer that is sent while it is made: its maker waits for the client to read on, though not for one that stands
//! still.
//!
//! What was sent and not taken is not the body's own, for the same reason as in [`super::unread`]: over HTTP/2 nobody
//! may ever ask for the next piece while the connection is well.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::Stream;
use tokio::{
    sync::mpsc,
    time::{error::Elapsed, timeout},
};

use super::answer::Error;

/// Chunks that wait to be taken.
const WAITING_MAX: usize = 4;

pub(super) type Chunk = Result<Bytes, Error>;

struct Waiting {
    /// Nothing once the client has been cut off.
    chunks: Option<mpsc::Receiver<Chunk>>,
    client: Option<Waker>,
}

/// The client's side.
pub(super) struct Chunks(Arc<Mutex<Waiting>>);

/// The maker's side.
pub(super) struct Sending {
    pub(super) chunks: mpsc::Sender<Chunk>,
    waiting: Weak<Mutex<Waiting>>,
    patience: Duration,
}

impl Sending {
    /// Within `patience` the client must take a chunk.
    pub(super) fn begin(patience: Duration) -> (Self, Chunks) {
        let (chunks, receiver) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(Waiting {
            chunks: Some(receiver),
            client: None,
        }));
        let sending = Self {
            chunks,
            waiting: Arc::downgrade(&waiting),
            patience,
        };
        (sending, Chunks(waiting))
    }

    /// Until the work is done and all it sent has been taken, or the client is gone or cut off. An error of the work is the
    /// answer's end.
    pub(super) async fn end(self, work: impl Future<Output = Result<(), Error>>) {
        let worked = tokio::select! {
            worked = work => worked,
            () = self.chunks.closed() => return,
        };
        if let Err(error) = &worked {
            tracing::warn!("an answer ended early: {error}");
        }
        if self.taken(worked.err()).await.is_err()
            && let Some(waiting) = self.waiting.upgrade()
        {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.chunks.take();
            // It may have taken the last chunk at this moment, and wait for the end.
            waiting.client.take().inspect(Waker::wake_by_ref);
        }
    }

    /// Also when the client is gone.
    async fn taken(&self, error: Option<Error>) -> Result<(), Elapsed> {
        if let Some(error) = error {
            timeout(self.patience, self.chunks.send(Err(error)))
                .await?
                .ok();
        }
        for free in 1..=WAITING_MAX {
            timeout(self.patience, self.chunks.reserve_many(free))
                .await?
                .ok();
        }
        Ok(())
    }
}

impl Stream for Chunks {
    type Item = Chunk;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.client = Some(context.waker().clone());
        match &mut waiting.chunks {
            Some(chunks) => chunks.poll_recv(context),
            None => Poll::Ready(Some(Err(Error::canceled("the answer was not read")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    /// Bytes that are known to be held.
    struct Held {
        _count: Arc<()>,
    }

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            b"chunk"
        }
    }

    async fn within_reason<T>(awaited: impl Future<Output = T>) -> T {
        let awaited = timeout(Duration::from_secs(60), awaited).await;
        awaited.expect("it waits for ever")
    }

    #[tokio::test]
    async fn who_stops_reading_holds_nothing_and_is_told() {
        for worked in [Ok(()), Err(Error::canceled("too slow"))] {
            let (sending, mut chunks) = Sending::begin(Duration::from_millis(20));
            let held = Arc::new(());
            for _ in 0..WAITING_MAX {
                let chunk = Bytes::from_owner(Held {
                    _count: Arc::clone(&held),
                });
                sending.chunks.send(Ok(chunk)).await.unwrap();
            }
            within_reason(sending.end(async { worked })).await;
            assert_eq!(Arc::strong_count(&held), 1);
            assert!(chunks.next().await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn who_reads_gets_all_of_it_and_its_end() {
        for worked in [Ok(()), Err(Error::canceled("that was all"))] {
            let (sending, chunks) = Sending::begin(Duration::from_secs(60));
            let maker = sending.chunks.clone();
            let made = worked.clone();
            let work = async move {
                for _ in 0..3 * WAITING_MAX {
                    maker.send(Ok(Bytes::from_static(b"chunk"))).await.unwrap();
                }
                made
            };
            let read = async { tokio::join!(sending.end(work), chunks.collect::<Vec<_>>()).1 };
            let read = within_reason(read).await;
            let (good, bad): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
            assert_eq!(good.len(), 3 * WAITING_MAX);
            assert_eq!(bad.len(), usize::from(worked.is_err()));
        }
    }

    #[tokio::test]
    async fn a_client_that_left_ends_the_work() {
        let (sending, chunks) = Sending::begin(Duration::from_secs(60));
        drop(chunks);
        within_reason(sending.end(std::future::pending())).await;
    }
}
