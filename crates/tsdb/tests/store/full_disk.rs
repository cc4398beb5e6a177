//! A full disk: nothing is taken, queries go on, and it resumes by itself.

use std::{env, fs, path::Path, process::Command};

use pitcrew_promql::labels::Labels;
use pitcrew_tsdb::{Error, Sample, Store, Value, key_of};
use tempfile::{TempDir, tempdir};

use crate::world::{NOW_MS, append_samples, everything, options};

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

fn append_round(store: &Store, round: i64, series: usize) -> Result<u64, Error> {
    let key = |series: usize| {
        let number = series.to_string();
        key_of(&Labels::from_pairs([
            ("__name__", "x"),
            ("number", &number),
        ]))
    };
    let keys: Vec<Vec<u8>> = (0..series).map(key).collect();
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
    let mut taken: u64 = 0;
    let mut round = 0;
    let error = loop {
        match append_round(&store, round, 500) {
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
    append_round(&store, round, 600).unwrap_err();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    // A seal finds no room either. What it froze stays readable, and no half of a file is left.
    fs::write(disk.path().join("rest"), vec![1; 1 << 20]).unwrap_err();
    store.seal(NOW_MS).unwrap_err();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    assert!(
        fs::read_dir(directory.join("parts"))
            .unwrap()
            .next()
            .is_none()
    );
    fs::remove_file(&ballast).unwrap();
    fs::remove_file(disk.path().join("rest")).unwrap();
    taken += append_round(&store, round, 600).unwrap();
    store.seal(NOW_MS).unwrap();
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
    drop(store);
    let store = Store::open(options(&directory), NOW_MS).unwrap();
    assert_eq!(store.notices(), Vec::<String>::new());
    assert_eq!(everything(&store, &[]).0.len() as u64, taken);
}
