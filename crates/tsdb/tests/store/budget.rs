//! Selections of many series: they end early where nobody wants more, hold no lock while they are read, and give what
//! was there when they began.

use std::{cell::Cell, ops::ControlFlow};

use pitcrew_promql::{
    eval::{self, EvalError, Time, evaluate},
    labels::{Labels, Matcher},
    parser::parse,
    storage::{Found, Selection, Storage},
};
use pitcrew_tsdb::{Options, Sample, Stopped, Store, Value, key_of};
use tempfile::TempDir;

use crate::world::{NOW_MS, append_samples, scratch};

const SERIES: usize = 1500;

fn store() -> (TempDir, Store) {
    let directory = scratch();
    let store = Store::open(Options::new(directory.path()), NOW_MS).expect("a store");
    (directory, store)
}

fn labels(metric: &str, number: usize) -> Labels {
    Labels::from_pairs([("__name__", metric), ("number", &number.to_string())])
}

/// Gives each of so many series a sample, whose value is the series' number.
fn append(store: &Store, metric: &str, series: usize, timestamp_ms: i64) {
    let keys: Vec<Vec<u8>> = (0..series)
        .map(|number| key_of(&labels(metric, number)))
        .collect();
    let samples = keys.iter().zip(0..).map(|(key, number)| Sample {
        key,
        timestamp_ms,
        start_ms: 0,
        value: Value::Float(f64::from(number)),
    });
    let samples: Vec<Sample<'_>> = samples.collect();
    let accepted = append_samples(store, &samples).expect("samples are taken");
    assert_eq!(accepted.samples, series as u64);
}

/// In the head, in a part, and half in each.
fn stores() -> [(TempDir, Store); 3] {
    [(false, true), (true, false), (true, true)].map(|(in_part, in_head)| {
        let (directory, store) = store();
        if in_part {
            append(&store, "x", SERIES, NOW_MS);
            store.seal(NOW_MS).expect("a seal");
        }
        if in_head {
            append(&store, "x", SERIES, NOW_MS + 1);
        }
        (directory, store)
    })
}

const ALL: Selection<'static> = Selection {
    matchers: &[],
    start_ms: NOW_MS,
    end_ms: NOW_MS + 1_000_000,
};

#[test]
fn a_selection_over_its_budget_ends_before_all_was_found() {
    for (_directory, store) in stores() {
        let held = |most: usize| {
            let (mut held, mut series) = (0, 0);
            let take = &mut |found: Found<'_>| match found {
                Found::Holding(bytes) => {
                    held = bytes;
                    match bytes > most {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                }
                Found::Series(_) => {
                    series += 1;
                    ControlFlow::Continue(())
                }
                Found::Warning(warning) => panic!("{warning}"),
            };
            store.select(&ALL, take).unwrap();
            (held, series)
        };
        let (all, series) = held(usize::MAX);
        assert_eq!(series, SERIES);
        let (stopped_at, series) = held(all / 4);
        assert_eq!(series, 0);
        assert!(
            stopped_at > 0 && stopped_at <= all / 2 + 20_000,
            "{stopped_at} of {all}"
        );
    }
}

#[test]
fn a_query_without_room_for_what_it_finds_fails_with_the_budget_named() {
    for (_directory, store) in stores() {
        let options = eval::Options {
            bytes_max: 20_000,
            ..eval::Options::default()
        };
        let time = Time::Instant(NOW_MS + 1);
        for query in ["sum({number!=\"\"})", "sum(rate({number!=\"\"}[5m]))"] {
            let expr = parse(query).unwrap();
            let error = evaluate(&store, &expr, time, &options).unwrap_err();
            assert!(
                matches!(error, EvalError::TooMuchMemory { budget: 20_000 }),
                "{query}: {error}"
            );
        }
    }
}

