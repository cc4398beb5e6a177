//! Machines that hang, panic and lose their power, and real controllers that bring them back.

#![expect(
    clippy::unwrap_used,
    reason = "in the helpers of tests too: what is not there is a failure"
)]

#[path = "../fleet/agents.rs"]
#[expect(dead_code, reason = "another test program uses the rest")]
mod agents;
mod controller;
mod machine;
#[path = "../production/mod.rs"]
mod production;
mod redfish;
