//! Services: what users depend on, how it is tested, repaired and limited.

use std::{collections::HashMap, sync::Arc};

use pitcrew_model::{Autonomy, DrainBy, Selector, Service, ServiceName, TestName, Window};

use super::{
    drain::{DRAIN, drain},
    labels::{is_label_name, labels},
    limits::{LIMITS, limits},
    repair::{REPAIR, ReadRepair, repair},
    runner::{RUNS_AS, runs_as},
    test::{ReadTest, TEST, test},
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional, required},
    suggest::nearest,
    tree::{Node, Value},
    values,
};

const AUTONOMY: [&str; 4] = ["observe", "propose", "approve", "act"];

pub(crate) const SERVICE: Shape = Shape::new(
    "service",
    "What users depend on: targets with certain labels, how they are tested and repaired.",
    &[
        required("name", values::NAME, "Its name."),
        required(
            "select",
            values::LABELS,
            "Labels, all of which a target must have; empty selects nothing.",
        ),
        optional(
            "domains",
            values::TEXTS,
            "Labels whose equal values fail together: zone, rack, host.",
        ),
        defaulted(
            "autonomy",
            Kind::OneOf(&AUTONOMY),
            "observe",
            "What Pitcrew may do: only watch, say what it would do, do it after approval, do it alone.",
        ),
        optional(
            "tests",
            Kind::List(&Kind::Shape(&TEST)),
            "What is asked of each target.",
        ),
        optional(
            "repairs",
            Kind::List(&Kind::Shape(&REPAIR)),
            "What is done when tests fail.",
        ),
        optional(
            "limits",
            Kind::Shape(&LIMITS),
            "What must hold after an order takes effect.",
        ),
        optional(
            "windows",
            Kind::List(&Kind::Shape(&WINDOW)),
            "Times with less autonomy.",
        ),
        optional(
            "runs_as",
            Kind::Shape(&RUNS_AS),
            "What starts and stops the targets, for those whose source doesn't say.",
        ),
        optional(
            "drain",
            Kind::Shape(&DRAIN),
            "How targets are taken out of use and given back, for `drain` steps and by hand.",
        ),
    ],
);

const WINDOW: Shape = Shape::new(
    "window",
    "A time with at most this autonomy.",
    &[
        required("name", values::NAME, "Its name in reports."),
        required("from", values::TIME, "Begin."),
        required("to", values::TIME, "End, not included."),
        required(
            "autonomy",
            Kind::OneOf(&AUTONOMY),
            "What Pitcrew may do at most.",
        ),
    ],
);

/// A service and where its parts stand.
pub(crate) struct ReadService {
    pub(crate) service: Service,
    pub(crate) name_at: Span,
    pub(crate) select_at: Span,
    /// Also when it could not be read.
    pub(crate) has_runs_as: bool,
    /// Where it says that the targets' hosts drain them.
    pub(crate) drained_by_hosts: Option<Span>,
    pub(crate) repairs: Vec<ReadRepair>,
}

