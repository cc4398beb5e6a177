//! What both measurements talk to: a local nginx, and small helpers to reach what listens on loopback.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// A process that ends with the measurement.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An nginx that answers `200 ok` on every loopback address (127.0.0.0/8) and to nobody else.
pub(super) fn start_nginx(directory: &Path, port: u16) -> anyhow::Result<Running> {
    let place = directory.display();
    let file = directory.join("nginx.conf");
    fs::write(
        &file,
        format!(
            "daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; server {{ listen 0.0.0.0:{port} backlog=4096; allow 127.0.0.0/8; deny all; location / {{ return 200 \"ok\\n\"; }} }} }}\n"
        ),
    )?;
    let nginx = Running(
        Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start nginx")?,
    );
    wait_for(port)?;
    Ok(nginx)
}

pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(super) fn wait_for(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            bail!("nothing listens on 127.0.0.1:{port}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// By HTTP/1.0, so that the body comes in one piece and not in chunks.
pub(super) fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
