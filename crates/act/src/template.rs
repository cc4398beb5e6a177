//! `{name}` in the words of a command. Braces around anything but a name are the command's own business:
//! nginx's `events {}`, a shell's `{ …; }`.

/// What stands for a name.
pub(crate) enum Meaning {
    Value(String),
    /// Not a name of ours: stays as it is written.
    Nothing,
    /// A name of ours without a value here.
    Absent,
}

/// The error is a name that is absent.
pub(crate) fn fill(text: &str, meaning: impl Fn(&str) -> Meaning) -> Result<String, String> {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('{') {
        let (before, after) = (&rest[..open], &rest[open + 1..]);
        filled.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = end
            .filter(|end| after[*end..].starts_with('}'))
            .map(|end| &after[..end]);
        match name.map(|name| (name, meaning(name))) {
            Some((name, Meaning::Value(value))) => {
                filled.push_str(&value);
                rest = &after[name.len() + 1..];
            }
            Some((name, Meaning::Absent)) => return Err(name.to_owned()),
            Some((_, Meaning::Nothing)) | None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meaning(name: &str) -> Meaning {
        match name {
            "port" => Meaning::Value("80".to_owned()),
            "zone" => Meaning::Absent,
            _ => Meaning::Nothing,
        }
    }

    #[test]
    fn names_are_filled_and_other_braces_stay() {
        for (text, expected) in [
            ("--port={port}!", Ok("--port=80!")),
            (
                "events {} { echo {port}; } ${X} {",
                Ok("events {} { echo 80; } ${X} {"),
            ),
            ("{{port}} {print}", Ok("{80} {print}")),
            ("a {zone}", Err("zone")),
            ("ä{ö}{port", Ok("ä{ö}{port")),
        ] {
            let filled = fill(text, meaning);
            assert_eq!(
                filled.as_deref().map_err(String::as_str),
                expected,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}a-zä ]{0,40}") {
            fill(&text, meaning).ok();
        }
    }
}
