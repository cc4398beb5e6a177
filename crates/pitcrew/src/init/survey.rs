//! What this machine serves: sockets → processes and containers → what speaks there → what tests it and what
//! would bring it back.
//!
//! Everything is in a fixed order (by port), so that the same machine gives the same configuration. What must
//! never be repaired, and what nobody knows how to test, is told apart here and only listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    containers::{self, Container, Containers},
    hello::{self, Guess, Speech},
    machine::{self, Machine, Process, Socket},
    questions::{Asked, Asker, Hints},
    redis::Settings,
    runner::{self, Choice},
};

pub(super) struct Survey {
    pub(super) found: Vec<Found>,
    pub(super) seen: Vec<Seen>,
    /// What could not be looked at, and what to do about it.
    pub(super) hidden: Vec<String>,
    /// Ports that were asked for and that nobody listens on.
    pub(super) absent: Vec<u16>,
}

/// One thing that serves: it will be a service with one target.
pub(super) struct Found {
    pub(super) name: String,
    /// `redis-server of user redis`
    pub(super) what: String,
    pub(super) pid: Option<u32>,
    pub(super) address: SocketAddr,
    pub(super) tests: Vec<Asked>,
    pub(super) choice: Choice,
    pub(super) is_store: bool,
    /// Ports of the same process that nothing tests.
    pub(super) untested: Vec<u16>,
}

/// Something that listens and is not configured.
pub(super) struct Seen {
    pub(super) address: SocketAddr,
    pub(super) what: String,
    pub(super) why: String,
}

/// What sockets have in common that belong to one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Process(u32),
    Container(String),
    /// Only seen from outside.
    Hidden(u16),
}

/// The sockets of one owner by port, with the addresses that reach each from here.
#[derive(Default)]
struct Group<'m> {
    process: Option<&'m Process>,
    container: Option<Container>,
    ports: BTreeMap<u16, Port<'m>>,
}

struct Port<'m> {
    socket: &'m Socket,
    reached_at: Vec<IpAddr>,
}

pub(super) async fn survey(only: &BTreeSet<u16>) -> io::Result<Survey> {
    let machine = Machine::look()?;
    let containers = Containers::ask();
    let mut survey = Survey {
        found: Vec::new(),
        seen: Vec::new(),
        hidden: hidden(&machine, &containers),
        absent: Vec::new(),
    };
    let wanted: Vec<&Socket> = machine
        .sockets
        .iter()
        .filter(|socket| only.is_empty() || only.contains(&socket.port))
        .collect();
    let present: BTreeSet<u16> = wanted.iter().map(|socket| socket.port).collect();
    survey.absent = only.difference(&present).copied().collect();

    let groups = group(&machine, &containers, &wanted, &mut survey.seen);
    let speeches = listen(&groups).await;
    let asker = Asker::new();
    for group in groups.values() {
        match look_at(&machine, &asker, group, &speeches).await {
            Ok(found) => survey.found.push(found),
            Err(seen) => survey.seen.extend(seen),
        }
    }
    survey
        .found
        .sort_by_key(|found| (found.address.port(), found.address.ip()));
    survey
        .seen
        .sort_by_key(|seen| (seen.address.port(), seen.address.ip()));
    survey.seen.dedup_by_key(|seen| seen.address);
    name(&mut survey.found);
    Ok(survey)
}

fn hidden(machine: &Machine, containers: &Containers) -> Vec<String> {
    let mut hidden = Vec::new();
    if !machine.is_root {
        hidden.push(
            "processes of other users: who listens, and how it is started, is only shown to root; run it as root to \
             see them"
                .to_owned(),
        );
    }
    hidden.extend(containers.unseen.iter().cloned());
    hidden
}

