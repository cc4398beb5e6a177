//! What may be written where: each part of a configuration as a table of its keys.
//!
//! The reader accepts exactly these keys and takes their defaults from here, and the JSON Schema is printed
//! from here, so neither can say something else than the other. The tables stand beside the code that
//! reads them.

/// A mapping with a fixed set of keys.
pub(crate) struct Shape {
    /// A noun for messages and the schema's definitions: `test`, `http test`.
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
    /// Exactly one of these must be given; empty: no such rule.
    pub(crate) exactly_one: &'static [&'static str],
    /// Keys that people will try, and what to tell them.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) need: Need,
    pub(crate) doc: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Need {
    Required,
    Optional,
    /// As it would be written.
    Default(&'static str),
}

pub(crate) enum Kind {
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    Text,
    /// Text that may hold `${ENV}` and is never printed.
    Secret,
    /// Text with a syntax of its own.
    Syntax(&'static Syntax),
    OneOf(&'static [&'static str]),
    List(&'static Kind),
    /// Any keys, one kind of value.
    Map(&'static Kind),
    Shape(&'static Shape),
    Either(&'static [Kind]),
}

pub(crate) struct Syntax {
    /// `a duration such as `5s``
    pub(crate) expected: &'static str,
    /// What an editor can check; the reader checks more.
    pub(crate) pattern: Option<&'static str>,
    /// Whether YAML may take it for a number: `0`, `1.1`.
    pub(crate) may_be_number: bool,
}

impl Shape {
    pub(crate) const fn new(name: &'static str, doc: &'static str, keys: &'static [Key]) -> Self {
        Self {
            name,
            doc,
            keys,
            exactly_one: &[],
            refused: &[],
        }
    }

    pub(crate) const fn with_exactly_one(self, keys: &'static [&'static str]) -> Self {
        Self {
            exactly_one: keys,
            ..self
        }
    }

    pub(crate) const fn refusing(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        Self { refused, ..self }
    }

    /// `a test`, `an http test`
    pub(crate) fn noun(&self) -> String {
        let vowels = ["a", "e", "i", "o", "http"];
        let article = match vowels.iter().any(|vowel| self.name.starts_with(vowel)) {
            true => "an",
            false => "a",
        };
        format!("{article} {}", self.name)
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether an empty mapping is complete, so that `process:` may stand for `process: {}`.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.exactly_one.is_empty()
            && self
                .keys
                .iter()
                .all(|key| !matches!(key.need, Need::Required))
    }
}

impl Kind {
    /// For "`interval` must be …".
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole { min, max } => format!("a number from {min} to {max}"),
            Self::Text => "text".to_owned(),
            Self::Secret => "text, which may hold `${ENV}`".to_owned(),
            Self::Syntax(syntax) => syntax.expected.to_owned(),
            Self::OneOf(words) => format!("one of {}", quoted(words)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) | Self::Shape(_) => "a mapping".to_owned(),
            Self::Either(kinds) => {
                let each: Vec<_> = kinds.iter().map(Self::expected).collect();
                each.join(" or ")
            }
        }
    }
}

/// `` `a`, `b`, `c` ``
pub(crate) fn quoted(words: &[&str]) -> String {
    let each: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    each.join(", ")
}

pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need: Need::Required,
        doc,
    }
}

pub(crate) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need: Need::Optional,
        doc,
    }
}

pub(crate) const fn defaulted(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        kind,
        need: Need::Default(default),
        doc,
    }
}
