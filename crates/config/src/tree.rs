//! YAML text → a tree in which everything knows its place.
//!
//! Built from parser events with a stack of its own, so that hostile input meets limits (nesting, number of
//! values, aliases counted at their full size) instead of the end of the memory or of the call stack. What
//! YAML offers and a configuration doesn't need (tags, merge keys, several documents) is refused here.

use std::{borrow::Cow, collections::HashMap, rc::Rc};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle};

use crate::place::Span;

pub(crate) const NESTING_MAX: usize = 64;
/// A million targets, each in a group of its own with labels, are about five million values.
pub(crate) const VALUES_MAX: usize = 8_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) at: Span,
    pub(crate) value: Value<'t>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value<'t> {
    Null,
    Scalar {
        text: Cow<'t, str>,
        /// Without quotes: it may be a number or a flag.
        plain: bool,
    },
    List(Rc<[Node<'t>]>),
    Map(Rc<[Entry<'t>]>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<'t> {
    pub(crate) key: Cow<'t, str>,
    pub(crate) key_at: Span,
    pub(crate) node: Node<'t>,
}

impl Value<'_> {
    /// For "…, not a list".
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { plain: true, .. } => "a plain value",
            Self::Scalar { plain: false, .. } => "text in quotes",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Something wrong with the YAML itself.
pub(crate) struct Fault {
    pub(crate) at: Span,
    pub(crate) message: String,
    pub(crate) help: Option<&'static str>,
    /// Where the same thing was given first.
    pub(crate) first: Option<Span>,
}

/// The tree of one file, as far as it can be read, and all that is wrong with its YAML.
/// `complete` is false when reading ended before the file did.
pub(crate) struct Tree<'t> {
    pub(crate) root: Option<Node<'t>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) complete: bool,
}

pub(crate) fn read(file: usize, text: &str) -> Tree<'_> {
    let mut builder = Builder {
        file,
        frames: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        values: 0,
        faults: Vec::new(),
    };
    let mut options = granit_parser::options! {
        flow_nesting_limit: NESTING_MAX,
        block_nesting_limit: NESTING_MAX,
    };
    options.set_emit_comments(false);
    let mut documents = 0;
    let mut stopped = false;
    for next in Parser::new_from_str_with_options(text, options) {
        let stop = match next {
            Err(error) => Some(builder.not_yaml(text, &error)),
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                (documents > 1).then(|| Fault {
                    at: builder.span(&span),
                    message: "a second document begins here: write one document per file".into(),
                    help: Some("remove the `---`, or move what follows to a file of its own"),
                    first: None,
                })
            }
            Ok((event, span)) => builder.event(event, &span).err(),
        };
        if let Some(fault) = stop {
            builder.faults.push(fault);
            stopped = true;
            break;
        }
    }
    Tree {
        root: if stopped { None } else { builder.root },
        faults: builder.faults,
        complete: !stopped,
    }
}

/// A value under construction, with the size it has when aliases are counted in full.
struct Built<'t> {
    node: Node<'t>,
    values: usize,
    height: usize,
}

enum Pending<'t> {
    Key,
    Value {
        key: Cow<'t, str>,
        at: Span,
    },
    /// The value of a key that was refused.
    Skipped,
}

enum Content<'t> {
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>, Pending<'t>),
}

struct Frame<'t> {
    content: Content<'t>,
    start: usize,
    anchor: usize,
    values: usize,
    height: usize,
}

struct Builder<'t> {
    file: usize,
    frames: Vec<Frame<'t>>,
    root: Option<Node<'t>>,
    anchors: HashMap<usize, (Node<'t>, usize, usize)>,
    values: usize,
    faults: Vec<Fault>,
}

impl<'t> Builder<'t> {
    fn span(&self, span: &granit_parser::Span) -> Span {
        let start = span.start.byte_offset().unwrap_or(0);
        Span {
            file: self.file,
            start,
            end: span.end.byte_offset().unwrap_or(start).max(start),
        }
    }

    fn not_yaml(&self, text: &str, error: &granit_parser::ScanError) -> Fault {
        let start = error.marker().byte_offset().unwrap_or(0).min(text.len());
        let help = match error.kind() {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart => Some("indent with spaces, not with tabs"),
            ErrorKind::ExpectedBlockMappingKey
            | ErrorKind::ExpectedBlockSequenceEntry
            | ErrorKind::InvalidIndentation
            | ErrorKind::MappingValueNotAllowed => Some(
                "look at the indentation here and just above: keys of one mapping, and the `-` of one list, begin in one column",
            ),
            _ => None,
        };
        let message = match error.kind() {
            ErrorKind::RecursionLimitExceeded => nested_too_deeply(),
            _ => format!("not valid YAML: {}", error.info()),
        };
        Fault {
            at: Span {
                file: self.file,
                start,
                end: start,
            },
            message,
            help,
            first: None,
        }
    }

    fn fault(&mut self, at: Span, message: &str, help: &'static str) {
        self.faults.push(Fault {
            at,
            message: message.to_owned(),
            help: Some(help),
            first: None,
        });
    }

