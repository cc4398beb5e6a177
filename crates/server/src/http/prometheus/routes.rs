//! The routes of Prometheus' API, for the table of all routes.

use axum::handler::Handler;

use super::{backup, export, federate, import, labels, metadata, query, read, status};
use crate::http::{
    desk::Desk,
    routes::{Errors, Parameter, Route, get, number, one_of, post, text},
};

const QUERY: Parameter = text("query", "PromQL.");
const TIMEOUT: Parameter = text("timeout", "As `30s`; at most `query.timeout`.");
const LIMIT: Parameter = number("limit", "Entries of the answer; without it or 0: all.");
const LOOKBACK: Parameter = text("lookback_delta", "How long a sample counts as current.");
const STATS: Parameter = text("stats", "`all`: what the query took.");
const START: Parameter = text("start", "Seconds since 1970, or RFC 3339.");
const END: Parameter = text("end", "As `start`; included.");
const TIME: Parameter = text("time", "When; now when absent.");
const STEP: Parameter = text("step", "Seconds, or as `1m`.");
const METRIC: Parameter = text("metric", "Only this family.");
const MATCH: Parameter = text("match[]", "A selector; may be given more than once.");

const NAME: Parameter = text("name", "Of the backup: letters, digits, `-`, `_`, `.`.");
const FORMAT: Parameter = one_of(
    "format",
    &["jsonl", "prometheus", "openmetrics"],
    "What the lines are.",
);

/// By `GET`, and by `POST` with a form, for queries that are too long for a URL.
fn both<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    names: [&'static str; 2],
    says: &'static str,
    handler: H,
    parameters: &'static [Parameter],
) -> [Route; 2] {
    let by_get = get(path, names[0], says, handler.clone(), "PrometheusAnswer");
    let by_post =
        post(path, names[1], says, handler, "").takes_other("application/x-www-form-urlencoded");
    [by_get.query(parameters), by_post.gives("PrometheusAnswer")]
}

fn one<H: Handler<T, Desk>, T: 'static>(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    handler: H,
) -> Route {
    get(path, name, says, handler, "PrometheusAnswer")
}

pub(crate) fn routes() -> Vec<Route> {
    let mut routes = querying_routes();
    routes.extend(describing_routes());
    routes.extend(moving_routes());
    let mut routes: Vec<Route> = routes
        .into_iter()
        .map(|route| route.errors(Errors::Prometheus))
        .collect();
    routes.extend(reading_routes());
    // Each ends by a deadline of its own.
    routes.into_iter().map(Route::without_deadline).collect()
}

/// For promtool, and for a Prometheus, which shows an answer's text in its log.
fn reading_routes() -> Vec<Route> {
    vec![
        get(
            "/-/healthy",
            "prometheusHealthy",
            "The process answers, as promtool asks.",
            status::healthy,
            "",
        )
        .gives_other("text/plain")
        .errors(Errors::Text),
        get(
            "/-/ready",
            "prometheusReady",
            "Whether queries are answered, as promtool asks; 503 when not.",
            status::ready,
            "",
        )
        .gives_other("text/plain")
        .errors(Errors::Text),
        get(
            "/federate",
            "federate",
            "The current sample of each selected series, for another Prometheus to scrape.",
            federate::federate,
            "",
        )
        .query(&[MATCH])
        .gives_other("text/plain")
        .errors(Errors::Text),
        post(
            "/api/v1/read",
            "remoteRead",
            "Prometheus' remote read: samples as they are, or as streamed chunks.",
            read::read,
            "",
        )
        .takes_other("application/x-protobuf")
        .gives_other("application/x-protobuf")
        .errors(Errors::Text),
    ]
}

