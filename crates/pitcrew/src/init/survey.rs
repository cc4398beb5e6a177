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
    containers::{Container, Containers},
    hello::{self, Guess, Speech},
    left_alone::{Home, home, why_left_alone},
    machine::{self, Machine, Process, Socket},
    main_port::{believed, main_port},
    names,
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
pub(super) struct Group<'m> {
    pub(super) process: Option<&'m Process>,
    pub(super) container: Option<Container>,
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
    names::name(&mut survey.found);
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
        name: names::base_name(group, &speech),
        what: what_found(machine, group, listener.socket),
        pid: group.process.map(|process| process.pid),
        address,
        tests,
        choice,
        is_store,
        untested,
    })
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
