//! `run`: what Pitcrew itself keeps running on this host.

use std::path::PathBuf;

use pitcrew_model::{Labels, LogPolicy, Ports, Run, StopPolicy, TargetId};

use super::labels::{Placeholders, check_placeholders, command, labels};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::Node,
    values,
};

const SIGNALS: [&str; 9] = [
    "TERM", "ABRT", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL",
];

pub(crate) const RUN: Shape = Shape::new(
    "run",
    "Processes that Pitcrew keeps running on this host, named NAME-1, NAME-2, ….",
    &[
        required("name", values::NAME, "Their name; each is a target NAME-N."),
        defaulted(
            "instances",
            Kind::Whole {
                min: 1,
                max: 65_535,
            },
            "1",
            "How many.",
        ),
        required(
            "command",
            values::TEXTS,
            "Program and arguments, no shell; `{port}`, `{instance}` and `{zone}` are replaced.",
        ),
        optional("ports", Kind::Shape(&PORTS), "A port for each."),
        optional(
            "zones",
            values::TEXTS,
            "Zones they are spread over in turn.",
        ),
        optional(
            "labels",
            values::LABELS,
            "Labels of each, beside `instance` and `zone`; may hold `{port}`, `{instance}` and `{zone}`.",
        ),
        optional(
            "env",
            Kind::Map(&Kind::Text),
            "Variables of their environment; values may hold `{port}`, `{instance}` and `{zone}`.",
        ),
        optional(
            "directory",
            values::PATH,
            "Their working directory. Default: the configuration's.",
        ),
        optional("user", Kind::Text, "User to run them as."),
        optional("stop", Kind::Shape(&STOP), "How they are stopped."),
        optional(
            "log",
            Kind::Shape(&LOG),
            "How much of their output is kept.",
        ),
    ],
);

const PORTS: Shape = Shape::new(
    "range of ports",
    "Instance N listens on `from` + N - 1.",
    &[required("from", values::PORT, "Port of the first.")],
);

const STOP: Shape = Shape::new(
    "stop rule",
    "How a process is stopped.",
    &[
        defaulted(
            "signal",
            Kind::OneOf(&SIGNALS),
            "TERM",
            "Signal that asks it to end.",
        ),
        defaulted("grace", values::DURATION, "10s", "Then it is killed."),
    ],
);

const LOG: Shape = Shape::new(
    "log rule",
    "Output of each process: one current file and some older ones.",
    &[
        defaulted("max_size", values::SIZE, "10MiB", "Size of a file."),
        defaulted(
            "keep",
            Kind::Whole { min: 0, max: 255 },
            "3",
            "Older files that are kept.",
        ),
    ],
);

pub(crate) struct ReadRun {
    pub(crate) run: Run,
    pub(crate) name_at: Span,
    pub(crate) ports_at: Span,
}

impl ReadRun {
    /// Labels of instance `number`, from 1, as the process's target will have them: those of the run, and
    /// `instance` and `zone` where it gives no others.
    pub(crate) fn labels_of(&self, number: u16) -> Labels {
        let zones = &self.run.zones;
        let port = self
            .run
            .ports
            .map(|ports| ports.from.saturating_add(number - 1));
        let mut own = vec![("instance".to_owned(), number.to_string())];
        if !zones.is_empty() {
            let zone = &zones[usize::from(number - 1) % zones.len()];
            own.push(("zone".to_owned(), zone.clone()));
        }
        let port = port.map(|port| ("port".to_owned(), port.to_string()));
        let known = own.iter().cloned().chain(port);
        let known = Labels::new(known).expect("three label names that differ");
        let mut labels: Vec<(String, String)> = Vec::new();
        for (name, value) in self.run.labels.iter() {
            let value = known.fill(value).unwrap_or_else(|_| value.to_string());
            labels.push((name.to_string(), value));
        }
        own.retain(|(name, _)| self.run.labels.get(name).is_none());
        labels.extend(own);
        Labels::new(labels).expect("label names that differ")
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        (1..=self.run.instances).map(|number| format!("{}-{number}", self.run.name))
    }

    fn last_port(&self) -> Option<u32> {
        let ports = self.run.ports?;
        Some(u32::from(ports.from) + u32::from(self.run.instances) - 1)
    }

    pub(crate) fn port_range(&self) -> Option<(u32, u32)> {
        Some((u32::from(self.run.ports?.from), self.last_port()?))
    }
}

