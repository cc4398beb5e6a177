//! An answer on its way: it keeps its part of the queries' memory until its client has read it, and gives it back when the
//! client stands still.
//!
//! The connection may be well all the while: over HTTP/2 a client can leave one answer unread and read others, and then
//! nobody asks for the next piece. So the memory is not the body's own: a watch looks whether pieces are taken.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Copied, so that what a slow connection holds of an answer is not all of it.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("the answer was not read within {0:?}")]
struct NotRead(Duration);

struct Unread {
    left: Arc<Mutex<Option<Left>>>,
    bytes: u64,
    patience: Duration,
}

/// What has not been taken yet, until all of it is or nobody reads it.
struct Left {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// A body that must be read on and on, with pauses shorter than `patience`. What is taken in one piece needs no watch.
pub(super) fn body(bytes: Bytes, memory: OwnedSemaphorePermit, patience: Duration) -> Body {
    if bytes.len() <= PIECE_BYTES {
        return Body::from(bytes);
    }
    let unread = Unread {
        bytes: bytes.len() as u64,
        left: Arc::new(Mutex::new(Some(Left {
            bytes,
            _memory: memory,
        }))),
        patience,
    };
    tokio::spawn(watch(Arc::downgrade(&unread.left), patience));
    Body::new(unread)
}

async fn watch(left: std::sync::Weak<Mutex<Option<Left>>>, patience: Duration) {
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(patience).await;
        let Some(left) = left.upgrade() else { return };
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.as_ref().map(|left| left.bytes.len()) {
            None => return,
            Some(bytes) if bytes == before => {
                left.take();
                return;
            }
            Some(bytes) => before = bytes,
        }
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = NotRead;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotRead>>> {
        let this = self.get_mut();
        if this.bytes == 0 {
            return Poll::Ready(None);
        }
        let mut place = this.left.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = place.as_mut() else {
            return Poll::Ready(Some(Err(NotRead(this.patience))));
        };
        let length = left.bytes.len().min(PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&left.bytes.split_to(length));
        this.bytes -= length as u64;
        if this.bytes == 0 {
            place.take();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures_util::StreamExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    fn held(length: usize, patience: Duration) -> (Arc<Semaphore>, Body) {
        let memory = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&memory).try_acquire_owned().unwrap();
        let bytes: Vec<u8> = (0_u8..=255).cycle().take(length).collect();
        (memory, body(bytes.into(), held, patience))
    }

    #[tokio::test]
    async fn all_of_it_is_read_and_its_memory_given_back() {
        for length in [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 1] {
            let (memory, body) = held(length, Duration::from_secs(60));
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let read = to_bytes(body, usize::MAX).await.unwrap();
            let expected = (0_u8..=255).cycle().take(length);
            assert!(read.iter().copied().eq(expected), "{length}");
            assert_eq!(memory.available_permits(), 1, "{length}");
        }
    }

    #[tokio::test]
    async fn who_stops_reading_holds_no_memory_and_is_told() {
        let (memory, body) = held(3 * PIECE_BYTES, Duration::from_millis(20));
        let mut pieces = body.into_data_stream();
        assert!(pieces.next().await.unwrap().is_ok());
        let given_back = memory.acquire();
        let given_back = tokio::time::timeout(Duration::from_secs(30), given_back).await;
        assert!(given_back.is_ok(), "it was not");
        assert!(pieces.next().await.unwrap().is_err());
    }
}
