//! A container of a real Docker engine, which is started for the test and touches nothing of this machine's
//! network: no bridge, no rules, no forwarding. The container shares the loopback instead.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    production::{Production, free_port, has, is_alive, send, skipped, wait_for},
    story::{Kept, RESTART, actions, cured, handed_over},
};

struct Engine {
    directory: tempfile::TempDir,
    daemon: std::process::Child,
}

impl Engine {
    fn start() -> Option<Self> {
        if !has("/usr/sbin/dockerd", "docker.io") || !has("/bin/busybox", "busybox-static") {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skipped("a Docker engine needs root");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path();
        let log = File::create(place.join("log")).expect("a log");
        let daemon = Command::new("/usr/sbin/dockerd")
            .arg("--host")
            .arg(format!("unix://{}", place.join("socket").display()))
            .arg("--data-root")
            .arg(place.join("data"))
            .arg("--exec-root")
            .arg(place.join("exec"))
            .arg("--pidfile")
            .arg(place.join("pid"))
            .args([
                "--storage-driver=vfs",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ])
            .args(["--ip-forward=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("dockerd starts");
        let engine = Self { directory, daemon };
        wait_for("the engine", || engine.docker(&["version"]));
        Some(engine)
    }

    fn socket(&self) -> String {
        self.directory.path().join("socket").display().to_string()
    }

    fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("docker")
            .args(["--host", &format!("unix://{}", self.socket())])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("docker runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// busybox's web server, whose page is written whenever it starts.
    fn run_web(&self, port: u16) {
        let root = self.directory.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("the image's directory");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
        let image = self.directory.path().join("image.tar");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&image)
            .arg(".")
            .status();
        assert!(tar.expect("tar runs").success());
        self.docker(&["import", &image.display().to_string(), "busybox"])
            .expect("the image");
        let script = format!(
            "busybox mkdir -p /site; echo all is well > /site/index.html; exec busybox httpd -f -p 127.0.0.1:{port} -h /site"
        );
        self.docker(&[
            "run",
            "--detach",
            "--name=web",
            "--network=host",
            "--stop-timeout=1",
            "busybox",
            "/bin/busybox",
            "sh",
            "-c",
            &script,
        ])
        .expect("the container");
    }

    fn pid(&self) -> u32 {
        let pid = self.docker(&["inspect", "--format={{.State.Pid}}", "web"]);
        pid.expect("the container").parse().expect("a number")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.docker(&["rm", "--force", "web"]).ok();
        // Politely, so that it ends its own daemons and unmounts.
        send(self.daemon.id(), Signal::TERM);
        self.daemon.wait().ok();
        // Its own network namespace stays mounted otherwise, and the directory with it.
        let namespace = self.directory.path().join("exec/netns/default");
        Command::new("umount").arg(namespace).status().ok();
    }
}

#[test]
fn killed_hung_paused_and_without_its_page_it_comes_back_and_a_removed_one_is_handed_over() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let port = free_port();
    engine.run_web(port);
    let kept = Kept {
        port,
        runs_as: &format!(
            "{{ container: {{ name: web, socket: '{}' }} }}",
            engine.socket()
        ),
        test: "http: { path: /, status: [200], body_matches: 'all is well' }",
        steps: RESTART,
    };
    let production = Production::served(&kept.yaml());
    let target = kept.target();

    let faults: [(&str, &dyn Fn(u32)); 4] = [
        ("killed", &|pid| send(pid, Signal::KILL)),
        ("hung", &|pid| send(pid, Signal::STOP)),
        ("paused", &|_| {
            drop(engine.docker(&["pause", "web"]).expect("it is paused"))
        }),
        ("without its page", &|_| {
            let removed = engine.docker(&["exec", "web", "/bin/busybox", "rm", "/site/index.html"]);
            removed.expect("the page is removed");
        }),
    ];
    for (name, fault) in faults {
        let mut before = 0;
        let orders = cured(&production, &target, || {
            before = engine.pid();
            fault(before);
        });
        assert_eq!(actions(&orders), ["restart"], "{name}: {orders:?}");
        assert!(engine.pid() != before && !is_alive(before), "{name}");
    }

    let notice = handed_over(&production, &target, || {
        engine
            .docker(&["rm", "--force", "web"])
            .expect("it is removed");
    });
    notice.says(&[
        "answers",
        "connection refused",
        "restart",
        "there is no container `web`",
    ]);
    production.says(&["ledger", "verify"], 0);
}
