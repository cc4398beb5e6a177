//! Tests and their scheduler: asks targets, yields observations.
//!
//! Nothing here repairs or decides. Whatever the peer does (hangs, drips, lies, never ends), a test
//! ends by its deadline with bounded memory, and what is the observer's own fault (no descriptors, no
//! route, no resolver, a file it can't read) is `Unknown`, never the target's failure.
//!
//! [`ask`] puts one question to one target. [`Scheduler`] asks all of them, each in its own rhythm.

mod answer;
mod connect;
mod dns;
mod grpc;
mod http;
mod local;
mod metric;
mod question;
mod resolve;
mod route;
mod scheduler;
mod stores;
mod tcp;
mod tls;
mod tools;
mod trust;
mod wheel;

pub use answer::Answer;
pub use local::{AlertRange, Perfdata};
pub use metric::{Measured, Measuring, MetricQueries, MetricQuery};
pub use question::{ProcessState, ProcessStates, Question, ask};
pub use scheduler::{Lateness, Scheduler, Statistics};
pub use tools::{ReferenceClock, Tools};
