//! The lexer: a query as tokens.
//!
//! Words stay words here: `by`, `offset` or `sum` are keywords in one place and names of metrics in another,
//! and only the parser knows the place. It must never panic, whatever it is given.

use super::{
    ParseError,
    spelling::{duration_ms, parse_number},
    token::{Span, Spanned, Token},
};

/// Longest first, so that `==` isn't read as `=` twice.
const SYMBOLS: &[&str] = &[
    "=~", "!~", "==", "!=", "<=", ">=", "</", ">/", "+", "-", "*", "/", "%", "^", "<", ">", "=",
    "(", ")", "{", "}", "[", "]", ",", ":", "@",
];

pub(crate) fn tokens(query: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut lexer = Lexer {
        query,
        at: 0,
        brackets: 0,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.token == Token::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    query: &'a str,
    at: usize,
    /// Inside of brackets a colon separates range and step; elsewhere it is part of a name.
    brackets: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.query[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            if blanks > 0 {
                self.at += blanks;
            } else if rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Spanned, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let token = match self.peek() {
            None => Token::End,
            Some(quote @ ('"' | '\'' | '`')) => self.text(quote)?,
            Some('0'..='9') => self.number()?,
            Some('.') if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.number()?
            }
            Some(c) if starts_word(c) || (c == ':' && self.brackets == 0) => self.word(),
            Some(other) => self.symbol(other)?,
        };
        Ok(Spanned {
            token,
            span: Span {
                start,
                end: self.at,
            },
        })
    }

    fn word(&mut self) -> Token {
        let colon = self.brackets == 0;
        let rest = self.rest();
        let length = rest
            .find(|c: char| !(starts_word(c) || c.is_ascii_digit() || (colon && c == ':')))
            .unwrap_or(rest.len());
        let word = rest[..length].to_owned();
        self.at += length;
        Token::Word(word)
    }

    fn symbol(&mut self, first: char) -> Result<Token, ParseError> {
        let found = SYMBOLS
            .iter()
            .find(|symbol| self.rest().starts_with(**symbol));
        let Some(symbol) = found else {
            return Err(self.error(
                self.at,
                first.len_utf8(),
                format!("unexpected character {first:?}"),
            ));
        };
        self.at += symbol.len();
        match *symbol {
            "[" => self.brackets += 1,
            "]" => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        Ok(Token::Symbol(symbol))
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let length = number_length(self.rest());
        self.at += length;
        let text = &self.query[start..self.at];
        let token = match duration_ms(text) {
            Some(Ok(milliseconds)) => Some(Token::Duration(milliseconds)),
            Some(Err(problem)) => return Err(self.error(start, length, problem)),
            None => parse_number(text).map(Token::Number),
        };
        token.ok_or_else(|| self.error(start, length, format!("bad number or duration {text:?}")))
    }

    fn text(&mut self, quote: char) -> Result<Token, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.error(start, self.at - start, "unterminated string".to_owned()));
            };
            self.at += c.len_utf8();
            match c {
                _ if c == quote => return Ok(Token::Text(bytes)),
                '\n' if quote != '`' => {
                    let problem = "unterminated string".to_owned();
                    return Err(self.error(start, self.at - start, problem));
                }
                '\\' if quote != '`' => self.escape(quote, &mut bytes)?,
                _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), ParseError> {
        let start = self.at;
        let problem = |lexer: &Self| {
            let end = lexer.at.max(start + 1).min(lexer.query.len());
            lexer.error(
                start - 1,
                end + 1 - start,
                "unknown escape sequence".to_owned(),
            )
        };
        let Some(c) = self.peek() else {
            return Err(problem(self));
        };
        self.at += c.len_utf8();
        let plain = match c {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            '0'..='7' => {
                self.at -= 1;
                let value = self.digits(3, 8).and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| problem(self))?
            }
            'x' => {
                let value = self
                    .digits(2, 16)
                    .and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| problem(self))?
            }
            'u' | 'U' => {
                let length = if c == 'u' { 4 } else { 8 };
                let code = self.digits(length, 16).and_then(char::from_u32);
                let code = code.ok_or_else(|| problem(self))?;
                bytes.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ if c == quote => quote as u8,
            _ => return Err(problem(self)),
        };
        bytes.push(plain);
        Ok(())
    }

    fn digits(&mut self, length: usize, radix: u32) -> Option<u32> {
        let digits = self.rest().get(..length)?;
        if !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
            return None;
        }
        let value = u32::from_str_radix(digits, radix).ok()?;
        self.at += length;
        Some(value)
    }

    fn error(&self, start: usize, length: usize, problem: String) -> ParseError {
        let span = Span {
            start,
            end: start + length,
        };
        ParseError::new(self.query, span, problem)
    }
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Everything that could belong to a number or duration; whether it does is decided afterwards.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let previous = length.checked_sub(1).map(|index| bytes[index]);
        let exponent = if hexadecimal { b'p' } else { b'e' };
        let signed = previous.is_some_and(|byte| byte.to_ascii_lowercase() == exponent)
            && bytes[..length - 1]
                .iter()
                .all(|byte| !byte.is_ascii_alphabetic() || hexadecimal);
        let belongs = byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_')
            || (matches!(byte, b'+' | b'-') && signed);
        if !belongs {
            break;
        }
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_may_hold_any_bytes() {
        let tokens = tokens(r#""a\xc5z\u00e9\n" `\n` 'it''"#).unwrap_err();
        assert!(tokens.to_string().contains("unterminated"), "{tokens}");
        let text = |query: &str| match super::tokens(query).unwrap().remove(0).token {
            Token::Text(bytes) => bytes,
            other => panic!("{other}"),
        };
        assert_eq!(text(r#""a\xc5z""#), b"a\xc5z");
        assert_eq!(text(r"`\n`"), br"\n");
    }
}
