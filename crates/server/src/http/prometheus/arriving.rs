//! A body on its way in, which must come on: whoever is slow is let be, whoever stands still is not.
//!
//! What reads it holds a place meanwhile. A client that sends a byte now and then would hold one for ever, so a pause is
//! measured by what came in between, as it is for those who read.

use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt;

/// Within this time of waiting [`ENOUGH_BYTES`] must come, or all there is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some 4 KB a second.
const ENOUGH_BYTES: usize = 256 << 10;

pub(super) struct Arriving {
    chunks: BodyDataStream,
    pace: Pace,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NotComing {
    #[error("less than 256 KiB came within 60 s")]
    Late,
    #[error("the body broke off: {0}")]
    Broken(#[from] axum::Error),
}

impl Arriving {
    pub(super) fn new(body: Body) -> Self {
        Self {
            chunks: body.into_data_stream(),
            pace: Pace::default(),
        }
    }

    /// `None` after the last bytes.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, NotComing> {
        let began = Instant::now();
        let chunk = tokio::time::timeout(self.pace.left(), self.chunks.next()).await;
        let chunk = chunk.map_err(|_elapsed| NotComing::Late)?.transpose()?;
        let bytes = chunk.as_ref().map_or(0, Bytes::len);
        self.pace.came(bytes, began.elapsed());
        Ok(chunk)
    }
}

/// What came since enough had come, and how long it was waited for.
#[derive(Debug, Default)]
struct Pace {
    bytes: usize,
    waited: Duration,
}

impl Pace {
    fn left(&self) -> Duration {
        PATIENCE.saturating_sub(self.waited)
    }

    fn came(&mut self, bytes: usize, waited: Duration) {
        self.bytes += bytes;
        self.waited += waited;
        if self.bytes >= ENOUGH_BYTES {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_is_no_progress() {
        let mut pace = Pace::default();
        for _ in 0..6 {
            assert!(!pace.left().is_zero());
            pace.came(1, Duration::from_secs(10));
        }
        assert!(pace.left().is_zero());
    }

    #[test]
    fn whoever_is_slow_is_let_be() {
        let mut pace = Pace::default();
        for _ in 0..1_000 {
            pace.came(ENOUGH_BYTES / 5, Duration::from_secs(11));
            assert!(!pace.left().is_zero());
        }
    }

    #[tokio::test]
    async fn all_of_a_body_comes() {
        let mut arriving = Arriving::new(Body::from("all of it"));
        assert_eq!(&arriving.next().await.unwrap().unwrap()[..], b"all of it");
        assert!(arriving.next().await.unwrap().is_none());
    }
}