fn group<'m>(
    machine: &'m Machine,
    containers: &Containers,
    sockets: &[&'m Socket],
    seen: &mut Vec<Seen>,
) -> BTreeMap<Owner, Group<'m>> {
    let own_cgroups = machine::own_cgroups();
    let mut groups: BTreeMap<Owner, Group<'m>> = BTreeMap::new();
    for socket in sockets.iter().copied() {
        let process = machine.owner(socket);
        let home = home(containers, process, socket.port, &own_cgroups);
        let why = match process {
            Some(process) => why_left_alone(process, socket.port, &home),
            None if machine.is_root => Some(
                "it belongs to no process that can be seen: the kernel's, or of another namespace"
                    .to_owned(),
            ),
            None => None,
        };
        if let Some(why) = why {
            seen.push(Seen {
                address: SocketAddr::new(socket.address, socket.port),
                what: what(machine, socket, process),
                why,
            });
            continue;
        }
        let container = match home {
            Home::Container(container) => Some(container),
            Home::UnknownContainer | Home::Machine => None,
        };
        let owner = match (container, process) {
            (Some(container), _) => Owner::Container(container.name.clone()),
            (None, Some(process)) => Owner::Process(process.pid),
            (None, None) => Owner::Hidden(socket.port),
        };
        let group = groups.entry(owner).or_default();
        group.process = process;
        group.container = container.cloned();
        let port = group.ports.entry(socket.port).or_insert_with(|| Port {
            socket,
            reached_at: Vec::new(),
        });
        for address in reached_at(socket.address) {
            if !port.reached_at.contains(&address) {
                port.reached_at.push(address);
            }
        }
        port.reached_at
            .sort_by_key(|address| (!address.is_loopback(), *address));
    }
    groups
}

/// What a process lives in.
enum Home<'c> {
    Machine,
    Container(&'c Container),
    /// Its engine doesn't tell of it.
    UnknownContainer,
}

