//! Room for pages on their way: what all of them may take together while they come and until they are read.
//!
//! Targets are many and not to be trusted: without it their pages, each within its own limit, would take all the memory
//! there is. A page takes room as its bytes come, never for a length that is merely claimed, and waits where there is none.
//! Pages that wait for each other end at their deadlines.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are taken or not taken together.
const PIECE: usize = 4 << 10;

/// What a small page has at the most, where there is room for many.
const SMALL: usize = 256 << 10;

pub(super) struct Room {
    /// A quarter: for what pages take while they are small. Who waits here waits for no large page.
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    small_bytes: usize,
    /// What one page may take.
    bytes_max: usize,
}

/// What one page has of the room; given back when dropped.
pub(super) struct Place {
    room: Arc<Room>,
    small: OwnedSemaphorePermit,
    large: Option<OwnedSemaphorePermit>,
    /// How many bytes the page probably has.
    expected: usize,
}

/// It would not fit if there were no other page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the page is larger than large pages together may be, {bytes_max} bytes: raise `metrics: {{ memory: … }}`"
)]
pub(super) struct TooLarge {
    bytes_max: usize,
}

fn pieces(bytes: usize) -> usize {
    bytes.div_ceil(PIECE)
}

/// Waits until so many are free.
async fn take(pieces: &Arc<Semaphore>, wanted: usize) -> OwnedSemaphorePermit {
    let wanted = u32::try_from(wanted).expect("a room has fewer than 2^32 pieces");
    let taken = Arc::clone(pieces).acquire_many_owned(wanted).await;
    taken.expect("it is never closed")
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Self {
        let all = pieces(bytes_max).clamp(2, u32::MAX as usize);
        let small = (all / 4).max(1);
        let large = all - small;
        Self {
            small: Arc::new(Semaphore::new(small)),
            large: Arc::new(Semaphore::new(large)),
            small_bytes: SMALL.min((small / 4).max(1) * PIECE),
            bytes_max: large * PIECE,
        }
    }

    /// Waits until there is room for so many bytes, as far as they are a small page's: that it once was large gives a page
    /// nothing before it comes.
    pub(super) async fn place(self: &Arc<Self>, expected: usize) -> Place {
        Place {
            small: take(&self.small, pieces(expected.min(self.small_bytes))).await,
            large: None,
            expected,
            room: Arc::clone(self),
        }
    }
}

impl Place {
    fn pieces(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |held| held.num_permits());
        self.small.num_permits() + large
    }

    pub(super) fn bytes(&self) -> usize {
        self.pieces() * PIECE
    }

    /// Waits until there is room for so many bytes in all, and for as many again as there are or for those expected, so that
    /// a page grows in a few steps.
    pub(super) async fn grow_to(&mut self, bytes: usize) -> Result<(), TooLarge> {
        let Room {
            small_bytes,
            bytes_max,
            ..
        } = *self.room;
        if bytes > bytes_max {
            return Err(TooLarge { bytes_max });
        }
        let is_small = bytes <= small_bytes;
        let most = if is_small { small_bytes } else { bytes_max };
        let ahead = self.expected.max(2 * self.bytes()).min(most);
        let more = pieces(bytes.max(ahead)).saturating_sub(self.pieces());
        if is_small {
            self.small.merge(take(&self.room.small, more).await);
            return Ok(());
        }
        let taken = take(&self.room.large, more).await;
        match &mut self.large {
            Some(held) => held.merge(taken),
            None => self.large = Some(taken),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    /// Whether something has to wait.
    fn waits(future: impl Future) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_pending()
    }

    /// 16 pieces for small pages, of 4 at the most, and 48 for large ones.
    fn room() -> Arc<Room> {
        Arc::new(Room::new(64 * PIECE))
    }

    #[tokio::test]
    async fn pages_together_never_take_more_than_there_is_and_the_next_comes_in_when_one_has_gone()
    {
        let room = room();
        let mut first = room.place(PIECE + 1).await;
        assert_eq!(first.bytes(), 2 * PIECE);
        first.grow_to(3 * PIECE).await.unwrap();
        assert_eq!(first.bytes(), 4 * PIECE);
        let mut second = room.place(0).await;
        second.grow_to(30 * PIECE).await.unwrap();
        assert!(waits(first.grow_to(23 * PIECE)));
        first.grow_to(5 * PIECE).await.unwrap();
        assert_eq!(first.bytes(), 8 * PIECE);
        drop(second);
        first.grow_to(45 * PIECE).await.unwrap();
        assert!(waits(room.place(0).await.grow_to(8 * PIECE)));
        drop(first);
        room.place(0).await.grow_to(48 * PIECE).await.unwrap();
    }

    #[tokio::test]
    async fn small_pages_wait_neither_for_large_ones_nor_for_one_that_once_was_large() {
        let room = room();
        let mut larges = Vec::new();
        for _ in 0..3 {
            let large = room.place(48 * PIECE).await;
            assert_eq!(large.bytes(), 4 * PIECE);
            larges.push(large);
        }
        larges[0].grow_to(5 * PIECE).await.unwrap();
        assert_eq!(larges[0].bytes(), 48 * PIECE);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut waiting = std::pin::pin!(larges[1].grow_to(20 * PIECE));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let mut small = room.place(0).await;
        assert!(!waits(small.grow_to(PIECE)));
        assert!(!waits(small.grow_to(4 * PIECE)));
        assert!(waits(room.place(1)));
    }

    #[tokio::test]
    async fn what_never_fits_is_told_instead_of_waiting() {
        let mut place = room().place(usize::MAX).await;
        let told = place.grow_to(49 * PIECE).await.unwrap_err().to_string();
        assert!(told.contains("196608 bytes"), "{told}");
    }
}
