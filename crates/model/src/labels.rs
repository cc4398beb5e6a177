//! Labels and the equality selectors over them.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabel {
    #[error("`{0}` is not a label name: letters, digits and `_`, not beginning with a digit")]
    Name(String),
    #[error("label `{0}` is given twice")]
    Twice(String),
    #[error("the value of label `{0}` is longer than 4096 bytes")]
    Value(String),
}

/// Sorted by name, each name once. Names by Prometheus' rules; names beginning with `__` are for
/// Pitcrew's own use and are not shown.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    try_from = "std::collections::BTreeMap<String, String>",
    into = "std::collections::BTreeMap<String, String>"
)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidLabel> {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        sorted.sort_unstable();
        for (name, value) in &sorted {
            if !is_label_name(name) {
                return Err(InvalidLabel::Name(name.chars().take(80).collect()));
            }
            if value.len() > 4096 {
                return Err(InvalidLabel::Value(name.to_string()));
            }
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidLabel::Twice(pair[0].0.to_string()));
        }
        Ok(Self(sorted.into()))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0
            .binary_search_by(|(have, _)| (**have).cmp(name))
            .ok()
            .map(|at| &self.0[at].1)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces every `{name}` in `template` by that label's value; the error is a name that is absent.
    pub fn fill(&self, template: &str) -> Result<String, String> {
        let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}') else {
                break;
            };
            let name = &rest[open + 1..open + close];
            filled.push_str(&rest[..open]);
            filled.push_str(self.get(name).ok_or_else(|| name.to_owned())?);
            rest = &rest[open + close + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl TryFrom<std::collections::BTreeMap<String, String>> for Labels {
    type Error = InvalidLabel;
    fn try_from(pairs: std::collections::BTreeMap<String, String>) -> Result<Self, InvalidLabel> {
        Self::new(pairs)
    }
}

impl From<Labels> for std::collections::BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `{service="web", zone="a"}`
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if at == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

/// Label equality, all pairs. An empty selector selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(pub Labels);

impl Selector {
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.0.is_empty()
            && self
                .0
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!Selector::default().selects(&labels(&[("service", "web")])));
        assert!(!Selector::default().selects(&Labels::default()));
    }

    #[test]
    fn a_selector_wants_every_pair() {
        let selector = Selector(labels(&[("service", "web"), ("zone", "a")]));
        assert!(selector.selects(&labels(&[
            ("service", "web"),
            ("zone", "a"),
            ("host", "h1")
        ])));
        assert!(!selector.selects(&labels(&[("service", "web")])));
        assert!(!selector.selects(&labels(&[("service", "web"), ("zone", "b")])));
    }

    #[test]
    fn labels_refuse_bad_names_and_doubles() {
        assert_eq!(
            Labels::new([("9x", "")]),
            Err(InvalidLabel::Name("9x".into()))
        );
        assert_eq!(
            Labels::new([("a", "1"), ("a", "2")]),
            Err(InvalidLabel::Twice("a".into()))
        );
    }

    #[test]
    fn a_template_is_filled_from_labels_and_names_what_is_absent() {
        let labels = labels(&[("instance", "7")]);
        assert_eq!(
            labels.fill("web@{instance}.service"),
            Ok("web@7.service".into())
        );
        assert_eq!(labels.fill("{zone}"), Err("zone".into()));
    }
}