fn home<'c>(
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
fn why_left_alone(process: &Process, port: u16, home: &Home<'_>) -> Option<String> {
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

fn what(machine: &Machine, socket: &Socket, process: Option<&Process>) -> String {
    let uid = process.map_or(socket.uid, |process| process.uid);
    let user = machine.user_words(uid);
    match process.and_then(Process::called) {
        Some(program) => format!("{program} of {user}"),
        None => format!("something of {user}"),
    }
}

/// From this machine, the best first.
fn reached_at(address: IpAddr) -> Vec<IpAddr> {
    match address {
        IpAddr::V4(any) if any.is_unspecified() => vec![Ipv4Addr::LOCALHOST.into()],
        // It takes both families, unless it was told not to.
        IpAddr::V6(any) if any.is_unspecified() => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        // Only together with an interface.
        IpAddr::V6(local) if local.is_unicast_link_local() => Vec::new(),
        address => vec![address],
    }
}

fn guess(group: &Group<'_>) -> Option<Guess> {
    if let Some(container) = &group.container {
        let image = container.image.rsplit('/').next().unwrap_or_default();
        return hello::guess_by_program(image);
    }
    let process = group.process?;
    // The name it was called by tells more: redis-server is a link to redis-check-rdb.
    hello::guess_by_program(process.program()?)
}

/// What each port of each group says, all at once: some take seconds to say nothing.
async fn listen(
    groups: &BTreeMap<Owner, Group<'_>>,
) -> BTreeMap<(Owner, u16), (SocketAddr, Speech)> {
    let mut listening = Vec::new();
    for (owner, group) in groups {
        let guess = guess(group);
        for (port, listener) in &group.ports {
            let (key, port) = ((owner.clone(), *port), *port);
            let addresses = listener.reached_at.clone();
            listening.push(tokio::task::spawn_blocking(move || {
                let address = SocketAddr::new(first_reached(&addresses, port)?, port);
                Some((key, (address, hello::listen_to(address, guess))))
            }));
        }
    }
    let mut speeches = BTreeMap::new();
    for task in listening {
        speeches.extend(task.await.expect("a hello does not panic"));
    }
    speeches
}

/// The first that accepts, or the first of all: a hung process accepts nothing new when its queue is full.
fn first_reached(addresses: &[IpAddr], port: u16) -> Option<IpAddr> {
    const PATIENCE: Duration = Duration::from_millis(500);
    let accepts = |address: &&IpAddr| {
        TcpStream::connect_timeout(&SocketAddr::new(**address, port), PATIENCE).is_ok()
    };
    addresses
        .iter()
        .find(accepts)
        .or_else(|| addresses.first())
        .copied()
}

/// The error: nothing of it can be tested.
async fn look_at(
    machine: &Machine,
    asker: &Asker,
    group: &Group<'_>,
    speeches: &BTreeMap<(Owner, u16), (SocketAddr, Speech)>,
) -> Result<Found, Vec<Seen>> {
    let owner = match (&group.container, group.process) {
        (Some(container), _) => Owner::Container(container.name.clone()),
        (None, Some(process)) => Owner::Process(process.pid),
        (None, None) => Owner::Hidden(*group.ports.keys().next().unwrap_or(&0)),
    };
    let guess = guess(group);
    let said: Vec<(&Port<'_>, SocketAddr, Speech)> = group
        .ports
        .iter()
        .filter_map(|(port, listener)| {
            let (address, speech) = speeches.get(&(owner.clone(), *port))?;
            Some((listener, *address, speech.clone()))
        })
        .collect();
    let words: Vec<(SocketAddr, &Speech)> = said
        .iter()
        .map(|(_, address, speech)| (*address, speech))
        .collect();
    let Some(main) = main_port(&words, guess) else {
        return Err(said
            .iter()
            .map(|(listener, address, speech)| unknown(machine, group, listener, *address, speech))
            .collect());
    };
    let (listener, address, speech) = (said[main].0, said[main].1, believed(&said[main].2, guess));
    let hints = hints(machine, group);
    let mut tests = asker.tests(address, None, &speech, &hints).await;
    let mut untested = Vec::new();
    for (at, (other, its_address, speech)) in said.iter().enumerate().filter(|(at, _)| *at != main)
    {
        let is_at_same_host = other.reached_at.contains(&address.ip());
        let more = match is_at_same_host {
            true => {
                asker
                    .tests(
                        SocketAddr::new(address.ip(), its_address.port()),
                        Some(its_address.port()),
                        speech,
                        &hints,
                    )
                    .await
            }
            false => Vec::new(),
        };
        if more.is_empty() {
            untested.push(said[at].1.port());
        }
        tests.extend(more);
    }
    let is_store = !matches!(speech, Speech::Http { .. });
    let choice = choose(machine, group, listener.socket, &speech, address, is_store).await;
    Ok(Found {
        name: base_name(group, &speech),
        what: what_found(machine, group, listener.socket),
        pid: group.process.map(|process| process.pid),
        address,
        tests,
        choice,
        is_store,
        untested,
    })
}

/// The port it is known by: that of the program's own protocol, or the first that says something known.
fn main_port(said: &[(SocketAddr, &Speech)], guess: Option<Guess>) -> Option<usize> {
    let own = said
        .iter()
        .position(|(_, speech)| guess.is_some() && guess_of(speech) == guess);
    let known = || {
        said.iter()
            .position(|(_, speech)| guess_of(speech).is_some())
    };
    // A store that is known by its name and says nothing hangs just now.
    let usual = || {
        let guess = guess.filter(|guess| *guess != Guess::Http)?;
        let usual = said
            .iter()
            .position(|(address, _)| hello::guess_by_port(address.port()) == Some(guess));
        usual.or_else(|| (said.len() == 1).then_some(0))
    };
    own.or_else(known).or_else(usual)
}

fn guess_of(speech: &Speech) -> Option<Guess> {
    Some(match speech {
        Speech::Http { .. } => Guess::Http,
        Speech::Redis => Guess::Redis,
        Speech::Postgres => Guess::Postgres,
        Speech::Mysql => Guess::Mysql,
        Speech::Memcached => Guess::Memcached,
        Speech::Amqp => Guess::Amqp,
        Speech::Other { .. } => return None,
    })
}

fn believed(speech: &Speech, guess: Option<Guess>) -> Speech {
    match (speech, guess) {
        (Speech::Other { .. }, Some(Guess::Redis)) => Speech::Redis,
        (Speech::Other { .. }, Some(Guess::Postgres)) => Speech::Postgres,
        (Speech::Other { .. }, Some(Guess::Mysql)) => Speech::Mysql,
        (Speech::Other { .. }, Some(Guess::Memcached)) => Speech::Memcached,
        (Speech::Other { .. }, Some(Guess::Amqp)) => Speech::Amqp,
        (speech, _) => speech.clone(),
    }
}

fn unknown(
    machine: &Machine,
    group: &Group<'_>,
    listener: &Port<'_>,
    address: SocketAddr,
    speech: &Speech,
) -> Seen {
    let words = match speech {
        Speech::Other { words } if !words.is_empty() => {
            format!("it says `{words}`, which no test here speaks")
        }
        _ => "it says nothing that any test here speaks".to_owned(),
    };
    Seen {
        address,
        what: what_found(machine, group, listener.socket),
        why: words,
    }
}

fn what_found(machine: &Machine, group: &Group<'_>, socket: &Socket) -> String {
    match &group.container {
        Some(container) => format!(
            "container {} of the image {}",
            container.name, container.image
        ),
        None => what(machine, socket, group.process),
    }
}

fn hints(machine: &Machine, group: &Group<'_>) -> Hints {
    let sockets = match (&group.container, group.process) {
        (None, Some(process)) => machine.unix_sockets(process.pid),
        _ => Vec::new(),
    };
    Hints {
        unix_sockets: sockets
            .iter()
            .filter_map(|path| path.to_str())
            .map(str::to_owned)
            .collect(),
        own_user: machine.user(machine.own_uid).map(str::to_owned),
    }
}

async fn choose(
    machine: &Machine,
    group: &Group<'_>,
    socket: &Socket,
    speech: &Speech,
    address: SocketAddr,
    is_store: bool,
) -> Choice {
    if let Some(container) = &group.container {
        return runner::of_container(container);
    }
    let Some(process) = group.process else {
        return Choice::none(
            "Its process can't be seen, so it isn't known what would restart it: look as root.",
        );
    };
    let settings = match speech {
        Speech::Redis => tokio::task::spawn_blocking(move || {
            Settings::ask(address)
                .ok()
                .or_else(|| Settings::guess(address.port()))
        })
        .await
        .expect("asking for settings does not panic"),
        _ => None,
    };
    runner::of_process(machine, process, socket, is_store, settings.as_ref())
}

/// A word for the service: of its unit, its container or its program.
fn base_name(group: &Group<'_>, speech: &Speech) -> String {
    let of_store = match speech {
        Speech::Redis => Some("redis"),
        Speech::Postgres => Some("postgresql"),
        Speech::Mysql => Some("mysql"),
        Speech::Memcached => Some("memcached"),
        Speech::Amqp => Some("rabbitmq"),
        Speech::Http { .. } | Speech::Other { .. } => None,
    };
    if let Some(container) = &group.container {
        return clean(&container.name);
    }
    if let Some(name) = of_store {
        return name.to_owned();
    }
    let Some(process) = group.process else {
        return "web".to_owned();
    };
    let unit = runner::unit_of(process).map(|unit| unit.trim_end_matches(".service").to_owned());
    let name = unit.or_else(|| process.called());
    name.map_or_else(|| "web".to_owned(), |name| clean(&name))
}

/// Lower case letters, digits and dashes.
pub(super) fn clean(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars().take(60) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => clean.push(c),
            _ if clean.ends_with('-') || clean.is_empty() => {}
            _ => clean.push('-'),
        }
    }
    let name = clean.trim_end_matches('-');
    if name.is_empty() {
        "service".to_owned()
    } else {
        name.to_owned()
    }
}

