//! OpenTelemetry's metrics (OTLP), as series.
//!
//! What a resource is becomes `job` and `instance`; all else of it is said once, in `target_info`. Histograms with bounds
//! become one series for each bucket, exponential ones stay one sample. Differences since the last report (delta
//! temporality) would have to be added up by somebody who sees all of them: they are refused and counted.
//!
//! A message is walked over where it lies and only one point of it at a time is decoded: an empty point takes two bytes
//! of a message and fifty times as much in memory.

mod labels;
mod naming;
mod points;

use std::str;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint,
        SummaryDataPoint,
    },
    resource::v1::Resource,
};
use prost::Message;

use self::{
    labels::ResourceLabels,
    naming::{Ending, metric_name, unit_words},
    points::Points,
};
use crate::{
    Malformed, Metadata, MetricType, Sink,
    protobuf::{Field, Fields},
};

/// A point or a resource may be that long: a histogram of a thousand buckets, each with an exemplar, takes half of it.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// What the largest structure takes that an object of JSON can become.
const OBJECT_BYTES: usize = 256;

/// What a number of JSON takes at the most for each of its bytes: `0,` becomes eight of them.
const NUMBER_GROWTH: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error("the body is no ExportMetricsServiceRequest: {0}")]
    Wire(#[from] Malformed),
    #[error("the body is no ExportMetricsServiceRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the body is no ExportMetricsServiceRequest: {0}")]
    Text(#[from] str::Utf8Error),
    #[error("the body is no ExportMetricsServiceRequest in JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "a resource is described by {bytes} bytes, more than the {PIECE_BYTES_MAX} that are taken"
    )]
    LongResource { bytes: usize },
    #[error(
        "the body may take {bytes} bytes when it is decoded, more than the {bytes_max} that are taken; send it in parts, or as protobuf"
    )]
    TooLarge { bytes: usize, bytes_max: usize },
}

/// Points that were not taken, for the answer's partial success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    pub points: usize,
    /// Of the last one; empty where there is none.
    pub why: String,
}

impl Rejected {
    fn say(&mut self, metric: &Metric<'_>, why: Option<&str>) {
        if let Some(why) = why {
            self.why = format!("{}: {why}", metric.name);
        }
    }
}

/// Reads a request as HTTP and gRPC carry it in binary.
pub fn read(message: &[u8], sink: &mut impl Sink) -> Result<Rejected, OtlpError> {
    let mut rejected = Rejected::default();
    let mut fields = Fields(message);
    while let Some(field) = fields.next()?
        && !sink.is_full()
    {
        if field.number == 1 {
            tell_resource(field.bytes()?, sink, &mut rejected)?;
        }
    }
    Ok(rejected)
}

/// Reads a request as HTTP carries it in JSON. What it takes is estimated before it is decoded.
pub fn read_json(
    text: &[u8],
    bytes_max: usize,
    sink: &mut impl Sink,
) -> Result<Rejected, OtlpError> {
    let objects = memchr::memchr_iter(b'{', text).count();
    let bytes = objects * OBJECT_BYTES + text.len() * NUMBER_GROWTH;
    if bytes > bytes_max {
        return Err(OtlpError::TooLarge { bytes, bytes_max });
    }
    let request: ExportMetricsServiceRequest = serde_json::from_slice(text)?;
    let message = request.encode_to_vec();
    drop(request);
    read(&message, sink)
}

fn tell_resource(
    message: &[u8],
    sink: &mut impl Sink,
    rejected: &mut Rejected,
) -> Result<(), OtlpError> {
    let labels = resource_labels(message)?;
    let mut points = Points::new(&labels, sink);
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        if field.number != 2 {
            continue;
        }
        let mut of_scope = Fields(field.bytes()?);
        while let Some(field) = of_scope.next()?
            && !points.is_full()
        {
            if field.number == 2 {
                tell_metric(&Metric::of(field.bytes()?)?, &mut points, rejected)?;
            }
        }
    }
    points.target_info();
    Ok(())
}

fn resource_labels(message: &[u8]) -> Result<ResourceLabels, OtlpError> {
    let mut resource = Resource::default();
    let (mut fields, mut bytes) = (Fields(message), 0);
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            continue;
        }
        let message = field.bytes()?;
        bytes += message.len();
        if bytes > PIECE_BYTES_MAX {
            return Err(OtlpError::LongResource { bytes });
        }
        resource.merge(message)?;
    }
    Ok(ResourceLabels::of(&resource.attributes))
}