#[test]
fn a_cancelled_query_and_an_unwanted_list_end_while_series_are_found() {
    for (_directory, store) in stores() {
        let asked = Cell::new(0);
        let cancelled = || {
            asked.set(asked.get() + 1);
            asked.get() > 8
        };
        let options = eval::Options {
            cancelled: &cancelled,
            ..eval::Options::default()
        };
        let expr = parse("sum({number!=\"\"})").unwrap();
        let error = evaluate(&store, &expr, Time::Instant(NOW_MS + 1), &options).unwrap_err();
        assert!(matches!(error, EvalError::Cancelled), "{error}");

        let matchers = [Matcher::equal("__name__", "x")];
        let selection = Selection {
            matchers: &matchers,
            ..ALL
        };
        // At first while they are found, then while they are read.
        for most in [3, SERIES / 256 + 3] {
            let asked = Cell::new(0);
            let go_on = &mut |_| {
                asked.set(asked.get() + 1);
                match asked.get() > most {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            assert_eq!(store.label_names(&selection, 10, go_on), Err(Stopped));
            asked.set(0);
            assert_eq!(
                store.label_values("number", &selection, 10, go_on),
                Err(Stopped)
            );
            asked.set(0);
            assert_eq!(store.series(&selection, 2 * SERIES, go_on), Err(Stopped));
        }
    }
}

/// Numbers of the series of `x` that were given with their value at `NOW_MS + 1`, and warnings. `meanwhile` is
/// called when the first series is given.
fn read_while(store: &Store, meanwhile: impl FnOnce()) -> (Vec<usize>, Vec<String>) {
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    let mut meanwhile = Some(meanwhile);
    let take = &mut |one: Found<'_>| {
        match one {
            Found::Holding(_) => {}
            Found::Warning(warning) => warnings.push(warning),
            Found::Series(series) => {
                assert_eq!(series.labels.metric_name(), "x");
                let number: usize = series.labels.get("number").parse().expect("a number");
                let values = series.floats.timestamps.iter().zip(&series.floats.values);
                for (time, value) in values {
                    assert_eq!(value.to_bits(), (number as f64).to_bits(), "{number}");
                    found.extend((*time == NOW_MS + 1).then_some(number));
                }
                if let Some(meanwhile) = meanwhile.take() {
                    meanwhile();
                }
            }
        }
        ControlFlow::Continue(())
    };
    let matchers = [Matcher::equal("__name__", "x")];
    let selection = Selection {
        matchers: &matchers,
        ..ALL
    };
    store.select(&selection, take).expect("an answer");
    found.sort_unstable();
    (found, warnings)
}

#[test]
fn what_was_there_when_a_selection_began_is_given_whatever_is_sealed_while_it_is_read() {
    let all: Vec<usize> = (0..SERIES).collect();
    for seals in 0..4 {
        for (_directory, store) in [store(), stores().into_iter().next_back().unwrap()] {
            append(&store, "x", SERIES, NOW_MS + 2);
            append(&store, "x", SERIES / 2, NOW_MS + 3);
            if store.statistics().parts == 0 {
                append(&store, "x", SERIES, NOW_MS + 1);
            }
            let (found, warnings) = read_while(&store, || {
                for seal in 0..seals {
                    append(&store, "x", SERIES, NOW_MS + 10 + seal);
                    store.seal(NOW_MS).unwrap();
                }
                append(&store, "x", SERIES, NOW_MS + 20);
            });
            assert_eq!(warnings, Vec::<String>::new());
            assert_eq!(found, all, "{seals} seals");
        }
    }
}

#[test]
fn a_selection_whose_series_are_forgotten_while_it_is_read_mixes_nothing_up_and_says_so() {
    let (_directory, store) = store();
    append(&store, "x", SERIES, NOW_MS + 1);
    let (found, warnings) = read_while(&store, || {
        let mut forgotten = 0;
        for round in 2..6 {
            append(&store, "other", 1, NOW_MS + round);
            forgotten += store
                .maintain(NOW_MS + round * 400_000)
                .unwrap()
                .forgotten_series;
        }
        assert_eq!(forgotten, SERIES as u64);
        // These get the numbers and columns of those.
        append(&store, "y", SERIES, NOW_MS + 1);
    });
    assert!(found.len() < SERIES);
    assert!(
        warnings.iter().any(|warning| warning.contains("forgotten")),
        "{warnings:?}"
    );
    assert_eq!(read_while(&store, || {}).0.len(), SERIES);
}

/// How often a selection asks whether to go on, and how often a list of its series does.
fn asked(store: &Store, selection: &Selection<'_>) -> [usize; 2] {
    let (mut of_select, mut of_list) = (0, 0);
    let mut take = |found: Found<'_>| {
        of_select += usize::from(matches!(found, Found::Holding(_)));
        ControlFlow::Continue(())
    };
    store.select(selection, &mut take).expect("an answer");
    let mut go_on = |_| {
        of_list += 1;
        ControlFlow::Continue(())
    };
    let listed = store.series(selection, usize::MAX, &mut go_on);
    listed.expect("a list");
    [of_select, of_list]
}

#[test]
fn whoever_reads_is_asked_while_series_without_samples_are_passed_over() {
    let (_directory, store) = store();
    append(&store, "x", SERIES, NOW_MS);
    append(&store, "y", 1, NOW_MS + 10);
    let selection = Selection {
        start_ms: NOW_MS + 5,
        ..ALL
    };
    let times = (SERIES + 1).div_ceil(256);
    assert_eq!(asked(&store, &selection), [2 * times; 2]);
}

#[test]
fn rows_count_against_one_turn_with_the_head_even_where_a_series_has_nothing_in_them() {
    // Each series has moments of its own, so that its siblings have nothing in its rows.
    let (_directory, store) = store();
    let (series, moments) = (256, 64);
    let keys: Vec<Vec<u8>> = (0..series).map(|it| key_of(&labels("x", it))).collect();
    let samples = keys.iter().zip(0..).flat_map(|(key, number)| {
        (0..moments).map(move |moment| Sample {
            key,
            timestamp_ms: NOW_MS + number * moments + moment,
            start_ms: 0,
            value: Value::Float(1.0),
        })
    });
    let samples: Vec<Sample<'_>> = samples.collect();
    append_samples(&store, &samples).expect("samples are taken");
    // 256 series share rows by 64; a list looks at half of a group's rows on average to find one with a sample.
    let rows = 256 * 64 * 64;
    let [of_select, of_list] = asked(&store, &ALL);
    assert_eq!(of_select, 1 + rows / (1 << 18));
    assert_eq!(of_list, 1 + (rows / 2).div_ceil(1 << 18));
}

#[test]
fn a_list_of_all_values_is_asked_whether_to_go_on_with_what_it_holds() {
    for (_directory, store) in stores() {
        let mut held = Vec::new();
        let mut go_on = |bytes| {
            held.push(bytes);
            ControlFlow::Continue(())
        };
        let listed = store.label_values("number", &ALL, usize::MAX, &mut go_on);
        assert_eq!(listed.unwrap().items.len(), SERIES);
        assert!(held.len() > SERIES / 256, "{held:?}");
        assert!(held.iter().any(|bytes| *bytes > 20 * SERIES), "{held:?}");
        for most in 0..held.len() {
            let mut asked = 0;
            let mut go_on = |_| {
                asked += 1;
                match asked > most {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let listed = store.label_values("number", &ALL, usize::MAX, &mut go_on);
            assert_eq!(listed, Err(Stopped));
        }
    }
}
