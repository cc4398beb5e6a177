//! A reboot of the host that this process runs on, through systemd, and what proves one.
//!
//! logind is asked first, as `systemctl reboot` does, so that its inhibitors and wall messages work; where there is none
//! the manager starts `reboot.target` itself. That it was begun is no proof of anything: the kernel draws a new boot
//! id with each start, and only a new one says that it was a reboot.

use std::{fs, io, time::Duration};

use zbus::{Connection, connection::Builder, fdo};

use crate::Answer;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Both answer in milliseconds; one that doesn't is not going to.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Of the kernel that runs now.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// `bus`: an address instead of the system's.
pub(crate) async fn begin(bus: Option<&str>) -> Answer {
    let connection = match connect(bus).await {
        Ok(connection) => connection,
        Err(error) => return Answer::failed(format!("systemd can't be reached: {error}")),
    };
    let logind = connection
        .call_method(
            Some("org.freedesktop.login1"),
            "/org/freedesktop/login1",
            Some("org.freedesktop.login1.Manager"),
            "Reboot",
            &false,
        )
        .await;
    let Err(without) = logind else {
        return begun("logind");
    };
    let manager = connection
        .call_method(
            Some("org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.systemd1.Manager"),
            "StartUnit",
            &("reboot.target", "replace-irreversibly"),
        )
        .await;
    match manager {
        Ok(_) => begun("systemd"),
        Err(zbus::Error::MethodError(name, why, _)) => Answer::failed(format!(
            "systemd refuses: {}; logind: {without}",
            why.unwrap_or_else(|| name.to_string())
        )),
        Err(zbus::Error::FDO(error)) if never_came(&error) => Answer::failed(format!(
            "there is no systemd to ask: {error}; logind: {without}"
        )),
        // A bus that goes down while it is asked may be the reboot itself.
        Err(error) => Answer::unknown(format!("systemd did not answer: {error}")),
    }
}

/// The bus itself says so, and nobody else has heard of the call.
fn never_came(error: &fdo::Error) -> bool {
    matches!(
        error,
        fdo::Error::ServiceUnknown(_)
            | fdo::Error::SpawnChildExited(_)
            | fdo::Error::AccessDenied(_)
    )
}

fn begun(by: &str) -> Answer {
    Answer::unknown(format!(
        "{by} has begun to reboot; only a new boot id proves it"
    ))
}

async fn connect(bus: Option<&str>) -> Result<Connection, zbus::Error> {
    let builder = match bus {
        Some(address) => Builder::address(address),
        None => Builder::system(),
    };
    let connecting = builder.method_timeout(CALL_TIMEOUT).build();
    match tokio::time::timeout(CALL_TIMEOUT, connecting).await {
        Ok(connection) => connection,
        Err(_elapsed) => Err(zbus::Error::Failure("no answer".to_owned())),
    }
}

/// `before`: the boot id when it was begun, as it was written down then.
pub(crate) fn reconcile(before: Option<&str>, now: io::Result<String>) -> Answer {
    match (before, now) {
        (Some(before), Ok(now)) if before != now => {
            Answer::done(format!("the boot id was {before} and is {now}"))
        }
        (Some(before), Ok(_)) => Answer::unknown(format!("the boot id is {before} still")),
        (None, _) => Answer::unknown("the boot id of before was not written down"),
        (_, Err(error)) => Answer::unknown(format!("the boot id can't be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use pitcrew_model::OutcomeKind;

    use super::*;

    #[test]
    fn only_another_boot_id_proves_a_reboot() {
        let now = || Ok("b".to_owned());
        let kind = |before, now| reconcile(before, now).kind;
        assert_eq!(kind(Some("a"), now()), OutcomeKind::Done);
        assert_eq!(kind(Some("b"), now()), OutcomeKind::Unknown);
        assert_eq!(kind(None, now()), OutcomeKind::Unknown);
        let unreadable = || Err(io::Error::other("no such file"));
        assert_eq!(kind(Some("a"), unreadable()), OutcomeKind::Unknown);
    }
}
