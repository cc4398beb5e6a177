//! Series over time, drawn with characters in 80 columns. One series, or several in colour, are lines of Braille dots, eight to
//! a character; several without colour are drawn with a letter each, so that a plot that was piped away can still be read.

use std::io;

use clap::builder::styling::{AnsiColor, Style};

use super::{
    Range,
    answer::{Points, metric},
    time,
};
use crate::output::{BOLD, FAINT, cell, columns, painted};

const WIDTH: usize = 80;

/// Left of the axis: room for `-1.234e+05`.
const LABEL_WIDTH: usize = 10;

const COLUMNS: usize = WIDTH - LABEL_WIDTH - 2;

const ROWS: usize = 16;

/// A character has two dots across and four down.
pub(super) const DOTS_ACROSS: usize = 2 * COLUMNS;
const DOTS_DOWN: usize = 4 * ROWS;

/// More lines nobody tells apart.
const SERIES_MAX: usize = 8;

const COLOURS: [AnsiColor; SERIES_MAX] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Green,
    AnsiColor::Red,
    AnsiColor::Blue,
    AnsiColor::White,
    AnsiColor::BrightBlack,
];

pub(super) fn stdout_has_colour() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// The values of one series that can be drawn.
struct Line {
    name: String,
    points: Vec<(i64, f64)>,
}

impl Line {
    fn of(series: &Points) -> Self {
        let points = series.values.iter().filter_map(|(at, value)| {
            let value: f64 = value.parse().ok()?;
            Some((time::milliseconds(*at)?, value)).filter(|_| value.is_finite())
        });
        Self {
            name: metric(&series.metric),
            points: points.collect(),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|(_, value)| *value)
    }
}

pub(super) fn plot(series: &[Points], range: Range, has_colour: bool) -> String {
    let lines: Vec<Line> = series.iter().map(Line::of).collect();
    let has_histograms = series.iter().any(|series| !series.histograms.is_empty());
    let mut drawn: Vec<&Line> = lines
        .iter()
        .filter(|line| !line.points.is_empty())
        .collect();
    let left_out = drawn.len().saturating_sub(SERIES_MAX);
    drawn.truncate(SERIES_MAX);
    let mut text = match Scale::of(&drawn) {
        None => painted(FAINT, "nothing to draw\n"),
        Some(scale) => {
            let mut canvas = Canvas::new(range, scale);
            for (index, line) in drawn.iter().enumerate() {
                canvas.draw(index, line);
            }
            let is_lettered = drawn.len() > 1 && !has_colour;
            canvas.text(is_lettered) + &legend(&drawn, is_lettered)
        }
    };
    if left_out > 0 {
        let note =
            format!("and {left_out} more series: narrow the selection, or ask for topk(8, …)\n");
        text.push_str(&painted(FAINT, &note));
    }
    if has_histograms {
        let note = "histograms are not drawn: try histogram_quantile(0.99, …), or --json\n";
        text.push_str(&painted(FAINT, note));
    }
    text
}

fn style(index: usize) -> Style {
    COLOURS[index].on_default()
}

fn letter(index: usize) -> char {
    ('a'..='z').nth(index).unwrap_or('?')
}

