//! Plots over time as inline SVG, without a script: values are steps, scales begin at nothing, and a limit is a line.
//!
//! The drawing is stretched to the page's width and holds no text; words beside it stay as large as all others, so
//! that a telephone shows them too. Only whole numbers are written: the same report gives the same bytes.

use super::{
    figures::{grouped, span},
    html::escaped,
};

/// Steps drawn at most; more are joined.
const STEPS_MAX: usize = 400;
/// Height of the drawing in its own units.
const HEIGHT: u128 = 1_000;
/// Width of one step in its own units.
const STEP: usize = 10;

/// How values that share a place are joined, and how they are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A level that goes up and down: the highest counts.
    Level,
    /// So many within each step: the sum counts.
    Count,
}

pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    /// Of the style sheet: its colour.
    pub(crate) class: &'a str,
    pub(crate) values: &'a [u64],
}

pub(crate) struct Plot<'a> {
    pub(crate) title: String,
    pub(crate) shape: Shape,
    /// The first is drawn behind the others.
    pub(crate) series: Vec<Series<'a>>,
    pub(crate) limit: Option<u64>,
    pub(crate) step_seconds: u64,
    /// Whether values are told when pointed at.
    pub(crate) tells: bool,
}

impl Plot<'_> {
    pub(crate) fn figure(&self) -> String {
        let thinned = self.thinned();
        let steps = thinned.values.iter().map(Vec::len).max().unwrap_or(0);
        let highest = thinned.values.iter().flatten().copied().max();
        let scale = Scale::up_to(highest.unwrap_or(0).max(self.limit.unwrap_or(0)));
        let mut drawing = grid(&scale, steps);
        for (series, values) in self.series.iter().zip(&thinned.values) {
            drawing.push_str(&match self.shape {
                Shape::Level => level(series.class, values, &scale),
                Shape::Count => bars(series.class, values, &scale),
            });
        }
        if let Some(limit) = self.limit {
            let y = scale.y(limit);
            let width = steps * STEP;
            drawing.push_str(&format!("<path class=\"limit\" d=\"M0 {y}H{width}\"/>"));
        }
        if self.tells {
            drawing.push_str(&self.told(&thinned));
        }
        let title = escaped(&self.title);
        format!(
            "<figure>\n<figcaption>{title}{}</figcaption>\n<div class=\"plot\">{}\
             <svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}\">{drawing}</svg>\
             {}</div>\n</figure>\n",
            self.legend(),
            scale.labels(),
            (steps * STEP).max(1),
            times(thinned.step_seconds, steps),
        )
    }

    fn legend(&self) -> String {
        let mut names = String::new();
        for series in &self.series {
            let Series { name, class, .. } = series;
            if !name.is_empty() {
                let name = escaped(name);
                names.push_str(&format!(" <span class=\"key {class}\">{name}</span>"));
            }
        }
        if let Some(limit) = self.limit {
            let limit = grouped(limit);
            names.push_str(&format!(" <span class=\"key limit\">limit {limit}</span>"));
        }
        names
    }

    fn thinned(&self) -> Thinned {
        let steps = self.series.iter().map(|series| series.values.len()).max();
        let joined = steps.unwrap_or(0).div_ceil(STEPS_MAX).max(1);
        let join = |values: &[u64]| match self.shape {
            Shape::Level => values.iter().copied().max().unwrap_or(0),
            Shape::Count => values.iter().sum(),
        };
        let values = self
            .series
            .iter()
            .map(|series| series.values.chunks(joined).map(join).collect());
        Thinned {
            step_seconds: self.step_seconds * u64::try_from(joined).unwrap_or(u64::MAX),
            values: values.collect(),
        }
    }

    /// Invisible areas that say their values, one for each stretch in which nothing changes.
    fn told(&self, thinned: &Thinned) -> String {
        let steps = thinned.values.iter().map(Vec::len).max().unwrap_or(0);
        let at = |step: usize| -> Vec<u64> {
            let values = thinned.values.iter();
            values
                .map(|values| values.get(step).copied().unwrap_or(0))
                .collect()
        };
        let mut text = String::new();
        let mut from = 0;
        for step in 1..=steps {
            if step < steps && at(step) == at(from) {
                continue;
            }
            let names = self.series.iter().map(|series| series.name);
            let said: Vec<String> = names
                .zip(at(from))
                .map(|(name, value)| format!("{name} {}", grouped(value)))
                .collect();
            let seconds = |step: usize| thinned.step_seconds * u64::try_from(step).unwrap_or(0);
            text.push_str(&format!(
                "<rect class=\"tell\" x=\"{}\" width=\"{}\" height=\"{HEIGHT}\"><title>{} to {}: {}</title></rect>",
                from * STEP,
                (step - from) * STEP,
                span(seconds(from)),
                span(seconds(step)),
                escaped(said.join(", ").trim()),
            ));
            from = step;
        }
        text
    }
}

struct Thinned {
    step_seconds: u64,
    values: Vec<Vec<u64>>,
}

/// What a part of a scale may be, in tenths.
const ROUND: [u64; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];

/// From nothing to a round number, in equal parts.
struct Scale {
    part: u64,
    parts: u64,
}

impl Scale {
    fn up_to(highest: u64) -> Self {
        if highest <= 2 {
            let parts = highest.max(1);
            return Self { part: 1, parts };
        }
        let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
        let mut parts = powers
            .flat_map(|power| {
                ROUND
                    .iter()
                    .filter_map(move |round| round.checked_mul(power))
            })
            .filter(|tenths| tenths % 10 == 0)
            .map(|tenths| tenths / 10);
        let part = parts.find(|part| part.saturating_mul(4) >= highest);
        Self {
            part: part.unwrap_or_else(|| highest.div_ceil(4)),
            parts: 4,
        }
    }

