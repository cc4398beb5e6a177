//! A real MariaDB: full of clients, hung, locked, refusing.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pitcrew_model::{MysqlTest, Secret, SqlExpectation, StoreProtocol, TestKind, Verdict};
use pitcrew_probe::Answer;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{
    PATIENCE, Server, ask_port, check, free_port, hello, is_missing, peer_that_sends, run, until,
};

const BINARY: &str = "/usr/sbin/mariadbd";

struct Mariadb {
    server: Server,
    port: u16,
    directory: TempDir,
}

impl Mariadb {
    /// With users `app` (password `correct`), `sha` and `empty`, and root on the socket.
    async fn start(options: &[&str]) -> Self {
        let (port, directory) = (free_port(), TempDir::new().unwrap());
        let data = directory.path().join("data");
        // A server that starts removes what others left in the directory for temporary files.
        let temporary = directory.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        run(Command::new("mariadb-install-db")
            .env("TMPDIR", &temporary)
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .args([
                "--auth-root-authentication-method=normal",
                "--skip-name-resolve",
            ])
            .arg(format!("--datadir={}", data.display())))
        .unwrap();
        let mut command = Command::new(BINARY);
        command
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .args(["--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!(
                "--socket={}",
                Self::socket(directory.path()).display()
            ))
            .arg(format!(
                "--pid-file={}",
                directory.path().join("pid").display()
            ))
            .arg(format!("--tmpdir={}", temporary.display()))
            .arg(format!("--port={port}"))
            .args(options);
        let mariadb = Self {
            server: Server::start(&mut command),
            port,
            directory,
        };
        let deadline = Instant::now() + PATIENCE;
        let users = "CREATE DATABASE app; CREATE USER app IDENTIFIED BY 'correct'; \
                     GRANT ALL ON app.* TO app; CREATE USER empty; \
                     INSTALL SONAME 'auth_ed25519'; CREATE USER ed IDENTIFIED VIA ed25519 USING PASSWORD('correct')";
        while let Err(error) = run(&mut mariadb.client(users)) {
            assert!(Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
        mariadb
    }

    fn socket(directory: &Path) -> PathBuf {
        directory.join("socket")
    }

    fn client(&self, sql: &str) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "--user=root", "--batch", "--execute", sql])
            .arg(format!(
                "--socket={}",
                Self::socket(self.directory.path()).display()
            ));
        command
    }

    async fn ask(&self, test: MysqlTest) -> Answer {
        ask_port(self.port, TestKind::Mysql(test), Duration::from_secs(5)).await
    }
}

fn app() -> MysqlTest {
    MysqlTest {
        port: None,
        socket: None,
        user: "app".to_owned(),
        password: Some(Secret::new("correct")),
        database: None,
        query: None,
    }
}

fn with_query(sql: &str, matches: Option<&str>) -> MysqlTest {
    MysqlTest {
        database: Some("app".to_owned()),
        query: Some(SqlExpectation {
            sql: sql.to_owned(),
            matches: matches.map(str::to_owned),
        }),
        ..app()
    }
}