fn moving_routes() -> Vec<Route> {
    vec![
        post(
            "/api/v1/import",
            "importSamples",
            "Stores samples of any age: JSON lines, Prometheus' text or OpenMetrics.",
            import::import,
            "",
        )
        .query(&[FORMAT])
        .takes_other("application/x-ndjson")
        .gives("PrometheusAnswer"),
        get(
            "/api/v1/export",
            "exportSamples",
            "The samples of the selected series as they are.",
            export::export,
            "",
        )
        .query(&[MATCH, START, END, FORMAT])
        .gives_other("application/x-ndjson"),
        post(
            "/api/v1/metrics/backup",
            "backupMetrics",
            "Writes the store as it is now into a directory beside it.",
            backup::backup,
            "",
        )
        .query(&[NAME])
        .takes_nothing()
        .gives("PrometheusAnswer"),
    ]
}

fn querying_routes() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(both(
        "/api/v1/query",
        ["query", "queryByForm"],
        "A query at one instant.",
        query::query,
        &[QUERY, TIME, TIMEOUT, LIMIT, LOOKBACK, STATS],
    ));
    routes.extend(both(
        "/api/v1/query_range",
        ["queryRange", "queryRangeByForm"],
        "A query at each step of a range.",
        query::query_range,
        &[QUERY, START, END, STEP, TIMEOUT, LIMIT, LOOKBACK, STATS],
    ));
    routes.extend(both(
        "/api/v1/query_exemplars",
        ["queryExemplars", "queryExemplarsByForm"],
        "Exemplars of the series that a query selects.",
        metadata::exemplars,
        &[QUERY, START, END],
    ));
    routes.extend(both(
        "/api/v1/format_query",
        ["formatQuery", "formatQueryByForm"],
        "A query as it was understood.",
        metadata::format_query,
        &[QUERY],
    ));
    routes.extend(both(
        "/api/v1/series",
        ["listSeries", "listSeriesByForm"],
        "Labels of the selected series.",
        labels::series,
        &[MATCH, START, END, LIMIT],
    ));
    routes.extend(both(
        "/api/v1/labels",
        ["listLabels", "listLabelsByForm"],
        "Names of labels.",
        labels::names,
        &[MATCH, START, END, LIMIT],
    ));
    routes
}

fn describing_routes() -> Vec<Route> {
    vec![
        one(
            "/api/v1/label/{name}/values",
            "listLabelValues",
            "Values of a label.",
            labels::values,
        )
        .query(&[MATCH, START, END, LIMIT]),
        one(
            "/api/v1/metadata",
            "listMetadata",
            "Types, units and help of metric families.",
            metadata::metadata,
        )
        .query(&[METRIC, LIMIT]),
        one(
            "/api/v1/targets/metadata",
            "listTargetsMetadata",
            "What each target of a Prometheus says of its families: nothing; see `metadata`.",
            status::targets_metadata,
        ),
        one(
            "/api/v1/scrape_pools",
            "listScrapePools",
            "Names of the scrapes.",
            status::scrape_pools,
        ),
        one(
            "/api/v1/rules",
            "listRules",
            "Rules of a Prometheus: none.",
            status::rules,
        ),
        one(
            "/api/v1/alerts",
            "listAlerts",
            "Alerts of a Prometheus' rules: none.",
            status::alerts,
        ),
        one(
            "/api/v1/alertmanagers",
            "listAlertmanagers",
            "Where a Prometheus sends alerts: nowhere.",
            status::alertmanagers,
        ),
        one(
            "/api/v1/status/buildinfo",
            "statusBuildInfo",
            "Which Prometheus' API this is.",
            status::build_info,
        ),
        one(
            "/api/v1/status/runtimeinfo",
            "statusRuntimeInfo",
            "Since when, and on how many processors.",
            status::runtime_info,
        ),
        one(
            "/api/v1/status/config",
            "statusConfig",
            "Empty: the configuration is no Prometheus'.",
            status::config,
        ),
        one(
            "/api/v1/status/flags",
            "statusFlags",
            "Budgets of queries, as Prometheus' flags.",
            status::flags,
        ),
        one(
            "/api/v1/status/tsdb",
            "statusTsdb",
            "How much the metrics store holds, and of what the most.",
            status::tsdb,
        )
        .query(&[LIMIT]),
        one(
            "/api/v1/status/walreplay",
            "statusWalReplay",
            "Whether the store has been opened.",
            status::wal_replay,
        ),
    ]
}
