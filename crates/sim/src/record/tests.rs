//! What is written is read back, and what was not written is noticed.

use std::{io::Cursor, sync::Arc, time::Duration};

use pitcrew_model::{
    Address, Event, Evidence, Fact, Labels, Notice, Observation, Outcome, OutcomeKind, PersonAct,
    Production, Record, Request, Saved, Scope, SourceTrouble, Target, Timestamp, Urgency, Verdict,
};
use proptest::{collection::vec, prelude::*};

use super::*;

fn start(at: u64) -> Start {
    Start {
        pitcrew: "0.1.0".into(),
        at: Timestamp::from_millis(at),
        installation: "0011".into(),
        fence: 3,
        last_case: 7,
        last_order: 9,
        rows: vec![Saved::Pause {
            scope: Scope::Fleet,
            by: "ann".into(),
            why: Some("a drill".into()),
        }],
    }
}

fn entered(at: u64, event: Event) -> Entry {
    Entry::Event(Entered {
        at: Timestamp::from_millis(at),
        draining: false,
        event,
    })
}

fn passing(target: usize, at: u64) -> Observation {
    Observation {
        target: format!("web-{target}").parse().unwrap(),
        test: "answers".parse().unwrap(),
        observer: "local".parse().unwrap(),
        asked_at: Timestamp::from_millis(at - 13),
        answered_at: Timestamp::from_millis(at - 1),
        took: Duration::from_micros(12_345),
        verdict: Verdict::Pass,
        evidence: Evidence::new("HTTP 200"),
    }
}

/// A record of these entries, each in a frame of its own, and where each frame begins.
fn written(entries: &[Entry]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Writer::preamble();
    let mut frames = Vec::new();
    let mut writer: Option<Writer> = None;
    for entry in entries {
        frames.push(bytes.len());
        if let Entry::Start(start) = entry {
            let sequence = writer.as_ref().map_or(0, |_| frames.len() as u64 - 1);
            writer = Some(Writer::start(sequence, start).unwrap());
        } else {
            let writer = writer.as_mut().expect("a run begins with its start");
            match entry {
                Entry::Start(_) => unreachable!("it is handled above"),
                Entry::Event(one) => writer.event(one.at, one.draining, &one.event).unwrap(),
                Entry::Records(records) => writer.records(records).unwrap(),
                Entry::Notices(notices) => writer.notices(notices).unwrap(),
                Entry::Gap(why) => writer.gap(why),
                Entry::End => writer.end(),
            }
        }
        bytes.extend(writer.as_mut().unwrap().take());
    }
    (bytes, frames)
}

/// Everything that can be read, and what stopped it.
fn read(bytes: &[u8]) -> (Vec<Entry>, Option<RecordError>, Tail) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error), Tail::Whole),
    };
    let mut entries = Vec::new();
    let mut failed = None;
    for placed in reader.by_ref() {
        match placed {
            Ok(placed) => entries.push(placed.entry),
            Err(error) => failed = Some(error),
        }
    }
    (entries, failed, reader.tail())
}

fn two_runs() -> Vec<Entry> {
    let seen = |at: u64| Event::Observations((0..3).map(|target| passing(target, at)).collect());
    vec![
        Entry::Start(Box::new(start(1_000_000))),
        entered(
            1_000_010,
            Event::Production(Arc::new(Production::default())),
        ),
        entered(1_000_020, seen(1_000_020)),
        entered(1_001_020, seen(1_001_020)),
        Entry::Records(vec![record(1_001_020)]),
        Entry::Gap("the disk is full".into()),
        Entry::Start(Box::new(start(2_000_000))),
        entered(2_000_020, seen(2_000_020)),
        entered(2_000_021, Event::Tick),
        Entry::End,
    ]
}

fn record(at: u64) -> Record {
    Record {
        at: Timestamp::from_millis(at),
        case: None,
        order: None,
        target: None,
        service: Some("web".parse().unwrap()),
        fact: Fact::LedgerRecovered {
            not_given: Vec::new(),
        },
    }
}

#[test]
fn several_runs_are_read_back_one_after_the_other() {
    let entries = two_runs();
    let (bytes, _) = written(&entries);
    let (read, failed, tail) = read(&bytes);
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!((read, tail), (entries, Tail::Whole));
    let end = scan(Cursor::new(&bytes)).unwrap();
    assert_eq!(
        (end.frames, end.bytes, end.torn_bytes),
        (10, bytes.len() as u64, 0)
    );
}

