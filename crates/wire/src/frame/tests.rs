//! What is written is read back; what comes from anyone is refused with a reason.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{
    Action, Address, Authority, Evidence, Labels, Observation, Order, OrderId, Outcome,
    OutcomeKind, Place, Proves, Runner, Target, TcpTest, Test, TestKind, Timestamp, Verdict,
};
use proptest::prelude::*;

use super::*;
use crate::{Hello, Protocol};

fn target() -> Target {
    Target {
        id: "nginx@web-1".parse().unwrap(),
        address: Some(Address("10.0.0.1:80".into())),
        labels: Labels::new([("service", "web")]).unwrap(),
        run_on: Some("web-1".parse().unwrap()),
        runner: Some(Runner::Unit {
            name: "nginx.service".into(),
            bus: None,
        }),
        source: "agents-1".parse().unwrap(),
    }
}

pub(crate) fn order() -> Order {
    Order {
        id: OrderId(7),
        operation: "operation-7".parse().unwrap(),
        case: None,
        target: Arc::new(target()),
        service: Some("web".parse().unwrap()),
        host: None,
        lease: None,
        action: Action::Restart,
        runner: target().runner,
        authority: Authority::Policy,
        repair: None,
        step: 0,
        attempt: 1,
        given_at: Timestamp::from_millis(1_000),
        settle: Duration::from_secs(30),
        expires_at: Timestamp::from_millis(61_000),
        fence: 3,
        digest: "0123456789abcdef".into(),
        target_is_down: true,
    }
}

fn observation(evidence: &str) -> Observation {
    Observation {
        target: target().id,
        test: "answers".parse().unwrap(),
        observer: "web-2".parse().unwrap(),
        asked_at: Timestamp::from_millis(5),
        answered_at: Timestamp::from_millis(9),
        took: Duration::from_millis(4),
        verdict: Verdict::Fail,
        evidence: Evidence::new(evidence),
    }
}

fn to_server() -> Vec<ToServer> {
    vec![
        ToServer::Enrol {
            secret: "00".into(),
            request: "PEM".into(),
        },
        ToServer::Hello(Hello {
            protocol: Protocol::OURS,
            version: "0.1.0".into(),
            instance: "i".into(),
            boot_id: "b".into(),
        }),
        ToServer::Inventory {
            targets: vec![target()],
        },
        ToServer::Observations {
            observations: vec![observation("connection refused")],
        },
        ToServer::Outcome {
            operation: order().operation,
            outcome: Outcome {
                order: OrderId(7),
                kind: OutcomeKind::Unknown,
                at: Timestamp::ZERO,
                detail: "it has not ended in time".into(),
            },
        },
        ToServer::Beat { sent_ms: u64::MAX },
    ]
}

fn watch() -> ToAgent {
    let test = Test {
        name: "answers".parse().unwrap(),
        kind: TestKind::Tcp(TcpTest {
            port: Some(80),
            send: None,
            expect: None,
        }),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        failure_threshold: 3,
        success_threshold: 2,
        proves: Proves::Down,
        place: Place::Host,
    };
    ToAgent::Watch {
        target: Arc::new(target()),
        runner: None,
        tests: vec![Arc::new(test)],
    }
}

#[tokio::test]
async fn messages_written_one_after_the_other_are_read_back() {
    let mut stream = Vec::new();
    for message in to_server() {
        write(&mut stream, &message).await.unwrap();
    }
    let mut rest = &*stream;
    for message in to_server() {
        assert_eq!(
            read::<ToServer>(&mut rest, FRAME_BYTES_MAX).await.unwrap(),
            message
        );
    }
    let end = read::<ToServer>(&mut rest, FRAME_BYTES_MAX).await;
    assert!(matches!(end, Err(WireError::Closed)));

    let frame = encode(&watch()).unwrap();
    assert_eq!(decode::<ToAgent>(&frame[4..]).unwrap(), watch());
}

