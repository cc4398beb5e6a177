//! What became of each page the last time, for people.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pitcrew_model::{Target, TargetId, Timestamp};

use super::{page::Scraped, plan::Endpoint};
use crate::api::ScrapeStatus;

/// What a page says may be in the error about it.
const ERROR_BYTES_MAX: usize = 1_000;

type Key = (String, TargetId);
type Lines = Arc<Mutex<BTreeMap<Key, (u64, ScrapeStatus)>>>;

#[derive(Debug, Default)]
pub(crate) struct Board {
    lines: Lines,
    entered: AtomicU64,
}

/// The line of one page; gone from the board when it is dropped.
pub(super) struct Entry {
    lines: Lines,
    key: Key,
    /// A line of the same page that came later is another's.
    number: u64,
}

impl Board {
    pub(super) fn enter(&self, scrape: &str, target: &Target, endpoint: &Endpoint) -> Entry {
        let key = (scrape.to_owned(), target.id.clone());
        let status = ScrapeStatus {
            scrape: scrape.to_owned(),
            target: target.id.clone(),
            url: endpoint.url.to_string(),
            labels: endpoint
                .labels
                .iter()
                .map(|label| (label.name.to_string(), label.value.to_string()))
                .collect(),
            last_at: None,
            took_seconds: None,
            samples: None,
            error: None,
        };
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.insert(key.clone(), (number, status));
        Entry {
            lines: Arc::clone(&self.lines),
            key,
            number,
        }
    }

    /// Those after a key of [`ScrapeStatus::key`], in order.
    pub(crate) fn after(&self, after: &str, limit: usize) -> Vec<ScrapeStatus> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.values().map(|(_, status)| status);
        let mut statuses: Vec<ScrapeStatus> = lines
            .filter(|status| status.key().as_str() > after)
            .cloned()
            .collect();
        statuses.sort_by_key(ScrapeStatus::key);
        statuses.truncate(limit);
        statuses
    }

    /// Pages whose last reading succeeded, and all.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_up =
            |(_, status): &&(u64, ScrapeStatus)| status.error.is_none() && status.last_at.is_some();
        (lines.values().filter(is_up).count(), lines.len())
    }
}

impl Entry {
    /// What a scrape came to; the log says when that changes.
    pub(super) fn note(&self, taken: Result<Scraped, String>, at_ms: i64) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((number, status)) = lines.get_mut(&self.key) else {
            return;
        };
        if *number != self.number {
            return;
        }
        let at = u64::try_from(at_ms).unwrap_or(0);
        status.last_at = Some(Timestamp::from_millis(at));
        let (scrape, url) = (&status.scrape, &status.url);
        match taken {
            Ok(scraped) => {
                if status.error.is_some() {
                    tracing::info!("scrape {scrape} reads {url} again");
                }
                status.took_seconds = Some(scraped.took_seconds);
                status.samples = u64::try_from(scraped.samples).ok();
                status.error = None;
            }
            Err(mut error) => {
                error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
                if status.error.is_none() {
                    tracing::warn!("scrape {scrape} can't read {url}: {error}");
                }
                status.error = Some(error);
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = lines
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number);
        if is_own {
            lines.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::plan::{Plan, tests::*},
        *,
    };

    #[test]
    fn an_error_about_a_page_is_short_whatever_the_page_says() {
        let (board, target) = (Board::default(), target("a:1"));
        let endpoint = Plan::new(Arc::new(scrape())).unwrap().endpoint(&target);
        let entry = board.enter("nodes", &target, &endpoint.unwrap().unwrap());
        entry.note(Err(format!("a{}", "é".repeat(1_000))), 0);
        let error = board.after("", 1)[0].error.clone().unwrap();
        assert_eq!(error.len(), 999);
    }
}
