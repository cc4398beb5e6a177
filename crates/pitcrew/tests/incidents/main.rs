//! Incidents on three real hosts, each from an injected fault to its verified end (`cargo xtask lab with cargo nextest
//! run -p pitcrew --test incidents`).
//!
//! Each host has systemd as its init, the package installed, an address and a cable; the server runs in a network
//! namespace of its own. The hosts are booted once and shared: an incident has three for itself while it lasts, begins with
//! a new server and newly enrolled agents, and leaves faults to be undone by the next one, so that a test which is killed
//! spoils nothing.

#[path = "../production/mod.rs"]
mod production;

mod clocks;
mod fleet;
mod hosts;
mod identities;
mod lab;
mod network;
mod packages;
mod power;
mod privileges;
mod servers;
mod units;