/// Which values are at the bottom and at the top.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Nothing where there are no values.
    fn of(lines: &[&Line]) -> Option<Self> {
        let mut values = lines.iter().flat_map(|line| line.values());
        let first = values.next()?;
        let (low, high) = values.fold((first, first), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high {
            return Some(Self { low, high });
        }
        // A flat line is drawn half way up.
        let half = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
        Some(Self {
            low: low - half,
            high: high + half,
        })
    }

    /// From 0 at the bottom to 1 at the top. Halves, so that the extremes of floats don't overflow.
    fn height(&self, value: f64) -> f64 {
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    fn at(&self, height: f64) -> f64 {
        self.low * (1.0 - height) + self.high * height
    }
}

/// One character's dots, and the series that was drawn there last.
#[derive(Clone, Copy, Default)]
struct Spot {
    dots: u8,
    series: usize,
}

struct Canvas {
    range: Range,
    scale: Scale,
    spots: Vec<[Spot; COLUMNS]>,
}

/// A dot from the left and from the top.
type Dot = (usize, usize);

impl Canvas {
    fn new(range: Range, scale: Scale) -> Self {
        Self {
            range,
            scale,
            spots: vec![[Spot::default(); COLUMNS]; ROWS],
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are within the canvas"
    )]
    fn dot(&self, at_ms: i64, value: f64) -> Dot {
        let Range { from_ms, to_ms, .. } = self.range;
        let across = (at_ms - from_ms) as f64 / (to_ms - from_ms).max(1) as f64;
        let place =
            |share: f64, dots: usize| (share.clamp(0.0, 1.0) * (dots - 1) as f64).round() as usize;
        let down = 1.0 - self.scale.height(value);
        (place(across, DOTS_ACROSS), place(down, DOTS_DOWN))
    }

    /// Neighbours are joined, a gap of more than a step is one.
    fn draw(&mut self, series: usize, line: &Line) {
        let mut before: Option<(i64, Dot)> = None;
        for (at_ms, value) in &line.points {
            let dot = self.dot(*at_ms, *value);
            let joined = before.filter(|(last_ms, _)| at_ms - last_ms <= self.range.step_ms);
            match joined {
                Some((_, from)) => self.join(series, from, dot),
                None => self.set(series, dot),
            }
            before = Some((*at_ms, dot));
        }
    }

    fn join(&mut self, series: usize, from: Dot, to: Dot) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |from: usize, to: usize, step: usize| {
            (from * (steps - step) + to * step + steps / 2) / steps
        };
        for step in 0..=steps {
            self.set(
                series,
                (between(from.0, to.0, step), between(from.1, to.1, step)),
            );
        }
    }

    fn set(&mut self, series: usize, (across, down): Dot) {
        /// Bits of Braille: columns first, the lowest row was added later.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let spot = &mut self.spots[down / 4][across / 2];
        spot.dots |= BITS[down % 4][across % 2];
        spot.series = series;
    }

    fn text(&self, is_lettered: bool) -> String {
        let mut text = String::new();
        for (row, spots) in self.spots.iter().enumerate() {
            // The scale is said at the top, in the middle and at the bottom.
            let label = match row % ((ROWS - 1) / 3) {
                0 => short(self.scale.at(1.0 - row as f64 / (ROWS - 1) as f64)),
                _ => String::new(),
            };
            let tick = if label.is_empty() { '│' } else { '┤' };
            let drawn: String = spots
                .iter()
                .map(|spot| character(*spot, is_lettered))
                .collect();
            text.push_str(&painted(FAINT, &format!("{label:>LABEL_WIDTH$} {tick}")));
            text.push_str(drawn.trim_end());
            text.push('\n');
        }
        text + &painted(FAINT, &self.times())
    }

    /// The beginning, the middle and the end of the range.
    fn times(&self) -> String {
        let Range { from_ms, to_ms, .. } = self.range;
        let form = match to_ms - from_ms {
            0..=86_400_000 => "%H:%M:%S",
            _ => "%Y-%m-%d %H:%M",
        };
        let [first, middle, last] =
            [from_ms, from_ms.midpoint(to_ms), to_ms].map(|at_ms| time::local(at_ms, form));
        let indent = " ".repeat(LABEL_WIDTH + 1);
        let half = COLUMNS.saturating_sub(middle.len()) / 2;
        let rest = COLUMNS.saturating_sub(half + middle.len());
        format!(
            "{indent}└{}\n{indent}{first:<half$}{middle}{last:>rest$}\n",
            "─".repeat(COLUMNS)
        )
    }
}

fn character(spot: Spot, is_lettered: bool) -> String {
    if spot.dots == 0 {
        return " ".to_owned();
    }
    if is_lettered {
        return letter(spot.series).to_string();
    }
    let braille = char::from_u32(0x2800 + u32::from(spot.dots)).expect("Braille has all patterns");
    painted(style(spot.series), &braille.to_string())
}

