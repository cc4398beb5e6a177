//! Several servers over one PostgreSQL, all real: killed, cut off, frozen, and the database itself killed. What counts
//! is taken from the outside: which operations an agent has begun, and what the ledger says.

#[path = "../production/mod.rs"]
mod production;

#[path = "../../../ledger/tests/support/postgres.rs"]
mod postgres;

mod cluster;
mod database;
mod moving;
mod takeover;
