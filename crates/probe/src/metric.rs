//! A test of a value that is measured: asked of the server's own metrics, for the target.
//!
//! No data is unknown, and so is a query that can't be answered: neither says anything about the target.

use std::{pin::Pin, time::Duration};

use pitcrew_model::{MetricTest, Unquotable, Verdict};

use crate::{Answer, Question, local::nagios};

/// An instant query of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricQuery {
    pub expr: String,
    /// The mean over this time instead of the value.
    pub over: Option<Duration>,
    /// Its outermost comparison says 0 or 1.
    pub is_condition: bool,
    pub timeout: Duration,
}

/// What a query gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Labels and value of each series.
    pub series: Vec<(String, f64)>,
    /// What may be missing from it.
    pub warnings: Vec<String>,
}

pub type Measuring<'a> = Pin<Box<dyn Future<Output = Result<Measured, String>> + Send + 'a>>;

/// Where the `metric` test looks: the server's store, which this crate must not depend on. The error is for a
/// person: a query that is wrong or over its budget, a store that is not there.
pub trait MetricQueries: Send + Sync {
    fn measure(&self, query: MetricQuery) -> Measuring<'_>;
}

pub(crate) async fn ask(question: &Question<'_>, test: &MetricTest) -> Answer {
    let Some(metrics) = &question.tools.metrics else {
        return Answer::unknown("there are no metrics here: the server itself asks them");
    };
    let filled = test.fill(|name| nagios::value(question, name).map_err(Refusal));
    let expr = match filled {
        Ok(expr) => expr,
        Err(Refusal(answer)) => return answer,
    };
    question.progress.waits_elsewhere("the query is running");
    let query = MetricQuery {
        expr,
        over: test.over,
        is_condition: test.is_condition(),
        timeout: question.test.timeout,
    };
    match metrics.measure(query).await {
        Ok(measured) => judge(test, &measured),
        Err(why) => Answer::unknown(why),
    }
}

/// Why an expression can't be made for a target.
struct Refusal(Answer);

impl From<Unquotable> for Refusal {
    fn from(unquotable: Unquotable) -> Self {
        Self(Answer::unknown(unquotable.to_string()))
    }
}

/// The worst series decides.
fn judge(test: &MetricTest, measured: &Measured) -> Answer {
    let judged = measured.series.iter().map(|(labels, value)| {
        let (verdict, words) = judge_value(test, *value);
        (verdict, words, labels)
    });
    let worst = judged.max_by_key(|(verdict, ..)| badness(*verdict));
    let Some((verdict, words, labels)) = worst else {
        return noted(Answer::unknown("no data"), measured);
    };
    let of = match measured.series.len() {
        1 => String::new(),
        count => format!(", the worst of {count}"),
    };
    let labels = if labels == "{}" { "" } else { labels };
    let text = format!("{words} {labels}{of}");
    noted(Answer::new(verdict, text), measured)
}

fn noted(answer: Answer, measured: &Measured) -> Answer {
    match measured.warnings.first() {
        Some(warning) => Answer::new(answer.verdict, format!("{} ({warning})", answer.evidence)),
        None => answer,
    }
}

/// What is not known is worse than what is fine, and no proof of a failure.
fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Unknown => 1,
        Verdict::Warn => 2,
        Verdict::Fail => 3,
    }
}

fn judge_value(test: &MetricTest, value: f64) -> (Verdict, String) {
    if value.is_nan() {
        return (Verdict::Unknown, "not a number".to_owned());
    }
    if test.is_condition() {
        return match value >= 1.0 {
            true => (Verdict::Pass, "it holds".to_owned()),
            false => (Verdict::Fail, "it does not hold".to_owned()),
        };
    }
    for (verdict, above, below) in [
        (Verdict::Fail, test.fail_above, test.fail_below),
        (Verdict::Warn, test.warn_above, test.warn_below),
    ] {
        if let Some(above) = above.filter(|above| value > above.0) {
            return (verdict, format!("{value} is above {}", above.0));
        }
        if let Some(below) = below.filter(|below| value < below.0) {
            return (verdict, format!("{value} is below {}", below.0));
        }
    }
    (Verdict::Pass, value.to_string())
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Threshold;

    use super::*;

    fn verdict(test: &MetricTest, values: &[f64]) -> (Verdict, String) {
        let series = values.iter().enumerate();
        let measured = Measured {
            series: series
                .map(|(number, value)| (format!("{{n=\"{number}\"}}"), *value))
                .collect(),
            warnings: Vec::new(),
        };
        let answer = judge(test, &measured);
        (answer.verdict, answer.evidence.to_string())
    }

    fn bounds(warn_above: f64, fail_above: f64) -> MetricTest {
        MetricTest {
            expr: "x".to_owned(),
            over: None,
            warn_above: Some(Threshold(warn_above)),
            fail_above: Some(Threshold(fail_above)),
            warn_below: None,
            fail_below: Some(Threshold(-1.0)),
        }
    }

    #[test]
    fn the_worst_series_decides_and_no_data_is_unknown() {
        let test = bounds(1.0, 2.0);
        for (values, expected) in [
            (&[0.5, 1.0][..], Verdict::Pass),
            (&[0.5, 1.5], Verdict::Warn),
            (&[3.0, 1.5], Verdict::Fail),
            (&[0.0, -2.0], Verdict::Fail),
            (&[], Verdict::Unknown),
            (&[f64::NAN, 0.5], Verdict::Unknown),
            (&[f64::NAN, 2.5], Verdict::Fail),
        ] {
            assert_eq!(verdict(&test, values).0, expected, "{values:?}");
        }
        let (_, words) = verdict(&test, &[3.0, 1.5]);
        assert_eq!(words, "3 is above 2 {n=\"0\"}, the worst of 2");
    }

    #[test]
    fn a_condition_must_hold_for_every_series_all_the_time() {
        let condition = MetricTest {
            warn_above: None,
            fail_above: None,
            fail_below: None,
            ..bounds(0.0, 0.0)
        };
        assert_eq!(verdict(&condition, &[1.0, 1.0]).0, Verdict::Pass);
        // The mean over a time in which it did not hold once.
        assert_eq!(verdict(&condition, &[1.0, 0.95]).0, Verdict::Fail);
        assert_eq!(verdict(&condition, &[]).0, Verdict::Unknown);
    }
}
