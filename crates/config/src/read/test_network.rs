//! Tests of what a target says over the network.

use std::time::Duration;

use pitcrew_model::{
    DnsRecord, DnsTest, GrpcTest, HeaderMatch, HttpTest, HttpVersion, TcpTest, TlsOptions, TlsTest,
};

use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    tree::Value,
    values,
};

const STATUS: Kind = Kind::Either(&[
    Kind::Whole { min: 100, max: 599 },
    Kind::OneOf(&["1xx", "2xx", "3xx", "4xx", "5xx"]),
]);
const TLS_OR_OPTIONS: Kind = Kind::Either(&[Kind::Flag, Kind::Shape(&TLS_OPTIONS)]);
const RECORDS: [(&str, DnsRecord); 8] = [
    ("A", DnsRecord::A),
    ("AAAA", DnsRecord::Aaaa),
    ("SRV", DnsRecord::Srv),
    ("TXT", DnsRecord::Txt),
    ("MX", DnsRecord::Mx),
    ("CNAME", DnsRecord::Cname),
    ("NS", DnsRecord::Ns),
    ("PTR", DnsRecord::Ptr),
];

const PORT_DOC: &str = "Port, instead of the one of the target's address.";
const SERVER_NAME_DOC: &str = "Name asked for and checked, instead of the target's host.";
const CA_FILE_DOC: &str = "PEM file of authorities to trust, instead of the system's.";
const INSECURE_DOC: &str = "Accept any certificate; for tests of availability only.";
pub(super) const TLS_DOC: &str = "`true`, or how: `{ server_name, ca_file, insecure }`.";

pub(crate) const HTTP: Shape = Shape::new(
    "http test",
    "An HTTP request and what its answer must be.",
    &[
        defaulted("path", Kind::Text, "/", "Path and query."),
        defaulted(
            "status",
            Kind::List(&STATUS),
            "[200]",
            "Accepted status codes: `200`, or `2xx` for all of a class.",
        ),
        optional(
            "body_matches",
            values::PATTERN,
            "Regular expression that must be found in the first MiB of the body.",
        ),
        optional(
            "body_lacks",
            values::PATTERN,
            "Regular expression that must not be found there.",
        ),
        optional("headers", Kind::Map(&Kind::Text), "Headers to send."),
        optional(
            "header_matches",
            Kind::Map(&values::PATTERN),
            "Headers of the answer and the regular expression each must match.",
        ),
        defaulted("method", Kind::Text, "GET", "Method."),
        optional("body", Kind::Text, "Body to send."),
        defaulted(
            "redirects",
            Kind::Whole { min: 0, max: 20 },
            "0",
            "Redirects followed before the answer counts; 0: a redirect is the answer.",
        ),
        defaulted(
            "version",
            Kind::OneOf(&["any", "1.1", "2"]),
            "any",
            "HTTP version; `any`: 1.1, or what is agreed over TLS.",
        ),
        defaulted("tls", TLS_OR_OPTIONS, "false", TLS_DOC),
        optional("port", values::PORT, PORT_DOC),
    ],
)
.refusing(&[
    ("scheme", "for https write `tls: true`"),
    ("url", "the host is the target's; write `path`"),
    ("redirects_max", "write `redirects`"),
]);

pub(super) const TLS_OPTIONS: Shape = Shape::new(
    "TLS options",
    "How TLS is spoken.",
    &[
        optional("server_name", Kind::Text, SERVER_NAME_DOC),
        optional("ca_file", values::PATH, CA_FILE_DOC),
        defaulted("insecure", Kind::Flag, "false", INSECURE_DOC),
    ],
);

pub(crate) const TCP: Shape = Shape::new(
    "tcp test",
    "A TCP connection, and what is said over it.",
    &[
        optional("port", values::PORT, PORT_DOC),
        optional("send", Kind::Text, "Text to send."),
        optional(
            "expect",
            values::PATTERN,
            "Regular expression that must be found in the first 64 KiB that come back.",
        ),
    ],
);

pub(crate) const TLS: Shape = Shape::new(
    "tls test",
    "Warns and fails as the first certificate of the chain to expire draws near; fails on a broken chain or name.",
    &[
        optional("port", values::PORT, PORT_DOC),
        defaulted(
            "warn_before",
            values::DURATION,
            "14d",
            "Warns when it expires within this time.",
        ),
        defaulted(
            "fail_before",
            values::DURATION,
            "3d",
            "Fails when it expires within this time.",
        ),
        optional("server_name", Kind::Text, SERVER_NAME_DOC),
        optional("ca_file", values::PATH, CA_FILE_DOC),
        defaulted(
            "insecure",
            Kind::Flag,
            "false",
            "Look at nothing but the time of expiry.",
        ),
    ],
);

pub(crate) const DNS: Shape = Shape::new(
    "dns test",
    "A question to the target, a DNS server.",
    &[
        optional("port", values::PORT, PORT_DOC),
        required("name", Kind::Text, "The name to ask for."),
        defaulted(
            "type",
            Kind::OneOf(&["A", "AAAA", "SRV", "TXT", "MX", "CNAME", "NS", "PTR"]),
            "A",
            "Kind of record.",
        ),
        optional(
            "answers",
            values::TEXTS,
            "Each must be among the answers; when empty, any answer will do.",
        ),
    ],
);

pub(crate) const GRPC: Shape = Shape::new(
    "grpc test",
    "`grpc.health.v1.Health/Check`.",
    &[
        optional("port", values::PORT, PORT_DOC),
        defaulted(
            "service",
            Kind::Text,
            "",
            "Service to ask about; empty: the server as a whole.",
        ),
        defaulted("tls", TLS_OR_OPTIONS, "false", TLS_DOC),
    ],
);

