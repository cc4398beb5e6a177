//! Properties of the parser: it never panics, and what it prints it parses to the same.

use pitcrew_promql::{
    eval::{Options, Time, evaluate},
    labels::{MatchOp, Matcher},
    parser::{
        Aggregate, AggregateOp, At, Binary, BinaryOp, Duration, DurationKind, Expr, ExprKind,
        Extension, Grouping, Matching, Selector, Span, Subquery, TimeModifiers, parse,
    },
    promqltest::{self, MemoryStore},
};
use proptest::{collection::vec, option, prelude::*};

fn expr(kind: ExprKind) -> Expr {
    let span = Span::default();
    Expr { span, kind }
}

fn paren(inner: Expr) -> Expr {
    expr(ExprKind::Paren(Box::new(inner)))
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,6}".prop_filter("no keyword", |name| {
        !["inf", "nan", "bool", "on", "ignoring", "atan2", "offset"].contains(&name.as_str())
            && parse(name).is_ok()
    })
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Matches),
        Just(MatchOp::NotMatches),
    ];
    let label = prop_oneof![name(), "[a-z][ .é]{1,3}"]
        .prop_filter("a label", |name| name != "__name__" && !name.is_empty());
    (label, op, "[a-z|\"\\\\\n]{1,4}").prop_filter_map("a pattern", |(label, op, value)| {
        Matcher::new(label, op, value).ok()
    })
}

fn duration() -> impl Strategy<Value = Duration> {
    let of = |kind| Duration {
        span: Span::default(),
        kind,
    };
    let leaf = prop_oneof![
        (1u32..100_000).prop_map(|ms| DurationKind::Number(f64::from(ms) / 1000.0)),
        Just(DurationKind::Step),
        Just(DurationKind::Range),
    ]
    .prop_map(of);
    leaf.prop_recursive(3, 12, 2, move |inner| {
        let within = inner.prop_map(move |inner| of(DurationKind::Paren(Box::new(inner))));
        prop_oneof![
            (within.clone(), within.clone()).prop_map(move |(left, right)| {
                of(DurationKind::Binary(
                    BinaryOp::Add,
                    Box::new(left),
                    Box::new(right),
                ))
            }),
            (within.clone(), within.clone()).prop_map(move |(left, right)| {
                of(DurationKind::Least(Box::new(left), Box::new(right)))
            }),
            within.prop_map(move |inner| of(DurationKind::Negative(Box::new(inner)))),
        ]
    })
    .prop_map(move |inner| match inner.kind {
        // After `offset` an operator would belong to the expression.
        DurationKind::Binary(..) => of(DurationKind::Paren(Box::new(inner))),
        _ => inner,
    })
}

fn time() -> impl Strategy<Value = TimeModifiers> {
    let at = prop_oneof![
        (-1_000_000i64..1_000_000).prop_map(At::Time),
        Just(At::Start),
        Just(At::End),
    ];
    (option::of(duration()), option::of(at)).prop_map(|(offset, at)| TimeModifiers { offset, at })
}

fn selector() -> impl Strategy<Value = Box<Selector>> {
    (
        name(),
        vec(matcher(), 0..3),
        time(),
        option::of(Just(Extension::Smoothed)),
    )
        .prop_map(|(name, more, time, extension)| {
            let mut matchers = vec![Matcher::equal("__name__", name.clone())];
            matchers.extend(more);
            Box::new(Selector {
                name: Some(name),
                matchers,
                time,
                extension,
            })
        })
}

fn matching() -> impl Strategy<Value = Matching> {
    (
        any::<bool>(),
        vec(name(), 0..3),
        option::of(-5i8..5),
        option::of(-5i8..5),
    )
        .prop_map(|(on, labels, left, right)| Matching {
            on,
            labels,
            group: None,
            fill_left: left.map(f64::from),
            fill_right: right.map(f64::from),
        })
}

