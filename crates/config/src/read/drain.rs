//! How a service's targets are taken out of use and given back.
//!
//! Said once for the service, so that a ladder's `drain: {}`, its renewals, the undrain and a person's order all mean the
//! same hook.

use std::time::Duration;

use pitcrew_model::{Drain, DrainBy, format_duration};

use super::labels::{Placeholders, command_of};
use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::{Node, Value},
    values,
};

pub(crate) const DRAIN: Shape = Shape::new(
    "drain",
    "How targets are taken out of use and given back. Whoever does it must be idempotent: it is told again at each renewal of the lease.",
    &[
        optional(
            "webhook",
            Kind::Shape(&WEBHOOK),
            "`POST` of the order as JSON: its `action` says `drain` or `undrain`, its `lease` until when.",
        ),
        optional("command", Kind::Shape(&COMMAND), "Commands of your own."),
        defaulted(
            "lease",
            values::DURATION,
            "10m",
            "How long a target stays out of use without another word. Renewed while its repair goes on.",
        ),
    ],
)
.with_exactly_one(&["webhook", "command"]);

const WEBHOOK: Shape = Shape::new(
    "drain webhook",
    "`POST` of the order as JSON.",
    &[
        required("url", values::WEB_ADDRESS, "Where to."),
        defaulted(
            "timeout",
            values::DURATION,
            "5s",
            "When it is given up: it may have taken effect.",
        ),
    ],
);

const NAME_OR_COMMAND: Kind = Kind::Either(&[values::NAME, values::TEXTS]);

const COMMAND: Shape = Shape::new(
    "drain command",
    "Two commands: by name what the target's own host has under `commands`, or argument vectors that run beside the server, in which `{target}`, `{address}`, `{label}`, `{lease_seconds}` and `{until}` are replaced.",
    &[
        required("drain", NAME_OR_COMMAND, "Takes the target out of use."),
        required("undrain", NAME_OR_COMMAND, "Gives it back."),
        optional(
            "timeout",
            values::DURATION,
            "When it is given up: it may have taken effect. Default: 5s. Of a host's own command that host's configuration says it.",
        ),
    ],
);

const TIMEOUT: Duration = Duration::from_secs(5);

/// What steps may rely on.
pub(crate) enum ReadDrain {
    Absent,
    /// It is there and wrong, which has been said.
    Wrong,
    Read(Drain),
}

impl ReadDrain {
    pub(crate) fn into_drain(self) -> Option<Drain> {
        match self {
            Self::Read(drain) => Some(drain),
            Self::Absent | Self::Wrong => None,
        }
    }
}

pub(crate) fn drain(reader: &mut Reader<'_>, fields: &Fields<'_>) -> ReadDrain {
    if !fields.has("drain") {
        return ReadDrain::Absent;
    }
    let errors = reader.error_count();
    let read = fields.inner(reader, "drain").and_then(|fields| {
        let lease = lease(reader, &fields);
        let key = &fields.only()?.key;
        let inner = fields.inner(reader, key)?;
        let by = match &**key {
            "webhook" => webhook(reader, &inner),
            _ => commands(reader, &inner),
        };
        Some(Drain { by: by?, lease })
    });
    match read {
        Some(drain) if reader.error_count() == errors => ReadDrain::Read(drain),
        Some(_) | None => ReadDrain::Wrong,
    }
}

fn lease(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Duration {
    let lease = fields.or_default(reader, "lease", values::some_duration);
    let (min, max) = (Drain::LEASE_MIN, Drain::LEASE_MAX);
    if !(min..=max).contains(&lease) {
        reader.error(
            fields.place_of("lease"),
            format!(
                "`lease` is from {} to {}",
                format_duration(min),
                format_duration(max)
            ),
        );
    }
    lease
}

fn check_timeout(reader: &mut Reader<'_>, fields: &Fields<'_>, timeout: Duration) {
    if timeout > Drain::TIMEOUT_MAX {
        let max = format_duration(Drain::TIMEOUT_MAX);
        let message = format!("a drain that takes longer than {max} holds everything up");
        reader.error_with_help(
            fields.place_of("timeout"),
            message,
            "let it begin the drain and return; `settle` of the step is the time that connections have to end",
        );
    }
}

fn webhook(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<DrainBy> {
    let url = fields.value(reader, "url", values::web_address);
    let timeout = fields.or_default(reader, "timeout", values::some_duration);
    check_timeout(reader, fields, timeout);
    Some(DrainBy::Webhook { url: url?, timeout })
}

enum NameOrCommand {
    Name(String),
    Command(Vec<String>),
}

fn commands(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<DrainBy> {
    let timeout = fields.value(reader, "timeout", values::some_duration);
    check_timeout(reader, fields, timeout.unwrap_or_default());
    let drain = name_or_command(reader, "drain", fields.get("drain")?);
    let undrain = name_or_command(reader, "undrain", fields.get("undrain")?);
    match (drain?, undrain?) {
        (NameOrCommand::Name(drain), NameOrCommand::Name(undrain)) => {
            if timeout.is_some() {
                reader.error(
                    fields.place_of("timeout"),
                    "the host's own configuration says how long its commands may take",
                );
            }
            Some(DrainBy::HostCommand { drain, undrain })
        }
        (NameOrCommand::Command(drain), NameOrCommand::Command(undrain)) => {
            Some(DrainBy::Command {
                drain,
                undrain,
                timeout: timeout.unwrap_or(TIMEOUT),
            })
        }
        _ => {
            reader.error(
                fields.place_of("undrain"),
                "`drain` and `undrain` are both names, done by the target's host, or both commands, done beside the server",
            );
            None
        }
    }
}

fn name_or_command(reader: &mut Reader<'_>, what: &str, node: &Node<'_>) -> Option<NameOrCommand> {
    if let Value::Scalar { .. } = &node.value {
        let name = reader.parsed(what, node, &values::NAME, values::not_empty);
        return name.map(NameOrCommand::Name);
    }
    let command = command_of(reader, what, node, Placeholders::Command);
    command.map(NameOrCommand::Command)
}
