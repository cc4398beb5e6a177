//! Writing, reading back, starting again, and sharing with readers and other servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{fs, path::Path};

use pitcrew_ledger::{Committed, Ledger, LedgerError};
use pitcrew_model::{CaseId, OrderId};
use support::{hold, learned, record, records, target};

mod support;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_was_committed_is_read_back_in_order_and_after_a_restart() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let installation = ledger.installation().to_owned();
    let first = ledger.commit(&records(0..3), &[]).unwrap();
    let second = ledger.commit(&records(3..5), &[]).unwrap();
    assert_eq!((first.first_seq, first.last_seq), (1, 3));
    assert_eq!((second.first_seq, second.last_seq), (4, 5));
    drop(ledger);

    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.installation(), installation);
    ledger.commit(&records(5..6), &[]).unwrap();
    let reader = ledger.reader().unwrap();
    let entries = reader.after(0, 100).unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    assert!(entries.iter().map(|entry| &entry.record).eq(&records(0..6)));
    let verified = reader.verify(&mut |_, _| {}).unwrap();
    assert_eq!(
        (verified.entries, verified.last_hash),
        (6, entries[5].hash.clone())
    );
}

#[test]
fn a_commit_of_nothing_moves_nothing() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.commit(&records(0..2), &[]).unwrap();
    assert_eq!(
        ledger.commit(&[], &[]).unwrap(),
        Committed {
            first_seq: 3,
            last_seq: 2,
            found: Vec::new(),
        }
    );
    ledger.reader().unwrap().verify(&mut |_, _| {}).unwrap();
}

#[test]
fn entries_are_found_by_number_case_order_and_target() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.commit(&records(0..12), &[]).unwrap();
    let reader = ledger.reader().unwrap();
    let numbers = |entries: Vec<pitcrew_ledger::Entry>| {
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(reader.after(10, 100).unwrap()), [11, 12]);
    assert_eq!(numbers(reader.after(2, 3).unwrap()), [3, 4, 5]);
    assert_eq!(numbers(reader.after(u64::MAX, usize::MAX).unwrap()), [0; 0]);
    assert_eq!(numbers(reader.of_case(CaseId(2)).unwrap()), [5, 6, 7, 8]);
    assert_eq!(numbers(reader.of_order(OrderId(2)).unwrap()), [5]);
    assert_eq!(numbers(reader.of_target(&target(0), 2).unwrap()), [7, 10]);
    assert_eq!(reader.last_seq().unwrap(), 12);
}

#[test]
fn a_saved_row_replaces_the_earlier_and_a_spent_one_deletes_it() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger
        .commit(
            &[],
            &[learned("answers", 1), hold(Some(7)), learned("disk", 4)],
        )
        .unwrap();
    ledger
        .commit(&[record(1)], &[hold(None), learned("answers", 2)])
        .unwrap();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(
        ledger.saved().unwrap(),
        [learned("answers", 2), learned("disk", 4)]
    );
}

#[test]
fn numbers_go_on_from_the_highest_ever_recorded() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.highest_ids().unwrap(), (0, 0));
    ledger.commit(&records(0..9), &[]).unwrap();
    assert_eq!(ledger.highest_ids().unwrap(), (3, 3));
}

#[test]
fn every_fence_is_greater_than_all_before_it() {
    let directory = directory();
    let mut fences = Vec::new();
    for _ in 0..3 {
        let mut ledger = Ledger::open(directory.path()).unwrap();
        fences.push(ledger.next_fence().unwrap());
        ledger.commit(&records(0..1), &[]).unwrap();
    }
    assert_eq!(fences, [1, 2, 3]);
}

#[test]
fn a_second_server_is_refused_and_told_who_has_it() {
    let directory = directory();
    let _first = Ledger::open(directory.path()).unwrap();
    let Err(LedgerError::Locked { holder, .. }) = Ledger::open(directory.path()) else {
        panic!("two servers share a ledger");
    };
    assert_eq!(holder, Some(std::process::id()));
}

