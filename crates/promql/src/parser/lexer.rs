//! The lexer: a query as tokens.
//!
//! Words stay words here: `by`, `offset` or `sum` are keywords in one place and names of metrics in another,
//! and only the parser knows the place. It must never panic, whatever it is given.

use super::{
    ParseError,
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

/// A number as Go reads it: decimal, octal with a leading zero, hexadecimal, with `_` between digits.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let bytes = text.as_bytes();
    let lonely = |index: usize| {
        let digit = |index: Option<usize>| {
            index
                .and_then(|index| bytes.get(index))
                .is_some_and(u8::is_ascii_hexdigit)
        };
        let after_prefix = index == 2 && (text.starts_with("0x") || text.starts_with("0X"));
        !(digit(index.checked_sub(1)) || after_prefix) || !digit(Some(index + 1))
    };
    if (0..bytes.len()).any(|index| bytes[index] == b'_' && lonely(index)) {
        return None;
    }
    let text = text.replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(digits) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        return hexadecimal(digits).map(|value| sign * value);
    }
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(digits, 8)
    {
        return Some(sign * octal as f64);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || digits.bytes().all(|byte| byte == b'.')
    {
        return None;
    }
    digits.parse().ok().map(|value: f64| sign * value)
}

/// Hexadecimal digits with an optional fraction and binary exponent.
fn hexadecimal(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = match lower.split_once('p') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None if lower.contains('.') => return None,
        None => (lower.as_str(), 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let places = i32::try_from(part.len()).ok()?;
    Some(value * 2f64.powi(exponent.saturating_sub(4 * places)))
}

/// A duration such as `1h30m`, in milliseconds; nothing where the text is no duration at all.
pub(crate) fn duration_ms(text: &str) -> Option<Result<i64, String>> {
    const UNITS: &[(&str, i64)] = &[
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let position = UNITS.iter().position(|(name, _)| *name == unit)?;
        if number.is_empty() {
            return None;
        }
        if position < next_unit {
            return Some(Err(format!(
                "bad duration {text:?}: units go from years to milliseconds, each once"
            )));
        }
        next_unit = position + 1;
        let amount = number.parse::<i64>().ok();
        let sum = amount
            .and_then(|amount| amount.checked_mul(UNITS[position].1))
            .and_then(|amount| total.checked_add(amount));
        match sum {
            // Prometheus counts in nanoseconds.
            Some(sum) if sum <= i64::MAX / 1_000_000 => total = sum,
            _ => return Some(Err(format!("duration {text:?} is out of range"))),
        }
        rest = after;
    }
    (!text.is_empty()).then_some(Ok(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0X_1FFFP-16", 0.124_984_741_210_937_5),
            ("010", 8.0),
            ("089", 89.0),
            ("2.", 2.0),
            (".5", 0.5),
            ("12.34e+6", 12_340_000.0),
            ("1e-3", 0.001),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        for text in ["1__0", "_1", "1_", "0x", "1e", "12abc", "."] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_their_units_in_order() {
        assert_eq!(duration_ms("1h30m"), Some(Ok(5_400_000)));
        assert_eq!(duration_ms("1m1ms"), Some(Ok(60_001)));
        assert!(matches!(duration_ms("5m1h"), Some(Err(_))));
        assert!(matches!(duration_ms("5m5m"), Some(Err(_))));
        assert_eq!(duration_ms("5"), None);
        assert_eq!(duration_ms("5x"), None);
    }

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
