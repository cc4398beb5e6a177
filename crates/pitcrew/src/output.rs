//! Writing for people and for scripts. Colour only on a terminal and never with `NO_COLOR`.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use pitcrew_model::{Health, Verdict};
use serde::Serialize;

use crate::failure::Failure;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const BUSY: Style = AnsiColor::Yellow.on_default();
pub(crate) const NEEDS_YOU: Style = AnsiColor::Magenta.on_default().bold();

pub(crate) fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

pub(crate) fn health_style(health: Health) -> Style {
    match health {
        Health::Healthy => GOOD,
        Health::Failing => BAD,
        Health::Repairing | Health::Probation => BUSY,
        Health::Unknown => FAINT,
    }
}

pub(crate) fn verdict_style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Pass => GOOD,
        Verdict::Warn => BUSY,
        Verdict::Fail => BAD,
        Verdict::Unknown => FAINT,
    }
}

/// Writes text as it is, with a line's end.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    written.map_err(|error| output_failed(&error))
}

pub(crate) fn output_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::OutputClosed
    } else {
        Failure::Refused(format!("failed to write the output: {error}"))
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Bug(format!("failed to write the answer as JSON: {error}")))?;
    print(&text)
}

/// On standard error; if even that is closed there is nobody to tell.
pub(crate) fn error(why: &str) {
    let label = painted(BAD, "error:");
    writeln!(anstream::stderr(), "{label} {why}").ok();
}

pub(crate) fn note(text: &str) {
    writeln!(anstream::stderr(), "{text}").ok();
}

/// Whether what goes to standard error may be coloured.
pub(crate) fn stderr_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// One cell: its text and how it is painted.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    is_right: bool,
}

pub(crate) fn cell(text: impl ToString) -> Cell {
    Cell {
        text: text.to_string(),
        style: Style::new(),
        is_right: false,
    }
}

impl Cell {
    pub(crate) fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }

    pub(crate) fn aligned_right(self) -> Self {
        Self {
            is_right: true,
            ..self
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn padded(&self, width: usize) -> String {
        let spaces = " ".repeat(width.saturating_sub(self.width()));
        let text = painted(self.style, &self.text);
        if self.is_right {
            format!("{spaces}{text}")
        } else {
            format!("{text}{spaces}")
        }
    }
}

/// Columns two spaces apart, without rules; no line ends in spaces.
pub(crate) fn columns(rows: &[Vec<Cell>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(Cell::width)
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let used = row
            .iter()
            .rposition(|cell| !cell.text.is_empty())
            .map_or(0, |last| last + 1);
        let cells: Vec<String> = row[..used]
            .iter()
            .enumerate()
            .map(|(at, cell)| {
                let is_last = at + 1 == used && !cell.is_right;
                cell.padded(if is_last { 0 } else { widths[at] })
            })
            .collect();
        text.push_str(&cells.join("  "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let rows = [
            vec![cell("web"), cell(12).aligned_right(), cell("targets")],
            vec![cell("cache-é"), cell(3).aligned_right(), cell("")],
        ];
        assert_eq!(columns(&rows), "web      12  targets\ncache-é   3\n");
    }
}
