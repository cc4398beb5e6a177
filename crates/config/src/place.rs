//! Where in which file something stands.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

/// A range of bytes in one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A file of the configuration.
pub(crate) struct TextFile<'t> {
    /// As people see it in messages.
    pub(crate) name: &'t str,
    pub(crate) text: &'t str,
    /// What relative paths in it are relative to.
    pub(crate) directory: PathBuf,
    line_starts: OnceCell<Vec<usize>>,
}

/// A span as people count: lines and columns from 1, columns and length in characters, on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) length: usize,
}

impl<'t> TextFile<'t> {
    pub(crate) fn new(name: &'t str, text: &'t str, directory: &Path) -> Self {
        Self {
            name,
            text,
            directory: directory.to_owned(),
            line_starts: OnceCell::new(),
        }
    }

    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| at + 1))
                .collect()
        })
    }

    /// Number of the line, from 0, and its text without the line break, for a byte of the file.
    fn line_of(&self, byte: usize) -> (usize, usize, &'t str) {
        let starts = self.line_starts();
        let line = starts.partition_point(|start| *start <= byte) - 1;
        let start = starts[line];
        let end = starts
            .get(line + 1)
            .map_or(self.text.len(), |next| next - 1);
        let text = &self.text[start..end];
        (line, start, text.strip_suffix('\r').unwrap_or(text))
    }

    /// The place of `span`, cut to its first line; that line's text before it, and from it on.
    pub(crate) fn place(&self, span: Span) -> (Place, &'t str, &'t str) {
        let byte = self.text.floor_char_boundary(span.start);
        let (line, start, text) = self.line_of(byte);
        let from = (byte - start).min(text.len());
        let to = self.text.floor_char_boundary(span.end);
        let to = to.saturating_sub(start).clamp(from, text.len());
        let place = Place {
            line: line + 1,
            column: text[..from].chars().count() + 1,
            length: text[from..to].trim_end().chars().count(),
        };
        (place, &text[..from], &text[from..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, start: usize, end: usize) -> (usize, usize, usize) {
        let file = TextFile::new("x", text, Path::new(""));
        let (place, ..) = file.place(Span {
            file: 0,
            start,
            end,
        });
        (place.line, place.column, place.length)
    }

    #[test]
    fn places_count_characters_and_end_with_the_line() {
        for (text, start, end, expected) in [
            ("", 0, 0, (1, 1, 0)),
            ("abc", 1, 2, (1, 2, 1)),
            ("a\nbc\n", 2, 4, (2, 1, 2)),
            ("a\r\nbc\r\nd", 3, 8, (2, 1, 2)),
            ("ä: ö", 4, 6, (1, 4, 1)),
            ("a\n", 2, 2, (2, 1, 0)),
            ("a", 9, 99, (1, 2, 0)),
        ] {
            assert_eq!(place(text, start, end), expected, "{text:?} {start}..{end}");
        }
    }
}
