//! The HTTP API. Its routes are in one table, [`routes`]; handlers parse, ask the engine's thread or the ledger,
//! and answer. None of them decides, and none can hold up the loop.

mod desk;
mod explain;
mod guard;
mod hosts;
mod led_elsewhere;
mod listen;
mod openapi;
mod own;
mod paced;
mod person;
mod problem;
mod prometheus;
mod push;
mod push_metrics;
mod read;
mod readers;
mod request;
mod routes;
mod schemas;
mod scrapes;
mod self_scrape;
mod sparing;
mod streams;
mod test_now;

pub(crate) use desk::{Desk, REQUESTED_TESTS_MAX};
pub(crate) use guard::Guard;
pub(crate) use listen::{Listening, listen};
pub(crate) use prometheus::Prometheus;
pub(crate) use push_metrics::Decoding;
pub(crate) use readers::{Place, Readers};
pub(crate) use self_scrape::keep as keep_own_metrics;
