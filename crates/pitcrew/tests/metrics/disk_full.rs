//! A full disk for metrics: what comes is refused and comes again, the loop goes on, and all resumes by itself.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    message::{VERSION_1, snappy, version_1, write},
    production::{Production, skipped, wait_for},
    stored::{Stored, now_ms},
};

/// A few megabytes, as long as it is held.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(&at)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        skipped("a small disk can't be mounted here: run as root with CAP_SYS_ADMIN");
        None
    }

    fn grow(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        unmounted.ok();
    }
}

#[test]
fn a_full_disk_refuses_metrics_alone_and_they_are_taken_again_once_it_has_room() {
    let mut production = Production::new(
        "
find: [{ static: [{ targets: ['127.0.0.1:1'], labels: { service: web } }] }]
services:
  - name: web
    select: { service: web }
    autonomy: observe
    tests: [{ name: answers, tcp: {}, interval: 200ms, timeout: 200ms }]
",
    );
    let Some(disk) = SmallDisk::mount(production.data().join("metrics")) else {
        return;
    };
    production.serve();
    let long = "x".repeat(10_000);
    let send = |number: usize| {
        let number = number.to_string();
        let labels = [
            ("__name__", "filling"),
            ("long", long.as_str()),
            ("number", &number),
        ];
        let message = snappy(&version_1(&[(&labels, 1.0, now_ms())]));
        write(&production, VERSION_1, message)
    };
    let full = (0..1_000).find(|number| {
        let answer = send(*number);
        let is_full = answer.status == 503;
        if is_full {
            assert!(answer.text().contains("No space left"), "{}", answer.text());
            assert!(answer.header("retry-after").is_some());
        }
        is_full
    });
    let full = full.expect("2 MiB are full at some time");
    let ready = production.get("/readyz").expect("the loop is ready");
    let troubles = ready["troubles"].to_string();
    assert!(troubles.contains("metrics are refused"), "{troubles}");
    // It tests, decides and records all the while.
    production.wait_for_fact("127.0.0.1:1", "confirmed");
    disk.grow();
    wait_for("metrics to be taken again", || {
        let answer = send(full);
        (answer.status == 204)
            .then_some(())
            .ok_or_else(|| answer.text())
    });
    production.wait_until("the trouble to be over", "/readyz", |ready| {
        let troubles = ready["troubles"].to_string();
        (!troubles.contains("metrics"))
            .then_some(())
            .ok_or(troubles)
    });
    assert_eq!(production.stop(), Some(0));
    let stored = Stored::of(&production);
    let all = stored.value("count(last_over_time(filling[1h]))");
    assert_eq!(all, full as f64 + 1.0);
    drop(stored);
}
