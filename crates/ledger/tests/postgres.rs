//! The ledger in a real PostgreSQL: who leads, what is lost and doubled (nothing), and moving there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use pitcrew_ledger::{Bid, BrokenKind, Candidate, Leader, Ledger, LedgerError, Postgres};
use pitcrew_model::{CaseId, OrderId, Record};
use proptest::prelude::*;
use support::{
    hold, learned,
    postgres::{PATIENCE, Relay, Server, is_missing, lead, until},
    record, records, target,
};

mod support;

/// Nobody leads, so the first bid does.
fn first_leader(database: Postgres) -> Leader {
    match Candidate::new(database, "first").bid().unwrap() {
        Bid::Leads(leader) => *leader,
        Bid::Follows { leader, .. } => panic!("{leader:?} leads already"),
    }
}

fn written(database: &Postgres) -> Vec<Record> {
    let reader = database.reader().unwrap();
    reader.verify(&mut |_, _| {}).unwrap();
    let entries = reader.after(0, usize::MAX).unwrap();
    entries.into_iter().map(|entry| entry.record).collect()
}

/// kill -9 is survived with these; fsync only matters when the machine loses power.
const FAST: &[&str] = &["fsync=off"];

#[test]
fn what_was_committed_is_read_back_in_order_and_by_the_next_leader() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    assert_eq!(leader.highest_ids().unwrap(), (0, 0));
    let first = leader
        .commit(&records(0..3), &[learned("answers", 1), hold(Some(7))])
        .unwrap();
    let second = leader
        .commit(
            &records(3..12),
            &[
                hold(Some(8)),
                hold(None),
                learned("disk", 4),
                learned("answers", 2),
            ],
        )
        .unwrap();
    assert_eq!((first.first_seq, first.last_seq), (1, 3));
    assert_eq!(
        (second.first_seq, second.last_seq, second.found),
        (4, 12, vec![])
    );
    let (fence, installation) = (leader.fence(), leader.installation().to_owned());
    leader.release().unwrap();

    let leader = first_leader(server.database());
    assert_eq!(
        (leader.fence(), leader.installation()),
        (fence + 1, &*installation)
    );
    assert_eq!(
        leader.saved().unwrap(),
        [learned("answers", 2), learned("disk", 4)]
    );
    assert_eq!(leader.highest_ids().unwrap(), (3, 3));
    let reader = leader.reader().unwrap();
    let numbers = |entries: Vec<pitcrew_ledger::Entry>| {
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(reader.after(2, 3).unwrap()), [3, 4, 5]);
    assert_eq!(numbers(reader.after(u64::MAX, usize::MAX).unwrap()), [0; 0]);
    assert_eq!(numbers(reader.of_case(CaseId(2)).unwrap()), [5, 6, 7, 8]);
    assert_eq!(numbers(reader.of_order(OrderId(2)).unwrap()), [5]);
    assert_eq!(numbers(reader.of_target(&target(0), 2).unwrap()), [7, 10]);
    assert_eq!(reader.last_seq().unwrap(), 12);
    assert_eq!(written(&server.database()), records(0..12));
}

#[test]
fn a_leader_that_was_replaced_can_write_nothing() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut old = first_leader(server.database());
    old.commit(&records(0..2), &[learned("answers", 1)])
        .unwrap();
    let mut candidate = Candidate::new(server.database(), "second");
    assert!(
        matches!(candidate.bid(), Ok(Bid::Follows { leader, fence: 1 }) if leader.as_deref() == Some("first"))
    );
    let mut new = lead(&mut candidate);
    assert!(new.fence() > old.fence());
    for _ in 0..2 {
        let refused = old.commit(&records(2..4), &[learned("answers", 9)]);
        let Err(LedgerError::Deposed {
            own: 1,
            fence: 2,
            leader,
            ..
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(leader, "second");
        assert!(matches!(old.renew(), Err(LedgerError::Deposed { .. })));
    }
    assert!(matches!(old.release(), Err(LedgerError::Deposed { .. })));
    new.commit(&records(2..3), &[]).unwrap();
    assert_eq!(written(&server.database()), records(0..3));
    assert_eq!(new.saved().unwrap(), [learned("answers", 1)]);
}

#[test]
fn a_leader_that_renews_keeps_its_place() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    let mut candidate = Candidate::new(server.database(), "second");
    let watched_until = Instant::now() + pitcrew_ledger::LEASE + Duration::from_secs(2);
    while Instant::now() < watched_until {
        leader.renew().unwrap();
        assert!(matches!(candidate.bid(), Ok(Bid::Follows { .. })));
        thread::sleep(Duration::from_millis(200));
    }
    leader.release().unwrap();
    assert!(matches!(candidate.bid(), Ok(Bid::Leads(_))));
}

