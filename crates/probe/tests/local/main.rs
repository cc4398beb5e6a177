//! Tests of this host against the real thing: Debian's plugins, scripts that misbehave, a systemd.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can't go on panics, and one that is skipped says so"
)]

mod nagios;
mod process;
#[path = "../stores/support.rs"]
#[expect(
    dead_code,
    reason = "shared with the stores' tests, which use all of it"
)]
mod support;
mod unit;
