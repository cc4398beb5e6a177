//! A real PostgreSQL: full of clients, hung, locked, refusing, behind its primary, over TLS.

use std::{
    fs, io,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pitcrew_model::{
    PostgresTest, Secret, SqlExpectation, StoreProtocol, TestKind, TlsOptions, Verdict,
};
use pitcrew_probe::Answer;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use crate::support::{PATIENCE, Server, ask_port, check, free_port, hello, is_missing, run, until};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";

fn is_postgres_missing() -> bool {
    is_missing(&format!("{BINARIES}/postgres"), "postgresql-15")
}

/// PostgreSQL refuses to run as root; as root, its package's user runs it.
struct Account(Option<(u32, u32)>);

impl Account {
    fn new() -> Self {
        let id = |flag: &str| {
            let output = Command::new("id")
                .args([flag, "postgres"])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .unwrap()
        };
        Self(
            rustix::process::getuid()
                .is_root()
                .then(|| (id("-u"), id("-g"))),
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(format!("{BINARIES}/{program}"));
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
        command
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.0 {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

struct Postgres {
    server: Server,
    port: u16,
    directory: TempDir,
}

impl Postgres {
    /// With user `app` (password `correct`) and superuser `postgres` (trusted on the socket).
    async fn start(options: &[&str]) -> Self {
        let (account, directory) = (Account::new(), Self::directory());
        let data = directory.path().join("data");
        run(account
            .command("initdb")
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "-E",
                "UTF8",
            ])
            .args(["--locale=C", "-D"])
            .arg(&data))
        .unwrap();
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n\
                     host replication all 127.0.0.1/32 trust\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let postgres = Self::run(directory, &data, options);
        let admin = postgres.admin().await;
        for sql in [
            "CREATE ROLE app LOGIN PASSWORD 'correct'",
            "CREATE DATABASE app OWNER app",
        ] {
            admin.batch_execute(sql).await.unwrap();
        }
        postgres
    }

    /// A replica that streams from this one.
    async fn replica(&self, options: &[&str]) -> Self {
        let (account, directory) = (Account::new(), Self::directory());
        let data = directory.path().join("data");
        run(account
            .command("pg_basebackup")
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "--no-sync",
                "-c",
                "fast",
                "-R",
                "-p",
            ])
            .arg(self.port.to_string())
            .arg("-D")
            .arg(&data))
        .unwrap();
        Self::run(directory, &data, options)
    }

    fn directory() -> TempDir {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Account::new().give(directory.path());
        directory
    }

    fn run(directory: TempDir, data: &Path, options: &[&str]) -> Self {
        let port = free_port();
        let mut command = Account::new().command("postgres");
        command
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .arg("-D")
            .arg(data)
            .arg("-k")
            .arg(directory.path())
            .args(["-p", &port.to_string()]);
        for option in options {
            command.args(["-c", option]);
        }
        Self {
            server: Server::start_ending_by(&mut command, Signal::QUIT),
            port,
            directory,
        }
    }

    fn socket_directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// A connection as superuser, as soon as the server lets one in.
    async fn admin(&self) -> Client {
        self.connect("postgres").await
    }

    async fn connect(&self, user: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.socket_directory())
            .port(self.port)
            .user(user)
            .dbname("postgres");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn hello(&self) -> Answer {
        hello(self.port, StoreProtocol::Postgres, Duration::from_secs(5)).await
    }

    async fn ask(&self, test: PostgresTest) -> Answer {
        ask_port(self.port, TestKind::Postgres(test), Duration::from_secs(5)).await
    }
}

fn app() -> PostgresTest {
    PostgresTest {
        port: None,
        socket: None,
        user: "app".to_owned(),
        password: Some(Secret::new("correct")),
        database: "app".to_owned(),
        query: None,
        replica_lag_max: None,
        tls: false,
        tls_options: TlsOptions::default(),
    }
}

fn with_query(sql: &str, matches: Option<&str>) -> PostgresTest {
    PostgresTest {
        query: Some(SqlExpectation {
            sql: sql.to_owned(),
            matches: matches.map(str::to_owned),
        }),
        ..app()
    }
}

#[tokio::test]
async fn a_healthy_postgres_answers_queries_and_refusals_are_not_its_failure() {
    if is_postgres_missing() {
        return;
    }
    let postgres = Postgres::start(&[]).await;
    check(&postgres.ask(app()).await, Verdict::Pass, "PostgreSQL 15.");
    let greeted = postgres.hello().await;
    check(&greeted, Verdict::Pass, "PostgreSQL asks who it is");

    for (sql, matches, verdict, words) in [
        ("SELECT 42", Some("^42$"), Verdict::Pass, "returned \"42\""),
        (
            "SELECT 'a', 'b' UNION ALL SELECT 'c', 'd'",
            None,
            Verdict::Pass,
            "returned \"a\"",
        ),
        (
            "SELECT 41",
            Some("^42$"),
            Verdict::Fail,
            "returned \"41\", wanted /^42$/",
        ),
        ("SELECT 1 WHERE false", None, Verdict::Fail, "no row"),
        ("SELECT NULL", None, Verdict::Pass, "NULL"),
        ("SELECT NULL", Some("x"), Verdict::Fail, "NULL"),
        (
            "SELEC 1",
            None,
            Verdict::Unknown,
            "ERROR 42601: syntax error",
        ),
        ("SELECT * FROM nothing", None, Verdict::Unknown, "42P01"),
        ("SELECT 1/0", None, Verdict::Unknown, "22012"),
        ("SELECT 1", Some("("), Verdict::Unknown, "not a pattern"),
        (
            "SELECT repeat('x', 9000) FROM generate_series(1, 9000)",
            Some("^x"),
            Verdict::Pass,
            "xxx",
        ),
        (
            "SELECT repeat('x', 9000000)",
            None,
            Verdict::Fail,
            "more than 1048576 bytes",
        ),
    ] {
        check(
            &postgres.ask(with_query(sql, matches)).await,
            verdict,
            words,
        );
    }

    let wrong = PostgresTest {
        password: Some(Secret::new("wrong")),
        ..app()
    };
    check(
        &postgres.ask(wrong).await,
        Verdict::Unknown,
        "28P01: password authentication failed for user \"app\"",
    );
    let none = PostgresTest {
        password: None,
        ..app()
    };
    check(
        &postgres.ask(none).await,
        Verdict::Unknown,
        "password missing",
    );
    let elsewhere = PostgresTest {
        database: "nowhere".to_owned(),
        ..app()
    };
    check(
        &postgres.ask(elsewhere).await,
        Verdict::Unknown,
        "3D000: database \"nowhere\" does not exist",
    );
    let encrypted = PostgresTest { tls: true, ..app() };
    check(
        &postgres.ask(encrypted).await,
        Verdict::Unknown,
        "server does not support TLS",
    );

    let socket = |directory: PathBuf| PostgresTest {
        socket: Some(directory.display().to_string()),
        password: None,
        ..app()
    };
    let over_socket = postgres.ask(socket(postgres.socket_directory())).await;
    check(&over_socket, Verdict::Pass, "SELECT 1 answered");
    let no_socket = postgres.ask(socket(PathBuf::from("/nonexistent"))).await;
    check(&no_socket, Verdict::Fail, "no such socket");
}

#[tokio::test]
async fn a_postgres_without_room_for_clients_fails_in_its_own_words() {
    if is_postgres_missing() {
        return;
    }
    let postgres = Postgres::start(&["max_connections=6"]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(postgres.connect("app").await);
    }
    let answer = postgres.ask(app()).await;
    check(&answer, Verdict::Fail, "FATAL 53300: ");
    drop(held);
    until(postgres.port, &TestKind::Postgres(app()), Verdict::Pass).await;
}

#[tokio::test]
async fn a_hung_postgres_is_given_up_at_the_deadline() {
    if is_postgres_missing() {
        return;
    }
    let postgres = Postgres::start(&[]).await;
    postgres.server.signal(Signal::STOP);
    let kind = TestKind::Postgres(app());
    let answer = ask_port(postgres.port, kind, Duration::from_millis(300)).await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 300ms (connected, then silence)",
    );
}

