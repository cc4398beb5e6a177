//! nginx as a unit of a real systemd, on a host of the lab (`cargo xtask lab with cargo nextest run real`).
//!
//! The host shares this machine's loopback, so that its answers are tested too, not only systemd's opinion.

use std::{env, fs, path::PathBuf, process::Command};

use rustix::process::Signal;

use crate::{
    production::{Production, free_port, request, send, skipped, wait_for},
    story::{Kept, RESTART, actions, cured, handed_over},
};

const UNIT: &str = "pitcrew-real-web.service";

struct Host {
    bus: String,
    root: PathBuf,
    port: u16,
}

impl Host {
    /// With nginx running as the unit.
    fn find() -> Option<Self> {
        let (Ok(bus), Ok(root)) = (
            env::var("PITCREW_TEST_SYSTEMD_BUS"),
            env::var("PITCREW_TEST_SYSTEMD_ROOT"),
        ) else {
            skipped(
                "no host with systemd: cargo xtask lab with cargo nextest run -p pitcrew --test real",
            );
            return None;
        };
        let host = Self {
            bus,
            root: PathBuf::from(root),
            port: free_port(),
        };
        host.configure("200 'all is well'");
        let unit =
            "[Service]\nType=exec\nExecStart=/usr/sbin/nginx -c /run/pitcrew-real/nginx.conf\n";
        fs::create_dir_all(host.root.join("run/systemd/system")).expect("its units");
        fs::write(host.root.join("run/systemd/system").join(UNIT), unit).expect("the unit");
        host.manager("Reload", &[]);
        host.manager("StartUnit", &["ss", UNIT, "replace"]);
        Some(host)
    }

    fn configure(&self, answer: &str) {
        let text = format!(
            "daemon off; worker_processes 1; pid /run/pitcrew-real/nginx.pid;
            events {{}}
            http {{ access_log off; server {{ listen 127.0.0.1:{}; location / {{ return {answer}; }} }} }}",
            self.port
        );
        fs::create_dir_all(self.root.join("run/pitcrew-real")).expect("its directory");
        fs::write(self.root.join("run/pitcrew-real/nginx.conf"), text)
            .expect("nginx's configuration");
    }

    fn manager(&self, method: &str, arguments: &[&str]) {
        let output = Command::new("busctl")
            .args(["--address", &self.bus, "call", "org.freedesktop.systemd1"])
            .args([
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
                method,
            ])
            .args(arguments)
            .output()
            .expect("busctl runs");
        assert!(output.status.success(), "{method}: {output:?}");
    }

    /// The unit's processes, main process first, as this machine counts them.
    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").expect("/proc");
        let pids =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut pids: Vec<u32> = pids
            .filter(|pid| {
                let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                let is_of_unit = groups.lines().any(|line| line.ends_with(UNIT));
                let is_this_host = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
                    == fs::read_link(self.root.join("proc/1/ns/pid")).ok();
                is_of_unit && is_this_host
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    fn signal_all(&self, signal: Signal) {
        let pids = self.processes();
        assert!(!pids.is_empty(), "{UNIT} runs nothing");
        for pid in pids {
            send(pid, signal);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.manager("StopUnit", &["ss", UNIT, "replace"]);
        fs::remove_file(self.root.join("run/systemd/system").join(UNIT)).ok();
    }
}

#[test]
fn killed_hung_and_answering_errors_it_comes_back_and_a_broken_one_is_handed_over() {
    let Some(host) = Host::find() else {
        return;
    };
    let kept = Kept {
        port: host.port,
        runs_as: &format!("{{ unit: {{ name: {UNIT}, bus: '{}' }} }}", host.bus),
        test: "http: { path: /, status: [200], body_matches: 'all is well' }",
        steps: RESTART,
    };
    let production = Production::served(&kept.yaml());
    let target = kept.target();

    let first = host.processes();
    // systemd ends the workers when the main process is gone.
    let killed = cured(&production, &target, || send(first[0], Signal::KILL));
    assert_eq!(actions(&killed), ["restart"], "{killed:?}");
    assert_eq!(killed[0].outcome, format!("{UNIT} is active (running)"));
    let second = host.processes();
    assert!(second.iter().all(|pid| !first.contains(pid)));

    let hung = cured(&production, &target, || host.signal_all(Signal::STOP));
    assert_eq!(actions(&hung), ["restart"], "{hung:?}");
    let third = host.processes();
    assert!(third.iter().all(|pid| !second.contains(pid)));

    let wrong = cured(&production, &target, || {
        host.configure("500 'nothing is well'");
        send(third[0], Signal::HUP);
        wait_for("the bad answer", || {
            let status = request(host.port, "GET", "/", &[], "")?.status;
            (status == 500)
                .then_some(())
                .ok_or_else(|| status.to_string())
        });
        host.configure("200 'all is well'");
    });
    assert_eq!(actions(&wrong), ["restart"], "{wrong:?}");

    let notice = handed_over(&production, &target, || {
        host.configure("200; surprise on");
        send(host.processes()[0], Signal::KILL);
    });
    assert_eq!(actions(&notice.orders), ["restart", "restart"]);
    // Whether systemd still calls it active when it is asked is a race: a simple unit is active until its
    // program has failed. The tests' word is the proof.
    notice.says(&["answers", "connection refused", "restart", UNIT]);
    production.says(&["ledger", "verify"], 0);
}
