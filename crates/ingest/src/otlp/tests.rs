use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use proptest::prelude::*;

use super::*;
use crate::testing::Told;

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
    let rejected = read_json(text.as_bytes(), &mut told).unwrap();
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
fn binary_and_json_say_the_same() {
    let request: ExportMetricsServiceRequest = serde_json::from_str(REQUEST).unwrap();
    let mut binary = Told::default();
    read(&request.encode_to_vec(), &mut binary).unwrap();
    assert_eq!(binary.lines, told(REQUEST).0);
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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: prop::sample::Index, to: u8) {
        read(&bytes, &mut Told::default()).ok();
        read_json(&bytes, &mut Told::default()).ok();
        let request: ExportMetricsServiceRequest = serde_json::from_str(REQUEST).unwrap();
        let mut changed = request.encode_to_vec();
        let at = at.index(changed.len());
        changed[at] = to;
        read(&changed, &mut Told::default()).ok();
    }
}
