//! What a scrape makes of a target: where it is asked and which labels it gives. Pure; Prometheus' rules.

use std::{str::FromStr, sync::Arc};

use pitcrew_ingest::relabel::{Action, Rule, RuleText, relabel};
use pitcrew_model::{RelabelRule, Scrape, Target, format_duration};
use pitcrew_promql::labels::{Labels, LabelsBuilder};
use reqwest::Url;

/// A scrape whose rules can be applied.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scrape: Arc<Scrape>,
    rules: Vec<Rule>,
    pub(super) metric_rules: Vec<Rule>,
}

/// One page, and the labels that all its series get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) labels: Labels,
}

impl Plan {
    /// The error is for a person: a rule that the configuration's reader should have refused.
    pub(super) fn new(scrape: Arc<Scrape>) -> Result<Self, String> {
        Ok(Self {
            rules: rules(&scrape.relabel)?,
            metric_rules: rules(&scrape.metric_relabel)?,
            scrape,
        })
    }

    /// Nothing when the target is not wanted. The error says what its labels lack.
    pub(super) fn endpoint(&self, target: &Target) -> Result<Option<Endpoint>, String> {
        let scrape = &self.scrape;
        let Some(address) = &target.address else {
            return Ok(None);
        };
        if let Some(select) = &scrape.select
            && !select.selects(&target.labels)
        {
            return Ok(None);
        }
        let address = match scrape.port {
            Some(port) if address.host().contains(':') => format!("[{}]:{port}", address.host()),
            Some(port) => format!("{}:{port}", address.host()),
            None => address.to_string(),
        };
        let Some(labels) = relabel(&self.rules, &self.before_rules(target, &address)) else {
            return Ok(None);
        };
        endpoint(&labels).map(Some)
    }

    fn before_rules(&self, target: &Target, address: &str) -> Labels {
        let scrape = &self.scrape;
        let scheme = if scrape.tls { "https" } else { "http" };
        let mut labels = LabelsBuilder::default();
        labels.set("job", &scrape.name);
        for (name, value) in target.labels.iter() {
            labels.set(name, value);
        }
        labels
            .set("__address__", address)
            .set("__scheme__", scheme)
            .set("__metrics_path__", &scrape.path)
            .set("__scrape_interval__", &format_duration(scrape.interval))
            .set("__scrape_timeout__", &format_duration(scrape.timeout))
            .set("__meta_pitcrew_target", target.id.as_str())
            .set("__meta_pitcrew_source", target.source.as_str());
        labels.build()
    }
}

fn rules(written: &[RelabelRule]) -> Result<Vec<Rule>, String> {
    let rules = written.iter().map(|rule| {
        let action = Action::parse(&rule.action);
        Rule::new(RuleText {
            source_labels: rule.source_labels.clone(),
            separator: rule.separator.clone(),
            target_label: rule.target_label.clone(),
            regex: rule.regex.clone(),
            modulus: rule.modulus,
            replacement: rule.replacement.clone(),
            action: action.ok_or_else(|| format!("`{}` is no action", rule.action))?,
        })
        .map_err(|error| error.to_string())
    });
    rules.collect()
}

/// From the labels that the rules have made.
fn endpoint(labels: &Labels) -> Result<Endpoint, String> {
    let address = labels.get("__address__");
    if address.is_empty() {
        return Err("its rules leave it no `__address__`".to_owned());
    }
    let (scheme, path) = (labels.get("__scheme__"), labels.get("__metrics_path__"));
    let text = format!("{scheme}://{address}{path}");
    let mut url =
        Url::from_str(&text).map_err(|error| format!("`{text}` is no address: {error}"))?;
    let parameters = labels.iter().filter_map(|label| {
        let name = label.name.strip_prefix("__param_")?;
        Some((name, &*label.value))
    });
    let parameters: Vec<(&str, &str)> = parameters.collect();
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    let mut kept = LabelsBuilder::default();
    for label in labels.iter().filter(|label| !label.name.starts_with("__")) {
        kept.set(&label.name, &label.value);
    }
    if kept.get("instance").is_empty() {
        kept.set("instance", address);
    }
    let labels = kept.build();
    Ok(Endpoint { url, labels })
}
