//! systemd units, over D-Bus.
//!
//! A job is enqueued and its end awaited: the signal that says so is subscribed to before the call, or a
//! quick job's would be missed. A unit's own time-outs are its owner's word and are waited for; Pitcrew kills
//! nothing of systemd's. Before a restart or a stop its processes are continued (SIGCONT), so that a hung
//! service can run its own stop commands instead of waiting them out. A unit that failed too often is reset
//! first, since an order is exactly the hand that systemd waits for.

use std::{collections::HashMap, time::Duration};

use futures_util::StreamExt as _;
use zbus::{
    Connection, Error, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant,
    connection::Builder,
};

use crate::{Answer, Given, process, supervise::Verb};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const ROOT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// systemd answers in milliseconds; one that doesn't is not going to.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A job is awaited as long as the unit may take by its own settings, but no longer than this.
const JOB_WAIT_MAX: Duration = Duration::from_secs(300);

/// Longest time of an operation.
pub(crate) const LIMIT: Duration = Duration::from_secs(360);

/// What systemd says of a unit.
struct Unit {
    name: String,
    load: String,
    active: String,
    sub: String,
    /// A job is queued or runs.
    has_job: bool,
    /// Of services: why it last ended, `success`, `exit-code`, `signal`, …
    result: Option<String>,
    /// Microseconds of the monotonic clock, which nobody can set; 0: never. `None`: systemd did not say.
    active_since_us: Option<u64>,
    start_timeout: Duration,
    stop_timeout: Duration,
}

pub(crate) async fn carry_out(name: &str, bus: Option<&str>, verb: Verb) -> Answer {
    let name = full_name(name);
    let (bus, unit) = match look(&name, bus).await {
        Ok(found) => found,
        Err(why) => return Answer::failed(why),
    };
    if let Some(why) = unit.unfit(verb) {
        return Answer::failed(why);
    }
    match bus.act(&unit, verb).await {
        Ok(answer) | Err(answer) => answer,
    }
}

/// By the time since when the unit is active.
pub(crate) async fn reconcile(name: &str, bus: Option<&str>, verb: Verb, given: Given) -> Answer {
    let unit = match look(&full_name(name), bus).await {
        Ok((_, unit)) => unit,
        Err(why) => return Answer::unknown(why),
    };
    if unit.has_job {
        return Answer::unknown(format!("{}; a job is under way", unit.describe()));
    }
    let since = unit.active_since_us.map(process::wall_of_monotonic);
    let is_new = since.and_then(|since| given.is_before(since));
    match (verb, unit.active.as_str()) {
        (Verb::Start, "active") => Answer::done(unit.describe()),
        (Verb::Restart, "active") if is_new == Some(true) => Answer::done(unit.describe()),
        (Verb::Restart, "active") if is_new.is_none() => Answer::unknown(unit.describe()),
        // systemd takes a unit down as soon as it has the job: it has had none.
        (Verb::Restart | Verb::Stop, "active") => {
            Answer::failed(format!("{} since before the order", unit.describe()))
        }
        (Verb::Stop, "inactive" | "failed") => Answer::done(unit.describe()),
        _ => Answer::unknown(unit.describe()),
    }
}