#[tokio::test]
async fn a_query_that_waits_for_a_lock_leaves_nothing_behind_on_the_server() {
    if is_postgres_missing() {
        return;
    }
    let postgres = Postgres::start(&[]).await;
    let admin = postgres.admin().await;
    admin
        .batch_execute("SELECT pg_advisory_lock(7)")
        .await
        .unwrap();
    // Such locks are of one database.
    let kind = TestKind::Postgres(PostgresTest {
        database: "postgres".to_owned(),
        ..with_query("SELECT pg_advisory_lock(7)", None)
    });
    let answer = ask_port(postgres.port, kind, Duration::from_millis(500)).await;
    assert_eq!(answer.verdict, Verdict::Fail, "{answer:?}");
    let deadline = Instant::now() + PATIENCE;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pitcrew'";
    while admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < deadline, "the query still waits");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replica_fails_when_it_falls_behind_and_not_when_nothing_happens() {
    if is_postgres_missing() {
        return;
    }
    let primary = Postgres::start(&[]).await;
    let replica = primary.replica(&[]).await;
    let lag = |most: Duration| PostgresTest {
        replica_lag_max: Some(most),
        ..app()
    };
    let kind = TestKind::Postgres(lag(Duration::from_millis(1_500)));
    let admin = primary.admin().await;
    admin.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    // Far longer idle than the limit, but caught up.
    until(replica.port, &kind, Verdict::Pass).await;
    sleep(Duration::from_secs(2)).await;
    let answer = replica.ask(lag(Duration::from_millis(1_500))).await;
    check(&answer, Verdict::Pass, "replica 0 behind");
    let answer = primary.ask(lag(Duration::from_secs(1))).await;
    check(&answer, Verdict::Pass, "not a replica");

    let on_replica = replica.admin().await;
    on_replica
        .batch_execute("SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    admin
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let answer = until(replica.port, &kind, Verdict::Fail).await;
    check(&answer, Verdict::Fail, "behind, at most 1s500ms is wanted");
    on_replica
        .batch_execute("SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    until(replica.port, &kind, Verdict::Pass).await;

    // A replica that hears nothing any more must not look caught up.
    drop(primary);
    until(replica.port, &kind, Verdict::Fail).await;
}

#[tokio::test]
async fn a_postgres_that_lets_nobody_in_yet_fails_in_its_own_words() {
    if is_postgres_missing() {
        return;
    }
    let primary = Postgres::start(&[]).await;
    let replica = primary.replica(&["hot_standby=off"]).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = replica.ask(app()).await;
        if answer.evidence.as_str().contains("FATAL 57P03: ") {
            assert_eq!(answer.verdict, Verdict::Fail);
            check(&replica.hello().await, Verdict::Fail, "FATAL 57P03: ");
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tls_is_spoken_and_the_chain_is_checked() {
    if is_postgres_missing() {
        return;
    }
    let (account, directory) = (Account::new(), TempDir::new().unwrap());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
    let write = |name: &str, text: &str| -> io::Result<PathBuf> {
        let path = directory.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        account.give(&path);
        Ok(path)
    };
    let certificate = write("server.crt", &made.cert.pem()).unwrap();
    let key = write("server.key", &made.signing_key.serialize_pem()).unwrap();
    let postgres = Postgres::start(&[
        "ssl=on",
        &format!("ssl_cert_file={}", certificate.display()),
        &format!("ssl_key_file={}", key.display()),
    ])
    .await;
    let over_tls = |tls_options: TlsOptions| PostgresTest {
        tls: true,
        tls_options,
        ..app()
    };
    let trusting = TlsOptions {
        server_name: Some("db.example".to_owned()),
        ca_file: Some(certificate.display().to_string()),
        insecure: false,
    };
    let answer = postgres.ask(over_tls(trusting.clone())).await;
    check(&answer, Verdict::Pass, "SELECT 1 answered");
    let other_name = TlsOptions {
        server_name: None,
        ..trusting
    };
    check(
        &postgres.ask(over_tls(other_name)).await,
        Verdict::Fail,
        "certificate",
    );
    let insecure = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    check(
        &postgres.ask(over_tls(insecure)).await,
        Verdict::Pass,
        "SELECT 1 answered",
    );
    let strict = postgres.ask(over_tls(TlsOptions::default())).await;
    check(&strict, Verdict::Fail, "certificate");
}
