//! `changes` and `resets`: how often a series was different from its last sample, or began anew.

use super::{
    super::{EvalError, Row, row::Cell, window::Mixed},
    RangeCall,
    rate::started_anew,
};
use crate::parser::Extension;

pub(super) fn count(call: &RangeCall<'_>, resets: bool) -> Result<Vec<Row>, EvalError> {
    let anchored = call.source.extension == Some(Extension::Anchored);
    call.each_window(false, |_, window| {
        let mut samples = window.mixed();
        if anchored {
            // The last sample before the window is what its first one is compared with.
            let before = samples.partition_point(|sample| sample.time_ms <= window.start_ms);
            if before == samples.len() {
                return Ok(None);
            }
            samples.drain(..before.saturating_sub(1));
        }
        let counted = samples.windows(2).filter(|pair| {
            if resets {
                is_reset(&pair[0], &pair[1])
            } else {
                is_change(pair[0].cell, pair[1].cell)
            }
        });
        Ok(Some(counted.count() as f64))
    })
}

fn is_reset(before: &Mixed<'_>, now: &Mixed<'_>) -> bool {
    let anew = started_anew(before.start_ms, before.time_ms, now.start_ms, now.time_ms);
    match (before.cell, now.cell) {
        (Cell::Float(before), Cell::Float(now)) => now < before || anew,
        (Cell::Histogram(before), Cell::Histogram(now)) => anew || now.is_reset_after(before),
        _ => true,
    }
}

fn is_change(before: Cell<'_>, now: Cell<'_>) -> bool {
    match (before, now) {
        (Cell::Float(before), Cell::Float(now)) => {
            before != now && !(before.is_nan() && now.is_nan())
        }
        (Cell::Histogram(before), Cell::Histogram(now)) => before != now,
        _ => true,
    }
}
