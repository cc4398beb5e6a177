//! The whole binary looking after real servers that somebody else started: each is killed, hung and made to
//! answer wrongly, and comes back without a person; one that can't come back is handed over with the evidence.

#[path = "../production/mod.rs"]
mod production;

mod container;
mod drain;
mod nginx;
mod postgres;
mod redis;
mod story;
mod unit;