#[test]
fn readers_see_each_commit_while_the_server_runs_and_after_it_ended() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    let outside = Ledger::open_read_only(directory.path()).unwrap();
    assert_eq!(outside.last_seq().unwrap(), 0);
    ledger.commit(&records(0..3), &[]).unwrap();
    assert_eq!(outside.last_seq().unwrap(), 3);
    drop(ledger);
    assert_eq!(outside.verify(&mut |_, _| {}).unwrap().entries, 3);
    drop(outside);
    let outside = Ledger::open_read_only(directory.path()).unwrap();
    assert_eq!(outside.after(0, 10).unwrap().len(), 3);
}

#[test]
fn verify_tells_how_far_it_is() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.commit(&records(0..2_500), &[]).unwrap();
    let mut told = Vec::new();
    ledger
        .reader()
        .unwrap()
        .verify(&mut |done, of| told.push((done, of)))
        .unwrap();
    assert_eq!(
        told,
        [(0, 2_500), (1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]
    );
}

#[test]
fn an_export_is_one_line_a_record_and_each_names_the_hash_before_it() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.commit(&records(0..3), &[]).unwrap();
    let mut text = Vec::new();
    let exported = ledger.reader().unwrap().export(&mut text).unwrap();
    let lines: Vec<serde_json::Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!((exported.entries, lines.len()), (3, 3));
    assert_eq!(lines[2]["hash"], exported.last_hash.as_str());
    assert_eq!(lines[2]["previous"], lines[1]["hash"]);
    assert_eq!(lines[2]["seq"], 3);
    assert_eq!(
        serde_json::from_value::<pitcrew_model::Record>(lines[2]["record"].clone()).unwrap(),
        record(2)
    );
}

#[test]
fn the_log_stays_bounded_over_many_commits() {
    let directory = directory();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    for round in 0..80 {
        ledger
            .commit(&records(round * 500..(round + 1) * 500), &[])
            .unwrap();
    }
    let database = fs::metadata(directory.path().join("ledger.db"))
        .unwrap()
        .len();
    let log = fs::metadata(directory.path().join("ledger.db-wal"))
        .unwrap()
        .len();
    assert!(
        database > 8 << 20,
        "too little was written to tell: {database}"
    );
    assert!(log <= 8 << 20, "the log has {log} bytes");
}

#[test]
fn there_is_nothing_to_read_before_a_server_made_it() {
    let directory = directory();
    assert!(matches!(
        Ledger::open_read_only(directory.path()),
        Err(LedgerError::Absent { .. })
    ));
}

#[test]
fn what_is_not_a_ledger_is_refused_and_left_untouched() {
    for (what, write) in [
        (
            "text",
            (|path| fs::write(path, "not a database at all ".repeat(99)).unwrap()) as fn(&Path),
        ),
        ("another program's database", |path| {
            let other = rusqlite::Connection::open(path).unwrap();
            other.execute_batch("CREATE TABLE songs (name)").unwrap();
        }),
        ("another program's versioned database", |path| {
            let other = rusqlite::Connection::open(path).unwrap();
            other
                .execute_batch("PRAGMA application_id = 77; PRAGMA user_version = 1")
                .unwrap();
        }),
    ] {
        let directory = directory();
        let path = directory.path().join("ledger.db");
        write(&path);
        let before = fs::read(&path).unwrap();
        for result in [
            Ledger::open(directory.path()).map(|_| ()),
            Ledger::open_read_only(directory.path()).map(|_| ()),
        ] {
            assert!(
                matches!(result, Err(LedgerError::NotALedger { .. })),
                "{what}: {result:?}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), before, "{what}");
    }
}

#[test]
fn a_newer_format_is_refused() {
    let directory = directory();
    drop(Ledger::open(directory.path()).unwrap());
    rusqlite::Connection::open(directory.path().join("ledger.db"))
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    assert!(matches!(
        Ledger::open(directory.path()),
        Err(LedgerError::Newer { found: 9, .. })
    ));
}

#[test]
fn a_file_left_empty_by_a_crash_at_creation_becomes_a_ledger() {
    let directory = directory();
    fs::write(directory.path().join("ledger.db"), "").unwrap();
    Ledger::open(directory.path())
        .unwrap()
        .commit(&records(0..1), &[])
        .unwrap();
}