/// Names that occur more than once get the port; ports differ, or one owner has both.
fn name(found: &mut [Found]) {
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for one in found.iter() {
        *uses.entry(one.name.clone()).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    for one in found {
        if uses[&one.name] > 1 {
            one.name = format!("{}-{}", one.name, one.address.port());
        }
        let base = one.name.clone();
        let mut number = 1;
        while !taken.insert(one.name.clone()) {
            number += 1;
            one.name = format!("{base}-{number}");
        }
    }
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

    #[test]
    fn names_are_clean_and_each_is_used_once() {
        for (name, cleaned) in [
            ("redis-server", "redis-server"),
            ("My App@2 (x)", "my-app-2-x"),
            ("--\u{1b}[31m", "31m"),
            ("…", "service"),
        ] {
            assert_eq!(clean(name), cleaned);
        }
        let found = |name: &str, port: u16| Found {
            name: name.to_owned(),
            what: String::new(),
            pid: None,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            tests: Vec::new(),
            choice: Choice::default(),
            is_store: false,
            untested: Vec::new(),
        };
        let mut all = [
            found("redis", 1),
            found("web", 2),
            found("redis", 3),
            found("redis", 3),
            found("redis-3", 4),
        ];
        name(&mut all);
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            names,
            ["redis-1", "web", "redis-3", "redis-3-2", "redis-3-3"]
        );
    }

    #[test]
    fn the_own_protocol_of_a_known_program_is_its_main_port() {
        let socket = |port: u16| (port, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        let http = Speech::Http { status: Some(200) };
        let other = Speech::Other {
            words: String::new(),
        };
        for (said, guess, main) in [
            (
                vec![(15_672, http.clone()), (5_672, Speech::Amqp)],
                Some(Guess::Amqp),
                Some(1),
            ),
            (vec![(1, other.clone()), (2, http.clone())], None, Some(1)),
            (vec![(1, other.clone())], None, None),
            // A hung one that is known by its name.
            (vec![(6_400, other.clone())], Some(Guess::Redis), Some(0)),
            (
                vec![(1, other.clone()), (6_379, other.clone())],
                Some(Guess::Redis),
                Some(1),
            ),
            (vec![(80, other.clone())], Some(Guess::Http), None),
        ] {
            let said: Vec<(SocketAddr, &Speech)> = said
                .iter()
                .map(|(port, speech)| (socket(*port).1, speech))
                .collect();
            assert_eq!(main_port(&said, guess), main, "{said:?}");
        }
    }
}
