//! The metrics store as Prometheus' clients see it: the API byte by byte, promtool, a real Prometheus that reads from here,
//! scrapes from here, and answers the same queries over the same samples; and the command line.

#[path = "../production/mod.rs"]
mod production;

mod api;
mod budgets;
mod chance;
mod history;
mod lines;
mod peers;
mod readers;
