//! Real servers that somebody else started, known by their port: killed, hung, and brought back.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use pitcrew_model::{Action, Order, OutcomeKind, Runner};

use crate::support::{Home, free_port, given, is_alive, kill, order, program, wait_for};

/// A server that a test starts and an order restarts: whatever listens is ended with the test.
struct Server {
    home: Home,
    port: u16,
    runner: Runner,
}

impl Server {
    fn new(exe: &str, command: impl Fn(&Home, u16) -> Vec<String>, user: Option<&str>) -> Self {
        let (home, port) = (Home::new(), free_port());
        let runner = Runner::Listener {
            port,
            exe: exe.to_owned(),
            command: command(&home, port),
            user: user.map(str::to_owned),
            directory: None,
            grace: Duration::from_secs(10),
        };
        Self { home, port, runner }
    }

    fn order(&self, operation: &str, action: Action) -> Order {
        order(operation, "store-1", action, self.runner.clone())
    }

    /// Who listens, by the kernel's word.
    fn holders(&self) -> Vec<u32> {
        let out = Command::new("ss")
            .args(["-Hltnp", &format!("sport = :{}", self.port)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut pids: Vec<u32> = text
            .split("pid=")
            .skip(1)
            .filter_map(|rest| rest.split(',').next()?.parse().ok())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn answers(&self, question: &str, expected: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        if stream.write_all(question.as_bytes()).is_err() {
            return false;
        }
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).contains(expected)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.holders() {
            kill("KILL", pid);
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn nginx(workers: &str) -> Option<Server> {
    program("/usr/sbin/nginx", "nginx")?;
    Some(Server::new(
        "/usr/sbin/nginx",
        |home, port| {
            let place = home.path("");
            let configuration = format!(
                "{workers} pid {place}nginx.pid; error_log stderr; events {{}} \
                 http {{ access_log off; client_body_temp_path {place}b; proxy_temp_path {place}p; \
                 fastcgi_temp_path {place}f; uwsgi_temp_path {place}u; scgi_temp_path {place}s; \
                 server {{ listen 127.0.0.1:{port}; return 200 fine; }} }}"
            );
            std::fs::write(home.path("nginx.conf"), configuration).unwrap();
            words(&format!("nginx -c {}", home.path("nginx.conf")))
        },
        None,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_that_puts_itself_in_the_background_is_restarted_killed_and_hung() {
    let Some(server) = nginx("worker_processes 2;") else {
        return;
    };
    let actuators = server.home.actuators();
    let fine = || server.answers("GET / HTTP/1.0\r\n\r\n", "fine");
    let first = actuators
        .carry_out(&server.order("op-1", Action::Start))
        .await;
    assert_eq!(first.kind, OutcomeKind::Done, "{first:?}");
    assert!(first.detail.contains("listens"), "{first:?}");
    wait_for("nginx answers", || fine().then_some(()));
    let again = actuators
        .carry_out(&server.order("op-2", Action::Start))
        .await;
    assert!(again.detail.contains("already listens"), "{again:?}");

    // All of it hangs.
    let before = server.holders();
    before.iter().for_each(|pid| kill("STOP", *pid));
    let hung = actuators
        .carry_out(&server.order("op-3", Action::Restart))
        .await;
    assert_eq!(hung.kind, OutcomeKind::Done, "{hung:?}");
    wait_for("nginx answers again", || fine().then_some(()));
    assert!(before.iter().all(|pid| !is_alive(*pid)));

    // The master is killed, and its workers still hold the port.
    let master = *server.holders().iter().min().unwrap();
    kill("KILL", master);
    wait_for("the master is gone", || (!is_alive(master)).then_some(()));
    let orphans = server.holders();
    let killed = actuators
        .carry_out(&server.order("op-4", Action::Restart))
        .await;
    assert_eq!(killed.kind, OutcomeKind::Done, "{killed:?}");
    wait_for("nginx answers once more", || fine().then_some(()));
    assert!(orphans.iter().all(|pid| !is_alive(*pid)));

    let stopped = actuators
        .carry_out(&server.order("op-5", Action::Stop))
        .await;
    assert_eq!(stopped.kind, OutcomeKind::Done, "{stopped:?}");
    assert_eq!(server.holders(), [0_u32; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_in_the_foreground_comes_back_and_outlives_pitcrew() {
    if program("/usr/bin/redis-server", "redis-server").is_none() {
        return;
    }
    // Debian's is a link to a program of another name.
    let server = Server::new(
        "redis-server",
        |home, port| {
            let place = home.path("");
            [
                "redis-server",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--dir",
                &place,
            ]
            .map(str::to_owned)
            .to_vec()
        },
        None,
    );
    let pong = || server.answers("PING\r\n", "PONG");
    let actuators = server.home.actuators();
    let restart = server.order("op-1", Action::Restart);
    let outcome = actuators.carry_out(&restart).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    wait_for("redis answers", || pong().then_some(()));
    let before = server.holders();
    kill("STOP", before[0]);
    let hung = actuators
        .carry_out(&server.order("op-2", Action::Restart))
        .await;
    assert_eq!(hung.kind, OutcomeKind::Done, "{hung:?}");
    wait_for("redis answers again", || pong().then_some(()));
    assert_ne!(server.holders(), before);
    drop(actuators);
    assert!(pong());
    assert!(
        !server
            .home
            .log(&format!("listener-{}", server.port))
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_restarted_by_its_fast_shutdown_with_clients_connected() {
    let bin = Path::new("/usr/lib/postgresql/15/bin");
    if program("/usr/lib/postgresql/15/bin/postgres", "postgresql").is_none() {
        return;
    }
    let postgres = bin.join("postgres").display().to_string();
    let server = Server::new(
        &postgres,
        |home, port| {
            let data = home.path("data");
            words(&format!(
                "{postgres} -D {data} -k {data} -p {port} -c listen_addresses=127.0.0.1"
            ))
        },
        Some("postgres"),
    );
    let data = server.home.path("data");
    std::fs::create_dir(&data).unwrap();
    let place = server.home.path("");
    for arguments in [
        vec!["chown", "postgres", &place, &data],
        vec![
            "su",
            "postgres",
            "-c",
            &format!("{}/initdb -A trust -D {data}", bin.display()),
        ],
    ] {
        let out = Command::new(arguments[0])
            .args(&arguments[1..])
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
    }
    let actuators = server.home.actuators();
    let started = actuators
        .carry_out(&server.order("op-1", Action::Start))
        .await;
    assert_eq!(started.kind, OutcomeKind::Done, "{started:?}");
    let before = server.holders();
    // A client that stays: TERM would wait for it. It has asked for TLS and been told no, so it is known to
    // the server before that hangs.
    let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    client.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    client.read_exact(&mut [0]).unwrap();
    kill("STOP", before[0]);
    let outcome = actuators
        .carry_out(&server.order("op-2", Action::Restart))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(outcome.detail.starts_with("stopped after"), "{outcome:?}");
    drop(client);
    assert!(before.iter().all(|pid| !is_alive(*pid)));
    // Its children hold the port, too, until they have closed what they don't need.
    wait_for("one server", || (server.holders().len() == 1).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_other_hands_is_left_alone() {
    let server = Server::new("/usr/sbin/nginx", |_, _| words("true"), None);
    let theirs = std::net::TcpListener::bind(("127.0.0.1", server.port)).unwrap();
    let actuators = server.home.actuators();
    let outcome = actuators
        .carry_out(&server.order("op-1", Action::Restart))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(
        outcome.detail.contains("not by /usr/sbin/nginx"),
        "{outcome:?}"
    );
    drop(theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_t_come_up_says_why() {
    let Some(server) = nginx("no_such_directive on;") else {
        return;
    };
    let actuators = server.home.actuators();
    let outcome = actuators
        .carry_out(&server.order("op-1", Action::Restart))
        .await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(outcome.detail.contains("exited with 1"), "{outcome:?}");
    assert!(outcome.detail.contains("no_such_directive"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_start_time_tells_what_became_of_a_restart() {
    let Some(server) = nginx("") else {
        return;
    };
    let actuators = server.home.actuators();
    actuators
        .carry_out(&server.order("op-1", Action::Start))
        .await;
    drop(actuators);
    let journal = server.home.run_directory().join("operations.jsonl");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"begun\":\"op-new\",\"at\":1}\n{\"begun\":\"op-old\",\"at\":1}\n");
    std::fs::write(&journal, text).unwrap();
    let actuators = server.home.actuators();
    let mut before = server.order("op-new", Action::Restart);
    before.given_at = before.given_at - Duration::from_secs(60);
    let outcome = actuators.reconcile(&before, given(&before)).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    let mut after = server.order("op-old", Action::Restart);
    after.given_at = after.given_at + Duration::from_secs(5);
    let outcome = actuators.reconcile(&after, given(&after)).await;
    assert_eq!(outcome.kind, OutcomeKind::Unknown, "{outcome:?}");
}
