//! `find`: where targets come from.

use std::time::Duration;

use pitcrew_model::{DnsRecord, Runner, Source, SourceKind, SourceName};

use super::{
    labels::labels,
    runner::{RUNS_AS, runs_as},
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::{Entry, Node},
    values,
};

const NOT_HERE: &str =
    "there is no such source in this version; possible: `static`, `file`, `http`, `dns`, `agents`";

pub(crate) const SOURCE: Shape = Shape::new(
    "source",
    "One place where targets are found.",
    &[
        optional(
            "static",
            Kind::List(&Kind::Shape(&STATIC)),
            "Groups of targets written here.",
        ),
        optional(
            "file",
            Kind::Shape(&FILE),
            "Files in the format of Prometheus' `file_sd`.",
        ),
        optional(
            "http",
            Kind::Shape(&HTTP),
            "An address that answers in the format of Prometheus' `http_sd`.",
        ),
        optional("dns", Kind::Shape(&DNS), "DNS records."),
        optional(
            "agents",
            Kind::Shape(&AGENTS),
            "Every enrolled host and what runs there, as their agents say.",
        ),
    ],
)
.with_exactly_one(&["static", "file", "http", "dns", "agents"])
.refusing(&[
    ("kubernetes", NOT_HERE),
    ("containers", NOT_HERE),
    ("docker", NOT_HERE),
    ("consul", NOT_HERE),
    ("ec2", NOT_HERE),
]);

const STATIC: Shape = Shape::new(
    "group of targets",
    "Targets with the same labels.",
    &[
        required(
            "targets",
            Kind::List(&values::ADDRESS),
            "What tests connect to: `host:port`, `host` or `[IPv6]:port`, each once.",
        ),
        optional(
            "labels",
            values::LABELS,
            "Labels of every target of this group.",
        ),
        optional(
            "name",
            values::NAME,
            "Its name in reports. Default: `static-1`, `static-2`, … by position.",
        ),
        optional(
            "runs_as",
            Kind::Shape(&RUNS_AS),
            "What starts and stops these targets.",
        ),
    ],
);

const FILE: Shape = Shape::new(
    "file source",
    "Files in the format of Prometheus' `file_sd`, JSON or YAML, read again when they change.",
    &[
        required(
            "paths",
            Kind::List(&values::PATH),
            "Relative ones begin at this file's directory; the last part may hold `*`.",
        ),
        defaulted(
            "refresh",
            values::DURATION,
            "30s",
            "How often they are read again.",
        ),
        optional(
            "labels",
            values::LABELS,
            "Added to every target; a label the files give wins.",
        ),
        optional(
            "name",
            values::NAME,
            "Its name in reports. Default: `file-1`, `file-2`, … by position.",
        ),
        optional(
            "runs_as",
            Kind::Shape(&RUNS_AS),
            "What starts and stops these targets.",
        ),
    ],
);

const HTTP: Shape = Shape::new(
    "http source",
    "An address that answers in the format of Prometheus' `http_sd`.",
    &[
        required("url", values::WEB_ADDRESS, "Asked with GET."),
        defaulted("refresh", values::DURATION, "60s", "How often it is asked."),
        optional(
            "labels",
            values::LABELS,
            "Added to every target; a label the answer gives wins.",
        ),
        optional(
            "name",
            values::NAME,
            "Its name in reports. Default: `http-1`, `http-2`, … by position.",
        ),
        optional(
            "runs_as",
            Kind::Shape(&RUNS_AS),
            "What starts and stops these targets.",
        ),
    ],
);

const DNS: Shape = Shape::new(
    "dns source",
    "DNS records whose answers are targets.",
    &[
        required("names", values::TEXTS, "Names to ask for."),
        defaulted(
            "type",
            Kind::OneOf(&["SRV", "A", "AAAA"]),
            "SRV",
            "Kind of record.",
        ),
        optional(
            "port",
            values::PORT,
            "Port of the targets; needed for A and AAAA.",
        ),
        defaulted("refresh", values::DURATION, "30s", "How often it is asked."),
        optional(
            "server",
            values::ADDRESS,
            "IP address of the DNS server, instead of the system's.",
        ),
        optional("labels", values::LABELS, "Added to every target."),
        optional(
            "name",
            values::NAME,
            "Its name in reports. Default: `dns-1`, `dns-2`, … by position.",
        ),
        optional(
            "runs_as",
            Kind::Shape(&RUNS_AS),
            "What starts and stops these targets.",
        ),
    ],
);

const AGENTS: Shape = Shape::new(
    "agents source",
    "Every enrolled host, and what runs there by its own configuration. Each has the label `host`.",
    &[
        optional(
            "labels",
            values::LABELS,
            "Added to every target; a label the host gives wins.",
        ),
        optional(
            "name",
            values::NAME,
            "Its name in reports. Default: `agents-1`, `agents-2`, … by position.",
        ),
    ],
);

/// A source, and where its name and its static targets stand.
pub(crate) struct ReadSource {
    pub(crate) source: Source,
    pub(crate) at: Span,
    pub(crate) targets_at: Vec<Span>,
}

/// How many sources of each kind there are so far: unnamed ones are named by position.
#[derive(Default)]
pub(crate) struct Positions {
    of_static: usize,
    file: usize,
    http: usize,
    dns: usize,
    agents: usize,
}

