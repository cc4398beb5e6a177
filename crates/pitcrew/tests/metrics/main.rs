//! Metrics of a running server: what Prometheus, exporters and OpenTelemetry's clients bring, and what hostile ones do.
//!
//! What was stored is read from the files of the stopped server by the query engine, whatever the API says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk_full;
mod hostile;
mod loop_series;
mod message;
mod metric_tests;
mod open_telemetry;
#[path = "../production/mod.rs"]
mod production;
mod prometheus;
mod scrape;
mod scrape_forms;
mod stored;
