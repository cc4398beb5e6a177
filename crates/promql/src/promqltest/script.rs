//! Scripts as a list of commands.

use regex::Regex;

use super::{
    ScriptError,
    values::{self, Spec},
};
use crate::{
    eval::Time,
    labels::Labels,
    parser::{duration_ms, parse_number, parse_series_labels},
};

/// One command with its line.
#[derive(Debug)]
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

#[derive(Debug)]
pub(super) struct Load {
    pub(super) step_ms: i64,
    pub(super) with_custom_buckets: bool,
    pub(super) series: Vec<LoadedSeries>,
}

#[derive(Debug)]
pub(super) struct LoadedSeries {
    pub(super) labels: Labels,
    pub(super) values: Vec<Spec>,
    /// Where counters began, from each sample's time.
    pub(super) starts: Vec<Option<i64>>,
}

#[derive(Debug)]
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) time: Time,
    pub(super) expected: Expected,
}

/// What must come out.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) ordered: bool,
    pub(super) fail: Vec<Wording>,
    pub(super) warn: Vec<Wording>,
    pub(super) info: Vec<Wording>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
    pub(super) text: Option<String>,
    /// The times of a range vector's samples.
    pub(super) window: Option<Time>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<Spec>)>,
}

/// What a message must be.
#[derive(Debug)]
pub(super) enum Wording {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Wording {
    pub(super) fn fits(&self, message: &str) -> bool {
        match self {
            Wording::Any => true,
            Wording::Exactly(expected) => expected == message,
            Wording::Matching(pattern) => pattern.is_match(message),
        }
    }
}

/// Reads a script.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        if lines[first].is_empty() {
            continue;
        }
        while at < lines.len() && !lines[at].is_empty() && !starts_command(lines[at]) {
            at += 1;
        }
        let block = Block {
            first,
            lines: &lines[first..at],
        };
        commands.push(block.command()?);
    }
    Ok(commands)
}

fn starts_command(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    matches!(word, "clear" | "load" | "load_with_nhcb")
        || word == "eval"
        || word.starts_with("eval_")
}

/// The lines of one command.
struct Block<'a> {
    first: usize,
    lines: &'a [&'a str],
}

