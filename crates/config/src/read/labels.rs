//! Labels, and texts with `{placeholders}` in them.

use pitcrew_model::Labels;

use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::Kind,
    suggest::nearest,
    tree::{Entry, Node},
};

/// What may stand between braces.
#[derive(Clone, Copy)]
pub(crate) enum Placeholders {
    /// Any label of the target, which is known only later; braces are for nothing else.
    Labels,
    /// The same in a command, where braces around anything but a name are the command's own: `events {}`.
    Command,
    /// What is known of an instance of a `run`; other braces are the command's own.
    Instance { has_ports: bool, has_zones: bool },
    /// Nothing is replaced: braces are braces.
    Nothing,
}

pub(crate) fn is_label_name(name: &str) -> bool {
    Labels::new([(name, "")]).is_ok()
}

/// The labels under `name`; what is wrong with them is reported and left out.
pub(crate) fn labels(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Labels {
    let entries = fields.map(reader, name);
    labels_of(reader, entries)
}

fn labels_of(reader: &mut Reader<'_>, entries: &[Entry<'_>]) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for entry in entries {
        let Some(value) = reader.scalar(&entry.key, &entry.node, &Kind::Text) else {
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
    possible: Placeholders,
) {
    let mut from = 0;
    let next = match possible {
        Placeholders::Nothing => return,
        Placeholders::Labels => next_braces,
        Placeholders::Command | Placeholders::Instance { .. } => next_name,
    };
    while let Some((start, end)) = next(text, from) {
        from = end;
        let name = &text[start + 1..end - 1];
        let wrong = match possible {
            Placeholders::Labels | Placeholders::Command => not_a_label(what, name),
            Placeholders::Instance {
                has_ports,
                has_zones,
            } => not_of_an_instance(what, name, has_ports, has_zones),
            Placeholders::Nothing => None,
        };
        if let Some((message, help)) = wrong {
            let part = reader.within(at, text, start..end);
            reader.error_with_help(part, message, help);
        }
    }
}

fn not_a_label(what: &str, name: &str) -> Option<(String, &'static str)> {
    if is_label_name(name) {
        return None;
    }
    let message = format!(
        "`{{{}}}` in `{what}` is not the name of a label",
        shortened(name)
    );
    let help = "a name in braces is replaced by that label of the target";
    Some((message, help))
}

fn not_of_an_instance(
    what: &str,
    name: &str,
    has_ports: bool,
    has_zones: bool,
) -> Option<(String, &'static str)> {
    const POSSIBLE: [&str; 3] = ["port", "instance", "zone"];
    let message = match name {
        "port" if !has_ports => "`{port}` needs `ports`: this run has none".to_owned(),
        "zone" if !has_zones => "`{zone}` needs `zones`: this run has none".to_owned(),
        "port" | "instance" | "zone" => return None,
        _ => match nearest(name, POSSIBLE) {
            Some(meant) => format!("unknown placeholder `{{{name}}}`, did you mean `{{{meant}}}`?"),
            None => format!("unknown placeholder `{{{}}}` in `{what}`", shortened(name)),
        },
    };
    Some((
        message,
        "possible: `{instance}`; with `ports`, `{port}`; with `zones`, `{zone}`",
    ))
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Start and end of the first `{…}` at or after `from`, as [`Labels::fill`] finds them.
fn next_braces(text: &str, from: usize) -> Option<(usize, usize)> {
    let start = from + text[from..].find('{')?;
    let end = start + text[start..].find('}')? + 1;
    Some((start, end))
}

/// Start and end of the first `{name}` at or after `from`.
fn next_name(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut opens = text[from..].match_indices('{');
    opens.find_map(|(at, _)| {
        let start = from + at;
        let after = &text[start + 1..];
        let length = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())?;
        let is_name = length > 0 && after[length..].starts_with('}');
        is_name.then_some((start, start + length + 2))
    })
}

/// A command: an argument vector that is never given to a shell. Its program, when written as a path,
/// begins at the configuration's directory.
pub(crate) fn command(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    name: &str,
    possible: Placeholders,
) -> Option<Vec<String>> {
    command_of(reader, name, fields.get(name)?, possible)
}

pub(crate) fn command_of(
    reader: &mut Reader<'_>,
    what: &str,
    node: &Node<'_>,
    possible: Placeholders,
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
