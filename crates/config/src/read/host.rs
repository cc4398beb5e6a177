//! The configuration of one host, for its agent: what runs there, and what may be done to it whatever a server
//! orders.

use pitcrew_model::{
    Address, HostCommand, HostLimits, HostSettings, HostThing, Rate, Runner, TargetId,
};

use super::{
    labels::{Placeholders, command, labels},
    run,
};
use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::Node,
    values,
};

pub(crate) const HOST: Shape = Shape::new(
    "host configuration",
    "What runs on this host and what its agent may do, whatever a server orders.",
    &[
        optional(
            "address",
            values::ADDRESS,
            "Where others reach this host, without a port: tests of processes under `run` connect there.",
        ),
        optional(
            "labels",
            values::LABELS,
            "Labels of the host and of everything on it; `host` is its name.",
        ),
        optional(
            "units",
            Kind::List(&Kind::Shape(&UNIT)),
            "Systemd units that are targets.",
        ),
        optional(
            "containers",
            Kind::List(&Kind::Shape(&CONTAINER)),
            "Containers that are targets.",
        ),
        optional(
            "run",
            Kind::List(&Kind::Shape(&run::RUN)),
            "What the agent itself keeps running on this host.",
        ),
        optional(
            "commands",
            Kind::List(&Kind::Shape(&COMMAND)),
            "What a server may order by name, such as draining: it never sends a command of its own.",
        ),
        optional(
            "plugins",
            values::TEXTS,
            "Programs that a `nagios` test may run here, written as the test writes them.",
        ),
        optional("limits", Kind::Shape(&LIMITS), "What no server can exceed."),
        optional(
            "reboot_bus",
            Kind::Text,
            "Address of the D-Bus on which systemd is asked to reboot, instead of the system's: `unix:path=…`.",
        ),
    ],
);

const NAME_DOC: &str = "Its name; the target is NAME@HOST. Default: as it is called here.";
const ADDRESS_DOC: &str = "Where tests over the network connect.";

const UNIT: Shape = Shape::new(
    "unit of a host",
    "A systemd unit that is a target.",
    &[
        required("unit", Kind::Text, "The unit, such as `nginx.service`."),
        optional("name", values::NAME, NAME_DOC),
        optional("address", values::ADDRESS, ADDRESS_DOC),
        optional("labels", values::LABELS, "Labels of this target."),
        optional(
            "bus",
            Kind::Text,
            "Address of the D-Bus to ask, instead of the system's: `unix:path=…`.",
        ),
    ],
);

const CONTAINER: Shape = Shape::new(
    "container of a host",
    "A container that is a target.",
    &[
        required("container", Kind::Text, "Its name or id."),
        optional("name", values::NAME, NAME_DOC),
        optional("address", values::ADDRESS, ADDRESS_DOC),
        optional("labels", values::LABELS, "Labels of this target."),
        optional(
            "socket",
            Kind::Text,
            "The engine's Unix socket, instead of its usual one.",
        ),
    ],
);

const COMMAND: Shape = Shape::new(
    "command of a host",
    "A command that a server may order by its name.",
    &[
        required(
            "name",
            values::NAME,
            "As the step of a repair calls it: `command: { name: … }`.",
        ),
        required(
            "command",
            values::TEXTS,
            "Program and arguments, no shell; `{target}`, `{address}` and `{label}` are replaced.",
        ),
        defaulted(
            "timeout",
            values::DURATION,
            "30s",
            "Then it is killed; as a drain or undrain after 30s at the latest.",
        ),
    ],
);

const LIMITS: Shape = Shape::new(
    "limits of a host",
    "What no server can exceed.",
    &[
        defaulted(
            "disruptive",
            values::RATE,
            "6/h",
            "Disruptive orders on everything of this host, in any window of that length.",
        ),
        defaulted(
            "reboots",
            values::RATE,
            "2/d",
            "Of those, reboots of the host itself; `0/d` for none.",
        ),
    ],
);

