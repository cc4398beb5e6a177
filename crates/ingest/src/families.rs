//! What is scraped as protocol buffers: Prometheus' `io.prometheus.client.MetricFamily`, each after its length. The only
//! form in which programs tell of native histograms.
//!
//! A family says its type, and its metrics' values are those of that type. What text tells in several lines, a summary or a
//! classic histogram, becomes as many series here. A histogram that has native buckets is told as such and not as a classic
//! one, as Prometheus does. A broken family ends the reading.
//!
//! Each bucket repeats its metric's labels, so that a page can stand for far more bytes than it has: what is repeated is
//! bounded here.

use std::borrow::Cow;

use pitcrew_promql::histogram::{FloatHistogram, ResetHint};

use crate::{
    Exemplar, Float, Histogram, Metadata, MetricType, Sink,
    histogram::{BYTES_MAX as VALUE_BYTES_MAX, Side, complete},
    protobuf::{Field, Fields, Malformed, unzigzag, varint},
    series::{RawSeries, put_counted},
    text::NAN,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metric family {number}: {why}")]
pub struct FamilyError {
    /// From 1.
    pub number: usize,
    pub why: BadFamily,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFamily {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("its name, help or unit is not UTF-8")]
    Encoding,
    #[error("it has no name")]
    Name,
    #[error("{0} is no type of a metric")]
    Type(u64),
    #[error("a metric lacks the value that its type `{}` says", .0.name())]
    Value(MetricType),
    #[error("a metric's value has {0} bytes, more than {VALUE_BYTES_MAX}")]
    LargeValue(usize),
    #[error("the labels of its series and those before have more than {LABEL_BYTES_MAX} bytes")]
    Labels,
}

/// Of all series of a page.
const LABEL_BYTES_MAX: usize = 512 << 20;

/// Tells the sink all that is in a page, up to its first broken family or until the sink is full.
pub fn read(mut page: &[u8], sink: &mut impl Sink) -> Result<(), FamilyError> {
    let mut telling = Telling {
        sink,
        key: Vec::new(),
        label_bytes: 0,
    };
    let mut number = 0;
    while !page.is_empty() && !telling.sink.is_full() {
        number += 1;
        next_family(&mut page)
            .and_then(|family| telling.family(&family))
            .map_err(|why| FamilyError { number, why })?;
    }
    Ok(())
}

struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    kind: MetricType,
    fields: Fields<'a>,
}

fn next_family<'a>(page: &mut &'a [u8]) -> Result<Family<'a>, BadFamily> {
    let length = usize::try_from(varint(page)?).map_err(|_| Malformed::Truncated)?;
    let (bytes, rest) = page.split_at_checked(length).ok_or(Malformed::Truncated)?;
    *page = rest;
    let text = |field: Field<'a>| {
        let text = std::str::from_utf8(field.bytes()?);
        text.map_err(|_| BadFamily::Encoding)
    };
    let mut family = Family {
        name: "",
        help: "",
        unit: "",
        kind: MetricType::Counter,
        fields: Fields(bytes),
    };
    let mut fields = family.fields;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => family.name = text(field)?,
            2 => family.help = text(field)?,
            3 => family.kind = kind(field.unsigned()?)?,
            5 => family.unit = text(field)?,
            _ => {}
        }
    }
    match family.name {
        "" => Err(BadFamily::Name),
        _ => Ok(family),
    }
}

fn kind(number: u64) -> Result<MetricType, BadFamily> {
    Ok(match number {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Unknown,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        other => return Err(BadFamily::Type(other)),
    })
}

/// One metric of a family, without its values.
struct Metric<'a> {
    name: &'a str,
    /// As [`RawSeries::Pairs`] has them.
    labels: Vec<u8>,
    at_ms: Option<i64>,
    start_ms: i64,
}

/// What a sink is told, series after series.
struct Telling<'s, S> {
    sink: &'s mut S,
    /// The series that is told.
    key: Vec<u8>,
    /// Of all series so far.
    label_bytes: usize,
}

