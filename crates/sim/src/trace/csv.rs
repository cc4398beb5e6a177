//! Comma-separated records: quotes, doubled quotes, line ends inside quotes, `\r\n`.
//!
//! Positions are byte offsets into the text, so that a mistake can be shown where it is. A quote that is never
//! closed would swallow the rest of the file; the bound on a record's length turns that into an error near its place.

use std::borrow::Cow;

use super::Wrong;

/// Longest record in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 10;

pub(super) struct Record<'a> {
    /// Where it begins.
    pub(super) at: usize,
    /// Just behind its last field.
    pub(super) end: usize,
    pub(super) fields: Vec<Field<'a>>,
}

pub(super) struct Field<'a> {
    pub(super) at: usize,
    text: Cow<'a, str>,
}

impl Field<'_> {
    /// Without white space around it.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }
}

/// Every record of a text; blank lines are none.
pub(super) struct Records<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn record(&mut self) -> Result<Record<'a>, (usize, Wrong)> {
        let begin = self.at;
        let mut fields = Vec::new();
        loop {
            let field = self.field(begin)?;
            fields.push(field);
            let end = self.at;
            if end - begin > RECORD_BYTES_MAX {
                return Err(self.skip(begin, Wrong::TooLong));
            }
            match self.rest().as_bytes() {
                [b',', ..] => self.at += 1,
                _ => {
                    self.at += line_end(self.rest());
                    return Ok(Record {
                        at: begin,
                        end,
                        fields,
                    });
                }
            }
        }
    }

    /// Up to the comma, line's end or text's end behind it.
    fn field(&mut self, record: usize) -> Result<Field<'a>, (usize, Wrong)> {
        let at = self.at;
        if self.rest().starts_with('"') {
            return self.quoted(record);
        }
        let rest = self.rest();
        let length = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
        self.at += length;
        if self.rest().starts_with('\r') && line_end(self.rest()) == 0 {
            return Err(self.skip(self.at, Wrong::LoneReturn));
        }
        let text = Cow::Borrowed(&rest[..length]);
        Ok(Field { at, text })
    }

    fn quoted(&mut self, record: usize) -> Result<Field<'a>, (usize, Wrong)> {
        let open = self.at;
        let mut text = String::new();
        loop {
            self.at += 1;
            let rest = self.rest();
            let Some(length) = rest.find('"') else {
                return Err(self.skip_line(open, Wrong::OpenQuote));
            };
            if self.at + length - record > RECORD_BYTES_MAX {
                return Err(self.skip_line(open, Wrong::OpenQuote));
            }
            text.push_str(&rest[..length]);
            self.at += length + 1;
            if !self.rest().starts_with('"') {
                break;
            }
            text.push('"');
        }
        let rest = self.rest();
        if rest.is_empty() || rest.starts_with(',') || line_end(rest) > 0 {
            let text = Cow::Owned(text);
            return Ok(Field { at: open, text });
        }
        Err(self.skip(self.at, Wrong::BehindQuote))
    }

    /// On to the next line, whatever is left of this one.
    fn skip(&mut self, at: usize, wrong: Wrong) -> (usize, Wrong) {
        let rest = self.rest();
        self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
        (at, wrong)
    }

    /// The same from where `at` is: what is behind an open quote is read again as lines.
    fn skip_line(&mut self, at: usize, wrong: Wrong) -> (usize, Wrong) {
        self.at = at;
        self.skip(at, wrong)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

/// Bytes of the line's end that `text` begins with.
fn line_end(text: &str) -> usize {
    match text.as_bytes() {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => 1,
        _ => 0,
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, (usize, Wrong)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let blank = line_end(self.rest());
            if blank == 0 {
                break;
            }
            self.at += blank;
        }
        (!self.rest().is_empty()).then(|| self.record())
    }
}
