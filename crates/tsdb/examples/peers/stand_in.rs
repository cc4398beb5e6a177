//! A server around the store alone: remote write, queries over a range, the group commit and the upkeep.
//!
//! It has of `pitcrew serve` what is measured here and nothing else.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use pitcrew_ingest::{
    BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink,
    remote_write::{self, Version},
};
use pitcrew_promql::{
    eval::{self, Time, evaluate},
    json,
    parser::parse,
};
use pitcrew_tsdb::{Batch, Options, RawLabels, Sample, Store, Value};

const BODY_MAX: usize = 64 << 20;

pub(crate) fn options(directory: &Path) -> Options {
    let mut options = Options::new(directory);
    options.limits.source_series = usize::MAX;
    options
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

pub(crate) fn serve(directory: &Path, port: u16) -> anyhow::Result<()> {
    let mut options = options(directory);
    // What is sent lies up to two hours back.
    options.past_ms = 6 * 3_600_000;
    let store = Arc::new(Store::open(options, now_ms())?);
    let keeper = store.clone();
    std::thread::spawn(move || keep_up(&keeper));
    let flusher = store.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            report(flusher.sync());
        }
    });
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let (stream, store) = (stream?, store.clone());
        std::thread::spawn(move || report(connection(&stream, &store)));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn report<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

fn keep_up(store: &Store) {
    loop {
        match store.maintain(now_ms()) {
            Ok(done) if done.more => {}
            Ok(_) => std::thread::sleep(Duration::from_secs(1)),
            Err(error) => report(Err(error)),
        }
    }
}

fn connection(stream: &TcpStream, store: &Store) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut out) = (BufReader::with_capacity(1 << 16, stream), stream);
    let (mut body, mut message) = (Vec::new(), Vec::new());
    loop {
        let mut request = String::new();
        if input.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            input.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        input.read_exact(&mut body)?;
        if request.starts_with("POST") {
            remote_write::decompress(&body, BODY_MAX, &mut message)?;
            append(store, &message)?;
            out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        } else {
            let answer = query(store, &request)?;
            let head = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n";
            out.write_all(head.as_bytes())?;
            out.write_all(answer.as_bytes())?;
            return Ok(());
        }
    }
}

/// Samples of one message. Of the rest nothing is sent.
#[derive(Default)]
struct Samples<'a>(Vec<Sample<'a>>, Vec<&'a [u8]>);

struct Taken<'a, 'm> {
    samples: &'a mut Samples<'m>,
    message: &'m [u8],
}

impl Sink for Taken<'_, '_> {
    type Series = usize;

    fn series(&mut self, series: RawSeries<'_>) -> Option<usize> {
        // The same bytes, borrowed from the message itself.
        let bytes = series.bytes();
        let from = bytes.as_ptr().addr() - self.message.as_ptr().addr();
        self.samples.1.push(&self.message[from..from + bytes.len()]);
        Some(self.samples.1.len() - 1)
    }

    fn float(&mut self, series: usize, sample: Float) {
        self.samples.0.push(Sample {
            key: self.samples.1[series],
            timestamp_ms: sample.at_ms.unwrap_or_default(),
            start_ms: sample.start_ms,
            value: Value::Float(sample.value),
        });
    }

    fn histogram(&mut self, _series: usize, _sample: Histogram) {}
    fn bad_histogram(&mut self, _series: usize, _why: BadHistogram) {}
    fn exemplar(&mut self, _series: usize, _exemplar: Exemplar<'_>) {}
    fn metadata(&mut self, _metadata: Metadata<'_>) {}
}

fn append(store: &Store, message: &[u8]) -> anyhow::Result<()> {
    let mut samples = Samples::default();
    let mut taken = Taken {
        samples: &mut samples,
        message,
    };
    remote_write::read(Version::One, message, &mut taken)?;
    let batch = Batch {
        source: "bench",
        scope: b"remote write 1",
        labels_of: &labels_of,
        samples: &samples.0,
        exemplars: &[],
        metadata: &[],
    };
    let accepted = store.append(&batch, now_ms())?;
    anyhow::ensure!(
        accepted.refused.count == 0,
        "refused: {:?}",
        accepted.refused
    );
    Ok(())
}

fn labels_of(key: &[u8], out: &mut RawLabels) -> Result<(), String> {
    let read = RawSeries::Messages(key).each_label(|name, value| out.push(name, value));
    read.map_err(|error| error.to_string())
}

fn query(store: &Store, request: &str) -> anyhow::Result<String> {
    let path = request.split(' ').nth(1).context("no path")?;
    let (_, parameters) = path.split_once('?').unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let found = pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| unescaped(value));
        found.with_context(|| format!("no {name}"))
    };
    let ms = |name: &str| anyhow::Ok(1000 * value(name)?.parse::<i64>()?);
    let half_past = |name: &str| {
        let text = value(name)?;
        let seconds = text.strip_suffix(".5").context("no half second")?;
        anyhow::Ok(1000 * seconds.parse::<i64>()? + 500)
    };
    let expr = parse(&value("query")?)?;
    let time = Time::Range {
        start_ms: half_past("start")?,
        end_ms: half_past("end")?,
        step_ms: ms("step")?,
    };
    let answer = evaluate(store, &expr, time, &eval::Options::default())?;
    Ok(format!(
        "{{\"status\":\"success\",\"data\":{}}}",
        json::data(&answer.value)
    ))
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        rest = match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                &after[2..]
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
