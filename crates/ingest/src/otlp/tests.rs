use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{protobuf::tests::Message, testing::Told};

const BYTES_MAX: usize = 1 << 20;

const REQUEST: &str = r#"{"resourceMetrics":[{
  "resource":{"attributes":[
    {"key":"service.name","value":{"stringValue":"shop"}},
    {"key":"service.namespace","value":{"stringValue":"eu"}},
    {"key":"service.instance.id","value":{"stringValue":"i-1"}},
    {"key":"host.name","value":{"stringValue":"web-1"}}]},
  "scopeMetrics":[{"metrics":[
    {"name":"orders","unit":"1","description":"Orders.","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
      {"attributes":[{"key":"http.method","value":{"stringValue":"post"}}],
       "startTimeUnixNano":"1000000000","timeUnixNano":"2000000000","asInt":"7",
       "exemplars":[{"timeUnixNano":"1500000000","asDouble":1,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":""}]}]}},
    {"name":"load","gauge":{"dataPoints":[{"timeUnixNano":"3000000000","asDouble":0.5}]}},
    {"name":"gone","gauge":{"dataPoints":[{"timeUnixNano":"3000000000","flags":1}]}},
    {"name":"wait","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
      {"timeUnixNano":"2000000000","count":"6","sum":4.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,1]}]}},
    {"name":"size","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
      {"timeUnixNano":"2000000000","count":"3","sum":9,"scale":1,"zeroCount":"0","positive":{"offset":0,"bucketCounts":["1","2"]}}]}},
    {"name":"took","summary":{"dataPoints":[
      {"timeUnixNano":"2000000000","count":"3","sum":9,"quantileValues":[{"quantile":0.5,"value":2}]}]}},
    {"name":"steps","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"timeUnixNano":"2000000000","asInt":"1"}]}}
  ]}]}]}"#;

fn told(text: &str) -> (Vec<String>, Rejected) {
    let mut told = Told::default();
    let rejected = read_json(text.as_bytes(), BYTES_MAX, &mut told).unwrap();
    (told.lines, rejected)
}

