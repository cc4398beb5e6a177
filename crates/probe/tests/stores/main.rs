//! The hellos against real servers on loopback, each made sick in the ways it gets sick in production.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't go on panics, and one that is skipped says so"
)]

mod amqp;
mod memcached;
mod mysql;
mod peers;
mod postgres;
mod redis;
mod support;
