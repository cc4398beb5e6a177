//! Functions: one file for each family, chosen here by name.

mod absent;
mod calendar;
mod changes;
mod histogram;
mod info;
mod labels;
mod math;
mod over_time;
mod rate;
mod regression;
mod sort;

use std::cell::RefCell;

pub(super) use sort::nan_last;

use super::{
    EvalError, Evaluator, Grid, Node, NodeKind, Room, Row, Values,
    plan::SelectorPlan,
    row::Cell,
    window::{RangeSource, Window},
};
use crate::{
    annotations::{Annotations, Note},
    labels::Labels,
    number,
    parser::{Extension, Span},
    storage::stale,
};

/// The one function over windows whose answer is of all series together.
const ABSENT: &str = "absent_over_time";
/// Functions that make sense of samples from before the window.
const ANCHORED: &[&str] = &["changes", "delta", "increase", "rate", "resets"];
/// Functions that make sense of values between samples.
const SMOOTHED: &[&str] = &["delta", "increase", "rate"];

impl Evaluator<'_> {
    pub(super) fn call(
        &mut self,
        name: &'static str,
        args: &[Node],
        span: Span,
        grid: &Grid,
    ) -> Result<Values, EvalError> {
        if let Some(range) = range_position(args) {
            let ready = self.range_call(name, args, range, grid)?;
            return self.over_windows(&ready, grid).map(Values::Vector);
        }
        if let Some(function) = math::function(name) {
            return self.each_float(args, grid, function).map(Values::Vector);
        }
        if let Some(function) = calendar::function(name) {
            return self.calendar(args, grid, function).map(Values::Vector);
        }
        Ok(match name {
            "pi" => Values::Scalar(vec![std::f64::consts::PI; grid.steps]),
            "time" => Values::Scalar(grid.times().map(number::seconds).collect()),
            "max_of" => self.two_scalars(args, grid, math::greatest)?,
            "min_of" => self.two_scalars(args, grid, math::least)?,
            "scalar" => self.only_float(&args[0], grid)?,
            "vector" => {
                let values = self.scalar(&args[0], grid)?;
                Values::Vector(vec![Row::of_floats(Labels::default(), values)])
            }
            "timestamp" => self.timestamp(&args[0], grid)?,
            "start_timestamp" => match &args[0].kind {
                NodeKind::Selector(selector) => {
                    let mut rows = self.start_timestamps(selector, args[0].span, grid)?;
                    rows.iter_mut().for_each(|row| row.name_dropped = true);
                    Values::Vector(rows)
                }
                _ => Values::Vector(Vec::new()),
            },
            "absent" => Values::Vector(self.absent(&args[0], grid)?),
            "round" | "clamp" | "clamp_min" | "clamp_max" => {
                Values::Vector(self.bounded(name, args, grid)?)
            }
            "label_replace" => Values::Vector(self.label_replace(args, grid)?),
            "label_join" => Values::Vector(self.label_join(args, grid)?),
            "sort" | "sort_desc" => Values::Vector(self.sort(name, &args[0], grid)?),
            "sort_by_label" | "sort_by_label_desc" => {
                Values::Vector(self.sort_by_label(name, args, grid)?)
            }
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                Values::Vector(self.histogram_estimate(name, args, grid)?)
            }
            "info" => Values::Vector(self.info(args, span, grid)?),
            _ => Values::Vector(self.histogram_statistic(name, &args[0], grid)?),
        })
    }

    fn two_scalars(
        &mut self,
        args: &[Node],
        grid: &Grid,
        choose: fn(f64, f64) -> f64,
    ) -> Result<Values, EvalError> {
        let left = self.scalar(&args[0], grid)?;
        let right = self.scalar(&args[1], grid)?;
        let chosen = left.iter().zip(&right);
        Ok(Values::Scalar(
            chosen.map(|(left, right)| choose(*left, *right)).collect(),
        ))
    }

    /// The only float of each step, NaN where there are none or several.
    fn only_float(&mut self, arg: &Node, grid: &Grid) -> Result<Values, EvalError> {
        let rows = self.vector(arg, grid)?;
        let mut values = vec![stale(); grid.steps];
        for row in &rows {
            for (step, value) in values.iter_mut().enumerate() {
                if let Some(float) = row.float(step) {
                    *value = if crate::storage::is_stale(*value) {
                        float
                    } else {
                        f64::NAN
                    };
                }
            }
        }
        for value in &mut values {
            if crate::storage::is_stale(*value) {
                *value = f64::NAN;
            }
        }
        Ok(Values::Scalar(values))
    }

    /// The time of each sample; only a selector's samples have one of their own.
    fn timestamp(&mut self, arg: &Node, grid: &Grid) -> Result<Values, EvalError> {
        let selected = match &arg.kind {
            NodeKind::Selector(selector) => Some(self.timestamps(selector, arg.span, grid)?),
            NodeKind::Fixed(inner) => match &inner.kind {
                NodeKind::Selector(selector) => Some(self.timestamps(selector, arg.span, grid)?),
                _ => None,
            },
            _ => None,
        };
        let mut rows = match selected {
            Some(rows) => rows,
            None => {
                let rows = self.vector(arg, grid)?;
                let times = rows
                    .iter()
                    .map(|row| row.mapped(|step, _| Some(number::seconds(grid.time(step)).into())));
                times.collect()
            }
        };
        rows.iter_mut().for_each(|row| row.name_dropped = true);
        Ok(Values::Vector(rows))
    }

    /// A call of a function over windows, ready to be computed.
    pub(super) fn range_call<'n>(
        &mut self,
        name: &'static str,
        args: &'n [Node],
        range: usize,
        grid: &Grid,
    ) -> Result<ReadyCall<'n>, EvalError> {
        let scalars = self.other_arguments(args, range, grid)?;
        let source = self.range_source(&args[range], grid)?;
        ReadyCall::new(name, args, range, source, scalars)
    }

    /// The same with no series read yet; nothing where they aren't those of a selector, or none can be computed for
    /// some of them alone.
    pub(super) fn unread_call<'n>(
        &mut self,
        name: &'static str,
        args: &'n [Node],
        range: usize,
        grid: &Grid,
    ) -> Result<Option<(ReadyCall<'n>, &'n SelectorPlan)>, EvalError> {
        let NodeKind::Range { selector, range_ms } = &args[range].kind else {
            return Ok(None);
        };
        if name == ABSENT {
            return Ok(None);
        }
        let scalars = self.other_arguments(args, range, grid)?;
        let source = self.unread_source(selector, *range_ms, args[range].span);
        let call = ReadyCall::new(name, args, range, source, scalars)?;
        let call = ReadyCall {
            keeps_rows: false,
            ..call
        };
        Ok(Some((call, selector)))
    }

    fn other_arguments(
        &mut self,
        args: &[Node],
        range: usize,
        grid: &Grid,
    ) -> Result<Vec<Vec<f64>>, EvalError> {
        let others = args.iter().enumerate().filter(|(index, _)| *index != range);
        others.map(|(_, arg)| self.scalar(arg, grid)).collect()
    }

    pub(super) fn over_windows(
        &mut self,
        ready: &ReadyCall<'_>,
        grid: &Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let name = ready.name;
        let call = RangeCall {
            source: &ready.source,
            grid,
            scalars: &ready.scalars,
            // Where a parameter is said to be out of range, its place is that of the first argument.
            first_span: ready.first_span,
            room: Room {
                options: self.options,
                held: self.held,
                counts_rows: ready.keeps_rows,
            },
            type_labels: self.options.type_labels,
            siblings: &ready.siblings,
        };
        match name {
            "rate" | "increase" | "delta" => rate::rate(&call, name, &mut self.notes),
            "irate" | "idelta" => rate::instant(&call, name == "irate", &mut self.notes),
            "resets" | "changes" => changes::count(&call, name == "resets"),
            "deriv" | "predict_linear" | "double_exponential_smoothing" => {
                regression::trend(&call, name, &mut self.notes)
            }
            ABSENT => absent::absent_over_time(&call, ready.range),
            _ => over_time::aggregate(&call, name, &mut self.notes),
        }
    }
}

