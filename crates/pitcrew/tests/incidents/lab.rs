//! The lab's hosts, as tests use them: through `xtask lab`, whose process made them.

use std::{
    env,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::production::{binary, skipped};

pub(crate) const HOSTS: [u8; 3] = [1, 2, 3];
pub(crate) const SERVER_ADDRESS: &str = "10.99.0.254";

pub(crate) struct Lab {
    xtask: PathBuf,
    name: String,
    /// One incident at a time in each lab.
    _turn: File,
}

impl Lab {
    /// With no fault, its hosts on, and this thread in the server's network namespace; says so when there is none.
    pub(crate) fn find() -> Option<Self> {
        let (Ok(names), Some(xtask)) = (
            env::var("PITCREW_TEST_LABS"),
            env::var_os("PITCREW_TEST_XTASK"),
        ) else {
            skipped(
                "no lab: cargo xtask lab with cargo nextest run -p pitcrew --test incidents (as root)",
            );
            return None;
        };
        let (name, turn) = take_turn(&names);
        let lab = Self {
            xtask: xtask.into(),
            name,
            _turn: turn,
        };
        lab.call(&["tidy"]);
        for host in HOSTS {
            lab.on(host, "up", &[]);
        }
        let namespace = lab.call(&["namespace"]);
        let namespace = File::open(namespace.trim()).expect("the server's network namespace");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("this thread is beside the server");
        Some(lab)
    }

    /// What it prints; it must succeed.
    fn call(&self, arguments: &[&str]) -> String {
        text(arguments, self.try_call(arguments))
    }

    fn try_call(&self, arguments: &[&str]) -> Output {
        Command::new(&self.xtask)
            .args(["lab", "--name", &self.name])
            .args(arguments)
            .output()
            .expect("xtask runs")
    }

    /// What a shell would run for `xtask lab ARGUMENTS`.
    pub(crate) fn command_line(&self, arguments: &[&str]) -> String {
        let xtask = self.xtask.display();
        format!("'{xtask}' lab --name {} {}", self.name, arguments.join(" "))
    }

    /// `xtask lab TASK HOST ARGUMENTS`
    pub(crate) fn on(&self, host: u8, task: &str, arguments: &[&str]) -> String {
        let number = host.to_string();
        self.call(&[&[task, &number], arguments].concat())
    }

    /// What a line of shell prints on the host; it must succeed.
    pub(crate) fn shell(&self, host: u8, line: &str) -> String {
        self.on(host, "run", &["--", "sh", "-euc", line])
    }

    /// The host's file of this name, as this machine sees it.
    pub(crate) fn file(&self, host: u8, path: &str) -> PathBuf {
        let root = self.on(host, "root", &[]);
        Path::new(root.trim()).join(path.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, host: u8, path: &str, content: &str) {
        let file = self.file(host, path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("the host's folder");
        fs::write(file, content).expect("the host's file");
    }

    /// The package of the binary under test as `version`, made once.
    pub(crate) fn package(&self, version: &str) -> PathBuf {
        let built = fs::metadata(binary()).and_then(|about| about.modified());
        let built = built.expect("the binary").duration_since(UNIX_EPOCH);
        let built = built.expect("after 1970").as_millis();
        let folder = lab_folder(&self.name).join(format!("packages-{built}"));
        let package = folder.join(format!("pitcrew_{version}_amd64.deb"));
        if !package.exists() {
            let output = Command::new(&self.xtask)
                .args(["deb", "--binary", binary(), "--version", version, "--out"])
                .arg(&folder)
                .output()
                .expect("xtask runs");
            text(&["deb"], output);
        }
        package
    }

    /// As a person would: with dpkg.
    pub(crate) fn install(&self, host: u8, version: &str) {
        let package = self.package(version);
        let copy = self.file(host, "/root/pitcrew.deb");
        fs::copy(package, copy).expect("the package on the host");
        self.shell(
            host,
            "dpkg --install /root/pitcrew.deb; rm /root/pitcrew.deb",
        );
    }
}

/// In the first lab that nobody has.
fn take_turn(names: &str) -> (String, File) {
    let turns: Vec<(String, File)> = names
        .split(' ')
        .map(|name| {
            let turn = File::create(lab_folder(name).join("turn"));
            (name.to_owned(), turn.expect("a lock in the lab's folder"))
        })
        .collect();
    // However long the others take.
    let free = loop {
        match turns.iter().position(|(_, turn)| turn.try_lock().is_ok()) {
            Some(free) => break free,
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    turns.into_iter().nth(free).expect("it is one of them")
}

fn lab_folder(name: &str) -> PathBuf {
    Path::new("/run/pitcrew-lab").join(name).join("switch")
}

fn text(what: &[&str], output: Output) -> String {
    assert!(
        output.status.success(),
        "{what:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}
