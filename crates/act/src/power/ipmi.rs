//! IPMI 2.0 over the network, by `ipmitool`.
//!
//! The password goes by the environment, which only the owner of a process can read; an argument could be read by
//! everybody. A question that is not answered is repeated; an order to switch is sent once.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

use super::{PATIENCE, POLL, Power, Trouble};
use crate::answer::one_line;

const PROGRAM: &str = "ipmitool";
const QUESTION: Patience = Patience {
    seconds: "5",
    tries: "4",
};
const ORDER: Patience = Patience {
    seconds: "15",
    tries: "1",
};
/// Opening a session takes several exchanges, each with that patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
const OUTPUT_BYTES_MAX: u64 = 16 << 10;
const LINE_CHARS: usize = 200;

pub(super) struct Controller<'a> {
    /// Host, or host and port.
    pub(super) address: String,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    pub(super) cipher_suite: u8,
}

impl Controller<'_> {
    /// What was done, in words.
    pub(super) async fn cycle(&self) -> Result<String, Trouble> {
        let address = &self.address;
        let (verb, before) = match self.power().await.map_err(Trouble::Without)? {
            Power::On => ("cycle", "was on"),
            Power::Off => ("on", "was off"),
        };
        let acted = self.ask(verb, &ORDER).await;
        let said = acted.map_err(|refusal| match refusal {
            Refusal::NotStarted(why) => Trouble::Without(why),
            Refusal::Said(why) => Trouble::Unclear(format!("{address} {before}; {verb}: {why}")),
        })?;
        self.until_on().await.map_err(|why| {
            Trouble::Unclear(format!("{address} {before}; {verb}: {said}; {why}"))
        })?;
        Ok(format!("{address} {before}; {verb}: {said}"))
    }

    /// A controller that is switching may be unable to say.
    async fn until_on(&self) -> Result<(), String> {
        let last = tokio::time::Instant::now() + PATIENCE;
        loop {
            let power = self.power().await;
            if power == Ok(Power::On) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= last {
                return Err(power.err().unwrap_or_else(|| "it is still off".to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn power(&self) -> Result<Power, String> {
        let said = self.ask("status", &QUESTION).await;
        let said = said.map_err(|(Refusal::NotStarted(why) | Refusal::Said(why))| why)?;
        state(&said)
    }

    async fn ask(&self, verb: &str, patience: &Patience) -> Result<String, Refusal> {
        let (host, port) = split(&self.address);
        let suite = self.cipher_suite.to_string();
        let mut command = Command::new(PROGRAM);
        command
            .args(["-I", "lanplus", "-H", host, "-p", port])
            .args(["-U", self.username, "-E", "-C", &suite])
            .args(["-N", patience.seconds, "-R", patience.tries])
            .args(["chassis", "power", verb])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("IPMI_PASSWORD", self.password)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Refusal::NotStarted(format!("`{PROGRAM}` can't be started: {error}"))
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let talking = async { tokio::join!(read(stdout), read(stderr), child.wait()) };
        let (out, err, status) = tokio::time::timeout(CALL_TIMEOUT, talking)
            .await
            .map_err(|_| Refusal::Said(format!("`{PROGRAM}` did not end in time")))?;
        match status {
            Ok(status) if status.success() => Ok(one_line(&out, LINE_CHARS)),
            Ok(_) | Err(_) => {
                let said = one_line(&format!("{out} {err}"), LINE_CHARS);
                Err(Refusal::Said(format!("{}: {said}", self.address)))
            }
        }
    }
}

struct Patience {
    seconds: &'static str,
    tries: &'static str,
}

enum Refusal {
    NotStarted(String),
    Said(String),
}

/// The rest is thrown away, so that the child never waits for a reader.
async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else {
        return String::new();
    };
    let mut bytes = Vec::new();
    // What could be read is what there is.
    (&mut from)
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await
        .ok();
    tokio::io::copy(&mut from, &mut tokio::io::sink())
        .await
        .ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn split(address: &str) -> (&str, &str) {
    const PORT: &str = "623";
    if let Some(rest) = address.strip_prefix('[')
        && let Some((host, port)) = rest.split_once(']')
    {
        return (host, port.strip_prefix(':').unwrap_or(PORT));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => (address, PORT),
    }
}

/// `Chassis Power is on`
fn state(said: &str) -> Result<Power, String> {
    match said.trim() {
        "Chassis Power is on" => Ok(Power::On),
        "Chassis Power is off" => Ok(Power::Off),
        _ => Err(format!("its power state is not told: `{said}`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        for (address, expected) in [
            ("bmc", ("bmc", "623")),
            ("10.0.0.1:9011", ("10.0.0.1", "9011")),
            ("[fe80::1]:9011", ("fe80::1", "9011")),
            ("fe80::1", ("fe80::1", "623")),
        ] {
            assert_eq!(split(address), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_no_state_is_an_error(said in ".{0,80}") {
            let known = ["Chassis Power is on", "Chassis Power is off"].contains(&said.trim());
            prop_assert_eq!(state(&said).is_ok(), known);
        }
    }
}
