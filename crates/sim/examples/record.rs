//! What recording costs: bytes and time for each passing answer, and what the engine's thread pays to hand it over.
//!
//! `cargo run --release -p pitcrew-sim --example record [TARGETS]`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program that measures"
)]

use std::time::{Duration, Instant};

use pitcrew_model::{Event, Evidence, Observation, TargetId, Timestamp, Verdict};
use pitcrew_sim::record::{Reader, Start, Writer};

const BATCH: usize = 256;
const ROUNDS: u64 = 10;

fn main() {
    let targets: usize = std::env::args()
        .nth(1)
        .map_or(10_000, |count| count.parse().unwrap());
    let names: Vec<TargetId> = (0..targets)
        .map(|index| {
            format!(
                "10.{}.{}.{}:8080",
                index >> 16,
                (index >> 8) & 255,
                index & 255
            )
            .parse()
            .unwrap()
        })
        .collect();
    let began = 1_795_000_000_000;
    let batches: Vec<(Timestamp, Event)> = (0..ROUNDS)
        .flat_map(|round| {
            let names = &names;
            names.chunks(BATCH).enumerate().map(move |(batch, names)| {
                let at = began + round * 5_000 + u64::try_from(batch).unwrap() % 5_000;
                let seen = names.iter().map(|target| Observation {
                    target: target.clone(),
                    test: "answers".parse().unwrap(),
                    observer: "local".parse().unwrap(),
                    asked_at: Timestamp::from_millis(at - 7),
                    answered_at: Timestamp::from_millis(at - 2),
                    took: Duration::from_micros(4_000 + at * 37 % 2_000),
                    verdict: Verdict::Pass,
                    evidence: Evidence::new("HTTP 200"),
                });
                (
                    Timestamp::from_millis(at),
                    Event::Observations(seen.collect()),
                )
            })
        })
        .collect();
    let answers = targets as f64 * ROUNDS as f64;

    let before = Instant::now();
    let copies: Vec<Event> = batches.iter().map(|(_, event)| event.clone()).collect();
    let copied = before.elapsed();
    drop(copies);

    let start = Start {
        pitcrew: "0".to_owned(),
        at: Timestamp::from_millis(began),
        installation: "0".to_owned(),
        fence: 1,
        last_case: 0,
        last_order: 0,
        rows: Vec::new(),
    };
    let mut writer = Writer::start(0, &start).unwrap();
    let mut bytes = Writer::preamble();
    let before = Instant::now();
    let mut first_round = 0;
    for (number, (now, event)) in batches.iter().enumerate() {
        writer.event(*now, false, event).unwrap();
        if writer.waiting() >= 64 << 10 {
            bytes.extend(writer.take());
        }
        if number + 1 == batches.len() / usize::try_from(ROUNDS).unwrap() {
            bytes.extend(writer.take());
            first_round = bytes.len();
        }
    }
    bytes.extend(writer.take());
    let written = before.elapsed();

    let before = Instant::now();
    let read = Reader::new(&bytes[..]).unwrap().map(Result::unwrap).count();
    let read_in = before.elapsed();

    let each = |time: Duration| time.as_nanos() as f64 / answers;
    let known = (bytes.len() - first_round) as f64 / (answers - targets as f64);
    println!("targets                   {targets}");
    println!(
        "bytes an answer           {known:.2}   ({:.2} with the names)",
        bytes.len() as f64 / answers
    );
    println!(
        "engine's thread, copying  {:.0} ns an answer, {:.1} us a batch of {BATCH}",
        each(copied),
        each(copied) * BATCH as f64 / 1_000.0
    );
    println!(
        "record's thread, encoding {:.0} ns an answer",
        each(written)
    );
    println!(
        "reading                   {:.0} ns an answer, {read} entries",
        each(read_in)
    );
}
