//! A real Docker engine in a network namespace of its own, with a container made of busybox.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use pitcrew_model::{Action, OutcomeKind, Runner};

use crate::support::{Home, Peer, given, is_alive, kill, now, order, program, skipped, wait_for};

struct Engine {
    home: Home,
    socket: String,
    daemon: Peer,
}

impl Engine {
    fn start() -> Option<Self> {
        program("/usr/sbin/dockerd", "docker.io")?;
        program("/usr/bin/busybox", "busybox")?;
        if Command::new("unshare")
            .args(["-n", "true"])
            .status()
            .is_ok_and(|it| !it.success())
        {
            skipped("a network namespace can't be made: run as root");
            return None;
        }
        let home = Home::new();
        let socket = home.path("docker.sock");
        let log = std::fs::File::create(home.path("dockerd.log")).unwrap();
        let daemon = Command::new("unshare")
            .args(["-n", "dockerd", "-H", &format!("unix://{socket}")])
            .args([
                "--data-root",
                &home.path("data"),
                "--exec-root",
                &home.path("exec"),
            ])
            .args(["--pidfile", &home.path("pid"), "--storage-driver", "vfs"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let engine = Self {
            home,
            socket,
            daemon: Peer(daemon),
        };
        wait_for("dockerd answers", || {
            engine.docker(&["version"]).is_ok().then_some(())
        });
        Some(engine)
    }

    fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let out = Command::new("docker")
            .args(["-H", &format!("unix://{}", self.socket)])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if out.status.success() {
            Ok(String::from_utf8(out.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    }

    fn make(&self, name: &str, command: &[&str]) {
        let root = self.home.path("root");
        std::fs::create_dir_all(format!("{root}/bin")).unwrap();
        std::fs::copy("/usr/bin/busybox", format!("{root}/bin/busybox")).unwrap();
        let tar = self.home.path("root.tar");
        assert!(
            Command::new("tar")
                .args(["-C", &root, "-cf", &tar, "."])
                .status()
                .unwrap()
                .success()
        );
        self.docker(&["import", &tar, "busybox"]).unwrap();
        let mut arguments = vec![
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "busybox",
            "/bin/busybox",
        ];
        arguments.extend(command);
        self.docker(&arguments).unwrap();
    }

    fn inspect(&self, name: &str, what: &str) -> String {
        self.docker(&["inspect", "-f", &format!("{{{{{what}}}}}"), name])
            .unwrap()
    }

    fn runner(&self, name: &str) -> Runner {
        Runner::Container {
            name: name.to_owned(),
            socket: Some(self.socket.clone()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for container in self.docker(&["ps", "-aq"]).unwrap_or_default().lines() {
            self.docker(&["rm", "-f", container]).ok();
        }
        // Politely, so that it ends its containerd and unmounts.
        kill("TERM", self.daemon.0.id());
        wait_for("dockerd leaves", || {
            (!is_alive(self.daemon.0.id())).then_some(())
        });
        // Its own network namespace stays mounted otherwise, and the directory with it.
        let namespace = self.home.path("exec/netns/default");
        Command::new("umount").arg(namespace).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_restarted_killed_hung_and_paused() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    engine.make("web", &["sh", "-c", script]);
    let actuators = engine.home.actuators();
    let pid = || engine.inspect("web", ".State.Pid").parse::<u32>().unwrap();
    let mut before = pid();
    let steps: [(&str, &dyn Fn(u32)); 4] = [
        ("op-plain", &|_| {}),
        ("op-killed", &|pid| kill("KILL", pid)),
        ("op-hung", &|pid| kill("STOP", pid)),
        ("op-paused", &|_| {
            drop(engine.docker(&["pause", "web"]).unwrap())
        }),
    ];
    for (operation, fault) in steps {
        fault(before);
        let order = order(operation, "web", Action::Restart, engine.runner("web"));
        let outcome = actuators.carry_out(&order).await;
        assert_eq!(outcome.kind, OutcomeKind::Done, "{operation}: {outcome:?}");
        assert!(
            outcome.detail.ends_with("is running"),
            "{operation}: {outcome:?}"
        );
        assert_ne!(pid(), before, "{operation}");
        before = pid();
    }
    let stop = order("op-stop", "web", Action::Stop, engine.runner("web"));
    assert_eq!(actuators.carry_out(&stop).await.kind, OutcomeKind::Done);
    assert_eq!(engine.inspect("web", ".State.Running"), "false");
    let start = order("op-start", "web", Action::Start, engine.runner("web"));
    assert_eq!(actuators.carry_out(&start).await.kind, OutcomeKind::Done);
    let again = order("op-again", "web", Action::Start, engine.runner("web"));
    assert_eq!(actuators.carry_out(&again).await.kind, OutcomeKind::Done);

    let absent = order("op-absent", "x", Action::Restart, engine.runner("nobody"));
    let outcome = actuators.carry_out(&absent).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed);
    assert_eq!(outcome.detail, "there is no container `nobody`");

    drop(actuators);
    reconciled_by_its_start_time(&engine).await;
}

async fn reconciled_by_its_start_time(engine: &Engine) {
    let journal = engine.home.run_directory().join("operations.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    for operation in ["op-new", "op-old", "op-recent"] {
        text.push_str(&format!("{{\"begun\":\"{operation}\",\"at\":1}}\n"));
    }
    std::fs::write(&journal, text).unwrap();
    let actuators = engine.home.actuators();
    for (operation, given_at, kind) in [
        (
            "op-new",
            now() - Duration::from_secs(600),
            OutcomeKind::Done,
        ),
        (
            "op-recent",
            now() + Duration::from_secs(5),
            OutcomeKind::Unknown,
        ),
    ] {
        let mut order = order(operation, "web", Action::Restart, engine.runner("web"));
        order.given_at = given_at;
        let outcome = actuators.reconcile(&order, given(&order)).await;
        assert_eq!(outcome.kind, kind, "{operation}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_not_there_is_a_failure_without_effect() {
    let home = Home::new();
    let runner = Runner::Container {
        name: "web".into(),
        socket: Some(home.path("no.sock")),
    };
    let outcome = home
        .actuators()
        .carry_out(&order("op-1", "web", Action::Restart, runner))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
}
