//! Problems as people read them: the message, the place, the line with the place marked.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

use crate::problem::Problem;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Severity {
    Error,
    Warning,
}

pub(crate) fn each(problems: &[Problem], severity: Severity, colour: bool) -> String {
    let mut theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    theme.characters.error = "error:".into();
    theme.characters.warning = "warning:".into();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_wrap_lines(false)
        .with_width(120);
    let mut text = String::new();
    for problem in problems {
        let mut report = String::new();
        handler
            .render_report(&mut report, &Report { problem, severity })
            .expect("writing to a string doesn't fail");
        text.push_str(report.trim_start_matches(' '));
        text.push('\n');
    }
    text
}

#[derive(Debug)]
struct Report<'p> {
    problem: &'p Problem,
    severity: Severity,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::underline(
            self.marked(),
        ))))
    }
}

impl Report<'_> {
    /// The place within the excerpt, in bytes.
    fn marked(&self) -> SourceSpan {
        let excerpt = &self.problem.excerpt;
        let from = self.problem.column - 1 - excerpt.skipped;
        let bytes = |chars: usize| {
            let indices = excerpt.text.char_indices().nth(chars);
            indices.map_or(excerpt.text.len(), |(at, _)| at)
        };
        let (start, end) = (bytes(from), bytes(from + self.problem.length));
        (start, end - start).into()
    }
}

/// Its only source is its excerpt, one line, whatever context is asked for.
impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        _context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // The report's header shows the column of what was asked for without context.
        let exact = context_lines_before == 0;
        let column = if exact { self.problem.column - 1 } else { 0 };
        let text = self.problem.excerpt.text.as_bytes();
        let (data, span) = if exact {
            let end = (span.offset() + span.len()).min(text.len());
            (&text[span.offset().min(end)..end], *span)
        } else {
            (text, (0, text.len()).into())
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.problem.file.clone(),
            data,
            span,
            self.problem.line - 1,
            column,
            1,
        )))
    }
}
