//! A series as it came: bytes that are hashed by whoever knows it, and read by whoever does not.

use std::borrow::Cow;

use memchr::memchr;

use crate::protobuf::{Fields, Malformed, varint};

/// The labels of one series, in the form in which a decoder met them. Two that are equal are one series; one series
/// may come in several forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RawSeries<'a> {
    /// `name{label="value",…}` as a line of text begins with.
    Text(&'a [u8]),
    /// Fields 1 of a message, each a message of a name (1) and a value (2).
    Messages(&'a [u8]),
    /// Names and values in turns, each after its length as a varint.
    Pairs(&'a [u8]),
}

/// Labels that can't be a series'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("a label's name or value is not UTF-8")]
    Encoding,
    #[error("in `{near}` {expected} is missing")]
    Text {
        near: String,
        expected: &'static str,
    },
    #[error("`{near}` has a backslash before something else than \\, \" or n")]
    Escape { near: String },
}

impl<'a> RawSeries<'a> {
    /// The bytes; together with the form they are the series.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(bytes) | Self::Messages(bytes) | Self::Pairs(bytes) => bytes,
        }
    }

    /// Each name with its value, in their order; repeated names and empty values come as they are.
    pub fn each_label(self, mut each: impl FnMut(&str, &str)) -> Result<(), BadLabels> {
        match self {
            Self::Text(text) => text_labels(text, &mut each),
            Self::Messages(bytes) => message_labels(bytes, &mut each),
            Self::Pairs(mut bytes) => {
                while !bytes.is_empty() {
                    let name = counted(&mut bytes)?;
                    let value = counted(&mut bytes)?;
                    each(name, value);
                }
                Ok(())
            }
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, BadLabels> {
    std::str::from_utf8(bytes).map_err(|_| BadLabels::Encoding)
}

fn counted<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, BadLabels> {
    let length = usize::try_from(varint(bytes)?).map_err(|_| Malformed::Truncated)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *bytes = rest;
    utf8(taken)
}

/// Writes what [`RawSeries::Pairs`] reads: names and values in turns.
pub fn put_counted(out: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(text);
}

fn message_labels(bytes: &[u8], each: &mut impl FnMut(&str, &str)) -> Result<(), BadLabels> {
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            continue;
        }
        let (mut name, mut value) = ("", "");
        let mut label = Fields(field.bytes()?);
        while let Some(part) = label.next()? {
            match part.number {
                1 => name = utf8(part.bytes()?)?,
                2 => value = utf8(part.bytes()?)?,
                _ => {}
            }
        }
        each(name, value);
    }
    Ok(())
}

/// `name`, `name{a="b"}`, `{"name",a="b"}`, `{a="b"}`; blanks may stand around names, values and signs.
fn text_labels(text: &[u8], each: &mut impl FnMut(&str, &str)) -> Result<(), BadLabels> {
    let brace = memchr(b'{', text).unwrap_or(text.len());
    let (name, braces) = text.split_at(brace);
    let name = utf8(name.trim_ascii())?;
    if !name.is_empty() {
        each("__name__", name);
    }
    let mut rest = Rest(braces);
    if rest.0.is_empty() {
        return Ok(());
    }
    rest.expect(b'{', "a brace")?;
    loop {
        if rest.skip(b'}') {
            return Ok(());
        }
        let name = rest.name()?;
        if rest.skip(b'=') {
            let value = rest.quoted()?;
            each(&name, &value);
        } else {
            // A quoted text alone is the metric's name.
            each("__name__", &name);
        }
        if !rest.skip(b',') {
            return rest.expect(b'}', "a comma or a closing brace");
        }
    }
}

/// What of the text is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn error(&self, expected: &'static str) -> BadLabels {
        let near = self.0.get(..40).unwrap_or(self.0);
        BadLabels::Text {
            near: String::from_utf8_lossy(near).into_owned(),
            expected,
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        let is_there = self.0.first() == Some(&byte);
        if is_there {
            self.0 = &self.0[1..];
        }
        is_there
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), BadLabels> {
        match self.skip(byte) {
            true => Ok(()),
            false => Err(self.error(expected)),
        }
    }

    fn name(&mut self) -> Result<Cow<'a, str>, BadLabels> {
        self.0 = self.0.trim_ascii_start();
        if self.0.first() == Some(&b'"') {
            return self.quoted();
        }
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b':';
        let length = self.0.iter().take_while(|byte| is_name(byte)).count();
        let (name, rest) = self.0.split_at(length);
        if name.is_empty() || name[0].is_ascii_digit() {
            return Err(self.error("a label's name"));
        }
        self.0 = rest;
        utf8(name).map(Cow::Borrowed)
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, BadLabels> {
        self.expect(b'"', "an opening quote")?;
        let end = end_of_quoted(self.0).ok_or_else(|| self.error("a closing quote"))?;
        let (inner, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        unescaped(utf8(inner)?)
    }
}

/// Where the closing quote is, given what comes after the opening one.
pub(crate) fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
        if from > text.len() {
            return None;
        }
    }
}

fn unescaped(text: &str) -> Result<Cow<'_, str>, BadLabels> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some(escaped @ ('"' | '\\')) => out.push(escaped),
            _ => {
                let near = text.chars().take(40).collect();
                return Err(BadLabels::Escape { near });
            }
        }
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(series: RawSeries<'_>) -> Result<String, BadLabels> {
        let mut text = String::new();
        series.each_label(|name, value| text += &format!("{name}={value:?} "))?;
        Ok(text)
    }

    #[test]
    fn text_gives_its_labels() {
        for (text, expected) in [
            ("up", r#"__name__="up" "#),
            ("up {}", r#"__name__="up" "#),
            (r#"x{a="1",b="2",}"#, r#"__name__="x" a="1" b="2" "#),
            (
                r#"{"http.requests", "a.b" = "\"q\" \\ \n"}"#,
                r#"__name__="http.requests" a.b="\"q\" \\ \n" "#,
            ),
            (r#"{a="1"}"#, r#"a="1" "#),
        ] {
            assert_eq!(
                labels(RawSeries::Text(text.as_bytes())),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn broken_text_says_what_is_missing() {
        for (text, expected) in [
            ("x{", "a label's name"),
            ("x{1a=\"b\"}", "a label's name"),
            ("x{a=b}", "an opening quote"),
            ("x{a=\"b}", "a closing quote"),
            ("x{a=\"b\\\"}", "a closing quote"),
            ("x{a=\"b\" c=\"d\"}", "a comma or a closing brace"),
        ] {
            let error = labels(RawSeries::Text(text.as_bytes())).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_any_form_panic(bytes: Vec<u8>, text in r#"[a-z{}"=,\\ \n]{0,30}"#) {
            for bytes in [&bytes[..], text.as_bytes()] {
                for series in [RawSeries::Text(bytes), RawSeries::Messages(bytes), RawSeries::Pairs(bytes)] {
                    labels(series).ok();
                }
            }
        }

        #[test]
        fn values_of_any_text_are_read_back(value: String) {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let text = format!("x{{a=\"{escaped}\"}}");
            let mut read = None;
            RawSeries::Text(text.as_bytes()).each_label(|name, value| {
                if name == "a" { read = Some(value.to_owned()); }
            }).unwrap();
            prop_assert_eq!(read, Some(value.clone()));
            let mut pairs = Vec::new();
            put_counted(&mut pairs, b"a");
            put_counted(&mut pairs, value.as_bytes());
            prop_assert_eq!(labels(RawSeries::Pairs(&pairs)), Ok(format!("a={value:?} ")));
        }
    }
}
