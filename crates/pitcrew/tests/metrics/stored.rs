//! What a server has stored.

use std::time::{SystemTime, UNIX_EPOCH};

use pitcrew_promql::{
    eval::{Answer, Options, SampleValue, Time, Value, evaluate},
    parser::parse,
};
use pitcrew_tsdb::Store;

use crate::production::Production;

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The store of a server that has ended.
pub(crate) struct Stored(Store);

impl Stored {
    pub(crate) fn of(production: &Production) -> Self {
        let options = pitcrew_tsdb::Options::new(production.data().join("metrics"));
        Self(Store::open(options, now_ms()).unwrap())
    }

    pub(crate) fn answer(&self, query: &str, at_ms: i64) -> Answer {
        let query = parse(query).unwrap();
        evaluate(&self.0, &query, Time::Instant(at_ms), &Options::default()).unwrap()
    }

    /// Each series with its samples, from a query such as `up[10m]`.
    pub(crate) fn points(&self, query: &str, at_ms: i64) -> Vec<(String, Vec<(i64, f64)>)> {
        let Value::Matrix(all) = self.answer(query, at_ms).value else {
            panic!("`{query}` gives no series over time");
        };
        let float = |(time, value)| match value {
            SampleValue::Float(value) => (time, value),
            SampleValue::Histogram(_) => panic!("a histogram"),
        };
        let series = all.into_iter().map(|series| {
            let points = series.points.into_iter().map(float);
            (series.labels.to_string(), points.collect())
        });
        series.collect()
    }

    /// Each series with its value now.
    pub(crate) fn values(&self, query: &str) -> Vec<(String, f64)> {
        let Value::Vector(all) = self.answer(query, now_ms()).value else {
            panic!("`{query}` gives no vector");
        };
        let float = |sample: pitcrew_promql::eval::Sample| match sample.value {
            SampleValue::Float(value) => (sample.labels.to_string(), value),
            SampleValue::Histogram(_) => panic!("a histogram"),
        };
        all.into_iter().map(float).collect()
    }

    /// The one value of a query.
    pub(crate) fn value(&self, query: &str) -> f64 {
        let values = self.values(query);
        assert_eq!(values.len(), 1, "`{query}`: {values:?}");
        values[0].1
    }
}
