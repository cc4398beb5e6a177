//! What speaks on a port: a cheap hello in each protocol that can be told from its answer.
//!
//! Only to find out which test fits; whether that test passes is then asked with the test itself. A program
//! that is known by name is greeted in its own protocol alone, so that no store logs strange requests. Every
//! wait is bounded, and so is what is read.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(2);
/// Servers that speak first do so at once on their own machine.
const FIRST_WORD: Duration = Duration::from_millis(300);
const BYTES_MAX: usize = 4 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// With the status of its front page; `None` over TLS, where it wasn't asked.
    Http {
        status: Option<u16>,
    },
    Redis,
    Postgres,
    Mysql,
    Memcached,
    Amqp,
    /// Something else, in its own first words, or nothing at all.
    Other {
        words: String,
    },
}

/// Who is thought to be there, by the name of its program or by its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    Http,
    Redis,
    Postgres,
    Mysql,
    Memcached,
    Amqp,
}

pub(super) fn guess_by_port(port: u16) -> Option<Guess> {
    Some(match port {
        80 | 443 | 8_000 | 8_080 | 8_443 => Guess::Http,
        6_379 => Guess::Redis,
        5_432 => Guess::Postgres,
        3_306 => Guess::Mysql,
        11_211 => Guess::Memcached,
        5_672 => Guess::Amqp,
        _ => return None,
    })
}

/// By the file name of a program or the image of a container.
pub(super) fn guess_by_program(name: &str) -> Option<Guess> {
    const NAMES: [(&str, Guess); 19] = [
        ("redis", Guess::Redis),
        ("valkey", Guess::Redis),
        ("keydb", Guess::Redis),
        ("postgres", Guess::Postgres),
        ("mysql", Guess::Mysql),
        ("mariadb", Guess::Mysql),
        ("percona", Guess::Mysql),
        ("memcached", Guess::Memcached),
        ("rabbitmq", Guess::Amqp),
        ("beam.smp", Guess::Amqp),
        ("nginx", Guess::Http),
        ("apache2", Guess::Http),
        ("httpd", Guess::Http),
        ("lighttpd", Guess::Http),
        ("caddy", Guess::Http),
        ("haproxy", Guess::Http),
        ("traefik", Guess::Http),
        ("envoy", Guess::Http),
        ("varnishd", Guess::Http),
    ];
    let found = NAMES.iter().find(|(start, _)| name.starts_with(start));
    found.map(|(_, guess)| *guess)
}

/// What speaks at `address`. The program's own protocol is tried first; others only where it is not known.
pub(super) fn listen_to(address: SocketAddr, program: Option<Guess>) -> Speech {
    let guess = program.or_else(|| guess_by_port(address.port()));
    if let Some(guess) = guess
        && let Some(speech) = greet(address, guess)
    {
        return speech;
    }
    // RabbitMQ has a page for people beside its queues; the other stores have nothing else to say.
    match program {
        None | Some(Guess::Http | Guess::Amqp) => listen_then_ask(address),
        Some(_) => Speech::Other {
            words: String::new(),
        },
    }
}

/// `None`: it doesn't speak that.
fn greet(address: SocketAddr, guess: Guess) -> Option<Speech> {
    const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
    let (hello, speech): (&[u8], Speech) = match guess {
        Guess::Http => return None,
        Guess::Redis => (b"PING\r\n", Speech::Redis),
        Guess::Postgres => (SSL_REQUEST, Speech::Postgres),
        Guess::Mysql => (b"", Speech::Mysql),
        Guess::Memcached => (b"version\r\n", Speech::Memcached),
        Guess::Amqp => (b"AMQP\x00\x00\x09\x01", Speech::Amqp),
    };
    let words = exchange(address, hello, PATIENCE).ok()?;
    let is_answered = match guess {
        Guess::Http => false,
        Guess::Redis => is_redis(&words),
        // One letter says whether it can encrypt.
        Guess::Postgres => matches!(words.first(), Some(b'S' | b'N' | b'E')),
        Guess::Mysql => is_mysql(&words),
        Guess::Memcached => words.starts_with(b"VERSION"),
        Guess::Amqp => is_amqp(&words),
    };
    is_answered.then_some(speech)
}

fn is_redis(words: &[u8]) -> bool {
    let errors = [
        "-NOAUTH",
        "-DENIED",
        "-LOADING",
        "-MASTERDOWN",
        "-MISCONF",
        "-BUSY",
        "-NOPERM",
        "-ERR max",
    ];
    words.starts_with(b"+PONG")
        || errors
            .iter()
            .any(|error| words.starts_with(error.as_bytes()))
}

/// A packet of protocol 10, or of an error such as `Too many connections`.
fn is_mysql(words: &[u8]) -> bool {
    matches!(words, [_, _, 0, 0..=2, 10 | 0xff, _, ..])
}

/// A method frame of the connection's class, or the version that it would rather speak.
fn is_amqp(words: &[u8]) -> bool {
    words.starts_with(b"AMQP\x00") || matches!(words, [1, 0, 0, _, _, _, _, 0, 10, 0, 10, ..])
}

