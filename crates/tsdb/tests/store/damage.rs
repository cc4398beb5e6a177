//! Files that end anywhere and bits that flip: nothing panics, nothing wrong is said, what is missing is named.

use std::fs;

use pitcrew_promql::{labels::Labels, storage::Selection};
use pitcrew_tsdb::{Error, Store};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use crate::world::{
    NOW_MS, Truth, Written, append, copy, differences, everything, files, go_on, labels, maintain,
    options, scratch, written,
};

/// A store with a part, a merged part and a log, and what is in it.
fn filled(batches: &[Vec<Written>]) -> (TempDir, Vec<Truth>) {
    let directory = scratch();
    let store = Store::open(options(directory.path()), NOW_MS).expect("a store");
    let mut truth = Truth::new();
    let mut states = vec![truth.clone()];
    for (number, batch) in batches.iter().enumerate() {
        append(&store, batch, &mut truth).expect("a store that works");
        states.push(truth.clone());
        match number {
            0 | 1 => {
                store.seal(NOW_MS).expect("a store that works");
            }
            2 => maintain(&store, NOW_MS + 3_600_000).expect("a store that works"),
            3 => {
                store.seal(NOW_MS).expect("a store that works");
            }
            _ => {}
        }
    }
    drop(store);
    (directory, states)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Written>>> {
    vec(vec(written(), 1..12), 5..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_log_that_ends_anywhere_holds_the_first_batches(batches in batches(), at: prop::sample::Index) {
        let (directory, states) = filled(&batches);
        let log = files(&directory.path().join("log")).pop().unwrap();
        let length = fs::metadata(&log).unwrap().len();
        let cut = at.index(usize::try_from(length).unwrap() + 1) as u64;
        fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(cut).unwrap();
        let store = Store::open(options(directory.path()), NOW_MS).unwrap();
        let (found, warnings) = everything(&store, &[]);
        // A batch is several runs, but one record.
        prop_assert!(states.contains(&found), "after {cut} of {length} bytes");
        prop_assert!(cut < length || warnings.is_empty(), "{warnings:?}");
        // It goes on from there, and the next start finds nothing to complain of.
        let mut truth = found;
        append(&store, &batches[0], &mut truth).unwrap();
        drop(store);
        let store = Store::open(options(directory.path()), NOW_MS).unwrap();
        prop_assert_eq!(store.notices(), Vec::<String>::new());
        prop_assert_eq!(differences(&everything(&store, &[]).0, &truth), Vec::<String>::new());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_never_told_as_data(
        batches in batches(),
        flips in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 8),
    ) {
        let (directory, states) = filled(&batches);
        let truth = states.last().unwrap();
        for (file, at, bit) in flips {
            let other = scratch();
            copy(directory.path(), other.path());
            let files = files(other.path());
            let file = &files[file.index(files.len())];
            let mut bytes = fs::read(file).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            fs::write(file, bytes).unwrap();
            let place = format!("{}, byte {at}, bit {bit}", file.display());
            let store = match Store::open(options(other.path()), NOW_MS) {
                Ok(store) => store,
                // A part of another version is no reason to throw it away.
                Err(Error::Version { .. }) => continue,
                Err(error) => panic!("{place}: {error}"),
            };
            let (found, warnings) = everything(&store, &[]);
            for (key, value) in &found {
                // Where the first of two samples of an instant is lost, the second one is told.
                let was_written = batches.iter().flatten().any(|written| {
                    let written_key = (labels(written.series), written.timestamp_ms);
                    written_key == *key && (&written.value, written.start_ms) == (&value.0, value.1)
                });
                prop_assert!(was_written, "{place}: {key:?} {value:?}");
            }
            let told = !warnings.is_empty() || !store.notices().is_empty();
            prop_assert!(found == *truth || told, "{place}: something is missing and nobody says so");
            // Whatever is wrong, upkeep and writing go on.
            maintain(&store, NOW_MS + 7_200_000).unwrap();
            append(&store, &batches[0], &mut Truth::new()).unwrap();
        }
    }
}

#[test]
fn a_part_that_is_none_is_put_aside_and_every_answer_of_its_time_says_so() {
    let directory = scratch();
    let store = Store::open(options(directory.path()), NOW_MS).unwrap();
    let batch = [Written {
        series: 1,
        timestamp_ms: NOW_MS,
        start_ms: 0,
        value: crate::world::Kept::Float(1),
    }];
    append(&store, &batch, &mut Truth::new()).unwrap();
    store.seal(NOW_MS).unwrap();
    drop(store);
    let part = files(&directory.path().join("parts")).pop().unwrap();
    fs::write(&part, b"nothing of a part").unwrap();
    for _ in 0..2 {
        let store = Store::open(options(directory.path()), NOW_MS).unwrap();
        let aside = directory
            .path()
            .join("quarantine")
            .join(part.file_name().unwrap());
        assert_eq!(fs::read(aside).unwrap(), b"nothing of a part");
        let (found, warnings) = everything(&store, &[]);
        assert!(found.is_empty());
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("quarantine")),
            "{warnings:?}"
        );
        let listing = store.series(
            &Selection {
                matchers: &[],
                start_ms: NOW_MS - 1,
                end_ms: NOW_MS + 1,
            },
            10,
            &mut go_on,
        );
        let listing = listing.unwrap();
        assert_eq!(listing.items, Vec::<Labels>::new());
        assert_eq!(listing.warnings, warnings);
        let all = Selection {
            matchers: &[],
            start_ms: NOW_MS - 1,
            end_ms: NOW_MS + 1,
        };
        assert_eq!(
            store.label_names(&all, 10, &mut go_on).unwrap().warnings,
            warnings
        );
        assert_eq!(
            store
                .label_values("job", &all, 10, &mut go_on)
                .unwrap()
                .warnings,
            warnings
        );
        let later = Selection {
            matchers: &[],
            start_ms: NOW_MS + 1,
            end_ms: NOW_MS + 2,
        };
        assert_eq!(
            store.series(&later, 10, &mut go_on).unwrap().warnings,
            Vec::<String>::new()
        );
    }
}