/// The leader's side of a cut: it believes to lead until it asks, and what it asks then is refused.
#[test]
fn another_leads_within_ten_seconds_of_a_cut_and_nothing_is_lost_or_doubled() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let relay = Relay::before(server.port);
    let mut old = first_leader(server.database_at(relay.port));
    let mut candidate = Candidate::new(server.database(), "second");
    old.commit(&records(0..5), &[]).unwrap();
    candidate.bid().unwrap();
    relay.cut();
    let cut_at = Instant::now();
    let writing = thread::spawn(move || {
        let lost = old.commit(&records(5..7), &[]);
        assert!(
            matches!(lost, Err(LedgerError::Unreachable { .. })),
            "{lost:?}"
        );
        old
    });
    let mut new = lead(&mut candidate);
    assert!(
        cut_at.elapsed() < Duration::from_secs(10),
        "{:?}",
        cut_at.elapsed()
    );
    new.commit(&records(5..9), &[]).unwrap();
    let mut old = writing.join().unwrap();
    relay.mend();
    let back = old.commit(&records(5..7), &[]);
    assert!(matches!(back, Err(LedgerError::Deposed { .. })), "{back:?}");
    assert_eq!(written(&server.database()), records(0..9));
}

#[test]
fn one_of_many_candidates_leads() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let bids: Vec<_> = (0..8)
        .map(|number| {
            let database = server.database();
            thread::spawn(move || Candidate::new(database, format!("server-{number}")).bid())
        })
        .collect();
    let bids = bids.into_iter().map(|bid| bid.join().unwrap().unwrap());
    let leaders = bids.filter(|bid| matches!(bid, Bid::Leads(_))).count();
    assert_eq!(leaders, 1);
}

#[test]
fn a_connection_that_the_database_ended_costs_nothing() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    let reader = leader.reader().unwrap();
    for round in 0..5 {
        leader.commit(&records(round..round + 1), &[]).unwrap();
        server.end_connections();
        assert_eq!(reader.last_seq().unwrap(), round + 1);
    }
    assert_eq!(written(&server.database()), records(0..5));
}

/// The hard one: the database committed, and the answer never came.
#[test]
fn a_commit_whose_answer_was_lost_is_found_by_its_place_and_not_written_twice() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let relay = Relay::before(server.port);
    let mut leader = first_leader(server.database_at(relay.port));
    leader.commit(&records(0..2), &[]).unwrap();
    relay.swallow_answers();
    let lost = leader.commit(&records(2..6), &[learned("answers", 1)]);
    assert!(
        matches!(lost, Err(LedgerError::Unreachable { .. })),
        "{lost:?}"
    );
    assert_eq!(
        written(&server.database()),
        records(0..6),
        "it had happened"
    );
    relay.mend();
    // The second of the four is not given again, as the intent of an order that was struck.
    let again = [&records([2, 4, 5])[..], &records(6..8)].concat();
    let committed = leader.commit(&again, &[learned("answers", 2)]).unwrap();
    assert_eq!(committed.found, [3, 5, 6]);
    assert_eq!((committed.first_seq, committed.last_seq), (7, 8));
    let numbers: Vec<u64> = (0..again.len())
        .map(|index| committed.seq_of(index))
        .collect();
    assert_eq!(numbers, [3, 5, 6, 7, 8]);
    assert_eq!(written(&server.database()), records(0..8));
    assert_eq!(leader.saved().unwrap(), [learned("answers", 2)]);
    // What looks the same later on is a new record.
    assert_eq!(leader.commit(&records(2..3), &[]).unwrap().first_seq, 9);
}

