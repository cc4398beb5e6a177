//! `irate` and `idelta`: the change between the last two samples.

use super::{Noter, started_anew};
use crate::{
    annotations::Annotations,
    eval::{
        EvalError, Row,
        call::RangeCall,
        row::{Cell, Computed},
        window::Window,
    },
    histogram::{FloatHistogram, ResetHint},
    number,
};

pub(in crate::eval::call) fn instant(
    call: &RangeCall<'_>,
    is_rate: bool,
    notes: &mut Annotations,
) -> Result<Vec<Row>, EvalError> {
    call.each_window(false, |labels, window| {
        let mut noter = Noter {
            call,
            notes: &mut *notes,
            labels,
        };
        Ok(last_two(&mut noter, is_rate, window))
    })
}

fn last_two(noter: &mut Noter<'_>, is_rate: bool, window: &Window<'_>) -> Option<Computed> {
    let samples = window.mixed();
    let [.., before, now] = samples.as_slice() else {
        return None;
    };
    let seconds = number::seconds(now.time_ms - before.time_ms);
    let anew = started_anew(before.start_ms, before.time_ms, now.start_ms, now.time_ms);
    match (before.cell, now.cell) {
        (Cell::Float(before), Cell::Float(now)) => {
            let reset = is_rate && (now < before || anew);
            let change = if reset { now } else { now - before };
            Some(if is_rate { change / seconds } else { change }.into())
        }
        (Cell::Histogram(before), Cell::Histogram(now)) => {
            let gauges = [before, now].map(|value| value.reset_hint == ResetHint::Gauge);
            if is_rate && gauges != [false, false] {
                noter.not_a_counter();
            }
            if !is_rate && gauges != [true, true] {
                noter.not_a_gauge();
            }
            let reset = is_rate && (anew || now.is_reset_after(before));
            let mut change = if reset {
                FloatHistogram::clone(now)
            } else {
                noter.minus(now, before)?
            };
            change.reset_hint = ResetHint::Gauge;
            Some(
                if is_rate {
                    change.divided(seconds)
                } else {
                    change
                }
                .into(),
            )
        }
        _ => {
            noter.mixed_floats();
            None
        }
    }
}
