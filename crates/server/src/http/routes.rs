//! Every route in one table: what it does, what it takes and what it gives. Router and OpenAPI document are
//! both made from it, so neither can have a route that the other lacks.

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::{Method, StatusCode},
    middleware,
    routing::{MethodFilter, MethodRouter, on},
};

use super::{
    desk::Desk, explain, guard, hosts, openapi, own, person, problem::Problem, prometheus, push,
    push_metrics, read, scrapes, streams, test_now,
};

/// A parameter in the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: ParameterKind,
    pub(crate) says: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ParameterKind {
    Text,
    Number,
    OneOf(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// Name of a schema.
    Json(&'static str),
    /// A media type.
    Other(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Gives {
    /// Name of a schema.
    Json(&'static str),
    /// A media type.
    Other(&'static str),
}

/// How a route says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errors {
    /// RFC 9457.
    Problem,
    /// As Prometheus' own API.
    Prometheus,
    /// A line of text.
    Text,
}

/// What the document says of a route.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) says: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) takes: Option<Takes>,
    pub(crate) gives: Gives,
    pub(crate) errors: Errors,
    /// Streams and tests end by rules of their own.
    pub(crate) has_deadline: bool,
    service: MethodRouter<Desk>,
}

pub(super) fn get<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    handler: H,
    gives: &'static str,
) -> Route {
    Route {
        method: Method::GET,
        path,
        name,
        says,
        query: &[],
        takes: None,
        gives: Gives::Json(gives),
        errors: Errors::Problem,
        has_deadline: true,
        service: on(MethodFilter::GET, handler),
    }
}

pub(super) fn post<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    handler: H,
    takes: &'static str,
) -> Route {
    Route {
        method: Method::POST,
        takes: Some(Takes::Json(takes)),
        gives: Gives::Json("Accepted"),
        service: on(MethodFilter::POST, handler.clone()),
        ..get(path, name, says, handler, "")
    }
}

/// A body in a format of its own.
fn bring<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    Route {
        takes: None,
        ..post(path, name, says, handler, "")
    }
    .gives_other("text/plain")
}

fn delete<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    Route {
        method: Method::DELETE,
        service: on(MethodFilter::DELETE, handler.clone()),
        ..get(path, name, says, handler, "Accepted")
    }
}

impl Route {
    pub(super) fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    pub(super) fn gives(self, schema: &'static str) -> Self {
        Self {
            gives: Gives::Json(schema),
            ..self
        }
    }

    pub(super) fn gives_other(self, media_type: &'static str) -> Self {
        Self {
            gives: Gives::Other(media_type),
            ..self
        }
    }

    pub(super) fn takes_other(self, media_type: &'static str) -> Self {
        Self {
            takes: Some(Takes::Other(media_type)),
            ..self
        }
    }

    pub(super) fn takes_nothing(self) -> Self {
        Self {
            takes: None,
            ..self
        }
    }

    pub(super) fn errors(self, errors: Errors) -> Self {
        Self { errors, ..self }
    }

    pub(super) fn without_deadline(self) -> Self {
        Self {
            has_deadline: false,
            ..self
        }
    }
}

pub(super) const fn text(name: &'static str, says: &'static str) -> Parameter {
    Parameter {
        name,
        kind: ParameterKind::Text,
        says,
    }
}

pub(super) const fn number(name: &'static str, says: &'static str) -> Parameter {
    Parameter {
        name,
        kind: ParameterKind::Number,
        says,
    }
}

pub(super) const fn one_of(
    name: &'static str,
    values: &'static [&'static str],
    says: &'static str,
) -> Parameter {
    Parameter {
        name,
        kind: ParameterKind::OneOf(values),
        says,
    }
}

const AFTER: Parameter = text("after", "The `next` of the page before.");
const LIMIT: Parameter = number("limit", "Items on a page: 1 to 1000, otherwise 100.");
const SERVICE: Parameter = text("service", "Only of this service.");
const HEALTH: Parameter = one_of(
    "health",
    &["healthy", "failing", "repairing", "probation", "unknown"],
    "Only in this state.",
);
const CASE_STATE: Parameter = one_of(
    "state",
    &["open", "closed", "all"],
    "Open ones when absent.",
);
const AFTER_SEQ: Parameter = number("after", "Begin after the record of this number.");