#[test]
fn a_commit_that_arrives_after_it_was_given_up_writes_nothing() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let relay = Relay::before(server.port);
    let mut leader = first_leader(server.database_at(relay.port));
    leader.commit(&records(0..2), &[]).unwrap();
    relay.hold_old();
    // Held back, given up, and done on a new connection.
    leader.commit(&[], &[learned("answers", 1)]).unwrap();
    leader.commit(&[], &[learned("answers", 2)]).unwrap();
    relay.mend();
    until("the old connection to end", || {
        let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'pitcrew'";
        server.sql("postgres", sql) == ["1"]
    });
    assert_eq!(leader.saved().unwrap(), [learned("answers", 2)]);
    leader.commit(&records(2..3), &[]).unwrap();
    assert_eq!(written(&server.database()), records(0..3));
}

#[test]
fn losing_the_database_fails_writes_and_reads_in_words_and_both_go_on_by_themselves() {
    if is_missing() {
        return;
    }
    let mut server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    let reader = server.database().reader().unwrap();
    leader.commit(&records(0..2), &[]).unwrap();
    server.kill();
    for _ in 0..2 {
        let failed = leader.commit(&records(2..4), &[]).unwrap_err();
        assert!(
            matches!(failed, LedgerError::Unreachable { .. }),
            "{failed:?}"
        );
        let words = failed.to_string();
        assert!(
            words.contains("127.0.0.1") && words.contains("goes on by itself"),
            "{words}"
        );
        assert!(!words.contains("s3cret"), "{words}");
        let unread = reader.after(0, 10);
        assert!(
            matches!(unread, Err(LedgerError::Unreachable { .. })),
            "{unread:?}"
        );
    }
    server.run();
    assert_eq!(leader.commit(&records(2..4), &[]).unwrap().last_seq, 4);
    assert_eq!(reader.after(0, 10).unwrap().len(), 4);
    assert_eq!(written(&server.database()), records(0..4));
}

