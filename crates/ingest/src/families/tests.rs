//! Pages of families, made by hand.

use proptest::prelude::*;

use super::*;
use crate::{
    protobuf::tests::{Message, put_varint},
    testing::Told,
};

fn message() -> Message {
    Message::default()
}

/// A family with one metric that has a label and this value.
fn family(name: &str, kind: u64, field: u32, value: Message) -> Message {
    let pair = message().bytes(1, b"zone").bytes(2, b"a");
    let metric = message().message(1, pair).message(field, value);
    let family = message().bytes(1, name.as_bytes()).varint(3, kind);
    family.message(4, metric)
}

fn page(families: &[Message]) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        put_varint(&mut page, family.0.len() as u64);
        page.extend_from_slice(&family.0);
    }
    page
}

fn told(families: &[Message]) -> Result<Vec<String>, FamilyError> {
    let mut told = Told::default();
    read(&page(families), &mut told)?;
    Ok(told.lines)
}

/// What is told of the samples, without the labels that all have.
fn samples(families: &[Message]) -> Vec<String> {
    let lines = told(families).unwrap().into_iter();
    let lines = lines.filter(|line| line.starts_with("__name__="));
    lines
        .map(|line| line.replace("__name__=", "").replace(" zone=\"a\"", ""))
        .collect()
}

fn at(seconds: u64) -> Message {
    message().varint(1, seconds).varint(2, 5_000_000)
}

fn example(value: f64, dated: Option<Message>) -> Message {
    let pair = message().bytes(1, b"trace").bytes(2, b"t1");
    let example = message().message(1, pair).double(2, value);
    match dated {
        Some(dated) => example.message(3, dated),
        None => example,
    }
}

#[test]
fn counters_gauges_and_untyped_metrics_are_one_series_each() {
    let counter = message()
        .double(1, 3.0)
        .message(2, example(0.5, None))
        .message(3, at(7));
    let counter = family("c_total", 0, 3, counter)
        .bytes(2, b"Help.")
        .bytes(5, b"s");
    // Zero is no field at all.
    let gauge = family("g", 1, 2, message());
    let untyped = family("u", 3, 5, message().double(1, f64::NAN));
    assert_eq!(
        told(&[counter, gauge, untyped]).unwrap(),
        [
            "c_total: Some(Counter) \"Help.\" \"s\"",
            "__name__=\"c_total\" zone=\"a\": 3.0 since 7005",
            "__name__=\"c_total\" zone=\"a\": exemplar trace=\"t1\": 0.5",
            "g: Some(Gauge) \"\" \"\"",
            "__name__=\"g\" zone=\"a\": 0.0",
            "u: Some(Unknown) \"\" \"\"",
            "__name__=\"u\" zone=\"a\": NaN",
        ]
    );
}

#[test]
fn a_summary_and_a_classic_histogram_are_the_series_that_their_text_would_be() {
    let quantile = message().double(1, 0.5).double(2, 9.0);
    let summary = message()
        .varint(1, 2)
        .double(2, 3.0)
        .message(3, quantile)
        .message(4, at(7));
    let bucket = |bound, count| message().varint(1, count).double(2, bound);
    let histogram = message()
        .varint(1, 5)
        .double(2, 8.0)
        .message(3, bucket(1.0, 2).message(3, example(0.5, None)))
        .message(3, bucket(2.5e6, 4));
    let families = [family("s", 2, 4, summary), family("h", 4, 7, histogram)];
    assert_eq!(
        samples(&families),
        [
            "\"s_count\": 2.0 since 7005",
            "\"s_sum\": 3.0 since 7005",
            "\"s\" quantile=\"0.5\": 9.0",
            "\"h_count\": 5.0",
            "\"h_sum\": 8.0",
            "\"h_bucket\" le=\"1.0\": 2.0",
            "\"h_bucket\" le=\"1.0\": exemplar trace=\"t1\": 0.5",
            "\"h_bucket\" le=\"2.5e+06\": 4.0",
            "\"h_bucket\" le=\"+Inf\": 5.0",
        ]
    );
}

/// Two observations in bucket 1, one in bucket 4, one near zero.
fn native() -> Message {
    let span = |offset, length| message().zigzag(1, offset).varint(2, length);
    message()
        .varint(1, 4)
        .double(2, 7.5)
        .zigzag(5, 0)
        .double(6, 0.001)
        .varint(7, 1)
        .message(12, span(1, 1))
        .message(12, span(2, 1))
        .zigzag(13, 2)
        .zigzag(13, -1)
        .message(15, at(7))
}

#[test]
fn a_histogram_with_native_buckets_is_one_series_and_its_examples_have_times() {
    let bucket = message().varint(1, 4).double(2, 1.0);
    let both = native().message(3, bucket.message(3, example(0.5, Some(at(9)))));
    let shown = native()
        .message(16, example(1.0, Some(at(8))))
        .message(16, example(2.0, None));
    assert_eq!(
        samples(&[family("both", 4, 7, both), family("shown", 4, 7, shown)]),
        [
            "\"both\": histogram of 4 since 7005",
            "\"both\": exemplar trace=\"t1\": 0.5 @9005",
            "\"shown\": histogram of 4 since 7005",
            "\"shown\": exemplar trace=\"t1\": 1.0 @8005",
        ]
    );
}

