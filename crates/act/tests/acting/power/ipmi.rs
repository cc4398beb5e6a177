//! `ipmi_sim` of OpenIPMI as the controller, with a chassis that the test owns.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use pitcrew_model::{OutcomeKind, PowerController, Secret};

use super::cycle;
use crate::support::{Home, Peer, program, wait_for};

/// What the simulator asks: `get power …`, `set power 0|1 …`. Every change is written down.
const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
verb=$1; shift
case $verb in
  get) for what in "$@"; do case $what in
         power) echo "power:$(cat power)" ;;
         boot) echo boot:default ;;
         *) echo "$what:0" ;;
       esac; done ;;
  set) while [ $# -gt 1 ]; do
         echo "$1 $2" >> changes
         [ "$1" = power ] && [ ! -e stuck ] && echo "$2" > power
         shift 2
       done ;;
esac
exit 0
"#;

struct Controller {
    directory: tempfile::TempDir,
    port: u16,
    _simulator: Peer,
}

impl Controller {
    fn start(power: &str) -> Option<Self> {
        let simulator = program("/usr/bin/ipmi_sim", "openipmi")?;
        program("/usr/bin/ipmitool", "ipmitool")?;
        let directory = tempfile::tempdir().unwrap();
        let port = free_udp_port();
        let at = directory.path();
        fs::write(at.join("chassis"), CHASSIS).unwrap();
        fs::set_permissions(at.join("chassis"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(at.join("power"), power).unwrap();
        fs::write(at.join("changes"), "").unwrap();
        fs::write(at.join("lan.conf"), lan(at, port)).unwrap();
        let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n";
        fs::write(at.join("mc.emu"), commands).unwrap();
        let child = Command::new(simulator)
            .arg("-c")
            .arg(at.join("lan.conf"))
            .arg("-f")
            .arg(at.join("mc.emu"))
            .arg("-s")
            .arg(at)
            .arg("-n")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let controller = Self {
            directory,
            port,
            _simulator: Peer(child),
        };
        wait_for("the controller answers", || {
            let answered = Command::new("ipmitool")
                .args([
                    "-I",
                    "lanplus",
                    "-H",
                    "127.0.0.1",
                    "-U",
                    "admin",
                    "-P",
                    "s3cret",
                ])
                .args(["-p", &port.to_string(), "-C", "3", "-N", "1", "-R", "1"])
                .args(["chassis", "power", "status"])
                .output()
                .unwrap();
            answered.status.success().then_some(())
        });
        Some(controller)
    }

    fn settings(&self, password: &str) -> PowerController {
        PowerController::Ipmi {
            address: format!("127.0.0.1:{}", self.port),
            username: "admin".into(),
            password: Secret::new(password),
            cipher_suite: 3,
        }
    }

    fn changes(&self) -> Vec<String> {
        let changes = fs::read_to_string(self.directory.path().join("changes")).unwrap();
        changes.lines().map(str::to_owned).collect()
    }
}

fn lan(at: &Path, port: u16) -> String {
    format!(
        r#"name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcde7
  endlan
chassis_control "{}"
user 2 true "admin" "s3cret" admin 10 none md2 md5 straight
"#,
        at.join("chassis").display()
    )
}

fn free_udp_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_on_is_cycled_and_one_that_is_off_is_switched_on() {
    let Some(controller) = Controller::start("1") else {
        return;
    };
    let home = Home::new();
    let outcome = cycle(&home, "op-1", controller.settings("s3cret")).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(outcome.detail.contains("was on; cycle"), "{outcome:?}");
    let changes = controller.changes();
    assert!(
        changes.contains(&"power 0".to_owned()) && changes.last().unwrap() == "power 1",
        "{changes:?}"
    );
    fs::write(controller.directory.path().join("power"), "0").unwrap();
    let outcome = cycle(&home, "op-2", controller.settings("s3cret")).await;
    assert_eq!(outcome.kind, OutcomeKind::Done, "{outcome:?}");
    assert!(outcome.detail.contains("was off; on"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_has_no_effect_and_is_in_no_message() {
    let Some(controller) = Controller::start("1") else {
        return;
    };
    let outcome = cycle(&Home::new(), "op-1", controller.settings("not-it")).await;
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(!outcome.detail.contains("not-it"), "{outcome:?}");
    assert_eq!(controller.changes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_says_yes_and_leaves_the_host_off_is_not_believed() {
    let Some(controller) = Controller::start("0") else {
        return;
    };
    fs::write(controller.directory.path().join("stuck"), "").unwrap();
    let outcome = cycle(&Home::new(), "op-1", controller.settings("s3cret")).await;
    assert_eq!(outcome.kind, OutcomeKind::Unknown, "{outcome:?}");
    assert!(outcome.detail.contains("still off"), "{outcome:?}");
}
