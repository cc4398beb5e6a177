//! Trees → values, going on after every mistake, so that one run reports them all.
//!
//! A value that can't be read is reported and replaced by its default or by nothing; that is safe, because a
//! configuration with a single problem is refused as a whole.

use std::{collections::HashMap, fmt::Display, path::PathBuf};

use crate::{
    fields::Fields,
    place::{Span, TextFile},
    problem::{Problem, Problems},
    shape::{Kind, Need, Shape, quoted},
    suggest::nearest,
    tree::{Entry, Fault, Node, Value},
};

/// More problems than anyone reads: the rest is only counted.
const PROBLEMS_MAX: usize = 1_000;

pub(crate) struct Reader<'r> {
    files: &'r [TextFile<'r>],
    variable: &'r dyn Fn(&str) -> Option<String>,
    errors: Noted,
    warnings: Noted,
}

#[derive(Default)]
struct Noted {
    notes: Vec<(Span, String, Option<String>)>,
    omitted: usize,
}

impl Noted {
    fn note(&mut self, at: Span, message: String, help: Option<String>) {
        if self.notes.len() < PROBLEMS_MAX {
            self.notes.push((at, message, help));
        } else {
            self.omitted += 1;
        }
    }

    fn into_problems(mut self, files: &[TextFile<'_>]) -> Problems {
        self.notes.sort_by_key(|(at, ..)| (at.file, at.start));
        self.notes.dedup();
        let problem = |(at, message, help): (Span, String, Option<String>)| {
            Problem::at(&files[at.file], at, &message, help)
        };
        Problems {
            problems: self.notes.into_iter().map(problem).collect(),
            omitted: self.omitted,
        }
    }
}

impl<'r> Reader<'r> {
    pub(crate) fn new(
        files: &'r [TextFile<'r>],
        variable: &'r dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            files,
            variable,
            errors: Noted::default(),
            warnings: Noted::default(),
        }
    }

    /// The errors and the warnings.
    pub(crate) fn finish(self) -> (Problems, Problems) {
        let files = self.files;
        (
            self.errors.into_problems(files),
            self.warnings.into_problems(files),
        )
    }

    pub(crate) fn error(&mut self, at: Span, message: impl Into<String>) {
        self.errors.note(at, message.into(), None);
    }

    pub(crate) fn error_with_help(
        &mut self,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors.note(at, message.into(), Some(help.into()));
    }

    pub(crate) fn warn(&mut self, at: Span, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.note(at, message.into(), Some(help.into()));
    }

    pub(crate) fn error_count(&self) -> usize {
        self.errors.notes.len() + self.errors.omitted
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        let message = match fault.first {
            Some(first) => format!("{}; first at {}", fault.message, self.place(first)),
            None => fault.message,
        };
        self.errors
            .note(fault.at, message, fault.help.map(str::to_owned));
    }

    /// `production/web.yaml:11:34`
    pub(crate) fn place(&self, at: Span) -> String {
        let file = &self.files[at.file];
        let (place, ..) = file.place(at);
        format!("{}:{}:{}", file.name, place.line, place.column)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name)
    }

    /// A path as the file means it: relative ones begin at the file's own directory.
    pub(crate) fn path(&self, at: Span, text: &str) -> PathBuf {
        let joined = self.files[at.file].directory.join(text);
        joined.components().collect()
    }

    /// The part of a scalar that `part`, a range of its value, was written as; the whole scalar where
    /// escapes or line breaks make the two differ.
    pub(crate) fn within(&self, at: Span, value: &str, part: std::ops::Range<usize>) -> Span {
        let written = self.files[at.file].text.get(at.start..at.end);
        match written.and_then(|written| written.find(value)) {
            Some(offset) => Span {
                start: at.start + offset + part.start,
                end: at.start + offset + part.end,
                ..at
            },
            None => at,
        }
    }

    /// The fields of a mapping, after reporting unknown and missing keys.
    pub(crate) fn fields<'t>(
        &mut self,
        node: &'t Node<'t>,
        shape: &'static Shape,
    ) -> Option<Fields<'t>> {
        let entries: &[Entry<'_>] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null if shape.may_be_empty() => &[],
            Value::Null | Value::Scalar { .. } | Value::List(_) => {
                let keys: Vec<_> = shape.keys.iter().map(|key| key.name).collect();
                self.error_with_help(
                    node.at,
                    format!(
                        "{} must be a mapping, not {}",
                        shape.noun(),
                        node.value.noun()
                    ),
                    format!("{} has the keys {}", shape.noun(), quoted(&keys)),
                );
                return None;
            }
        };
        let fields = Fields::new(shape, node.at, entries);
        self.check_keys(&fields);
        Some(fields)
    }

    fn check_keys(&mut self, fields: &Fields<'_>) {
        let shape = fields.shape;
        let (mut unknown, mut meant) = (false, Vec::new());
        for entry in fields.entries {
            if shape.key(&entry.key).is_none() {
                meant.extend(self.unknown_key(entry, shape));
                unknown = true;
            }
        }
        for key in shape.keys {
            // A misspelt key is there: said once is enough.
            let is_there = fields.has(key.name) || meant.contains(&key.name);
            if matches!(key.need, Need::Required) && !is_there {
                self.error_with_help(
                    fields.at,
                    format!("{} needs `{}`", shape.noun(), key.name),
                    format!("`{}`: {}", key.name, key.doc),
                );
            }
        }
        let given: Vec<&Entry<'_>> = fields
            .entries
            .iter()
            .filter(|entry| shape.exactly_one.contains(&&*entry.key))
            .collect();
        match given[..] {
            [] if shape.exactly_one.is_empty() || unknown => {}
            [] => self.error(
                fields.at,
                format!(
                    "{} needs one of {}",
                    shape.noun(),
                    quoted(shape.exactly_one)
                ),
            ),
            [_] => {}
            [first, second, ..] => self.error(
                second.key_at,
                format!(
                    "`{}` and `{}` in one {}: exactly one is possible",
                    first.key, second.key, shape.name
                ),
            ),
        }
    }

    /// The key that was meant, if it can be told.
    fn unknown_key(&mut self, entry: &Entry<'_>, shape: &'static Shape) -> Option<&'static str> {
        let key = &*entry.key;
        if let Some((_, why)) = shape.refused.iter().find(|(name, _)| *name == key) {
            self.error(entry.key_at, format!("unknown key `{key}`: {why}"));
            return None;
        }
        let known: Vec<&'static str> = shape.keys.iter().map(|known| known.name).collect();
        let shown: String = key.chars().take(80).collect();
        let meant = nearest(key, known.iter().copied());
        match meant {
            Some(meant) => self.error(
                entry.key_at,
                format!("unknown key `{shown}`, did you mean `{meant}`?"),
            ),
            None if known.is_empty() => self.error(
                entry.key_at,
                format!(
                    "unknown key `{shown}`: {} has no keys, write `{{}}`",
                    shape.noun()
                ),
            ),
            None => self.error_with_help(
                entry.key_at,
                format!("unknown key `{shown}`"),
                format!("{} has the keys {}", shape.noun(), quoted(&known)),
            ),
        }
        meant
    }

    /// A scalar's text, if it has the form of `kind`.
    pub(crate) fn scalar<'t>(
        &mut self,
        what: &str,
        node: &'t Node<'t>,
        kind: &Kind,
    ) -> Option<&'t str> {
        let (Value::Scalar { text, plain }, true) = (&node.value, is_scalar(kind)) else {
            self.wrong_kind(what, node, kind);
            return None;
        };
        if is_never_text(kind) && !plain {
            self.error_with_help(
                node.at,
                format!("`{what}` must be {}, not text in quotes", kind.expected()),
                "leave out the quotes",
            );
            return None;
        }
        if let (false, Some(part)) = (matches!(kind, Kind::Secret), placeholder(text)) {
            let name = &text[part.clone()];
            self.error_with_help(
                self.within(node.at, text, part.clone()),
                format!("`{name}` can't be used in `{what}`"),
                "variables of the environment are for secrets: `password`, and the `url` and `headers` of a webhook in `notify`",
            );
            return None;
        }
        Some(text)
    }

    pub(crate) fn wrong_kind(&mut self, what: &str, node: &Node<'_>, kind: &Kind) {
        let message = match node.value {
            Value::Null => format!("`{what}` is empty, it must be {}", kind.expected()),
            _ => format!(
                "`{what}` must be {}, not {}",
                kind.expected(),
                node.value.noun()
            ),
        };
        self.error(node.at, message);
    }

    /// A scalar through a parser of its text, whose error is reported.
    pub(crate) fn parsed<'t, T, E: Display>(
        &mut self,
        what: &str,
        node: &'t Node<'t>,
        kind: &Kind,
        parse: impl FnOnce(&'t str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.scalar(what, node, kind)?;
        parse(text)
            .map_err(|complaint| self.error(node.at, format!("`{what}`: {complaint}")))
            .ok()
    }

    /// The items of a list; nothing at all is an empty list.
    pub(crate) fn items<'t>(&mut self, what: &str, node: &'t Node<'t>) -> &'t [Node<'t>] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            Value::Scalar { .. } | Value::Map(_) => {
                self.error_with_help(
                    node.at,
                    format!("`{what}` must be a list, not {}", node.value.noun()),
                    "write `[…]`, or one `- …` a line",
                );
                &[]
            }
        }
    }

    /// The entries of a mapping with free keys; nothing at all is an empty mapping.
    pub(crate) fn entries<'t>(&mut self, what: &str, node: &'t Node<'t>) -> &'t [Entry<'t>] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                self.error(
                    node.at,
                    format!("`{what}` must be a mapping, not {}", node.value.noun()),
                );
                &[]
            }
        }
    }

    /// Reports every name that occurs twice, with the place of the first.
    pub(crate) fn unique<'n>(
        &mut self,
        what: &str,
        names: impl IntoIterator<Item = (&'n str, Span)>,
    ) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (name, at) in names {
            match seen.get(name) {
                Some(first) => {
                    let first = self.place(*first);
                    self.error(
                        at,
                        format!("two {what} are named `{name}`; the first is at {first}"),
                    );
                }
                None => {
                    seen.insert(name, at);
                }
            }
        }
    }
}

