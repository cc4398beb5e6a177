//! The JSON Schemas of what the API takes and gives. The integration tests hold real answers against them.

use serde_json::{Map, Value, json};

pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(crate) fn all() -> Map<String, Value> {
    let parts = [
        server(),
        targets(),
        cases(),
        orders(),
        ledger(),
        requests(),
        pushes(),
        prometheus(),
    ];
    parts
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

type Schemas = Vec<(&'static str, Value)>;

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn time() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "Milliseconds since 1970-01-01T00:00:00Z." })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": "^(0|([0-9]+(y|w|d|h|ms|m|s))+)$", "examples": ["1h30m"] })
}

fn id(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}-[0-9]+$") })
}

fn one_of(values: &[&str]) -> Value {
    json!({ "type": "string", "enum": values })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// All members are required; further ones may come.
fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// What is asked of us: unknown members are refused.
fn request(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let mut schema = object(required);
    for (name, member) in optional {
        schema["properties"][*name] = member.clone();
    }
    schema["additionalProperties"] = json!(false);
    schema
}

/// An object with one of these members: `{"held": {…}}`.
fn variant(variants: &[(&str, Value)]) -> Value {
    json!(
        variants
            .iter()
            .map(|(name, schema)| object(&[(name, schema.clone())]))
            .collect::<Vec<_>>()
    )
}

fn any_of(names: &[&str], variants: &[(&str, Value)]) -> Value {
    let mut choices = vec![];
    if !names.is_empty() {
        choices.push(one_of(names));
    }
    if let Value::Array(objects) = variant(variants) {
        choices.extend(objects);
    }
    json!({ "anyOf": choices })
}

fn page(items: &str) -> Value {
    object(&[("items", list(reference(items))), ("next", or_null(text()))])
}

fn server() -> Schemas {
    vec![
        (
            "Problem",
            object(&[
                ("type", text()),
                ("title", text()),
                ("status", number()),
                ("detail", text()),
            ]),
        ),
        (
            "ServerStatus",
            object(&[
                ("version", text()),
                ("installation", text()),
                ("role", one_of(&["leads", "follows"])),
                ("leader", or_null(text())),
                ("started_at", time()),
                ("ready", truth()),
                ("troubles", list(text())),
                ("configuration", reference("ConfigurationStatus")),
            ]),
        ),
        (
            "ConfigurationStatus",
            object(&[
                ("directory", text()),
                ("digest", text()),
                ("loaded_at", time()),
                ("warnings", list(text())),
                (
                    "refused",
                    or_null(object(&[("at", time()), ("errors", list(text()))])),
                ),
            ]),
        ),
        (
            "Report",
            object(&[
                ("at", time()),
                ("server", reference("ServerStatus")),
                ("services", list(reference("ServiceStatus"))),
                ("cases", list(reference("CaseLine"))),
                ("cases_open", number()),
                ("cases_needing_person", number()),
            ]),
        ),
        (
            "Scope",
            any_of(
                &["fleet"],
                &[
                    ("service", text()),
                    (
                        "domain",
                        object(&[("service", text()), ("label", text()), ("value", text())]),
                    ),
                ],
            ),
        ),
        (
            "LimitStatus",
            object(&[
                ("scope", reference("Scope")),
                ("name", text()),
                ("limit", text()),
                ("used", text()),
                ("exhausted", truth()),
                ("holds", list(id("case"))),
            ]),
        ),
        ("LimitPage", page("LimitStatus")),
    ]
}

fn targets() -> Schemas {
    vec![
        (
            "ServiceStatus",
            object(&[
                ("name", text()),
                (
                    "autonomy",
                    one_of(&["observe", "propose", "approve", "act"]),
                ),
                ("targets", number()),
                ("healthy", number()),
                ("failing", number()),
                ("unknown", number()),
                ("repairing", number()),
                ("probation", number()),
                ("held", number()),
                ("unavailable_max", number()),
                ("unavailable", number()),
                ("paused", truth()),
                ("pauses", list(reference("PauseStatus"))),
                ("on_hold", number()),
                ("drained", number()),
                ("breakers", list(text())),
            ]),
        ),
        (
            "PauseStatus",
            object(&[
                ("scope", reference("Scope")),
                ("by", text()),
                ("why", text()),
            ]),
        ),
        ("ServicePage", page("ServiceStatus")),
        (
            "Target",
            object(&[
                ("id", text()),
                ("address", or_null(text())),
                (
                    "labels",
                    json!({ "type": "object", "additionalProperties": { "type": "string" } }),
                ),
                ("run_on", or_null(text())),
                ("runner", or_null(reference("Runner"))),
                ("source", text()),
            ]),
        ),
        (
            "Runner",
            any_of(
                &["supervised"],
                &[
                    (
                        "unit",
                        object(&[("name", text()), ("bus", or_null(text()))]),
                    ),
                    (
                        "container",
                        object(&[("name", text()), ("socket", or_null(text()))]),
                    ),
                    (
                        "listener",
                        object(&[
                            ("port", number()),
                            ("exe", text()),
                            ("command", list(text())),
                        ]),
                    ),
                    ("command", json!({ "type": "object" })),
                ],
            ),
        ),
        (
            "TargetStatus",
            object(&[
                ("target", reference("Target")),
                ("service", or_null(text())),
                (
                    "health",
                    one_of(&["healthy", "failing", "repairing", "probation", "unknown"]),
                ),
                ("tests", list(reference("TestStatus"))),
                ("case", or_null(id("case"))),
                (
                    "hold",
                    or_null(object(&[
                        ("by", text()),
                        ("why", text()),
                        ("until", time()),
                        ("stopped", truth()),
                    ])),
                ),
                (
                    "drained",
                    or_null(object(&[
                        ("lease", id("order")),
                        ("case", or_null(id("case"))),
                        ("until", time()),
                        ("ending", or_null(text())),
                    ])),
                ),
            ]),
        ),
        ("TargetPage", page("TargetStatus")),
        (
            "TestStatus",
            object(&[
                ("test", text()),
                ("observer", or_null(text())),
                ("verdict", verdict()),
                ("failed_rounds", number()),
                ("answered_at", or_null(time())),
                ("evidence", or_null(text())),
            ]),
        ),
    ]
}

fn verdict() -> Value {
    one_of(&["pass", "warn", "fail", "unknown"])
}

fn cases() -> Schemas {
    let order = || object(&[("order", id("order"))]);
    vec![
        (
            "Case",
            object(&[
                ("id", id("case")),
                ("target", text()),
                ("service", text()),
                ("opened_at", time()),
                ("confirmed_at", or_null(time())),
                ("closed_at", or_null(time())),
                ("phase", reference("Phase")),
                ("findings", list(reference("Finding"))),
                (
                    "progress",
                    or_null(object(&[
                        ("repair", text()),
                        ("step", number()),
                        ("tries", number()),
                    ])),
                ),
                ("orders", list(id("order"))),
                ("handed_over", or_null(text())),
            ]),
        ),
        (
            "Phase",
            any_of(
                &["suspected", "confirmed"],
                &[
                    ("held", reference("Hold")),
                    ("repairing", order()),
                    (
                        "verifying",
                        object(&[("order", id("order")), ("since", time()), ("until", time())]),
                    ),
                    ("probation", object(&[("until", time())])),
                    (
                        "closed",
                        one_of(&[
                            "cured",
                            "self_recovered",
                            "false_alarm",
                            "handed_over",
                            "superseded",
                        ]),
                    ),
                ],
            ),
        ),
        ("Hold", {
            let mut hold = object(&[("name", text())]);
            hold["description"] =
                json!("The limit that holds an order back, with the values that say why.");
            hold
        }),
        (
            "Finding",
            object(&[
                ("test", text()),
                ("proves", one_of(&["down", "degraded"])),
                ("since", time()),
                ("believed_at", or_null(time())),
                ("rounds", number()),
                ("observers", list(text())),
                ("evidence", text()),
            ]),
        ),
        (
            "CaseLine",
            object(&[
                ("case", reference("Case")),
                ("needs_person", truth()),
                ("stands", text()),
            ]),
        ),
        ("CasePage", page("CaseLine")),
    ]
}

fn orders() -> Schemas {
    vec![
        (
            "Action",
            any_of(
                &["restart", "start", "stop", "reboot", "power_cycle"],
                &[
                    (
                        "drain",
                        object(&[("by", json!({ "type": "object" })), ("lease", duration())]),
                    ),
                    ("undrain", json!({ "type": "object" })),
                    (
                        "command",
                        object(&[
                            ("name", text()),
                            ("command", list(text())),
                            ("timeout", duration()),
                        ]),
                    ),
                    (
                        "webhook",
                        object(&[("name", text()), ("url", text()), ("timeout", duration())]),
                    ),
                    ("hand_over", object(&[("to", or_null(text()))])),
                ],
            ),
        ),
        (
            "Order",
            object(&[
                ("id", id("order")),
                ("operation", text()),
                ("case", or_null(id("case"))),
                ("target", reference("Target")),
                ("service", or_null(text())),
                ("action", reference("Action")),
                (
                    "lease",
                    or_null(object(&[("id", id("order")), ("until", time())])),
                ),
                ("runner", or_null(reference("Runner"))),
                (
                    "authority",
                    any_of(
                        &["policy"],
                        &[
                            ("approval", object(&[("by", text())])),
                            ("person", object(&[("by", text()), ("why", text())])),
                        ],
                    ),
                ),
                ("repair", or_null(text())),
                ("step", number()),
                ("attempt", number()),
                ("given_at", time()),
                ("settle", duration()),
                ("expires_at", time()),
                ("fence", number()),
                ("digest", text()),
                ("target_is_down", truth()),
            ]),
        ),
        (
            "OrderState",
            object(&[
                ("order", reference("Order")),
                ("given", truth()),
                ("outcome", or_null(reference("Outcome"))),
                ("ended_at", or_null(time())),
            ]),
        ),
        ("OrderPage", page("OrderState")),
        (
            "Outcome",
            object(&[
                ("order", id("order")),
                ("kind", one_of(&["done", "failed", "unknown"])),
                ("at", time()),
                ("detail", text()),
            ]),
        ),
    ]
}

fn ledger() -> Schemas {
    vec![
        (
            "Record",
            object(&[
                ("at", time()),
                ("case", or_null(id("case"))),
                ("order", or_null(id("order"))),
                ("target", or_null(text())),
                ("service", or_null(text())),
                ("fact", object(&[("kind", text())])),
            ]),
        ),
        (
            "LedgerEntry",
            object(&[
                ("seq", number()),
                (
                    "hash",
                    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
                ),
                ("record", reference("Record")),
            ]),
        ),
        ("LedgerPage", page("LedgerEntry")),
        (
            "LedgerVerified",
            object(&[
                ("installation", text()),
                ("entries", number()),
                ("last_hash", text()),
            ]),
        ),
        (
            "Explanation",
            object(&[
                ("at", time()),
                (
                    "subject",
                    any_of(
                        &[],
                        &[
                            ("case", id("case")),
                            ("order", id("order")),
                            ("target", text()),
                        ],
                    ),
                ),
                ("target", or_null(reference("TargetStatus"))),
                ("case", or_null(reference("CaseLine"))),
                ("orders", list(reference("OrderState"))),
                ("records", list(reference("LedgerEntry"))),
                ("left_out", number()),
            ]),
        ),
    ]
}

fn requests() -> Schemas {
    vec![
        (
            "PauseRequest",
            request(&[("why", text())], &[("scope", reference("Scope"))]),
        ),
        (
            "ResumeRequest",
            request(&[], &[("scope", reference("Scope"))]),
        ),
        (
            "HoldRequest",
            request(
                &[("target", text()), ("for", duration()), ("why", text())],
                &[],
            ),
        ),
        (
            "OrderRequest",
            request(
                &[("target", text()), ("action", text()), ("why", text())],
                &[],
            ),
        ),
        ("HostRequest", request(&[("host", text())], &[])),
        (
            "Enrolment",
            object(&[("host", text()), ("token", text()), ("expires_at", time())]),
        ),
        (
            "HostStatus",
            object(&[
                ("host", text()),
                ("connected_since", or_null(time())),
                ("version", or_null(text())),
                ("boot_id", or_null(text())),
                ("targets", number()),
                ("is_refused", truth()),
            ]),
        ),
        ("HostPage", page("HostStatus")),
        (
            "ScrapeStatus",
            object(&[
                ("scrape", text()),
                ("target", text()),
                ("url", text()),
                (
                    "labels",
                    json!({ "type": "object", "additionalProperties": text() }),
                ),
                ("last_at", or_null(time())),
                ("took_seconds", or_null(json!({ "type": "number" }))),
                ("samples", or_null(number())),
                ("error", or_null(text())),
            ]),
        ),
        ("ScrapePage", page("ScrapeStatus")),
        ("ApproveRequest", request(&[("digest", text())], &[])),
        ("DenyRequest", request(&[], &[])),
        ("CloseRequest", request(&[("why", text())], &[])),
        ("AcceptRequest", request(&[("why", text())], &[])),
        ("TestRequest", request(&[], &[("tests", list(text()))])),
        (
            "Accepted",
            object(&[
                ("recorded", truth()),
                ("order", or_null(id("order"))),
                ("case", or_null(id("case"))),
                ("record", reference("Record")),
            ]),
        ),
        (
            "TestResults",
            object(&[
                ("target", text()),
                (
                    "results",
                    list(object(&[
                        ("test", text()),
                        ("kind", text()),
                        ("verdict", verdict()),
                        ("evidence", text()),
                        ("took_us", number()),
                    ])),
                ),
            ]),
        ),
    ]
}

fn pushes() -> Schemas {
    let labels = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let observation = request(
        &[("target", text()), ("test", text()), ("verdict", verdict())],
        &[("evidence", text()), ("observer", or_null(text()))],
    );
    let mut alert = object(&[
        ("status", one_of(&["firing", "resolved"])),
        ("labels", labels()),
    ]);
    alert["properties"]["annotations"] = labels();
    vec![
        (
            "PushRequest",
            request(&[("observations", list(observation))], &[]),
        ),
        (
            "PushAnswer",
            object(&[
                ("accepted", number()),
                (
                    "refused",
                    list(object(&[("index", number()), ("why", text())])),
                ),
            ]),
        ),
        ("AlertGroup", object(&[("alerts", list(alert))])),
    ]
}

/// What is the same in all of Prometheus' answers; its documentation has the rest.
fn prometheus() -> Schemas {
    let mut answer = object(&[("status", one_of(&["success"])), ("data", json!({}))]);
    for name in ["warnings", "infos"] {
        answer["properties"][name] = list(text());
    }
    let kinds = [
        "bad_data",
        "canceled",
        "execution",
        "internal",
        "timeout",
        "unavailable",
    ];
    let error = object(&[
        ("status", one_of(&["error"])),
        ("errorType", one_of(&kinds)),
        ("error", text()),
    ]);
    vec![("PrometheusAnswer", answer), ("PrometheusError", error)]
}