impl Block<'_> {
    fn error(&self, line: usize, problem: impl Into<String>) -> ScriptError {
        ScriptError {
            line: self.first + line + 1,
            problem: problem.into(),
        }
    }

    fn command(&self) -> Result<Command, ScriptError> {
        let (word, rest) = split_word(self.lines[0]);
        match word {
            "clear" => Ok(Command::Clear),
            "load" | "load_with_nhcb" => self.load(rest, word == "load_with_nhcb"),
            _ if word.starts_with("eval") => self.eval(word, rest),
            _ => Err(self.error(0, format!("unknown command {word:?}"))),
        }
    }

    fn load(&self, step: &str, with_custom_buckets: bool) -> Result<Command, ScriptError> {
        let step_ms = time_ms(step).ok_or_else(|| self.error(0, format!("bad step {step:?}")))?;
        let mut series: Vec<LoadedSeries> = Vec::new();
        let mut starts: Vec<(Labels, Vec<Option<i64>>)> = Vec::new();
        for (index, line) in self.lines.iter().enumerate().skip(1) {
            let (name, rest) = split_series(line);
            let bad = |problem| self.error(index, problem);
            if let Some(name) = name.strip_suffix("@st") {
                let labels = self.labels(index, name)?;
                starts.push((labels, values::parse_starts(rest).map_err(bad)?));
                continue;
            }
            series.push(LoadedSeries {
                labels: self.labels(index, name)?,
                values: values::parse(rest).map_err(bad)?,
                starts: Vec::new(),
            });
        }
        for series in &mut series {
            let found = starts.iter().find(|(labels, _)| *labels == series.labels);
            if let Some((_, starts)) = found {
                series.starts.clone_from(starts);
            }
        }
        Ok(Command::Load(Load {
            step_ms,
            with_custom_buckets,
            series,
        }))
    }

    fn labels(&self, line: usize, text: &str) -> Result<Labels, ScriptError> {
        parse_series_labels(text).map_err(|error| self.error(line, error.to_string()))
    }

    fn eval(&self, word: &str, rest: &str) -> Result<Command, ScriptError> {
        let (kind, rest) = split_word(rest);
        let bad = || {
            self.error(
                0,
                "expected: eval instant at TIME QUERY, or eval range from TIME to TIME step TIME QUERY",
            )
        };
        let (time, query) = match kind {
            "instant" => {
                let (at, query) = timed(rest, "at").ok_or_else(bad)?;
                (Time::Instant(at), query)
            }
            "range" => {
                let (start_ms, rest) = timed(rest, "from").ok_or_else(bad)?;
                let (end_ms, rest) = timed(rest, "to").ok_or_else(bad)?;
                let (step_ms, query) = timed(rest, "step").ok_or_else(bad)?;
                let time = Time::Range {
                    start_ms,
                    end_ms,
                    step_ms,
                };
                (time, query)
            }
            _ => return Err(bad()),
        };
        let mut expected = Expected::default();
        match word {
            "eval" => {}
            "eval_fail" => expected.fail.push(Wording::Any),
            "eval_warn" => expected.warn.push(Wording::Any),
            "eval_info" => expected.info.push(Wording::Any),
            "eval_ordered" => expected.ordered = true,
            other => return Err(self.error(0, format!("unknown command {other:?}"))),
        }
        for (index, line) in self.lines.iter().enumerate().skip(1) {
            self.expectation(index, line, &mut expected)?;
        }
        Ok(Command::Eval(Box::new(Eval {
            line: self.first + 1,
            query: query.to_owned(),
            time,
            expected,
        })))
    }

    fn expectation(
        &self,
        index: usize,
        line: &str,
        expected: &mut Expected,
    ) -> Result<(), ScriptError> {
        let (word, rest) = split_word(line);
        match word {
            "expect" => return self.expect(index, rest, expected),
            "expected_fail_message" => expected.fail = vec![Wording::Exactly(rest.to_owned())],
            "expected_fail_regexp" => expected.fail = vec![self.pattern(index, rest)?],
            _ => match parse_number(line) {
                Some(value) => expected.scalar = Some(value),
                None => {
                    let (name, rest) = split_series(line);
                    let values =
                        values::parse(rest).map_err(|problem| self.error(index, problem))?;
                    expected.series.push((self.labels(index, name)?, values));
                }
            },
        }
        Ok(())
    }

    fn expect(&self, index: usize, rest: &str, expected: &mut Expected) -> Result<(), ScriptError> {
        let (kind, rest) = split_word(rest);
        match kind {
            "ordered" => expected.ordered = true,
            "no_warn" => expected.no_warn = true,
            "no_info" => expected.no_info = true,
            "fail" => expected.fail.push(self.wording(index, rest)?),
            "warn" => expected.warn.push(self.wording(index, rest)?),
            "info" => expected.info.push(self.wording(index, rest)?),
            "string" => {
                let text = rest
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .or_else(|| {
                        rest.strip_prefix('`')
                            .and_then(|rest| rest.strip_suffix('`'))
                    });
                let text = text.ok_or_else(|| self.error(index, "expected a quoted string"))?;
                expected.text = Some(text.to_owned());
            }
            "range" => {
                let window = rest.strip_prefix("vector").and_then(|rest| {
                    let (start_ms, rest) = timed(rest.trim(), "from")?;
                    let (end_ms, rest) = timed(rest, "to")?;
                    let (step_ms, _) = timed(rest, "step")?;
                    Some(Time::Range {
                        start_ms,
                        end_ms,
                        step_ms,
                    })
                });
                let problem = "expected: expect range vector from TIME to TIME step TIME";
                expected.window = Some(window.ok_or_else(|| self.error(index, problem))?);
            }
            other => return Err(self.error(index, format!("unknown expectation {other:?}"))),
        }
        Ok(())
    }

    fn wording(&self, index: usize, rest: &str) -> Result<Wording, ScriptError> {
        if rest.is_empty() {
            return Ok(Wording::Any);
        }
        match rest.split_once(':') {
            Some(("msg", message)) => Ok(Wording::Exactly(message.trim().to_owned())),
            Some(("regex", pattern)) => self.pattern(index, pattern.trim()),
            _ => Err(self.error(index, "expected msg: or regex:")),
        }
    }

    fn pattern(&self, index: usize, pattern: &str) -> Result<Wording, ScriptError> {
        let regex = Regex::new(pattern).map_err(|error| self.error(index, error.to_string()))?;
        Ok(Wording::Matching(regex))
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// `KEYWORD TIME rest`
fn timed<'a>(text: &'a str, keyword: &str) -> Option<(i64, &'a str)> {
    let (word, rest) = split_word(text);
    let (time, rest) = split_word(rest);
    (word == keyword).then_some(())?;
    Some((time_ms(time)?, rest))
}

/// Further from the epoch no test has business: 30 thousand years.
const TIME_MAX_MS: i64 = 1_000_000_000_000_000;

/// A duration, or a number of seconds.
fn time_ms(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let milliseconds = match duration_ms(text) {
        Some(duration) => duration.ok()?,
        None => crate::number::truncated(parse_number(text)? * 1000.0),
    };
    (milliseconds.abs() <= TIME_MAX_MS).then_some(sign * milliseconds)
}

/// A series' name with its labels, and its values.
fn split_series(line: &str) -> (&str, &str) {
    let mut quote = None;
    let mut braces = 0;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open && !line[..at].ends_with('\\') => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => braces += 1,
            (None, '}') => braces -= 1,
            (None, _) if c.is_whitespace() && braces == 0 => {
                // A blank may stand between the name and the braces.
                let rest = line[at..].trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") || line[..at].contains('{') {
                    return (&line[..at], rest);
                }
            }
            _ => {}
        }
    }
    (line, "")
}
