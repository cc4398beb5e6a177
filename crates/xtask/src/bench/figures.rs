//! Figures with their goals as a table, from lines of JSON that a benchmark prints.

use anyhow::Context;
use serde_json::Value;

struct Figure {
    figure: String,
    measured: f64,
    unit: String,
    /// Such as `≤ 2`; empty: none.
    goal: String,
}

fn read(line: &str) -> Option<Figure> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Figure {
        figure: text("figure")?,
        measured: value["measured"].as_f64()?,
        unit: text("unit")?,
        goal: text("goal")?,
    })
}

impl Figure {
    /// What to the goal: met, missed, or nothing where there is none that can be compared.
    fn mark(&self) -> &'static str {
        let met = match self.goal.split_once(' ') {
            Some(("≤", most)) => most.parse().ok().map(|most: f64| self.measured <= most),
            Some(("≥", least)) => least.parse().ok().map(|least: f64| self.measured >= least),
            Some(_) | None => None,
        };
        match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

/// The widest column is the figure's name; numbers stand under each other.
pub(super) fn table(lines: &str) -> anyhow::Result<String> {
    let figures: Vec<Figure> = lines
        .lines()
        .map(|line| read(line).with_context(|| format!("no figure: {line}")))
        .collect::<anyhow::Result<_>>()?;
    let width = figures
        .iter()
        .map(|figure| figure.figure.chars().count())
        .max()
        .unwrap_or(0);
    let mut table = format!(
        "{:width$}  {:>14}  {:12} {:7}\n",
        "", "measured", "goal", ""
    );
    for figure in &figures {
        table.push_str(&format!(
            "{:width$}  {:>14.2}  {:12} {:7}{}\n",
            figure.figure,
            figure.measured,
            figure.goal,
            figure.mark(),
            figure.unit
        ));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_goal() {
        let lines = concat!(
            "{\"figure\": \"cost\", \"measured\": 2.5, \"unit\": \"times\", \"goal\": \"≤ 2\"}\n",
            "{\"figure\": \"rate\", \"measured\": 300000, \"unit\": \"a second\", \"goal\": \"≥ 200000\"}\n",
        );
        let table = table(lines).unwrap();
        let words: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0], ["cost", "2.50", "≤", "2", "MISSED", "times"]);
        assert_eq!(
            words[1],
            ["rate", "300000.00", "≥", "200000", "met", "a", "second"]
        );
    }

    #[test]
    fn what_is_no_figure_is_named() {
        assert!(table("oops").unwrap_err().to_string().contains("oops"));
    }
}
