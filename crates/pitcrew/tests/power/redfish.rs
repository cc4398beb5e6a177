//! From a kernel's panic, or a lost supply, to the proof that the machine has booted: the whole loop.

use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    agents::{Agent, Fleet},
    controller::{Machine, Tools},
    machine::{Image, kernel},
    production::{Production, free_port},
};

/// An emulated machine boots in ten seconds where nothing else is done.
const PATIENCE: Duration = Duration::from_secs(240);

fn configuration(agents: u16, redfish: u16) -> String {
    format!(
        r#"
find:
  - agents: {{}}
services:
  - name: web
    select: {{ service: web }}
    domains: [host]
    autonomy: act
    tests:
      - {{ name: answers, http: {{ path: / }}, interval: 2s, timeout: 1900ms, failure_threshold: 3, success_threshold: 1 }}
    repairs:
      - name: ladder
        when: [answers]
        steps:
          - {{ reboot: {{}}, tries: 1, settle: 3s }}
          - {{ power_cycle: {{}}, tries: 1, settle: 3m }}
    limits: {{ cooldown: 1s, probation: 1s, lemon: {{ cases: 9, within: 1h }} }}
power:
  - {{ hosts: ["vm-*"], redfish: {{ url: "http://127.0.0.1:{redfish}", username: admin, password: "s3cret" }} }}
server: {{ listen: "127.0.0.1:0", agents: {{ listen: "127.0.0.1:{agents}" }} }}
"#
    )
}

fn host_configuration(web: u16) -> String {
    format!(
        r#"
address: 127.0.0.1
run:
  - name: web
    command: [/bin/busybox, httpd, -f, -p, "{web}", -h, /www]
    ports: {{ from: {web} }}
    labels: {{ service: web }}
"#
    )
}

struct Scene {
    fleet: Fleet,
    web: u16,
    machine: Machine,
    _eye: Agent,
}

impl Scene {
    fn start() -> Option<Self> {
        let tools = Tools::find()?;
        let kernel = kernel()?;
        let agents = free_port();
        let web = free_port();
        let mut production = Production::new(&configuration(agents, 1));
        production.serve();
        let fleet = Fleet { production, agents };
        let at = fleet.production.path().join("machine");
        std::fs::create_dir(&at).unwrap();
        // The machine's identity: what enrolled is packed into its image.
        let token = fleet.token("vm-1");
        let mut agent = Agent::new(&fleet, "vm-1", &token, "");
        std::fs::write(agent.directory.join("host.yaml"), "address: 127.0.0.1\n").unwrap();
        agent.start();
        fleet.wait_until_connected("vm-1", true);
        agent.stop();
        let data = agent.directory.join("data");
        std::fs::remove_dir_all(data.join("run")).ok();
        let image = Image::build(&at, kernel, &data, &host_configuration(web), agents);
        let eye = fleet.agent("eye");
        let machine = Machine::new(&at, &tools, &image, web);
        let yaml = configuration(agents, machine.redfish);
        fleet.production.write("production.yaml", &yaml);
        machine.start();
        let scene = Self {
            fleet,
            web,
            machine,
            _eye: eye,
        };
        scene.until("the machine serves", || {
            let target = scene.fleet.target("web-1@vm-1")?;
            (target["health"] == "healthy")
                .then_some(())
                .ok_or_else(|| target.to_string())
        });
        Some(scene)
    }

    fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match condition() {
                Ok(value) => return value,
                Err(last) => last,
            };
            let console = || self.machine.console();
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; last seen: {last}\n{}\n{}",
                self.fleet.production.log(),
                console()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn boot_id(&self) -> String {
        let hosts = self.fleet.production.get("/api/v1/hosts").unwrap();
        let hosts = hosts["items"].as_array().unwrap();
        let host = hosts.iter().find(|host| host["host"] == "vm-1").unwrap();
        host["boot_id"].as_str().unwrap_or_default().to_owned()
    }

    /// The first record of that kind about the target after `seq`.
    fn fact_after(&self, seq: u64, kind: &str) -> Value {
        self.until(&format!("there is a record of {kind}"), || {
            let records = self.fleet.production.records();
            let mut later = records.iter().filter(|entry| {
                entry["seq"].as_u64() > Some(seq) && entry["record"]["target"] == "web-1@vm-1"
            });
            let found = later.find(|entry| entry["record"]["fact"]["kind"] == kind);
            found.cloned().ok_or_else(|| "none yet".to_owned())
        })
    }

    fn panic(&self) {
        let mut asking = TcpStream::connect(("127.0.0.1", self.web)).unwrap();
        asking
            .write_all(b"GET /cgi-bin/panic HTTP/1.0\r\n\r\n")
            .unwrap();
        self.until("the kernel panics", || {
            let console = self.machine.console();
            let panicked = console.contains("Kernel panic");
            panicked.then_some(()).ok_or(console)
        });
    }

    /// From an incident to the closed case; what became of its power cycle.
    fn healed(&self, seq: u64, before: &str) -> (String, u64) {
        let confirmed = self.fact_after(seq, "confirmed");
        let observers = confirmed["record"]["fact"]["findings"][0]["observers"].to_string();
        assert!(
            observers.contains("local") && observers.contains("eye"),
            "{confirmed}"
        );
        let closed = self.fact_after(seq, "closed");
        assert_eq!(closed["record"]["fact"]["ending"], "cured", "{closed}");
        assert_ne!(self.boot_id(), before);
        let records = self.fleet.production.records();
        let outcomes: Vec<&Value> = records
            .iter()
            .filter(|entry| entry["seq"].as_u64() > Some(seq))
            .map(|entry| &entry["record"]["fact"])
            .filter(|fact| fact["kind"] == "outcome")
            .map(|fact| &fact["outcome"])
            .collect();
        let [reboot, cycle] = outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert_ne!(reboot["kind"], "done", "{reboot}");
        assert_eq!(cycle["kind"], "done", "{cycle}");
        let detail = cycle["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(&format!("its boot id was {before} and is")),
            "{detail}"
        );
        (detail, closed["seq"].as_u64().unwrap())
    }
}

#[test]
fn a_machine_that_panics_or_loses_its_power_is_brought_back_by_redfish_and_proven_by_its_boot_id() {
    let Some(scene) = Scene::start() else {
        return;
    };
    let before = scene.boot_id();
    scene.panic();
    let (detail, seq) = scene.healed(0, &before);
    assert!(detail.contains("was on; ForceRestart"), "{detail}");
    let before = scene.boot_id();
    scene.machine.lose_power();
    let (detail, _) = scene.healed(seq, &before);
    assert!(detail.contains("was off; On"), "{detail}");
    let told = scene.fleet.production.says(&["explain", "web-1@vm-1"], 0);
    assert!(told.contains("power cycle vm-1"), "{told}");
}
