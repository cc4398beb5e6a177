//! Labels, and texts with `{placeholders}` in them.

use pitcrew_model::Labels;

use crate::{
    place::Span,
    reader::{Fields, Reader},
    shape::Kind,
    suggest::nearest,
    tree::{Entry, Node},
};

/// What may stand between braces.
#[derive(Clone, Copy)]
pub(crate) enum Placeholders<'p> {
    /// Any label of the target, which is known only later.
    Labels,
    Only(&'p [&'p str]),
}

pub(crate) fn is_label_name(name: &str) -> bool {
    Labels::new([(name, "")]).is_ok()
}

/// The labels under `name`; what is wrong with them is reported and left out.
pub(crate) fn labels(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Labels {
    let entries = fields.map(reader, name);
    labels_of(reader, name, entries)
}

fn labels_of(reader: &mut Reader<'_>, what: &str, entries: &[Entry<'_>]) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for entry in entries {
        let Some(value) = reader.scalar(what, &entry.node, &Kind::Text) else {
            continue;
        };
        match Labels::new([(&*entry.key, value)]) {
            Ok(_) => pairs.push((entry.key.to_string(), value.to_owned())),
            Err(error) => reader.error(entry.key_at, error.to_string()),
        }
    }
    Labels::new(pairs).expect("each pair was accepted and keys of a mapping differ")
}

/// Reports every `{…}` in a text that will not be replaced by anything.
pub(crate) fn check_placeholders(
    reader: &mut Reader<'_>,
    what: &str,
    at: Span,
    text: &str,
    possible: Placeholders<'_>,
) {
    let mut from = 0;
    while let Some((start, end)) = next_placeholder(text, from) {
        from = end;
        let name = &text[start + 1..end - 1];
        let is_fine = match possible {
            Placeholders::Labels => is_label_name(name),
            Placeholders::Only(names) => names.contains(&name),
        };
        if is_fine {
            continue;
        }
        let part = reader.within(at, text, start..end);
        let shown: String = name.chars().take(80).collect();
        match possible {
            Placeholders::Labels => reader.error_with_help(
                part,
                format!("`{{{shown}}}` in `{what}` is not the name of a label"),
                "text in braces is replaced by that label of the target; braces themselves can't be written",
            ),
            Placeholders::Only(names) => {
                let braced: Vec<_> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
                let message = match nearest(name, names.iter().copied()) {
                    Some(meant) => {
                        format!("unknown placeholder `{{{shown}}}`, did you mean `{{{meant}}}`?")
                    }
                    None => format!("unknown placeholder `{{{shown}}}` in `{what}`"),
                };
                let help = match &braced[..] {
                    [] => "nothing is replaced here".to_owned(),
                    braced => format!("possible: {}", braced.join(", ")),
                };
                reader.error_with_help(part, message, help);
            }
        }
    }
}

/// Start and end of the first `{…}` at or after `from`, as [`Labels::fill`] finds them.
pub(crate) fn next_placeholder(text: &str, from: usize) -> Option<(usize, usize)> {
    let start = from + text[from..].find('{')?;
    let end = start + text[start..].find('}')? + 1;
    Some((start, end))
}

/// A command: an argument vector that is never given to a shell. Its program, when written as a path,
/// begins at the configuration's directory.
pub(crate) fn command(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    name: &str,
    possible: Placeholders<'_>,
) -> Option<Vec<String>> {
    command_of(reader, name, fields.get(name)?, possible)
}

pub(crate) fn command_of(
    reader: &mut Reader<'_>,
    what: &str,
    node: &Node<'_>,
    possible: Placeholders<'_>,
) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    for item in reader.items(what, node) {
        let Some(text) = reader.scalar(what, item, &Kind::Text) else {
            continue;
        };
        check_placeholders(reader, what, item.at, text, possible);
        if arguments.is_empty() && text.trim().is_empty() {
            reader.error(item.at, format!("the program of `{what}` is empty"));
        }
        arguments.push(text.to_owned());
    }
    let Some(program) = arguments.first_mut() else {
        if matches!(
            node.value,
            crate::tree::Value::List(_) | crate::tree::Value::Null
        ) {
            reader.error_with_help(
                node.at,
                format!("`{what}` is empty"),
                "write the program and its arguments as a list: [\"/usr/bin/program\", \"argument\"]",
            );
        }
        return None;
    };
    if program.contains('/') && !program.starts_with('{') {
        *program = reader.path(node.at, program).display().to_string();
    }
    Some(arguments)
}
