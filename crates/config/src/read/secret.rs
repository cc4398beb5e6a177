//! Secrets: in a variable of the environment or in a file, and never in a message.

use std::io::Read as _;

use pitcrew_model::Secret;

use crate::{
    fields::Fields,
    reader::{Reader, placeholder},
    shape::Kind,
    tree::Node,
};

const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The secret `name`, or the content of the file that `name_file` names.
pub(crate) fn secret(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    name: &str,
    name_file: &str,
) -> Option<Secret> {
    match (fields.entry(name), fields.entry(name_file)) {
        (Some(_), Some(file)) => {
            reader.error(
                file.key_at,
                format!("`{name}` and `{name_file}` are both given: one is possible"),
            );
            None
        }
        (Some(entry), None) => {
            let otherwise = format!("use `{name_file}`");
            from_text(reader, name, &entry.node, &otherwise)
        }
        (None, Some(entry)) => from_file(reader, name_file, &entry.node),
        (None, None) => None,
    }
}

/// Every `${NAME}` replaced by that variable of the environment.
/// `otherwise` is how a file is given instead.
pub(crate) fn from_text(
    reader: &mut Reader<'_>,
    what: &str,
    node: &Node<'_>,
    otherwise: &str,
) -> Option<Secret> {
    let text = reader.scalar(what, node, &Kind::Secret)?;
    let (mut filled, mut rest_at, mut complete) = (String::new(), 0, true);
    while let Some(part) = placeholder(&text[rest_at..]) {
        let part = rest_at + part.start..rest_at + part.end;
        filled.push_str(&text[rest_at..part.start]);
        rest_at = part.end;
        let name = &text[part.start + 2..part.end - 1];
        match reader.variable(name) {
            Some(value) => filled.push_str(&value),
            None => {
                complete = false;
                let at = reader.within(node.at, text, part);
                reader.error_with_help(
                    at,
                    format!("the environment has no variable `{name}`"),
                    format!("set {name} where Pitcrew is started, or {otherwise}"),
                );
            }
        }
    }
    filled.push_str(&text[rest_at..]);
    if complete && filled.is_empty() {
        reader.error(node.at, format!("`{what}` is empty"));
        return None;
    }
    complete.then(|| Secret::new(filled))
}

/// A file's content without the line break at its end.
pub(crate) fn from_file(reader: &mut Reader<'_>, what: &str, node: &Node<'_>) -> Option<Secret> {
    let text = reader.parsed(what, node, &crate::values::PATH, crate::values::not_empty)?;
    let path = reader.path(node.at, &text);
    let mut content = String::new();
    let read = std::fs::metadata(&path).and_then(|metadata| {
        // Asked before it is opened: opening a pipe would wait for somebody to write.
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let file = std::fs::File::open(&path)?;
        file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut content)
    });
    let why = match read {
        Err(error) => error.to_string(),
        Ok(_) if content.len() as u64 > SECRET_BYTES_MAX => "it is larger than 64 KiB".to_owned(),
        Ok(_) if content.trim().is_empty() => "it is empty".to_owned(),
        Ok(_) => return Some(Secret::new(content.trim_end_matches(['\n', '\r']))),
    };
    reader.error(
        node.at,
        format!("`{what}`: failed to read {}: {why}", path.display()),
    );
    None
}
