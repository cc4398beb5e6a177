//! Remote write messages, made by hand, and their way to a server.

use std::collections::HashMap;

use crate::production::Production;

/// A protobuf message.
#[derive(Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(u64::try_from(bytes.len()).unwrap());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    pub(crate) fn double(mut self, field: u64, value: f64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

fn sample(value: f64, at_ms: i64) -> Message {
    let message = Message::default().double(1, value);
    message.number(2, at_ms.cast_unsigned())
}

/// Labels, and one sample: value and time.
pub(crate) type Series<'a> = (&'a [(&'a str, &'a str)], f64, i64);

/// Each series with its sample, as version 1.0 has it.
pub(crate) fn version_1(series: &[Series<'_>]) -> Vec<u8> {
    let mut request = Message::default();
    for (labels, value, at_ms) in series {
        let mut one = Message::default();
        for (name, text) in *labels {
            let label = Message::default();
            let label = label.bytes(1, name.as_bytes()).bytes(2, text.as_bytes());
            one = one.bytes(1, &label.0);
        }
        request = request.bytes(1, &one.bytes(2, &sample(*value, *at_ms).0).0);
    }
    request.0
}

/// The same as version 2.0 has it.
pub(crate) fn version_2(series: &[Series<'_>]) -> Vec<u8> {
    let mut numbers: HashMap<&str, u64> = HashMap::from([("", 0)]);
    let mut symbols = vec![""];
    let mut all = Message::default();
    for (labels, value, at_ms) in series {
        let mut references = Message::default();
        for text in labels.iter().flat_map(|(name, value)| [*name, *value]) {
            let next = u64::try_from(symbols.len()).unwrap();
            let number = *numbers.entry(text).or_insert(next);
            if number == next {
                symbols.push(text);
            }
            references.varint(number);
        }
        let one = Message::default().bytes(1, &references.0);
        all = all.bytes(5, &one.bytes(2, &sample(*value, *at_ms).0).0);
    }
    let texts = symbols.iter().fold(Message::default(), |message, text| {
        message.bytes(4, text.as_bytes())
    });
    [texts.0, all.0].concat()
}

/// One series with a sample, and with an exemplar of these labels: both versions.
pub(crate) fn with_exemplar(name: &str, trace: &str, at_ms: i64) -> [Vec<u8>; 2] {
    let label = |name: &str, text: &str| {
        let label = Message::default();
        label.bytes(1, name.as_bytes()).bytes(2, text.as_bytes())
    };
    let exemplar = Message::default()
        .bytes(1, &label("trace_id", trace).0)
        .double(2, 0.5)
        .number(3, at_ms.cast_unsigned());
    let series = Message::default()
        .bytes(1, &label("__name__", name).0)
        .bytes(2, &sample(1.0, at_ms).0)
        .bytes(3, &exemplar.0);
    let one = Message::default().bytes(1, &series.0).0;
    let symbols = ["", "__name__", name, "trace_id", trace];
    let texts = symbols.iter().fold(Message::default(), |message, text| {
        message.bytes(4, text.as_bytes())
    });
    let exemplar = Message::default()
        .bytes(1, &[3, 4])
        .double(2, 0.5)
        .number(3, at_ms.cast_unsigned());
    let series = Message::default()
        .bytes(1, &[1, 2])
        .bytes(2, &sample(1.0, at_ms).0)
        .bytes(4, &exemplar.0);
    [one, texts.bytes(5, &series.0).0]
}

pub(crate) fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

pub(crate) const VERSION_1: &str = "application/x-protobuf";
pub(crate) const VERSION_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Status, headers and body of the answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(crate) fn post(
    production: &Production,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let mut request = reqwest::Client::new()
        .post(format!("{}{path}", production.url()))
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    block_on(async {
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.unwrap().to_vec(),
        }
    })
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

pub(crate) fn write(production: &Production, kind: &str, body: Vec<u8>) -> Answer {
    let headers = [("content-type", kind), ("content-encoding", "snappy")];
    post(production, "/api/v1/write", &headers, body)
}