pub(crate) fn all() -> Vec<Route> {
    let mut routes = own_routes();
    routes.extend(reading_routes());
    routes.extend(person_routes());
    routes.extend(pushing_routes());
    routes.extend(prometheus::routes());
    routes
}

fn own_routes() -> Vec<Route> {
    vec![
        get(
            "/healthz",
            "healthz",
            "The process answers.",
            own::healthz,
            "",
        )
        .gives_other("text/plain"),
        get(
            "/readyz",
            "readyz",
            "Whether it decides and records; 503 when not.",
            own::readyz,
            "ServerStatus",
        ),
        get(
            "/metrics",
            "metrics",
            "Pitcrew's own metrics, for Prometheus.",
            own::metrics,
            "",
        )
        .gives_other("application/openmetrics-text"),
        get(
            "/api/v1/openapi.json",
            "openapi",
            "This document.",
            openapi::document_json,
            "",
        )
        .gives_other("application/json"),
    ]
}

fn reading_routes() -> Vec<Route> {
    vec![
        get(
            "/api/v1/report",
            "report",
            "What is, now, on one page.",
            read::report,
            "Report",
        ),
        get(
            "/api/v1/services",
            "listServices",
            "All services.",
            read::services,
            "ServicePage",
        ),
        get(
            "/api/v1/targets",
            "listTargets",
            "Targets in order of their ids.",
            read::targets,
            "TargetPage",
        )
        .query(&[AFTER, LIMIT, SERVICE, HEALTH]),
        get(
            "/api/v1/targets/{id}",
            "getTarget",
            "One target.",
            read::target,
            "TargetStatus",
        ),
        get(
            "/api/v1/cases",
            "listCases",
            "Cases, the newest first.",
            read::cases,
            "CasePage",
        )
        .query(&[AFTER, LIMIT, CASE_STATE, SERVICE]),
        get(
            "/api/v1/cases/{id}",
            "getCase",
            "One case, open or lately closed.",
            read::case,
            "CaseLine",
        ),
        get(
            "/api/v1/orders",
            "listOrders",
            "Orders in flight and lately ended ones, the newest first.",
            read::orders,
            "OrderPage",
        )
        .query(&[AFTER, LIMIT]),
        get(
            "/api/v1/orders/{id}",
            "getOrder",
            "One order.",
            read::order,
            "OrderState",
        ),
        get(
            "/api/v1/limits",
            "listLimits",
            "Every limit, what it allows and what of it is used.",
            read::limits,
            "LimitPage",
        )
        .query(&[AFTER, LIMIT]),
        get(
            "/api/v1/explain/{id}",
            "explain",
            "The whole chain of a case, an order or a target.",
            explain::explain,
            "Explanation",
        ),
        get(
            "/api/v1/scrapes",
            "listScrapes",
            "What is scraped, and what became of it the last time.",
            scrapes::scrapes,
            "ScrapePage",
        )
        .query(&[AFTER, LIMIT]),
        get(
            "/api/v1/ledger",
            "listLedger",
            "Records of the ledger, oldest first.",
            read::ledger,
            "LedgerPage",
        )
        .query(&[AFTER_SEQ, LIMIT]),
        get(
            "/api/v1/ledger/verify",
            "verifyLedger",
            "Checks the hash chain end to end.",
            read::verify_ledger,
            "LedgerVerified",
        )
        .without_deadline(),
        get(
            "/api/v1/ledger/export",
            "exportLedger",
            "The whole chain as JSON lines.",
            streams::export,
            "",
        )
        .gives_other("application/x-ndjson")
        .without_deadline(),
        get(
            "/api/v1/events",
            "events",
            "Server-sent events: `record` as it is committed, `case` as it changes.",
            streams::events,
            "",
        )
        .query(&[AFTER_SEQ])
        .gives_other("text/event-stream")
        .without_deadline(),
    ]
}

