//! A machine with nginx, Redis and PostgreSQL that nobody wrote a configuration for: `init` writes one that
//! watches all three without an edit, and raising `autonomy` is all it takes to have them repaired.

mod production;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use production::{Production, binary, free_port, has, request, send, wait_for};
use rustix::process::Signal;
use serde_json::Value;

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn init(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .arg("init")
        .arg(directory)
        .args(arguments)
        .output()
        .expect("init runs")
}

/// PostgreSQL refuses to run as root; as root, its package's user runs it.
fn postgres_account() -> Option<(u32, u32)> {
    let id = |flag: &str| {
        let output = run(Command::new("id").args([flag, "postgres"]));
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("a number")
    };
    rustix::process::getuid()
        .is_root()
        .then(|| (id("-u"), id("-g")))
}

fn as_postgres(program: &str) -> Command {
    let mut command = Command::new(format!("{POSTGRES}/{program}"));
    if let Some((user, group)) = postgres_account() {
        command.uid(user).gid(group);
    }
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Three servers as somebody else left them running: nginx in the background, two in the foreground.
struct Servers {
    directory: tempfile::TempDir,
    nginx: u16,
    redis: u16,
    postgres: u16,
}

impl Servers {
    fn start() -> Option<Self> {
        let all = has("/usr/sbin/nginx", "nginx")
            && has("/usr/bin/redis-server", "redis-server")
            && has(&format!("{POSTGRES}/postgres"), "postgresql-15");
        if !all {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))
            .expect("PostgreSQL may pass");
        let mut servers = Self {
            directory,
            nginx: free_port(),
            redis: free_port(),
            postgres: free_port(),
        };
        servers.start_nginx();
        servers.start_redis();
        servers.start_postgres();
        Some(servers)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_nginx(&self, answer: &str) {
        let dir = self.directory.path().display();
        let configuration = format!(
            "pid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\nworker_processes 2;\nevents {{}}\nhttp {{\n\
             access_log off;\nserver {{ listen 127.0.0.1:{}; location / {{ return {answer}; }} }}\n}}\n",
            self.nginx
        );
        fs::write(self.path("nginx.conf"), configuration).expect("its configuration is written");
    }

    fn nginx(&self) -> Command {
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(self.path("nginx.conf"));
        command
            .arg("-e")
            .arg(self.path("nginx.log"))
            .current_dir("/")
            .stderr(Stdio::null());
        command
    }

    fn start_nginx(&self) {
        self.write_nginx("200 well");
        run(&mut self.nginx());
        wait_for("nginx", || {
            self.page()
                .and_then(|(status, body)| (status == 200).then_some(()).ok_or(body))
        });
    }

    fn page(&self) -> Result<(u16, String), String> {
        let answer = request(self.nginx, "GET", "/", &[], "")?;
        Ok((answer.status, answer.body))
    }

    fn start_redis(&mut self) {
        let data = self.path("redis data");
        fs::create_dir(&data).expect("its directory");
        let port = self.redis.to_string();
        let child = Command::new("/usr/bin/redis-server")
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        reap(child.expect("Redis starts"));
        wait_for("Redis", || {
            self.redis_says("PING")
                .and_then(|words| (words == "+PONG").then_some(()).ok_or(words))
        });
    }

    /// The first line of its answer.
    fn redis_says(&self, command: &str) -> Result<String, String> {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.redis))?;
            stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|error: std::io::Error| error.to_string())?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn start_postgres(&mut self) {
        let data = self.path("postgres");
        fs::create_dir(&data).expect("its directory");
        if let Some((user, group)) = postgres_account() {
            std::os::unix::fs::chown(&data, Some(user), Some(group))
                .expect("its directory is its own");
        }
        run(as_postgres("initdb")
            .args(["--no-sync", "-U", "postgres", "-A", "trust", "-D"])
            .arg(&data));
        let child = as_postgres("postgres")
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &self.postgres.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
            ])
            .args(["-c", "max_connections=6", "-c", "fsync=off", "-c"])
            .arg(format!("unix_socket_directories={}", data.display()))
            .spawn();
        reap(child.expect("PostgreSQL starts"));
        wait_for("PostgreSQL", || self.query("select 42"));
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(format!("{POSTGRES}/psql"));
        let port = self.postgres.to_string();
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-XAtc",
            sql,
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn query(&self, sql: &str) -> Result<(), String> {
        let output = self.psql(sql).output().map_err(|error| error.to_string())?;
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn ports(&self) -> [String; 3] {
        [self.nginx, self.redis, self.postgres].map(|port| port.to_string())
    }

    /// Looks at these three ports and nothing else.
    fn init(&self, directory: &Path, more: &[&str]) -> Output {
        let ports = self.ports();
        let mut arguments: Vec<&str> = ports.iter().flat_map(|port| ["--port", port]).collect();
        arguments.extend(more);
        init(directory, &arguments)
    }

    /// What `init` finds, by port.
    fn found(&self) -> BTreeMap<u16, Value> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = self.init(&directory.path().join("new"), &["--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let found = answer["found"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| {
                let port = one["address"]
                    .as_str()
                    .and_then(|address| address.rsplit_once(':'))
                    .expect("an address")
                    .1;
                (port.parse().expect("a port"), one.clone())
            });
        found.collect()
    }

    fn target(port: u16) -> String {
        format!("127.0.0.1:{port}")
    }
}

