use proptest::prelude::*;

use super::*;
use crate::{
    histogram::tests::message as histogram_message,
    protobuf::tests::{Message, put_varint},
    testing::Told,
};

fn label(name: &str, value: &str) -> Message {
    Message::default()
        .bytes(1, name.as_bytes())
        .bytes(2, value.as_bytes())
}

fn sample(value: f64, at_ms: u64) -> Message {
    Message::default().double(1, value).varint(2, at_ms)
}

fn version_one() -> Vec<u8> {
    let series = Message::default()
        .message(1, label("__name__", "requests_total"))
        .message(1, label("job", "web"))
        .message(2, sample(1.5, 1_000))
        .message(2, sample(2.5, 2_000))
        .message(
            3,
            Message::default()
                .message(1, label("trace", "t1"))
                .double(2, 0.5)
                .varint(3, 1_500),
        )
        .message(4, histogram_message())
        .message(4, histogram_message().varint(1, 9));
    let metadata = Message::default()
        .varint(1, 1)
        .bytes(2, b"requests_total")
        .bytes(4, b"All.");
    Message::default().message(1, series).message(3, metadata).0
}

fn version_two() -> Vec<u8> {
    let references = |numbers: &[u64]| {
        let mut packed = Vec::new();
        numbers
            .iter()
            .for_each(|number| put_varint(&mut packed, *number));
        packed
    };
    let series = Message::default()
        .bytes(1, &references(&[1, 2, 3, 4]))
        .message(2, sample(1.5, 1_000).varint(3, 500))
        .message(3, histogram_message().varint(17, 600))
        .message(
            4,
            Message::default()
                .bytes(1, &references(&[5, 6]))
                .double(2, 0.5)
                .varint(3, 1_500),
        )
        .message(5, Message::default().varint(1, 3).varint(3, 7).varint(4, 8));
    let symbols = [
        "",
        "__name__",
        "wait_bucket",
        "job",
        "web",
        "trace",
        "t1",
        "Waits.",
        "seconds",
    ];
    let mut request = Message::default().message(5, series);
    for symbol in symbols {
        request = request.bytes(4, symbol.as_bytes());
    }
    request.0
}

fn told(version: Version, message: &[u8]) -> Result<Vec<String>, String> {
    let mut told = Told::default();
    let read = read(version, message, &mut told);
    read.map(|()| told.lines).map_err(|error| error.to_string())
}

#[test]
fn both_versions_say_the_same_things() {
    let one = told(Version::One, &version_one()).unwrap();
    assert_eq!(
        one,
        [
            r#"__name__="requests_total" job="web": 1.5 @1000"#,
            r#"__name__="requests_total" job="web": 2.5 @2000"#,
            r#"__name__="requests_total" job="web": exemplar trace="t1": 0.5 @1500"#,
            r#"__name__="requests_total" job="web": histogram of 3 @60000"#,
            r#"__name__="requests_total" job="web": buckets hold 3 observations, but the count is 9"#,
            r#"requests_total: Some(Counter) "All." """#,
        ]
    );
    let two = told(Version::Two, &version_two()).unwrap();
    assert_eq!(
        two,
        [
            r#"__name__="wait_bucket" job="web": 1.5 @1000 since 500"#,
            r#"__name__="wait_bucket" job="web": histogram of 3 @60000 since 600"#,
            r#"__name__="wait_bucket" job="web": exemplar trace="t1": 0.5 @1500"#,
            r#"wait: Some(Histogram) "Waits." "seconds""#,
        ]
    );
}

#[test]
fn references_to_nothing_are_refused() {
    let series = |references: &[u8]| Message::default().bytes(1, references);
    let request = |series| Message::default().bytes(4, b"").message(5, series).0;
    assert_eq!(
        told(Version::Two, &request(series(&[0, 9]))),
        Err("series 0 refers to symbol 9, of which there are 1".to_owned())
    );
    assert_eq!(
        told(Version::Two, &request(series(&[0]))),
        Err("series 0 has a label's name without a value".to_owned())
    );
}

#[test]
fn a_full_sink_ends_the_reading_of_a_message() {
    let one = Message::default().message(1, label("a", "b"));
    let two = Message::default().bytes(1, &[1, 2]);
    let symbols = Message::default()
        .bytes(4, b"")
        .bytes(4, b"a")
        .bytes(4, b"b");
    for (version, mut request, field, series) in [
        (Version::One, Message::default(), 1, one),
        (Version::Two, symbols, 5, two),
    ] {
        let series = series.message(2, sample(1.0, 1));
        for _ in 0..1_000 {
            request = request.bytes(field, &series.0);
        }
        let mut told = Told::of_series(10);
        read(version, &request.0, &mut told).unwrap();
        assert_eq!(told.series.len(), 10);
        assert_eq!(told.lines.len(), 9, "the tenth filled it");
    }
}

#[test]
fn a_body_is_decompressed_within_its_bound() {
    let message = version_one();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let mut buffer = Vec::new();
    decompress(&body, message.len(), &mut buffer).unwrap();
    assert_eq!(buffer, message);
    let refused = decompress(&body, message.len() - 1, &mut buffer).unwrap_err();
    assert!(
        matches!(refused, RequestError::TooLarge { .. }),
        "{refused}"
    );
    // Four gigabytes are claimed, none is reserved.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(decompress(&bomb, 1 << 20, &mut buffer).is_err());
}

#[test]
fn the_content_type_tells_the_version() {
    let version = |text| Version::of_content_type(text).ok();
    assert_eq!(version("application/x-protobuf"), Some(Version::One));
    assert_eq!(
        version("application/x-protobuf;proto=prometheus.WriteRequest"),
        Some(Version::One)
    );
    assert_eq!(
        version("application/x-protobuf; proto=io.prometheus.write.v2.Request"),
        Some(Version::Two)
    );
    assert_eq!(version("application/x-protobuf;proto=other"), None);
    assert_eq!(version("text/plain"), None);
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        bytes: Vec<u8>, at: prop::sample::Index, to: u8, cut: prop::sample::Index,
    ) {
        for (version, whole) in [(Version::One, version_one()), (Version::Two, version_two())] {
            told(version, &bytes).ok();
            let mut changed = whole.clone();
            changed[at.index(whole.len())] = to;
            told(version, &changed).ok();
            told(version, &whole[..cut.index(whole.len())]).ok();
        }
        decompress(&bytes, 1 << 20, &mut Vec::new()).ok();
    }
}
