//! What other programs say about themselves, decoded: remote write 1.0 and 2.0, OpenTelemetry's metrics, and what is
//! scraped as text or as protocol buffers.
//!
//! A decoder walks over bytes from outside and tells a [`Sink`] what it finds. It never makes a copy of a series' labels:
//! most series are known already, and then their bytes are only hashed. Whoever does not know them asks the
//! [`RawSeries`] for its labels. Everything is bounded by the size of the bytes themselves: nothing is reserved
//! for a length that is merely claimed.

pub mod families;
mod histogram;
pub mod otlp;
mod protobuf;
pub mod relabel;
pub mod remote_write;
mod series;
#[cfg(test)]
mod testing;
pub mod text;

use pitcrew_promql::histogram::FloatHistogram;

pub use histogram::BadHistogram;
pub use protobuf::Malformed;
pub use series::{BadLabels, RawSeries, put_counted};

/// Takes what a decoder finds, in the order of the bytes.
pub trait Sink {
    /// How the sink knows a series, for as long as its samples are told.
    type Series: Copy;

    /// A series, before its samples. `None`: it is not wanted, or can't be, and nothing more is said of it.
    fn series(&mut self, series: RawSeries<'_>) -> Option<Self::Series>;

    fn float(&mut self, series: Self::Series, sample: Float);

    fn histogram(&mut self, series: Self::Series, sample: Histogram);

    /// A histogram that contradicts itself or is too large; the rest of the message is not harmed.
    fn bad_histogram(&mut self, series: Self::Series, why: BadHistogram);

    fn exemplar(&mut self, series: Self::Series, exemplar: Exemplar<'_>);

    fn metadata(&mut self, metadata: Metadata<'_>);

    /// Whether it takes nothing more: then reading ends there, without an error. A few bytes of a message can refer to a
    /// long text over and over again.
    fn is_full(&self) -> bool {
        false
    }
}

/// Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Float {
    /// `None`: now, whenever that is for whoever scraped.
    pub at_ms: Option<i64>,
    pub value: f64,
    /// When its counter began; 0 is unknown.
    pub start_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    pub at_ms: Option<i64>,
    pub value: FloatHistogram,
    pub start_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    pub labels: RawSeries<'a>,
    pub value: f64,
    pub at_ms: Option<i64>,
}

/// What a metric family is. An empty text says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    pub family: std::borrow::Cow<'a, str>,
    pub kind: Option<MetricType>,
    pub help: std::borrow::Cow<'a, str>,
    pub unit: std::borrow::Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    Unknown,
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl MetricType {
    /// As the exposition formats spell it; `untyped` is what the older one calls unknown.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "unknown" | "untyped" => Self::Unknown,
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }

    /// As OpenMetrics spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// As both versions of remote write number them.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Unknown,
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => return None,
        })
    }
}
