//! `power`: the controllers of hosts, for a power cycle.

use pitcrew_model::{PowerController, PowerRule, Secret};

use super::secret::secret;
use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::Node,
    values,
};

pub(crate) const POWER: Shape = Shape::new(
    "power entry",
    "The controllers of some hosts; the first entry that names a host is for it.",
    &[
        required(
            "hosts",
            values::TEXTS,
            "Ids of the hosts; `*` stands for any text.",
        ),
        optional(
            "redfish",
            Kind::Shape(&REDFISH),
            "A controller that speaks Redfish.",
        ),
        optional("ipmi", Kind::Shape(&IPMI), "A controller that speaks IPMI."),
    ],
)
.with_exactly_one(&["redfish", "ipmi"]);

const USERNAME_DOC: &str = "Who asks; it needs the right to reset and nothing more.";
const PASSWORD_DOC: &str = "Its password; a secret, best as `${ENV}`.";
const PASSWORD_FILE_DOC: &str = "A file that holds the password.";

const REDFISH: Shape = Shape::new(
    "redfish",
    "A controller that speaks Redfish.",
    &[
        required(
            "url",
            values::WEB_ADDRESS,
            "Its address without a path; `{host}` is replaced by the host's id.",
        ),
        required("username", Kind::Text, USERNAME_DOC),
        optional("password", Kind::Secret, PASSWORD_DOC),
        optional("password_file", values::PATH, PASSWORD_FILE_DOC),
        optional(
            "ca_file",
            values::PATH,
            "PEM certificates of the authorities that are believed, instead of the system's.",
        ),
        optional(
            "system",
            Kind::Text,
            "Id or path of the system. Default: the only one that the controller has.",
        ),
    ],
);

const IPMI: Shape = Shape::new(
    "ipmi",
    "A controller that speaks IPMI 2.0 over the network; asked by `ipmitool`.",
    &[
        required(
            "address",
            values::ADDRESS,
            "Its address, with or without a port; `{host}` is replaced by the host's id.",
        ),
        required("username", Kind::Text, USERNAME_DOC),
        optional("password", Kind::Secret, PASSWORD_DOC),
        optional("password_file", values::PATH, PASSWORD_FILE_DOC),
        defaulted(
            "cipher_suite",
            Kind::Whole { min: 1, max: 17 },
            "17",
            "3 for controllers that don't know 17.",
        ),
    ],
);

pub(crate) fn power(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PowerRule> {
    let fields = reader.fields(node, &POWER)?;
    let hosts = fields.texts(reader, "hosts");
    if fields.is_empty_list("hosts") {
        reader.error(
            fields.place_of("hosts"),
            "`hosts` is empty: it would be for no host. Name at least one",
        );
    }
    let kind = &*fields.only()?.key;
    let inner = fields.inner(reader, kind)?;
    let controller = match kind {
        "redfish" => redfish(reader, &inner),
        _ => ipmi(reader, &inner),
    };
    Some(PowerRule {
        hosts,
        controller: controller?,
    })
}

fn redfish(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PowerController> {
    let url = fields.value(reader, "url", redfish_url);
    if url.as_ref().is_some_and(|url| url.starts_with("http://")) {
        reader.warn(
            fields.place_of("url"),
            "the password travels where everybody can read it",
            "use https://, with `ca_file` for a certificate of your own authority",
        );
    }
    let username = fields.value(reader, "username", values::not_empty);
    let password = password(reader, fields);
    let system = fields.value(reader, "system", values::not_empty);
    let authorities = match fields.get("ca_file") {
        Some(_) => Some(authorities(reader, fields)?),
        None => None,
    };
    Some(PowerController::Redfish {
        url: url?,
        username: username?,
        password: password?,
        authorities,
        system,
    })
}

fn redfish_url(text: &str) -> Result<String, String> {
    // As it will be for some host.
    values::web_address(&text.replace("{host}", "host"))?;
    let url = text.trim_end_matches('/');
    let (_, host) = url.split_once("://").unwrap_or_default();
    if host.contains(['/', '?', '#', '@']) {
        return Err(format!(
            "`{text}` must end after host and port: paths are the controller's to say"
        ));
    }
    Ok(url.to_owned())
}

fn ipmi(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PowerController> {
    let address = fields.value(reader, "address", |text: &str| {
        values::target(&text.replace("{host}", "host")).map(|_| text.to_owned())
    });
    let username = fields.value(reader, "username", values::not_empty);
    let password = password(reader, fields);
    Some(PowerController::Ipmi {
        address: address?,
        username: username?,
        password: password?,
        cipher_suite: fields.whole_or_default(reader, "cipher_suite"),
    })
}

fn password(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Secret> {
    if !fields.has("password") && !fields.has("password_file") {
        reader.error(
            fields.at,
            "a controller needs `password` or `password_file`",
        );
    }
    secret(reader, fields, "password", "password_file")
}

fn authorities(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let pem = super::secret::from_file(reader, "ca_file", fields.get("ca_file")?)?;
    let pem = pem.expose();
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        reader.error(
            fields.place_of("ca_file"),
            "`ca_file` holds no certificate in PEM",
        );
        return None;
    }
    Some(pem.to_owned())
}
