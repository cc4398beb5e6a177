//! A full disk: a clear error, nothing half-written, and it goes on when there is room.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::{fs, io::Write, path::Path, process::Command};

use pitcrew_ledger::{Ledger, LedgerError};
use support::{learned, record, records};

mod support;

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kind: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = match kind {
            "tmpfs" => run(
                "mount",
                &["-t", "tmpfs", "-o", "size=3m", "tmpfs"],
                directory.path(),
            ),
            _ => {
                let image = directory.path().with_extension("image");
                let file = fs::File::create(&image).unwrap();
                file.set_len(6 << 20).unwrap();
                let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &image);
                let image_text = image.to_str().unwrap();
                let mounted =
                    made.and_then(|()| run("mount", &["-o", "loop", image_text], directory.path()));
                fs::remove_file(&image).unwrap();
                mounted
            }
        };
        match mounted {
            Ok(()) => Some(Self(directory)),
            Err(why) => {
                eprintln!(
                    "skipped: no small {kind} could be mounted (needs root, mount and mkfs.ext4): {why}"
                );
                assert!(
                    std::env::var_os("CI").is_none(),
                    "CI must be able to mount: {why}"
                );
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is, to the last byte.
    fn fill(&self) {
        let mut ballast = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("ballast"))
            .unwrap();
        for size in [64 << 10, 4 << 10, 1] {
            while ballast
                .write_all(&vec![7; size])
                .and_then(|()| ballast.sync_data())
                .is_ok()
            {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.path()).ok();
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(last)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn survives_a_full_disk(kind: &str) {
    let Some(disk) = SmallDisk::mount(kind) else {
        return;
    };
    let mut ledger = Ledger::open(disk.path()).unwrap();
    ledger
        .commit(&records(0..10), &[learned("answers", 1)])
        .unwrap();
    let reader = ledger.reader().unwrap();
    let mut committed = 10;
    for round in 0..3 {
        disk.fill();
        let mut refused = 0;
        // Room that was already taken for the log may hold a few more.
        for _ in 0..10_000 {
            match ledger.commit(&records(0..40), &[learned("answers", 2)]) {
                Ok(done) => committed = done.last_seq,
                Err(LedgerError::Full { path }) => {
                    assert_eq!(path, disk.path().join("ledger.db"));
                    refused += 1;
                    if refused == 3 {
                        break;
                    }
                }
                Err(error) => panic!("{kind}, round {round}: {error}"),
            }
        }
        assert_eq!(refused, 3, "the disk never became full");
        assert_eq!(reader.last_seq().unwrap(), committed);
        assert_eq!(
            ledger
                .reader()
                .unwrap()
                .verify(&mut |_, _| {})
                .unwrap()
                .entries,
            committed
        );

        disk.make_room();
        let next = ledger
            .commit(&[record(1), record(2)], &[learned("answers", 3)])
            .unwrap();
        assert_eq!(next.first_seq, committed + 1);
        committed = next.last_seq;
        assert_eq!(reader.verify(&mut |_, _| {}).unwrap().entries, committed);
        assert_eq!(ledger.saved().unwrap(), [learned("answers", 3)]);
    }
    drop((ledger, reader));
    let ledger = Ledger::open(disk.path()).unwrap();
    assert_eq!(
        ledger
            .reader()
            .unwrap()
            .verify(&mut |_, _| {})
            .unwrap()
            .entries,
        committed
    );
}

#[test]
fn a_full_ext4_is_an_error_and_with_room_it_goes_on() {
    survives_a_full_disk("ext4");
}

#[test]
fn a_full_tmpfs_is_an_error_and_with_room_it_goes_on() {
    survives_a_full_disk("tmpfs");
}

#[test]
fn a_ledger_that_can_not_be_made_for_want_of_room_is_made_later() {
    let Some(disk) = SmallDisk::mount("tmpfs") else {
        return;
    };
    disk.fill();
    assert!(matches!(
        Ledger::open(disk.path()),
        Err(LedgerError::Full { .. })
    ));
    disk.make_room();
    Ledger::open(disk.path())
        .unwrap()
        .commit(&records(0..1), &[])
        .unwrap();
}

#[test]
fn a_ledger_on_a_disk_that_only_reads_is_verified() {
    let Some(disk) = SmallDisk::mount("ext4") else {
        return;
    };
    let mut ledger = Ledger::open(disk.path()).unwrap();
    ledger.commit(&records(0..10), &[]).unwrap();
    drop(ledger);
    run("mount", &["-o", "remount,ro"], disk.path()).unwrap();
    let reader = Ledger::open_read_only(disk.path()).unwrap();
    assert_eq!(reader.verify(&mut |_, _| {}).unwrap().entries, 10);
}
