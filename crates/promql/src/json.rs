//! Answers as the HTTP API of Prometheus spells them: the `data` of a query's response.
//!
//! Written directly, since an answer may have millions of points and each number is a string of its own spelling.

use std::fmt::Write as _;

use crate::{
    eval::{SampleValue, Value},
    histogram::FloatHistogram,
    labels::Labels,
    number,
};

/// `{"resultType":…,"result":…}`.
pub fn data(value: &Value) -> String {
    let mut out = String::new();
    out.push_str("{\"resultType\":");
    match value {
        Value::Scalar { time_ms, value } => {
            out.push_str("\"scalar\",\"result\":");
            float(*time_ms, *value, &mut out);
        }
        Value::Text { time_ms, value } => {
            out.push_str("\"string\",\"result\":[");
            time(*time_ms, &mut out);
            out.push(',');
            text(value, &mut out);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str("\"vector\",\"result\":");
            list('[', ']', samples, &mut out, |sample, out| {
                metric(&sample.labels, out);
                match &sample.value {
                    SampleValue::Float(value) => {
                        out.push_str(",\"value\":");
                        float(sample.time_ms, *value, out);
                    }
                    SampleValue::Histogram(value) => {
                        out.push_str(",\"histogram\":");
                        histogram(sample.time_ms, value, out);
                    }
                }
                out.push('}');
            });
        }
        Value::Matrix(series) => {
            out.push_str("\"matrix\",\"result\":");
            list('[', ']', series, &mut out, |series, out| {
                metric(&series.labels, out);
                let floats = series.points.iter();
                let floats = floats.filter_map(|(time_ms, value)| match value {
                    SampleValue::Float(value) => Some((*time_ms, *value)),
                    SampleValue::Histogram(_) => None,
                });
                optional_list("values", floats, out, |(time_ms, value), out| {
                    float(time_ms, value, out);
                });
                let histograms = series.points.iter();
                let histograms = histograms.filter_map(|(time_ms, value)| match value {
                    SampleValue::Float(_) => None,
                    SampleValue::Histogram(value) => Some((*time_ms, value)),
                });
                optional_list("histograms", histograms, out, |(time_ms, value), out| {
                    histogram(time_ms, value, out);
                });
                out.push('}');
            });
        }
    }
    out.push('}');
    out
}

/// `{"name":"value",…}`.
pub fn labels(labels: &Labels, out: &mut String) {
    list('{', '}', labels.iter(), out, |label, out| {
        text(&label.name, out);
        out.push(':');
        text(&label.value, out);
    });
}

/// A string with its quotes.
pub fn text(value: &str, out: &mut String) {
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number as text, without quotes.
pub fn number(value: f64) -> String {
    number::api(value)
}

/// Seconds since the epoch, with three digits behind the point where any is needed.
pub fn time(time_ms: i64, out: &mut String) {
    let (seconds, millis) = (
        time_ms.unsigned_abs() / 1_000,
        time_ms.unsigned_abs() % 1_000,
    );
    if time_ms < 0 {
        out.push('-');
    }
    write!(out, "{seconds}").expect("a string takes everything");
    if millis > 0 {
        write!(out, ".{millis:03}").expect("a string takes everything");
    }
}

fn list<T>(
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    mut each: impl FnMut(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(close);
}

/// Nothing at all where there are no items.
fn optional_list<T>(
    name: &str,
    items: impl Iterator<Item = T>,
    out: &mut String,
    each: impl FnMut(T, &mut String),
) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        write!(out, ",\"{name}\":").expect("a string takes everything");
        list('[', ']', items, out, each);
    }
}

fn metric(of: &Labels, out: &mut String) {
    out.push_str("{\"metric\":");
    labels(of, out);
}

fn float(time_ms: i64, value: f64, out: &mut String) {
    out.push('[');
    time(time_ms, out);
    out.push_str(",\"");
    out.push_str(&number::api(value));
    out.push_str("\"]");
}

/// Each bucket with 0 where its upper bound belongs to it, 1 where its lower one does, 2 where none does, 3 where both do.
fn histogram(time_ms: i64, value: &FloatHistogram, out: &mut String) {
    out.push('[');
    time(time_ms, out);
    let (count, sum) = (number::api(value.count), number::api(value.sum));
    write!(out, ",{{\"count\":\"{count}\",\"sum\":\"{sum}\"").expect("a string takes everything");
    let ranges = value.ranges().filter(|range| range.count != 0.0);
    optional_list("buckets", ranges, out, |range, out| {
        let bounds = match (range.lower_inclusive, range.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        let [lower, upper, count] = [range.lower, range.upper, range.count].map(number::api);
        write!(out, "[{bounds},\"{lower}\",\"{upper}\",\"{count}\"]")
            .expect("a string takes everything");
    });
    out.push_str("}]");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        eval::{Points, Sample},
        histogram::Bucket,
    };

    fn up() -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", "a\"b\n")])
    }

    fn of_three() -> Arc<FloatHistogram> {
        Arc::new(FloatHistogram {
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 3.0,
            sum: -2.5,
            positive: vec![Bucket {
                index: 1,
                count: 2.0,
            }],
            ..FloatHistogram::default()
        })
    }

    #[test]
    fn scalars_and_strings_are_pairs() {
        let scalar = Value::Scalar {
            time_ms: 1_435_781_451_781,
            value: 1e21,
        };
        assert_eq!(
            data(&scalar),
            r#"{"resultType":"scalar","result":[1435781451.781,"1e+21"]}"#
        );
        let text = Value::Text {
            time_ms: -1_050,
            value: "\u{1}é".to_owned(),
        };
        assert_eq!(
            data(&text),
            r#"{"resultType":"string","result":[-1.050,"\u0001é"]}"#
        );
    }

    #[test]
    fn vectors_have_a_value_or_a_histogram() {
        let sample = |value| Sample {
            labels: up(),
            time_ms: 2_000,
            value,
        };
        let vector = Value::Vector(vec![
            sample(SampleValue::Float(f64::NEG_INFINITY)),
            sample(SampleValue::Histogram(of_three())),
        ]);
        let metric = r#""metric":{"__name__":"up","job":"a\"b\n"}"#;
        assert_eq!(
            data(&vector),
            format!(
                r#"{{"resultType":"vector","result":[{{{metric},"value":[2,"-Inf"]}},{{{metric},"histogram":[2,{{"count":"3","sum":"-2.5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","2"]]}}]}}]}}"#
            )
        );
    }

    #[test]
    fn matrices_have_lists_of_what_there_is() {
        let points = |points| Points {
            labels: Labels::default(),
            points,
        };
        let floats = points(vec![
            (0, SampleValue::Float(0.000_000_5)),
            (1_500, SampleValue::Float(2.0)),
        ]);
        let empty = Arc::new(FloatHistogram::default());
        let histograms = points(vec![(0, SampleValue::Histogram(empty))]);
        assert_eq!(
            data(&Value::Matrix(vec![floats, histograms])),
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"5e-07"],[1.500,"2"]]},{"metric":{},"histograms":[[0,{"count":"0","sum":"0"}]]}]}"#
        );
    }
}
