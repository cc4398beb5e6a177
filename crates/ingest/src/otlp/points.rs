//! From a data point to samples.

use std::{collections::BTreeMap, sync::Arc};

use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Exemplar as Traced, ExponentialHistogramDataPoint, HistogramDataPoint,
    NumberDataPoint, SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets,
    number_data_point,
};
use pitcrew_promql::{
    histogram::{Bucket, FloatHistogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN},
    storage::stale,
};

use super::{
    labels::{ResourceLabels, pairs, sanitized},
    naming::hex,
};
use crate::{BadHistogram, Exemplar, Float, Histogram, Metadata, RawSeries, Sink};

/// Tells points of one resource.
pub(super) struct Points<'a, S> {
    resource: &'a ResourceLabels,
    sink: &'a mut S,
    /// The latest time that any point has.
    latest_ms: Option<i64>,
    /// Memory that every series uses again.
    key: Vec<u8>,
}

/// When something was, and since when it is counted.
#[derive(Clone, Copy)]
struct When {
    at_ms: i64,
    start_ms: i64,
    /// The point says only that there is no value any more.
    is_gone: bool,
}

impl When {
    fn new(time_ns: u64, start_ns: u64, flags: u32) -> Self {
        let no_value = DataPointFlags::NoRecordedValueMask as u32;
        Self {
            at_ms: milliseconds(time_ns),
            start_ms: milliseconds(start_ns),
            is_gone: flags & no_value != 0,
        }
    }

    fn float(self, value: f64) -> Float {
        Float {
            at_ms: Some(self.at_ms),
            value: if self.is_gone { stale() } else { value },
            start_ms: self.start_ms,
        }
    }
}

fn milliseconds(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).expect("a thousandth of it fits")
}