    /// An error ends the reading of the file.
    fn event(&mut self, event: Event<'t>, span: &granit_parser::Span) -> Result<(), Fault> {
        let at = self.span(span);
        if event.tag().is_some() {
            let at = span.tag_span().map_or(at, |tag| self.span(&tag));
            self.fault(at, "tags have no meaning here", "remove the `!…`");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.count(1, at)?;
                let plain = style == ScalarStyle::Plain;
                let value = if plain && is_null(&text) {
                    Value::Null
                } else {
                    Value::Scalar { text, plain }
                };
                self.finish(
                    Built {
                        node: Node { at, value },
                        values: 1,
                        height: 0,
                    },
                    anchor,
                );
                Ok(())
            }
            Event::SequenceStart(_, anchor, _) => self.open(Content::List(Vec::new()), at, anchor),
            Event::MappingStart(_, anchor, _) => {
                self.open(Content::Map(Vec::new(), Pending::Key), at, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(at);
                Ok(())
            }
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(()),
        }
    }

    fn open(&mut self, content: Content<'t>, at: Span, anchor: usize) -> Result<(), Fault> {
        if self.frames.len() >= NESTING_MAX {
            return Err(stop(at, nested_too_deeply()));
        }
        self.count(1, at)?;
        self.frames.push(Frame {
            content,
            start: at.start,
            anchor,
            values: 1,
            height: 0,
        });
        Ok(())
    }

    fn count(&mut self, values: usize, at: Span) -> Result<(), Fault> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX {
            return Err(stop(
                at,
                format!("more than {VALUES_MAX} values in one file, aliases counted in full"),
            ));
        }
        Ok(())
    }

    fn close(&mut self, at: Span) {
        let frame = self
            .frames
            .pop()
            .expect("the parser ends only what it began");
        let value = match frame.content {
            Content::List(items) => Value::List(items.into()),
            Content::Map(entries, _) => Value::Map(self.without_doubles(entries).into()),
        };
        let span = Span {
            start: frame.start,
            ..at
        };
        self.finish(
            Built {
                node: Node { at: span, value },
                values: frame.values,
                height: frame.height + 1,
            },
            frame.anchor,
        );
    }

    /// An alias costs as much as what it stands for: an anchor of anchors of anchors is counted before
    /// anything walks over it.
    fn alias(&mut self, id: usize, at: Span) -> Result<(), Fault> {
        let Some((node, values, height)) = self.anchors.get(&id).cloned() else {
            return Err(stop(
                at,
                "this alias stands for something that contains it".into(),
            ));
        };
        if self.frames.len() + height > NESTING_MAX {
            return Err(stop(at, nested_too_deeply()));
        }
        self.count(values, at)?;
        self.finish(
            Built {
                node,
                values,
                height,
            },
            0,
        );
        Ok(())
    }

    fn finish(&mut self, built: Built<'t>, anchor: usize) {
        let Built {
            node,
            values,
            height,
        } = built;
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), values, height));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.height = frame.height.max(height);
        frame.values = frame.values.saturating_add(values);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map(entries, pending) => match std::mem::replace(pending, Pending::Key) {
                Pending::Key => self.key(node),
                Pending::Value { key, at } => entries.push(Entry {
                    key,
                    key_at: at,
                    node: if matches!(node.value, Value::Null) {
                        // An absent value has no text to point at.
                        Node { at, ..node }
                    } else {
                        node
                    },
                }),
                Pending::Skipped => {}
            },
        }
    }

    fn key(&mut self, node: Node<'t>) {
        let next = match node.value {
            Value::Scalar { text, plain: true } if text == "<<" => {
                self.fault(
                    node.at,
                    "merge keys (`<<`) have no meaning here",
                    "write the keys out, or use an alias for a whole value",
                );
                Pending::Skipped
            }
            Value::Scalar { text, .. } => Pending::Value {
                key: text,
                at: node.at,
            },
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.fault(node.at, "a key must be text", "put it in quotes");
                Pending::Skipped
            }
        };
        if let Some(Frame {
            content: Content::Map(_, pending),
            ..
        }) = self.frames.last_mut()
        {
            *pending = next;
        }
    }

    /// The first of equal keys stays, so that the rest of the mapping can still be checked.
    fn without_doubles(&mut self, mut entries: Vec<Entry<'t>>) -> Vec<Entry<'t>> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|a, b| entries[*a].key.cmp(&entries[*b].key));
        let mut is_double = vec![false; entries.len()];
        let mut first = 0;
        for next in 1..order.len() {
            let entry = &entries[order[next]];
            if entry.key != entries[order[first]].key {
                first = next;
                continue;
            }
            is_double[order[next]] = true;
            self.faults.push(Fault {
                at: entry.key_at,
                message: format!("`{}` is given twice", entry.key),
                help: None,
                first: Some(entries[order[first]].key_at),
            });
        }
        let mut doubles = is_double.into_iter();
        entries.retain(|_| doubles.next() != Some(true));
        entries
    }
}

fn stop(at: Span, message: String) -> Fault {
    Fault {
        at,
        message,
        help: None,
        first: None,
    }
}

fn nested_too_deeply() -> String {
    format!("nested too deeply: {NESTING_MAX} levels are possible")
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
