//! A systemd unit, by systemd's own word over D-Bus.
//!
//! Only systemd saying that a unit is not running is a failure. A bus that can't be reached, a systemd
//! that doesn't answer, a unit that doesn't exist or that a person masked say nothing about the target.
//! A unit that waits to be started again after a crash counts as failed: it serves nobody, and a crash
//! loop spends nearly all its time in that state.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use pitcrew_model::Runner;
use tokio::sync::Mutex;
use zbus::{Connection, Error, Message, OwnedObjectPath, OwnedVariant, connection::Builder};

use super::exit_status;
use crate::{Answer, Question, resolve};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

pub(crate) async fn ask(question: &Question<'_>, name: Option<&str>) -> Answer {
    match look(question, name).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn look(question: &Question<'_>, name: Option<&str>) -> Result<Answer, Answer> {
    let (name, bus) = match (name, question.runner) {
        (Some(name), Some(Runner::Unit { bus, .. })) => (name, bus.as_deref()),
        (None, Some(Runner::Unit { name, bus })) => (name.as_str(), bus.as_deref()),
        (Some(name), _) => {
            resolve::on_this_host(question).await?;
            (name, None)
        }
        (None, _) => {
            return Err(Answer::unknown(
                "the test names no unit, and no unit runs this target",
            ));
        }
    };
    let name =
        question.target.labels.fill(name).map_err(|label| {
            Answer::unknown(format!("`{name}`: the target has no label `{label}`"))
        })?;
    let name = if name.contains('.') {
        name
    } else {
        format!("{name}.service")
    };
    question
        .progress
        .waits_elsewhere("systemd does not answer on its bus");
    question.tools.buses.ask(bus, Asked::Unit(&name)).await
}

/// What systemd is asked.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Unit(&'a str),
    Failed,
}

impl Asked<'_> {
    async fn answer(self, connection: &Connection) -> Result<Answer, Error> {
        match self {
            Self::Unit(name) => judge(connection, name).await,
            Self::Failed => failed_units(connection).await,
        }
    }

    fn words(&self) -> &str {
        match self {
            Self::Unit(name) => name,
            Self::Failed => "the list of failed units",
        }
    }
}

/// One connection per bus address, made when it is first needed and again when it broke.
#[derive(Default)]
pub(crate) struct Buses(StdMutex<HashMap<Option<Box<str>>, Arc<Bus>>>);

type Bus = Mutex<Option<Connection>>;

impl Buses {
    /// A bus of a host that is gone is forgotten with all others when there are more than this.
    const COUNT_MAX: usize = 256;

    /// Of this host's systemd.
    pub(crate) async fn failed_units(&self) -> Answer {
        let asked = self.ask(None, Asked::Failed).await;
        asked.unwrap_or_else(|unknown| unknown)
    }

    async fn ask(&self, address: Option<&str>, asked: Asked<'_>) -> Result<Answer, Answer> {
        let bus = self.bus(address);
        let known = bus.lock().await.clone();
        if let Some(connection) = known {
            match asked.answer(&connection).await {
                Err(error) if is_broken(&error) => {}
                result => return result.map_err(|error| refused(asked.words(), &error)),
            }
        }
        // The bus was restarted, or never asked before.
        let connection = reconnect(&bus, address)
            .await
            .map_err(|error| unreachable_bus(address, &error))?;
        asked.answer(&connection).await.map_err(|error| {
            if is_broken(&error) {
                unreachable_bus(address, &error)
            } else {
                refused(asked.words(), &error)
            }
        })
    }

    fn bus(&self, address: Option<&str>) -> Arc<Bus> {
        let mut buses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buses.len() >= Self::COUNT_MAX {
            buses.clear();
        }
        Arc::clone(buses.entry(address.map(Into::into)).or_default())
    }
}

/// A new connection in the place of a broken one; whoever waited for the same takes it.
async fn reconnect(bus: &Bus, address: Option<&str>) -> Result<Connection, Error> {
    let mut place = bus.lock().await;
    if let Some(connection) = &*place
        && ping(connection).await
    {
        return Ok(connection.clone());
    }
    *place = None;
    let builder = match address {
        Some(address) => Builder::address(address),
        None => Builder::system(),
    };
    let connection = builder.build().await?;
    *place = Some(connection.clone());
    Ok(connection)
}

async fn ping(connection: &Connection) -> bool {
    let bus = "org.freedesktop.DBus";
    connection
        .call_method(
            Some(bus),
            "/org/freedesktop/DBus",
            Some("org.freedesktop.DBus.Peer"),
            "Ping",
            &(),
        )
        .await
        .is_ok()
}