#[test]
fn a_record_cut_off_anywhere_is_read_up_to_its_last_whole_frame() {
    let entries = two_runs();
    let (bytes, frames) = written(&entries);
    for length in 16..bytes.len() {
        let whole = frames.iter().filter(|begin| **begin < length).count();
        let is_torn = !frames.contains(&length);
        let (seen, failed, tail) = read(&bytes[..length]);
        assert!(failed.is_none(), "{length}: {failed:?}");
        let whole = if is_torn && length > 16 {
            whole - 1
        } else {
            whole
        };
        assert_eq!(seen, entries[..whole], "{length}");
        assert_eq!(tail != Tail::Whole, is_torn, "{length}: {tail:?}");
        let end = scan(Cursor::new(&bytes[..length])).unwrap();
        assert_eq!(end.bytes + end.torn_bytes, length as u64);
        assert_eq!(end.frames, whole as u64);
    }
    for length in 0..16 {
        assert!(matches!(
            Reader::new(&bytes[..length]),
            Err(RecordError::NotARecord)
        ));
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_nothing_of_its_frame_is_believed() {
    let entries = two_runs();
    let (bytes, frames) = written(&entries);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (seen, failed, _) = read(&changed);
        let whole = frames
            .iter()
            .skip(1)
            .filter(|begin| **begin <= bit / 8)
            .count();
        let whole = if bit / 8 < 16 { 0 } else { whole };
        assert!(failed.is_some(), "bit {bit}");
        assert_eq!(seen, entries[..whole], "bit {bit}");
    }
}

#[test]
fn frames_that_are_missing_repeated_or_in_another_order_are_named_by_their_place() {
    let (bytes, mut frames) = written(&two_runs());
    frames.push(bytes.len());
    let frame = |at: usize| &bytes[frames[at]..frames[at + 1]];
    let check = |order: &[usize], expected: u64, found: u64| {
        let mut other = bytes[..16].to_vec();
        order
            .iter()
            .for_each(|at| other.extend_from_slice(frame(*at)));
        let at = 16
            + order[..order.iter().position(|at| *at as u64 == found).unwrap()]
                .iter()
                .map(|at| frame(*at).len())
                .sum::<usize>() as u64;
        match read(&other).1 {
            Some(RecordError::Sequence {
                at: a,
                expected: e,
                found: f,
            }) => {
                assert_eq!((a, e, f), (at, expected, found));
            }
            other => panic!("{order:?}: {other:?}"),
        }
    };
    check(&[0, 1, 3, 2], 2, 3);
    check(&[0, 2, 3], 1, 2);
    check(&[1, 2], 0, 1);
    let mut twice = bytes.clone();
    twice.extend_from_slice(frame(9));
    assert!(matches!(
        read(&twice).1,
        Some(RecordError::Sequence {
            expected: 10,
            found: 9,
            ..
        })
    ));
}

#[test]
fn what_is_no_record_or_is_of_a_newer_version_says_so() {
    let error = |bytes: &[u8]| Reader::new(bytes).map(|_| ()).unwrap_err().to_string();
    assert!(error(b"#!/bin/sh\necho nothing to see").contains("not a record"));
    assert!(error(b"").contains("not a record"));
    let newer = frame::preamble(7);
    let told = error(&newer);
    assert!(
        told.contains("version 7") && told.contains("up to version 1"),
        "{told}"
    );
}

/// A record whose second frame has this body.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut bytes = Writer::preamble();
    bytes.extend(Writer::start(0, &start(0)).unwrap().take());
    bytes.extend(frame::Header::of(frame::Kind::Entries, 1, body).to_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn hostile_content_behind_right_checksums_is_an_error_at_its_byte() {
    let cases: [(&[u8], u64, &str); 9] = [
        (&[0x7f, 0], 2, "no entry of kind 127"),
        (&[1, 0, 0xff, 0xff, 0x03], 5, "more observations"),
        (
            &[1, 0, 1, 5, 0, 0, 0, 0, 0],
            4,
            "target 5 was never introduced",
        ),
        (&[1, 0, 1, 0, 1, b' ', 0, 0, 0, 0, 0], 6, "white space"),
        (&[1, 0, 1, 0, 1, 0xff, 0, 0, 0, 0], 6, "not a text"),
        (&[3], 1, "ends within"),
        (&[3, 0x80, 0x00], 1, "not written as numbers are"),
        (
            &[4, 0, 0xff, 0xff, 0xff, 0xff, 0x7f],
            7,
            "longer than its frame",
        ),
        (&[4, 0, 2, b'{', b'}'], 5, "EOF"),
    ];
    for (body, offset, why) in cases {
        let bytes = with_body(body);
        let base = bytes.len() as u64 - body.len() as u64;
        let (seen, failed, _) = read(&bytes);
        assert_eq!(seen.len(), 1, "nothing of the frame is believed");
        match failed {
            Some(RecordError::Invalid { at, why: told }) => {
                assert!(told.contains(why) || why == "EOF", "{body:?}: {told}");
                assert_eq!(at - base, offset, "{body:?}: {told}");
            }
            other => panic!("{body:?}: {other:?}"),
        }
    }
}

#[test]
fn a_length_that_is_not_there_takes_no_memory() {
    let mut bytes = Writer::preamble();
    let mut header = frame::Header::of(frame::Kind::Start, 0, b"");
    header.bytes = 1 << 30;
    bytes.extend(header.to_bytes());
    assert_eq!(read(&bytes).2, Tail::Torn { at: 16, bytes: 24 });
    header.bytes = u32::MAX;
    bytes.truncate(16);
    bytes.extend(header.to_bytes());
    assert!(matches!(
        read(&bytes).1,
        Some(RecordError::Damaged { at: 16, .. })
    ));
}

#[test]
fn what_a_machines_crash_leaves_is_cut_off_and_damage_before_it_is_not() {
    let (bytes, frames) = written(&two_runs());
    let mut zeros = bytes.clone();
    zeros.resize(bytes.len() + 5_000, 0);
    let end = scan(Cursor::new(&zeros)).unwrap();
    assert_eq!((end.bytes, end.torn_bytes), (bytes.len() as u64, 5_000));
    assert_eq!(
        read(&zeros).2,
        Tail::Torn {
            at: bytes.len() as u64,
            bytes: 5_000
        }
    );

    let mut lost = bytes[..frames[9]].to_vec();
    let last = frames[8] + 24;
    lost[last..].fill(0);
    assert_eq!(scan(Cursor::new(&lost)).unwrap().bytes, frames[8] as u64);

    let mut damaged = bytes.clone();
    damaged[frames[2] + 3] ^= 1;
    let error = scan(Cursor::new(&damaged)).unwrap_err();
    assert!(matches!(error, RecordError::Damaged { at, .. } if at == frames[2] as u64));
}

#[test]
fn a_passing_observation_takes_at_most_twelve_bytes_in_a_fleet_of_a_million() {
    let fleet = 1_000_000;
    let batch = |at: u64| {
        let targets = (0..1_000).map(|index| index * 1_009 % fleet);
        Event::Observations(targets.map(|target| passing(target, at)).collect())
    };
    let mut writer = Writer::start(0, &start(1_000_000)).unwrap();
    for target in 0..fleet {
        let one = Event::Observations(vec![passing(target, 1_000_500)]);
        writer
            .event(Timestamp::from_millis(1_000_500), false, &one)
            .unwrap();
    }
    let before = writer.take().len();
    for round in 0..10 {
        let now = 1_001_000 + round * 100;
        writer
            .event(Timestamp::from_millis(now), false, &batch(now))
            .unwrap();
    }
    let bytes = writer.take().len();
    assert!(
        bytes < 10_000 * 12,
        "{bytes} bytes for 10,000; {before} to introduce them"
    );
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (1_795_374_919_042u64..1_795_374_999_042).prop_map(Timestamp::from_millis),
        1 => any::<u64>().prop_map(Timestamp::from_millis),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let verdict = prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Warn),
        Just(Verdict::Fail),
        Just(Verdict::Unknown)
    ];
    let names = ("[a-z]{1,3}", "[a-z]", "[äa]");
    (names, time(), time(), any::<u32>(), verdict, ".{0,20}").prop_map(
        |((target, test, observer), asked_at, answered_at, took, verdict, evidence)| Observation {
            target: target.parse().unwrap(),
            test: test.parse().unwrap(),
            observer: observer.parse().unwrap(),
            asked_at,
            answered_at,
            took: Duration::from_micros(u64::from(took)),
            verdict,
            evidence: Evidence::new(evidence),
        },
    )
}