/// First whether it speaks by itself, then a request for its front page.
fn listen_then_ask(address: SocketAddr) -> Speech {
    let first = match exchange(address, b"", FIRST_WORD) {
        Ok(words) => words,
        Err(error) => {
            return Speech::Other {
                words: error.to_string(),
            };
        }
    };
    if is_mysql(&first) {
        return Speech::Mysql;
    }
    if !first.is_empty() {
        return Speech::Other {
            words: shown(&first),
        };
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: pitcrew\r\nConnection: close\r\n\r\n"
    );
    match exchange(address, request.as_bytes(), PATIENCE) {
        // Redis hangs up on what looks like an attack through a browser.
        Ok(words) if words.is_empty() => greet(address, Guess::Redis).unwrap_or(Speech::Other {
            words: String::new(),
        }),
        Ok(words) => judge(&words),
        Err(error) => Speech::Other {
            words: error.to_string(),
        },
    }
}

fn judge(words: &[u8]) -> Speech {
    const ALERT: u8 = 21;
    // nginx, Apache and Go's servers say in clear that TLS is spoken here; others raise TLS' own alarm.
    let text = String::from_utf8_lossy(words);
    let wants_tls = text.contains("HTTP request was sent to HTTPS")
        || text.contains("HTTP request to an HTTPS server")
        || text.contains("speaking plain HTTP to an SSL-enabled server port");
    if wants_tls || matches!(words, [ALERT, 3, ..]) {
        return Speech::Http { status: None };
    }
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok());
    match status {
        Some(status) => Speech::Http {
            status: Some(status),
        },
        None if is_redis(words) || text.starts_with("-ERR wrong number of arguments for 'get'") => {
            Speech::Redis
        }
        None => Speech::Other {
            words: shown(words),
        },
    }
}

/// The first line, short.
fn shown(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let line = text.lines().next().unwrap_or_default();
    let is_shown = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    line.chars().filter(is_shown).take(60).collect()
}

pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says `hello`, if it isn't empty, and gives what comes back within `patience`: nothing, when nothing does.
fn exchange(address: SocketAddr, hello: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.write_all(hello)?;
    let until = Instant::now() + patience;
    let (mut words, mut buffer) = (Vec::new(), [0; 1 << 10]);
    while words.len() < BYTES_MAX {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => words.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Time is up, or it hung up on us.
            Err(_) => break,
        }
        if is_enough(&words) {
            break;
        }
    }
    Ok(words)
}

/// Of HTTP the status is enough, except that a refusal says in its body what it would rather hear.
fn is_enough(words: &[u8]) -> bool {
    let has_line = words.contains(&b'\n');
    if words.starts_with(b"HTTP/") {
        return has_line && words.get(9..12) != Some(b"400");
    }
    has_line || words.len() >= 11 || matches!(words, [b'S' | b'N'])
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use proptest::prelude::*;

    use super::*;

    /// A peer that answers every connection with `answer` once something was asked, or at once.
    fn peer(answer: &'static [u8], speaks_first: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut asked = [0; 1_024];
                if speaks_first || stream.read(&mut asked).is_ok_and(|count| count > 0) {
                    stream.write_all(answer).ok();
                }
            }
        });
        address
    }

    #[test]
    fn each_protocol_is_told_by_its_answer() {
        let other = |words: &str| Speech::Other {
            words: words.to_owned(),
        };
        for (answer, speaks_first, program, speech) in [
            (
                &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
                false,
                None,
                Speech::Http { status: Some(204) },
            ),
            (
                b"HTTP/1.0 200 OK\r\n\r\n",
                false,
                Some(Guess::Http),
                Speech::Http { status: Some(200) },
            ),
            (
                b"\x15\x03\x01\x00\x02\x02\x0a",
                false,
                None,
                Speech::Http { status: None },
            ),
            (b"+PONG\r\n", false, Some(Guess::Redis), Speech::Redis),
            (
                b"-NOAUTH Authentication required.\r\n",
                false,
                Some(Guess::Redis),
                Speech::Redis,
            ),
            (b"S", false, Some(Guess::Postgres), Speech::Postgres),
            (
                b"I\x00\x00\x00\x0a5.5.5-10.11\x00",
                true,
                None,
                Speech::Mysql,
            ),
            (
                b"VERSION 1.6\r\n",
                false,
                Some(Guess::Memcached),
                Speech::Memcached,
            ),
            (
                b"SSH-2.0-OpenSSH_9.2\r\n",
                true,
                None,
                other("SSH-2.0-OpenSSH_9.2"),
            ),
            (b"\x00\x01garbage", false, None, other("garbage")),
        ] {
            assert_eq!(listen_to(peer(answer, speaks_first), program), speech);
        }
    }

    #[test]
    fn a_port_where_nobody_is_has_nothing_to_say() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(listen_to(free, None), Speech::Other { .. }));
    }

    proptest! {
        #[test]
        fn no_words_panic_the_judge(words in proptest::collection::vec(any::<u8>(), 0..80)) {
            judge(&words);
            is_amqp(&words);
            is_mysql(&words);
        }
    }
}
