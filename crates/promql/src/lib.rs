//! PromQL: a parser and an evaluator over any store of samples.
//!
//! A query goes through four stages: [`parser`] makes a tree of its text, [`eval`] resolves what depends on the
//! query's time, asks a [`storage::Storage`] for whole columns of samples, and computes the answer for all steps
//! of one series before it turns to the next. Everything is a function of its arguments: no clock, no IO, no
//! threads, and the same query over the same samples gives the same answer, bit by bit.
//!
//! ```
//! use pitcrew_promql::{
//!     eval::{Options, SampleValue, Time, evaluate},
//!     labels::Labels,
//!     parser::parse,
//!     promqltest::MemoryStore,
//! };
//!
//! let mut store = MemoryStore::default();
//! let labels = Labels::from_pairs([("__name__", "requests_total"), ("path", "/")]);
//! for minute in 0..10 {
//!     let value = SampleValue::Float(60.0 * minute as f64);
//!     store.add(&labels, minute * 60_000, value, 0);
//! }
//! store.commit();
//! let query = parse("sum by (path) (rate(requests_total[5m]))")?;
//! let answer = evaluate(&store, &query, Time::Instant(540_000), &Options::default())?;
//! assert!(format!("{:?}", answer.value).contains("Float(1.0)"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The measure of correctness is Prometheus: [`promqltest`] runs its own test language.

pub mod annotations;
pub mod eval;
pub mod histogram;
pub mod json;
pub mod labels;
mod number;
pub mod parser;
pub mod promqltest;
pub mod storage;
