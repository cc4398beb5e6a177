//! What would bring a process back: its systemd unit, its container, or its own command.
//!
//! An init script is never chosen: on a machine without systemd those of Debian's nginx, Redis and PostgreSQL
//! bring back a server that was killed, but wait for one that hangs until they or their caller give up. A
//! listener's process is ended whatever it does and started again as it was.

use std::{path::Path, time::Duration};

use pitcrew_model::Runner;

use super::{
    command_line::{self, CommandLine},
    containers::Container,
    machine::{Machine, Process, Socket},
    redis::Settings,
};

/// Stores write what they hold before they leave.
const GRACE_OF_STORES: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// `None`: nothing is known that would bring it back; `notes` say why.
    pub(super) runner: Option<Runner>,
    pub(super) notes: Vec<String>,
}

impl Choice {
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self {
            runner: None,
            notes: vec![why.into()],
        }
    }
}

pub(super) fn of_container(container: &Container) -> Choice {
    Choice {
        runner: Some(Runner::Container {
            name: container.name.clone(),
            socket: container.socket.clone(),
        }),
        notes: vec![format!(
            "It runs in a container of the image {}.",
            container.image
        )],
    }
}

/// For a process that is in no container, known by one of its sockets.
pub(super) fn of_process(
    machine: &Machine,
    process: &Process,
    socket: &Socket,
    is_store: bool,
    redis: Option<&Settings>,
) -> Choice {
    if machine.has_systemd
        && let Some(unit) = unit_of(process)
    {
        return Choice {
            runner: Some(Runner::Unit {
                name: unit.to_owned(),
                bus: None,
            }),
            notes: Vec::new(),
        };
    }
    if let Some(other) = other_keeper(machine, process) {
        return Choice::none(format!(
            "It is kept running by `{other}`, which restarts it itself, so nothing is done here: write `runs_as` \
             with a `command` that asks `{other}` to restart it."
        ));
    }
    if let Some(why) = machine
        .holder(socket)
        .and_then(|holder| why_ambiguous(process, holder))
    {
        return Choice::none(why);
    }
    match command_line::recover(process, redis) {
        Ok(command) => listener(machine, process, socket.port, is_store, command),
        Err(why) => Choice::none(format!(
            "How it is started isn't known: {why}. Write `runs_as` yourself."
        )),
    }
}

/// The unit that systemd itself runs it as: not a login's, nor one inside of something else's unit.
pub(super) fn unit_of(process: &Process) -> Option<&str> {
    let path = process
        .cgroups
        .iter()
        .find(|path| path.contains(".service"))?;
    let unit = path.split('/').find(|part| part.ends_with(".service"))?;
    let is_of_others = [
        "user@",
        "systemd-nspawn@",
        "docker.service",
        "containerd.service",
        "podman.service",
    ];
    let is_own = !is_of_others.iter().any(|start| unit.starts_with(start));
    is_own.then_some(unit)
}

/// Programs that restart what they started.
fn other_keeper(machine: &Machine, process: &Process) -> Option<&'static str> {
    const KEEPERS: [&str; 9] = [
        "supervisord",
        "runsv",
        "s6-supervise",
        "pm2",
        "monit",
        "supervise",
        "circusd",
        "god",
        "dinit",
    ];
    let mut above = machine.parent(process);
    while let Some(parent) = above {
        // Scripts are their interpreter's program; their own name is among the arguments.
        let names = parent.arguments.iter().take(2).filter_map(|argument| {
            let text = std::str::from_utf8(argument).ok()?;
            Path::new(text.split(' ').next()?).file_name()?.to_str()
        });
        let names: Vec<&str> = names.chain(parent.program()).collect();
        let is_there = |keeper: &&str| names.iter().any(|name| name.eq_ignore_ascii_case(keeper));
        if let Some(keeper) = KEEPERS.into_iter().find(is_there) {
            return Some(keeper);
        }
        above = machine.parent(parent);
    }
    None
}

/// A restart ends the topmost process with the same program. Where that is an interpreter, the topmost may run
/// quite another script than the one that listens.
fn why_ambiguous(head: &Process, holder: &Process) -> Option<String> {
    const INTERPRETERS: [&str; 8] = [
        "python", "node", "ruby", "perl", "php", "java", "bash", "dash",
    ];
    let program = head.program()?;
    let is_interpreter = INTERPRETERS.iter().any(|name| program.starts_with(name));
    (is_interpreter && head.arguments != holder.arguments).then(|| {
        format!(
            "It was started by another `{program}` that may run other things as well, so it isn't known what to \
             restart: write `runs_as` yourself."
        )
    })
}