fn full_name(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

async fn look(name: &str, address: Option<&str>) -> Result<(Bus, Unit), String> {
    let bus = Bus::connect(address).await.map_err(|error| {
        let which = address.map_or_else(String::new, |address| format!(" at {address}"));
        format!("systemd's bus{which} can't be reached: {error}")
    })?;
    let unit = bus.unit(name).await;
    let unit = unit.map_err(|error| format!("{name}: {}", words(&error)))?;
    Ok((bus, unit))
}

impl Unit {
    /// Why nothing can be done with it.
    fn unfit(&self, verb: Verb) -> Option<String> {
        match (self.load.as_str(), verb) {
            ("loaded", _) | (_, Verb::Stop) => None,
            ("not-found", _) => Some(format!("there is no unit {}", self.name)),
            ("masked", _) => Some(format!("{} is masked, by a person's hand", self.name)),
            (load, _) => Some(format!("{} can't be used: {load}", self.name)),
        }
    }

    fn describe(&self) -> String {
        let failed = self.result.as_deref().filter(|result| *result != "success");
        let result = failed.map_or_else(String::new, |result| format!(", result {result}"));
        format!("{} is {} ({}){result}", self.name, self.active, self.sub)
    }

    fn job_wait(&self) -> Duration {
        (self.start_timeout.saturating_add(self.stop_timeout))
            .saturating_add(CALL_TIMEOUT)
            .min(JOB_WAIT_MAX)
    }
}

struct Bus(Connection);

impl Bus {
    async fn connect(address: Option<&str>) -> Result<Self, Error> {
        let builder = match address {
            Some(address) => Builder::address(address),
            None => Builder::system(),
        };
        let connecting = builder.method_timeout(CALL_TIMEOUT).build();
        match tokio::time::timeout(CALL_TIMEOUT, connecting).await {
            Ok(connection) => Ok(Self(connection?)),
            Err(_) => Err(Error::Failure("no answer".to_owned())),
        }
    }

    async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, Error>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let to = Some(SYSTEMD);
        self.0
            .call_method(to, path, Some(interface), method, body)
            .await
    }

    async fn unit(&self, name: &str) -> Result<Unit, Error> {
        let reply = self.call(ROOT, MANAGER, "LoadUnit", &name).await?;
        let path: OwnedObjectPath = reply.body().deserialize()?;
        let unit = self.properties(&path, UNIT).await?;
        let is_service = name.ends_with(".service");
        let service = if is_service {
            self.properties(&path, SERVICE).await?
        } else {
            HashMap::new()
        };
        let job: Option<(u32, OwnedObjectPath)> = take(&unit, "Job");
        let timeout = |property| {
            take(&service, property).map_or(Duration::from_secs(90), Duration::from_micros)
        };
        Ok(Unit {
            name: name.to_owned(),
            load: take(&unit, "LoadState").unwrap_or_default(),
            active: take(&unit, "ActiveState").unwrap_or_default(),
            sub: take(&unit, "SubState").unwrap_or_default(),
            has_job: job.is_some_and(|(id, _)| id != 0),
            result: take(&service, "Result"),
            active_since_us: take(&unit, "ActiveEnterTimestampMonotonic"),
            start_timeout: timeout("TimeoutStartUSec"),
            stop_timeout: timeout("TimeoutStopUSec"),
        })
    }

    async fn properties(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, Error> {
        let of = "org.freedesktop.DBus.Properties";
        let reply = self.call(path.as_str(), of, "GetAll", &interface).await?;
        reply.body().deserialize()
    }

    /// `Err` is an answer too: what went wrong decides whether it may have taken effect.
    async fn act(&self, unit: &Unit, verb: Verb) -> Result<Answer, Answer> {
        let not_asked = |error: Error| Answer::failed(format!("{}: {}", unit.name, words(&error)));
        let mut ended = self.job_ends().await.map_err(not_asked)?;
        self.call(ROOT, MANAGER, "Subscribe", &())
            .await
            .map_err(not_asked)?;
        if unit.active == "failed" && verb != Verb::Stop {
            let name = unit.name.as_str();
            let reset = self.call(ROOT, MANAGER, "ResetFailedUnit", &name).await;
            reset.map_err(not_asked)?;
        }
        let is_down = matches!(unit.active.as_str(), "inactive" | "failed");
        if !is_down && verb != Verb::Start {
            let continued = (unit.name.as_str(), "all", 18_i32);
            // A unit without processes can't be signalled, which is nothing to stop for.
            if let Err(error) = self.call(ROOT, MANAGER, "KillUnit", &continued).await {
                tracing::debug!(unit = unit.name, "not continued: {error}");
            }
        }
        let method = match verb {
            Verb::Start => "StartUnit",
            Verb::Stop => "StopUnit",
            Verb::Restart => "RestartUnit",
        };
        let asked = (unit.name.as_str(), "replace");
        let reply = self.call(ROOT, MANAGER, method, &asked).await;
        let reply = reply.map_err(|error| match error {
            // systemd's own refusal, before it began anything.
            Error::MethodError(..) | Error::FDO(_) => not_asked(error),
            error => Answer::unknown(format!("{}: no answer: {error}", unit.name)),
        })?;
        let job: OwnedObjectPath = reply
            .body()
            .deserialize()
            .map_err(|error| Answer::unknown(format!("{}: {error}", unit.name)))?;
        let result = tokio::time::timeout(unit.job_wait(), job_result(&mut ended, &job)).await;
        Ok(self.conclude(unit, verb, result.ok().flatten()).await)
    }

    /// `result`: systemd's word on the job, `None` when there was none in time.
    async fn conclude(&self, before: &Unit, verb: Verb, result: Option<String>) -> Answer {
        let now = match self.unit(&before.name).await {
            Ok(unit) => unit.describe(),
            Err(error) => format!("{}: {}", before.name, words(&error)),
        };
        match result.as_deref() {
            Some("done") => Answer::done(now),
            // It ran and the unit did not come up (or go down) well: that is for the tests to see.
            Some("failed") => Answer::done(format!("{now}: the job failed")),
            // Refused before it began; a restart has its stop behind it by then.
            Some(why @ ("dependency" | "skipped" | "assert" | "unsupported"))
                if verb == Verb::Start || before.active != "active" =>
            {
                Answer::failed(format!("{now}: the job ended with `{why}`"))
            }
            Some(why) => Answer::unknown(format!("{now}: the job ended with `{why}`")),
            None => Answer::unknown(format!("{now}: the job has not ended in time")),
        }
    }

    async fn job_ends(&self) -> Result<MessageStream, Error> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SYSTEMD)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        MessageStream::for_match_rule(rule, &self.0, None).await
    }
}

async fn job_result(ended: &mut MessageStream, job: &OwnedObjectPath) -> Option<String> {
    while let Some(message) = ended.next().await {
        let message = message.ok()?;
        let body = message.body();
        let read: Result<(u32, OwnedObjectPath, String, String), Error> = body.deserialize();
        match read {
            Ok((_, path, _, result)) if path == *job => return Some(result),
            Ok(_) => {}
            Err(error) => tracing::warn!("systemd's JobRemoved can't be read: {error}"),
        }
    }
    None
}

fn take<T: TryFrom<OwnedVariant>>(
    properties: &HashMap<String, OwnedVariant>,
    name: &str,
) -> Option<T> {
    T::try_from(properties.get(name)?.try_clone().ok()?).ok()
}

fn words(error: &Error) -> String {
    match error {
        Error::MethodError(_, Some(words), _) => words.clone(),
        error => error.to_string(),
    }
}
