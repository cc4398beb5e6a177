//! One line of a scenario as words with their places.
//!
//! Whoever parses takes words from the left; the first that does not fit is the line's mistake.

use std::time::Duration;

use pitcrew_model::parse_duration;

use super::mistake::{Mistake, instead_of};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// In characters, from 1.
    pub(super) column: usize,
    pub(super) text: String,
    /// In quotes: a text or a name, never a word of the language.
    pub(super) quoted: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Sentence {
    pub(super) line: usize,
    words: Vec<Word>,
    next: usize,
    /// One behind the last character.
    end: usize,
}

pub(super) type Parsed<T> = Result<T, Mistake>;

impl Sentence {
    /// Words are separated by blanks; `"…"` keeps blanks, with `\"` and `\\`; `#` where a word could begin
    /// ends the line.
    pub(super) fn split(line: usize, text: &str) -> Parsed<Self> {
        let mut words = Vec::new();
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            if c == '#' {
                break;
            }
            let column = at + 1;
            let mut word = String::new();
            if c == '"' {
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => word.extend(chars.next().map(|(_, c)| c)),
                        Some((_, c)) => word.push(c),
                        None => {
                            let message = "this text has no closing quote";
                            return Err(Mistake::new(line, column, message));
                        }
                    }
                }
            } else {
                word.push(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
                    word.push(c);
                }
            }
            words.push(Word {
                column,
                text: word,
                quoted: c == '"',
            });
        }
        let end = text.trim_end().chars().count() + 1;
        Ok(Self {
            line,
            words,
            next: 0,
            end,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The last word, for lines that open a block with `:`.
    pub(super) fn opens_block(&self) -> bool {
        self.words
            .last()
            .is_some_and(|word| !word.quoted && word.text.ends_with(':'))
    }

    pub(super) fn peek(&self) -> Option<&Word> {
        self.words.get(self.next)
    }

    pub(super) fn take(&mut self) -> Option<Word> {
        let word = self.words.get(self.next).cloned();
        self.next += usize::from(word.is_some());
        word
    }

    /// Where the next word is, or would be.
    pub(super) fn column(&self) -> usize {
        self.peek().map_or(self.end, |word| word.column)
    }

    /// At the next word.
    pub(super) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake::new(self.line, self.column(), message)
    }

    pub(super) fn mistake_at(&self, word: &Word, message: impl Into<String>) -> Mistake {
        Mistake::new(self.line, word.column, message)
    }

    /// Takes the next word if it is `wanted`.
    pub(super) fn skip(&mut self, wanted: &str) -> bool {
        let is = self
            .peek()
            .is_some_and(|word| !word.quoted && word.text == wanted);
        self.next += usize::from(is);
        is
    }

    /// Takes these words, all of them.
    pub(super) fn must(&mut self, wanted: &str) -> Parsed<()> {
        wanted.split(' ').try_for_each(|word| {
            if self.skip(word) {
                Ok(())
            } else {
                Err(self.unexpected(&[word]))
            }
        })
    }

    /// Takes the next word, which must be one of these.
    pub(super) fn choice<'c>(&mut self, candidates: &[&'c str]) -> Parsed<&'c str> {
        let found = candidates.iter().find(|candidate| self.skip(candidate));
        found.copied().ok_or_else(|| self.unexpected(candidates))
    }

    pub(super) fn unexpected(&self, candidates: &[&str]) -> Mistake {
        match self.peek() {
            Some(word) => {
                let instead = instead_of(&word.text, candidates.iter().copied());
                self.mistake(format!("unexpected `{}`{instead}", word.text))
            }
            None => self.mistake(format!(
                "the line ends too early; next could be: {}",
                candidates.join(", ")
            )),
        }
    }

    pub(super) fn any(&mut self, what: &str) -> Parsed<Word> {
        let missing = self.mistake(format!("{what} is missing here"));
        self.take().ok_or(missing)
    }

    pub(super) fn duration(&mut self) -> Parsed<Duration> {
        let word = self.any("a duration such as `10m`")?;
        let duration = parse_duration(&word.text)
            .map_err(|error| self.mistake_at(&word, error.to_string()))?;
        if duration > LONGEST {
            return Err(self.mistake_at(&word, "longer than ten years"));
        }
        Ok(duration)
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<T> {
        let word = self.any(what)?;
        let wrong = || self.mistake_at(&word, format!("`{}` is not {what}", word.text));
        word.text.parse().map_err(|_not_a_number| wrong())
    }

    /// A text in quotes, if one is next.
    pub(super) fn text(&mut self) -> Option<String> {
        if !self.peek()?.quoted {
            return None;
        }
        self.take().map(|word| word.text)
    }

    pub(super) fn required_text(&mut self, what: &str) -> Parsed<String> {
        let missing = self.mistake(format!("{what} is missing here, in quotes"));
        self.text().ok_or(missing)
    }

    pub(super) fn end(&self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(self.mistake(format!(
                "nothing more is expected here, but there is `{}`",
                word.text
            ))),
        }
    }
}

/// Nothing that a scenario says lasts longer.
pub(super) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_columns_and_quotes_their_blanks() {
        let mut sentence = Sentence::split(3, "at 10m  web-1 \"a \\\"b\\\" # c\"  # why").unwrap();
        let mut words = Vec::new();
        while let Some(word) = sentence.take() {
            words.push((word.column, word.text));
        }
        let expected = [(1, "at"), (4, "10m"), (9, "web-1"), (15, "a \"b\" # c")];
        assert_eq!(words, expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[test]
    fn an_open_quote_is_a_mistake_at_its_place() {
        let mistake = Sentence::split(7, "expect \"x").unwrap_err();
        assert_eq!((mistake.line, mistake.column), (7, 8));
    }
}
