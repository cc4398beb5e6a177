//! `query`: PromQL on the command line. An instant is a table, a range a plot; errors point into the expression.

mod answer;
mod plot;
mod table;
mod time;

use std::time::Duration;

use serde_json::Value;

use crate::{
    arguments::{General, QueryOptions},
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{note, print, print_json},
};
use answer::{Answered as Told, Data};
pub(crate) use time::{When, now_ms};

pub(crate) fn query(options: &QueryOptions, general: &General) -> Answered {
    let now_ms = now_ms();
    let mut query = vec![("query", options.expression.clone())];
    let range = options
        .from
        .map(|from| Range::of(from, options, now_ms))
        .transpose()?;
    let path = match range {
        None => {
            query.push(("time", options.at.unwrap_or(When::Now).seconds(now_ms)));
            "query"
        }
        Some(range) => {
            query.push(("start", time::seconds(range.from_ms)));
            query.push(("end", time::seconds(range.to_ms)));
            query.push(("step", time::seconds(range.step_ms)));
            "query_range"
        }
    };
    let answered: Result<Value, Failure> = Client::new(general)?.get_long(&[path], &query);
    let answered = answered.map_err(|failure| pointing(failure, &options.expression))?;
    if general.json {
        print_json(&answered)?;
        return Ok(Answer::Yes);
    }
    let told: Told = serde_json::from_value(answered)
        .map_err(|error| Failure::Refused(format!("the answer is not understood: {error}")))?;
    for warning in told.warnings.iter().chain(&told.infos) {
        note(&format!("note: {warning}"));
    }
    match (told.data, range) {
        (Data::Matrix(series), Some(range)) => {
            print(&plot::plot(&series, range, plot::stdout_has_colour()))?
        }
        (data, _) => print(&table::table(&data))?,
    }
    Ok(Answer::Yes)
}

/// What is plotted, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
}

impl Range {
    fn of(from: When, options: &QueryOptions, now_ms: i64) -> Result<Self, Failure> {
        let from_ms = from.milliseconds(now_ms);
        let to_ms = options.to.unwrap_or(When::Now).milliseconds(now_ms);
        if to_ms <= from_ms {
            return Err(Failure::usage("--to must be later than --from"));
        }
        let step_ms = match options.step {
            Some(step) => i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1),
            None => fitting_step(to_ms - from_ms),
        };
        Ok(Self {
            from_ms,
            to_ms,
            step_ms,
        })
    }
}

/// Whole seconds, one value for each dot across the plot.
fn fitting_step(length_ms: i64) -> i64 {
    let dots = i64::try_from(plot::DOTS_ACROSS).unwrap_or(1);
    let second = i64::try_from(Duration::from_secs(1).as_millis()).unwrap_or(1_000);
    (length_ms / dots).div_euclid(second).max(0) * second + second
}

/// Shows where in the expression an error is, when the server says so.
fn pointing(failure: Failure, expression: &str) -> Failure {
    let Failure::Usage(message) = &failure else {
        return failure;
    };
    let Some((place, problem)) = message.split_once(": parse error: ") else {
        return failure;
    };
    let place = place.rsplit_once(' ').map_or(place, |(_, place)| place);
    let place = place
        .split_once(':')
        .and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let Some((line, column)): Option<(usize, usize)> = place else {
        return failure;
    };
    let shown = expression
        .lines()
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let before = " ".repeat(column.saturating_sub(1).min(shown.len()));
    Failure::Usage(format!("{problem}\n  {shown}\n  {before}^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_into_the_expression() {
        let failure = Failure::Usage(
            r#"invalid parameter "query": 2:5: parse error: unexpected ")""#.to_owned(),
        );
        assert_eq!(
            pointing(failure, "sum(\nrate)"),
            Failure::Usage("unexpected \")\"\n  rate)\n      ^".to_owned())
        );
        let other = Failure::Usage("invalid parameter \"time\"".to_owned());
        assert_eq!(pointing(other.clone(), "up"), other);
    }

    #[test]
    fn a_step_is_whole_seconds_and_fills_the_plot() {
        for (length_ms, expected) in [
            (1, 1_000),
            (60_000, 1_000),
            (3_600_000, 27_000),
            (86_400_000, 636_000),
        ] {
            assert_eq!(fitting_step(length_ms), expected, "{length_ms}");
        }
    }
}
