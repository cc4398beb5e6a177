//! Which test fits: the candidates for what speaks on a port, each asked with the very test that `serve` uses.
//! The first that passes without anybody's help is the one that is written down.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use pitcrew_model::{
    Address, HelloTest, HttpTest, HttpVersion, Labels, MemcachedTest, MysqlTest, Place,
    PostgresTest, RedisTest, Runner, SourceName, StoreProtocol, Target, TargetId, Test, TestKind,
    TestName, TlsOptions, TlsTest, Verdict,
};
use pitcrew_probe::{Answer, ProcessState, ProcessStates, Question, Tools, ask};

use super::hello::Speech;

/// A test of the configuration to be, and how it went just now.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) test: Test,
    pub(super) answer: Answer,
    /// For a person who wants to know more than this test asks.
    pub(super) notes: Vec<String>,
    /// Whether a failure of it calls for a restart.
    pub(super) is_repaired: bool,
}

/// What is known of the asked beside its address.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    /// Unix sockets that its process holds.
    pub(super) unix_sockets: Vec<String>,
    /// The user that asks: stores may let it in by its name.
    pub(super) own_user: Option<String>,
}

pub(super) struct Asker(Tools);

/// Nothing that Pitcrew runs itself is asked about here.
struct NoProcesses;

impl ProcessStates for NoProcesses {
    fn state(&self, _target: &Target, _runner: &Runner) -> ProcessState {
        ProcessState::Unknown {
            why: "nothing is run yet".to_owned(),
        }
    }
}

struct Candidate {
    kind: TestKind,
    notes: Vec<String>,
}

impl Asker {
    pub(super) fn new() -> Self {
        Self(Tools::new(Arc::new(NoProcesses)))
    }

    /// The tests for one port of a target that listens at `address`; none for what speaks no known protocol.
    /// `port` is written into the tests where it isn't the target's own.
    pub(super) async fn tests(
        &self,
        address: SocketAddr,
        port: Option<u16>,
        speech: &Speech,
        hints: &Hints,
    ) -> Vec<Asked> {
        let name =
            |what: &str| port.map_or_else(|| what.to_owned(), |port| format!("{what}-{port}"));
        let mut tests = Vec::new();
        let mut candidates = candidates(address.port(), port, speech, hints)
            .into_iter()
            .peekable();
        while let Some(candidate) = candidates.next() {
            let asked = self.ask(address, &name("answers"), candidate).await;
            let is_well = matches!(asked.answer.verdict, Verdict::Pass | Verdict::Warn);
            if is_well || candidates.peek().is_none() {
                tests.push(asked);
                break;
            }
        }
        if let Speech::Http { status: None } = speech {
            tests.extend(self.certificate(address, port, &name("certificate")).await);
        }
        tests
    }

    /// Its expiry is watched, but no restart mends it.
    async fn certificate(
        &self,
        address: SocketAddr,
        port: Option<u16>,
        name: &str,
    ) -> Option<Asked> {
        let kind = certificate_test(port);
        let notes = vec!["Watches when the certificate expires, not who signed it.".to_owned()];
        let asked = self.ask(address, name, Candidate { kind, notes }).await;
        (asked.answer.verdict != Verdict::Unknown).then_some(Asked {
            is_repaired: false,
            ..asked
        })
    }

    async fn ask(&self, address: SocketAddr, name: &str, candidate: Candidate) -> Asked {
        let Candidate { kind, notes } = candidate;
        let is_certificate = matches!(kind, TestKind::Tls(_));
        let test = Test {
            name: TestName::new(name).expect("a word and a number"),
            proves: kind.proves_by_default(),
            kind,
            interval: if is_certificate {
                Duration::from_secs(3_600)
            } else {
                Duration::from_secs(5)
            },
            timeout: Duration::from_secs(2),
            failure_threshold: 3,
            success_threshold: 2,
            place: Place::Server,
        };
        let target = Target {
            id: TargetId::new(address.to_string()).expect("an address is a name"),
            address: Some(Address(address.to_string().into())),
            labels: Labels::default(),
            run_on: None,
            runner: None,
            source: SourceName::new("init").expect("a word"),
        };
        let answer = ask(Question::new(&target, None, &test, &self.0)).await;
        Asked {
            test,
            answer,
            notes,
            is_repaired: true,
        }
    }
}

fn certificate_test(port: Option<u16>) -> TestKind {
    const DAY: Duration = Duration::from_secs(86_400);
    TestKind::Tls(TlsTest {
        port,
        warn_before: 14 * DAY,
        fail_before: 3 * DAY,
        options: any_certificate(),
    })
}

fn any_certificate() -> TlsOptions {
    TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    }
}