impl<S: Sink> Telling<'_, S> {
    fn family(&mut self, family: &Family<'_>) -> Result<(), BadFamily> {
        self.sink.metadata(Metadata {
            family: Cow::Borrowed(family.name),
            kind: Some(family.kind),
            help: Cow::Borrowed(family.help),
            unit: Cow::Borrowed(family.unit),
        });
        let mut fields = family.fields;
        while let Some(field) = fields.next()? {
            if self.sink.is_full() {
                return Ok(());
            }
            if field.number == 4 {
                self.metric(family, field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, family: &Family<'_>, bytes: &[u8]) -> Result<(), BadFamily> {
        let wanted = match family.kind {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
            _ => 5,
        };
        let mut metric = Metric {
            name: family.name,
            labels: Vec::new(),
            at_ms: None,
            start_ms: 0,
        };
        let mut value = None;
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => label(field.bytes()?, &mut metric.labels)?,
                // The format can't tell the epoch from no time.
                6 => metric.at_ms = Some(field.signed()?).filter(|at_ms| *at_ms != 0),
                number if number == wanted => value = Some(field.bytes()?),
                _ => {}
            }
        }
        let value = value.ok_or(BadFamily::Value(family.kind))?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(BadFamily::LargeValue(value.len()));
        }
        match family.kind {
            MetricType::Counter => self.counter(metric, value),
            MetricType::Summary => self.summary(metric, value),
            MetricType::Histogram => self.histogram(metric, value, ResetHint::Unknown),
            MetricType::GaugeHistogram => self.histogram(metric, value, ResetHint::Gauge),
            _ => self.float(&metric, "", None, number(value, 1)?, None),
        }
    }

    /// A series of a metric: its name with an ending, and a label that is not its own.
    fn series(
        &mut self,
        metric: &Metric<'_>,
        ending: &str,
        label: Option<(&str, f64)>,
    ) -> Result<Option<S::Series>, BadFamily> {
        self.key.clear();
        put_counted(&mut self.key, b"__name__");
        put_counted(&mut self.key, [metric.name, ending].concat().as_bytes());
        self.key.extend_from_slice(&metric.labels);
        if let Some((name, value)) = label {
            put_counted(&mut self.key, name.as_bytes());
            put_counted(&mut self.key, as_text(value).as_bytes());
        }
        self.label_bytes += self.key.len();
        match self.label_bytes > LABEL_BYTES_MAX {
            true => Err(BadFamily::Labels),
            false => Ok(self.sink.series(RawSeries::Pairs(&self.key))),
        }
    }

    fn float(
        &mut self,
        metric: &Metric<'_>,
        ending: &str,
        label: Option<(&str, f64)>,
        value: f64,
        exemplar: Option<Exemplar<'_>>,
    ) -> Result<(), BadFamily> {
        let Some(series) = self.series(metric, ending, label)? else {
            return Ok(());
        };
        let sample = Float {
            at_ms: metric.at_ms,
            value,
            start_ms: metric.start_ms,
        };
        self.sink.float(series, sample);
        if let Some(exemplar) = exemplar {
            self.sink.exemplar(series, exemplar);
        }
        Ok(())
    }

    fn counter(&mut self, mut metric: Metric<'_>, bytes: &[u8]) -> Result<(), BadFamily> {
        let (mut value, mut shown) = (0.0, None);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => value = double(field)?,
                2 => shown = Some(exemplar(field.bytes()?)?),
                3 => metric.start_ms = timestamp(field.bytes()?)?,
                _ => {}
            }
        }
        self.float(&metric, "", None, value, shown)
    }

    fn summary(&mut self, mut metric: Metric<'_>, bytes: &[u8]) -> Result<(), BadFamily> {
        let (mut count, mut sum, mut quantiles) = (0.0, 0.0, Vec::new());
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => count = field.unsigned()? as f64,
                2 => sum = double(field)?,
                3 => quantiles.push(field.bytes()?),
                4 => metric.start_ms = timestamp(field.bytes()?)?,
                _ => {}
            }
        }
        self.float(&metric, "_count", None, count, None)?;
        self.float(&metric, "_sum", None, sum, None)?;
        // A quantile counts nothing that began.
        metric.start_ms = 0;
        for bytes in quantiles {
            let quantile = ("quantile", number(bytes, 1)?);
            self.float(&metric, "", Some(quantile), number(bytes, 2)?, None)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        mut metric: Metric<'_>,
        bytes: &[u8],
        reset_hint: ResetHint,
    ) -> Result<(), BadFamily> {
        let found = Buckets::read(bytes)?;
        metric.start_ms = found.start_ms;
        match found.is_native() {
            true => self.native(&metric, found, reset_hint),
            false => self.classic(&metric, &found),
        }
    }

    fn classic(&mut self, metric: &Metric<'_>, found: &Buckets<'_>) -> Result<(), BadFamily> {
        let count = found.count();
        self.float(metric, "_count", None, count, None)?;
        self.float(metric, "_sum", None, found.sum, None)?;
        for bytes in &found.classic {
            let bucket = Classic::read(bytes)?;
            let bound = Some(("le", bucket.upper_bound));
            self.float(metric, "_bucket", bound, bucket.count, bucket.exemplar)?;
            if bucket.upper_bound == f64::INFINITY {
                return Ok(());
            }
        }
        let bound = Some(("le", f64::INFINITY));
        self.float(metric, "_bucket", bound, count, None)
    }

    fn native(
        &mut self,
        metric: &Metric<'_>,
        mut found: Buckets<'_>,
        reset_hint: ResetHint,
    ) -> Result<(), BadFamily> {
        let Some(series) = self.series(metric, "", None)? else {
            return Ok(());
        };
        let exemplars = found.dated_exemplars()?;
        match found.native(reset_hint) {
            Ok(value) => {
                let (at_ms, start_ms) = (metric.at_ms, metric.start_ms);
                let sample = Histogram {
                    at_ms,
                    value,
                    start_ms,
                };
                self.sink.histogram(series, sample);
            }
            Err(why) => self.sink.bad_histogram(series, why),
        }
        for exemplar in exemplars {
            self.sink.exemplar(series, exemplar);
        }
        Ok(())
    }
}