#[test]
fn kill_9_of_the_database_amid_commits_loses_and_doubles_nothing() {
    if is_missing() {
        return;
    }
    // As it runs in production: every commit waits for the disk.
    let mut server = Server::start(&[]);
    let mut leader = first_leader(server.database());
    let done = AtomicBool::new(false);
    let numbers = thread::scope(|scope| {
        let done = &done;
        let writing = scope.spawn(move || {
            let (mut next, mut acknowledged) = (0, 0);
            while !done.load(Ordering::SeqCst) {
                let batch = records(next..next + next % 7 + 1);
                let deadline = Instant::now() + PATIENCE;
                let committed = loop {
                    match leader.commit(&batch, &[]) {
                        Ok(committed) => break committed,
                        Err(LedgerError::Unreachable { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    assert!(Instant::now() < deadline, "it never goes on");
                    thread::sleep(Duration::from_millis(10));
                };
                assert_eq!(committed.seq_of(0), acknowledged + 1);
                next += batch.len() as u64;
                acknowledged = committed.seq_of(batch.len() - 1);
            }
            next
        });
        for life in 0..5u64 {
            thread::sleep(Duration::from_millis(80 + life * 17));
            server.kill();
            server.run();
        }
        done.store(true, Ordering::SeqCst);
        writing.join().unwrap()
    });
    assert!(numbers > 20, "too few commits to tell: {numbers}");
    assert_eq!(written(&server.database()), records(0..numbers));
}

#[test]
fn tampering_by_sql_is_found_and_the_record_is_named() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    leader
        .commit(&records(0..10), &[learned("answers", 1)])
        .unwrap();
    leader.release().unwrap();
    server.sql(
        "ledger",
        "CREATE TABLE kept AS SELECT * FROM pitcrew.record",
    );
    for (sql, seq, kind) in [
        (
            "UPDATE pitcrew.record SET json = replace(json, 'web', 'wob') WHERE seq = 4",
            4,
            BrokenKind::Changed,
        ),
        (
            "UPDATE pitcrew.record SET hash = 'short' WHERE seq = 4",
            4,
            BrokenKind::Changed,
        ),
        (
            "UPDATE pitcrew.record SET at = 1 WHERE seq = 5",
            5,
            BrokenKind::Columns,
        ),
        (
            "DELETE FROM pitcrew.record WHERE seq = 6",
            6,
            BrokenKind::Missing,
        ),
        (
            "DELETE FROM pitcrew.record WHERE seq = 10",
            10,
            BrokenKind::Truncated,
        ),
        (
            "INSERT INTO pitcrew.record SELECT 11, at, case_id, order_id, target, hash, json FROM pitcrew.record WHERE seq = 3",
            11,
            BrokenKind::Inserted,
        ),
        (
            "UPDATE pitcrew.record SET seq = 1 - seq WHERE seq = 1; INSERT INTO pitcrew.record SELECT 1, at, case_id, order_id, target, hash, json FROM pitcrew.record WHERE seq = 0",
            0,
            BrokenKind::Inserted,
        ),
    ] {
        server.sql("ledger", sql);
        let verdict = server.database().reader().unwrap().verify(&mut |_, _| {});
        let Err(LedgerError::Broken {
            seq: found,
            kind: found_kind,
            ..
        }) = verdict
        else {
            panic!("{sql}: {verdict:?}");
        };
        assert_eq!((found, found_kind), (seq, kind), "{sql}");
        assert!(
            Candidate::new(server.database(), "next").bid().is_err(),
            "nobody builds on it: {sql}"
        );
        server.sql(
            "ledger",
            "TRUNCATE pitcrew.record; INSERT INTO pitcrew.record SELECT * FROM kept;
             UPDATE pitcrew.head SET leader = NULL",
        );
    }
    server.sql("ledger", "UPDATE pitcrew.saved SET json = '{}'");
    let verdict = server.database().reader().unwrap().verify(&mut |_, _| {});
    assert!(
        matches!(verdict, Err(LedgerError::SavedRow { .. })),
        "{verdict:?}"
    );
    server.sql("ledger", "UPDATE pitcrew.head SET fence = 99");
    assert!(matches!(
        server.database().reader().map(|_| ()),
        Err(LedgerError::Corrupt { .. })
    ));
}

#[test]
fn what_is_no_place_for_a_ledger_is_refused_in_words() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let empty = server.database().reader().map(|_| ());
    assert!(
        matches!(empty, Err(LedgerError::Absent { .. })),
        "{empty:?}"
    );
    server.sql(
        "postgres",
        "CREATE DATABASE old ENCODING 'LATIN1' TEMPLATE template0 OWNER pitcrew",
    );
    let address = format!("postgresql://pitcrew@127.0.0.1:{}/old", server.port);
    let old = Postgres::new(&address, Some(&server.password_file()), None).unwrap();
    let refused = Candidate::new(old, "first").bid().map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("LATIN1"), "{refused}");
    drop(first_leader(server.database()));
    server.sql("ledger", "UPDATE pitcrew.format SET version = 9");
    let newer = Candidate::new(server.database(), "first").bid().map(|_| ());
    assert!(
        matches!(newer, Err(LedgerError::Newer { found: 9, .. })),
        "{newer:?}"
    );
    std::fs::write(server.password_file(), "wr0ng\n").unwrap();
    let refused = Candidate::new(server.database(), "first")
        .bid()
        .map(|_| ())
        .unwrap_err();
    assert!(refused.to_string().contains("28P01"), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("wr0ng"));
}

#[test]
fn tls_holds_only_to_a_server_that_an_authority_vouches_for() {
    if is_missing() {
        return;
    }
    let mut server = Server::start(FAST);
    let (right, wrong) = (authority(), authority());
    let directory = server.directory.path().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &right)
        .unwrap();
    let data = directory.join("data");
    std::fs::write(data.join("server.crt"), certificate.pem()).unwrap();
    std::fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
    server.own_privately("server.key");
    server.kill();
    server.add_option("ssl=on");
    server.run();
    let bid = |authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>| {
        let file = directory.join("authorities.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        let address = format!(
            "postgresql://pitcrew@127.0.0.1:{}/ledger?sslmode=require",
            server.port
        );
        let database = Postgres::new(&address, Some(&server.password_file()), Some(&file)).unwrap();
        Candidate::new(database, "first").bid()
    };
    assert!(matches!(bid(&wrong), Err(LedgerError::Unreachable { .. })));
    let Ok(Bid::Leads(mut leader)) = bid(&right) else {
        panic!("the right authority does not do");
    };
    leader.commit(&records(0..3), &[]).unwrap();
    let used = server.sql("postgres", "SELECT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'pitcrew'");
    assert_eq!(used, ["true"]);
}

