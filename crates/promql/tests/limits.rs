//! A query ends where its budget ends, or when nobody wants to know any more; and nothing is too deep.

use std::{cell::Cell, ops::ControlFlow, sync::Arc};

use pitcrew_promql::{
    annotations::Severity,
    eval::{EvalError, Options, SampleValue, Time, Value, evaluate},
    labels::Labels,
    parser::{DEPTH_MAX, parse},
    promqltest::MemoryStore,
    storage::{FloatColumn, Found, Selection, Series, Storage, StorageError},
};

const RANGE: Time = Time::Range {
    start_ms: 0,
    end_ms: 600_000,
    step_ms: 1000,
};

fn store(series: usize) -> MemoryStore {
    let mut store = MemoryStore::default();
    for index in 0..series {
        let labels = Labels::from_pairs([("__name__", "x"), ("i", &index.to_string())]);
        for minute in 0..10 {
            let value = SampleValue::Float(f64::from(minute));
            store.add(&labels, i64::from(minute) * 60_000, value, 0);
        }
    }
    store.commit();
    store
}

fn ask(query: &str, time: Time, options: &Options<'_>) -> Result<Value, EvalError> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    evaluate(&store(10), &expr, time, options).map(|answer| answer.value)
}

#[test]
fn a_query_beyond_its_budget_of_samples_fails_with_the_budget_named() {
    let options = Options {
        samples_max: 1000,
        ..Options::default()
    };
    for query in [
        "x",
        "rate(x[5m])",
        "sum by (i) (x)",
        "max_over_time(x[10m:1s])",
        "x + x",
        "time()[1h:1s]",
    ] {
        let Ok(expr) = parse(query) else {
            continue;
        };
        let error = evaluate(&store(10), &expr, RANGE, &options).unwrap_err();
        assert!(
            error.to_string().contains("more than 1000 samples"),
            "{query}: {error}"
        );
    }
    ask("x", Time::Instant(0), &options).unwrap();
    // What is only added up is not held.
    for query in ["sum(x)", "sum(rate(x[5m]))"] {
        ask(query, RANGE, &options).unwrap();
    }
}

/// A store without end, and one that has something to say.
struct Endless(Cell<usize>);

impl Storage for Endless {
    fn select(
        &self,
        _: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if take(Found::Warning("a part is missing".to_owned())).is_break() {
            return Ok(());
        }
        loop {
            let given = self.0.get() + 1;
            self.0.set(given);
            let labels = Labels::from_pairs([("i", given.to_string())]);
            let floats = FloatColumn {
                timestamps: Arc::from([0]),
                values: vec![1.0],
                starts: Vec::new(),
            };
            let mut series = Series {
                labels,
                floats,
                ..Series::default()
            };
            if take(Found::Series(&mut series)).is_break() {
                return Ok(());
            }
        }
    }
}

#[test]
fn a_query_over_its_budget_reads_no_further() {
    let options = Options {
        samples_max: 1000,
        ..Options::default()
    };
    let store = Endless(Cell::new(0));
    let expr = parse("x").unwrap();
    let error = evaluate(&store, &expr, Time::Instant(0), &options).unwrap_err();
    assert!(matches!(error, EvalError::TooManySamples { budget: 1000 }));
    assert_eq!(store.0.get(), 1001);
}

#[test]
fn what_a_store_warns_of_is_in_the_answer() {
    struct Warning;
    impl Storage for Warning {
        fn select(
            &self,
            _: &Selection<'_>,
            take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
        ) -> Result<(), StorageError> {
            assert!(take(Found::Warning("a part is missing".to_owned())).is_continue());
            Ok(())
        }
    }
    let query = "sum(x)";
    let expr = parse(query).unwrap();
    let answer = evaluate(&Warning, &expr, Time::Instant(0), &Options::default()).unwrap();
    assert_eq!(
        answer.annotations.texts(Severity::Warning, query),
        ["a part is missing (1:5)"]
    );
}

#[test]
fn what_is_let_go_of_counts_no_longer() {
    let options = Options {
        samples_max: 20_000,
        ..Options::default()
    };
    // Each selector needs 6,110 samples; their sum holds one row of 601 at a time.
    ask(
        "sum(x) + sum(x) + sum(x) + sum(x) + sum(x)",
        RANGE,
        &options,
    )
    .unwrap();
}

#[test]
fn too_many_steps_are_refused_before_anything_is_read() {
    let options = Options {
        steps_max: 100,
        ..Options::default()
    };
    let error = ask("x", RANGE, &options).unwrap_err();
    assert!(matches!(
        error,
        EvalError::TooManySteps {
            steps: 601,
            most: 100
        }
    ));
    let error = ask("max_over_time(x[1h:1s])", Time::Instant(0), &options).unwrap_err();
    assert!(matches!(error, EvalError::TooManySteps { .. }));
}

#[test]
fn a_cancelled_query_ends() {
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 5
    };
    let options = Options {
        cancelled: &cancelled,
        ..Options::default()
    };
    let error = ask("sum(rate(x[5m]))", RANGE, &options).unwrap_err();
    assert!(matches!(error, EvalError::Cancelled));
}

#[test]
fn the_deepest_query_that_parses_is_answered() {
    for (open, close) in [
        ("(", ")"),
        ("-", ""),
        ("abs(", ")"),
        ("sum(", ")"),
        ("", " + 1"),
        ("", " or x"),
    ] {
        let mut depth = DEPTH_MAX;
        let query = loop {
            let query = format!("{}x{}", open.repeat(depth), close.repeat(depth));
            if parse(&query).is_ok() {
                break query;
            }
            depth -= 1;
        };
        assert!(depth > DEPTH_MAX / 3, "{open}x{close}: {depth}");
        let expr = parse(&query).unwrap();
        assert_eq!(
            parse(&expr.to_string()).unwrap().to_string(),
            expr.to_string()
        );
        ask(&query, RANGE, &Options::default()).unwrap();
    }
}

#[test]
fn times_at_the_ends_of_the_calendar_overflow_nothing() {
    for at in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for query in [
            "x",
            "x offset 100y",
            "x offset -100y",
            "rate(x[100y])",
            "max_over_time(x[100y:1y])",
            "x smoothed",
            "increase(x[5m] anchored)",
            "year()",
            "timestamp(x)",
            "x @ 9e12",
            "predict_linear(x[5m], 1e300)",
            "time() - 1",
            "info(x)",
        ] {
            ask(query, Time::Instant(at), &Options::default()).ok();
        }
    }
}

#[test]
fn a_bad_step_is_refused() {
    let time = Time::Range {
        start_ms: 0,
        end_ms: 10,
        step_ms: 0,
    };
    assert!(matches!(
        ask("x", time, &Options::default()),
        Err(EvalError::BadArgument(_))
    ));
}