    fn y(&self, value: u64) -> u128 {
        let top = u128::from(self.part) * u128::from(self.parts);
        HEIGHT - (u128::from(value) * HEIGHT / top.max(1)).min(HEIGHT)
    }

    /// From the top down.
    fn labels(&self) -> String {
        let labels = (0..=self.parts)
            .rev()
            .map(|part| format!("<span>{}</span>", grouped(self.part.saturating_mul(part))));
        format!("<div class=\"y\">{}</div>", labels.collect::<String>())
    }
}

fn grid(scale: &Scale, steps: usize) -> String {
    let width = steps * STEP;
    let lines = (0..=scale.parts)
        .map(|part| format!("M0 {}H{width}", scale.y(scale.part.saturating_mul(part))));
    format!("<path class=\"grid\" d=\"{}\"/>", lines.collect::<String>())
}

/// A stepped line with its area.
fn level(class: &str, values: &[u64], scale: &Scale) -> String {
    let Some(first) = values.first() else {
        return String::new();
    };
    let mut line = format!("M0 {}", scale.y(*first));
    for (step, pair) in values.windows(2).enumerate() {
        if pair[0] != pair[1] {
            line.push_str(&format!("H{}V{}", (step + 1) * STEP, scale.y(pair[1])));
        }
    }
    let width = values.len() * STEP;
    line.push_str(&format!("H{width}"));
    format!(
        "<path class=\"area {class}\" d=\"{line}V{HEIGHT}H0Z\"/><path class=\"line {class}\" d=\"{line}\"/>"
    )
}

fn bars(class: &str, values: &[u64], scale: &Scale) -> String {
    let mut path = String::new();
    for (step, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let (x, y) = (step * STEP + 1, scale.y(*value));
        path.push_str(&format!("M{x} {HEIGHT}V{y}h{}V{HEIGHT}z", STEP - 2));
    }
    format!("<path class=\"bar {class}\" d=\"{path}\"/>")
}

/// The time's scale in equal parts, whole in their unit.
fn times(step_seconds: u64, steps: usize) -> String {
    let total = step_seconds.saturating_mul(u64::try_from(steps).unwrap_or(u64::MAX));
    let unit = match total {
        0..21_600 => 60,
        21_600..259_200 => 3_600,
        _ => 86_400,
    };
    let parts = [6, 4, 5, 3, 2];
    let parts = parts
        .into_iter()
        .find(|parts| total.is_multiple_of(parts * unit));
    let parts = parts.unwrap_or(1);
    let labels = (0..=parts).map(|part| {
        let said = match part {
            0 => "0".to_owned(),
            part => span(total / parts * part),
        };
        format!("<span style=\"left:calc(100% * {part} / {parts})\">{said}</span>")
    });
    format!("<div class=\"x\">{}</div>", labels.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot<'a>(shape: Shape, values: &'a [u64]) -> Plot<'a> {
        Plot {
            title: "a < b".to_owned(),
            shape,
            series: vec![Series {
                name: "with",
                class: "with",
                values,
            }],
            limit: None,
            step_seconds: 300,
            tells: true,
        }
    }

    #[test]
    fn a_scale_ends_at_a_round_number_above_the_highest_value() {
        for (highest, top) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (5, 8),
            (9, 12),
            (13, 16),
            (21, 24),
            (41, 48),
            (90, 100),
            (121, 160),
        ] {
            let scale = Scale::up_to(highest);
            assert_eq!(scale.part * scale.parts, top, "{highest}");
        }
        assert!(Scale::up_to(u64::MAX).y(u64::MAX) < HEIGHT);
    }

    #[test]
    fn time_is_divided_into_whole_units() {
        for (seconds, labels) in [
            (86_400, "0|4 h|8 h|12 h|16 h|20 h|24 h"),
            (3_600, "0|10 min|20 min|30 min|40 min|50 min|1 h"),
            (364 * 86_400, "0|91 d|182 d|273 d|364 d"),
            (7 * 86_400, "0|7 d"),
        ] {
            let text = times(seconds, 1);
            let said = text
                .split("\">")
                .skip(2)
                .filter_map(|part| part.split('<').next());
            assert_eq!(said.collect::<Vec<_>>().join("|"), labels, "{text}");
        }
    }

    #[test]
    fn many_steps_are_joined_by_their_highest_or_their_sum() {
        let values = vec![1; 1_000];
        for (shape, joined) in [(Shape::Level, 1), (Shape::Count, 3)] {
            let plot = plot(shape, &values);
            let thinned = plot.thinned();
            assert_eq!(thinned.step_seconds, 900);
            assert_eq!(thinned.values[0][..333], vec![joined; 333]);
        }
    }

    #[test]
    fn a_figure_says_its_values_and_escapes_its_title() {
        let figure = plot(Shape::Level, &[0, 0, 3]).figure();
        assert!(figure.contains("<figcaption>a &lt; b"), "{figure}");
        assert!(
            figure.contains("<title>0 s to 10 min: with 0</title>"),
            "{figure}"
        );
        assert!(
            figure.contains("<title>10 min to 15 min: with 3</title>"),
            "{figure}"
        );
        assert!(figure.contains("d=\"M0 1000H20V250H30\""), "{figure}");
    }

    #[test]
    fn nothing_at_all_is_a_figure_too() {
        assert!(plot(Shape::Count, &[]).figure().contains("<svg"));
        assert!(plot(Shape::Level, &[]).figure().contains("<svg"));
    }
}