fn authority() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap()
}

/// Everything of a ledger that can be asked.
fn answers(reader: &pitcrew_ledger::Reader) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut export = Vec::new();
    let exported = reader.export(&mut export).unwrap();
    let verified = reader.verify(&mut |_, _| {}).unwrap();
    (exported, export, verified, reader.saved().unwrap())
}

#[test]
fn a_moved_ledger_is_the_same_and_goes_on_with_a_greater_fence() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let directory = tempfile::tempdir().unwrap();
    let mut source = Ledger::open(directory.path()).unwrap();
    let fence = (0..3).map(|_| source.next_fence().unwrap()).last().unwrap();
    source
        .commit(&records(0..2_345), &[learned("answers", 1), hold(Some(4))])
        .unwrap();
    let files = [("agents/orders.key".to_owned(), vec![0, 255, 7])];
    let mut told = Vec::new();
    server
        .database()
        .move_from(&source, &files, &mut |done, of| told.push((done, of)))
        .unwrap();
    assert_eq!(
        told,
        [(0, 2_345), (1_000, 2_345), (2_000, 2_345), (2_345, 2_345)]
    );
    let moved = server.database().reader().unwrap();
    assert_eq!(answers(&moved), answers(&source.reader().unwrap()));
    let shared = server.database().files(None);
    assert_eq!(shared.beginning_with("agents/").unwrap(), files);
    server
        .database()
        .move_from(&source, &[], &mut |_, _| {})
        .expect("it is there already");
    let mut leader = first_leader(server.database());
    assert_eq!(
        (leader.fence(), leader.installation()),
        (fence + 1, source.installation())
    );
    assert_eq!(leader.highest_ids().unwrap(), source.highest_ids().unwrap());
    drop(source);
    let left = Ledger::open(directory.path()).map(|_| ());
    assert!(
        matches!(&left, Err(LedgerError::Moved { to, .. }) if to.contains("/ledger")),
        "no server goes on with what was left behind: {left:?}"
    );
    let source = Ledger::open_to_move(directory.path()).unwrap();
    assert_eq!(leader.commit(&records(0..1), &[]).unwrap().first_seq, 2_346);

    let occupied = server.database().move_from(&source, &[], &mut |_, _| {});
    assert!(
        matches!(occupied, Err(LedgerError::Occupied { entries: 2_346, .. })),
        "{occupied:?}"
    );
    assert_eq!(moved.last_seq().unwrap(), 2_346);
}

#[test]
fn a_shared_file_is_written_by_who_leads_and_read_by_everybody() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let leader = first_leader(server.database());
    let old = server.database().files(Some(leader.fence()));
    old.write("agents/a", b"1").unwrap();
    old.write("agents/b", b"\0\xff").unwrap();
    old.write("other", b"").unwrap();
    old.write("agents/a", b"2").unwrap();
    server.end_connections();
    let reading = server.database().files(None);
    let two = [("agents/a", &b"2"[..]), ("agents/b", &b"\0\xff"[..])];
    let two = two.map(|(name, content)| (name.to_owned(), content.to_vec()));
    assert_eq!(reading.beginning_with("agents/").unwrap(), two);
    assert_eq!(reading.read("agents/c").unwrap(), None);
    leader.release().unwrap();
    drop(first_leader(server.database()));
    for refused in [old.write("agents/a", b"3"), reading.write("agents/a", b"4")] {
        assert!(
            matches!(refused, Err(LedgerError::Deposed { fence: 2, .. })),
            "{refused:?}"
        );
    }
    assert_eq!(reading.read("agents/a").unwrap(), Some(b"2".to_vec()));
    server.sql(
        "ledger",
        "UPDATE pitcrew.file SET content = 'x' WHERE name = 'other'",
    );
    let changed = reading.read("other");
    assert!(
        matches!(changed, Err(LedgerError::Corrupt { .. })),
        "{changed:?}"
    );
}

