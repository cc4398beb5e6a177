//! What a Redis tells of itself, without a password: where its settings come from, and which they are.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::hello::connect;

/// Where packages keep a server's settings.
const USUAL_FILES: [&str; 5] = [
    "/etc/redis/redis.conf",
    "/etc/redis.conf",
    "/etc/valkey/valkey.conf",
    "/etc/valkey.conf",
    "/etc/keydb/keydb.conf",
];

/// Everything `CONFIG GET *` says is a tenth of this.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The file they were read from, if any.
    pub(super) file: Option<String>,
    values: Vec<(String, String)>,
    /// It didn't say so itself.
    pub(super) is_guess: bool,
}

/// Settings that are written as arguments when there is no file, with the values that need not be: the
/// defaults of Redis 6 to 8 and Valkey.
const WRITTEN: [(&str, &[&str]); 22] = [
    ("port", &[]),
    ("bind", &["", "* -::*"]),
    ("dir", &[]),
    ("save", &[]),
    ("protected-mode", &["yes"]),
    ("unixsocket", &[""]),
    ("unixsocketperm", &["0"]),
    ("dbfilename", &["dump.rdb"]),
    ("appendonly", &["no"]),
    ("appendfilename", &["appendonly.aof"]),
    ("appendfsync", &["everysec"]),
    ("databases", &["16"]),
    ("maxmemory", &["0"]),
    ("maxmemory-policy", &["noeviction"]),
    ("maxclients", &["10000"]),
    ("timeout", &["0"]),
    ("logfile", &[""]),
    ("loglevel", &["notice"]),
    ("pidfile", &["", "/var/run/redis.pid"]),
    ("daemonize", &["no"]),
    ("cluster-enabled", &["no"]),
    ("replicaof", &[""]),
];

impl Settings {
    /// The error is only for words: it answers, but tells nothing.
    pub(super) fn ask(address: SocketAddr) -> io::Result<Self> {
        let mut redis = BufReader::new(connect(address)?);
        let info = call(&mut redis, "INFO server")?;
        let Reply::Text(info) = info else {
            return Err(io::Error::other("INFO is refused"));
        };
        let file = info
            .lines()
            .find_map(|line| line.strip_prefix("config_file:"));
        let file = file
            .map(str::trim)
            .filter(|file| !file.is_empty())
            .map(str::to_owned);
        let values = match call(&mut redis, "CONFIG GET *")? {
            Reply::Texts(texts) => texts
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
            Reply::Text(_) | Reply::Other => Vec::new(),
        };
        if file.is_none() && values.is_empty() {
            return Err(io::Error::other("CONFIG is refused"));
        }
        Ok(Self {
            file,
            values,
            is_guess: false,
        })
    }