impl Drop for Servers {
    /// All that runs with a file or in a directory of this test, whatever state it is in.
    fn drop(&mut self) {
        let own = self.directory.path().to_str().expect("a path").to_owned();
        for pid in pids() {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            if String::from_utf8_lossy(&arguments).contains(&own) || directory.starts_with(&own) {
                tree(pid)
                    .into_iter()
                    .for_each(|pid| signal_if_there(pid, Signal::KILL));
            }
        }
    }
}

/// As the first process of a machine does: what isn't waited for stays in the way of what comes after it.
fn reap(mut child: Child) {
    thread::spawn(move || child.wait());
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn signal_if_there(pid: u32, signal: Signal) {
    assert!(pid > 1);
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, signal).ok();
}

/// A process and all below it.
fn tree(root: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse::<u32>()
            .ok()
    };
    let parents: BTreeMap<u32, u32> = pids()
        .into_iter()
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut pids = vec![root];
    let mut at = 0;
    while at < pids.len() {
        let children = parents
            .iter()
            .filter(|(_, parent)| **parent == pids[at])
            .map(|(pid, _)| *pid);
        pids.extend(children.collect::<Vec<_>>());
        at += 1;
    }
    pids
}

/// As it shows to others: `/proc/PID/cmdline` without the padding at its end, and its user.
fn identity(pid: u32) -> (String, String) {
    let title = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    let title = String::from_utf8_lossy(&title)
        .replace('\0', " ")
        .trim_end()
        .to_owned();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let user = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .expect("its user")
        .to_owned();
    (title, user)
}

fn wait_until_healthy(production: &Production) {
    production.wait_until("all three to be healthy", "/api/v1/report", |report| {
        let services = report["services"].as_array().ok_or("no services yet")?;
        let is_healthy = |service: &Value| service["healthy"] == 1 && service["targets"] == 1;
        let all = services.len() == 3 && services.iter().all(is_healthy);
        all.then_some(()).ok_or_else(|| report.to_string())
    });
}

