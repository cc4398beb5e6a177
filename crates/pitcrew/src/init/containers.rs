//! Containers: which process is in one, and what the engine calls it.
//!
//! A process knows only the identifier in its cgroup, and a published port belongs to the engine's own proxy;
//! the names that a restart needs are the engine's to tell, over its socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::Deserialize;

use super::machine::Process;

const SOCKETS: [&str; 3] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
];
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const IDENTIFIER_HEX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    /// The engine's socket, where it isn't the usual one.
    pub(super) socket: Option<String>,
    id: String,
    ports: Vec<u16>,
}

/// What all engines of this machine say that runs.
#[derive(Default)]
pub(super) struct Containers {
    running: Vec<Container>,
    /// Engines that are there but don't answer us.
    pub(super) unseen: Vec<String>,
}

impl Containers {
    pub(super) fn ask() -> Self {
        let mut containers = Self::default();
        for socket in SOCKETS
            .into_iter()
            .filter(|socket| Path::new(socket).exists())
        {
            match list(socket) {
                Ok(listed) => {
                    for container in listed {
                        if containers
                            .running
                            .iter()
                            .all(|known| known.id != container.id)
                        {
                            containers.running.push(container);
                        }
                    }
                }
                Err(error) => containers
                    .unseen
                    .push(format!("the container engine at {socket}: {error}")),
            }
        }
        containers
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Container> {
        self.running.iter().find(|container| container.id == id)
    }

    pub(super) fn by_port(&self, port: u16) -> Option<&Container> {
        self.running
            .iter()
            .find(|container| container.ports.contains(&port))
    }
}

fn list(socket: &str) -> io::Result<Vec<Container>> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "Id")]
        id: String,
        #[serde(rename = "Names", default)]
        names: Vec<String>,
        #[serde(rename = "Image", default)]
        image: String,
        #[serde(rename = "Ports", default)]
        ports: Vec<Port>,
    }
    #[derive(Deserialize)]
    struct Port {
        #[serde(rename = "PublicPort", default)]
        public: u16,
        #[serde(rename = "Type", default)]
        kind: String,
    }
    let listed: Vec<Listed> = serde_json::from_slice(&get(socket, "/containers/json")?)?;
    let container = |listed: Listed| {
        let name = listed
            .names
            .iter()
            .map(|name| name.trim_start_matches('/'))
            .next();
        let tcp = listed
            .ports
            .iter()
            .filter(|port| port.kind == "tcp" && port.public != 0);
        Container {
            name: name.map_or_else(|| listed.id.clone(), str::to_owned),
            image: listed.image,
            socket: (socket != SOCKETS[0] && socket != SOCKETS[1]).then(|| socket.to_owned()),
            ports: tcp.map(|port| port.public).collect(),
            id: listed.id,
        }
    };
    Ok(listed.into_iter().map(container).collect())
}

/// HTTP 1.0: the engine closes at the end, and doesn't cut its answer into chunks.
fn get(socket: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(&answer[..end])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("it answers {status}")));
    }
    Ok(answer.split_off(end + 4))
}

/// The container of a process, by its cgroups: `/docker/ID`, `…/docker-ID.scope`, `…/libpod-ID.scope`.
/// One that Pitcrew itself is in is nothing that can be restarted from here.
pub(super) fn id_of<'p>(process: &'p Process, own_cgroups: &[String]) -> Option<&'p str> {
    let parts = process.cgroups.iter().flat_map(|path| path.split('/'));
    let mut ids = parts.filter_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit('-').next()?;
        let is_id = id.len() == IDENTIFIER_HEX && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some(id)
    });
    ids.find(|id| !own_cgroups.iter().any(|path| path.contains(id)))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    fn id(digit: &str) -> String {
        digit.repeat(IDENTIFIER_HEX)
    }

    #[test]
    fn a_container_is_known_by_its_cgroup_unless_it_is_our_own() {
        let found = |path: String, own: &[String]| {
            let process = Process {
                cgroups: vec![path],
                ..Process::default()
            };
            id_of(&process, own).map(str::to_owned)
        };
        for path in [
            format!("/docker/{}", id("a")),
            format!("/system.slice/docker-{}.scope", id("a")),
            format!("/machine.slice/libpod-{}.scope/container", id("a")),
        ] {
            assert_eq!(found(path.clone(), &[]), Some(id("a")), "{path}");
            assert_eq!(found(path.clone(), &[path]), None);
        }
        assert_eq!(found("/system.slice/nginx.service".into(), &[]), None);
    }

    #[test]
    fn the_engine_tells_names_and_ports() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let body = format!(
            r#"[{{"Id":"{}","Names":["/web"],"Image":"nginx:1","Ports":[{{"PrivatePort":80,"PublicPort":8080,"Type":"tcp"}},{{"PrivatePort":53,"Type":"udp"}}]}}]"#,
            id("b")
        );
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let count = stream.read(&mut asked).unwrap();
            assert!(asked[..count].starts_with(b"GET /containers/json HTTP/1.0\r\n"));
            write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}"
            )
            .unwrap();
        });
        let socket = socket.to_str().unwrap();
        let running = list(socket).unwrap();
        let containers = Containers {
            running,
            unseen: Vec::new(),
        };
        let web = containers.by_port(8_080).unwrap();
        assert_eq!((web.name.as_str(), web.image.as_str()), ("web", "nginx:1"));
        assert_eq!(web.socket.as_deref(), Some(socket));
        assert_eq!(containers.by_id(&id("b")), Some(web));
        assert_eq!(containers.by_port(53), None);
    }
}