fn label(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    put_counted(out, name);
    put_counted(out, value);
    Ok(())
}

/// The double in a field of a message; 0 where it is absent, which is how the format says 0.
fn number(bytes: &[u8], wanted: u32) -> Result<f64, Malformed> {
    let mut number = 0.0;
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        if field.number == wanted {
            number = double(field)?;
        }
    }
    Ok(number)
}

fn double(field: Field<'_>) -> Result<f64, Malformed> {
    let number = field.double()?;
    Ok(if number.is_nan() { NAN } else { number })
}

/// Milliseconds of a `google.protobuf.Timestamp`.
fn timestamp(bytes: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanoseconds) = (0_i64, 0);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => seconds = field.signed()?,
            2 => nanoseconds = field.signed()?,
            _ => {}
        }
    }
    let milliseconds = seconds.saturating_mul(1_000);
    Ok(milliseconds.saturating_add(nanoseconds / 1_000_000))
}

fn exemplar(bytes: &[u8]) -> Result<Exemplar<'_>, Malformed> {
    let (mut value, mut at_ms) = (0.0, None);
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            2 => value = double(field)?,
            3 => at_ms = Some(timestamp(field.bytes()?)?),
            _ => {}
        }
    }
    // Its labels are its fields 1.
    let labels = RawSeries::Messages(bytes);
    Ok(Exemplar {
        labels,
        value,
        at_ms,
    })
}

/// A histogram's message.
#[derive(Default)]
struct Buckets<'a> {
    integer_count: u64,
    float_count: f64,
    sum: f64,
    start_ms: i64,
    schema: i64,
    zero_threshold: f64,
    integer_zeros: u64,
    float_zeros: f64,
    negative: Side,
    positive: Side,
    classic: Vec<&'a [u8]>,
    exemplars: Vec<&'a [u8]>,
    has_spans: bool,
}

