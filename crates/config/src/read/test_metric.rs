//! The `metric` test: an expression that is right for every target before any is asked.

use std::time::Duration;

use pitcrew_model::{MetricTest, Threshold, Unquotable};
use pitcrew_promql::parser::{Expr, ExprKind, ValueType, parse};

use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, Syntax, optional, required},
    values,
};

const NUMBER: Kind = Kind::Syntax(&Syntax {
    expected: "a number such as `0.05`",
    pattern: Some("^[-+]?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?$"),
    may_be_number: true,
});

pub(crate) const METRIC: Shape = Shape::new(
    "metric test",
    "A PromQL expression over the server's own metrics; no data is unknown. Without thresholds it is a comparison that must hold.",
    &[
        required(
            "expr",
            Kind::Text,
            "The expression; in its strings `{target}`, `{address}`, `{host}`, `{port}` and each label's `{name}` are replaced, and match nothing but themselves.",
        ),
        optional(
            "over",
            values::DURATION,
            "The mean over this time counts instead of the value now.",
        ),
        optional("warn_above", NUMBER, "It warns above this."),
        optional("fail_above", NUMBER, "It fails above this."),
        optional("warn_below", NUMBER, "It warns below this."),
        optional("fail_below", NUMBER, "It fails below this."),
    ],
);

/// Further back the mean is of other times.
const OVER_MAX: Duration = Duration::from_secs(7 * 86_400);

pub(crate) fn metric(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<MetricTest> {
    let test = MetricTest {
        expr: fields.value(reader, "expr", values::not_empty)?,
        over: fields.value(reader, "over", over),
        warn_above: fields.value(reader, "warn_above", threshold),
        fail_above: fields.value(reader, "fail_above", threshold),
        warn_below: fields.value(reader, "warn_below", threshold),
        fail_below: fields.value(reader, "fail_below", threshold),
    };
    let at = fields.place_of("expr");
    if let Err(complaint) = check(&test) {
        reader.error(at, format!("`expr`: {complaint}"));
    }
    let is_later =
        |warn: Option<Threshold>, fail: Option<Threshold>, is: fn(&f64, &f64) -> bool| {
            warn.zip(fail)
                .is_some_and(|(warn, fail)| is(&warn.0, &fail.0))
        };
    if is_later(test.warn_above, test.fail_above, f64::gt) {
        reader.error(
            fields.place_of("warn_above"),
            "it would fail before it warns",
        );
    }
    if is_later(test.warn_below, test.fail_below, f64::lt) {
        reader.error(
            fields.place_of("warn_below"),
            "it would fail before it warns",
        );
    }
    Some(test)
}

fn over(text: &str) -> Result<Duration, String> {
    match values::some_duration(text)? {
        over if over > OVER_MAX => Err("it must be 7d or shorter".to_owned()),
        over => Ok(over),
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .map(Threshold)
        .ok_or_else(|| format!("`{text}` is not a number"))
}

fn check(test: &MetricTest) -> Result<(), String> {
    let filled = test.fill(|name| Ok::<_, Unquotable>(name.to_owned()));
    let filled = filled.map_err(|error| error.to_string())?;
    let expr = parse(&filled).map_err(|error| error.to_string())?;
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => {}
        other => return Err(format!("it gives a {other}, not a value for each series")),
    }
    if test.is_condition() && !is_comparison(&expr) {
        return Err(
            "write a threshold, such as `fail_above: 0.05`, or an expression that says what must hold, such as `up == 1`"
                .to_owned(),
        );
    }
    Ok(())
}

fn is_comparison(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Paren(inner) => is_comparison(inner),
        ExprKind::Binary(binary) => binary.op.is_comparison(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The one matcher of label `a` after a value was filled into an expression.
    fn matches(expr: &str, value: &str, candidate: &str) -> bool {
        let test = MetricTest {
            expr: expr.to_owned(),
            over: None,
            warn_above: None,
            fail_above: None,
            warn_below: None,
            fail_below: None,
        };
        let filled = test
            .fill(|_| Ok::<_, Unquotable>(value.to_owned()))
            .unwrap();
        let parsed = parse(&filled).unwrap();
        let ExprKind::Selector(selector) = parsed.kind else {
            panic!("`{filled}` is no selector any more");
        };
        let [name, matcher] = &selector.matchers[..] else {
            panic!("`{filled}` has other matchers");
        };
        assert_eq!(name.name(), "__name__");
        matcher.matches(candidate)
    }

    proptest! {
        #[test]
        fn a_value_stays_in_its_string_and_matches_itself_alone(value in any::<String>()) {
            let other = format!("{value}x");
            for expr in ["up{a=\"{t}\"}", "up{a='{t}'}", "up{a=~\"{t}\"}", "up{a=~'{t}'}"] {
                prop_assert!(matches(expr, &value, &value), "{}", expr);
                prop_assert!(!matches(expr, &value, &other), "{}", expr);
            }
        }
    }
}