#[test]
fn every_kind_of_metric_becomes_series_and_differences_are_refused() {
    let (lines, rejected) = told(REQUEST);
    let whose = r#"instance="i-1" job="eu/shop""#;
    let expected = [
        r#"orders_total: Some(Counter) "Orders." """#.to_owned(),
        format!(r#"__name__="orders_total" http_method="post" {whose}: 7.0 @2000 since 1000"#),
        format!(
            r#"__name__="orders_total" http_method="post" {whose}: exemplar trace_id="0102030405060708090a0b0c0d0e0f10": 1.0 @1500"#
        ),
        r#"load: Some(Gauge) "" """#.to_owned(),
        format!(r#"__name__="load" {whose}: 0.5 @3000"#),
        r#"gone: Some(Gauge) "" """#.to_owned(),
        format!(r#"__name__="gone" {whose}: NaN @3000"#),
        r#"wait_seconds: Some(Histogram) "" "seconds""#.to_owned(),
        format!(r#"__name__="wait_seconds_bucket" {whose} le="0.5": 1.0 @2000"#),
        format!(r#"__name__="wait_seconds_bucket" {whose} le="1": 3.0 @2000"#),
        format!(r#"__name__="wait_seconds_bucket" {whose} le="+Inf": 6.0 @2000"#),
        format!(r#"__name__="wait_seconds_count" {whose}: 6.0 @2000"#),
        format!(r#"__name__="wait_seconds_sum" {whose}: 4.5 @2000"#),
        r#"size: Some(Histogram) "" """#.to_owned(),
        format!(r#"__name__="size" {whose}: histogram of 3 @2000"#),
        r#"took: Some(Summary) "" """#.to_owned(),
        format!(r#"__name__="took" {whose} quantile="0.5": 2.0 @2000"#),
        format!(r#"__name__="took_count" {whose}: 3.0 @2000"#),
        format!(r#"__name__="took_sum" {whose}: 9.0 @2000"#),
        r#"target_info: Some(Gauge) "What is known of a target beside job and instance." """#
            .to_owned(),
        format!(r#"__name__="target_info" host_name="web-1" {whose}: 1.0 @3000"#),
    ];
    assert_eq!(lines, expected);
    assert_eq!(rejected.points, 1);
    assert!(
        rejected.why.starts_with("steps: differences"),
        "{}",
        rejected.why
    );
}

#[test]
fn attributes_that_become_one_label_are_both_kept() {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    };
    let attributes = [attribute("a.b", "1"), attribute("a_b", "2")];
    let labels = labels::sanitized(attributes.iter());
    assert_eq!(
        labels.into_iter().collect::<Vec<_>>(),
        [("a_b".to_owned(), "1;2".to_owned())]
    );
}

fn double(field: u32, value: f64) -> Message {
    Message::default().double(field, value)
}

/// A request of one metric: field and message of its data.
fn request_of(field: u32, data: Message) -> Vec<u8> {
    let metric = Message::default().bytes(1, b"m").message(field, data);
    let scope = Message::default().message(2, metric);
    let resource = Message::default().message(2, scope);
    Message::default().message(1, resource).0
}

#[test]
fn each_exemplar_is_told_once_with_the_bucket_that_it_is_in() {
    const BOUNDS: u32 = 200;
    let mut point = Message::default();
    for bound in 0..BOUNDS {
        point = point.double(7, f64::from(bound));
    }
    let values = [-1.0, 0.0, 0.5, 7.0, 7.5, 1e9, f64::NEG_INFINITY, f64::NAN];
    for value in values {
        point = point.message(8, double(3, value));
    }
    let histogram = Message::default().message(1, point).varint(2, 2);
    let mut told = Told::default();
    read(&request_of(9, histogram), &mut told).unwrap();
    let exemplars = told.lines.iter().filter_map(|line| {
        let (series, rest) = line.split_once("\": exemplar ")?;
        let (_, bound) = series.split_once("le=\"")?;
        Some((bound, rest.trim_start_matches(": ").split(' ').next()?))
    });
    let expected = [
        ("0", "-1.0"),
        ("0", "0.0"),
        ("0", "-inf"),
        ("1", "0.5"),
        ("7", "7.0"),
        ("8", "7.5"),
        ("+Inf", "1000000000.0"),
    ];
    assert_eq!(exemplars.collect::<Vec<_>>(), expected);
}

#[test]
fn a_full_sink_ends_the_work_within_a_point_and_between_points() {
    let mut point = double(7, 1.0);
    for _ in 0..5_000 {
        point = point.double(7, 2.0);
    }
    let histogram = Message::default().message(1, point).varint(2, 2);
    let mut gauge = Message::default();
    for _ in 0..5_000 {
        gauge = gauge.message(1, double(4, 1.0));
    }
    for message in [request_of(9, histogram), request_of(5, gauge)] {
        let mut told = Told::of_series(10);
        read(&message, &mut told).unwrap();
        assert!(told.lines.len() <= 13, "{} lines", told.lines.len());
    }
}

#[test]
fn a_point_that_is_too_long_is_rejected_by_itself_and_a_resource_with_its_request() {
    let empty_exemplars: Vec<u8> = [0x2a, 0].repeat(PIECE_BYTES_MAX);
    let long = Message(empty_exemplars).double(4, 1.0);
    let gauge = Message::default()
        .message(1, long)
        .message(1, double(4, 2.0));
    let mut told = Told::default();
    let rejected = read(&request_of(5, gauge), &mut told).unwrap();
    assert_eq!(rejected.points, 1);
    assert_eq!(rejected.why, "m: a point has more than 256 KiB");
    assert_eq!(told.lines[1], "__name__=\"m\": 2.0 @0");

    let attributes: Vec<u8> = [0x0a, 0].repeat(PIECE_BYTES_MAX);
    let resource = Message::default().bytes(1, &attributes);
    let message = Message::default().message(1, resource).0;
    let refused = read(&message, &mut told).unwrap_err();
    assert!(
        matches!(refused, OtlpError::LongResource { .. }),
        "{refused}"
    );
}

/// Field numbers say what is what, not the order in which fields come.
#[test]
fn fields_may_come_in_any_order() {
    let attribute = Message::default()
        .bytes(1, b"service.name")
        .message(2, Message::default().bytes(1, b"shop"));
    let resource = Message::default().message(1, attribute);
    for temporality_first in [true, false] {
        let sum = match temporality_first {
            true => Message::default().varint(2, 2).message(1, double(4, 1.5)),
            false => Message::default().message(1, double(4, 1.5)).varint(2, 2),
        };
        let metric = Message::default().message(7, sum).bytes(1, b"m");
        let scope = Message::default().message(2, metric);
        let whole = Message::default().message(2, scope).bytes(1, &resource.0);
        let mut told = Told::default();
        read(&Message::default().message(1, whole).0, &mut told).unwrap();
        assert_eq!(told.lines[1], "__name__=\"m\" job=\"shop\": 1.5 @0");
    }
}

#[test]
fn json_that_would_take_too_much_is_refused_before_it_is_decoded() {
    let empty_points = "{},".repeat(10_000);
    let refused = read_json(empty_points.as_bytes(), BYTES_MAX, &mut Told::default()).unwrap_err();
    assert!(matches!(refused, OtlpError::TooLarge { .. }), "{refused}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: prop::sample::Index, to: u8) {
        read(&bytes, &mut Told::default()).ok();
        read_json(&bytes, BYTES_MAX, &mut Told::default()).ok();
        let request: ExportMetricsServiceRequest = serde_json::from_str(REQUEST).unwrap();
        let mut changed = request.encode_to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        read(&changed, &mut Told::default()).ok();
    }
}