impl<'a> Buckets<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => found.integer_count = field.unsigned()?,
                2 => found.sum = double(field)?,
                3 => found.classic.push(field.bytes()?),
                4 => found.float_count = double(field)?,
                5 => found.schema = field.zigzag()?,
                6 => found.zero_threshold = double(field)?,
                7 => found.integer_zeros = field.unsigned()?,
                8 => found.float_zeros = double(field)?,
                9..=11 => buckets(field, 9, &mut found.negative)?,
                12..=14 => buckets(field, 12, &mut found.positive)?,
                15 => found.start_ms = timestamp(field.bytes()?)?,
                16 => found.exemplars.push(field.bytes()?),
                _ => {}
            }
            found.has_spans |= matches!(field.number, 9 | 12);
        }
        Ok(found)
    }

    /// A native histogram without observations has a span of no buckets, or a zero bucket that is wide.
    fn is_native(&self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.integer_zeros > 0
    }

    fn count(&self) -> f64 {
        if self.float_count == 0.0 {
            self.integer_count as f64
        } else {
            self.float_count
        }
    }

    /// Of its own or, where it has none, of its classic buckets. Without a time of its own each would be new with each page.
    fn dated_exemplars(&mut self) -> Result<Vec<Exemplar<'a>>, Malformed> {
        let mut shown = Vec::new();
        for bytes in std::mem::take(&mut self.exemplars) {
            shown.push(exemplar(bytes)?);
        }
        if shown.is_empty() {
            for bytes in std::mem::take(&mut self.classic) {
                shown.extend(Classic::read(bytes)?.exemplar);
            }
        }
        shown.retain(|shown| shown.at_ms.is_some());
        Ok(shown)
    }

    fn native(mut self, reset_hint: ResetHint) -> Result<FloatHistogram, crate::BadHistogram> {
        let is_float = self.float_count > 0.0 || self.float_zeros > 0.0;
        for side in [&mut self.negative, &mut self.positive] {
            match is_float {
                true => side.deltas.clear(),
                false => side.counts.clear(),
            }
        }
        let (count, zero_count) = match is_float {
            true => (self.float_count, self.float_zeros),
            false => (self.integer_count as f64, self.integer_zeros as f64),
        };
        let value = FloatHistogram {
            count,
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count,
            reset_hint,
            ..FloatHistogram::default()
        };
        complete(value, self.schema, &[], &self.negative, &self.positive)
    }
}

/// Spans, differences and counts of one side, in fields that follow each other.
fn buckets(field: Field<'_>, first: u32, side: &mut Side) -> Result<(), Malformed> {
    match field.number - first {
        0 => side.span(field.bytes()?),
        1 => field.each_unsigned(|delta| {
            side.deltas.push(unzigzag(delta));
            Ok(())
        }),
        _ => field.each_double(|count| side.counts.push(count)),
    }
}

/// A classic bucket.
struct Classic<'a> {
    count: f64,
    upper_bound: f64,
    exemplar: Option<Exemplar<'a>>,
}

impl<'a> Classic<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (mut integer, mut float, mut upper_bound, mut shown) = (0, 0.0, 0.0, None);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => integer = field.unsigned()?,
                2 => upper_bound = double(field)?,
                3 => shown = Some(exemplar(field.bytes()?)?),
                4 => float = double(field)?,
                _ => {}
            }
        }
        Ok(Self {
            count: if float == 0.0 { integer as f64 } else { float },
            upper_bound,
            exemplar: shown,
        })
    }
}

/// A number as OpenMetrics writes it, and Go: `1.0`, `0.25`, `1e+06`, `+Inf`.
fn as_text(number: f64) -> String {
    match number {
        number if number.is_nan() => return "NaN".to_owned(),
        f64::INFINITY => return "+Inf".to_owned(),
        f64::NEG_INFINITY => return "-Inf".to_owned(),
        _ => {}
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("this form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a small number");
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    match number.to_string() {
        whole if !whole.contains('.') => format!("{whole}.0"),
        decimal => decimal,
    }
}

#[cfg(test)]
mod tests;
