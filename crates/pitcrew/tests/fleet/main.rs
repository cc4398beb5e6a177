//! A server and agents, all the real binary, on loopback: enrolled, asked, ordered, killed, lied to.
//!
//! Each agent has a directory of its own and supervises a process of its own; the server reaches that process over the
//! network and is another observer than the one that acts.

#[path = "../production/mod.rs"]
mod production;

mod agents;
mod drains;
mod enrolment;
mod liars;
mod repairs;
