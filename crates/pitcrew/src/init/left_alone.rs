//! What is left alone: Pitcrew's own, what others keep running, and what the machine itself lives by.
//!
//! None of it is ever configured, so that no later change of `autonomy` can restart it.

use super::{
    containers::{self, Container, Containers},
    machine::Process,
};

/// What a process lives in.
pub(super) enum Home<'c> {
    Machine,
    Container(&'c Container),
    /// Its engine doesn't tell of it.
    UnknownContainer,
}

pub(super) fn home<'c>(
    containers: &'c Containers,
    process: Option<&Process>,
    port: u16,
    own_cgroups: &[String],
) -> Home<'c> {
    let Some(process) = process else {
        return Home::Machine;
    };
    if process.program() == Some("docker-proxy") {
        return containers
            .by_port(port)
            .map_or(Home::UnknownContainer, Home::Container);
    }
    match containers::id_of(process, own_cgroups) {
        Some(id) => containers
            .by_id(id)
            .map_or(Home::UnknownContainer, Home::Container),
        None => Home::Machine,
    }
}

/// Why something is only listed: it isn't production, or a restart of it is never Pitcrew's.
pub(super) fn why_left_alone(process: &Process, port: u16, home: &Home<'_>) -> Option<String> {
    const SYSTEM: [&str; 27] = [
        "sshd",
        "dropbear",
        "systemd",
        "init",
        "dbus-daemon",
        "dbus-broker",
        "dockerd",
        "containerd",
        "docker-proxy",
        "podman",
        "conmon",
        "rootlessport",
        "kubelet",
        "kube-proxy",
        "crio",
        "rpcbind",
        "rpc.statd",
        "rpc.mountd",
        "cupsd",
        "avahi-daemon",
        "chronyd",
        "ntpd",
        "udevd",
        "NetworkManager",
        "polkitd",
        "epmd",
        "xinetd",
    ];
    let program = process.program().unwrap_or_default();
    if process.exe == std::env::current_exe().ok() || program == "pitcrew" {
        return Some("Pitcrew itself".to_owned());
    }
    if process.variable("PITCREW_SUPERVISED").is_some() {
        return Some("Pitcrew keeps it running already".to_owned());
    }
    if process.cgroups.iter().any(|path| path.contains("kubepods")) {
        return Some("Kubernetes keeps it running".to_owned());
    }
    match home {
        Home::Container(_) => return None,
        Home::UnknownContainer => {
            return Some("it is in a container whose engine can't be asked".to_owned());
        }
        Home::Machine => {}
    }
    if process.pid == 1 || SYSTEM.contains(&program) || program.starts_with("systemd-") {
        return Some("part of the system, never repaired by Pitcrew".to_owned());
    }
    (port == 53)
        .then(|| "DNS; test it with a name of your own: dns: { name: example.org }".to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn process(exe: &str) -> Process {
        Process {
            pid: 77,
            exe: Some(PathBuf::from(exe)),
            ..Process::default()
        }
    }

    #[test]
    fn what_keeps_the_machine_alive_is_never_configured() {
        for exe in [
            "/usr/sbin/sshd",
            "/lib/systemd/systemd-resolved",
            "/usr/bin/dockerd",
            "/usr/bin/dbus-daemon",
        ] {
            assert!(
                why_left_alone(&process(exe), 1_000, &Home::Machine).is_some(),
                "{exe}"
            );
        }
        assert!(why_left_alone(&process("/usr/sbin/dnsmasq"), 53, &Home::Machine).is_some());
        assert!(
            why_left_alone(
                &process("/usr/bin/anything"),
                1_000,
                &Home::UnknownContainer
            )
            .is_some()
        );
        let first = Process {
            pid: 1,
            ..process("/sbin/anything")
        };
        assert!(why_left_alone(&first, 1_000, &Home::Machine).is_some());
        let supervised = vec![("PITCREW_SUPERVISED".to_owned(), "x/web-1".to_owned())];
        let own = Process {
            environment: supervised,
            ..process("/usr/bin/web")
        };
        assert!(why_left_alone(&own, 1_000, &Home::Machine).is_some());
        assert_eq!(
            why_left_alone(&process("/usr/sbin/nginx"), 80, &Home::Machine),
            None
        );
    }
}
