//! The files' trees → one draft of the production: lists are joined in the order of the files, settings are
//! given once.

pub(crate) mod drain;
pub(crate) mod host;
pub(crate) mod keep;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod power;
mod query;
pub(crate) mod receiver;
pub(crate) mod repair;
pub(crate) mod run;
pub(crate) mod runner;
mod scrape;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod source;
pub(crate) mod test;
mod test_host;
mod test_metric;
mod test_network;
mod test_store;

use std::sync::Arc;

use pitcrew_model::{FleetLimits, MetricsSettings, PowerRule, Scrape, ServerSettings};

use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, optional},
    tree::{Entry, Node, Value},
};
use receiver::ReadReceiver;
use run::ReadRun;
use service::ReadService;
use source::ReadSource;

pub(crate) const PRODUCTION: Shape = Shape::new(
    "configuration",
    "Production as code: what there is, how it is tested and repaired, and within which limits.",
    &[
        optional(
            "find",
            Kind::List(&Kind::Shape(&source::SOURCE)),
            "Where targets are found.",
        ),
        optional(
            "services",
            Kind::List(&Kind::Shape(&service::SERVICE)),
            "What users depend on.",
        ),
        optional(
            "run",
            Kind::List(&Kind::Shape(&run::RUN)),
            "What Pitcrew itself keeps running on this host.",
        ),
        optional(
            "notify",
            Kind::List(&Kind::Shape(&receiver::RECEIVER)),
            "Who is told.",
        ),
        optional(
            "power",
            Kind::List(&Kind::Shape(&power::POWER)),
            "The controllers that give hosts their power, for `power_cycle`.",
        ),
        optional(
            "limits",
            Kind::Shape(&limits::FLEET_LIMITS),
            "Limits over everything.",
        ),
        optional(
            "server",
            Kind::Shape(&server::SERVER),
            "Where the server listens and keeps its records.",
        ),
        optional(
            "metrics",
            Kind::Shape(&metrics::METRICS),
            "What the metrics store may take and how long it keeps.",
        ),
    ],
)
.refusing(&[
    ("agents", "where they connect stands under `server`, and that they are targets under `find`: `- agents: {}`"),
    ("alerts", "there are no alert rules in this version"),
    ("rules", "there are no alert rules in this version"),
    (
        "silences",
        "there are no silences in this version; hold a target with `pitcrew hold`",
    ),
]);

/// Everything the files say, with the places that later checks point at.
pub(crate) struct Draft {
    pub(crate) sources: Vec<ReadSource>,
    pub(crate) services: Vec<ReadService>,
    pub(crate) runs: Vec<ReadRun>,
    pub(crate) receivers: Vec<ReadReceiver>,
    pub(crate) power: Vec<PowerRule>,
    pub(crate) limits: FleetLimits,
    pub(crate) server: ServerSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) scrapes: Vec<Arc<Scrape>>,
    /// Whether all targets, and all receivers, could be read: what is absent otherwise may only be hidden
    /// by another mistake.
    pub(crate) knows_targets: bool,
    pub(crate) knows_receivers: bool,
}

/// `complete`: every file was read to its end.
pub(crate) fn production(reader: &mut Reader<'_>, roots: &[Node<'_>], complete: bool) -> Draft {
    let files: Vec<Fields<'_>> = roots
        .iter()
        .filter_map(|root| root_fields(reader, root))
        .collect();
    let complete = complete && files.len() == roots.len();

    let errors = reader.error_count();
    let mut positions = source::Positions::default();
    let sources = each(reader, &files, "find", |reader, node| {
        source::sources(reader, node, &mut positions)
    });
    let runs = each(reader, &files, "run", run::run);
    let knows_targets = complete && reader.error_count() == errors;

    let errors = reader.error_count();
    let receivers = each(reader, &files, "notify", receiver::receiver);
    let knows_receivers = complete && reader.error_count() == errors;

    let limits = once(reader, &files, "limits").map(|fields| limits::fleet_limits(reader, &fields));
    let server = match once(reader, &files, "server") {
        Some(fields) => server::server(reader, &fields),
        None => server::without_settings(reader, first_place(roots)),
    };
    let metrics = once(reader, &files, "metrics").map(|fields| metrics::metrics(reader, &fields));
    let (metrics, scrapes) = metrics.unwrap_or_default();
    Draft {
        metrics,
        scrapes,
        sources,
        services: each(reader, &files, "services", service::service),
        runs,
        receivers,
        power: each(reader, &files, "power", power::power),
        limits: limits.unwrap_or_default(),
        server,
        knows_targets,
        knows_receivers,
    }
}

fn first_place(roots: &[Node<'_>]) -> Span {
    let nowhere = Span {
        file: 0,
        start: 0,
        end: 0,
    };
    roots.first().map_or(nowhere, |root| root.at)
}

fn root_fields<'t>(reader: &mut Reader<'_>, root: &'t Node<'t>) -> Option<Fields<'t>> {
    if matches!(root.value, Value::Null) {
        reader.error_with_help(
            root.at,
            "this file says nothing",
            "a configuration has the keys `find`, `services`, `run`, `notify`, `power`, `limits`, `server`, `metrics`",
        );
        return None;
    }
    reader.fields(root, &PRODUCTION)
}

/// The items of a list that may be in several files.
fn each<'t, T: IntoIterator>(
    reader: &mut Reader<'_>,
    files: &[Fields<'t>],
    name: &str,
    mut read: impl FnMut(&mut Reader<'_>, &'t Node<'t>) -> T,
) -> Vec<T::Item> {
    let mut items = Vec::new();
    for fields in files {
        for node in fields.list(reader, name) {
            items.extend(read(reader, node));
        }
    }
    items
}

/// Settings that may be in only one of the files.
fn once<'t>(reader: &mut Reader<'_>, files: &[Fields<'t>], name: &str) -> Option<Fields<'t>> {
    let given: Vec<(&Fields<'t>, &Entry<'t>)> = files
        .iter()
        .filter_map(|fields| Some((fields, fields.entry(name)?)))
        .collect();
    let (fields, first) = given.first()?;
    for (_, again) in &given[1..] {
        let place = reader.place(first.key_at);
        reader.error(
            again.key_at,
            format!("`{name}` is given twice; first at {place}"),
        );
    }
    fields.inner(reader, name)
}