/// Expressions that yield an instant vector.
fn vector() -> impl Strategy<Value = Expr> {
    let leaf = selector().prop_map(|selector| expr(ExprKind::Selector(selector)));
    leaf.prop_recursive(5, 40, 3, |inner| {
        let range = (inner.clone(), duration(), option::of(duration()), time()).prop_map(
            |(inner, range, step, time)| {
                expr(ExprKind::Subquery(Box::new(Subquery {
                    expr: paren(inner),
                    range,
                    step,
                    time,
                })))
            },
        );
        let call = range.prop_map(|range| match parse("rate(a[1m])").expect("a query").kind {
            ExprKind::Call { function, .. } => expr(ExprKind::Call {
                function,
                args: vec![range],
            }),
            other => unreachable!("{other:?}"),
        });
        let aggregate = (inner.clone(), vec(name(), 1..3), any::<bool>()).prop_map(
            |(inner, labels, without)| {
                expr(ExprKind::Aggregate(Box::new(Aggregate {
                    op: AggregateOp::Sum,
                    expr: inner,
                    param: None,
                    grouping: Grouping { without, labels },
                })))
            },
        );
        let binary = (
            inner.clone(),
            inner.clone(),
            matching(),
            0..BinaryOp::ALL.len(),
        )
            .prop_map(|(left, right, mut matching, op)| {
                let op = BinaryOp::ALL[op];
                if op.is_set() {
                    matching.fill_left = None;
                    matching.fill_right = None;
                }
                expr(ExprKind::Binary(Box::new(Binary {
                    op,
                    left: paren(left),
                    right: paren(right),
                    returns_bool: op.is_comparison(),
                    matching,
                })))
            });
        let negative = inner.prop_map(|inner| {
            expr(ExprKind::Unary {
                negative: true,
                expr: Box::new(paren(inner)),
            })
        });
        prop_oneof![call, aggregate, binary, negative]
    })
}

/// Places don't survive printing.
fn without_spans(expr: &Expr) -> String {
    let text = format!("{expr:?}");
    let mut parts = text.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    let after_span = |part: &str| {
        part.split_once('}')
            .map_or(String::new(), |(_, rest)| rest.to_owned())
    };
    parts.map(after_span).fold(first, |text, part| text + &part)
}

proptest! {
    #[test]
    fn any_text_is_a_query_or_an_error(text in ".{0,60}") {
        parse(&text).ok();
    }

    #[test]
    fn any_words_are_a_query_or_an_error(words in vec(prop_oneof![
        Just("foo"), Just("sum"), Just("by"), Just("("), Just(")"), Just("["), Just("]"), Just("{"),
        Just("}"), Just("5m"), Just("0x1p-2"), Just("offset"), Just("@"), Just("start()"), Just("-"),
        Just("+"), Just("^"), Just(":"), Just(","), Just("\"a\""), Just("="), Just("=~"), Just("on"),
        Just("group_left"), Just("fill"), Just("bool"), Just("and"), Just("smoothed"), Just("rate"),
        Just("step()"), Just("min_of"), Just("1e9"), Just(">/"),
    ], 0..25)) {
        if let Ok(expr) = parse(&words.join(" ")) {
            // Whatever parses can be asked, and printed, and parsed again.
            let store = MemoryStore::default();
            evaluate(&store, &expr, Time::Instant(0), &Options::default()).ok();
            prop_assert!(parse(&expr.to_string()).is_ok(), "{}", expr);
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same(expr in vector()) {
        let text = expr.to_string();
        let parsed = match parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => return Err(TestCaseError::fail(format!("{text}: {error}"))),
        };
        prop_assert_eq!(without_spans(&parsed), without_spans(&expr), "{}", text);
    }

    #[test]
    fn any_script_runs_or_is_an_error(lines in vec(prop_oneof![
        Just("load 1m".to_owned()), Just("clear".to_owned()), Just(String::new()),
        Just("  a{b=\"c\"} 1+1x5".to_owned()), Just("eval instant at 1m a".to_owned()),
        ".{0,20}", "  a [0-9x+_-]{1,6}", "  a \\{\\{[a-z:0-9 ]{0,12}\\}\\}",
    ], 0..10)) {
        promqltest::run(&lines.join("\n")).ok();
    }
}
