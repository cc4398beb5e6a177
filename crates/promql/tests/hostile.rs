//! A store may hand out anything: the answer may be nonsense, but it is an answer.

use std::sync::Arc;

use pitcrew_promql::{
    eval::{Options, SampleValue, Time, evaluate},
    histogram::{Bucket, FloatHistogram, ResetHint},
    labels::Labels,
    parser::parse,
    promqltest::MemoryStore,
};
use proptest::{collection::vec, prelude::*, sample::select};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        select(vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE
        ]),
        any::<f64>(),
    ]
}

fn buckets() -> impl Strategy<Value = Vec<Bucket>> {
    let index = prop_oneof![-4i32..4, select(vec![i32::MIN, i32::MAX])];
    vec((index, number()), 0..4).prop_map(|mut pairs| {
        pairs.sort_by_key(|(index, _)| *index);
        pairs.dedup_by_key(|(index, _)| *index);
        let pairs = pairs.into_iter();
        pairs
            .map(|(index, count)| Bucket { index, count })
            .collect()
    })
}

fn histogram() -> impl Strategy<Value = FloatHistogram> {
    let schema = select(vec![-53, -4, 0, 1, 8, 40, i32::MIN, i32::MAX]);
    let hint = select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    (
        schema,
        (number(), number(), number(), number()),
        buckets(),
        buckets(),
        vec(number(), 0..3),
        hint,
    )
        .prop_map(
            |(
                schema,
                (zero_threshold, zero_count, count, sum),
                positive,
                negative,
                bounds,
                reset_hint,
            )| {
                FloatHistogram {
                    schema,
                    zero_threshold,
                    zero_count,
                    count,
                    sum,
                    positive,
                    negative,
                    custom_bounds: bounds.into(),
                    reset_hint,
                }
            },
        )
}

const QUERIES: &[&str] = &[
    "x",
    "rate(x[2m])",
    "increase(x[2m] anchored)",
    "increase(x[2m] smoothed)",
    "delta(x[2m])",
    "irate(x[2m])",
    "x smoothed",
    "resets(x[3m])",
    "changes(x[3m])",
    "sum(x)",
    "avg(x)",
    "stddev(x)",
    "quantile(0.5, x)",
    "topk(1, x)",
    "count_values(\"v\", x)",
    "x + x",
    "x - x offset 1m",
    "x == x",
    "x * 3",
    "x / 0",
    "x </ 0.5",
    "x >/ -1",
    "histogram_quantile(0.3, x)",
    "histogram_quantile(0.9, x)",
    "histogram_fraction(-1, 1, x)",
    "histogram_stddev(x)",
    "sum_over_time(x[3m])",
    "avg_over_time(x[3m])",
    "quantile_over_time(0.5, x[3m])",
    "mad_over_time(x[3m])",
    "deriv(x[3m])",
    "predict_linear(x[3m], 60)",
    "stdvar_over_time(x[3m])",
    "year(x)",
    "round(x, 0)",
    "histogram_count(sum(x))",
    "rate(x[3m:30s])",
    "info(x)",
    "-x",
    "sort(x)",
    "atan(x)",
    "double_exponential_smoothing(x[3m], 0.5, 0.5)",
    "day_of_year(x)",
    "day_of_month(x)",
];

proptest! {
    #[test]
    fn whatever_the_samples_are_every_function_has_an_answer(
        samples in vec((number(), prop::option::weighted(0.5, histogram()), any::<bool>(), 0i64..9), 1..12),
    ) {
        let mut store = MemoryStore::default();
        for (index, (float, histogram, second, start)) in (0i64..).zip(samples) {
            let name = if second { "x" } else { "target_info" };
            let labels = Labels::from_pairs([("__name__", "x"), ("le", name)]);
            let value = match histogram {
                Some(histogram) => SampleValue::Histogram(Arc::new(histogram)),
                None => SampleValue::Float(float),
            };
            store.add(&labels, index * 20_000, value, start * 20_000);
        }
        store.commit();
        let options = Options { start_timestamps: true, ..Options::default() };
        for query in QUERIES {
            let expr = parse(query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
            for time in [
                Time::Instant(100_000),
                Time::Range { start_ms: 0, end_ms: 240_000, step_ms: 30_000 },
            ] {
                if let Ok(answer) = evaluate(&store, &expr, time, &options) {
                    // The same again, to the last bit and word.
                    let again = evaluate(&store, &expr, time, &options);
                    let again = again.map(|answer| format!("{answer:?}")).unwrap_or_default();
                    prop_assert_eq!(format!("{answer:?}"), again);
                }
            }
        }
    }
}
