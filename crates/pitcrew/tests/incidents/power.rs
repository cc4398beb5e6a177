//! A host that reboots itself on an order, and one that only its power controller can bring back.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use crate::{
    fleet::{Choices, Fleet, web},
    lab::Lab,
    production::wait_for,
};

#[test]
fn a_host_reboots_itself_on_an_order_through_the_process_without_a_network() {
    let Some(fleet) = Fleet::healthy() else {
        return;
    };
    comes_up_with_its_host(&fleet, 2);
    let before = fleet.host(2)["boot_id"].clone();
    let order = ["order", &web(2), "reboot", "--why", "a new kernel"];
    fleet.production.says(&order, 0);
    fleet.wait_for_another_boot(2, &before);
    let outcome = fleet.production.wait_for_fact(&web(2), "outcome");
    let outcome = &outcome["record"]["fact"]["outcome"];
    assert_eq!(outcome["kind"], "done", "{outcome}");
    let detail = outcome["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains(before.as_str().expect("a boot id")),
        "{detail}"
    );
    // Its order still has its time to settle, so it is not called healthy yet.
    wait_for("the page to be seen from elsewhere", || {
        let verdict = fleet.verdict(&web(2), "answers", "h1");
        (verdict.as_deref() == Some("pass"))
            .then_some(())
            .ok_or_else(|| format!("{verdict:?}"))
    });
    fleet.begun_once(2);
    assert_eq!(fleet.begun(2).len(), 1);
}

fn comes_up_with_its_host(fleet: &Fleet, host: u8) {
    let enable = "systemctl add-wants multi-user.target web.service";
    fleet.lab.shell(host, enable);
}

/// `ipmi_sim` of OpenIPMI, beside the server; its chassis is a host of the lab.
struct Controller {
    _files: tempfile::TempDir,
    simulator: Child,
}

const PORT: u16 = 9623;

impl Controller {
    fn of(lab: &Lab, host: u8) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let at = files.path();
        let chassis = at.join("chassis");
        let reset = lab.command_line(&["reset", &host.to_string()]);
        let script = format!(
            r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
verb=$1; shift
case $verb in
  get) for what in "$@"; do [ "$what" = power ] && echo "power:$(cat power)" || echo "$what:0"; done ;;
  set) if [ "$1 $(cat power) $2" = "power 0 1" ]; then {reset} > reset.log 2>&1 < /dev/null & fi
       [ "$1" = power ] && echo "$2" > power ;;
esac
exit 0
"#
        );
        let lan = format!(
            r#"name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {PORT}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcde7
  endlan
chassis_control "{}"
user 2 true "admin" "s3cret" admin 10 none md2 md5 straight
"#,
            chassis.display()
        );
        let management = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n";
        for (name, content) in [
            ("chassis", script.as_str()),
            ("power", "1"),
            ("lan.conf", &lan),
            ("mc.emu", management),
        ] {
            fs::write(at.join(name), content).expect("the controller's files");
        }
        fs::set_permissions(&chassis, fs::Permissions::from_mode(0o755)).expect("a program");
        let simulator = Command::new("/usr/bin/ipmi_sim")
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
            .expect("ipmi_sim runs: apt-get install openipmi");
        Self {
            _files: files,
            simulator,
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.simulator.kill().ok();
        self.simulator.wait().ok();
    }
}

#[test]
fn a_frozen_host_is_cycled_by_its_controller_and_proven_by_another_boot() {
    let Some(lab) = Lab::find() else {
        return;
    };
    let _controller = Controller::of(&lab, 3);
    let power = format!(
        "power:\n  - {{ hosts: [h3], ipmi: {{ address: \"127.0.0.1:{PORT}\", username: admin, password: s3cret, cipher_suite: 3 }} }}\n"
    );
    let choices = Choices {
        step: "{ power_cycle: {}, tries: 1, settle: 2m }",
        more: &power,
        ..Choices::default()
    };
    let fleet = Fleet::healthy_with(lab, &choices);
    comes_up_with_its_host(&fleet, 3);
    let before = fleet.host(3)["boot_id"].clone();
    fleet.cured(&web(3), "power_cycle", || {
        fleet.lab.on(3, "freeze", &[]);
    });
    fleet.wait_for_another_boot(3, &before);
    assert_eq!(fleet.orders(), ["web@h3 power_cycle"]);
}
