//! What the server answers to a query, as Prometheus' API spells it.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) type Labels = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
pub(super) struct Answered {
    pub(super) data: Data,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
    #[serde(default)]
    pub(super) infos: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    Scalar(Point),
    String(Point),
    Vector(Vec<Sample>),
    Matrix(Vec<Points>),
}

/// Seconds since the epoch and a number as text.
pub(super) type Point = (f64, String);

#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) metric: Labels,
    pub(super) value: Option<Point>,
    pub(super) histogram: Option<(f64, Histogram)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Points {
    pub(super) metric: Labels,
    #[serde(default)]
    pub(super) values: Vec<Point>,
    #[serde(default)]
    pub(super) histograms: Vec<(f64, Histogram)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Histogram {
    pub(super) count: String,
    pub(super) sum: String,
    /// Which bounds belong to it, lower and upper bound, count.
    #[serde(default)]
    pub(super) buckets: Vec<(u8, String, String, String)>,
}

impl Histogram {
    /// On one line.
    pub(super) fn text(&self) -> String {
        let mut text = format!("count {}, sum {}", self.count, self.sum);
        for (bounds, lower, upper, count) in &self.buckets {
            let open = if matches!(bounds, 1 | 3) { '[' } else { '(' };
            let close = if matches!(bounds, 0 | 3) { ']' } else { ')' };
            text.push_str(&format!(", {open}{lower},{upper}{close} {count}"));
        }
        text
    }
}

/// `name{label="value"}`
pub(super) fn metric(labels: &Labels) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let others = labels.iter().filter(|(label, _)| *label != "__name__");
    let others: Vec<String> = others
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    match others.is_empty() && !name.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", others.join(",")),
    }
}