#[test]
fn a_move_that_was_cut_leaves_nothing_and_may_be_repeated() {
    if is_missing() {
        return;
    }
    let mut server = Server::start(FAST);
    let directory = tempfile::tempdir().unwrap();
    let mut source = Ledger::open(directory.path()).unwrap();
    source
        .commit(&records(0..5_000), &[learned("answers", 1)])
        .unwrap();
    for at in [0, 2_000, 5_000] {
        let cut = server.database().move_from(&source, &[], &mut |done, _| {
            if done == at {
                server.end_connections();
            }
        });
        assert!(
            matches!(cut, Err(LedgerError::Unreachable { .. })),
            "{cut:?}"
        );
        assert_eq!(server.database().reader().unwrap().last_seq().unwrap(), 0);
    }
    server.kill();
    server.run();
    assert_eq!(
        server
            .database()
            .move_from(&source, &[], &mut |_, _| {})
            .unwrap()
            .entries,
        5_000
    );
}

/// What is done to both stores: a commit, or a start of a server.
#[derive(Clone, Debug)]
enum Act {
    Commit {
        records: Vec<Record>,
        cured: Option<u32>,
        until: Option<Option<u64>>,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    // Any text may be in a fact: quotes, NUL, what is no letter anywhere.
    let record = (0u64..50, any::<String>()).prop_map(|(number, words)| {
        let mut record = record(number);
        record.fact = pitcrew_model::Fact::Closed {
            ending: pitcrew_model::Ending::Cured,
            why: words,
        };
        record
    });
    prop_oneof![
        8 => (prop::collection::vec(record, 0..6), prop::option::of(any::<u32>()), prop::option::of(prop::option::of(any::<u32>().prop_map(u64::from))))
            .prop_map(|(records, cured, until)| Act::Commit { records, cured, until }),
        1 => Just(Act::Restart),
    ]
}

#[test]
fn both_stores_give_back_what_was_written() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&prop::collection::vec(act(), 1..12), |acts| {
            server.sql("ledger", "DROP SCHEMA IF EXISTS pitcrew CASCADE");
            let directory = tempfile::tempdir().unwrap();
            let mut sqlite = Ledger::open(directory.path()).unwrap();
            // The same installation, so that the hashes must be the same, too.
            server
                .database()
                .move_from(&sqlite, &[], &mut |_, _| {})
                .unwrap();
            let mut postgres = first_leader(server.database());
            for act in acts {
                match act {
                    Act::Commit {
                        records,
                        cured,
                        until,
                    } => {
                        let saved: Vec<_> = cured
                            .map(|cured| learned("answers", cured))
                            .into_iter()
                            .chain(until.map(hold))
                            .collect();
                        prop_assert_eq!(
                            sqlite.commit(&records, &saved).unwrap(),
                            postgres.commit(&records, &saved).unwrap()
                        );
                    }
                    Act::Restart => {
                        drop(sqlite);
                        // It was moved, and goes on only to be compared.
                        sqlite = Ledger::open_to_move(directory.path()).unwrap();
                        postgres.release().unwrap();
                        postgres = first_leader(server.database());
                    }
                }
            }
            prop_assert_eq!(
                sqlite.highest_ids().unwrap(),
                postgres.highest_ids().unwrap()
            );
            prop_assert_eq!(
                answers(&sqlite.reader().unwrap()),
                answers(&postgres.reader().unwrap())
            );
            Ok(())
        })
        .unwrap();
}

#[test]
fn reading_beside_a_leader_waits_for_nothing() {
    if is_missing() {
        return;
    }
    let server = Server::start(FAST);
    let mut leader = first_leader(server.database());
    let reader = server.database().reader().unwrap();
    let reading = thread::spawn(move || {
        until("a thousand records", || {
            reader.verify(&mut |_, _| {}).unwrap();
            reader.last_seq().unwrap() >= 1_000
        });
    });
    for round in 0..100 {
        leader
            .commit(&records(round * 10..round * 10 + 10), &[])
            .unwrap();
    }
    reading.join().unwrap();
}
