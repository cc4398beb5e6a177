//! `server`: where it listens and keeps its records.

use std::time::Duration;

use pitcrew_model::{AgentSettings, AuthorityFiles, PostgresSettings, ServerSettings};

use crate::{
    fields::Fields,
    place::Span,
    read::secret::secret,
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
        optional(
            "state",
            Kind::Shape(&STATE),
            "Where the ledger is, when it is not in `data`: so that several servers can share it.",
        ),
        optional(
            "advertise",
            values::WEB_ADDRESS,
            "The API as people and other servers reach it, such as `http://10.0.0.5:7400`; as it listens when absent.",
        ),
    ],
);

const STATE: Shape = Shape::new(
    "place of the ledger",
    "Where the ledger is.",
    &[required(
        "postgres",
        Kind::Shape(&POSTGRES),
        "A PostgreSQL database that several servers share: one of them leads.",
    )],
);

const POSTGRES: Shape = Shape::new(
    "database of the ledger",
    "A PostgreSQL database that is Pitcrew's alone.",
    &[
        optional(
            "url",
            Kind::Secret,
            "`postgresql://USER@HOST:5432/DATABASE?sslmode=require`; a secret where it holds a password, best as `${ENV}`.",
        ),
        optional("url_file", values::PATH, "A file that holds the URL."),
        optional(
            "password_file",
            values::PATH,
            "A file whose first line is the password, when the URL has none; read at each login.",
        ),
        optional(
            "ca_file",
            values::PATH,
            "Authorities that vouch for the database's certificate, PEM; the system's when absent.",
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
        defaulted(
            "trust_addresses",
            Kind::Flag,
            "false",
            "Whether tests that hold a secret may be asked at any address that a host names for what runs on it; otherwise only at the IP address that its agent connects from.",
        ),
        optional(
            "authority",
            Kind::Shape(&AUTHORITY),
            "Your own authority, which signs the hosts' certificates instead of one that the server makes.",
        ),
    ],
);

const AUTHORITY: Shape = Shape::new(
    "authority",
    "An authority that may sign certificates, for example an intermediate of yours.",
    &[
        required(
            "certificate_file",
            values::PATH,
            "Its certificate, PEM. Hosts trust it, and must be enrolled again when it changes.",
        ),
        required("key_file", values::PATH, "Its private key, PEM, PKCS #8."),
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
        let lifetime = fields.or_default(reader, "certificate_lifetime", certificate_lifetime);
        Some(AgentSettings {
            observers: fields.whole_or_default(reader, "observers"),
            trust_addresses: fields.flag(reader, "trust_addresses"),
            authority: fields
                .inner(reader, "authority")
                .and_then(|fields| authority(reader, &fields)),
            listen: fields.value(reader, "listen", values::listen)?,
            certificate_lifetime: lifetime,
        })
    });
    let postgres = fields.inner(reader, "state");
    let postgres = postgres.and_then(|fields| postgres_settings(reader, &fields));
    let advertise = fields.value(reader, "advertise", values::web_address);
    if postgres.is_some() && listen.ip().is_unspecified() && !fields.has("advertise") {
        reader.error_with_help(
            fields.place_of("listen"),
            format!("several servers need `advertise`: nobody can be sent to {listen}"),
            format!(
                "write `advertise: \"http://NAME:{}\"`, as others reach this server",
                listen.port()
            ),
        );
    }
    ServerSettings {
        postgres,
        advertise,
        agents,
        listen,
        data: reader.path(fields.place_of("data"), &data),
        token_file: token_file.map(|file| reader.path(fields.place_of("token_file"), &file)),
        concurrency: fields.whole_or_default(reader, "concurrency"),
    }
}

fn postgres_settings(reader: &mut Reader<'_>, state: &Fields<'_>) -> Option<PostgresSettings> {
    let fields = state.inner(reader, "postgres")?;
    let url = secret(reader, &fields, "url", "url_file");
    let at = match fields.has("url") {
        true => fields.place_of("url"),
        false => fields.place_of("url_file"),
    };
    match &url {
        // The message must not repeat the URL: it may hold a password.
        Some(url) if !is_postgres(url.expose()) => reader.error_with_help(
            at,
            "the URL of a database begins with postgresql:// and names a user and a host",
            "write it like postgresql://pitcrew@db.example.org:5432/pitcrew?sslmode=require",
        ),
        None if !fields.has("url") && !fields.has("url_file") => {
            reader.error(
                fields.at,
                "a database of the ledger needs `url` or `url_file`",
            );
        }
        Some(_) | None => {}
    }
    let mut file = |name| {
        let path = fields.value(reader, name, values::not_empty)?;
        Some(reader.path(fields.place_of(name), &path))
    };
    let (password_file, ca_file) = (file("password_file"), file("ca_file"));
    Some(PostgresSettings {
        url: url?,
        password_file,
        ca_file,
    })
}

fn is_postgres(url: &str) -> bool {
    let rest = url
        .strip_prefix("postgresql://")
        .or_else(|| url.strip_prefix("postgres://"));
    let user = rest.and_then(|rest| rest.split_once('@'));
    user.is_some_and(|(user, place)| !user.is_empty() && !place.is_empty())
}

fn authority(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<AuthorityFiles> {
    let mut file = |name| {
        let text = fields.value(reader, name, values::not_empty)?;
        Some(reader.path(fields.place_of(name), &text))
    };
    let (certificate_file, key_file) = (file("certificate_file"), file("key_file"));
    Some(AuthorityFiles {
        certificate_file: certificate_file?,
        key_file: key_file?,
    })
}

fn certificate_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = values::some_duration(text)?;
    let min = AgentSettings::CERTIFICATE_LIFETIME_MIN;
    if lifetime < min {
        return Err(format!("it must be {} s or longer", min.as_secs()));
    }
    Ok(lifetime)
}

/// The settings of a configuration that has no `server`.
pub(crate) fn without_settings(reader: &Reader<'_>, at: Span) -> ServerSettings {
    let settings = ServerSettings::default();
    ServerSettings {
        data: reader.path(at, &settings.data.display().to_string()),
        ..settings
    }
}
