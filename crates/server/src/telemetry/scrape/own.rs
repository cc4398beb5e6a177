//! The server's own page, taken as any other but for the way it comes.

use std::{sync::Arc, time::Duration};

use pitcrew_ingest::text::Format;
use pitcrew_model::{Scrape, ScrapeLimits};
use pitcrew_promql::labels::Labels;

use super::{
    page::{Pages, Scraped},
    plan::Plan,
};
use crate::telemetry::{OWN_INTERVAL, Telemetry};

pub(crate) struct OwnPages {
    plan: Plan,
    pages: Pages,
}

impl OwnPages {
    pub(crate) fn new(instance: &str) -> Result<Self, String> {
        let plan = Plan::new(Arc::new(Scrape {
            name: "pitcrew".to_owned(),
            select: None,
            tls: false,
            path: "/metrics".to_owned(),
            port: None,
            interval: OWN_INTERVAL,
            timeout: OWN_INTERVAL,
            headers: Vec::new(),
            ca_file: None,
            insecure: false,
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
        let pages = Pages::new(&plan, &labels);
        Ok(Self { plan, pages })
    }

    pub(crate) fn take(&mut self, telemetry: &Telemetry, text: &str, took: Duration) {
        let scraped = Scraped {
            at_ms: telemetry.now_ms(),
            took_seconds: took.as_secs_f64(),
            ..Scraped::default()
        };
        let page = Ok((Format::OpenMetrics, text.as_bytes()));
        if let Err(error) = self.pages.take(&self.plan, telemetry, page, scraped) {
            tracing::debug!(error, "the server's own metrics are not kept this time");
        }
    }
}