pub(crate) fn http(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<HttpTest> {
    let (tls, tls_options) = tls_or_options(reader, fields);
    Some(HttpTest {
        tls,
        port: fields.whole(reader, "port"),
        method: fields.or_default(reader, "method", values::method),
        path: fields.or_default(reader, "path", values::request_path),
        headers: headers(reader, fields),
        body: fields.text(reader, "body"),
        status: status(reader, fields),
        body_matches: fields.value(reader, "body_matches", values::pattern),
        body_lacks: fields.value(reader, "body_lacks", values::pattern),
        header_matches: header_matches(reader, fields),
        redirects_max: fields.whole_or_default(reader, "redirects"),
        version: fields.or_default(reader, "version", |text| {
            values::one_of(text, &["any", "1.1", "2"]).map(|word| match word {
                "1.1" => HttpVersion::Http1,
                "2" => HttpVersion::Http2,
                _ => HttpVersion::Any,
            })
        }),
        tls_options,
    })
}

fn headers(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for entry in fields.map(reader, "headers") {
        if let Err(complaint) = values::header_name(&entry.key) {
            reader.error(entry.key_at, complaint);
        }
        let value = reader.parsed(&entry.key, &entry.node, &Kind::Text, values::header_value);
        headers.extend(value.map(|value| (entry.key.to_string(), value)));
    }
    headers
}

fn header_matches(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<HeaderMatch> {
    let mut matches = Vec::new();
    for entry in fields.map(reader, "header_matches") {
        if let Err(complaint) = values::header_name(&entry.key) {
            reader.error(entry.key_at, complaint);
        }
        let pattern = reader.parsed(&entry.key, &entry.node, &values::PATTERN, values::pattern);
        matches.extend(pattern.map(|matches| HeaderMatch {
            name: entry.key.to_string(),
            matches,
        }));
    }
    matches
}

fn status(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<u16> {
    let mut codes = Vec::new();
    for item in fields.list(reader, "status") {
        codes.extend(
            reader
                .parsed("status", item, &STATUS, status_codes)
                .into_iter()
                .flatten(),
        );
    }
    if fields.is_empty_list("status") {
        reader.error(
            fields.place_of("status"),
            "`status` is empty: no answer would ever pass",
        );
    }
    if codes.is_empty() {
        codes.push(200);
    }
    codes
}

fn status_codes(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let bad =
        || format!("`{text}` is neither a status code from 100 to 599 nor a class such as 2xx");
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().map_err(|_| bad())?;
        return match class {
            1..=5 => Ok(class * 100..=class * 100 + 99),
            _ => Err(bad()),
        };
    }
    match text.parse() {
        Ok(code @ 100..=599) => Ok(code..=code),
        _ => Err(bad()),
    }
}

/// `tls: true`, or how.
pub(super) fn tls_or_options(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (bool, TlsOptions) {
    match fields.entry("tls") {
        Some(entry) if matches!(entry.node.value, Value::Map(_)) => {
            let options = reader
                .fields(&entry.node, &TLS_OPTIONS)
                .map(|fields| tls_options(reader, &fields));
            (true, options.unwrap_or_default())
        }
        _ => (fields.flag(reader, "tls"), TlsOptions::default()),
    }
}

fn tls_options(reader: &mut Reader<'_>, fields: &Fields<'_>) -> TlsOptions {
    let ca_file = fields.value(reader, "ca_file", values::not_empty);
    TlsOptions {
        server_name: fields.value(reader, "server_name", values::not_empty),
        ca_file: ca_file.map(|file| {
            let path = reader.path(fields.place_of("ca_file"), &file);
            path.display().to_string()
        }),
        insecure: fields.flag(reader, "insecure"),
    }
}

pub(crate) fn tcp(reader: &mut Reader<'_>, fields: &Fields<'_>) -> TcpTest {
    TcpTest {
        port: fields.whole(reader, "port"),
        send: fields.text(reader, "send"),
        expect: fields.value(reader, "expect", values::pattern),
    }
}

pub(crate) fn tls(reader: &mut Reader<'_>, fields: &Fields<'_>) -> TlsTest {
    let warn_before: Duration = fields.or_default(reader, "warn_before", values::duration);
    let fail_before: Duration = fields.or_default(reader, "fail_before", values::duration);
    if fail_before > warn_before {
        reader.error(
            fields.place_of("fail_before"),
            "`fail_before` is longer than `warn_before`: it would never warn",
        );
    }
    TlsTest {
        port: fields.whole(reader, "port"),
        warn_before,
        fail_before,
        options: tls_options(reader, fields),
    }
}

pub(crate) fn dns(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<DnsTest> {
    let names = RECORDS.map(|(name, _)| name);
    let record = fields.or_default(reader, "type", |text| {
        let word = values::one_of(text, &names)?;
        let found = RECORDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, record)| *record).ok_or_else(String::new)
    });
    let (name, port) = (
        fields.value(reader, "name", values::not_empty),
        fields.whole(reader, "port"),
    );
    Some(DnsTest {
        port,
        name: name?,
        record,
        answers: fields.texts(reader, "answers"),
    })
}

pub(crate) fn grpc(reader: &mut Reader<'_>, fields: &Fields<'_>) -> GrpcTest {
    let (tls, tls_options) = tls_or_options(reader, fields);
    GrpcTest {
        port: fields.whole(reader, "port"),
        service: fields.or_default(reader, "service", values::text),
        tls,
        tls_options,
    }
}