/// A metric whose points are not decoded yet.
#[derive(Default)]
struct Metric<'a> {
    name: &'a str,
    description: &'a str,
    unit: &'a str,
    kind: Option<Kind>,
    /// The message of that kind.
    data: &'a [u8],
    is_monotonic: bool,
    is_cumulative: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl<'a> Metric<'a> {
    fn of(message: &'a [u8]) -> Result<Self, OtlpError> {
        let mut metric = Metric::default();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            let kind = match field.number {
                1 => {
                    metric.name = str::from_utf8(field.bytes()?)?;
                    continue;
                }
                2 => {
                    metric.description = str::from_utf8(field.bytes()?)?;
                    continue;
                }
                3 => {
                    metric.unit = str::from_utf8(field.bytes()?)?;
                    continue;
                }
                5 => Kind::Gauge,
                7 => Kind::Sum,
                9 => Kind::Histogram,
                10 => Kind::ExponentialHistogram,
                11 => Kind::Summary,
                _ => continue,
            };
            // A metric has one of them: the last one counts.
            (metric.kind, metric.data) = (Some(kind), field.bytes()?);
        }
        let mut fields = Fields(metric.data);
        while let Some(field) = fields.next()? {
            match field.number {
                2 => {
                    let cumulative = AggregationTemporality::Cumulative as u64;
                    metric.is_cumulative = field.unsigned()? == cumulative;
                }
                3 => metric.is_monotonic = field.unsigned()? != 0,
                _ => {}
            }
        }
        Ok(metric)
    }

    /// What the family is to Prometheus, and what its name ends in.
    fn family(&self, kind: Kind) -> (MetricType, Ending) {
        match kind {
            Kind::Gauge if self.unit == "1" => (MetricType::Gauge, Ending::Ratio),
            Kind::Gauge => (MetricType::Gauge, Ending::None),
            Kind::Sum if self.is_monotonic => (MetricType::Counter, Ending::Total),
            Kind::Sum => (MetricType::Gauge, Ending::None),
            Kind::Histogram | Kind::ExponentialHistogram => (MetricType::Histogram, Ending::None),
            Kind::Summary => (MetricType::Summary, Ending::None),
        }
    }

    fn each_point(
        &self,
        mut each: impl FnMut(Field<'a>) -> Result<(), OtlpError>,
    ) -> Result<(), OtlpError> {
        let mut fields = Fields(self.data);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                each(field)?;
            }
        }
        Ok(())
    }
}

const DELTA: &str =
    "differences since the last report are not taken; set the exporter's temporality to cumulative";

const LONG_POINT: &str = "a point has more than 256 KiB";

fn tell_metric<S: Sink>(
    metric: &Metric<'_>,
    points: &mut Points<'_, S>,
    rejected: &mut Rejected,
) -> Result<(), OtlpError> {
    let Some(kind) = metric.kind else {
        return Ok(());
    };
    // The name may be long, and so may be the list of points.
    let mut why = None;
    let adds_up = matches!(
        kind,
        Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram
    );
    if adds_up && !metric.is_cumulative {
        metric.each_point(|_point| {
            rejected.points += 1;
            why = Some(DELTA);
            Ok(())
        })?;
        rejected.say(metric, why);
        return Ok(());
    }
    let (family, ending) = metric.family(kind);
    let name = metric_name(metric.name, metric.unit, ending);
    points.metadata(Metadata {
        family: name.as_str().into(),
        kind: Some(family),
        help: metric.description.into(),
        unit: unit_words(metric.unit).into(),
    });
    metric.each_point(|point| {
        let point = point.bytes()?;
        if points.is_full() {
            return Ok(());
        }
        if point.len() > PIECE_BYTES_MAX {
            rejected.points += 1;
            why = Some(LONG_POINT);
            return Ok(());
        }
        match kind {
            Kind::Gauge | Kind::Sum => points.number(&name, &NumberDataPoint::decode(point)?),
            Kind::Histogram => points.histogram(&name, &HistogramDataPoint::decode(point)?),
            Kind::ExponentialHistogram => {
                points.exponential(&name, &ExponentialHistogramDataPoint::decode(point)?);
            }
            Kind::Summary => points.summary(&name, &SummaryDataPoint::decode(point)?),
        }
        Ok(())
    })?;
    rejected.say(metric, why);
    Ok(())
}

#[cfg(test)]
mod tests;
