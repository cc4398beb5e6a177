//! Every way to tamper with the file by SQL is found, and the record is named.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use pitcrew_ledger::{BrokenKind, Ledger, LedgerError};
use pitcrew_model::Timestamp;
use support::{learned, records};

mod support;

/// Ten records and a saved row, then `sql` on the closed file; the reader's verdict.
fn verdict_after(sql: &str) -> Result<u64, LedgerError> {
    let directory = tempfile::tempdir().unwrap();
    let path = tampered(directory.path(), sql);
    let verdict = verify(directory.path());
    assert!(path.exists(), "evidence is never deleted");
    // A server that starts over it must not build on it either: all ten are within the tail it checks.
    if verdict.is_err() && !sql.contains("INDEX") {
        assert!(
            Ledger::open(directory.path()).is_err() || sql.contains("saved"),
            "{sql}"
        );
    }
    verdict
}

fn tampered(directory: &Path, sql: &str) -> PathBuf {
    let mut ledger = Ledger::open(directory).unwrap();
    ledger
        .commit(&records(0..10), &[learned("answers", 1)])
        .unwrap();
    drop(ledger);
    let path = directory.join("ledger.db");
    let outside = rusqlite::Connection::open(&path).unwrap();
    outside.execute_batch(sql).unwrap();
    path
}

fn verify(directory: &Path) -> Result<u64, LedgerError> {
    let reader = Ledger::open_read_only(directory)?;
    let verified = reader.verify(&mut |_, _| {})?;
    let exported = reader.export(&mut std::io::sink())?;
    assert_eq!(exported.last_hash, verified.last_hash);
    Ok(verified.entries)
}

fn broken(sql: &str, seq: u64, kind: BrokenKind) {
    match verdict_after(sql) {
        Err(LedgerError::Broken {
            seq: found_seq,
            kind: found_kind,
            at,
            ..
        }) => {
            assert_eq!((found_seq, found_kind), (seq, kind), "{sql}");
            assert!(at.is_some(), "{sql} has no time");
        }
        other => panic!("{sql}: {other:?}"),
    }
}

/// Exchanges `columns` of two rows.
fn swap(columns: &[&str], a: u64, b: u64) -> String {
    let sets: Vec<String> = columns
        .iter()
        .map(|column| {
            format!(
                "{column} = (SELECT {column} FROM before WHERE before.seq = {a} + {b} - record.seq)"
            )
        })
        .collect();
    format!(
        "CREATE TEMP TABLE before AS SELECT * FROM record; UPDATE record SET {} WHERE seq IN ({a}, {b})",
        sets.join(", ")
    )
}

const ALL: [&str; 6] = ["at", "case_id", "order_id", "target", "hash", "json"];

#[test]
fn an_untouched_ledger_verifies() {
    assert_eq!(verdict_after("SELECT 1").unwrap(), 10);
}

#[test]
fn a_changed_record_is_named() {
    for seq in [1, 5, 10] {
        broken(
            &format!("UPDATE record SET json = replace(json, 'cured', 'cores') WHERE seq = {seq}"),
            seq,
            BrokenKind::Changed,
        );
    }
}

#[test]
fn the_name_of_a_changed_record_comes_with_its_time() {
    let directory = tempfile::tempdir().unwrap();
    tampered(
        directory.path(),
        "UPDATE record SET json = json || ' ' WHERE seq = 3",
    );
    let error = verify(directory.path()).unwrap_err();
    let time = Timestamp::from_millis(1_795_374_919_044).to_string();
    assert!(error.to_string().contains(&time), "{error}");
    assert!(error.to_string().contains("record 3"), "{error}");
}

#[test]
fn a_changed_hash_is_named() {
    broken(
        "UPDATE record SET hash = zeroblob(32) WHERE seq = 4",
        4,
        BrokenKind::Changed,
    );
    broken(
        "UPDATE record SET hash = x'00' WHERE seq = 4",
        4,
        BrokenKind::Changed,
    );
}

#[test]
fn a_missing_record_is_named() {
    broken("DELETE FROM record WHERE seq = 1", 1, BrokenKind::Missing);
    broken(
        "DELETE FROM record WHERE seq BETWEEN 4 AND 6",
        4,
        BrokenKind::Missing,
    );
}

#[test]
fn a_missing_record_whose_gap_was_closed_is_named() {
    let renumber = |seq, by| {
        format!(
            "DELETE FROM record WHERE seq >= {seq} AND seq < {seq} + {by};
             UPDATE record SET seq = seq + 100 WHERE seq >= {seq};
             UPDATE record SET seq = seq - 100 - {by} WHERE seq > 100"
        )
    };
    broken(&renumber(4, 1), 4, BrokenKind::Missing);
    broken(&renumber(4, 3), 4, BrokenKind::Missing);
    broken(&renumber(9, 1), 9, BrokenKind::Missing);
}

