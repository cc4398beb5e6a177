//! What the series of a target's pages are called: labels of the target and of the page, and the rules about them.

use std::sync::Arc;

use pitcrew_ingest::relabel::relabel;
use pitcrew_promql::labels::{Labels, LabelsBuilder};
use pitcrew_tsdb::{Accepted, Batch, IncomingExemplar, Limits, Metadata, RawLabels, Sample};

use super::plan::Plan;
use crate::telemetry::{Form, NotTaken, Telemetry};

/// Before the names of series about the scrape itself, which no rule changes; no series of a page begins so.
const ABOUT: u8 = 0;

/// Series about the scrape itself.
pub(super) const ABOUTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// Labels of one series that rules are asked about, as many times as may be stored: rules may drop some.
const LABELS_TIMES: usize = 4;

/// The key of one of [`ABOUTS`].
pub(super) fn about(name: &str) -> Vec<u8> {
    [&[ABOUT], name.as_bytes()].concat()
}

pub(super) struct Naming {
    pub(super) plan: Arc<Plan>,
    labels: Labels,
    /// Whom limits are counted for.
    source: String,
    /// All that decides, besides the form of a page, what its series are called.
    scope: String,
}

/// What is stored with the samples.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside<'a> {
    pub(super) exemplars: &'a [IncomingExemplar<'a>],
    pub(super) metadata: &'a [Metadata],
}

impl Naming {
    pub(super) fn new(plan: Arc<Plan>, labels: &Labels) -> Self {
        let scrape = &plan.scrape;
        Self {
            labels: labels.clone(),
            source: format!("scrape {} of {}", scrape.name, labels.get("instance")),
            scope: format!(
                "scrape {labels} {} {:?} ",
                scrape.honor_labels, scrape.metric_relabel
            ),
            plan,
        }
    }

    /// The same target by another plan.
    pub(super) fn by(&self, plan: Arc<Plan>) -> Self {
        Self::new(plan, &self.labels)
    }

    /// What a series of a page is called in the end; nothing where a rule drops it. No more is built of labels that are too
    /// many or too long.
    pub(super) fn labelled(&self, form: Form, key: &[u8]) -> Result<Option<Labels>, String> {
        let limits = Limits::default();
        let (bytes_max, labels_max) = (limits.key_bytes(), LABELS_TIMES * limits.labels);
        if key.len() > bytes_max {
            return Err(format!(
                "they take {} bytes, more than {bytes_max}",
                key.len()
            ));
        }
        let mut count = 0_usize;
        let mut labels = LabelsBuilder::default();
        let about = key.strip_prefix(&[ABOUT]);
        let series = match about {
            Some(name) => Form::Text.of(name),
            None => form.of(key),
        };
        let read = series.each_label(|name, value| {
            count += 1;
            if count <= labels_max {
                labels.set(name, value);
            }
        });
        read.map_err(|error| error.to_string())?;
        if count > labels_max {
            return Err(format!("more than {labels_max} labels"));
        }
        for own in self.labels.iter() {
            let given = labels.get(&own.name).to_owned();
            if given.is_empty() {
                labels.set(&own.name, &own.value);
            } else if about.is_some() || !self.plan.scrape.honor_labels {
                let mut other = format!("exported_{}", own.name);
                while !labels.get(&other).is_empty() || self.labels.has(&other) {
                    other.insert_str(0, "exported_");
                }
                labels.set(&other, &given).set(&own.name, &own.value);
            }
        }
        let labels = labels.build();
        match about {
            Some(_) => Ok(Some(labels)),
            None => Ok(relabel(&self.plan.metric_rules, &labels)),
        }
    }

    /// Limits on the labels of one series.
    pub(super) fn check(&self, form: Form, key: &[u8]) -> Result<(), String> {
        let limits = &self.plan.scrape.limits;
        let exceeds = |found: usize, limit: Option<u64>| {
            limit.filter(|limit| u64::try_from(found).is_ok_and(|found| found > *limit))
        };
        let labels = self.labelled(form, key)?;
        let labels = labels.ok_or("a series was kept and dropped")?;
        if let Some(limit) = exceeds(labels.len(), limits.labels_max) {
            return Err(format!("{labels} has more labels than `label_max` {limit}"));
        }
        for label in labels.iter() {
            if let Some(limit) = exceeds(label.name.len(), limits.label_name_bytes_max) {
                return Err(format!(
                    "{labels} has a name longer than `label_name_max` {limit}"
                ));
            }
            if let Some(limit) = exceeds(label.value.len(), limits.label_value_bytes_max) {
                let name = &label.name;
                return Err(format!("`{name}` is longer than `label_value_max` {limit}"));
            }
        }
        Ok(())
    }

    pub(super) fn append(
        &self,
        telemetry: &Telemetry,
        form: Form,
        samples: &[Sample<'_>],
        beside: Beside<'_>,
    ) -> Result<Accepted, NotTaken> {
        telemetry.append(&Batch {
            source: &self.source,
            scope: &[self.scope.as_bytes(), form.scope()].concat(),
            labels_of: &|key, out: &mut RawLabels| {
                let labels = self.labelled(form, key)?;
                let labels = labels.ok_or("a rule drops it")?;
                labels
                    .iter()
                    .for_each(|label| out.push(&label.name, &label.value));
                Ok(())
            },
            samples,
            exemplars: beside.exemplars,
            metadata: beside.metadata,
        })
    }
}