/// A function over windows with its arguments read.
pub(super) struct ReadyCall<'n> {
    name: &'static str,
    range: &'n Node,
    first_span: Span,
    pub(super) source: RangeSource,
    scalars: Vec<Vec<f64>>,
    /// Whether its rows are held; otherwise they come one after the other, are added up and forgotten.
    keeps_rows: bool,
    siblings: RefCell<rate::Siblings>,
}

impl<'n> ReadyCall<'n> {
    fn new(
        name: &'static str,
        args: &'n [Node],
        range: usize,
        source: RangeSource,
        scalars: Vec<Vec<f64>>,
    ) -> Result<Self, EvalError> {
        check_extension(name, source.extension)?;
        Ok(ReadyCall {
            name,
            range: &args[range],
            first_span: args[0].span,
            source,
            scalars,
            keeps_rows: true,
            siblings: RefCell::default(),
        })
    }
}

/// What every range function is given.
struct RangeCall<'a> {
    source: &'a RangeSource,
    grid: &'a Grid,
    /// The other arguments at each step.
    scalars: &'a [Vec<f64>],
    first_span: Span,
    room: Room<'a>,
    type_labels: bool,
    siblings: &'a RefCell<rate::Siblings>,
}

impl RangeCall<'_> {
    /// One value for each window in which `compute` finds one.
    fn each_window<V: Into<super::row::Computed>>(
        &self,
        keeps_name: bool,
        mut compute: impl FnMut(&Labels, &Window<'_>) -> Result<Option<V>, EvalError>,
    ) -> Result<Vec<Row>, EvalError> {
        self.source
            .rows(self.grid, keeps_name, &self.room, |series, windows, row| {
                for window in windows.iter() {
                    if let Some(value) = compute(&series.labels, &window)? {
                        row.set(window.step, value.into());
                    }
                }
                Ok(())
            })
    }

    fn note(&self, notes: &mut Annotations, note: Note) {
        notes.add(self.source.span, note);
    }
}

/// Which argument windows are over, if any is.
pub(super) fn range_position(args: &[Node]) -> Option<usize> {
    let is_range =
        |node: &Node| matches!(node.kind, NodeKind::Range { .. } | NodeKind::Subquery(_));
    args.iter().position(is_range)
}

fn check_extension(name: &str, extension: Option<Extension>) -> Result<(), EvalError> {
    let (modifier, allowed) = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => ("anchored", ANCHORED),
        Some(Extension::Smoothed) => ("smoothed", SMOOTHED),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    Err(EvalError::BadArgument(format!(
        "{modifier} modifier can only be used with: {} - not with {name}",
        allowed.join(", ")
    )))
}

/// Only floats matter to a function; a window that has histograms beside them is worth a note.
fn note_ignored_histograms(
    call: &RangeCall<'_>,
    notes: &mut Annotations,
    labels: &Labels,
    window: &Window<'_>,
) {
    if !window.histograms.is_empty() {
        let metric = labels.metric_name().to_owned();
        call.note(notes, Note::HistogramIgnoredInMixedRange { metric });
    }
}

/// Whether a cell is a float, and which.
fn float_of(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(value),
        Cell::Histogram(_) => None,
    }
}
