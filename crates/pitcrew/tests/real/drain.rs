//! nginx as a balancer in front of three upstreams: what fails is taken out of its rotation, restarted and put back, and a
//! server that is killed meanwhile forgets nobody.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::production::{Process, Production, free_port, free_ports, has, request, send, wait_for};

const UPSTREAMS: u16 = 3;

/// The balancer, its hook, and a production of its upstreams.
struct Balanced {
    production: Production,
    balancer: u16,
    hook: Arc<Hook>,
    _nginx: Process,
}

/// Takes upstreams out of the balancer's configuration and puts them back.
struct Hook {
    directory: PathBuf,
    balancer: u16,
    upstreams: u16,
    drained: Mutex<BTreeSet<String>>,
    /// What it was told, in order: `drain web-1`.
    told: Mutex<Vec<String>>,
}

impl Hook {
    fn configure(&self, drained: &BTreeSet<String>) {
        let server = |port: u16| {
            let address = format!("127.0.0.1:{port}");
            let down = if drained.contains(&address) {
                " down"
            } else {
                ""
            };
            format!("server {address} max_fails=0{down};")
        };
        let servers: String = (self.upstreams..self.upstreams + UPSTREAMS)
            .map(server)
            .collect();
        let text = format!(
            "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
            events {{}}
            http {{
                access_log off;
                upstream web {{ {servers} }}
                server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; proxy_next_upstream off; }} }}
            }}",
            dir = self.directory.display(),
            port = self.balancer
        );
        fs::write(self.directory.join("nginx.conf"), text).expect("nginx's configuration");
    }

    /// Returns when nobody serves by the former configuration any more.
    fn reload(&self) {
        let before = self.workers();
        let reload = nginx(&self.directory).args(["-s", "reload"]).status();
        assert!(reload.expect("nginx runs").success());
        wait_for("nginx to have reloaded", || {
            let now = self.workers();
            let reloaded = !now.is_empty() && now.is_disjoint(&before);
            reloaded.then_some(()).ok_or_else(|| format!("{now:?}"))
        });
    }

    fn workers(&self) -> BTreeSet<String> {
        let pid = fs::read_to_string(self.directory.join("nginx.pid")).expect("nginx's pid");
        let pid = pid.trim();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("its children");
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn obey(&self, order: &Value) {
        let target = &order["target"];
        let (id, address) = (target["id"].as_str(), target["address"].as_str());
        let (id, address) = (id.expect("an id"), address.expect("an address"));
        assert!(order["lease"]["until"].is_u64(), "{order}");
        let mut drained = self.drained.lock().expect("who is drained");
        let drains = order["action"].get("drain").is_some();
        let verb = match drains {
            true => {
                drained.insert(address.to_owned());
                "drain"
            }
            false => {
                assert!(order["action"].get("undrain").is_some(), "{order}");
                drained.remove(address);
                "undrain"
            }
        };
        self.configure(&drained);
        self.reload();
        self.told
            .lock()
            .expect("what was told")
            .push(format!("{verb} {id}"));
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        let order = loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&chunk[..read]);
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            // The body is whole as soon as it is JSON.
            let body = head.map(|head| serde_json::from_slice::<Value>(&bytes[head + 4..]));
            if let Some(Ok(order)) = body {
                break order;
            }
        };
        self.obey(&order);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("what was told").clone()
    }

    fn is_drained(&self) -> bool {
        !self.drained.lock().expect("who is drained").is_empty()
    }
}

fn nginx(directory: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(directory.join("nginx.conf"));
    command.current_dir(directory);
    command
}

