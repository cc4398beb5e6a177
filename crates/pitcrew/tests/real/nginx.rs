//! nginx: wrong answers are repaired by reloading its configuration, everything else by starting it again.

use std::{fs, process::Command};

use rustix::process::Signal;

use crate::{
    production::{Process, Production, free_port, has, request, wait_for},
    story::{Kept, RESTART, actions, cured, handed_over},
};

struct Nginx {
    production: Production,
    target: String,
    port: u16,
    _first: Process,
}

/// It runs and is served; `yaml` is given the port.
fn nginx(steps: &str) -> Option<Nginx> {
    if !has("/usr/sbin/nginx", "nginx") {
        return None;
    }
    let port = free_port();
    let command = "[/usr/sbin/nginx, -c, '{dir}/nginx.conf']";
    let runs_as = format!(
        "{{ listener: {{ port: {port}, exe: nginx, command: {command}, directory: '{{dir}}', grace: 2s }} }}"
    );
    let kept = Kept {
        port,
        runs_as: &runs_as,
        test: "http: { path: /, status: [200], body_matches: 'all is well' }",
        steps,
    };
    let production = Production::new(&kept.yaml());
    configure(&production, port, "200 'all is well'");
    let first = start(&production);
    let mut nginx = Nginx {
        production,
        target: kept.target(),
        port,
        _first: first,
    };
    nginx.production.serve();
    Some(nginx)
}

fn start(production: &Production) -> Process {
    Process::start(
        Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(production.path().join("nginx.conf"))
            .current_dir(production.path()),
    )
}

fn configure(production: &Production, port: u16, answer: &str) {
    let text = format!(
        "daemon off; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/error.log;
        events {{}}
        http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ return {answer}; }} }} }}",
        dir = production.path().display()
    );
    fs::write(production.path().join("nginx.conf"), text).expect("nginx's configuration");
}

#[test]
fn killed_hung_and_answering_errors_it_comes_back() {
    let reload = "{ command: { name: reload, command: [/usr/sbin/nginx, -c, '{dir}/nginx.conf', -s, reload] }, tries: 1, settle: 2s }";
    let Some(nginx) = nginx(&format!("{reload}, {RESTART}")) else {
        return;
    };
    let Nginx {
        production,
        target,
        port,
        ..
    } = &nginx;

    let first = production.processes("nginx");
    let killed = cured(production, target, || {
        production.signal_all("nginx", Signal::KILL)
    });
    assert_eq!(actions(&killed), ["reload", "restart"], "{killed:?}");
    assert!(
        production
            .processes("nginx")
            .iter()
            .all(|pid| !first.contains(pid))
    );

    let second = production.processes("nginx");
    let hung = cured(production, target, || {
        production.signal_all("nginx", Signal::STOP)
    });
    assert_eq!(actions(&hung), ["reload", "restart"], "{hung:?}");
    assert!(
        production
            .processes("nginx")
            .iter()
            .all(|pid| !second.contains(pid))
    );

    // A bad configuration was loaded; the one on disk is good again.
    let wrong = cured(production, target, || {
        configure(production, *port, "500 'nothing is well'");
        let reload = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(production.path().join("nginx.conf"))
            .args(["-s", "reload"])
            .status();
        assert!(reload.expect("nginx runs").success());
        wait_for("the bad answer", || {
            let status = request(*port, "GET", "/", &[], "")?.status;
            (status == 500)
                .then_some(())
                .ok_or_else(|| status.to_string())
        });
        configure(production, *port, "200 'all is well'");
    });
    assert_eq!(actions(&wrong), ["reload"], "{wrong:?}");
    production.says(&["ledger", "verify"], 0);
}

#[test]
fn a_broken_configuration_is_handed_over_with_what_nginx_said() {
    let Some(nginx) = nginx("{ restart: {}, tries: 2, settle: 1s }") else {
        return;
    };
    let Nginx {
        production,
        target,
        port,
        ..
    } = &nginx;
    let notice = handed_over(production, target, || {
        configure(production, *port, "200; surprise on");
        production.signal_all("nginx", Signal::KILL);
    });
    assert_eq!(actions(&notice.orders), ["restart", "restart"]);
    notice.says(&[
        "answers",
        "connection refused",
        "restart",
        &notice.orders[1].outcome,
    ]);
    assert!(
        notice.orders[1]
            .outcome
            .contains("unknown directive \"surprise\""),
        "{:?}",
        notice.orders
    );
    assert!(production.processes("nginx").is_empty());
    assert!(production.says(&["status"], 1).contains("needs you"));

    // The person repairs it by hand; the tests close the case.
    configure(production, *port, "200 'all is well'");
    let _by_hand = start(production);
    let closed = production.wait_for_fact(target, "closed");
    assert_eq!(
        closed["record"]["fact"]["ending"], "handed_over",
        "{closed}"
    );
    assert_eq!(closed["record"]["case"], *notice.case);
}