    /// For one that wants a password: the one usual file whose port it listens on, if there is one.
    pub(super) fn guess(port: u16) -> Option<Self> {
        let has_port = |file: &&str| {
            fs::read_to_string(file).is_ok_and(|text| port_in(&text) == port.to_string())
        };
        let mut files = USUAL_FILES.into_iter().filter(has_port);
        let file = files.next().filter(|_| files.next().is_none())?;
        Some(Self {
            file: Some(file.to_owned()),
            values: Vec::new(),
            is_guess: true,
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What was given on the command line beside the file, as far as it matters for being the same server.
    pub(super) fn beside_file(&self) -> Vec<String> {
        let text = self
            .file
            .as_ref()
            .and_then(|file| fs::read_to_string(file).ok());
        let (Some(text), Some(port)) = (text, self.get("port")) else {
            return Vec::new();
        };
        if port_in(&text) == port {
            return Vec::new();
        }
        vec!["--port".to_owned(), port.to_owned()]
    }

    pub(super) fn as_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (name, left_out) in WRITTEN {
            let Some(value) = self.get(name).filter(|value| !left_out.contains(value)) else {
                continue;
            };
            let words: Vec<&str> = value.split(' ').filter(|word| !word.is_empty()).collect();
            // Pairs of seconds and changes, each in an argument of its own.
            let per_argument = if name == "save" { 2 } else { words.len() };
            let parts: Vec<Vec<&str>> = match (name, words.is_empty()) {
                (_, true) => vec![vec![""]],
                ("save" | "bind" | "replicaof", false) => {
                    words.chunks(per_argument).map(<[&str]>::to_vec).collect()
                }
                (_, false) => vec![vec![value]],
            };
            for part in parts {
                arguments.push(format!("--{name}"));
                arguments.extend(part.into_iter().map(str::to_owned));
            }
        }
        arguments
    }
}

/// The last one given counts.
fn port_in(file: &str) -> String {
    let given = |line: &str| {
        let (name, value) = line.trim().split_once([' ', '\t'])?;
        name.eq_ignore_ascii_case("port")
            .then(|| value.trim().to_owned())
    };
    let last = file.lines().filter_map(given).next_back();
    last.unwrap_or_else(|| "6379".to_owned())
}

enum Reply {
    Text(String),
    Texts(Vec<String>),
    Other,
}

fn call(redis: &mut BufReader<TcpStream>, command: &str) -> io::Result<Reply> {
    redis
        .get_mut()
        .write_all(format!("{command}\r\n").as_bytes())?;
    read_reply(&mut redis.take(ANSWER_BYTES_MAX))
}

fn read_reply(reader: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(reader)?;
    let count = |text: &str| text.parse::<usize>().map_err(io::Error::other);
    if let Some(length) = line.strip_prefix('$') {
        return Ok(Reply::Text(read_text(reader, count(length)?)?));
    }
    let Some(items) = line.strip_prefix('*') else {
        return Ok(Reply::Other);
    };
    let mut texts = Vec::new();
    for _ in 0..count(items)? {
        let line = read_line(reader)?;
        let length = line
            .strip_prefix('$')
            .ok_or_else(|| io::Error::other("not a text"))?;
        texts.push(read_text(reader, count(length)?)?);
    }
    Ok(Reply::Texts(texts))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Memory grows with what arrives, never with what `length` promises.
fn read_text(reader: &mut impl BufRead, length: usize) -> io::Result<String> {
    let wanted = u64::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    reader.take(wanted).read_to_end(&mut bytes)?;
    let mut end = [0; 2];
    reader.read_exact(&mut end)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings {
            file: None,
            values: values.iter().map(pair).collect(),
            is_guess: false,
        }
    }

    #[test]
    fn settings_become_arguments_unless_they_are_defaults() {
        let settings = settings(&[
            ("port", "6390"),
            ("save", ""),
            ("bind", "127.0.0.1 -::1"),
            ("dir", "/srv/my data"),
            ("appendonly", "no"),
        ]);
        assert_eq!(
            settings.as_arguments(),
            [
                "--port",
                "6390",
                "--bind",
                "127.0.0.1",
                "-::1",
                "--dir",
                "/srv/my data",
                "--save",
                ""
            ]
        );
        let saving = self::settings(&[("save", "3600 1 300 100")]);
        assert_eq!(
            saving.as_arguments(),
            ["--save", "3600", "1", "--save", "300", "100"]
        );
    }

    #[test]
    fn a_port_given_beside_the_file_is_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let beside = |text: &str| {
            fs::write(file.path(), text).unwrap();
            let path = file.path().display().to_string();
            Settings {
                file: Some(path),
                ..settings(&[("port", "6390")])
            }
            .beside_file()
        };
        assert_eq!(beside("Port 6390\n"), [""; 0]);
        assert_eq!(beside("# port 6390\nport 1\n"), ["--port", "6390"]);
        assert_eq!(beside(""), ["--port", "6390"]);
    }

    proptest! {
        #[test]
        fn no_reply_panics_the_reader(bytes in "[$*0-9a\\r\\n-]{0,60}") {
            read_reply(&mut bytes.as_bytes()).ok();
        }
    }
}