fn target() -> impl Strategy<Value = Arc<Target>> {
    ("[a-z]{1,4}", ".{0,9}").prop_map(|(id, value)| {
        Arc::new(Target {
            id: id.parse().unwrap(),
            address: Some(Address("10.0.0.1:80".into())),
            labels: Labels::new([("zone".to_owned(), value)]).unwrap_or_default(),
            run_on: None,
            runner: None,
            source: "static".parse().unwrap(),
        })
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => vec(observation(), 0..5).prop_map(Event::Observations),
        2 => ("[a-z]", time()).prop_map(|(observer, at)| Event::Unchanged {
            observer: observer.parse().unwrap(),
            at,
        }),
        2 => Just(Event::Tick),
        1 => Just(Event::LedgerRecovered),
        1 => any::<u32>().prop_map(|ms| Event::Woke {
            paused_for: Duration::from_millis(u64::from(ms)),
        }),
        1 => vec(target(), 0..4).prop_map(|upserted| Event::Targets {
            upserted,
            removed: vec!["gone".parse().unwrap()],
        }),
        1 => any::<usize>().prop_map(|last| Event::Source {
            source: "dns".parse().unwrap(),
            trouble: Some(SourceTrouble::Empty { last }),
        }),
        1 => (any::<u64>(), time(), ".*").prop_map(|(order, at, detail)| {
            Event::Outcome(Outcome {
                order: pitcrew_model::OrderId(order),
                kind: OutcomeKind::Unknown,
                at,
                detail,
            })
        }),
        1 => (".*", time()).prop_map(|(why, until)| {
            let act = PersonAct::Hold {
                target: "web-1".parse().unwrap(),
                until,
                why,
            };
            Event::Person(Request { by: "ann".into(), act })
        }),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    (time(), ".*").prop_map(|(at, summary)| Notice {
        to: Vec::new(),
        at,
        urgency: Urgency::Page,
        case: None,
        target: Some("web-1".parse().unwrap()),
        service: None,
        summary,
        evidence: vec!["one".into()],
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        10 => (time(), any::<bool>(), event()).prop_map(|(at, draining, event)| {
            Entry::Event(Entered { at, draining, event })
        }),
        1 => time().prop_map(|at| Entry::Records(vec![record(at.as_millis())])),
        1 => vec(notice(), 1..3).prop_map(Entry::Notices),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_is_read_back(entries in vec(entry(), 0..30), take_every in 1usize..9) {
        let mut writer = Writer::start(0, &start(5)).unwrap();
        let mut bytes = Writer::preamble();
        for (at, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Event(one) => writer.event(one.at, one.draining, &one.event).unwrap(),
                Entry::Records(records) => writer.records(records).unwrap(),
                Entry::Notices(notices) => writer.notices(notices).unwrap(),
                Entry::Start(_) | Entry::Gap(_) | Entry::End => unreachable!("none is drawn"),
            }
            if at % take_every == 0 {
                bytes.extend(writer.take());
            }
        }
        writer.end();
        bytes.extend(writer.take());
        let (seen, failed, tail) = read(&bytes);
        prop_assert!(failed.is_none(), "{:?}", failed);
        prop_assert_eq!(tail, Tail::Whole);
        let mut expected = vec![Entry::Start(Box::new(start(5)))];
        expected.extend(entries);
        expected.push(Entry::End);
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in vec(any::<u8>(), 0..300)) {
        read(&bytes);
        scan(Cursor::new(&bytes)).ok();
        read(&[&Writer::preamble()[..], &bytes].concat());
        // Behind right checksums, where decoding begins.
        read(&with_body(&bytes));
    }

    #[test]
    fn no_change_of_a_body_panics_the_reader(
        events in vec(event(), 1..8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut writer = Writer::start(0, &start(5)).unwrap();
        assert!(!writer.take().is_empty());
        for event in &events {
            writer.event(Timestamp::from_millis(6), true, event).unwrap();
        }
        let mut body = writer.take()[24..].to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        read(&with_body(&body));
    }

    #[test]
    fn any_flipped_bit_of_any_record_is_noticed(
        entries in vec(entry(), 1..6),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut all = vec![Entry::Start(Box::new(start(5)))];
        all.extend(entries);
        let (mut bytes, _) = written(&all);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(read(&bytes).1.is_some());
    }
}
