//! A full disk: nothing is taken, queries go on, and it resumes by itself.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Error, Sample, Store, Value, key_of};
use tempfile::{TempDir, tempdir};

use crate::world::{NOW_MS, append_samples, everything, files, maintain, options};

/// A disk of a few megabytes, as long as it is held.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "none"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(directory));
        }
        eprintln!("skipped: a small disk can't be mounted here: run as root with CAP_SYS_ADMIN");
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "CI must run this test"
        );
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room there is, until the file is removed.
    fn fill(&self, name: &str) -> PathBuf {
        let rest = self.path().join(name);
        let mut file = File::create(&rest).expect("a file is made");
        while file.write_all(&[1; 4096]).is_ok() {}
        rest
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.path().display());
        }
    }
}

fn keys(series: usize) -> Vec<Vec<u8>> {
    let key = |series: usize| {
        let number = series.to_string();
        key_of(&Labels::from_pairs([
            ("__name__", "x"),
            ("number", &number),
        ]))
    };
    (0..series).map(key).collect()
}

fn append_round(store: &Store, round: i64, keys: &[Vec<u8>]) -> Result<u64, Error> {
    let samples: Vec<Sample<'_>> = keys
        .iter()
        .map(|key| Sample {
            key,
            timestamp_ms: NOW_MS - 1_000_000 + round,
            start_ms: 0,
            value: Value::Float(round as f64 / 3.0),
        })
        .collect();
    append_samples(store, &samples).map(|accepted| accepted.samples)
}

#[test]
fn a_full_disk_stops_appending_only_and_room_resumes_it() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let directory = disk.path().join("store");
    let store = Store::open(options(&directory), NOW_MS).unwrap();
    let keys = keys(600);
    let mut taken: u64 = 0;
    let mut round = 0;
    let error = loop {
        match append_round(&store, round, &keys[..500]) {
            Ok(samples) => taken += samples,
            Err(error) => break error,
        }
        round += 1;
    };
    assert!(
        error
            .to_string()
            .contains("nothing of the request was taken, send it again")
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("No space left"), "{source}");
    // New series that couldn't be written are written later, with their samples.
    append_round(&store, round, &keys).unwrap_err();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    // A seal finds no room either. What it froze stays readable, and no half of a file is left.
    let rest = disk.fill("rest");
    store.seal(NOW_MS).unwrap_err();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    assert!(
        fs::read_dir(directory.join("parts"))
            .unwrap()
            .next()
            .is_none()
    );
    fs::remove_file(&ballast).unwrap();
    fs::remove_file(rest).unwrap();
    taken += append_round(&store, round, &keys).unwrap();
    store.seal(NOW_MS).unwrap();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    drop(store);
    let store = Store::open(options(&directory), NOW_MS).unwrap();
    assert_eq!(store.notices(), Vec::<String>::new());
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
}

/// Parts that are not whole yet.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let mut files = files(directory);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tmp"));
    files
}

#[test]
fn a_seal_that_finds_no_room_gets_that_of_a_merge() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let directory = disk.path().join("store");
    let store = Store::open(options(&directory), NOW_MS).unwrap();
    let keys = keys(1_000);
    let mut taken: u64 = 0;
    for round in 0..2 {
        taken += append_round(&store, round, &keys).unwrap();
        store.seal(NOW_MS).unwrap();
    }
    store.maintain(NOW_MS).unwrap();
    let [merge] = &unfinished(&directory)[..] else {
        panic!("a merge is under way");
    };
    // As if it had written much of a large part.
    let mut merge = OpenOptions::new().append(true).open(merge).unwrap();
    merge.write_all(&vec![1; 1 << 20]).unwrap();
    drop(merge);
    taken += append_round(&store, 2, &keys).unwrap();
    disk.fill("rest");
    let mut now_ms = NOW_MS + 10_000_000;
    store.maintain(now_ms).unwrap_err();
    assert!(unfinished(&directory).is_empty());
    let sealed = store.maintain(now_ms).unwrap().sealed_samples;
    assert_eq!(sealed, 1_000, "nobody else made room");
    // The merge would take that room again at once.
    assert!(!store.maintain(now_ms).unwrap().more);
    let more = disk.fill("more");
    now_ms += 600_000;
    let error = maintain(&store, now_ms).unwrap_err();
    assert!(error.to_string().contains("write"), "{error}");
    assert!(unfinished(&directory).is_empty());
    fs::remove_file(more).unwrap();
    assert!(!store.maintain(now_ms).unwrap().more);
    maintain(&store, now_ms + 600_000).unwrap();
    let statistics = store.statistics();
    assert_eq!((statistics.parts, statistics.part_samples), (1, taken));
}
