//! `server`: where it listens and keeps its records.

use pitcrew_model::ServerSettings;

use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional},
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
    ServerSettings {
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
