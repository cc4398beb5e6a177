//! PromQL: a parser and an evaluator over any store of samples.
//!
//! A query goes through four stages: [`parser`] makes a tree of its text, [`eval`] resolves what depends on the
//! query's time, asks a [`storage::Storage`] for whole columns of samples, and computes the answer for all steps
//! of one series before it turns to the next. Everything is a function of its arguments: no clock, no IO, no
//! threads, and the same query over the same samples gives the same answer, bit by bit.
//!
//! The measure of correctness is Prometheus: [`promqltest`] runs its own test language.

pub mod annotations;
pub mod eval;
pub mod histogram;
pub mod labels;
mod number;
pub mod parser;
pub mod promqltest;
pub mod storage;