#[test]
fn native_histograms_have_the_buckets_that_were_counted() {
    let read = |bytes: &Message, hint| Buckets::read(&bytes.0).unwrap().native(hint);
    let integers = read(&native(), ResetHint::Gauge).unwrap();
    let buckets: Vec<(i32, f64)> = integers
        .positive
        .iter()
        .map(|it| (it.index, it.count))
        .collect();
    assert_eq!(buckets, [(1, 2.0), (4, 1.0)]);
    assert_eq!(
        (integers.count, integers.sum, integers.zero_count),
        (4.0, 7.5, 1.0)
    );
    assert_eq!(integers.reset_hint, ResetHint::Gauge);
    let span = message().zigzag(1, -2).varint(2, 2);
    let floats = message()
        .double(4, 1.5)
        .message(9, span)
        .double(11, 0.5)
        .double(11, 1.0);
    let floats = read(&floats, ResetHint::Unknown).unwrap();
    let buckets: Vec<(i32, f64)> = floats
        .negative
        .iter()
        .map(|it| (it.index, it.count))
        .collect();
    assert_eq!(buckets, [(-2, 0.5), (-1, 1.0)]);
    // Nothing observed yet: a span of no buckets says what it is.
    let empty = message().message(12, message());
    assert!(Buckets::read(&empty.0).unwrap().is_native());
    assert_eq!(read(&empty, ResetHint::Unknown).unwrap().count, 0.0);
    assert!(
        !Buckets::read(&message().varint(1, 3).0)
            .unwrap()
            .is_native()
    );
}

#[test]
fn what_contradicts_itself_is_told_and_what_is_broken_ends_the_page_with_its_number() {
    let wrong = native().varint(1, 9);
    assert_eq!(
        samples(&[family("h", 4, 7, wrong)]),
        ["\"h\": buckets hold 4 observations, but the count is 9"]
    );
    let good = || family("g", 1, 2, message());
    let failed = |family: Message| told(&[good(), family]).unwrap_err().to_string();
    for (family, words) in [
        (
            family("h", 4, 2, message()),
            "lacks the value that its type `histogram`",
        ),
        (family("", 1, 2, message()), "no name"),
        (family("g", 17, 2, message()), "17 is no type"),
        (good().bytes(2, b"\xff"), "not UTF-8"),
        (family("g", 1, 2, message().varint(1, 1)), "wire type"),
    ] {
        let told = failed(family);
        assert!(
            told.starts_with("metric family 2: ") && told.contains(words),
            "{told}"
        );
    }
    let mut cut = page(&[good()]);
    cut.pop();
    assert!(read(&cut, &mut Told::default()).is_err());
}

/// Each bucket repeats the labels: 16 MiB of them, and forty buckets.
#[test]
fn a_page_that_stands_for_far_more_than_it_has_is_refused_and_so_is_a_histogram_without_end() {
    let long = "x".repeat(16 << 20);
    let pair = message().bytes(1, b"long").bytes(2, long.as_bytes());
    let mut histogram = message().varint(1, 1);
    for bound in 0..40 {
        histogram = histogram.message(3, message().double(2, f64::from(bound)));
    }
    let metric = message().message(1, pair).message(7, histogram);
    let family_of_it = message().bytes(1, b"h").varint(3, 4).message(4, metric);
    let mut none = Nobody::default();
    let error = read(&page(&[family_of_it]), &mut none).unwrap_err();
    assert_eq!(error.why, BadFamily::Labels);
    assert!(none.0 < 40, "{}", none.0);
    let endless = message().bytes(13, &vec![0; VALUE_BYTES_MAX]);
    let error = told(&[family("h", 4, 7, endless)]).unwrap_err();
    assert!(matches!(error.why, BadFamily::LargeValue(_)), "{error}");
}

/// Wants no series, and counts them.
#[derive(Default)]
struct Nobody(usize);

impl Sink for Nobody {
    type Series = ();

    fn series(&mut self, _: RawSeries<'_>) -> Option<()> {
        self.0 += 1;
        None
    }

    fn float(&mut self, (): (), _: Float) {}

    fn histogram(&mut self, (): (), _: Histogram) {}

    fn bad_histogram(&mut self, (): (), _: crate::BadHistogram) {}

    fn exemplar(&mut self, (): (), _: Exemplar<'_>) {}

    fn metadata(&mut self, _: Metadata<'_>) {}
}

#[test]
fn a_label_that_bounds_a_bucket_is_written_as_go_writes_it() {
    for (number, text) in [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (-0.25, "-0.25"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (250_000.0, "250000.0"),
        (1_234_567.0, "1.234567e+06"),
        (1e100, "1e+100"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(as_text(number), text);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, flip in any::<prop::sample::Index>(), to: u8) {
        read(&bytes, &mut Told::default()).ok();
        let bucket = message().varint(1, 4).double(2, 1.0).message(3, example(0.5, Some(at(9))));
        let mut good = page(&[
            family("c", 0, 3, message().double(1, 3.0).message(2, example(0.5, None)).message(3, at(7))),
            family("s", 2, 4, message().varint(1, 2).message(3, message().double(1, 0.5))),
            family("h", 4, 7, native().message(3, bucket)),
        ]);
        let at = flip.index(good.len());
        good[at] = to;
        read(&good, &mut Told::default()).ok();
    }

    #[test]
    fn a_bound_is_read_back(number in any::<f64>().prop_filter("a number", |number| !number.is_nan())) {
        prop_assert_eq!(as_text(number).parse::<f64>(), Ok(number));
    }
}