#[tokio::test]
async fn a_healthy_mariadb_answers_queries_and_refusals_are_not_its_failure() {
    if is_missing(BINARY, "mariadb-server") {
        return;
    }
    let mariadb = Mariadb::start(&[]).await;
    check(&mariadb.ask(app()).await, Verdict::Pass, "MariaDB 10.");
    let greeted = hello(mariadb.port, StoreProtocol::Mysql, Duration::from_secs(5)).await;
    check(&greeted, Verdict::Pass, "it answers: ERROR 1045 (28000)");
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
        (
            "SELECT 1 FROM dual WHERE false",
            None,
            Verdict::Fail,
            "no row",
        ),
        ("SELECT NULL", None, Verdict::Pass, "NULL"),
        ("SELECT ''", Some("^$"), Verdict::Pass, "returned \"\""),
        ("DO 1", None, Verdict::Fail, "no row"),
        (
            "SELEC 1",
            None,
            Verdict::Unknown,
            "ERROR 1064 (42000): You have an error",
        ),
        (
            "SELECT * FROM nothing",
            None,
            Verdict::Unknown,
            "ERROR 1146 (42S02)",
        ),
        (
            "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE x",
            None,
            Verdict::Unknown,
            "ERROR",
        ),
        (
            "SELECT seq, repeat('x', 9000) FROM seq_1_to_9000",
            Some("^1$"),
            Verdict::Pass,
            "\"1\"",
        ),
        (
            "SELECT repeat('x', 9000000)",
            None,
            Verdict::Fail,
            "more than 1048576 bytes",
        ),
    ] {
        check(&mariadb.ask(with_query(sql, matches)).await, verdict, words);
    }

    let wrong = MysqlTest {
        password: Some(Secret::new("wrong")),
        ..app()
    };
    check(
        &mariadb.ask(wrong).await,
        Verdict::Unknown,
        "ERROR 1045 (28000): Access denied for user 'app'",
    );
    let elsewhere = MysqlTest {
        database: Some("nowhere".to_owned()),
        ..app()
    };
    check(&mariadb.ask(elsewhere).await, Verdict::Unknown, "(42000)");
    let empty = MysqlTest {
        user: "empty".to_owned(),
        password: None,
        ..app()
    };
    check(&mariadb.ask(empty).await, Verdict::Pass, "ping answered");
    let other_plugin = MysqlTest {
        user: "ed".to_owned(),
        ..app()
    };
    check(
        &mariadb.ask(other_plugin).await,
        Verdict::Unknown,
        "`client_ed25519`, which is not spoken here",
    );

    let socket = |path: PathBuf| MysqlTest {
        socket: Some(path.display().to_string()),
        user: "root".to_owned(),
        password: None,
        ..app()
    };
    let over_socket = mariadb
        .ask(socket(Mariadb::socket(mariadb.directory.path())))
        .await;
    check(&over_socket, Verdict::Pass, "ping answered");
    let no_socket = mariadb
        .ask(socket(PathBuf::from("/nonexistent/socket")))
        .await;
    check(&no_socket, Verdict::Fail, "no such socket");
}

#[tokio::test]
async fn asking_often_leaves_no_aborted_connections_behind() {
    if is_missing(BINARY, "mariadb-server") {
        return;
    }
    let mariadb = Mariadb::start(&[]).await;
    for _ in 0..20 {
        check(&mariadb.ask(app()).await, Verdict::Pass, "ping");
        check(
            &mariadb.ask(with_query("SELECT 1", Some("1"))).await,
            Verdict::Pass,
            "\"1\"",
        );
    }
    let status = "SELECT variable_value FROM information_schema.global_status \
                  WHERE variable_name = 'Aborted_clients'";
    let root = MysqlTest {
        socket: Some(
            Mariadb::socket(mariadb.directory.path())
                .display()
                .to_string(),
        ),
        user: "root".to_owned(),
        password: None,
        database: None,
        ..with_query(status, Some("^0$"))
    };
    check(&mariadb.ask(root).await, Verdict::Pass, "\"0\"");
}

