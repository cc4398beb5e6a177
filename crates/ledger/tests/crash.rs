//! kill -9 in the middle of commits: all that was acknowledged is there, and the chain holds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pitcrew_ledger::Ledger;
use support::{learned, records};

mod support;

const DIRECTORY: &str = "LEDGER_TO_COMMIT_TO";

/// The server's part, in a process of its own: commits batches of changing size, and tells each after it returned.
#[test]
#[ignore = "run by the test below, which kills it"]
fn commits_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let mut ledger = Ledger::open(Path::new(&directory)).unwrap();
    let mut told = std::io::stderr();
    writeln!(told, "fence {}", ledger.next_fence().unwrap()).unwrap();
    for round in 0u32.. {
        let size = u64::from(round % 17 + 1);
        let committed = ledger
            .commit(&records(0..size), &[learned("answers", round)])
            .unwrap();
        writeln!(told, "committed {} {round}", committed.last_seq).unwrap();
    }
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "commits_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let (mut last_seq, mut fence) = (0, 0);
    for life in 1..=12u64 {
        let mut child = start(directory.path());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let new_fence: u64 = first.strip_prefix("fence ").unwrap().parse().unwrap();
        assert!(new_fence > fence, "fence {new_fence} after {fence}");
        fence = new_fence;

        // The kill lands wherever the child happens to be: the delay only spreads the places.
        std::thread::sleep(Duration::from_millis(life * 7 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|line| {
                let (seq, round) = line.strip_prefix("committed ")?.split_once(' ')?;
                Some((seq.parse::<u64>().ok()?, round.parse::<u32>().ok()?))
            })
            .last();

        let reader = Ledger::open_read_only(directory.path()).unwrap();
        let verified = reader.verify(&mut |_, _| {}).unwrap();
        if let Some((seq, round)) = acknowledged {
            assert!(seq > last_seq);
            last_seq = seq;
            let saved = reader.saved().unwrap();
            assert!(
                saved == [learned("answers", round)] || saved == [learned("answers", round + 1)],
                "life {life}: acknowledged round {round}, found {saved:?}"
            );
        }
        assert!(
            verified.entries >= last_seq,
            "life {life}: {} entries, {last_seq} acknowledged",
            verified.entries
        );
        // At most the one commit that was on its way when it was killed.
        assert!(verified.entries <= last_seq + 17);
        last_seq = verified.entries;
    }
    assert!(last_seq > 0);
}
