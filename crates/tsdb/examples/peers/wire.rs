//! What is sent to a server under measurement: remote write 1.0, and questions by HTTP.
//!
//! Written out by hand, since nothing of what is measured may be part of the measure.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

/// Long enough for a million series on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// A `prometheus.WriteRequest` while it is made.
#[derive(Default)]
pub(crate) struct WriteRequest {
    message: Vec<u8>,
    series: Vec<u8>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A series' labels as fields of its message.
pub(crate) fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        field(&mut out, 1, &label);
    }
    out
}

impl WriteRequest {
    pub(crate) fn add(&mut self, labels: &[u8], time_ms: i64, value: f64) {
        self.series.clear();
        self.series.extend_from_slice(labels);
        let mut sample = vec![1 << 3 | 1];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(2 << 3);
        varint(&mut sample, time_ms.cast_unsigned());
        field(&mut self.series, 2, &sample);
        field(&mut self.message, 1, &self.series);
    }

    /// As snappy, which is what goes over the wire.
    pub(crate) fn compressed(&mut self) -> anyhow::Result<Vec<u8>> {
        let compressed = snap::raw::Encoder::new().compress_vec(&self.message)?;
        self.message.clear();
        Ok(compressed)
    }
}

/// A connection that stays open from request to request.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream: BufReader::new(stream),
        })
    }

    pub(crate) fn write(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let out = self.stream.get_mut();
        out.write_all(head.as_bytes())?;
        out.write_all(body)?;
        let (status, length) = self.head()?;
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest)?;
        let said = String::from_utf8_lossy(&rest);
        ensure!(
            (200..300).contains(&status),
            "a write was refused with {status}: {said}"
        );
        Ok(())
    }

    fn head(&mut self) -> anyhow::Result<(u16, usize)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status in {line:?}"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
    }
}

/// By HTTP/1.0, so that the body comes in one piece.
pub(crate) fn ask(port: u16, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a body")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{method} {path}: {head}\n{body}");
    Ok(body.to_owned())
}

/// Data of a query over a range, in seconds, and half a second after each: no window begins at a scrape, which
/// Prometheus 2 would count in.
pub(crate) fn query(port: u16, expr: &str, range: (i64, i64, i64)) -> anyhow::Result<Value> {
    let (start, end, step) = range;
    let expr = escaped(expr);
    let path = format!(
        "/api/v1/query_range?query={expr}&start={start}.5&end={end}.5&step={step}&nocache=1"
    );
    let answer: Value = serde_json::from_str(&ask(port, "GET", &path)?)?;
    ensure!(answer["status"] == "success", "{expr} failed: {answer}");
    Ok(answer["data"]["result"].clone())
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
