//! Where samples come from: what a metrics store implements to be queried.
//!
//! A store gives whole columns: timestamps and values of a series side by side. Series that were scraped
//! together may share one timestamp column (the same `Arc`), and then windows over it are computed once for all
//! of them. The evaluator never asks for a single sample.

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    histogram::FloatHistogram,
    labels::{Labels, Matcher},
};

/// The bits of the value that marks the end of a series. Every other NaN is a value.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the marker that ends a series.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// The marker that ends a series.
pub fn stale() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Which samples are wanted.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// All of them must hold.
    pub matchers: &'a [Matcher],
    /// First instant of interest, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Last instant of interest.
    pub end_ms: i64,
}

/// Float samples of one series.
#[derive(Debug, Clone, Default)]
pub struct FloatColumn {
    /// Milliseconds since the epoch, strictly ascending, less than 2^62 from it.
    pub timestamps: Arc<[i64]>,
    /// One for each timestamp; [`stale`] ends the series until the next value.
    pub values: Vec<f64>,
    /// When each value's counter began, in milliseconds since the epoch; 0 is unknown. Empty where none is known.
    pub starts: Vec<i64>,
}

/// Histogram samples of one series.
#[derive(Debug, Clone, Default)]
pub struct HistogramColumn {
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Arc<[i64]>,
    /// One for each timestamp; a [`stale`] sum ends the series until the next sample.
    pub values: Vec<Arc<FloatHistogram>>,
    /// As [`FloatColumn::starts`].
    pub starts: Vec<i64>,
}

/// One series with its samples. No timestamp is in both columns.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// What it is called.
    pub labels: Labels,
    /// Its float samples.
    pub floats: FloatColumn,
    /// Its histogram samples.
    pub histograms: HistogramColumn,
}

/// What a selection finds, piece by piece.
#[derive(Debug)]
pub enum Found<'a> {
    /// A series, each one once and in any order; samples outside of the selection's time do no harm. Whoever takes it out
    /// has it for its own; memory that is left in it is used for the next one.
    Series(&'a mut Series),
    /// What the reader must know: data that was dropped, parts that can't be read.
    Warning(String),
    /// No series: so many bytes are held by the storage meanwhile, in all. Said every few hundred series, while it looks for
    /// them and while it reads them, so that a query over its budget or cancelled ends before everything was found or read.
    Holding(usize),
}

/// A store that can't answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to read series: {message}")]
pub struct StorageError {
    /// What went wrong, for a person.
    pub message: String,
    /// The store's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A metrics store, seen by a query.
pub trait Storage {
    /// Gives the series that fulfil all matchers to `take`, with at least their samples of the given time, until
    /// it has enough: a query that is over its budget or cancelled reads no further.
    fn select(
        &self,
        selection: &Selection<'_>,
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;

    /// As [`Storage::select`], for an aggregation that looks at these labels only: a store may leave out all others, and
    /// then several series have the same.
    fn select_for(
        &self,
        selection: &Selection<'_>,
        _labels: &[&str],
        take: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.select(selection, take)
    }
}
