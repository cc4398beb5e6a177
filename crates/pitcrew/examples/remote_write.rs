//! How many samples of known series a server takes for each second of its processor time, by remote write 1.0 over HTTP.
//!
//! `cargo build --release -p pitcrew && cargo run --release -p pitcrew --example remote_write -- target/release/pitcrew SERIES ROUNDS`
//! starts that binary on a free port of the loopback address and ends it. All rounds but the first are of known series;
//! messages have 2,000 samples, and values change as counters and gauges do.
#![expect(clippy::print_stdout, reason = "it prints its figures")]
#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const SAMPLES_A_MESSAGE: usize = 2_000;
const SERIES_A_TARGET: usize = 1_000;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    /// Seconds of processor time so far.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The labels of a series, as the message has them.
fn labels(number: usize) -> Vec<u8> {
    let (target, series) = (number / SERIES_A_TARGET, number % SERIES_A_TARGET);
    let pairs = [
        (
            "__name__",
            format!("http_server_requests_{}_total", series / 20),
        ),
        ("cluster", "production-west".to_owned()),
        ("code", format!("{}", 200 + series % 20)),
        (
            "instance",
            format!("10.0.{}.{}:9100", target / 250, target % 250),
        ),
        ("job", "storefront".to_owned()),
        ("method", "GET".to_owned()),
        ("path", format!("/api/v1/items/{}", series % 20)),
        ("zone", format!("zone-{}", target % 3)),
    ];
    let mut all = Vec::new();
    for (name, value) in pairs {
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut all, 1, &label);
    }
    all
}

fn message(series: &[Vec<u8>], first: usize, round: usize, at_ms: u64) -> Vec<u8> {
    let mut message = Vec::new();
    for (offset, labels) in series.iter().enumerate() {
        let value = ((first + offset) % 1_000 * round) as f64;
        let mut sample = vec![1 << 3 | 1];
        sample.extend(value.to_le_bytes());
        put_varint(&mut sample, 2 << 3);
        put_varint(&mut sample, at_ms);
        let mut one = labels.clone();
        put_bytes(&mut one, 2, &sample);
        put_bytes(&mut message, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

async fn round(client: &reqwest::Client, url: &str, series: &[Vec<u8>], number: usize, at_ms: u64) {
    for (index, part) in series.chunks(SAMPLES_A_MESSAGE).enumerate() {
        let sent = client
            .post(url)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .body(message(part, index * SAMPLES_A_MESSAGE, number, at_ms))
            .send();
        let answer = sent.await.unwrap();
        assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, series, rounds] = &arguments[..] else {
        println!("usage: remote_write BINARY SERIES ROUNDS");
        return;
    };
    let (count, rounds): (usize, usize) = (series.parse().unwrap(), rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pitcrew.yaml"), "services: []\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Server(
        Command::new(binary)
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--config",
            ])
            .arg(directory.path())
            .arg("--data")
            .arg(directory.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let client = reqwest::Client::new();
    let began = Instant::now();
    while client
        .get(format!("http://127.0.0.1:{port}/readyz"))
        .send()
        .await
        .is_err()
    {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    let all: Vec<Vec<u8>> = (0..count).map(labels).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let start_ms = u64::try_from(now.as_millis()).unwrap() - 3_600_000;
    let before = server.cpu_seconds();
    round(&client, &url, &all, 0, start_ms).await;
    let known = server.cpu_seconds();
    println!(
        "new series: {:.0} a CPU-second",
        count as f64 / (known - before)
    );
    for number in 1..=rounds {
        round(
            &client,
            &url,
            &all,
            number,
            start_ms + number as u64 * 15_000,
        )
        .await;
    }
    let took = server.cpu_seconds() - known;
    let samples = (count * rounds) as f64;
    println!(
        "known series: {:.0} samples a CPU-second ({samples} in {took:.2} CPU-s)",
        samples / took
    );
    let resident = fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
    let resident = resident.lines().find(|line| line.starts_with("VmRSS"));
    println!("{}", resident.unwrap_or_default());
}