#[test]
fn a_cut_off_end_is_named() {
    broken("DELETE FROM record WHERE seq > 7", 8, BrokenKind::Truncated);
    broken(
        "DELETE FROM record WHERE seq = 10",
        10,
        BrokenKind::Truncated,
    );
}

#[test]
fn an_end_cut_off_together_with_a_made_up_head_is_noticed() {
    assert!(matches!(
        verdict_after(
            "DELETE FROM record WHERE seq > 7;
             UPDATE head SET seq = 7, hash = (SELECT hash FROM record WHERE seq = 7)"
        ),
        Err(LedgerError::Corrupt { .. })
    ));
}

#[test]
fn reordered_records_are_named() {
    for (a, b) in [(4, 5), (2, 9), (9, 10), (1, 2)] {
        broken(&swap(&ALL, a, b), a, BrokenKind::Reordered);
        broken(&swap(&["json"], a, b), a, BrokenKind::Reordered);
    }
}

#[test]
fn an_inserted_record_is_named() {
    let insert = "INSERT INTO record SELECT 4, at, case_id, order_id, target, zeroblob(32), '{}' FROM record WHERE seq = 3";
    broken(
        &format!(
            "UPDATE record SET seq = seq + 100 WHERE seq >= 4;
             UPDATE record SET seq = seq - 99 WHERE seq > 100; {insert}"
        ),
        4,
        BrokenKind::Inserted,
    );
    broken(
        &insert.replace("SELECT 4", "SELECT 11"),
        11,
        BrokenKind::Inserted,
    );
    broken(
        &insert.replace("SELECT 4", "SELECT 0"),
        0,
        BrokenKind::Inserted,
    );
}

#[test]
fn a_column_that_searches_use_is_named() {
    for change in [
        "at = at + 1",
        "case_id = 77",
        "case_id = NULL",
        "order_id = 3",
        "target = 'db-1'",
        "target = NULL",
    ] {
        broken(
            &format!("UPDATE record SET {change} WHERE seq = 6"),
            6,
            BrokenKind::Columns,
        );
    }
}

#[test]
fn records_of_another_ledger_do_not_fit() {
    let other = tempfile::tempdir().unwrap();
    let other_path = tampered(other.path(), "SELECT 1");
    broken(
        &format!(
            "ATTACH '{}' AS other; DELETE FROM record; INSERT INTO record SELECT * FROM other.record",
            other_path.display()
        ),
        1,
        BrokenKind::Changed,
    );
}

#[test]
fn a_changed_head_is_noticed() {
    for change in [
        "seq = 9",
        "seq = 11",
        "seq = -1",
        "hash = zeroblob(32)",
        "fence = 99",
        "installation = 'x'",
        "checksum = zeroblob(32)",
    ] {
        let sql = format!("UPDATE head SET {change}");
        assert!(
            matches!(verdict_after(&sql), Err(LedgerError::Corrupt { .. })),
            "{sql}"
        );
    }
    assert!(matches!(
        verdict_after("DELETE FROM head"),
        Err(LedgerError::Corrupt { .. })
    ));
}

#[test]
fn changed_state_is_named_by_its_key() {
    for sql in [
        "UPDATE saved SET json = replace(json, '12', '13')",
        "UPDATE saved SET json = 'no json'",
        "UPDATE saved SET checksum = x''",
        "UPDATE saved SET key = 'learned/\"web\"/\"answers\"/\"restart\"' || ''; UPDATE saved SET json = ' ' || json",
    ] {
        match verdict_after(sql) {
            Err(LedgerError::SavedRow { key, .. }) => {
                assert_eq!(key, "learned/\"web\"/\"answers\"/\"restart\"", "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_dropped_table_is_an_error() {
    for table in ["record", "saved", "head"] {
        assert!(verdict_after(&format!("DROP TABLE {table}")).is_err());
    }
}

/// What `docs/formats/ledger.md` says a chain can't show: the whole of it made anew with its own rules. Only
/// the hash that was kept elsewhere differs.
#[test]
fn a_chain_made_anew_shows_only_against_a_head_kept_elsewhere() {
    let head = |why: &str| {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(directory.path()).unwrap();
        let mut records = records(0..3);
        records[1].fact = pitcrew_model::Fact::Closed {
            ending: pitcrew_model::Ending::Cured,
            why: why.to_owned(),
        };
        ledger.commit(&records, &[]).unwrap();
        ledger
            .reader()
            .unwrap()
            .verify(&mut |_, _| {})
            .unwrap()
            .last_hash
    };
    assert_ne!(head("as it was"), head("as somebody wants it"));
}
