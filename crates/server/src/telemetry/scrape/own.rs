//! The server's own page, taken as any other but for the way it comes.
//!
//! Its counters would seem to start again with each sample between two that were there before. So after the wall clock was
//! set back no page is kept until that time has come again.

use std::{sync::Arc, time::Duration};

use pitcrew_ingest::text;
use pitcrew_model::{Scrape, ScrapeLimits};
use pitcrew_promql::labels::Labels;

use super::{
    fetch::Format,
    page::{Pages, Scraped},
    plan::Plan,
};
use crate::telemetry::{GATHERED_BYTES_MAX, OWN_INTERVAL, Telemetry};

pub(crate) struct OwnPages {
    pages: Pages,
    last_ms: i64,
    /// Until the time of the last page has come again.
    waits: bool,
}

impl OwnPages {
    pub(crate) fn new(instance: &str) -> Result<Self, String> {
        let plan = Plan::new(Arc::new(Scrape {
            name: "pitcrew".to_owned(),
            select: None,
            tls: false,
            path: "/metrics".to_owned(),
            params: Vec::new(),
            port: None,
            interval: OWN_INTERVAL,
            timeout: OWN_INTERVAL,
            headers: Vec::new(),
            ca_file: None,
            insecure: false,
            native_histograms: false,
            honor_labels: false,
            honor_timestamps: false,
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            limits: ScrapeLimits {
                body_bytes_max: u64::MAX,
                samples_max: None,
                labels_max: None,
                label_name_bytes_max: None,
                label_value_bytes_max: None,
            },
        }))?;
        let labels = Labels::from_pairs([("job", "pitcrew"), ("instance", instance)]);
        Ok(Self {
            pages: Pages::new(Arc::new(plan), &labels, GATHERED_BYTES_MAX),
            last_ms: i64::MIN,
            waits: false,
        })
    }

    pub(crate) fn take(&mut self, telemetry: &Telemetry, at_ms: i64, text: &str, took: Duration) {
        if self.is_past(at_ms) {
            return;
        }
        let scraped = Scraped {
            at_ms,
            took_seconds: took.as_secs_f64(),
            ..Scraped::default()
        };
        let page = Ok((Format::Text(text::Format::OpenMetrics), text.as_bytes()));
        if let Err(error) = self.pages.take(telemetry, page, scraped) {
            tracing::debug!(error, "the server's own metrics are not kept this time");
        }
    }

    fn is_past(&mut self, at_ms: i64) -> bool {
        let is_past = at_ms <= self.last_ms;
        if is_past && !self.waits {
            let seconds = (self.last_ms - at_ms) / 1_000;
            tracing::warn!(
                "the wall clock was set back: the server's own metrics are kept again in {seconds} s"
            );
        }
        self.waits = is_past;
        self.last_ms = self.last_ms.max(at_ms);
        is_past
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::{start, value_now};

    #[test]
    fn after_the_clock_was_set_back_no_counter_starts_again_between_its_samples() {
        let data = tempfile::tempdir().unwrap();
        let telemetry = start(data.path());
        let mut own = OwnPages::new("here").unwrap();
        let now_ms = telemetry.now_ms();
        for (ago_ms, count) in [(40_000, 1), (60_000, 2), (50_000, 3), (20_000, 4)] {
            let text = format!("c_total {count}\n# EOF\n");
            own.take(&telemetry, now_ms - ago_ms, &text, Duration::ZERO);
        }
        let all = "count_over_time(c_total[1m])";
        assert_eq!(value_now(&telemetry, all), Some(2.0));
        assert_eq!(value_now(&telemetry, "c_total"), Some(4.0));
        telemetry.stop();
    }
}
