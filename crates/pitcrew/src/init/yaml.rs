//! Texts of others as YAML: whatever a process calls itself, it is read back as it was.
//!
//! A configuration replaces `{label}` in commands and refuses `${NAME}` outside of secrets, so braces and the
//! dollar before them are written as labels of the target that stand for them.

/// Labels that stand for what can't be written in a command.
const OPEN_BRACE: (&str, &str) = ("open_brace", "{");
const DOLLAR: (&str, &str) = ("dollar", "$");

/// In double quotes, with everything escaped that isn't printable.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_unprintable(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What YAML doesn't take as it is, or takes for the end of a line or file.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Without quotes where no reader could take it for anything but this text.
pub(super) fn word(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && !matches!(
            text,
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text in which `{label}` would be replaced, and the labels that it needs now.
pub(super) fn template(text: &str, labels: &mut Vec<(&'static str, &'static str)>) -> String {
    let mut written = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let stand_in = match c {
            '{' => OPEN_BRACE,
            '$' if chars.peek() == Some(&'{') => DOLLAR,
            c => {
                written.push(c);
                continue;
            }
        };
        written.push_str(&format!("{{{}}}", stand_in.0));
        if !labels.contains(&stand_in) {
            labels.push(stand_in);
        }
    }
    quoted(&written)
}

/// `[…]` of texts that are written already.
pub(super) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Columns of a comment.
const WIDTH: usize = 108;

/// A comment, broken at spaces; nothing in `text` can end it early.
pub(super) fn comment(indent: usize, text: &str) -> String {
    let lead = format!("{}#", " ".repeat(indent));
    let mut lines = String::new();
    for paragraph in text.split('\n') {
        let clean: String = paragraph
            .chars()
            .map(|c| if is_unprintable(c) { ' ' } else { c })
            .collect();
        let mut line = lead.clone();
        for part in clean.split(' ').filter(|part| !part.is_empty()) {
            let is_begun = line.len() > lead.len();
            if is_begun && line.chars().count() + 1 + part.chars().count() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line.clone_from(&lead);
            }
            line.push(' ');
            line.push_str(part);
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_yaml_would_read_otherwise_are_quoted() {
        for (text, written) in [
            ("redis", "redis"),
            ("web-1_b", "web-1_b"),
            ("no", "\"no\""),
            ("1web", "\"1web\""),
            ("a: b #c", "\"a: b #c\""),
            ("", "\"\""),
        ] {
            assert_eq!(word(text), written);
        }
    }

    #[test]
    fn a_comment_stays_one_whatever_is_in_it() {
        let text = comment(2, "evil\u{85}name\u{2028}services:\r []");
        assert_eq!(text, "  # evil name services: []\n");
        let long = comment(4, &"word ".repeat(60));
        assert!(long.lines().count() > 2);
        assert!(
            long.lines()
                .all(|line| line.starts_with("    # ") && line.len() <= WIDTH)
        );
    }

    #[test]
    fn braces_are_written_as_labels() {
        let mut labels = Vec::new();
        assert_eq!(
            template("$x ${A} {b}", &mut labels),
            "\"$x {dollar}{open_brace}A} {open_brace}b}\""
        );
        assert_eq!(labels, [DOLLAR, OPEN_BRACE]);
    }
}
