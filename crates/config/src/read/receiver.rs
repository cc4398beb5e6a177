//! `notify`: the people, or the way to them.

use pitcrew_model::{Destination, Receiver, ReceiverName, Secret};

use super::{
    labels::{Placeholders, command_of},
    secret::{from_file, from_text, secret},
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, optional, required},
    tree::{Entry, Node, Value},
    values,
};

const NOT_HERE: &str = "there is no such receiver in this version; possible: `webhook`, `command`";

pub(crate) const RECEIVER: Shape = Shape::new(
    "receiver",
    "A person, or the way to one.",
    &[
        required(
            "name",
            values::NAME,
            "Its name, for `hand_over: { to: … }`.",
        ),
        optional(
            "webhook",
            Kind::Shape(&WEBHOOK),
            "`POST` of the notice as JSON.",
        ),
        optional(
            "command",
            values::TEXTS,
            "Program and arguments, no shell; it gets the notice as JSON on standard input.",
        ),
    ],
)
.with_exactly_one(&["webhook", "command"])
.refusing(&[
    ("slack", NOT_HERE),
    ("pagerduty", NOT_HERE),
    ("email", NOT_HERE),
    ("alertmanager", NOT_HERE),
    ("opsgenie", NOT_HERE),
    ("teams", NOT_HERE),
]);

const WEBHOOK: Shape = Shape::new(
    "webhook",
    "`POST` of the notice as JSON.",
    &[
        optional("url", Kind::Secret, "Where to; a secret, best as `${ENV}`."),
        optional("url_file", values::PATH, "A file that holds the address."),
        optional("headers", Kind::Map(&HEADER), "Headers to send; secrets."),
    ],
);

pub(crate) const HEADER: Kind = Kind::Either(&[Kind::Secret, Kind::Shape(&HEADER_FILE)]);

const HEADER_FILE: Shape = Shape::new(
    "header in a file",
    "A header whose value stands in a file.",
    &[required("file", values::PATH, "The file.")],
);

pub(crate) struct ReadReceiver {
    /// As it can be referred to, also when the rest could not be read.
    pub(crate) name: ReceiverName,
    pub(crate) name_at: Span,
    pub(crate) destination: Option<Destination>,
}

impl ReadReceiver {
    pub(crate) fn receiver(&self) -> Option<Receiver> {
        Some(Receiver {
            name: self.name.clone(),
            destination: self.destination.clone()?,
        })
    }
}

pub(crate) fn receiver(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ReadReceiver> {
    let fields = reader.fields(node, &RECEIVER)?;
    let name = fields.value(reader, "name", values::name);
    let destination = match fields.only() {
        Some(entry) if entry.key == "webhook" => webhook(reader, &fields),
        Some(entry) => command_of(reader, "command", &entry.node, Placeholders::Nothing)
            .map(|command| Destination::Command { command }),
        None => None,
    };
    Some(ReadReceiver {
        name: name?,
        name_at: fields.place_of("name"),
        destination,
    })
}

fn webhook(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Destination> {
    let fields = fields.inner(reader, "webhook")?;
    let url = secret(reader, &fields, "url", "url_file");
    let at = match fields.has("url") {
        true => fields.place_of("url"),
        false => fields.place_of("url_file"),
    };
    match &url {
        // The message must not repeat the address: it is a secret.
        Some(url) if values::web_address(url.expose()).is_err() => reader.error(
            at,
            "the address must begin with http:// or https:// and a host",
        ),
        None if !fields.has("url") && !fields.has("url_file") => {
            reader.error(fields.at, "a webhook needs `url` or `url_file`");
        }
        Some(_) | None => {}
    }
    let mut headers = Vec::new();
    for entry in fields.map(reader, "headers") {
        headers.extend(header(reader, entry));
    }
    Some(Destination::Webhook { url: url?, headers })
}

pub(crate) fn header(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<(String, Secret)> {
    if let Err(complaint) = values::header_name(&entry.key) {
        reader.error(entry.key_at, complaint);
    }
    let value = match entry.node.value {
        Value::Map(_) => {
            let fields = reader.fields(&entry.node, &HEADER_FILE)?;
            from_file(reader, "file", fields.get("file")?)?
        }
        Value::Null | Value::Scalar { .. } | Value::List(_) => {
            from_text(reader, &entry.key, &entry.node, "write `{ file: … }`")?
        }
    };
    if values::header_value(value.expose()).is_err() {
        reader.error(entry.node.at, "a header's value is one line");
    }
    Some((entry.key.to_string(), value))
}
