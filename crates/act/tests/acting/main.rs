//! Actuators against real processes, services, containers and units.

#![expect(
    clippy::unwrap_used,
    reason = "in the helpers of tests too: what is not there is a failure"
)]

mod container;
mod listener;
mod notice;
mod order;
mod power;
mod reboot;
mod supervised;
mod support;
mod survival;
mod unit;
