//! A real nginx with one server block, on a free port of loopback.

use std::{fs, process::Command, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{PATIENCE, Server, free_port, is_missing};

pub(crate) struct Nginx {
    pub(crate) port: u16,
    server: Server,
    _directory: TempDir,
}

impl Nginx {
    /// `listen` goes behind the address (`ssl http2`), `block` into the server block. `None`: not installed.
    pub(crate) async fn start(listen: &str, block: &str) -> Option<Self> {
        if is_missing("/usr/sbin/nginx", "nginx") {
            return None;
        }
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let path = directory.path().display();
        let text = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;
             events {{ worker_connections 4096; }}
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
               fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
               server {{ listen 127.0.0.1:{port} {listen} backlog=4096; {block} }} }}"
        );
        let conf = directory.path().join("nginx.conf");
        fs::write(&conf, text).unwrap();
        let server = Server::start(Command::new("/usr/sbin/nginx").arg("-c").arg(&conf));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            sleep(Duration::from_millis(10)).await;
        }
        Some(Self {
            port,
            server,
            _directory: directory,
        })
    }

    /// The kernel goes on accepting connections for it; nobody answers.
    pub(crate) fn freeze(&self) {
        self.server.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.server.signal(Signal::CONT);
    }
}
