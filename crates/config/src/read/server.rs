//! `server`: where it listens and keeps its records.

use pitcrew_model::{AgentSettings, ServerSettings};

use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    values,
};

pub(crate) const SERVER: Shape = Shape::new(
    "server",
    "Where the server listens and keeps its records.",
    &[
        defaulted(
            "listen",
            values::ADDRESS,
            "127.0.0.1:7400",
            "IP address and port of the API and the web page; port 0: any free one. Anything but a loopback address needs `token_file`.",
        ),
        defaulted(
            "data",
            values::PATH,
            "data",
            "Directory of the ledger and of logs; a relative one begins at this file's directory.",
        ),
        optional(
            "token_file",
            values::PATH,
            "A file that holds the bearer token every request must carry.",
        ),
        defaulted(
            "concurrency",
            Kind::Whole {
                min: 1,
                max: 100_000,
            },
            "512",
            "Tests under way at once.",
        ),
        optional(
            "agents",
            Kind::Shape(&AGENTS),
            "Hosts with an agent. Without it there are none.",
        ),
    ],
);

const AGENTS: Shape = Shape::new(
    "listener for agents",
    "Where agents connect, each with a certificate of the server's own authority.",
    &[
        required(
            "listen",
            values::ADDRESS,
            "IP address and port, apart from the API's; port 0: any free one.",
        ),
        defaulted(
            "certificate_lifetime",
            values::DURATION,
            "24h",
            "How long a host's certificate is good for; its agent renews it when two thirds are over.",
        ),
        defaulted(
            "observers",
            Kind::Whole { min: 0, max: 16 },
            "2",
            "How many other hosts ask each target over the network, beside the server.",
        ),
    ],
);

pub(crate) fn server(reader: &mut Reader<'_>, fields: &Fields<'_>) -> ServerSettings {
    let listen = fields.or_default(reader, "listen", values::listen);
    let token_file = fields.value(reader, "token_file", values::not_empty);
    if !listen.ip().is_loopback() && !fields.has("token_file") {
        reader.error_with_help(
            fields.place_of("listen"),
            format!("listening on {listen} needs `token_file`: whoever reaches it could restart production"),
            "write `token_file`, or listen on 127.0.0.1",
        );
    }
    let data = fields.or_default(reader, "data", values::not_empty);
    let agents = fields.inner(reader, "agents").and_then(|fields| {
        let lifetime = fields.or_default(reader, "certificate_lifetime", values::some_duration);
        Some(AgentSettings {
            observers: fields.whole_or_default(reader, "observers"),
            listen: fields.value(reader, "listen", values::listen)?,
            certificate_lifetime: lifetime,
        })
    });
    ServerSettings {
        agents,
        listen,
        data: reader.path(fields.place_of("data"), &data),
        token_file: token_file.map(|file| reader.path(fields.place_of("token_file"), &file)),
        concurrency: fields.whole_or_default(reader, "concurrency"),
    }
}

/// The settings of a configuration that has no `server`.
pub(crate) fn without_settings(reader: &Reader<'_>, at: Span) -> ServerSettings {
    let settings = ServerSettings::default();
    ServerSettings {
        data: reader.path(at, &settings.data.display().to_string()),
        ..settings
    }
}