/// The sources of one entry of `find`: `static` may hold several groups.
pub(crate) fn sources(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    positions: &mut Positions,
) -> Vec<ReadSource> {
    let Some(fields) = reader.fields(node, &SOURCE) else {
        return Vec::new();
    };
    let Some(entry) = fields.only() else {
        return Vec::new();
    };
    match &*entry.key {
        "static" => reader
            .items("static", &entry.node)
            .iter()
            .filter_map(|group| {
                let fields = reader.fields(group, &STATIC)?;
                of_static(reader, &fields, &mut positions.of_static)
            })
            .collect(),
        "file" => of_file(reader, &fields, entry, &mut positions.file)
            .into_iter()
            .collect(),
        "http" => of_http(reader, &fields, entry, &mut positions.http)
            .into_iter()
            .collect(),
        "agents" => of_agents(reader, &fields, entry, &mut positions.agents)
            .into_iter()
            .collect(),
        _ => of_dns(reader, &fields, entry, &mut positions.dns)
            .into_iter()
            .collect(),
    }
}

struct Common {
    name: SourceName,
    at: Span,
    labels: pitcrew_model::Labels,
    runs_as: Option<Runner>,
}

impl Common {
    fn with(self, kind: SourceKind) -> ReadSource {
        ReadSource {
            source: Source {
                name: self.name,
                kind,
                labels: self.labels,
                runs_as: self.runs_as,
            },
            at: self.at,
            targets_at: Vec::new(),
        }
    }
}

fn common(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    at: Span,
    kind: &str,
    position: &mut usize,
) -> Option<Common> {
    *position += 1;
    let given = fields.value(reader, "name", values::name);
    let at = fields.entry("name").map_or(at, |entry| entry.node.at);
    let runs_as = match fields.shape.key("runs_as") {
        Some(_) => runs_as(reader, fields),
        None => None,
    };
    Some(Common {
        name: given.or_else(|| SourceName::new(format!("{kind}-{position}")).ok())?,
        at,
        labels: labels(reader, fields, "labels"),
        runs_as,
    })
}

fn refresh(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Duration {
    fields.or_default(reader, "refresh", values::some_duration)
}

fn of_static(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    position: &mut usize,
) -> Option<ReadSource> {
    let common = common(reader, fields, fields.at, "static", position)?;
    let items = fields.list(reader, "targets");
    if fields.is_empty_list("targets") {
        reader.warn(
            fields.place_of("targets"),
            "this group has no targets",
            "write at least one, or remove the group",
        );
    }
    let (mut targets, mut targets_at) = (Vec::new(), Vec::new());
    for item in items {
        if let Some(target) = reader.parsed("targets", item, &values::ADDRESS, values::target) {
            targets.push(target);
            targets_at.push(item.at);
        }
    }
    Some(ReadSource {
        targets_at,
        ..common.with(SourceKind::Static { targets })
    })
}

fn of_file(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry<'_>,
    position: &mut usize,
) -> Option<ReadSource> {
    let fields = fields.inner(reader, "file")?;
    let common = common(reader, &fields, entry.key_at, "file", position)?;
    let mut paths = Vec::new();
    for item in fields.list(reader, "paths") {
        if let Some(path) = reader.parsed("paths", item, &values::PATH, file_pattern) {
            paths.push(reader.path(item.at, &path).display().to_string());
        }
    }
    at_least_one(reader, &fields, "paths");
    let refresh = refresh(reader, &fields);
    Some(common.with(SourceKind::File { paths, refresh }))
}

fn file_pattern(text: &str) -> Result<String, String> {
    match text.rsplit_once('/') {
        _ if text.is_empty() => Err("it is empty".to_owned()),
        Some((directory, _)) if directory.contains('*') => Err(format!(
            "`{text}`: only the last part of a path may hold `*`"
        )),
        _ => Ok(text.to_owned()),
    }
}

fn at_least_one(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) {
    if fields.is_empty_list(name) {
        reader.error(fields.place_of(name), format!("`{name}` is empty"));
    }
}

fn of_http(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry<'_>,
    position: &mut usize,
) -> Option<ReadSource> {
    let fields = fields.inner(reader, "http")?;
    let common = common(reader, &fields, entry.key_at, "http", position)?;
    let url = fields.value(reader, "url", values::web_address);
    let refresh = refresh(reader, &fields);
    Some(common.with(SourceKind::Http { url: url?, refresh }))
}

fn of_dns(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry<'_>,
    position: &mut usize,
) -> Option<ReadSource> {
    let fields = fields.inner(reader, "dns")?;
    let common = common(reader, &fields, entry.key_at, "dns", position)?;
    let names = fields.texts(reader, "names");
    at_least_one(reader, &fields, "names");
    let record = fields.or_default(reader, "type", |text| {
        Ok::<_, String>(match values::one_of(text, &["SRV", "A", "AAAA"])? {
            "A" => DnsRecord::A,
            "AAAA" => DnsRecord::Aaaa,
            _ => DnsRecord::Srv,
        })
    });
    let port = fields.whole(reader, "port");
    match (record, fields.entry("port")) {
        (DnsRecord::Srv, Some(entry)) => reader.error(
            entry.key_at,
            "an SRV record names its port itself: remove `port`",
        ),
        (DnsRecord::Srv, None) | (_, Some(_)) => {}
        (_, None) => reader.error(
            fields.place_of("type"),
            "an address record has no port: write `port`",
        ),
    }
    let server = fields.value(reader, "server", values::name_server);
    let refresh = refresh(reader, &fields);
    Some(common.with(SourceKind::Dns {
        names,
        record,
        port,
        refresh,
        server,
    }))
}

fn of_agents(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry<'_>,
    position: &mut usize,
) -> Option<ReadSource> {
    let fields = fields.inner(reader, "agents")?;
    let common = common(reader, &fields, entry.key_at, "agents", position)?;
    Some(common.with(SourceKind::Agents))
}
