//! An aggregation over windows takes its series one after the other; the answer must be that of all at once.

use pitcrew_promql::{
    eval::{Options, SampleValue, Time, evaluate},
    labels::Labels,
    parser::parse,
    promqltest::MemoryStore,
};

fn answer(store: &MemoryStore, query: &str) -> String {
    let time = Time::Range {
        start_ms: 300_000,
        end_ms: 900_000,
        step_ms: 60_000,
    };
    let query = parse(query).expect("it is a query");
    let answer = evaluate(store, &query, time, &Options::default()).expect("it has an answer");
    format!("{:?}", answer.value)
}

#[test]
fn a_thousand_series_are_aggregated_as_if_all_were_there_at_once() {
    let mut store = MemoryStore::default();
    for number in 0..1_000_i64 {
        let (zone, path) = (format!("z{}", number % 7), format!("/{number}"));
        let labels = Labels::from_pairs([("__name__", "x"), ("zone", &zone), ("path", &path)]);
        for minute in number % 5..16 {
            let value = SampleValue::Float((minute * (number % 11)) as f64 / 7.0);
            store.add(&labels, minute * 60_000, value, 0);
        }
    }
    store.commit();
    for op in ["sum", "avg", "count", "min", "max"] {
        for by in ["", "by (zone)", "without (path)"] {
            let as_it_comes = answer(&store, &format!("{op} {by} (increase(x[4m]))"));
            // Another row of operators stands between: all rows are there before they are aggregated.
            let at_once = answer(&store, &format!("{op} {by} (increase(x[4m]) * 1)"));
            assert_eq!(as_it_comes, at_once, "{op} {by}");
            assert!(as_it_comes.len() > 100, "{as_it_comes}");
        }
    }
}
