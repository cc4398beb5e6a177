//! Prometheus' relabelling: rules that keep, drop, rename and compute labels, one after the other.
//!
//! Applied to targets before they are scraped and to series before they are stored; with the same rules the result is
//! the same as Prometheus', so that its users' configuration works as it is.

use md5::{Digest, Md5};
use pitcrew_promql::labels::{Labels, LabelsBuilder, MatcherError, anchored};
use regex::Regex;

/// What a rule does. `source` is the values of the rule's source labels, joined by its separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Action {
    /// Sets the target label to the replacement, where the pattern matches the source.
    #[default]
    Replace,
    /// Drops what the pattern does not match.
    Keep,
    /// Drops what the pattern matches.
    Drop,
    /// Drops where the source is not the target label's value.
    KeepEqual,
    /// Drops where the source is the target label's value.
    DropEqual,
    /// Sets the target label to a number below the modulus, by the source's hash.
    HashMod,
    /// Copies labels whose names match to what the replacement makes of the name.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names don't match.
    LabelKeep,
    /// Sets the target label to the source in small letters.
    Lowercase,
    /// Sets the target label to the source in capitals.
    Uppercase,
}

impl Action {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "replace" => Self::Replace,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "hashmod" => Self::HashMod,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            _ => return None,
        })
    }

    fn needs_target(self) -> bool {
        match self {
            Self::Replace
            | Self::HashMod
            | Self::KeepEqual
            | Self::DropEqual
            | Self::Lowercase
            | Self::Uppercase => true,
            Self::Keep | Self::Drop | Self::LabelMap | Self::LabelDrop | Self::LabelKeep => false,
        }
    }
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleText {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub target_label: String,
    pub regex: String,
    pub modulus: u64,
    pub replacement: String,
    pub action: Action,
}

impl Default for RuleText {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            target_label: String::new(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            replacement: "$1".to_owned(),
            action: Action::default(),
        }
    }
}

/// A rule that can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum BadRule {
    #[error(transparent)]
    Pattern(#[from] MatcherError),
    #[error("an action that sets or compares a label needs `target_label`")]
    NoTarget,
    #[error("`hashmod` needs a `modulus` above 0")]
    NoModulus,
}

/// A rule that can be applied.
#[derive(Clone, Debug)]
pub struct Rule {
    text: RuleText,
    pattern: Regex,
}

impl Rule {
    pub fn new(text: RuleText) -> Result<Self, BadRule> {
        if text.action.needs_target() && text.target_label.is_empty() {
            return Err(BadRule::NoTarget);
        }
        if text.action == Action::HashMod && text.modulus == 0 {
            return Err(BadRule::NoModulus);
        }
        let pattern = anchored(&text.regex)?;
        Ok(Self { text, pattern })
    }

    /// Whether the labels are kept.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let text = &self.text;
        let source = text.source_labels.iter().map(|name| labels.get(name));
        let source = source.collect::<Vec<_>>().join(&text.separator);
        let target = &text.target_label;
        match text.action {
            Action::Keep => return self.pattern.is_match(&source),
            Action::Drop => return !self.pattern.is_match(&source),
            Action::KeepEqual => return labels.get(target) == source,
            Action::DropEqual => return labels.get(target) != source,
            Action::Replace => self.replace(&source, labels),
            Action::HashMod => {
                let position = hash(&source) % text.modulus;
                labels.set(target, &position.to_string());
            }
            Action::Lowercase => {
                labels.set(target, &source.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(target, &source.to_uppercase());
            }
            Action::LabelMap => {
                for label in labels.build().iter() {
                    if self.pattern.is_match(&label.name) {
                        let name = self.pattern.replace(&label.name, text.replacement.as_str());
                        labels.set(&name, &label.value);
                    }
                }
            }
            Action::LabelDrop => self.remove(labels, true),
            Action::LabelKeep => self.remove(labels, false),
        }
        true
    }

    fn remove(&self, labels: &mut LabelsBuilder, where_matched: bool) {
        for label in labels.build().iter() {
            if self.pattern.is_match(&label.name) == where_matched {
                labels.delete(&label.name);
            }
        }
    }

    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let Some(captures) = self.pattern.captures(source) else {
            return;
        };
        let (mut name, mut value) = (String::new(), String::new());
        captures.expand(&self.text.target_label, &mut name);
        captures.expand(&self.text.replacement, &mut value);
        // A name that came to nothing is no label; an empty value removes the label.
        if !name.is_empty() {
            labels.set(&name, &value);
        }
    }
}

