//! A real PostgreSQL in a temporary directory on a free loopback port, and a relay before it that can be cut.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses its own part; a test fails by panicking"
)]

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pitcrew_ledger::{Bid, Candidate, Leader, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Says so when PostgreSQL is not installed; in CI that is a failure.
#[must_use]
#[expect(clippy::print_stderr, reason = "a skipped test is to be seen")]
pub(crate) fn is_missing() -> bool {
    if Path::new(BINARIES).join("postgres").exists() {
        return false;
    }
    let why = format!("{BINARIES}/postgres is not installed: apt-get install postgresql");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "in CI nothing is skipped: {why}"
    );
    eprintln!("skipped: {why}");
    true
}

/// PostgreSQL refuses to run as root; as root, its package's user runs it.
fn account() -> Option<(u32, u32)> {
    let id = |flag: &str| {
        let output = Command::new("id")
            .args([flag, "postgres"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse().unwrap()
    };
    rustix::process::getuid()
        .is_root()
        .then(|| (id("-u"), id("-g")))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(format!("{BINARIES}/{program}"));
    if let Some((user, group)) = account() {
        command.uid(user).gid(group);
    }
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| state_and_parent(*pid).is_some_and(|(_, its)| its == parent))
        .collect()
}

fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Below the range from which the kernel takes ports for outgoing connections.
fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one(std::process::id());
        let port = 10_000 + u16::try_from(random % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

pub(crate) struct Server {
    process: Option<Child>,
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    options: Vec<String>,
}

impl Server {
    /// With the user `pitcrew` (its password is in [`Server::password_file`]), who owns the database `ledger`.
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((user, group)) = account() {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        fs::write(directory.path().join("password"), "s3cret-w0rd\n").unwrap();
        let data = directory.path().join("data");
        let made = command("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "-E",
                "UTF8",
            ])
            .args(["--locale=C", "-D"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let mut server = Self {
            process: None,
            port: free_port(),
            directory,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        server.run();
        server.sql(
            "postgres",
            "CREATE ROLE pitcrew LOGIN PASSWORD 's3cret-w0rd'",
        );
        server.sql("postgres", "CREATE DATABASE ledger OWNER pitcrew");
        server
    }

    pub(crate) fn run(&mut self) {
        let mut command = command("postgres");
        command
            .args(["-c", "listen_addresses=127.0.0.1"])
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .arg("-k")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string()]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        self.process = Some(command.spawn().unwrap());
        until("PostgreSQL to answer", || {
            self.try_sql("postgres", "SELECT 1").is_ok()
        });
    }

    /// kill -9 of the server, then of all that it forked: these would go on answering until they notice.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        let children = children(process.id());
        process.kill().unwrap();
        process.wait().unwrap();
        for child in &children {
            let pid = i32::try_from(*child).unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).ok();
        }
        until("its children to end", || {
            (children.iter())
                .all(|child| state_and_parent(*child).is_none_or(|(state, _)| state == "Z"))
        });
    }

    /// From the next start on.
    pub(crate) fn add_option(&mut self, option: &str) {
        self.options.push(option.to_owned());
    }

    /// PostgreSQL refuses a key that others can read.
    pub(crate) fn own_privately(&self, name: &str) {
        let path = self.directory.path().join("data").join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = account() {
            chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    pub(crate) fn database(&self) -> Postgres {
        self.database_at(self.port)
    }

    pub(crate) fn database_at(&self, port: u16) -> Postgres {
        let address = format!("postgresql://pitcrew@127.0.0.1:{port}/ledger");
        Postgres::new(&address, Some(&self.password_file()), None).unwrap()
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.directory.path())
            .port(self.port)
            .user("postgres")
            .dbname(database);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let messages = client.simple_query(sql).await?;
            let values = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            Ok(values.collect())
        })
    }

    /// As superuser; the first column.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        self.try_sql(database, sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Ends every connection of Pitcrew from the database's side.
    pub(crate) fn end_connections(&self) {
        self.sql(
            "postgres",
            "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE usename = 'pitcrew'",
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
            kill_process(pid, Signal::QUIT).ok();
            process.wait().ok();
        }
    }
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Bids until it leads.
pub(crate) fn lead(candidate: &mut Candidate) -> Leader {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(Bid::Leads(leader)) = candidate.bid() {
            return *leader;
        }
        assert!(Instant::now() < deadline, "it never leads");
        thread::sleep(Duration::from_millis(200));
    }
}

const PASSES: u8 = 0;
const SWALLOWS_ANSWERS: u8 = 1;
const CUT: u8 = 2;
const HOLDS_OLD: u8 = 3;

/// Between a server and its database: passes everything, or swallows the answers, or everything both ways, as
/// a network does that was cut: nobody is told. Or it holds back what is asked on the connections that are there,
/// until it is mended, while new ones pass.
pub(crate) struct Relay {
    pub(crate) port: u16,
    mode: Arc<AtomicU8>,
}

impl Relay {
    pub(crate) fn before(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASSES));
        let shared = Arc::clone(&mode);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let (client_too, server_too) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let is_new = shared.load(Ordering::SeqCst) == HOLDS_OLD;
                let mode = Arc::clone(&shared);
                thread::spawn(move || {
                    let hold = |mode: &AtomicU8| {
                        while !is_new && mode.load(Ordering::SeqCst) == HOLDS_OLD {
                            thread::sleep(Duration::from_millis(5));
                        }
                    };
                    pass(
                        client,
                        server,
                        &mode,
                        &[PASSES, SWALLOWS_ANSWERS, HOLDS_OLD],
                        hold,
                    );
                });
                let mode = Arc::clone(&shared);
                thread::spawn(move || {
                    pass(server_too, client_too, &mode, &[PASSES, HOLDS_OLD], |_| {});
                });
            }
        });
        Self { port, mode }
    }

    pub(crate) fn swallow_answers(&self) {
        self.mode.store(SWALLOWS_ANSWERS, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
    }

    pub(crate) fn hold_old(&self) {
        self.mode.store(HOLDS_OLD, Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        self.mode.store(PASSES, Ordering::SeqCst);
    }
}

/// What comes while it does not pass is gone, and so is all that comes after it on this connection.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    mode: &AtomicU8,
    passes: &[u8],
    hold: impl Fn(&AtomicU8),
) {
    let mut bytes = [0; 1 << 16];
    let mut lost = false;
    while let Ok(count) = from.read(&mut bytes) {
        hold(mode);
        lost |= !passes.contains(&mode.load(Ordering::SeqCst));
        if count == 0 {
            break;
        }
        if !lost && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    if !lost {
        to.shutdown(Shutdown::Both).ok();
    }
}
