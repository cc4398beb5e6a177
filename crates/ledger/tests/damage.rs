//! A disk that changes bits: an error or the same answers as before, never a panic and never other answers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use pitcrew_ledger::{Entry, Ledger, LedgerError};
use pitcrew_model::{CaseId, OrderId, Saved};
use proptest::prelude::*;
use support::{hold, learned, records, target};

mod support;

/// All that can be asked of a ledger.
#[derive(PartialEq, Debug)]
struct Answers {
    entries: Vec<Entry>,
    of_case: Vec<Entry>,
    of_order: Vec<Entry>,
    of_target: Vec<Entry>,
    saved: Vec<Saved>,
    head: (String, u64, String),
}

fn ask(directory: &Path) -> Result<Answers, LedgerError> {
    let reader = Ledger::open_read_only(directory)?;
    let verified = reader.verify(&mut |_, _| {});
    let answers = Answers {
        entries: reader.after(0, 1_000)?,
        of_case: reader.of_case(CaseId(2))?,
        of_order: reader.of_order(OrderId(2))?,
        of_target: reader.of_target(&target(1), 100)?,
        saved: reader.saved()?,
        head: (String::new(), 0, String::new()),
    };
    reader.export(&mut std::io::sink())?;
    let verified = verified?;
    Ok(Answers {
        head: (verified.installation, verified.entries, verified.last_hash),
        ..answers
    })
}

/// The files of a ledger that was closed, and of one whose server was killed with all in the log.
fn ledgers() -> [Vec<(&'static str, Vec<u8>)>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.next_fence().unwrap();
    ledger
        .commit(&records(0..60), &[learned("answers", 1), hold(Some(9))])
        .unwrap();
    let read = |name| fs::read(directory.path().join(name)).unwrap();
    let killed = vec![
        ("ledger.db", read("ledger.db")),
        ("ledger.db-wal", read("ledger.db-wal")),
    ];
    drop(ledger);
    [vec![("ledger.db", read("ledger.db"))], killed]
}

fn write(directory: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).unwrap();
    }
}

fn flipped_bits_change_no_answer(
    files: &[(&'static str, Vec<u8>)],
    which: usize,
    flips: &[(usize, u8)],
) {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    let sound = ask(directory.path()).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let mut files = files.to_vec();
    let (name, bytes) = &mut files[which];
    let is_log = *name == "ledger.db-wal";
    for (at, bit) in flips {
        let length = bytes.len();
        bytes[at % length] ^= 1 << (bit % 8);
    }
    write(directory.path(), &files);
    match ask(directory.path()) {
        Err(_) => {}
        // SQLite drops the log from its first damaged frame on: what was committed after it is not there, as
        // if it had never been; only a head kept elsewhere shows that.
        Ok(answers) if is_log => {
            assert!(sound.entries.starts_with(&answers.entries), "{flips:?}");
        }
        Ok(answers) => assert_eq!(answers, sound, "{flips:?}"),
    }
    if let Ok(mut ledger) = Ledger::open(directory.path()) {
        ledger.saved().ok();
        ledger.commit(&records(0..2), &[]).ok();
    }
}

#[test]
fn a_flipped_bit_at_any_place_of_the_header_and_first_rows_changes_no_answer() {
    let [closed, _] = ledgers();
    for at in 0..200 {
        flipped_bits_change_no_answer(&closed, 0, &[(at, u8::try_from(at % 8).unwrap())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_anywhere_change_no_answer(
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        killed in any::<bool>(),
        log in any::<bool>(),
    ) {
        let [closed, open] = ledgers();
        if killed {
            flipped_bits_change_no_answer(&open, usize::from(log), &flips);
        } else {
            flipped_bits_change_no_answer(&closed, 0, &flips);
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_changes_no_answer(at in any::<usize>()) {
        let [closed, _] = ledgers();
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &closed);
        let sound = ask(directory.path()).unwrap();
        let keep = at % closed[0].1.len();
        fs::write(directory.path().join("ledger.db"), &closed[0].1[..keep]).unwrap();
        if let Ok(answers) = ask(directory.path()) {
            prop_assert_eq!(answers, sound);
        }
    }

    #[test]
    fn no_bytes_panic_it(bytes in prop::collection::vec(any::<u8>(), 0..5_000)) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ledger.db"), bytes).unwrap();
        ask(directory.path()).ok();
        Ledger::open(directory.path()).ok();
    }
}