fn person_routes() -> Vec<Route> {
    vec![
        post(
            "/api/v1/pause",
            "pause",
            "No new order in a scope; testing, undo and verification go on.",
            person::pause,
            "PauseRequest",
        ),
        post(
            "/api/v1/resume",
            "resume",
            "Lifts a pause and releases breakers and the fleet brake.",
            person::resume,
            "ResumeRequest",
        ),
        post(
            "/api/v1/holds",
            "hold",
            "A person's hand on a target, for a time.",
            person::hold,
            "HoldRequest",
        ),
        delete(
            "/api/v1/holds/{id}",
            "release",
            "Takes the hand off a target.",
            person::release,
        ),
        post(
            "/api/v1/orders",
            "giveOrder",
            "A person's own order, through the same limits.",
            person::give_order,
            "OrderRequest",
        ),
        post(
            "/api/v1/orders/{id}/approve",
            "approve",
            "Approves exactly the order with this digest.",
            person::approve,
            "ApproveRequest",
        ),
        post(
            "/api/v1/orders/{id}/deny",
            "deny",
            "Denies an order that waits for approval.",
            person::deny,
            "DenyRequest",
        ),
        post(
            "/api/v1/cases/{id}/close",
            "closeCase",
            "Closes a handed-over case that a person has dealt with.",
            person::close,
            "CloseRequest",
        ),
        post(
            "/api/v1/sources/{id}/accept",
            "acceptSource",
            "An empty or shrunken answer of a source, which was refused, is right.",
            person::accept,
            "AcceptRequest",
        ),
        get(
            "/api/v1/hosts",
            "listHosts",
            "Hosts with an agent, by name.",
            hosts::hosts,
            "HostPage",
        )
        .query(&[AFTER, LIMIT]),
        post(
            "/api/v1/hosts",
            "enrolHost",
            "A token with which a host can enrol once, within an hour.",
            hosts::enrol,
            "HostRequest",
        )
        .gives("Enrolment"),
        post(
            "/api/v1/hosts/revoke",
            "revokeHost",
            "Ends a host's certificates, tokens and connection at once.",
            hosts::revoke,
            "HostRequest",
        )
        .gives("HostStatus"),
        post(
            "/api/v1/hosts/accept",
            "acceptHost",
            "Believes what a host said last, though more than half of it is gone.",
            hosts::accept,
            "HostRequest",
        )
        .gives("HostStatus"),
        post(
            "/api/v1/targets/{id}/test",
            "testTarget",
            "Runs tests now and shows the evidence; nothing is decided on it.",
            test_now::test,
            "TestRequest",
        )
        .gives("TestResults")
        .without_deadline(),
    ]
}

fn pushing_routes() -> Vec<Route> {
    vec![
        post(
            "/api/v1/observations",
            "pushObservations",
            "Results of tests of kind `push`.",
            push::observations,
            "PushRequest",
        )
        .gives("PushAnswer"),
        post(
            "/api/v1/alerts",
            "pushAlerts",
            "Alertmanager's webhook: an alert fails the push test of its name.",
            push::alerts,
            "AlertGroup",
        )
        .gives("PushAnswer"),
        bring(
            "/api/v1/write",
            "remoteWrite",
            "Prometheus' remote write, 1.0 and 2.0.",
            push_metrics::write,
        ),
        bring(
            "/v1/metrics",
            "otlpMetrics",
            "OpenTelemetry's metrics over HTTP, in protobuf or JSON.",
            push_metrics::otlp_http,
        )
        .gives_other("application/x-protobuf"),
        bring(
            "/api/v1/otlp/v1/metrics",
            "otlpMetricsAsPrometheus",
            "The same, where Prometheus has it.",
            push_metrics::otlp_http,
        )
        .gives_other("application/x-protobuf"),
        bring(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            "otlpMetricsGrpc",
            "The same over gRPC, on this port.",
            push_metrics::otlp_grpc,
        )
        .gives_other("application/grpc"),
    ]
}

/// Without its guard, which sees requests to unknown paths too.
pub(crate) fn router(desk: Desk) -> Router {
    let mut router = Router::new();
    for route in all() {
        let mut service = route.service;
        if route.has_deadline {
            service = service.layer(middleware::from_fn(guard::deadline));
        }
        router = router.route(route.path, service);
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(desk)
}

async fn no_such_path(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(80).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at `{path}`; `/api/v1/openapi.json` lists what is here"),
    )
}

async fn no_such_method(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(80).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "`{path}` doesn't take {}; `/api/v1/openapi.json` lists what it takes",
            request.method()
        ),
    )
}
