//! This machine as `/proc` shows it: who listens where, and what is known of each process.
//!
//! Only reads, and only what the user who asks may see: a process whose files can't be opened is still listed,
//! with what is open to everybody. Nothing here decides what is configured.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

/// Larger environments and command lines are cut off.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Socket {
    pub(super) port: u16,
    pub(super) address: IpAddr,
    pub(super) uid: u32,
    inode: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) started_ticks: u64,
    /// The program's file; `None`: it may not be seen from here, or it is the kernel's.
    pub(super) exe: Option<PathBuf>,
    /// Whether that file has been replaced or removed since.
    pub(super) is_exe_replaced: bool,
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    pub(super) directory: Option<PathBuf>,
    pub(super) cgroups: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl Process {
    /// The last part of the program's path.
    pub(super) fn program(&self) -> Option<&str> {
        self.exe.as_deref()?.file_name()?.to_str()
    }

    /// The first argument as text: the program as it was called, or a title it gave itself.
    pub(super) fn title(&self) -> String {
        let first = self.arguments.first().map(Vec::as_slice);
        String::from_utf8_lossy(first.unwrap_or_default())
            .trim_end()
            .to_owned()
    }

    /// What a person would call it: the name it was called by or gave itself (`redis-server`, whose program is
    /// `redis-check-rdb`), else its program's. Whatever it calls itself, this is one short word.
    pub(super) fn called(&self) -> Option<String> {
        let title = self.title();
        let first = title
            .split([' ', ':'])
            .next()
            .and_then(|word| word.rsplit('/').next());
        let is_word = |word: &&str| {
            let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            word.starts_with(|c: char| c.is_ascii_alphanumeric())
                && word.len() <= 40
                && word.chars().all(is_fine)
        };
        let word = first
            .filter(is_word)
            .or_else(|| self.program().filter(is_word));
        word.map(str::to_owned)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All that was looked at, at one moment.
pub(super) struct Machine {
    pub(super) sockets: Vec<Socket>,
    pub(super) processes: BTreeMap<u32, Process>,
    /// Which processes hold a socket, by its inode.
    holders: BTreeMap<u64, BTreeSet<u32>>,
    /// Paths of Unix sockets, by inode.
    unix: BTreeMap<u64, PathBuf>,
    users: BTreeMap<u32, String>,
    pub(super) has_systemd: bool,
    pub(super) is_root: bool,
    pub(super) own_uid: u32,
}

impl Machine {
    pub(super) fn look() -> io::Result<Self> {
        let mut sockets = parse_sockets(&fs::read_to_string("/proc/net/tcp")?);
        match fs::read_to_string("/proc/net/tcp6") {
            Ok(text) => sockets.extend(parse_sockets(&text)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        sockets.sort_unstable();
        let (mut processes, mut holders) = (BTreeMap::new(), BTreeMap::new());
        for pid in pids()? {
            if let Some(process) = read_process(pid) {
                processes.insert(pid, process);
                for inode in sockets_of(pid) {
                    let holding: &mut BTreeSet<u32> = holders.entry(inode).or_default();
                    holding.insert(pid);
                }
            }
        }
        let own_uid = rustix::process::geteuid().as_raw();
        Ok(Self {
            sockets,
            processes,
            holders,
            unix: parse_unix(&fs::read_to_string("/proc/net/unix").unwrap_or_default()),
            users: parse_users(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            is_root: own_uid == 0,
            own_uid,
        })
    }

    /// The process that a listening socket belongs to: the oldest that holds it, or its topmost ancestor with
    /// the same program (nginx's master, PostgreSQL's postmaster).
    pub(super) fn owner(&self, socket: &Socket) -> Option<&Process> {
        let mut head = self.holder(socket)?;
        while let Some(parent) = self.parent(head)
            && parent.exe.is_some()
            && parent.exe == head.exe
        {
            head = parent;
        }
        Some(head)
    }

    /// The oldest process that holds a socket, without looking at its ancestors.
    pub(super) fn holder(&self, socket: &Socket) -> Option<&Process> {
        let holders = self.holders.get(&socket.inode)?;
        let holding = holders.iter().filter_map(|pid| self.processes.get(pid));
        holding.min_by_key(|process| (process.started_ticks, process.pid))
    }

    /// Never the first process of the machine.
    pub(super) fn parent(&self, process: &Process) -> Option<&Process> {
        let parent = self.processes.get(&process.parent);
        parent.filter(|parent| parent.pid > 1)
    }

    /// Paths of the Unix sockets that a process holds.
    pub(super) fn unix_sockets(&self, pid: u32) -> Vec<&Path> {
        let held = self.unix.iter().filter(|(inode, _)| {
            let holders = self.holders.get(inode);
            holders.is_some_and(|holders| holders.contains(&pid))
        });
        held.map(|(_, path)| path.as_path()).collect()
    }

    pub(super) fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// `redis`, or `user 1234` for one without a name.
    pub(super) fn user_words(&self, uid: u32) -> String {
        let named = self.user(uid).map(str::to_owned);
        named.unwrap_or_else(|| format!("user {uid}"))
    }
}

/// Lines of `/proc/net/tcp` and `tcp6` in state `LISTEN`.
fn parse_sockets(text: &str) -> Vec<Socket> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.rsplit_once(':')?;
        if *fields.get(3)? != LISTEN {
            return None;
        }
        Some(Socket {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            uid: fields.get(7)?.parse().ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    text.lines().filter_map(socket).collect()
}

/// Words of 32 bits, each in the machine's own order of bytes.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(Ipv6Addr::from(sixteen).to_canonical())
}

fn parse_unix(text: &str) -> BTreeMap<u64, PathBuf> {
    const FIELDS_BEFORE_INODE: usize = 6;
    let socket = |line: &str| {
        let mut rest = line;
        for _ in 0..FIELDS_BEFORE_INODE {
            rest = rest.trim_start().split_once(' ')?.1;
        }
        let (inode, path) = rest.trim_start().split_once(' ')?;
        let inode = inode.parse().ok()?;
        path.starts_with('/').then(|| (inode, PathBuf::from(path)))
    };
    text.lines().filter_map(socket).collect()
}

fn parse_users(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse)) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

fn read_process(pid: u32) -> Option<Process> {
    let file = |name: &str| format!("/proc/{pid}/{name}");
    let mut process = parse_stat(pid, &fs::read_to_string(file("stat")).ok()?)?;
    parse_status(&fs::read_to_string(file("status")).ok()?, &mut process);
    process.arguments = zero_separated(&read_bounded(&file("cmdline")));
    process.environment = zero_separated(&read_bounded(&file("environ")))
        .iter()
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Ok(exe) = fs::read_link(file("exe")) {
        let replaced = exe.to_str().and_then(|exe| exe.strip_suffix(" (deleted)"));
        process.is_exe_replaced = replaced.is_some();
        process.exe = Some(replaced.map_or_else(|| exe.clone(), PathBuf::from));
    }
    process.directory = fs::read_link(file("cwd")).ok();
    let cgroups = fs::read_to_string(file("cgroup")).unwrap_or_default();
    process.cgroups = parse_cgroups(&cgroups);
    Some(process)
}

/// The program's name, in parentheses, may hold anything, also `)`: fields are counted after the last one.
fn parse_stat(pid: u32, text: &str) -> Option<Process> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started_ticks = fields.nth(17)?.parse().ok()?;
    let is_over = matches!(state, "Z" | "X" | "x");
    (!is_over).then(|| Process {
        pid,
        parent,
        started_ticks,
        ..Process::default()
    })
}

fn parse_status(text: &str, process: &mut Process) {
    for line in text.lines() {
        let Some((name, values)) = line.split_once(':') else {
            continue;
        };
        let mut numbers = values
            .split_ascii_whitespace()
            .map_while(|n| n.parse().ok());
        match name {
            // Real, effective, saved, file system.
            "Uid" => process.uid = numbers.nth(1).unwrap_or_default(),
            "Gid" => process.gid = numbers.nth(1).unwrap_or_default(),
            "Groups" => process.groups = numbers.collect(),
            _ => {}
        }
    }
}

/// Paths of all hierarchies, that of version 2 and systemd's own first.
fn parse_cgroups(text: &str) -> Vec<String> {
    let mut paths: Vec<(bool, &str)> = text
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let is_main = controllers.is_empty() || controllers == "name=systemd";
            Some((!is_main, path))
        })
        .collect();
    paths.sort_by_key(|(is_other, _)| *is_other);
    paths.iter().map(|(_, path)| (*path).to_owned()).collect()
}

/// The cgroups of this very process: what it shares with others tells nothing about them.
pub(super) fn own_cgroups() -> Vec<String> {
    parse_cgroups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let inode = |link: PathBuf| {
        let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(inode)
        .collect()
}

fn read_bounded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| {
        io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)
    });
    match read {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Each entry ends in a zero, and empty ones count.
fn zero_separated(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listening_socket_is_found_with_its_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let machine = Machine::look().unwrap();
        let socket = machine.sockets.iter().find(|s| s.port == port).unwrap();
        assert_eq!(socket.address, Ipv4Addr::LOCALHOST);
        let me = machine.holder(socket).unwrap();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.exe, std::env::current_exe().ok());
        assert_eq!(me.directory, std::env::current_dir().ok());
        assert_eq!(me.uid, rustix::process::geteuid().as_raw());
        let arguments: Vec<Vec<u8>> = std::env::args().map(String::into_bytes).collect();
        assert_eq!(me.arguments, arguments);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 111 1 x\n\
             1: 0100007F:1F90 00000000:0000 01 00000000:00000000 00:00000000 00000000    33        0 112 1 x\n\
             2: 00000000000000000000000001000000:0050 0:0 0A 0:0 00:0 0    0        0 113 1 x\n\
             3: 0000000000000000FFFF00000100007F:0051 0:0 0A 0:0 00:0 0    0        0 114 1 x\n";
        let found: Vec<String> = parse_sockets(text)
            .iter()
            .map(|s| format!("{} {} {} {}", s.address, s.port, s.uid, s.inode))
            .collect();
        assert_eq!(
            found,
            [
                "127.0.0.1 8080 33 111",
                "::1 80 0 113",
                "127.0.0.1 81 0 114"
            ]
        );
    }

    #[test]
    fn unix_sockets_have_their_paths() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 14763 /run/postgresql/.s.PGSQL.5432\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 14764 @abstract\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 14765\n";
        let path = PathBuf::from("/run/postgresql/.s.PGSQL.5432");
        assert_eq!(parse_unix(text), BTreeMap::from([(14_763, path)]));
    }

    #[test]
    fn the_first_name_of_a_user_counts_and_systemds_cgroup_comes_first() {
        let users = parse_users("root:x:0:0::/:\nredis:x:104:1::/:\nalias:x:104:1::/:\nbad\n");
        assert_eq!(users.get(&104).map(String::as_str), Some("redis"));
        let paths = parse_cgroups("4:memory:/a\n1:name=systemd:/b\n0::/c\n");
        assert_eq!(paths, ["/b", "/c", "/a"]);
    }

    proptest! {
        #[test]
        fn no_text_panics_the_readers(text in "[0-9A-Fa-f: /()\\n]{0,300}") {
            parse_sockets(&text);
            parse_unix(&text);
            parse_users(&text);
            parse_cgroups(&text);
            parse_stat(1, &text);
            parse_status(&text, &mut Process::default());
        }
    }
}
