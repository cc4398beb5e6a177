//! The HTTP service that the demo breaks. `GET /healthz` answers by its mode; `POST /mode/MODE` changes it,
//! in memory only, so that a restart cures it. It ends by itself when the demo's lease has run out.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    arguments::DemoServiceOptions,
    demo::lease,
    failure::{Answer, Answered, Failure},
};

/// What `GET /healthz` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Fine,
    Errors,
    /// Later than any deadline of the demo's tests.
    Slow,
    /// Errors on every other question.
    Flapping,
}

const MODES: [(&str, Mode); 4] = [
    ("fine", Mode::Fine),
    ("errors", Mode::Errors),
    ("slow", Mode::Slow),
    ("flapping", Mode::Flapping),
];

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        MODES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("fine", |(name, _)| name)
    }

    fn from_index(index: u8) -> Self {
        MODES
            .get(usize::from(index))
            .map_or(Self::Fine, |(_, mode)| *mode)
    }
}

struct Service {
    mode: AtomicU8,
    questions: AtomicU64,
}

/// While this file exists, the service named so exits at once after every start.
pub(crate) fn crash_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("crash-{name}"))
}

pub(crate) fn run(options: &DemoServiceOptions) -> Answered {
    if crash_file(&options.directory, &options.name).exists() {
        return Err(Failure::Refused(format!(
            "{} can't start: its data is corrupt (a fault of the demo)",
            options.name
        )));
    }
    let listener = TcpListener::bind(("127.0.0.1", options.port)).map_err(|error| {
        Failure::Refused(format!(
            "failed to listen on port {}: {error}",
            options.port
        ))
    })?;
    let lease_file = options.directory.join("lease");
    thread::spawn(move || {
        while lease::holds(&lease_file) {
            thread::sleep(Duration::from_secs(1));
        }
        process::exit(0);
    });
    let service = Arc::new(Service {
        mode: AtomicU8::new(0),
        questions: AtomicU64::new(0),
    });
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let service = service.clone();
        thread::spawn(move || {
            // Whoever asked may be gone; that is their affair.
            service.answer(stream).ok();
        });
    }
    Ok(Answer::Yes)
}

impl Service {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = [0u8; 2048];
        let mut length = 0;
        while length < request.len() && !request[..length].windows(4).any(|end| end == b"\r\n\r\n")
        {
            match stream.read(&mut request[length..])? {
                0 => return Ok(()),
                more => length += more,
            }
        }
        let text = String::from_utf8_lossy(&request[..length]);
        let mut words = text.split_ascii_whitespace();
        let (status, body) = match (words.next(), words.next()) {
            (Some("GET"), Some("/healthz")) => self.health(),
            (Some("GET"), Some("/pid")) => (200, process::id().to_string()),
            (Some("POST"), Some(path)) => self.change_mode(path),
            _ => (404, "not here".to_owned()),
        };
        write!(
            stream,
            "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn health(&self) -> (u16, String) {
        let question = self.questions.fetch_add(1, Ordering::Relaxed);
        match Mode::from_index(self.mode.load(Ordering::Relaxed)) {
            Mode::Flapping if question.is_multiple_of(2) => {
                (500, "broken every other time".to_owned())
            }
            Mode::Fine | Mode::Flapping => (200, "ok".to_owned()),
            Mode::Errors => (500, "out of connections to the database".to_owned()),
            Mode::Slow => {
                thread::sleep(Duration::from_secs(3));
                (200, "ok".to_owned())
            }
        }
    }

    fn change_mode(&self, path: &str) -> (u16, String) {
        let wanted = path
            .strip_prefix("/mode/")
            .and_then(|name| MODES.iter().position(|(have, _)| *have == name));
        match wanted.and_then(|index| u8::try_from(index).ok()) {
            Some(index) => {
                self.mode.store(index, Ordering::Relaxed);
                (200, "as you wish".to_owned())
            }
            None => (404, "no such mode".to_owned()),
        }
    }
}

/// Asks a service something; the body of its answer.
pub(crate) fn ask(port: u16, method: &str, path: &str) -> std::io::Result<String> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default())
}

/// Sets the crash file of a service.
pub(crate) fn make_crash(directory: &Path, name: &str) -> std::io::Result<()> {
    fs::write(
        crash_file(directory, name),
        "this service exits at once while this file exists\n",
    )
}