pub(crate) fn host(reader: &mut Reader<'_>, root: &Node<'_>) -> HostSettings {
    let Some(fields) = reader.fields(root, &HOST) else {
        return HostSettings::default();
    };
    let mut things = Vec::new();
    for node in fields.list(reader, "units") {
        let fields = reader.fields(node, &UNIT);
        things.extend(fields.and_then(|fields| unit(reader, &fields)));
    }
    for node in fields.list(reader, "containers") {
        let fields = reader.fields(node, &CONTAINER);
        things.extend(fields.and_then(|fields| container(reader, &fields)));
    }
    let mut runs = Vec::new();
    for node in fields.list(reader, "run") {
        runs.extend(run::run(reader, node));
    }
    let instances = runs.iter().flat_map(run::ReadRun::ids);
    let names = things.iter().map(|thing| thing.name.clone());
    let names: Vec<String> = names.chain(instances).collect();
    reader.unique("targets", names.iter().map(|name| (&**name, fields.at)));
    let mut commands = Vec::new();
    for node in fields.list(reader, "commands") {
        let fields = reader.fields(node, &COMMAND);
        commands.extend(fields.and_then(|fields| named_command(reader, &fields)));
    }
    let limits = fields.inner(reader, "limits");
    HostSettings {
        address: fields.value(reader, "address", address_without_port),
        labels: labels(reader, &fields, "labels"),
        things,
        runs: runs.into_iter().map(|read| read.run).collect(),
        commands,
        plugins: fields.texts(reader, "plugins"),
        limits: limits.map_or_else(HostLimits::default, |fields| HostLimits {
            disruptive: fields.or_default(reader, "disruptive", a_rate),
            reboots: fields.or_default(reader, "reboots", a_rate_or_none),
        }),
        reboot_bus: fields.value(reader, "reboot_bus", values::not_empty),
    }
}

fn a_rate(text: &str) -> Result<Rate, String> {
    values::rate(text)
}

/// `0/d`: never.
fn a_rate_or_none(text: &str) -> Result<Rate, String> {
    match text.split_once('/') {
        Some(("0", per)) => Ok(Rate {
            count: 0,
            ..a_rate(&format!("1/{per}"))?
        }),
        _ => a_rate(text),
    }
}

fn address_without_port(text: &str) -> Result<String, String> {
    let address = Address(values::target(text)?.into());
    match address.port() {
        Some(_) => Err(format!("`{text}` has a port: write the host alone")),
        None => Ok(address.host().to_owned()),
    }
}

fn unit(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<HostThing> {
    let unit = fields.value(reader, "unit", values::not_empty)?;
    let bus = fields.value(reader, "bus", values::not_empty);
    let runner = Runner::Unit {
        name: unit.clone(),
        bus,
    };
    thing(reader, fields, "unit", unit, runner)
}

fn container(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<HostThing> {
    let container = fields.value(reader, "container", values::not_empty)?;
    let socket = fields.value(reader, "socket", values::not_empty);
    let runner = Runner::Container {
        name: container.clone(),
        socket,
    };
    thing(reader, fields, "container", container, runner)
}

fn thing(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    key: &str,
    called: String,
    runner: Runner,
) -> Option<HostThing> {
    let name = match fields.value(reader, "name", values::name::<TargetId>) {
        Some(name) => name.to_string(),
        None => called,
    };
    if let Err(error) = TargetId::new(&name) {
        reader.error(fields.place_of(key), error.to_string());
        return None;
    }
    Some(HostThing {
        name,
        runner,
        address: fields
            .value(reader, "address", values::target)
            .map(|text| Address(text.into())),
        labels: labels(reader, fields, "labels"),
    })
}

fn named_command(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<HostCommand> {
    let name = fields.value(reader, "name", values::name::<TargetId>)?;
    Some(HostCommand {
        name: name.to_string(),
        command: command(reader, fields, "command", Placeholders::Command)?,
        timeout: fields.or_default(reader, "timeout", values::some_duration),
    })
}
