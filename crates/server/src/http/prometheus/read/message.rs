//! The messages of remote read. The answer is written field by field: it may be large, and a value of -0 is written
//! although it equals what protocol buffers leave out.

use pitcrew_promql::{
    histogram::{Bucket, FloatHistogram, ResetHint},
    labels::Labels,
    storage::Series,
};
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::http::prometheus::arguments::Range;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) queries: Vec<Wanted>,
    /// Samples (0) or streamed chunks (1), whichever comes first; without any: samples.
    #[prost(int32, repeated, tag = "2")]
    pub(super) accepted: Vec<i32>,
}

pub(super) const SAMPLES: i32 = 0;
pub(super) const STREAMED_CHUNKS: i32 = 1;

/// One query of a request.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Wanted {
    #[prost(int64, tag = "1")]
    pub(super) start_ms: i64,
    #[prost(int64, tag = "2")]
    pub(super) end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) matchers: Vec<WantedLabel>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WantedLabel {
    /// Equal, not equal, matches, doesn't match.
    #[prost(int32, tag = "1")]
    pub(super) op: i32,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) value: String,
}

/// A series in the words of an answer.
pub(super) struct Encoded {
    pub(super) labels: Labels,
    pub(super) message: Vec<u8>,
}

/// Which of these times are of the range.
pub(super) fn within(timestamps: &[i64], range: Range) -> std::ops::Range<usize> {
    let from = timestamps.partition_point(|time_ms| *time_ms < range.start_ms);
    from..timestamps
        .partition_point(|time_ms| *time_ms <= range.end_ms)
        .max(from)
}

/// Labels as both kinds of series have them, in field 1.
pub(super) fn labels(of: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 * of.len());
    let mut pair = Vec::new();
    for label in of.iter() {
        pair.clear();
        put_bytes(1, label.name.as_bytes(), &mut pair);
        put_bytes(2, label.value.as_bytes(), &mut pair);
        put_bytes(1, &pair, &mut out);
    }
    out
}

/// As a `TimeSeries`. Nothing where it has no sample of that time.
pub(super) fn encoded(series: &Series, range: Range) -> Option<Encoded> {
    let (floats, histograms) = (&series.floats, &series.histograms);
    let of_floats = within(&floats.timestamps, range);
    let of_histograms = within(&histograms.timestamps, range);
    if of_floats.is_empty() && of_histograms.is_empty() {
        return None;
    }
    let mut out = labels(&series.labels);
    out.reserve(20 * of_floats.len());
    let mut sample = Vec::new();
    for index in of_floats {
        sample.clear();
        put_double(1, floats.values[index], &mut sample);
        put_varint(2, floats.timestamps[index].cast_unsigned(), &mut sample);
        put_bytes(2, &sample, &mut out);
    }
    for index in of_histograms {
        sample.clear();
        put_histogram(
            &histograms.values[index],
            histograms.timestamps[index],
            &mut sample,
        );
        put_bytes(4, &sample, &mut out);
    }
    Some(Encoded {
        labels: series.labels.clone(),
        message: out,
    })
}

pub(super) fn put_result(series: &[Encoded], out: &mut Vec<u8>) {
    let mut result = Vec::with_capacity(series.iter().map(|one| one.message.len() + 6).sum());
    for one in series {
        put_bytes(1, &one.message, &mut result);
    }
    put_bytes(1, &result, out);
}

pub(super) fn put_varint(field: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

fn put_zigzag(field: u32, value: i64, out: &mut Vec<u8>) {
    put_varint(field, ((value << 1) ^ (value >> 63)).cast_unsigned(), out);
}

fn put_double(field: u32, value: f64, out: &mut Vec<u8>) {
    encode_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(super) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// With counts as floats, which is how the store has them.
fn put_histogram(histogram: &FloatHistogram, time_ms: i64, out: &mut Vec<u8>) {
    put_double(2, histogram.count, out);
    put_double(3, histogram.sum, out);
    put_zigzag(4, i64::from(histogram.schema), out);
    put_double(5, histogram.zero_threshold, out);
    put_double(7, histogram.zero_count, out);
    put_buckets([8, 10], &histogram.negative, out);
    put_buckets([11, 13], &histogram.positive, out);
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    put_varint(14, hint, out);
    put_varint(15, time_ms.cast_unsigned(), out);
    put_packed(16, histogram.custom_bounds.iter().copied(), out);
}

/// Spans of neighbouring buckets, and the counts of all of them.
fn put_buckets([spans, counts]: [u32; 2], buckets: &[Bucket], out: &mut Vec<u8>) {
    let mut end = 0;
    for run in buckets.chunk_by(|left, right| i64::from(left.index) + 1 == i64::from(right.index)) {
        let start = i64::from(run[0].index);
        let mut span = Vec::new();
        put_zigzag(1, start - end, &mut span);
        put_varint(2, run.len() as u64, &mut span);
        put_bytes(spans, &span, out);
        end = i64::from(run[run.len() - 1].index) + 1;
    }
    put_packed(counts, buckets.iter().map(|bucket| bucket.count), out);
}

fn put_packed(field: u32, values: impl ExactSizeIterator<Item = f64>, out: &mut Vec<u8>) {
    if values.len() > 0 {
        let bytes: Vec<u8> = values
            .flat_map(|value| value.to_bits().to_le_bytes())
            .collect();
        put_bytes(field, &bytes, out);
    }
}