pub(crate) fn run(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ReadRun> {
    let fields = reader.fields(node, &RUN)?;
    let name = fields.value(reader, "name", name);
    let instances = fields.whole_or_default(reader, "instances");
    let ports = fields.inner(reader, "ports");
    let ports = ports.and_then(|fields| fields.whole(reader, "from"));
    let zones = zones(reader, &fields);
    let placeholders = Placeholders::Instance {
        has_ports: fields.has("ports"),
        has_zones: !zones.is_empty(),
    };
    let command = command(reader, &fields, "command", placeholders);
    let labels = instance_labels(reader, &fields, placeholders);
    let environment = environment(reader, &fields, placeholders);
    let directory = directory(reader, &fields);
    let user = fields.value(reader, "user", values::not_empty);
    let stop = stop(reader, &fields);
    let log = log(reader, &fields);
    let read = ReadRun {
        run: Run {
            name: name?,
            instances,
            command: command?,
            ports: ports.map(|from| Ports { from }),
            zones,
            labels,
            environment,
            directory,
            user,
            stop,
            log,
        },
        name_at: fields.place_of("name"),
        ports_at: fields.place_of("ports"),
    };
    if let Some(last) = read.last_port().filter(|last| *last > 65_535) {
        reader.error(
            read.ports_at,
            format!("the last of {instances} instances would listen on port {last}: 65535 is the last possible"),
        );
    }
    Some(read)
}

/// The name is a part of target names and of file names.
fn name(text: &str) -> Result<String, String> {
    TargetId::new(format!("{text}-65535")).map_err(|error| error.to_string())?;
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.starts_with('.') || !text.chars().all(is_fine) {
        return Err(format!(
            "`{text}` can't be the name of a run: letters, digits, `-`, `_` and `.` are possible"
        ));
    }
    Ok(text.to_owned())
}

fn zones(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut zones: Vec<String> = Vec::new();
    for item in fields.list(reader, "zones") {
        match reader.parsed("zones", item, &Kind::Text, values::not_empty) {
            Some(zone) if zones.contains(&zone) => {
                reader.error(item.at, format!("zone `{zone}` is given twice"));
            }
            zone => zones.extend(zone),
        }
    }
    zones
}

/// Without zones, a label that is `{zone}` has no value and is left out.
fn instance_labels(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    placeholders: Placeholders,
) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let given = labels(reader, fields, "labels");
    for entry in fields.map(reader, "labels") {
        let Some(value) = given.get(&entry.key) else {
            continue;
        };
        if **value == *"{zone}" && !fields.has("zones") {
            reader.warn(
                entry.node.at,
                format!("label `{}` is left out: this run has no zones", entry.key),
                "write `zones: [a, b]`, or remove the label",
            );
            continue;
        }
        check_placeholders(reader, &entry.key, entry.node.at, value, placeholders);
        pairs.push((entry.key.to_string(), value.to_string()));
    }
    Labels::new(pairs).expect("labels that were accepted before")
}

fn environment(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    placeholders: Placeholders,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for entry in fields.map(reader, "env") {
        let name = &*entry.key;
        if name.is_empty() || name.contains(['=', '\0']) {
            reader.error(
                entry.key_at,
                format!("`{name}` can't be the name of a variable of the environment"),
            );
        }
        let Some(value) = reader.scalar(name, &entry.node, &Kind::Text) else {
            continue;
        };
        check_placeholders(reader, name, entry.node.at, value, placeholders);
        variables.push((name.to_owned(), value.to_owned()));
    }
    variables
}

fn directory(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PathBuf> {
    let directory = match fields.entry("directory") {
        Some(_) => fields.value(reader, "directory", values::not_empty)?,
        None => String::new(),
    };
    let path = reader.path(fields.place_of("directory"), &directory);
    (!path.as_os_str().is_empty()).then_some(path)
}

fn stop(reader: &mut Reader<'_>, fields: &Fields<'_>) -> StopPolicy {
    let Some(fields) = fields.inner(reader, "stop") else {
        return StopPolicy::default();
    };
    StopPolicy {
        signal: fields.or_default(reader, "signal", |text| {
            values::one_of(text, &SIGNALS).map(str::to_owned)
        }),
        grace: fields.or_default(reader, "grace", values::duration),
    }
}

fn log(reader: &mut Reader<'_>, fields: &Fields<'_>) -> LogPolicy {
    let Some(fields) = fields.inner(reader, "log") else {
        return LogPolicy::default();
    };
    LogPolicy {
        bytes_max: fields.or_default(reader, "max_size", values::size),
        keep: fields.whole_or_default(reader, "keep"),
    }
}
