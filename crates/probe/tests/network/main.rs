//! The network tests and the scheduler against real servers on loopback, and against one that lies.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't go on panics, and one that is skipped says so"
)]

mod certificates;
mod dns;
mod grpc;
mod http;
mod liar;
mod liars;
mod nginx;
mod scheduler;
#[path = "../stores/support.rs"]
#[expect(
    dead_code,
    reason = "shared with the stores' tests, which use all of it"
)]
mod support;
mod tcp;
mod tls;
