//! Room for pages on their way: what all of them may take together while they come and until they are read.
//!
//! Targets are many and not to be trusted: without it their pages, each within its own limit, would take all the memory
//! there is. A page takes room as its bytes come, never for a length that is merely claimed, and waits where there is none.
//! Pages that wait for each other end at their deadlines.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are taken or not taken together.
const PIECE: usize = 4 << 10;

pub(super) struct Room {
    pieces: Arc<Semaphore>,
    bytes_max: usize,
}

/// What one page has of the room; given back when dropped.
pub(super) struct Place {
    room: Arc<Room>,
    held: OwnedSemaphorePermit,
}

/// It would not fit if there were no other page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the page is larger than all pages together may be, {bytes_max} bytes: raise `metrics: {{ memory: … }}`"
)]
pub(super) struct TooLarge {
    bytes_max: usize,
}

fn pieces(bytes: usize) -> usize {
    bytes.div_ceil(PIECE)
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Self {
        let all = pieces(bytes_max).clamp(1, u32::MAX as usize);
        Self {
            pieces: Arc::new(Semaphore::new(all)),
            bytes_max: all * PIECE,
        }
    }

    /// Waits until there is room for so many bytes.
    pub(super) async fn place(self: &Arc<Self>, bytes: usize) -> Result<Place, TooLarge> {
        Ok(Place {
            held: self.take(pieces(bytes)).await?,
            room: Arc::clone(self),
        })
    }

    async fn take(&self, wanted: usize) -> Result<OwnedSemaphorePermit, TooLarge> {
        let too_large = TooLarge {
            bytes_max: self.bytes_max,
        };
        if wanted > pieces(self.bytes_max) {
            return Err(too_large);
        }
        let wanted = u32::try_from(wanted).map_err(|_| too_large)?;
        let taken = Arc::clone(&self.pieces).acquire_many_owned(wanted).await;
        Ok(taken.expect("it is never closed"))
    }
}

impl Place {
    pub(super) fn bytes(&self) -> usize {
        self.held.num_permits() * PIECE
    }

    /// Waits until there is room for so many bytes in all, and for as many again as there are, so that a page grows in a
    /// few steps.
    pub(super) async fn grow_to(&mut self, bytes: usize) -> Result<(), TooLarge> {
        let bytes_max = self.room.bytes_max;
        if bytes > bytes_max {
            return Err(TooLarge { bytes_max });
        }
        let all = pieces(bytes.max((2 * self.bytes()).min(bytes_max)));
        let more = all.saturating_sub(self.held.num_permits());
        self.held.merge(self.room.take(more).await?);
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

    #[tokio::test]
    async fn pages_together_never_take_more_than_there_is_and_the_next_comes_in_when_one_has_gone()
    {
        let room = Arc::new(Room::new(10 * PIECE));
        let mut first = room.place(3 * PIECE + 1).await.unwrap();
        assert_eq!(first.bytes(), 4 * PIECE);
        let second = room.place(5 * PIECE).await.unwrap();
        assert!(waits(room.place(2 * PIECE)));
        assert!(waits(first.grow_to(6 * PIECE)));
        drop(second);
        first.grow_to(6 * PIECE).await.unwrap();
        assert_eq!(first.bytes(), 8 * PIECE);
        assert!(waits(room.place(3 * PIECE)));
        first.grow_to(9 * PIECE).await.unwrap();
        assert_eq!(first.bytes(), 10 * PIECE);
        drop(first);
        room.place(10 * PIECE).await.unwrap();
    }

    #[tokio::test]
    async fn what_never_fits_is_told_instead_of_waiting() {
        let room = Arc::new(Room::new(10 * PIECE));
        assert!(room.place(11 * PIECE).await.is_err());
        let mut place = room.place(9 * PIECE).await.unwrap();
        let told = place.grow_to(11 * PIECE).await.unwrap_err().to_string();
        assert!(told.contains("40960 bytes"), "{told}");
    }
}