#[tokio::test]
async fn a_mariadb_without_room_for_clients_fails_in_its_own_words() {
    if is_missing(BINARY, "mariadb-server") {
        return;
    }
    let mariadb = Mariadb::start(&["--max-connections=10", "--extra-max-connections=1"]).await;
    let mut held = Vec::new();
    for _ in 0..11 {
        // A connection counts once the server has greeted it.
        let mut stream = TcpStream::connect(("127.0.0.1", mariadb.port))
            .await
            .unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let greeted = hello(mariadb.port, StoreProtocol::Mysql, Duration::from_secs(5)).await;
    check(&greeted, Verdict::Fail, "ERROR 1040");
    let answer = mariadb.ask(app()).await;
    check(&answer, Verdict::Fail, "ERROR 1040: Too many connections");
    drop(held);
    until(mariadb.port, &TestKind::Mysql(app()), Verdict::Pass).await;
}

#[tokio::test]
async fn a_hung_mariadb_is_given_up_at_the_deadline() {
    if is_missing(BINARY, "mariadb-server") {
        return;
    }
    let mariadb = Mariadb::start(&[]).await;
    mariadb.server.signal(Signal::STOP);
    let answer = ask_port(
        mariadb.port,
        TestKind::Mysql(app()),
        Duration::from_millis(300),
    )
    .await;
    check(
        &answer,
        Verdict::Fail,
        "no answer within 300ms (connected, then silence)",
    );
}

#[tokio::test]
async fn a_query_that_waits_for_a_lock_is_ended_on_the_server_too() {
    if is_missing(BINARY, "mariadb-server") {
        return;
    }
    let mariadb = Mariadb::start(&[]).await;
    let kind = TestKind::Mysql(with_query("SELECT SLEEP(600)", Some("^0$")));
    let answer = ask_port(mariadb.port, kind, Duration::from_millis(500)).await;
    assert_eq!(answer.verdict, Verdict::Fail, "{answer:?}");
    let left = with_query(
        "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(600)'",
        Some("^0$"),
    );
    until(mariadb.port, &TestKind::Mysql(left), Verdict::Pass).await;
}

#[tokio::test]
async fn a_host_that_is_not_allowed_in_is_not_the_servers_failure() {
    let refusal = b"\x41\x00\x00\x00\xff\x6a\x04Host '10.0.0.9' is not allowed to connect to this server..123456";
    let port = peer_that_sends(refusal, true);
    let answer = ask_port(port, TestKind::Mysql(app()), Duration::from_secs(2)).await;
    check(
        &answer,
        Verdict::Unknown,
        "ERROR 1130: Host '10.0.0.9' is not allowed",
    );
}

/// A MySQL 8 whose cache doesn't know the user: greets, wants the full login, gives its key, and lets in
/// whoever seals the right password with it. Debian has no MySQL to do this with.
fn mysql_that_wants_the_password_sealed() -> u16 {
    use aws_lc_rs::{
        encoding::{AsDer, PublicKeyX509Der},
        rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    };
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    let packet = |sequence: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    };
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
    let key = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64(public.as_ref())
    );
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let nonce = b"abcdefghijklmnopqrst";
        let greeting = [
            b"\x0a8.4.0\0\x01\0\0\0",
            &nonce[..8],
            b"\0\xff\xff\x2d\x02\0\xff\xff\x15",
            &[0; 10],
            &nonce[8..],
            b"\0caching_sha2_password\0",
        ]
        .concat();
        let ok = b"\0\0\0\x02\0\0\0";
        let refused = b"\xff\x15\x04#28000Access denied for user 'app'";
        while let Ok((mut stream, _)) = listener.accept() {
            let receive = |stream: &mut std::net::TcpStream| {
                let mut head = [0; 4];
                stream.read_exact(&mut head).unwrap();
                let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
                let mut payload = vec![0; usize::try_from(length).unwrap()];
                stream.read_exact(&mut payload).unwrap();
                payload
            };
            stream.write_all(&packet(0, &greeting)).unwrap();
            receive(&mut stream);
            stream.write_all(&packet(2, b"\x01\x04")).unwrap();
            assert_eq!(receive(&mut stream), [2]);
            let key = [b"\x01", key.as_bytes()].concat();
            stream.write_all(&packet(4, &key)).unwrap();
            let (sealed, mut opened) = (receive(&mut stream), [0; 256]);
            let masked = private
                .decrypt(&OAEP_SHA1_MGF1SHA1, &sealed, &mut opened, None)
                .unwrap();
            let bytes = masked.iter().zip(nonce.iter().cycle());
            let password: Vec<u8> = bytes.map(|(byte, mask)| byte ^ mask).collect();
            if password != b"correct\0" {
                stream.write_all(&packet(6, refused)).unwrap();
                continue;
            }
            stream.write_all(&packet(6, ok)).unwrap();
            receive(&mut stream);
            stream.write_all(&packet(1, ok)).unwrap();
            receive(&mut stream);
        }
    });
    port
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, byte| (group << 8) | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = usize::try_from((group >> (18 - 6 * at)) & 63).unwrap();
            let is_padding = at > u32::try_from(chunk.len()).unwrap();
            text.push(if is_padding {
                '='
            } else {
                char::from(LETTERS[letter])
            });
        }
    }
    text
}

#[tokio::test]
async fn a_password_is_sealed_with_the_servers_key_when_its_cache_does_not_know_the_user() {
    let port = mysql_that_wants_the_password_sealed();
    let kind = |password: &'static str| {
        TestKind::Mysql(MysqlTest {
            password: Some(Secret::new(password)),
            ..app()
        })
    };
    let answer = ask_port(port, kind("correct"), Duration::from_secs(5)).await;
    check(&answer, Verdict::Pass, "MySQL 8.4.0, ping answered");
    let answer = ask_port(port, kind("wrong"), Duration::from_secs(5)).await;
    check(
        &answer,
        Verdict::Unknown,
        "ERROR 1045 (28000): Access denied",
    );
}
