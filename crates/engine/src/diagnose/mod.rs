//! From observations to what is believed.

mod breaker;
mod damping;

pub(crate) use breaker::{Breakers, Trip};
pub(crate) use damping::{Opinion, View, freshness};
