//! OpenTelemetry's metrics (OTLP), as series.
//!
//! What a resource is becomes `job` and `instance`; all else of it is said once, in `target_info`. Histograms with bounds
//! become one series for each bucket, exponential ones stay one sample. Differences since the last report (delta
//! temporality) would have to be added up by somebody who sees all of them: they are refused and counted.

mod labels;
mod naming;
mod points;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, Metric, ResourceMetrics, metric::Data},
};
use prost::Message as _;

use self::{
    labels::ResourceLabels,
    naming::{Ending, metric_name, unit_words},
    points::Points,
};
use crate::{Metadata, MetricType, Sink};

#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    #[error("the body is no ExportMetricsServiceRequest: {0}")]
    Protobuf(#[source] prost::DecodeError),
    #[error("the body is no ExportMetricsServiceRequest in JSON: {0}")]
    Json(#[source] serde_json::Error),
}

/// Points that were not taken, for the answer's partial success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    pub points: usize,
    /// Of the last one; empty where there is none.
    pub why: String,
}

/// Reads a request as HTTP and gRPC carry it in binary.
pub fn read(message: &[u8], sink: &mut impl Sink) -> Result<Rejected, OtlpError> {
    let request = ExportMetricsServiceRequest::decode(message).map_err(OtlpError::Protobuf)?;
    Ok(tell(&request, sink))
}

/// Reads a request as HTTP carries it in JSON.
pub fn read_json(text: &[u8], sink: &mut impl Sink) -> Result<Rejected, OtlpError> {
    let request = serde_json::from_slice(text).map_err(OtlpError::Json)?;
    Ok(tell(&request, sink))
}

/// Tells the sink all that is in a request.
pub fn tell(request: &ExportMetricsServiceRequest, sink: &mut impl Sink) -> Rejected {
    let mut rejected = Rejected::default();
    for resource in &request.resource_metrics {
        tell_resource(resource, sink, &mut rejected);
    }
    rejected
}

fn tell_resource(resource: &ResourceMetrics, sink: &mut impl Sink, rejected: &mut Rejected) {
    let attributes = resource
        .resource
        .as_ref()
        .map_or(&[][..], |resource| &resource.attributes);
    let labels = ResourceLabels::of(attributes);
    let mut points = Points::new(&labels, sink);
    for metric in resource
        .scope_metrics
        .iter()
        .flat_map(|scope| &scope.metrics)
    {
        if let Some((count, why)) = tell_metric(metric, &mut points) {
            rejected.points += count;
            rejected.why = format!("{}: {why}", metric.name);
        }
    }
    points.target_info();
}

const DELTA: &str =
    "differences since the last report are not taken; set the exporter's temporality to cumulative";

/// How many points were not taken and why, if so.
fn tell_metric<S: Sink>(
    metric: &Metric,
    points: &mut Points<'_, S>,
) -> Option<(usize, &'static str)> {
    let data = metric.data.as_ref()?;
    let (kind, ending) = match data {
        Data::Gauge(_) if metric.unit == "1" => (MetricType::Gauge, Ending::Ratio),
        Data::Gauge(_) => (MetricType::Gauge, Ending::None),
        Data::Sum(sum) if sum.is_monotonic => (MetricType::Counter, Ending::Total),
        Data::Sum(_) => (MetricType::Gauge, Ending::None),
        Data::Histogram(_) | Data::ExponentialHistogram(_) => (MetricType::Histogram, Ending::None),
        Data::Summary(_) => (MetricType::Summary, Ending::None),
    };
    let name = metric_name(&metric.name, &metric.unit, ending);
    let is_cumulative =
        |temporality| temporality == i32::from(AggregationTemporality::Cumulative as u8);
    let refused = match data {
        Data::Sum(sum) if !is_cumulative(sum.aggregation_temporality) => sum.data_points.len(),
        Data::Histogram(histogram) if !is_cumulative(histogram.aggregation_temporality) => {
            histogram.data_points.len()
        }
        Data::ExponentialHistogram(histogram)
            if !is_cumulative(histogram.aggregation_temporality) =>
        {
            histogram.data_points.len()
        }
        _ => 0,
    };
    if refused > 0 {
        return Some((refused, DELTA));
    }
    points.metadata(Metadata {
        family: name.as_str().into(),
        kind: Some(kind),
        help: metric.description.as_str().into(),
        unit: unit_words(&metric.unit).into(),
    });
    match data {
        Data::Gauge(gauge) => gauge
            .data_points
            .iter()
            .for_each(|point| points.number(&name, point)),
        Data::Sum(sum) => sum
            .data_points
            .iter()
            .for_each(|point| points.number(&name, point)),
        Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .for_each(|point| points.histogram(&name, point)),
        Data::ExponentialHistogram(histogram) => {
            histogram
                .data_points
                .iter()
                .for_each(|point| points.exponential(&name, point));
        }
        Data::Summary(summary) => summary
            .data_points
            .iter()
            .for_each(|point| points.summary(&name, point)),
    }
    None
}

#[cfg(test)]
mod tests;
