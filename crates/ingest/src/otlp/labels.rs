//! Labels of a point: its own attributes, then those that say whose it is.

use std::{collections::BTreeMap, fmt::Write as _};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::naming::{hex, label_name};
use crate::series::put_counted;

/// What a resource's attributes become.
pub(super) struct ResourceLabels {
    pub(super) job: String,
    pub(super) instance: String,
    /// All others.
    pub(super) rest: BTreeMap<String, String>,
}

impl ResourceLabels {
    pub(super) fn of(attributes: &[KeyValue]) -> Self {
        let get = |key: &str| {
            let found = attributes.iter().find(|attribute| attribute.key == key);
            found.map_or(String::new(), |found| text(found.value.as_ref()))
        };
        let (namespace, name) = (get("service.namespace"), get("service.name"));
        let job = match (namespace.is_empty(), name.is_empty()) {
            (false, false) => format!("{namespace}/{name}"),
            _ => name,
        };
        let says_whose = ["service.namespace", "service.name", "service.instance.id"];
        let others = attributes.iter();
        let others = others.filter(|attribute| !says_whose.contains(&attribute.key.as_str()));
        Self {
            job,
            instance: get("service.instance.id"),
            rest: sanitized(others),
        }
    }
}

/// Several that become one name are all kept, in the order of their keys. An empty value is no label.
pub(super) fn sanitized<'a>(
    attributes: impl Iterator<Item = &'a KeyValue>,
) -> BTreeMap<String, String> {
    let mut attributes: Vec<&KeyValue> = attributes.collect();
    attributes.sort_by(|left, right| left.key.cmp(&right.key));
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for attribute in attributes {
        let value = text(attribute.value.as_ref());
        labels
            .entry(label_name(&attribute.key))
            .and_modify(|joined| {
                joined.push(';');
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// As [`crate::RawSeries::Pairs`].
pub(super) fn pairs<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    out.clear();
    for (name, value) in labels {
        put_counted(out, name.as_bytes());
        put_counted(out, value.as_bytes());
    }
}

/// Lists and maps are spelt as JSON.
fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(other) => {
            let mut out = String::new();
            put_json(other, &mut out, 0);
            out
        }
        None => String::new(),
    }
}

/// Deeper than any attribute is.
const DEPTH_MAX: usize = 16;

fn put_json(value: &Value, out: &mut String, depth: usize) {
    let inner = |value: Option<&AnyValue>, out: &mut String| match value
        .and_then(|value| value.value.as_ref())
    {
        Some(value) if depth < DEPTH_MAX => put_json(value, out, depth + 1),
        _ => out.push_str("null"),
    };
    match value {
        Value::StringValue(text) if depth == 0 => out.push_str(text),
        Value::StringValue(text) => write!(out, "{text:?}").expect("a string takes everything"),
        Value::BoolValue(value) => write!(out, "{value}").expect("a string takes everything"),
        Value::IntValue(value) => write!(out, "{value}").expect("a string takes everything"),
        Value::DoubleValue(value) => write!(out, "{value}").expect("a string takes everything"),
        Value::BytesValue(bytes) => out.push_str(&hex(bytes)),
        // A reference into a table that metrics do not have.
        Value::StringValueStrindex(_) => {}
        Value::ArrayValue(array) => {
            out.push('[');
            for (index, value) in array.values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                inner(Some(value), out);
            }
            out.push(']');
        }
        Value::KvlistValue(list) => {
            out.push('{');
            for (index, pair) in list.values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write!(out, "{:?}:", pair.key).expect("a string takes everything");
                inner(pair.value.as_ref(), out);
            }
            out.push('}');
        }
    }
}