/// Whether the connection is to blame, rather than what was asked over it.
fn is_broken(error: &Error) -> bool {
    !matches!(error, Error::MethodError(..) | Error::FDO(_))
}

fn unreachable_bus(address: Option<&str>, error: &Error) -> Answer {
    let which = address.map_or_else(String::new, |address| format!(" at {address}"));
    Answer::unknown(format!("systemd's bus{which} can't be reached: {error}"))
}

fn refused(name: &str, error: &Error) -> Answer {
    match error {
        Error::MethodError(_, Some(words), _) => Answer::unknown(format!("{name}: {words}")),
        error => Answer::unknown(format!("{name}: {error}")),
    }
}

/// Name, description, load, active and sub state, follower, path, and a job's id, kind and path.
type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// Names of failed units that are shown; the others are counted.
const FAILED_SHOWN_MAX: usize = 5;

async fn failed_units(connection: &Connection) -> Result<Answer, Error> {
    let reply = connection
        .call_method(
            Some(SYSTEMD),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.systemd1.Manager"),
            "ListUnitsFiltered",
            &vec!["failed"],
        )
        .await?;
    let units: Vec<ListedUnit> = reply.body().deserialize()?;
    if units.is_empty() {
        return Ok(Answer::pass("no unit has failed"));
    }
    let shown: Vec<&str> = units
        .iter()
        .map(|unit| &*unit.0)
        .take(FAILED_SHOWN_MAX)
        .collect();
    let more = match units.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(Answer::fail(format!("failed: {}{more}", shown.join(", "))))
}

async fn judge(connection: &Connection, name: &str) -> Result<Answer, Error> {
    let reply = connection
        .call_method(
            Some(SYSTEMD),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.systemd1.Manager"),
            "LoadUnit",
            &name,
        )
        .await?;
    let unit = Unit {
        connection,
        path: reply.body().deserialize()?,
    };
    let state = unit.text(UNIT, "ActiveState").await?;
    let sub_state = unit.text(UNIT, "SubState").await?;
    if state == "active" {
        return Ok(Answer::pass(format!("{name} active ({sub_state})")));
    }
    if state == "inactive" {
        match unit.text(UNIT, "LoadState").await?.as_str() {
            "not-found" => return Ok(Answer::unknown(format!("no unit {name} on this host"))),
            "masked" => return Ok(Answer::unknown(format!("{name} is masked"))),
            _ => {}
        }
    }
    let is_restarting = sub_state.starts_with("auto-restart");
    let why = match state.as_str() {
        "failed" => format!(": {}", unit.why(name).await?),
        _ if is_restarting => format!(" after {}", unit.why(name).await?),
        _ => String::new(),
    };
    let words = match state == sub_state {
        true => format!("{name} {state}{why}"),
        false => format!("{name} {state} ({sub_state}){why}"),
    };
    Ok(match state.as_str() {
        "failed" | "inactive" => Answer::fail(words),
        _ if is_restarting => Answer::fail(words),
        // activating, deactivating, reloading, maintenance: on its way somewhere.
        _ => Answer::warn(words),
    })
}

struct Unit<'a> {
    connection: &'a Connection,
    path: OwnedObjectPath,
}

impl Unit<'_> {
    /// `exit-code 203/EXEC`; for units that aren't services just the state of affairs they are in.
    async fn why(&self, name: &str) -> Result<String, Error> {
        if !name.ends_with(".service") {
            return Ok("see `systemctl status`".to_owned());
        }
        let result = self.text(SERVICE, "Result").await?;
        let code = number(&self.property(SERVICE, "ExecMainCode").await?)?;
        let status = number(&self.property(SERVICE, "ExecMainStatus").await?)?;
        Ok(match exit_status::words(code, status) {
            Some(words) => format!("{result} {words}"),
            None => result,
        })
    }

    async fn text(&self, interface: &str, property: &str) -> Result<String, Error> {
        let reply = self.property(interface, property).await?;
        let value: OwnedVariant = reply.body().deserialize()?;
        String::try_from(value)
    }

    async fn property(&self, interface: &str, property: &str) -> Result<Message, Error> {
        self.connection
            .call_method(
                Some(SYSTEMD),
                &self.path,
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &(interface, property),
            )
            .await
    }
}

fn number(reply: &Message) -> Result<i32, Error> {
    let value: OwnedVariant = reply.body().deserialize()?;
    i32::try_from(value)
}