/// Each line's mark, its last, smallest and largest value.
fn legend(lines: &[&Line], is_lettered: bool) -> String {
    let heads = ["", "", "last", "min", "max"].map(|head| cell(head).style(FAINT).aligned_right());
    let mut rows = vec![heads.to_vec()];
    for (index, line) in lines.iter().enumerate() {
        let mark = if is_lettered { letter(index) } else { '━' };
        let last = line.values().last().unwrap_or(f64::NAN);
        let (low, high) = line.values().fold((last, last), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let values = [last, low, high].map(|value| cell(short(value)).aligned_right());
        let mut row = vec![
            cell(mark).style(style(index)),
            cell(cut(&line.name)).style(BOLD),
        ];
        row.extend(values);
        rows.push(row);
    }
    columns(&rows)
}

/// Leaves room for the three values beside it.
fn cut(name: &str) -> String {
    const NAME_WIDTH: usize = WIDTH - 3 - 3 * (LABEL_WIDTH + 2);
    match name.char_indices().nth(NAME_WIDTH) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME_WIDTH - 1).chain(['…']).collect(),
    }
}

/// Four digits that matter, in at most [`LABEL_WIDTH`] characters.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(0.001..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        1_000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE: Range = Range {
        from_ms: 0,
        to_ms: 100_000,
        step_ms: 1_000,
    };

    fn series(name: &str, value: impl Fn(f64) -> f64) -> Points {
        let values = (0..=100).map(|second| {
            let at = f64::from(second);
            (at, value(at).to_string())
        });
        Points {
            metric: [("__name__".to_owned(), name.to_owned())].into(),
            values: values.collect(),
            histograms: Vec::new(),
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn one_series_is_a_line_of_dots_with_its_scale() {
        let text = plain(&plot(&[series("up", |at| at)], RANGE, false));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("       100 ┤") && lines[0].ends_with(['⠊', '⠉', '⠁', '⠔']),
            "{text}"
        );
        assert!(
            lines[15].starts_with("         0 ┤⡠") || lines[15].starts_with("         0 ┤⣀"),
            "{text}"
        );
        assert_eq!(lines.last(), Some(&"━  up   100    0  100"), "{text}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn several_series_without_colour_have_a_letter_each() {
        let both = [series("rises", |at| at), series("falls", |at| 100.0 - at)];
        let text = plain(&plot(&both, RANGE, false));
        let first = text.lines().next().unwrap();
        assert!(first.contains('b') && first.ends_with('a'), "{text}");
        assert!(text.contains("a  rises"), "{text}");
        let coloured = plot(&both, RANGE, true);
        assert!(coloured.contains("\u{1b}[36m") && coloured.contains("\u{1b}[33m"));
        assert!(plain(&coloured).contains("━  falls"));
    }

    #[test]
    fn what_is_not_drawn_is_said() {
        let many: Vec<Points> = (0..11)
            .map(|index| series(&format!("s{index}"), |at| at))
            .collect();
        assert!(plot(&many, RANGE, false).contains("and 3 more series"));
        let nothing = series("nothing", |_| f64::NAN);
        assert_eq!(plain(&plot(&[nothing], RANGE, false)), "nothing to draw\n");
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (1.0 / 3.0, "0.3333"),
            (12.5, "12.5"),
            (-123_456.7, "-123457"),
            (1e9, "1.000e9"),
            (f64::MIN_POSITIVE, "2.225e-308"),
        ] {
            assert_eq!(short(value), expected);
        }
    }

    proptest! {
        #[test]
        fn no_values_make_it_panic(values in prop::collection::vec((any::<f64>(), any::<f64>()), 0..20)) {
            let points = Points {
                metric: [].into(),
                values: values.iter().map(|(at, value)| (*at, value.to_string())).collect(),
                histograms: Vec::new(),
            };
            plot(&[points], RANGE, false);
        }
    }
}