/// The last eight bytes of MD5, as Prometheus takes them: a target must come to the same server with either.
fn hash(text: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(text).into();
    let [.., a, b, c, d, e, f, g, h] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What the rules make of the labels; nothing where one of them drops them.
pub fn relabel(rules: &[Rule], labels: &Labels) -> Option<Labels> {
    let mut builder = LabelsBuilder::from_labels(labels);
    let is_kept = rules.iter().all(|rule| rule.apply(&mut builder));
    is_kept.then(|| builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relabelled(change: impl FnOnce(&mut RuleText)) -> String {
        let mut text = RuleText::default();
        change(&mut text);
        let labels = Labels::from_pairs([("a", "foo"), ("b", "bar"), ("c", "Baz")]);
        let kept = relabel(&[Rule::new(text).unwrap()], &labels);
        kept.map_or_else(|| "dropped".to_owned(), |labels| labels.to_string())
    }

    fn of(sources: &[&str], action: Action) -> impl Fn(&mut RuleText) {
        let sources: Vec<String> = sources.iter().map(|name| (*name).to_owned()).collect();
        move |rule| {
            rule.source_labels.clone_from(&sources);
            rule.action = action;
        }
    }

    #[test]
    fn what_is_replaced_may_use_what_was_captured() {
        let replaced = |regex: &str, target: &str, replacement: &str| {
            relabelled(|rule| {
                of(&["a", "b"], Action::Replace)(rule);
                rule.regex = regex.to_owned();
                rule.target_label = target.to_owned();
                rule.replacement = replacement.to_owned();
            })
        };
        let rest = r#"b="bar", c="Baz""#;
        assert_eq!(
            replaced("f(.*);(.*)r", "a", "b${1}${2}m"),
            format!(r#"{{a="boobam", {rest}}}"#)
        );
        assert_eq!(
            replaced("f(.*);(.*)r", "$2x", "$1"),
            format!(r#"{{a="foo", {rest}}}"#),
            "$2x is no group"
        );
        assert_eq!(
            replaced("f(.*);(.*)r", "${2}x", "$1"),
            r#"{a="foo", b="bar", bax="oo", c="Baz"}"#
        );
        assert_eq!(
            replaced("foo", "a", "x"),
            format!(r#"{{a="foo", {rest}}}"#),
            "the whole source must match"
        );
        assert_eq!(replaced("foo;bar", "a", ""), format!("{{{rest}}}"));
    }

    #[test]
    fn what_is_not_wanted_is_dropped() {
        let decided = |action, regex: &str, target: &str| {
            relabelled(|rule| {
                of(&["a"], action)(rule);
                rule.regex = regex.to_owned();
                rule.target_label = target.to_owned();
            }) != "dropped"
        };
        assert!(decided(Action::Keep, "f.*", "") && !decided(Action::Keep, "o", ""));
        assert!(!decided(Action::Drop, "f.*", "") && decided(Action::Drop, "o", ""));
        assert!(
            decided(Action::KeepEqual, "(.*)", "a") && !decided(Action::KeepEqual, "(.*)", "b")
        );
        assert!(
            !decided(Action::DropEqual, "(.*)", "a") && decided(Action::DropEqual, "(.*)", "b")
        );
    }

    #[test]
    fn names_are_mapped_kept_and_dropped() {
        let named = |action, regex: &str, replacement: &str| {
            relabelled(|rule| {
                rule.action = action;
                rule.regex = regex.to_owned();
                rule.replacement = replacement.to_owned();
            })
        };
        assert_eq!(
            named(Action::LabelMap, "(a|b)", "x_$1"),
            r#"{a="foo", b="bar", c="Baz", x_a="foo", x_b="bar"}"#
        );
        assert_eq!(named(Action::LabelDrop, "a|b", ""), r#"{c="Baz"}"#);
        assert_eq!(named(Action::LabelKeep, "a|b", ""), r#"{a="foo", b="bar"}"#);
    }

    #[test]
    fn values_are_computed() {
        let computed = |source: &str, action, modulus| {
            relabelled(|rule| {
                of(&[source], action)(rule);
                rule.target_label = "b".to_owned();
                rule.modulus = modulus;
            })
        };
        assert_eq!(
            computed("c", Action::Lowercase, 0),
            r#"{a="foo", b="baz", c="Baz"}"#
        );
        assert_eq!(
            computed("c", Action::Uppercase, 0),
            r#"{a="foo", b="BAZ", c="Baz"}"#
        );
        // The last eight bytes of what `printf foo | md5sum` prints, modulo 1,000.
        assert_eq!(
            computed("a", Action::HashMod, 1_000),
            r#"{a="foo", b="696", c="Baz"}"#
        );
    }

    #[test]
    fn rules_that_lack_something_are_refused() {
        let refused = |change: fn(&mut RuleText)| {
            let mut text = RuleText::default();
            change(&mut text);
            Rule::new(text).unwrap_err().to_string()
        };
        assert!(refused(|_| {}).contains("target_label"));
        assert!(
            refused(|rule| {
                rule.action = Action::HashMod;
                rule.target_label = "x".to_owned();
            })
            .contains("modulus")
        );
        assert!(
            refused(|rule| {
                rule.action = Action::Keep;
                rule.regex = "(".to_owned();
            })
            .contains("regular expression")
        );
    }
}
