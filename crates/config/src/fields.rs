//! Values by the name of their key, for the readers of each shape.

use std::fmt::Display;

use crate::{
    place::Span,
    reader::Reader,
    shape::{Key, Kind, Need, Shape},
    tree::{Entry, Node, Value},
    values,
};

/// A mapping whose keys are known.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'t> {
    pub(crate) shape: &'static Shape,
    pub(crate) at: Span,
    pub(crate) entries: &'t [Entry<'t>],
}

impl<'t> Fields<'t> {
    pub(crate) fn new(shape: &'static Shape, at: Span, entries: &'t [Entry<'t>]) -> Self {
        Self { shape, at, entries }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.shape
            .key(name)
            .expect("readers ask only for keys of their shape")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&'t Entry<'t>> {
        self.key(name);
        self.entries.iter().find(|entry| entry.key == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'t Node<'t>> {
        self.entry(name).map(|entry| &entry.node)
    }

    /// The key that decides which kind of thing this is, for shapes with such a rule.
    pub(crate) fn only(&self) -> Option<&'t Entry<'t>> {
        self.entries
            .iter()
            .find(|entry| self.shape.exactly_one.contains(&&*entry.key))
    }

    /// Where `name` stands, or the mapping when it is absent.
    pub(crate) fn place_of(&self, name: &str) -> Span {
        self.get(name).map_or(self.at, |node| node.at)
    }

    /// A value that may be absent.
    pub(crate) fn value<T, E: Display>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        reader.parsed(name, self.get(name)?, &self.key(name).kind, parse)
    }

    /// A value with a default: what is written, else the default; also after a mistake.
    pub(crate) fn or_default<T, E: Display>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        let given = self.value(reader, name, &parse);
        given.unwrap_or_else(|| {
            let Need::Default(default) = self.key(name).need else {
                unreachable!("`{name}` of a {} has no default", self.shape.name);
            };
            match parse(default) {
                Ok(value) => value,
                Err(complaint) => unreachable!("the default of `{name}`: {complaint}"),
            }
        })
    }

    pub(crate) fn text(&self, reader: &mut Reader<'_>, name: &str) -> Option<String> {
        self.value(reader, name, values::text)
    }

    pub(crate) fn flag(&self, reader: &mut Reader<'_>, name: &str) -> bool {
        self.or_default(reader, name, values::flag)
    }

    /// A whole number within the bounds of its key.
    pub(crate) fn whole<T: TryFrom<u64>>(&self, reader: &mut Reader<'_>, name: &str) -> Option<T> {
        let kind = &self.key(name).kind;
        self.value(reader, name, |text| values::whole(text, kind))
    }

    pub(crate) fn whole_or_default<T: TryFrom<u64>>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
    ) -> T {
        let kind = &self.key(name).kind;
        self.or_default(reader, name, |text| values::whole(text, kind))
    }

    /// The fields of a mapping inside this one.
    pub(crate) fn inner(&self, reader: &mut Reader<'_>, name: &str) -> Option<Fields<'t>> {
        let Kind::Shape(shape) = self.key(name).kind else {
            unreachable!("`{name}` of a {} is not a mapping", self.shape.name);
        };
        reader.fields(self.get(name)?, shape)
    }

    /// Nothing at all is an empty list where the list may be left out.
    pub(crate) fn list(&self, reader: &mut Reader<'_>, name: &str) -> &'t [Node<'t>] {
        let Some(node) = self.get(name) else {
            return &[];
        };
        let key = self.key(name);
        if matches!(node.value, Value::Null) && !matches!(key.need, Need::Optional) {
            reader.wrong_kind(name, node, &key.kind);
            return &[];
        }
        reader.items(name, node)
    }

    pub(crate) fn is_empty_list(&self, name: &str) -> bool {
        let node = self.get(name);
        node.is_some_and(|node| matches!(&node.value, Value::List(items) if items.is_empty()))
    }

    pub(crate) fn map(&self, reader: &mut Reader<'_>, name: &str) -> &'t [Entry<'t>] {
        self.get(name)
            .map_or(&[], |node| reader.entries(name, node))
    }

    /// A list of texts: a command's arguments, names.
    pub(crate) fn texts(&self, reader: &mut Reader<'_>, name: &str) -> Vec<String> {
        let items = self.list(reader, name);
        let text = |node| reader.scalar(name, node, &Kind::Text).map(str::to_owned);
        items.iter().filter_map(text).collect()
    }
}