fn listener(
    machine: &Machine,
    process: &Process,
    port: u16,
    is_store: bool,
    command: CommandLine,
) -> Choice {
    let CommandLine {
        mut arguments,
        mut notes,
    } = command;
    // The name that leads to the program rather than the program itself: links survive an upgrade.
    let exe = arguments[0].clone();
    let user = user_of(machine, process, &mut arguments, &mut notes);
    if process.uid != machine.own_uid && !machine.is_root {
        let owner = machine.user_words(process.uid);
        notes.push(format!(
            "It runs as {owner}: only root can restart it, so serve Pitcrew as root for that."
        ));
    }
    notes.extend(environment_note(process));
    Choice {
        runner: Some(Runner::Listener {
            port,
            exe,
            command: arguments,
            user,
            directory: directory_of(process, &mut notes),
            grace: if is_store { GRACE_OF_STORES } else { GRACE },
        }),
        notes,
    }
}

/// The user to start it as; where its groups matter, or it has no name, `setpriv` is put before the command.
fn user_of(
    machine: &Machine,
    process: &Process,
    arguments: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Option<String> {
    const SETPRIV: &str = "/usr/bin/setpriv";
    let name = machine.user(process.uid);
    let has_more_groups = process.groups.iter().any(|group| *group != process.gid);
    let needs_setpriv = process.uid != 0 && (has_more_groups || name.is_none());
    if !needs_setpriv || process.uid == machine.own_uid {
        return name.map(str::to_owned);
    }
    if !Path::new(SETPRIV).exists() {
        notes.push(format!(
            "It also has groups ({}) that it would not have after a restart: {SETPRIV} isn't installed.",
            process.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        ));
        return name.map(str::to_owned);
    }
    let groups = match (name, has_more_groups) {
        (Some(_), true) => "--init-groups".to_owned(),
        (None, true) => {
            let groups: Vec<String> = process.groups.iter().map(u32::to_string).collect();
            format!("--groups={}", groups.join(","))
        }
        (_, false) => "--clear-groups".to_owned(),
    };
    let user = name.map_or_else(|| process.uid.to_string(), str::to_owned);
    let before = [
        SETPRIV.to_owned(),
        format!("--reuid={user}"),
        format!("--regid={}", process.gid),
        groups,
        "--".to_owned(),
    ];
    arguments.splice(0..0, before);
    notes.push(format!(
        "`setpriv` starts it as {user} with the groups it has now."
    ));
    None
}

fn directory_of(process: &Process, notes: &mut Vec<String>) -> Option<String> {
    let directory = process.directory.as_deref()?.to_str();
    match directory.filter(|directory| Path::new(directory).is_dir()) {
        Some(directory) => Some(directory.to_owned()),
        None => {
            notes.push(
                "Its working directory is gone or has no readable name: it is left out.".to_owned(),
            );
            None
        }
    }
}

/// A restart gives it a clean environment. Names only: values are often secrets.
fn environment_note(process: &Process) -> Option<String> {
    const USUAL: [&str; 24] = [
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "MAIL",
        "TZ",
        "TMPDIR",
        "HOSTNAME",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "NOTIFY_SOCKET",
        "DISPLAY",
        "EDITOR",
        "PAGER",
        "LS_COLORS",
        "HISTFILE",
    ];
    const USUAL_STARTS: [&str; 7] = ["LC_", "XDG_", "SSH_", "SUDO_", "DBUS_", "PITCREW_", "PG_"];
    let is_own = |name: &&str| {
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name
            && !USUAL.contains(name)
            && !USUAL_STARTS.iter().any(|start| name.starts_with(start))
    };
    let names = process
        .environment
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(is_own);
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || has_title(process) {
        return None;
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "It was started with variables that a restart would not give it: {}{more}. If it needs them, put \
         /usr/bin/env before the command, or let a unit run it.",
        names.join(", ")
    ))
}

const SHOWN: usize = 8;

/// Programs that write a title do so over their environment as well.
fn has_title(process: &Process) -> bool {
    ["nginx", "postgres", "redis-", "valkey-"]
        .iter()
        .any(|name| {
            process
                .program()
                .is_some_and(|program| program.starts_with(name))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_one_of_the_system_and_nothing_around_or_inside_it() {
        let unit = |path: &str| {
            let process = Process {
                cgroups: vec![path.to_owned()],
                ..Process::default()
            };
            unit_of(&process).map(str::to_owned)
        };
        for (path, expected) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            (
                "/system.slice/system-postgresql.slice/postgresql@15-main.service",
                Some("postgresql@15-main.service"),
            ),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                None,
            ),
            (
                "/machine.slice/systemd-nspawn@a.service/payload/system.slice/web.service",
                None,
            ),
            ("/", None),
        ] {
            assert_eq!(unit(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn variables_are_named_and_their_values_never() {
        let variables = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("DATABASE_URL", "secret"),
        ];
        let process = Process {
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..Process::default()
        };
        let note = environment_note(&process).unwrap();
        assert!(
            note.contains("DATABASE_URL") && !note.contains("secret") && !note.contains("PATH,"),
            "{note}"
        );
    }
}
