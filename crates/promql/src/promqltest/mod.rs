//! Prometheus' test language for PromQL engines: load samples, evaluate queries, say what must come out.
//!
//! ```text
//! load 1m
//!   requests_total{path="/"} 0+60x10
//!
//! eval instant at 10m rate(requests_total[5m])
//!   {path="/"} 1
//! ```
//!
//! [`run`] runs a script against the evaluator of this crate over a store in memory, [`run_against`] over any. Each instant query is also
//! run with its time pinned by `@` at other times, and as one step of a range query: all must agree.

mod check;
mod classic;
mod run;
mod script;
mod store;
mod values;

pub use run::{Failure, Report, TestStore, run, run_against};
pub use store::MemoryStore;

/// A script that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}
