//! `runs_as`: what starts and stops a target that Pitcrew does not run itself.

use std::time::Duration;

use pitcrew_model::Runner;

use super::labels::{Placeholders, check_placeholders, command};
use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::{Entry, Value},
    values,
};

pub(crate) const RUNS_AS: Shape = Shape::new(
    "runner",
    "What starts and stops the targets. Every text may hold `{label}`, which is replaced by that label of the target.",
    &[
        optional("unit", Kind::Either(&[Kind::Text, Kind::Shape(&UNIT)]), "A systemd unit: its name, or a mapping."),
        optional("container", Kind::Either(&[Kind::Text, Kind::Shape(&CONTAINER)]), "A container of a Docker-compatible engine: its name, or a mapping."),
        optional("listener", Kind::Shape(&LISTENER), "Whatever process listens on a port of this host: stopped by signal, started by a command."),
        optional("command", Kind::Shape(&COMMANDS), "Commands of your own."),
    ],
)
.with_exactly_one(&["unit", "container", "listener", "command"])
.refusing(&[
    ("supervised", "what Pitcrew keeps running itself stands under `run`"),
    ("kubernetes", "there is no such runner in this version; possible: `unit`, `container`, `listener`, `command`"),
]);

const UNIT: Shape = Shape::new(
    "unit",
    "A systemd unit on this host.",
    &[
        required("name", Kind::Text, "Its name, such as `nginx.service`."),
        optional(
            "bus",
            Kind::Text,
            "Address of the D-Bus to ask, instead of the system's: `unix:path=…`.",
        ),
    ],
);

const CONTAINER: Shape = Shape::new(
    "container",
    "A container of a Docker-compatible engine.",
    &[
        required("name", Kind::Text, "Its name or id."),
        optional(
            "socket",
            Kind::Text,
            "The engine's Unix socket, instead of its usual one.",
        ),
    ],
);

const LISTENER: Shape = Shape::new(
    "listener",
    "A process that is known by the port it listens on and the program it runs.",
    &[
        required("port", values::PORT, "The TCP port it listens on."),
        required(
            "exe",
            Kind::Text,
            "Path or file name of its program, checked before it is stopped.",
        ),
        required(
            "command",
            values::TEXTS,
            "How it is started again: program and arguments, no shell.",
        ),
        optional("user", Kind::Text, "User to run it as."),
        optional("directory", values::PATH, "Its working directory."),
        defaulted(
            "grace",
            values::DURATION,
            "10s",
            "Time between the signal to end and the one to kill.",
        ),
    ],
);

const COMMANDS: Shape = Shape::new(
    "command runner",
    "Commands that start, stop and restart a target; program and arguments, no shell. Without `restart`, `stop` and `start` are run in turn.",
    &[
        optional("start", values::TEXTS, "Starts the target."),
        optional("stop", values::TEXTS, "Stops the target."),
        optional("restart", values::TEXTS, "Restarts the target."),
    ],
);

pub(crate) fn runs_as(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Runner> {
    let fields = fields.inner(reader, "runs_as")?;
    let entry = fields.only()?;
    match &*entry.key {
        "unit" => {
            let (name, bus) = named(reader, entry, &UNIT, "bus")?;
            Some(Runner::Unit { name, bus })
        }
        "container" => {
            let (name, socket) = named(reader, entry, &CONTAINER, "socket")?;
            Some(Runner::Container { name, socket })
        }
        "listener" => listener(reader, &fields),
        _ => commands(reader, &fields),
    }
}

/// A name, or a mapping with a name and one thing more.
fn named(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    shape: &'static Shape,
    other: &str,
) -> Option<(String, Option<String>)> {
    if let Value::Scalar { .. } = entry.node.value {
        let text = reader.parsed(&entry.key, &entry.node, &Kind::Text, values::not_empty)?;
        check_placeholders(
            reader,
            &entry.key,
            entry.node.at,
            &text,
            Placeholders::Labels,
        );
        return Some((text, None));
    }
    let fields = reader.fields(&entry.node, shape)?;
    let name = template(reader, &fields, "name");
    let other = template(reader, &fields, other);
    Some((name?, other))
}

fn template(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = fields.value(reader, name, values::not_empty)?;
    check_placeholders(
        reader,
        name,
        fields.place_of(name),
        &text,
        Placeholders::Labels,
    );
    Some(text)
}

fn listener(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Runner> {
    let fields = fields.inner(reader, "listener")?;
    let port = fields.whole(reader, "port");
    let exe = template(reader, &fields, "exe");
    let exe = exe.map(|exe| path_of(reader, &fields, "exe", exe));
    let command = command(reader, &fields, "command", Placeholders::Labels);
    let user = template(reader, &fields, "user");
    let directory = template(reader, &fields, "directory");
    let directory = directory.map(|directory| path_of(reader, &fields, "directory", directory));
    let grace: Duration = fields.or_default(reader, "grace", values::duration);
    Some(Runner::Listener {
        port: port?,
        exe: exe?,
        command: command?,
        user,
        directory,
        grace,
    })
}

/// A template of a path: unless its beginning is a label's, a relative one begins at the file's directory.
/// A mere file name of a program is no path.
fn path_of(reader: &Reader<'_>, fields: &Fields<'_>, name: &str, text: String) -> String {
    if text.starts_with('{') || (name == "exe" && !text.contains('/')) {
        return text;
    }
    let path = reader.path(fields.place_of(name), &text);
    path.display().to_string()
}

fn commands(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Runner> {
    let fields = fields.inner(reader, "command")?;
    let start = command(reader, &fields, "start", Placeholders::Labels);
    let stop = command(reader, &fields, "stop", Placeholders::Labels);
    let restart = command(reader, &fields, "restart", Placeholders::Labels);
    if !["start", "stop", "restart"]
        .iter()
        .any(|name| fields.has(name))
    {
        reader.error(
            fields.at,
            "a command runner needs one of `start`, `stop`, `restart`",
        );
        return None;
    }
    Some(Runner::Command {
        start,
        stop,
        restart,
    })
}

/// Why this runner can't carry out an action of that name.
pub(crate) fn why_not(runner: &Runner, action: &pitcrew_model::Action) -> Option<&'static str> {
    use pitcrew_model::Action;
    let Runner::Command {
        start,
        stop,
        restart,
    } = runner
    else {
        return None;
    };
    match action {
        Action::Restart if restart.is_none() && (start.is_none() || stop.is_none()) => {
            Some("its `command` runner has neither `restart` nor both `stop` and `start`")
        }
        Action::Start if start.is_none() => Some("its `command` runner has no `start`"),
        Action::Stop if stop.is_none() => Some("its `command` runner has no `stop`"),
        _ => None,
    }
}