fn balanced(lease: &str) -> Option<Balanced> {
    if !has("/usr/sbin/nginx", "nginx") || !has("/bin/busybox", "busybox") {
        return None;
    }
    let (balancer, upstreams) = (free_port(), free_ports(UPSTREAMS));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the hook");
    let hook_port = listener.local_addr().expect("its address").port();
    let mut production = Production::new(&format!(
        "
run:
  - name: web
    instances: {UPSTREAMS}
    command: [/bin/busybox, httpd, -f, -p, '127.0.0.1:{{port}}', -h, '{{dir}}/site']
    ports: {{ from: {upstreams} }}
    labels: {{ service: web }}
    stop: {{ grace: 500ms }}
services:
  - name: web
    select: {{ service: web }}
    autonomy: act
    drain: {{ webhook: {{ url: 'http://127.0.0.1:{hook_port}/', timeout: 20s }}, lease: {lease} }}
    tests: [{{ name: answers, http: {{ path: / }}, interval: 500ms, timeout: 450ms, failure_threshold: 2, success_threshold: 2, proves: degraded }}]
    repairs: [{{ name: restart, when: [answers], steps: [{{ drain: {{}}, settle: 1s }}, {{ restart: {{}}, settle: 20s }}] }}]
    limits: {{ cooldown: 1ms, probation: 300ms, max_unavailable: 2, lemon: {{ cases: 200, within: 1h }} }}
"
    ));
    let site = production.path().join("site");
    fs::create_dir(&site).expect("the site");
    fs::write(site.join("index.html"), "all is well").expect("a page");
    let hook = Arc::new(Hook {
        directory: production.path().to_owned(),
        balancer,
        upstreams,
        drained: Mutex::default(),
        told: Mutex::default(),
    });
    hook.configure(&BTreeSet::new());
    let nginx = Process::start(&mut nginx(production.path()));
    let listens = Arc::clone(&hook);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Whoever asked may be gone: it asks again.
            listens.answer(stream).ok();
        }
    });
    production.serve();
    let balanced = Balanced {
        production,
        balancer,
        hook,
        _nginx: nginx,
    };
    balanced.wait_until_all_are_up();
    Some(balanced)
}

impl Balanced {
    fn wait_until_all_are_up(&self) {
        let all = |report: &Value| {
            let service = &report["services"][0];
            service["targets"] == UPSTREAMS
                && service["healthy"] == UPSTREAMS
                && service["drained"] == 0
        };
        self.production
            .wait_until("all upstreams to be up", "/api/v1/report", |report| {
                all(report).then_some(()).ok_or_else(|| report.to_string())
            });
    }

    /// Every upstream in its rotation answers.
    fn serves(&self) {
        for _ in 0..UPSTREAMS * 3 {
            let answer = request(self.balancer, "GET", "/", &[], "").expect("an answer");
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    fn actions(&self, target: &str) -> Vec<String> {
        let records = self.production.records();
        let intents = records.iter().filter(|entry| {
            let record = &entry["record"];
            record["fact"]["kind"] == "intent" && record["target"] == target
        });
        let action = |entry: &Value| match &entry["record"]["fact"]["order"]["action"] {
            Value::String(name) => name.clone(),
            other => other
                .as_object()
                .and_then(|action| action.keys().next().cloned())
                .unwrap_or_default(),
        };
        intents.map(action).collect()
    }
}

#[test]
fn a_failing_upstream_gets_no_requests_until_it_is_repaired() {
    let Some(balanced) = balanced("1h") else {
        return;
    };
    let pid = balanced.production.pid_of("web-1").expect("web-1 runs");
    send(pid, Signal::STOP);
    wait_for("web-1 to be drained", || {
        let told = balanced.hook.told();
        (told == ["drain web-1"])
            .then_some(())
            .ok_or_else(|| format!("{told:?}"))
    });
    balanced.serves();
    let closed = balanced.production.wait_for_fact("web-1", "closed");
    assert_eq!(closed["record"]["fact"]["ending"], "cured", "{closed}");
    balanced.wait_until_all_are_up();
    assert_eq!(balanced.hook.told(), ["drain web-1", "undrain web-1"]);
    assert_eq!(balanced.actions("web-1"), ["drain", "restart", "undrain"]);
    balanced.serves();
    balanced.production.says(&["ledger", "verify"], 0);
}

#[test]
fn a_server_killed_while_something_is_drained_gives_it_back_when_it_is_there_again() {
    let Some(mut balanced) = balanced("30s") else {
        return;
    };
    let production = &balanced.production;
    production.says(&["order", "web-2", "drain", "--why", "a test"], 0);
    wait_for("web-2 to be drained", || {
        balanced
            .hook
            .is_drained()
            .then_some(())
            .ok_or_else(|| "it is not".to_owned())
    });
    let listed = production.says(&["targets"], 0);
    assert!(listed.contains("drained until"), "{listed}");
    let explained = production.says(&["explain", "web-2"], 0);
    assert!(explained.contains("on a person's word"), "{explained}");
    let refused = production.says(&["order", "web-2", "undrian", "--why", "a slip"], 2);
    assert!(refused.contains("undrain"), "{refused}");
    balanced.production.kill();
    assert!(balanced.hook.is_drained());
    balanced.production.serve();
    balanced.wait_until_all_are_up();
    assert_eq!(balanced.hook.told(), ["drain web-2", "undrain web-2"]);
    assert!(!balanced.hook.is_drained());
    balanced.serves();
}