fn is_scalar(kind: &Kind) -> bool {
    match kind {
        Kind::Flag
        | Kind::Whole { .. }
        | Kind::Text
        | Kind::Secret
        | Kind::Syntax(_)
        | Kind::OneOf(_) => true,
        Kind::Either(kinds) => kinds.iter().any(is_scalar),
        Kind::List(_) | Kind::Map(_) | Kind::Shape(_) => false,
    }
}

/// Whether quotes make it something else: a flag or a number.
fn is_never_text(kind: &Kind) -> bool {
    match kind {
        Kind::Flag | Kind::Whole { .. } => true,
        Kind::Either(kinds) => kinds
            .iter()
            .filter(|kind| is_scalar(kind))
            .all(is_never_text),
        _ => false,
    }
}

/// Where the first `${NAME}` is.
pub(crate) fn placeholder(text: &str) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    while let Some(open) = text[from..].find("${").map(|at| from + at) {
        let name = &text[open + 2..];
        let length = name
            .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .unwrap_or(name.len());
        // `${1}` is a group of a regular expression: no variable begins with a digit.
        let is_group = name.starts_with(|c: char| c.is_ascii_digit());
        if length > 0 && !is_group && name[length..].starts_with('}') {
            return Some(open..open + 2 + length + 1);
        }
        from = open + 2;
    }
    None
}
