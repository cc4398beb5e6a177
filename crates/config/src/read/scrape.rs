//! `metrics.scrape`: whose metrics are read, and Prometheus' relabelling rules.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{RelabelRule, Scrape, ScrapeLimits};

use super::{
    receiver::{HEADER, header},
    service::select,
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::{Node, Value},
    values,
};

const NUMBER: Kind = Kind::Whole {
    min: 1,
    max: 1_000_000_000,
};

const PARAM: Kind = Kind::Either(&[Kind::Text, values::TEXTS]);

pub(crate) const SCRAPE: Shape = Shape::new(
    "scrape",
    "Targets whose metrics are read again and again.",
    &[
        required("name", values::NAME, "Its name, the label `job` of what is read."),
        optional("select", values::LABELS, "Labels that a target must have."),
        optional("all", Kind::Flag, "Every target that has an address."),
        defaulted("scheme", Kind::OneOf(&["http", "https"]), "http", "How they are asked."),
        defaulted("path", Kind::Text, "/metrics", "The page."),
        optional("params", Kind::Map(&PARAM), "Parameters of the page's address, each a value or a list of them; rules see the first one as `__param_NAME`."),
        optional("port", values::PORT, "Default: the port of the target's address."),
        defaulted("interval", values::DURATION, "15s", "How often each target is asked."),
        optional("timeout", values::DURATION, "When an answer is too late. Default: 10s, at most `interval`."),
        optional("headers", Kind::Map(&HEADER), "Headers to send, for instance Authorization; secrets."),
        optional("ca_file", values::PATH, "Authorities that vouch for the targets' certificates, PEM; the system's when absent."),
        defaulted("insecure", Kind::Flag, "false", "Accept any certificate."),
        defaulted("native_histograms", Kind::Flag, "false", "Ask for protocol buffers, the form in which native histograms come; a histogram that has one is then kept without its classic buckets."),
        defaulted("honor_labels", Kind::Flag, "false", "Whether a label on the page wins over one of the target; otherwise it is renamed to `exported_…`."),
        defaulted("honor_timestamps", Kind::Flag, "true", "Whether times on the page count."),
        optional("relabel", Kind::List(&Kind::Shape(&RELABEL)), "Prometheus' `relabel_configs`: change the target's labels, or leave it out."),
        optional("metric_relabel", Kind::List(&Kind::Shape(&RELABEL)), "Prometheus' `metric_relabel_configs`: change the series' labels, or leave them out."),
        defaulted("body_max", values::SIZE, "32MiB", "A larger page is refused."),
        optional("sample_max", NUMBER, "A page with more samples is refused."),
        optional("label_max", NUMBER, "A page is refused when a series has more labels."),
        optional("label_name_max", NUMBER, "Or when a label's name has more bytes."),
        optional("label_value_max", NUMBER, "Or a label's value."),
    ],
)
.with_exactly_one(&["select", "all"])
.refusing(&[
    ("job_name", "write `name`"),
    ("static_configs", "targets are found under `find`"),
    ("metrics_path", "write `path`"),
    ("scrape_interval", "write `interval`"),
    ("scrape_timeout", "write `timeout`"),
    ("relabel_configs", "write `relabel`"),
    ("metric_relabel_configs", "write `metric_relabel`"),
    ("sample_limit", "write `sample_max`"),
    ("scrape_native_histograms", "write `native_histograms`"),
    ("basic_auth", "write `headers: { Authorization: … }`"),
    ("authorization", "write `headers: { Authorization: … }`"),
]);

const RELABEL: Shape = Shape::new(
    "relabelling rule",
    "One of Prometheus' relabelling rules.",
    &[
        optional(
            "source_labels",
            values::TEXTS,
            "Labels whose values, joined, are matched.",
        ),
        defaulted("separator", Kind::Text, ";", "What they are joined by."),
        defaulted(
            "regex",
            values::PATTERN,
            "(.*)",
            "What the whole of it must match.",
        ),
        optional(
            "target_label",
            Kind::Text,
            "The label that is set or compared.",
        ),
        defaulted("replacement", Kind::Text, "$1", "What it is set to."),
        optional(
            "modulus",
            Kind::Whole {
                min: 1,
                max: u32::MAX as u64,
            },
            "Of `hashmod`.",
        ),
        defaulted(
            "action",
            Kind::OneOf(&RelabelRule::ACTIONS),
            "replace",
            "What is done.",
        ),
    ],
);