fn candidates(
    listens_on: u16,
    port: Option<u16>,
    speech: &Speech,
    hints: &Hints,
) -> Vec<Candidate> {
    let hello = |protocol, note: &str| Candidate {
        kind: TestKind::Hello(HelloTest { port, protocol }),
        notes: vec![note.to_owned()],
    };
    let plain = |kind| Candidate {
        kind,
        notes: Vec::new(),
    };
    match speech {
        Speech::Http { status } => of_http(port, *status),
        Speech::Redis => vec![
            plain(TestKind::Redis(RedisTest {
                port,
                ..RedisTest::default()
            })),
            hello(
                StoreProtocol::Redis,
                "It wants a password, so this only asks whether it answers at all. To ask more:\n\
                 redis: { password: \"${REDIS_PASSWORD}\" }, or password_file instead.",
            ),
        ],
        Speech::Postgres => {
            let mut candidates = of_postgres(listens_on, port, hints);
            candidates.push(hello(
                StoreProtocol::Postgres,
                "It lets nobody in without credentials, so this only asks whether it answers a login at all: it \
                 sees a PostgreSQL that is gone, hangs, starts up or is full. To run a query as well, create a \
                 user for it (createuser pitcrew --pwprompt), and write\n\
                 postgres: { user: pitcrew, password: \"${PITCREW_PG_PASSWORD}\", database: postgres }.",
            ));
            candidates
        }
        Speech::Mysql => {
            let mut candidates = of_mysql(port, hints);
            candidates.push(hello(
                StoreProtocol::Mysql,
                "It lets nobody in without credentials, so this only asks whether it answers a login at all. To \
                 ask more:\nmysql: { user: pitcrew, password: \"${PITCREW_MYSQL_PASSWORD}\" }.",
            ));
            candidates
        }
        Speech::Memcached => vec![plain(TestKind::Memcached(MemcachedTest { port }))],
        Speech::Amqp => vec![hello(
            StoreProtocol::Amqp,
            "This only asks whether it answers. To log in and look at a queue as well:\n\
             amqp: { user: pitcrew, password: \"${PITCREW_AMQP_PASSWORD}\", queue: orders }.",
        )],
        Speech::Other { .. } => Vec::new(),
    }
}

fn of_http(port: Option<u16>, status: Option<u16>) -> Vec<Candidate> {
    let http = |status: Vec<u16>, tls: bool| {
        TestKind::Http(HttpTest {
            tls,
            port,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: None,
            status,
            body_matches: None,
            body_lacks: None,
            header_matches: Vec::new(),
            redirects_max: 0,
            version: HttpVersion::Any,
            tls_options: if tls {
                any_certificate()
            } else {
                TlsOptions::default()
            },
        })
    };
    let any_but_errors: Vec<u16> = (200..500).collect();
    let better = "Better is a page that needs everything behind it: path: /healthz.";
    let note = |words: String| vec![words, better.to_owned()];
    match status {
        Some(status @ 200..500) => vec![Candidate {
            kind: http(vec![status], false),
            notes: note(format!(
                "Its front page is answered with {status}; anything else is a failure."
            )),
        }],
        Some(status) => vec![Candidate {
            kind: http(any_but_errors, false),
            notes: note(format!(
                "Its front page is answered with {status} just now, which is a failure."
            )),
        }],
        None => {
            let notes =
                note("It speaks TLS; whoever signed its certificate is trusted here.".to_owned());
            vec![
                Candidate {
                    kind: http(vec![200], true),
                    notes: notes.clone(),
                },
                Candidate {
                    kind: http(any_but_errors, true),
                    notes,
                },
            ]
        }
    }
}

/// Ways in that need no password: trust on loopback, and the own user's name on the Unix socket.
fn of_postgres(listens_on: u16, port: Option<u16>, hints: &Hints) -> Vec<Candidate> {
    let postgres = |user: &str, socket: Option<String>| {
        TestKind::Postgres(PostgresTest {
            port,
            socket,
            user: user.to_owned(),
            password: None,
            database: "postgres".to_owned(),
            query: None,
            replica_lag_max: None,
            tls: false,
            tls_options: TlsOptions::default(),
        })
    };
    let mut candidates = vec![Candidate {
        kind: postgres("postgres", None),
        notes: vec![
            "It lets `postgres` in without a password; a user that may do less would be better."
                .to_owned(),
        ],
    }];
    let file = format!(".s.PGSQL.{listens_on}");
    let directories = hints
        .unix_sockets
        .iter()
        .map(Path::new)
        .filter(|path| path.ends_with(&file));
    if let (Some(user), Some(directory)) =
        (&hints.own_user, directories.filter_map(Path::parent).next())
    {
        candidates.push(Candidate {
            kind: postgres(user, Some(directory.display().to_string())),
            notes: vec![format!(
                "It lets `{user}` in by the name of the system's user."
            )],
        });
    }
    candidates
}

fn of_mysql(port: Option<u16>, hints: &Hints) -> Vec<Candidate> {
    let socket = hints
        .unix_sockets
        .iter()
        .find(|path| path.ends_with(".sock"));
    let (Some(user), Some(socket)) = (&hints.own_user, socket) else {
        return Vec::new();
    };
    vec![Candidate {
        kind: TestKind::Mysql(MysqlTest {
            port,
            socket: Some(socket.clone()),
            user: user.clone(),
            password: None,
            database: None,
            query: None,
        }),
        notes: vec![format!(
            "It lets `{user}` in by the name of the system's user."
        )],
    }]
}

/// Every test that may be asked of what says this.
#[cfg(test)]
pub(super) fn kinds(
    listens_on: u16,
    port: Option<u16>,
    speech: &Speech,
    hints: &Hints,
) -> Vec<TestKind> {
    let mut kinds: Vec<TestKind> = candidates(listens_on, port, speech, hints)
        .into_iter()
        .map(|candidate| candidate.kind)
        .collect();
    if let Speech::Http { status: None } = speech {
        kinds.push(certificate_test(port));
    }
    kinds
}
