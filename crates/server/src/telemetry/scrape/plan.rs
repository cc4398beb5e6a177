//! What a scrape makes of a target: where it is asked and which labels it gives. Pure; Prometheus' rules.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use pitcrew_ingest::relabel::{Action, Rule, RuleText, relabel};
use pitcrew_model::{RelabelRule, Scrape, Target, format_duration};
use pitcrew_promql::labels::{Labels, LabelsBuilder};
use reqwest::Url;

/// Labels that are parameters of the page's address begin so.
const PARAM: &str = "__param_";

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
        self.endpoint_of(&labels).map(Some)
    }

    /// Whether a page is refused for the labels of its series.
    pub(super) fn limits_labels(&self) -> bool {
        let limits = &self.scrape.limits;
        limits.labels_max.is_some()
            || limits.label_name_bytes_max.is_some()
            || limits.label_value_bytes_max.is_some()
    }

    fn before_rules(&self, target: &Target, address: &str) -> Labels {
        let scrape = &self.scrape;
        let scheme = if scrape.tls { "https" } else { "http" };
        let mut labels = LabelsBuilder::default();
        labels.set("job", &scrape.name);
        for (name, value) in target.labels.iter() {
            labels.set(name, value);
        }
        for (name, values) in &scrape.params {
            let first = values.first().map_or("", String::as_str);
            labels.set(&format!("{PARAM}{name}"), first);
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

    /// From the labels that the rules have made.
    fn endpoint_of(&self, labels: &Labels) -> Result<Endpoint, String> {
        let address = labels.get("__address__");
        if address.is_empty() {
            return Err("its rules leave it no `__address__`".to_owned());
        }
        let (scheme, path) = (labels.get("__scheme__"), labels.get("__metrics_path__"));
        let text = format!("{scheme}://{address}{path}");
        let mut url =
            Url::from_str(&text).map_err(|error| format!("`{text}` is no address: {error}"))?;
        let parameters = self.parameters(labels);
        if !parameters.is_empty() {
            let pairs = parameters.iter().flat_map(|(name, values)| {
                let values = values.iter();
                values.map(move |value| (*name, *value))
            });
            url.query_pairs_mut().extend_pairs(pairs);
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

    /// Those of the configuration; a label stands for the first value of its name.
    fn parameters<'a>(&'a self, labels: &'a Labels) -> BTreeMap<&'a str, Vec<&'a str>> {
        let written = self.scrape.params.iter().map(|(name, values)| {
            let values = values.iter().map(String::as_str);
            (name.as_str(), values.collect())
        });
        let mut parameters: BTreeMap<&str, Vec<&str>> = written.collect();
        for label in labels.iter() {
            if let Some(name) = label.name.strip_prefix(PARAM) {
                let values = parameters.entry(name).or_default();
                values.splice(..values.len().min(1), [&*label.value]);
            }
        }
        parameters
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use pitcrew_model::{Address, Labels as Given, ScrapeLimits, Selector, SourceName, TargetId};

    use super::*;

    fn rule(source: &str, regex: &str, target: &str, replacement: &str) -> RelabelRule {
        RelabelRule {
            source_labels: vec![source.to_owned()],
            separator: ";".to_owned(),
            target_label: target.to_owned(),
            regex: regex.to_owned(),
            modulus: 0,
            replacement: replacement.to_owned(),
            action: "replace".to_owned(),
        }
    }

    /// Of every target, once in an hour.
    pub(in super::super) fn scrape() -> Scrape {
        Scrape {
            name: "nodes".to_owned(),
            select: None,
            tls: false,
            path: "/metrics".to_owned(),
            params: Vec::new(),
            port: None,
            interval: Duration::from_secs(3_600),
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            ca_file: None,
            insecure: false,
            native_histograms: false,
            honor_labels: false,
            honor_timestamps: true,
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            limits: ScrapeLimits {
                body_bytes_max: 1 << 20,
                samples_max: None,
                labels_max: None,
                label_name_bytes_max: None,
                label_value_bytes_max: None,
            },
        }
    }

    /// With a label `zone`.
    pub(in super::super) fn target(address: &str) -> Target {
        Target {
            id: TargetId::new("node-1").unwrap(),
            address: Some(Address(address.into())),
            labels: Given::new([("zone", "a"), ("__meta_rack", "r1")]).unwrap(),
            run_on: None,
            runner: None,
            source: SourceName::new("tests").unwrap(),
        }
    }

    /// The page and the labels of [`target`].
    fn planned(address: &str, change: impl FnOnce(&mut Scrape)) -> Result<Option<String>, String> {
        let mut scrape = scrape();
        change(&mut scrape);
        let endpoint = Plan::new(Arc::new(scrape))?.endpoint(&target(address))?;
        Ok(endpoint.map(|endpoint| format!("{} {}", endpoint.url, endpoint.labels)))
    }

    #[test]
    fn a_target_is_asked_where_it_is_unless_rules_say_otherwise() {
        let plain = planned("10.0.0.1:9100", |_| {});
        let labels = r#"{instance="10.0.0.1:9100", job="nodes", zone="a"}"#;
        let expected = format!("http://10.0.0.1:9100/metrics {labels}");
        assert_eq!(plain, Ok(Some(expected)));
        let on_port = planned("[fd00::1]", |scrape| {
            scrape.port = Some(9100);
            scrape.tls = true;
        });
        let labels = r#"{instance="[fd00::1]:9100", job="nodes", zone="a"}"#;
        let expected = format!("https://[fd00::1]:9100/metrics {labels}");
        assert_eq!(on_port, Ok(Some(expected)));
        let changed = planned("10.0.0.1:9100", |scrape| {
            scrape.relabel = vec![
                rule("__address__", "(.*)", "__param_target", "$1"),
                rule("", "", "__address__", "exporter:9115"),
                rule("__meta_rack", "(.*)", "rack", "$1"),
                rule("__meta_pitcrew_target", "(.*)", "instance", "$1"),
                rule("zone", "a", "job", "probed"),
            ];
        });
        let labels = r#"{instance="node-1", job="probed", rack="r1", zone="a"}"#;
        let page = "http://exporter:9115/metrics?target=10.0.0.1%3A9100";
        assert_eq!(changed, Ok(Some(format!("{page} {labels}"))));
    }

    #[test]
    fn parameters_are_labels_for_the_rules_and_a_label_stands_for_the_first_value() {
        let params = [("module", vec!["http_2xx"]), ("match[]", vec!["a", "b&c"])];
        let with = |rules: Vec<RelabelRule>| {
            planned("a:1", |scrape| {
                scrape.params = params
                    .iter()
                    .map(|(name, values)| {
                        let values = values.iter().map(|value| (*value).to_owned());
                        ((*name).to_owned(), values.collect())
                    })
                    .collect();
                scrape.relabel = rules;
            })
        };
        let labels = r#"{instance="a:1", job="nodes", zone="a"}"#;
        let page = "http://a:1/metrics?match%5B%5D=a&match%5B%5D=b%26c&module=http_2xx";
        assert_eq!(with(Vec::new()), Ok(Some(format!("{page} {labels}"))));
        let rules = vec![
            rule("__param_module", "(.*)_2xx", "zone", "$1"),
            rule("__address__", "(.*)", "__param_target", "$1"),
            rule("zone", "(.*)", "__param_module", "tcp"),
        ];
        let labels = r#"{instance="a:1", job="nodes", zone="http"}"#;
        let page = "http://a:1/metrics?match%5B%5D=a&match%5B%5D=b%26c&module=tcp&target=a%3A1";
        assert_eq!(with(rules), Ok(Some(format!("{page} {labels}"))));
    }

    #[test]
    fn what_is_not_selected_or_dropped_has_no_page_and_what_has_no_address_left_says_so() {
        let other = Selector(Given::new([("zone", "b")]).unwrap());
        let not_selected = planned("10.0.0.1:9100", |scrape| scrape.select = Some(other));
        assert_eq!(not_selected, Ok(None));
        let dropped = planned("10.0.0.1:9100", |scrape| {
            let action = "drop".to_owned();
            scrape.relabel = vec![RelabelRule {
                action,
                ..rule("zone", "a", "", "")
            }];
        });
        assert_eq!(dropped, Ok(None));
        let without = planned("10.0.0.1:9100", |scrape| {
            scrape.relabel = vec![rule("zone", "a", "__address__", "")];
        });
        assert!(without.unwrap_err().contains("__address__"));
        let broken = planned("10.0.0.1:9100", |scrape| {
            scrape.relabel = vec![rule("zone", "a", "__address__", "no host")];
        });
        assert!(broken.unwrap_err().contains("no host"));
    }
}