#[test]
fn init_watches_nginx_redis_and_postgresql_and_act_is_all_it_takes_to_repair_them() {
    let Some(servers) = Servers::start() else {
        return;
    };
    let before = servers.found();
    assert_eq!(before.len(), 3, "{before:#?}");

    let directory = servers.path("production");
    let output = servers.init(&directory, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("pitcrew check") && said.contains("pitcrew serve --config"),
        "{said}"
    );
    let file = directory.join("pitcrew.yaml");
    let text = fs::read_to_string(&file).expect("the configuration");

    // It is right as it is, the same each time, and never written over.
    run(Command::new(binary()).arg("check").arg(&directory));
    let again = servers.init(&directory, &[]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("another directory"),
        "{again:?}"
    );
    assert_eq!(fs::read_to_string(&file).expect("the configuration"), text);
    let other = servers.path("other");
    servers.init(&other, &[]);
    let other = fs::read_to_string(other.join("pitcrew.yaml")).expect("the configuration");
    let said = |text: &str| {
        text.split_once("\nfind:")
            .expect("what was found")
            .1
            .to_owned()
    };
    assert_eq!(said(&other), said(&text));

    // Served without an edit, all three are seen healthy and none is touched.
    let mut watching = Production::new(&text);
    watching.serve();
    wait_until_healthy(&watching);
    watching.stop();
    drop(watching);

    // Autonomy is what a user changes; intervals and rests only keep this test short.
    let mut acting = text.replace("autonomy: observe", "autonomy: act");
    for (from, to) in [
        ("interval: 5s", "interval: 500ms"),
        ("timeout: 2s", "timeout: 500ms"),
        ("cooldown: 10m ", "cooldown: 1ms "),
        ("probation: 30m ", "probation: 500ms "),
        ("cases: 3, within: 7d", "cases: 99, within: 1m"),
        ("rate: 6/h ", "rate: 99/h "),
    ] {
        assert!(acting.contains(from), "{from}\n{acting}");
        acting = acting.replace(from, to);
    }
    let mut production = Production::new(&acting);
    production.serve();
    wait_until_healthy(&production);
    let repaired = |what: &str, port: u16, harm: &dyn Fn(u32)| {
        let pid = |found: &BTreeMap<u16, Value>| {
            u32::try_from(found[&port]["pid"].as_u64().expect("its process is seen"))
                .expect("a pid")
        };
        let old = pid(&servers.found());
        let (seq, shown) = (production.last_seq(), identity(old));
        harm(old);
        let target = Servers::target(port);
        wait_for(&format!("{what}: {target} to be cured"), || {
            let records = production.records();
            let is_cured = |entry: &Value| {
                let (record, fact) = (&entry["record"], &entry["record"]["fact"]);
                let is_new = entry["seq"].as_u64() > Some(seq);
                is_new
                    && record["target"] == *target
                    && fact["kind"] == "closed"
                    && fact["ending"] == "cured"
            };
            records
                .iter()
                .any(is_cured)
                .then_some(())
                .ok_or_else(|| production::summary(&records))
        });
        wait_until_healthy(&production);
        let new = pid(&servers.found());
        assert_ne!(old, new, "{what}");
        assert_eq!(identity(new), shown, "{what}: it runs as it did");
    };
    for port in [servers.nginx, servers.redis, servers.postgres] {
        repaired("killed", port, &|pid| {
            tree(pid)
                .into_iter()
                .for_each(|pid| signal_if_there(pid, Signal::KILL))
        });
        repaired("hung", port, &|pid| {
            tree(pid)
                .into_iter()
                .for_each(|pid| signal_if_there(pid, Signal::STOP))
        });
    }

    repaired("nginx answers errors", servers.nginx, &|master| {
        servers.write_nginx("500 sick");
        send(master, Signal::HUP);
        wait_for("nginx to be sick", || {
            servers
                .page()
                .and_then(|(status, body)| (status == 500).then_some(()).ok_or(body))
        });
        servers.write_nginx("200 well");
    });
    repaired("Redis takes no more clients", servers.redis, &|_| {
        servers
            .redis_says("CONFIG SET maxclients 1")
            .expect("it is set");
        // It lives on for as long as this server does.
        let mut client = TcpStream::connect(("127.0.0.1", servers.redis)).expect("the one client");
        client.write_all(b"PING\r\n").expect("it is there");
        std::mem::forget(client);
    });
    let clients = std::cell::RefCell::new(Vec::new());
    repaired(
        "PostgreSQL takes no more clients",
        servers.postgres,
        &|_| {
            let client = || {
                servers
                    .psql("select pg_sleep(600)")
                    .spawn()
                    .expect("a client")
            };
            clients.borrow_mut().extend((0..6).map(|_| client()));
        },
    );
    for client in clients.borrow_mut().iter_mut() {
        // The restart has ended each of them.
        client.wait().expect("it ended");
    }
    assert_eq!(servers.page(), Ok((200, "well".to_owned())));
    assert_eq!(servers.redis_says("CONFIG GET save"), Ok("*2".to_owned()));
    servers.query("select 42").expect("PostgreSQL answers");
}

#[test]
fn nothing_found_is_a_commented_skeleton_that_can_be_served() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let new = directory.path().join("a/b");
    let port = free_port().to_string();
    let output = init(&new, &["--port", &port]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(&format!("nobody listens on port {port}")),
        "{said}"
    );
    run(Command::new(binary()).arg("check").arg(&new));
    let mode = fs::metadata(new.join("pitcrew.yaml"))
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "commands may hold secrets");
}

#[test]
fn a_directory_with_a_configuration_is_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("web.yml"), "services: []\n").expect("a file");
    let output = init(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(
        fs::read_dir(directory.path())
            .expect("the directory")
            .count(),
        1
    );
}