/// What Prometheus takes when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of one scrape, and where its name stands.
pub(crate) fn scrape(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<(Arc<Scrape>, Span)> {
    let fields = reader.fields(node, &SCRAPE)?;
    let name = fields.value(reader, "name", values::not_empty);
    let select = match fields.has("select") {
        true => Some(select(reader, &fields)),
        false => None,
    };
    if fields.value(reader, "all", values::flag) == Some(false) {
        reader.error(
            fields.place_of("all"),
            "it selects nothing: name labels with `select`",
        );
    }
    let interval = fields.or_default(reader, "interval", values::some_duration);
    let timeout = fields.value(reader, "timeout", values::some_duration);
    if timeout.is_some_and(|timeout| timeout > interval) {
        reader.error(
            fields.place_of("timeout"),
            "`timeout` is longer than `interval`",
        );
    }
    let mut headers = Vec::new();
    for entry in fields.map(reader, "headers") {
        headers.extend(header(reader, entry));
    }
    let ca_file = fields.value(reader, "ca_file", values::not_empty);
    let ca_file = ca_file.map(|file| {
        let path = reader.path(fields.place_of("ca_file"), &file);
        path.display().to_string()
    });
    let scrape = Scrape {
        select,
        tls: fields.or_default(reader, "scheme", |text| {
            values::one_of(text, &["http", "https"]).map(|scheme| scheme == "https")
        }),
        path: fields.or_default(reader, "path", values::request_path),
        params: params(reader, &fields),
        port: fields.whole(reader, "port"),
        interval,
        timeout: timeout.unwrap_or_else(|| TIMEOUT.min(interval)),
        headers,
        ca_file,
        insecure: fields.flag(reader, "insecure"),
        native_histograms: fields.flag(reader, "native_histograms"),
        honor_labels: fields.flag(reader, "honor_labels"),
        honor_timestamps: fields.flag(reader, "honor_timestamps"),
        relabel: rules(reader, &fields, "relabel"),
        metric_relabel: rules(reader, &fields, "metric_relabel"),
        limits: ScrapeLimits {
            body_bytes_max: fields.or_default(reader, "body_max", values::size),
            samples_max: fields.whole(reader, "sample_max"),
            labels_max: fields.whole(reader, "label_max"),
            label_name_bytes_max: fields.whole(reader, "label_name_max"),
            label_value_bytes_max: fields.whole(reader, "label_value_max"),
        },
        name: name?,
    };
    Some((Arc::new(scrape), fields.place_of("name")))
}

fn params(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<(String, Vec<String>)> {
    let mut params = Vec::new();
    for entry in fields.map(reader, "params") {
        let nodes = match &entry.node.value {
            Value::List(nodes) => &nodes[..],
            Value::Map(_) | Value::Null | Value::Scalar { .. } => std::slice::from_ref(&entry.node),
        };
        if entry.key.is_empty() || nodes.is_empty() {
            reader.error(entry.key_at, "a parameter has a name and a value");
        }
        let values = nodes
            .iter()
            .filter_map(|node| reader.scalar(&entry.key, node, &Kind::Text));
        let values = values.map(str::to_owned).collect();
        params.push((entry.key.to_string(), values));
    }
    params
}

fn rules(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Vec<RelabelRule> {
    let nodes = fields.list(reader, name);
    nodes.iter().filter_map(|node| rule(reader, node)).collect()
}

fn rule(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RelabelRule> {
    let fields = reader.fields(node, &RELABEL)?;
    let modulus = fields.whole(reader, "modulus");
    let rule = RelabelRule {
        source_labels: fields.texts(reader, "source_labels"),
        separator: fields.or_default(reader, "separator", values::text),
        target_label: fields.text(reader, "target_label").unwrap_or_default(),
        regex: fields.or_default(reader, "regex", values::pattern),
        modulus: modulus.unwrap_or(0),
        replacement: fields.or_default(reader, "replacement", values::text),
        action: fields.or_default(reader, "action", |text| {
            values::one_of(text, &RelabelRule::ACTIONS).map(str::to_owned)
        }),
    };
    if rule.needs_target() && rule.target_label.is_empty() {
        reader.error(
            fields.at,
            format!("`action: {}` needs `target_label`", rule.action),
        );
    }
    if rule.action == "hashmod" && rule.modulus == 0 {
        reader.error(fields.at, "`action: hashmod` needs `modulus`");
    }
    Some(rule)
}