#[tokio::test]
async fn a_length_beyond_the_bound_is_refused_before_the_body_is_read() {
    let frame = [0xff, 0xff, 0xff, 0xff];
    let read = read::<ToServer>(&mut &frame[..], GREETING_BYTES_MAX).await;
    assert!(matches!(
        read,
        Err(WireError::Oversized {
            max: GREETING_BYTES_MAX,
            ..
        })
    ));
}

#[test]
fn what_would_be_too_long_is_not_written() {
    let request = "x".repeat(FRAME_BYTES_MAX);
    let written = encode(&ToServer::Renew { request });
    assert!(matches!(written, Err(WireError::Oversized { .. })));
}

#[test]
fn a_kind_of_message_of_another_version_is_no_error() {
    let body = br#"{"kind":"sing","song":[1,2,{"a":null}]}"#;
    assert_eq!(decode::<ToServer>(body).unwrap(), ToServer::Unknown);
    assert_eq!(decode::<ToAgent>(body).unwrap(), ToAgent::Unknown);
}

#[test]
fn what_an_older_server_does_not_say_is_as_if_there_were_one_server() {
    let welcome = br#"{"kind":"welcome","protocol":1,"version":"0.1.0","beat":"5s","lease":"15s"}"#;
    let ToAgent::Welcome(welcome) = decode(welcome).unwrap() else {
        panic!("no welcome");
    };
    assert_eq!(welcome.fence, 0);
    let beat = br#"{"kind":"beat","sent_ms":1,"now":2}"#;
    let ToAgent::Beat { unsure, .. } = decode(beat).unwrap() else {
        panic!("no beat");
    };
    assert!(!unsure);
}

#[test]
fn who_leads_is_told_on_one_line() {
    let leader = Some(format!("http://a\n{}", "b".repeat(10_000)));
    let told = encode(&ToAgent::NotLeading { leader }).unwrap();
    let ToAgent::NotLeading { leader } = decode(&told[4..]).unwrap() else {
        panic!("it leads");
    };
    let leader = leader.unwrap();
    assert!(leader.starts_with("http://a") && leader.len() <= 512 && !leader.contains('\n'));
    let nobody = ToAgent::NotLeading { leader: None };
    let told = encode(&nobody).unwrap();
    assert_eq!(decode::<ToAgent>(&told[4..]).unwrap(), nobody);
}

#[test]
fn too_many_observations_are_refused_and_long_evidence_is_cut() {
    let batch = |count, evidence: &str| {
        let one = serde_json::json!(observation(""));
        let mut many = vec![one; count];
        many.iter_mut()
            .for_each(|one| one["evidence"] = evidence.into());
        serde_json::json!({ "kind": "observations", "observations": many }).to_string()
    };
    let many = decode::<ToServer>(batch(1_001, "").as_bytes());
    assert!(matches!(many, Err(WireError::OutOfBounds(_))));
    let long = "line\n".repeat(1_000);
    let ToServer::Observations { observations } = decode(batch(1, &long).as_bytes()).unwrap()
    else {
        panic!("they are observations");
    };
    assert_eq!(observations[0].evidence, Evidence::new(&long));
}

/// One byte of a good message replaced, or its end cut off.
fn mutilated() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<Vec<u8>> = to_server()
        .iter()
        .map(|message| encode(message).unwrap()[4..].to_vec())
        .chain([encode(&watch()).unwrap()[4..].to_vec()])
        .collect();
    let one = prop::sample::select(good);
    (
        one,
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, at, byte, cut)| {
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] = byte;
            }
            bytes
        })
}

proptest! {
    #[test]
    fn no_bytes_panic_the_decoders(bytes: Vec<u8>) {
        decode::<ToServer>(&bytes).ok();
        decode::<ToAgent>(&bytes).ok();
    }

    #[test]
    fn no_mutilated_message_panics_the_decoders(bytes in mutilated()) {
        decode::<ToServer>(&bytes).ok();
        decode::<ToAgent>(&bytes).ok();
    }

    #[test]
    fn evidence_of_any_text_is_read_back(text in ".{0,600}") {
        let message = ToServer::Observations { observations: vec![observation(&text)] };
        let frame = encode(&message).unwrap();
        prop_assert_eq!(decode::<ToServer>(&frame[4..]).unwrap(), message);
    }
}