pub(crate) fn service(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<ReadService> {
    let fields = reader.fields(node, &SERVICE)?;
    let name = fields.value(reader, "name", values::name);
    let select = select(reader, &fields);
    let domains = domains(reader, &fields);
    let autonomy = fields.or_default(reader, "autonomy", autonomy);
    let limits = limits(reader, &fields, &domains);
    let windows = windows(reader, &fields, autonomy);
    let runs_as = runs_as(reader, &fields);
    let tests: Vec<ReadTest> = fields
        .list(reader, "tests")
        .iter()
        .filter_map(|node| test(reader, node))
        .collect();
    let drain = drain(reader, &fields);
    let repairs: Vec<ReadRepair> = fields
        .list(reader, "repairs")
        .iter()
        .filter_map(|node| repair(reader, node, &drain))
        .collect();
    reader.unique("tests", tests.iter().map(|t| (t.name.as_str(), t.name_at)));
    reader.unique(
        "repairs",
        repairs.iter().map(|r| (r.name.as_str(), r.name_at)),
    );
    check_when(reader, &fields, &tests, &repairs);
    let drain = drain.into_drain();
    let by_hosts = matches!(&drain, Some(drain) if matches!(drain.by, DrainBy::HostCommand { .. }));
    let name: ServiceName = name?;
    if tests.is_empty() {
        reader.warn(
            fields.place_of("name"),
            format!("service `{name}` has no tests"),
            "add `tests`: nothing else tells that a target is in trouble",
        );
    }
    Some(ReadService {
        service: Service {
            name,
            select,
            domains,
            autonomy,
            tests: tests
                .into_iter()
                .filter_map(|t| t.test)
                .map(Arc::new)
                .collect(),
            repairs: repairs.iter().filter_map(|r| r.repair.clone()).collect(),
            limits,
            windows,
            runs_as,
            drain,
        },
        name_at: fields.place_of("name"),
        select_at: fields.place_of("select"),
        has_runs_as: fields.has("runs_as"),
        drained_by_hosts: by_hosts.then(|| fields.place_of("drain")),
        repairs,
    })
}

pub(crate) fn select(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Selector {
    let is_empty = |node: &Node<'_>| match &node.value {
        Value::Null => true,
        Value::Map(entries) => entries.is_empty(),
        Value::Scalar { .. } | Value::List(_) => false,
    };
    if let Some(node) = fields.get("select").filter(|node| is_empty(node)) {
        reader.error(
            node.at,
            "`select` is empty: it would select nothing. Name at least one label.",
        );
    }
    Selector(labels(reader, fields, "select"))
}

fn domains(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    for item in fields.list(reader, "domains") {
        let Some(label) = reader.scalar("domains", item, &Kind::Text) else {
            continue;
        };
        if !is_label_name(label) {
            reader.error(item.at, format!("`{label}` is not the name of a label"));
        } else if domains.iter().any(|domain| domain == label) {
            reader.error(item.at, format!("`{label}` is given twice"));
        } else {
            domains.push(label.to_owned());
        }
    }
    domains
}

fn autonomy(text: &str) -> Result<Autonomy, String> {
    values::one_of(text, &AUTONOMY).map(|word| match word {
        "act" => Autonomy::Act,
        "approve" => Autonomy::Approve,
        "propose" => Autonomy::Propose,
        _ => Autonomy::Observe,
    })
}

fn windows(reader: &mut Reader<'_>, fields: &Fields<'_>, of_service: Autonomy) -> Vec<Window> {
    let (mut windows, mut names) = (Vec::new(), Vec::new());
    for item in fields.list(reader, "windows") {
        let Some(fields) = reader.fields(item, &WINDOW) else {
            continue;
        };
        let window = window(reader, &fields);
        if let Some(window) = window {
            if window.autonomy >= of_service {
                reader.warn(
                    fields.place_of("autonomy"),
                    format!(
                        "window `{}` changes nothing: the service has autonomy `{of_service}`",
                        window.name
                    ),
                    "a window can only lower the autonomy of its service",
                );
            }
            names.push((window.name.clone(), fields.place_of("name")));
            windows.push(window);
        }
    }
    reader.unique(
        "windows",
        names.iter().map(|(name, at)| (name.as_str(), *at)),
    );
    windows
}

fn window(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Window> {
    let name = fields.value(reader, "name", values::not_empty);
    let from = fields.value(reader, "from", values::time);
    let to = fields.value(reader, "to", values::time);
    let autonomy = fields.value(reader, "autonomy", autonomy);
    let (from, to) = from.zip(to)?;
    if from >= to {
        reader.error(fields.place_of("to"), "the window ends before it begins");
    }
    Some(Window {
        name: name?,
        from,
        to,
        autonomy: autonomy?,
    })
}

/// Repairs refer to tests that exist, and no test to two repairs.
fn check_when(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    tests: &[ReadTest],
    repairs: &[ReadRepair],
) {
    // A test without a readable name may be the one that is meant.
    let all_named = tests.len() == fields.list(reader, "tests").len();
    let mut repaired: HashMap<&TestName, &ReadRepair> = HashMap::new();
    for repair in repairs {
        for (name, at) in &repair.when_at {
            if !tests.iter().any(|test| test.name == *name) {
                if all_named {
                    unknown_test(reader, *at, name, tests);
                }
            } else if let Some(first) = repaired.insert(name, repair) {
                let place = reader.place(first.name_at);
                reader.warn(
                    *at,
                    format!("test `{name}` has a repair already"),
                    format!("`{}` at {place} is used, not this one", first.name),
                );
            }
        }
    }
}

fn unknown_test(reader: &mut Reader<'_>, at: Span, name: &TestName, tests: &[ReadTest]) {
    let message = match nearest(name.as_str(), tests.iter().map(|test| test.name.as_str())) {
        Some(meant) => format!("there is no test `{name}`, did you mean `{meant}`?"),
        None => format!("there is no test `{name}` in this service"),
    };
    reader.error(at, message);
}