impl<'a, S: Sink> Points<'a, S> {
    pub(super) fn new(resource: &'a ResourceLabels, sink: &'a mut S) -> Self {
        Self {
            resource,
            sink,
            latest_ms: None,
            key: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.sink.is_full()
    }

    pub(super) fn metadata(&mut self, metadata: Metadata<'_>) {
        self.sink.metadata(metadata);
    }

    /// `name` followed by `ending`, with the point's labels and one more.
    fn series(
        &mut self,
        name: &str,
        ending: &str,
        labels: &BTreeMap<String, String>,
        more: Option<(&str, &str)>,
    ) -> Option<S::Series> {
        let name = [name, ending].concat();
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        all.extend(
            labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        all.insert("job", &self.resource.job);
        all.insert("instance", &self.resource.instance);
        all.extend(more);
        all.insert("__name__", &name);
        // An empty value is no label.
        let present = all.into_iter().filter(|(_, value)| !value.is_empty());
        pairs(present, &mut self.key);
        self.sink.series(RawSeries::Pairs(&self.key))
    }

    fn float(
        &mut self,
        (name, ending): (&str, &str),
        labels: &BTreeMap<String, String>,
        more: Option<(&str, &str)>,
        sample: Float,
    ) -> Option<S::Series> {
        let known = self.series(name, ending, labels, more)?;
        self.sink.float(known, sample);
        Some(known)
    }

    fn seen(&mut self, when: When) {
        self.latest_ms = self.latest_ms.max(Some(when.at_ms));
    }

    pub(super) fn number(&mut self, name: &str, point: &NumberDataPoint) {
        let when = When::new(
            point.time_unix_nano,
            point.start_time_unix_nano,
            point.flags,
        );
        self.seen(when);
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None if when.is_gone => stale(),
            None => return,
        };
        let labels = sanitized(point.attributes.iter());
        let known = self.float((name, ""), &labels, None, when.float(value));
        if let Some(known) = known {
            point
                .exemplars
                .iter()
                .for_each(|traced| self.exemplar(known, traced));
        }
    }

    pub(super) fn histogram(&mut self, name: &str, point: &HistogramDataPoint) {
        let when = When::new(
            point.time_unix_nano,
            point.start_time_unix_nano,
            point.flags,
        );
        self.seen(when);
        let labels = sanitized(point.attributes.iter());
        let traced = by_bucket(&point.exemplars, &point.explicit_bounds);
        let mut traced = traced.iter().peekable();
        let mut of_bucket = |index| {
            std::iter::from_fn(|| traced.next_if(|(bucket, _)| *bucket == index))
                .map(|(_, traced)| *traced)
                .collect::<Vec<_>>()
        };
        let mut count = 0_u64;
        for (index, bound) in point.explicit_bounds.iter().enumerate() {
            if self.is_full() {
                return;
            }
            count = count.saturating_add(point.bucket_counts.get(index).copied().unwrap_or(0));
            let le = bound.to_string();
            let sample = when.float(count as f64);
            self.bucket((name, &le), &labels, sample, &of_bucket(index));
        }
        let all = when.float(point.count as f64);
        let beyond = of_bucket(point.explicit_bounds.len());
        self.bucket((name, "+Inf"), &labels, all, &beyond);
        self.float((name, "_count"), &labels, None, all);
        if let Some(sum) = point.sum {
            self.float((name, "_sum"), &labels, None, when.float(sum));
        }
    }

    fn bucket(
        &mut self,
        (name, le): (&str, &str),
        labels: &BTreeMap<String, String>,
        sample: Float,
        traced: &[&Traced],
    ) {
        let known = self.float((name, "_bucket"), labels, Some(("le", le)), sample);
        let Some(known) = known else { return };
        for traced in traced {
            self.exemplar(known, traced);
        }
    }

    pub(super) fn exponential(&mut self, name: &str, point: &ExponentialHistogramDataPoint) {
        let when = When::new(
            point.time_unix_nano,
            point.start_time_unix_nano,
            point.flags,
        );
        self.seen(when);
        let labels = sanitized(point.attributes.iter());
        let Some(known) = self.series(name, "", &labels, None) else {
            return;
        };
        match native(point, when.is_gone) {
            Ok(value) => self.sink.histogram(
                known,
                Histogram {
                    at_ms: Some(when.at_ms),
                    value,
                    start_ms: when.start_ms,
                },
            ),
            Err(why) => self.sink.bad_histogram(known, why),
        }
        point
            .exemplars
            .iter()
            .for_each(|traced| self.exemplar(known, traced));
    }

    pub(super) fn summary(&mut self, name: &str, point: &SummaryDataPoint) {
        let when = When::new(
            point.time_unix_nano,
            point.start_time_unix_nano,
            point.flags,
        );
        self.seen(when);
        let labels = sanitized(point.attributes.iter());
        for quantile in &point.quantile_values {
            if self.is_full() {
                return;
            }
            let rank = quantile.quantile.to_string();
            let more = Some(("quantile", rank.as_str()));
            self.float((name, ""), &labels, more, when.float(quantile.value));
        }
        self.float(
            (name, "_count"),
            &labels,
            None,
            when.float(point.count as f64),
        );
        self.float((name, "_sum"), &labels, None, when.float(point.sum));
    }

    fn exemplar(&mut self, known: S::Series, traced: &Traced) {
        let Some(value) = value_of(traced) else {
            return;
        };
        let mut labels = sanitized(traced.filtered_attributes.iter());
        let ids = [("trace_id", &traced.trace_id), ("span_id", &traced.span_id)];
        for (name, id) in ids.into_iter().filter(|(_, id)| !id.is_empty()) {
            labels.insert(name.to_owned(), hex(id));
        }
        pairs(
            labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
            &mut self.key,
        );
        let exemplar = Exemplar {
            labels: RawSeries::Pairs(&self.key),
            value,
            at_ms: Some(milliseconds(traced.time_unix_nano)),
        };
        self.sink.exemplar(known, exemplar);
    }

    /// Says what else the resource is, when anything was said of it and it is anybody.
    pub(super) fn target_info(&mut self) {
        let is_somebody = !self.resource.job.is_empty() || !self.resource.instance.is_empty();
        let Some(at_ms) = self
            .latest_ms
            .filter(|_| is_somebody && !self.resource.rest.is_empty())
        else {
            return;
        };
        self.sink.metadata(Metadata {
            family: "target_info".into(),
            kind: Some(crate::MetricType::Gauge),
            help: "What is known of a target beside job and instance.".into(),
            unit: "".into(),
        });
        let resource = self.resource;
        let info = Float {
            at_ms: Some(at_ms),
            value: 1.0,
            start_ms: 0,
        };
        self.float(("target_info", ""), &resource.rest, None, info);
    }
}

fn value_of(traced: &Traced) -> Option<f64> {
    Some(match traced.value? {
        exemplar::Value::AsDouble(value) => value,
        exemplar::Value::AsInt(value) => value as f64,
    })
}

/// Exemplars with the number of the bucket that each is an example of, in the order of the buckets.
fn by_bucket<'p>(exemplars: &'p [Traced], bounds: &[f64]) -> Vec<(usize, &'p Traced)> {
    let placed = exemplars.iter().filter_map(|traced| {
        let value = value_of(traced).filter(|value| !value.is_nan())?;
        Some((bounds.partition_point(|bound| *bound < value), traced))
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|(bucket, _)| *bucket);
    placed
}

/// Bucket `i` of OpenTelemetry is Prometheus' `i + 1`. A finer scale than Prometheus knows is made coarser.
fn native(
    point: &ExponentialHistogramDataPoint,
    is_gone: bool,
) -> Result<FloatHistogram, BadHistogram> {
    if is_gone {
        return Ok(FloatHistogram {
            sum: stale(),
            ..FloatHistogram::default()
        });
    }
    if point.scale < SCHEMA_MIN {
        return Err(BadHistogram::Schema(point.scale.into()));
    }
    let coarser = u32::try_from(point.scale - SCHEMA_MAX).unwrap_or(0);
    Ok(FloatHistogram {
        schema: point.scale.min(SCHEMA_MAX),
        zero_threshold: point.zero_threshold,
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or(0.0),
        positive: buckets(point.positive.as_ref(), coarser)?,
        negative: buckets(point.negative.as_ref(), coarser)?,
        custom_bounds: Arc::from([]),
        reset_hint: ResetHint::Unknown,
    })
}

fn buckets(side: Option<&Buckets>, coarser: u32) -> Result<Vec<Bucket>, BadHistogram> {
    let Some(side) = side else {
        return Ok(Vec::new());
    };
    let mut merged: Vec<Bucket> = Vec::new();
    for (number, count) in side.bucket_counts.iter().enumerate() {
        if *count == 0 {
            continue;
        }
        let number = i64::try_from(number).map_err(|_| BadHistogram::SpanOffset)?;
        let fine = i64::from(side.offset) + number;
        let index = (fine >> coarser.min(62)) + 1;
        let index = i32::try_from(index).map_err(|_| BadHistogram::SpanOffset)?;
        let count = *count as f64;
        match merged.last_mut() {
            Some(last) if last.index == index => last.count += count,
            _ => merged.push(Bucket { index, count }),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finer_scale_is_made_as_coarse_as_the_finest_that_there_is() {
        let side = Buckets {
            offset: -2,
            bucket_counts: vec![1, 2, 4, 0, 8],
        };
        let indices = |coarser| {
            let buckets = buckets(Some(&side), coarser).unwrap();
            buckets
                .iter()
                .map(|bucket| (bucket.index, bucket.count))
                .collect::<Vec<_>>()
        };
        assert_eq!(indices(0), [(-1, 1.0), (0, 2.0), (1, 4.0), (3, 8.0)]);
        assert_eq!(indices(1), [(0, 3.0), (1, 4.0), (2, 8.0)]);
    }
}
