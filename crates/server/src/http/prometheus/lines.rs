//! JSON lines: one series each, with some of its samples, in the shape that VictoriaMetrics imports and exports and that
//! other tools of the field know. Every sample is written and read back bit for bit.
//!
//! What that shape has no words for has members of its own: `histograms` beside `values`, and when counters began
//! (`starts`). A NaN that is not the usual one, which is `null`, is spelled by its bits.

use std::{collections::BTreeMap, fmt, sync::Arc};

use pitcrew_ingest::{Float, RawSeries, Sink};
use pitcrew_promql::{
    histogram::{Bucket, FloatHistogram, ResetHint},
    labels::Labels,
    storage::{self, Series},
};
use pitcrew_tsdb::key_of;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::telemetry::LABELS_MAX;

/// What `null` stands for: the NaN of Prometheus' own clients.
const USUAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// The marker that ends a series.
const STALE: &str = "stale";

/// Before the bits of any other NaN, in hexadecimal.
const NAN_BITS: &str = "NaN:";

/// One line. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    #[serde(deserialize_with = "labels")]
    pub(super) metric: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<Number>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) timestamps: Vec<i64>,
    /// When the counter of each value began; empty where none is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) starts: Vec<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) histograms: Vec<Histogram>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) histogram_timestamps: Vec<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) histogram_starts: Vec<i64>,
}

impl Line {
    /// Floats and histograms, some of each, as the ranges say.
    pub(super) fn of(
        series: &Series,
        floats: std::ops::Range<usize>,
        histograms: std::ops::Range<usize>,
    ) -> Self {
        let of_starts = |starts: &[i64], range: std::ops::Range<usize>| {
            let starts = starts.get(range).unwrap_or_default();
            if starts.iter().all(|start_ms| *start_ms == 0) {
                Vec::new()
            } else {
                starts.to_vec()
            }
        };
        let values = series.floats.values[floats.clone()].iter();
        let native = series.histograms.values[histograms.clone()].iter();
        Self {
            metric: pairs(&series.labels),
            values: values.copied().map(Number).collect(),
            timestamps: series.floats.timestamps[floats.clone()].to_vec(),
            starts: of_starts(&series.floats.starts, floats),
            histograms: native.map(|histogram| Histogram::of(histogram)).collect(),
            histogram_timestamps: series.histograms.timestamps[histograms.clone()].to_vec(),
            histogram_starts: of_starts(&series.histograms.starts, histograms),
        }
    }

    /// Whether each value has its time.
    pub(super) fn check(&self) -> Result<(), String> {
        for (values, what, times, starts) in [
            (self.values.len(), "values", &self.timestamps, &self.starts),
            (
                self.histograms.len(),
                "histograms",
                &self.histogram_timestamps,
                &self.histogram_starts,
            ),
        ] {
            let fits = values == times.len() && (starts.is_empty() || starts.len() == values);
            if !fits {
                return Err(format!(
                    "there are {values} {what}, {} timestamps of them and {} starts",
                    times.len(),
                    starts.len()
                ));
            }
        }
        Ok(())
    }
}

fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    let labels = labels.iter();
    labels
        .map(|label| (label.name.to_string(), label.value.to_string()))
        .collect()
}

fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    deserializer.deserialize_map(LabelsVisitor)
}

/// A label of no text takes many times its bytes.
struct LabelsVisitor;

impl<'de> de::Visitor<'de> for LabelsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "up to {LABELS_MAX} labels")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            labels.insert(name, value);
            if labels.len() > LABELS_MAX {
                return Err(de::Error::invalid_length(labels.len(), &self));
            }
        }
        Ok(labels)
    }
}

/// Samples that are told in one go.
const TOLD_MAX: usize = 1_000;

/// What a number takes once it is read.
const NUMBER_BYTES: usize = size_of::<f64>();

/// Tells the sink all lines of a piece, up to the first that is broken: its number, from 1, and what is wrong with it.
/// In between, and as often as a line is long, `settle` may empty the sink.
pub(super) fn read<S: Sink>(
    piece: &[u8],
    bytes_max: usize,
    sink: &mut S,
    mut settle: impl FnMut(&mut S),
) -> Result<(), (usize, String)> {
    for (number, text) in piece.split(|byte| *byte == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = line(text, bytes_max).map_err(|why| (number + 1, why))?;
        tell(&line, sink, &mut settle);
    }
    Ok(())
}

fn line(text: &[u8], bytes_max: usize) -> Result<Line, String> {
    // `0,` takes two bytes and becomes eight.
    let numbers = text.iter().filter(|byte| **byte == b',').count();
    if numbers * NUMBER_BYTES > bytes_max {
        let most = bytes_max >> 20;
        return Err(format!("its {numbers} numbers take more than {most} MiB"));
    }
    let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    line.check().map(|()| line)
}

fn tell<S: Sink>(line: &Line, sink: &mut S, settle: &mut impl FnMut(&mut S)) {
    let key = key_of(&Labels::from_pairs(&line.metric));
    let start = |starts: &[i64], index: usize| starts.get(index).copied().unwrap_or(0);
    for from in (0..line.values.len()).step_by(TOLD_MAX) {
        let Some(series) = sink.series(RawSeries::Pairs(&key)) else {
            return;
        };
        for index in from..line.values.len().min(from + TOLD_MAX) {
            let sample = Float {
                at_ms: Some(line.timestamps[index]),
                value: line.values[index].0,
                start_ms: start(&line.starts, index),
            };
            sink.float(series, sample);
        }
        settle(sink);
    }
    for (index, value) in line.histograms.iter().enumerate() {
        let Some(series) = sink.series(RawSeries::Pairs(&key)) else {
            return;
        };
        let sample = pitcrew_ingest::Histogram {
            at_ms: Some(line.histogram_timestamps[index]),
            value: value.read(),
            start_ms: start(&line.histogram_starts, index),
        };
        sink.histogram(series, sample);
        settle(sink);
    }
}

/// A float of which every bit counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(pub(super) f64);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        match value.to_bits() {
            USUAL_NAN => serializer.serialize_none(),
            storage::STALE_BITS => serializer.serialize_str(STALE),
            bits if value.is_nan() => {
                serializer.collect_str(&format_args!("{NAN_BITS}{bits:016x}"))
            }
            _ if value == f64::INFINITY => serializer.serialize_str("Infinity"),
            _ if value == f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            _ => serializer.serialize_f64(value),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(Number)
    }
}

struct NumberVisitor;

impl de::Visitor<'_> for NumberVisitor {
    type Value = f64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "a number, null, \"Infinity\", \"-Infinity\", \"stale\" or \"NaN:\" and its bits",
        )
    }

    fn visit_unit<E: de::Error>(self) -> Result<f64, E> {
        Ok(f64::from_bits(USUAL_NAN))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        let bits = text
            .strip_prefix(NAN_BITS)
            .and_then(|bits| u64::from_str_radix(bits, 16).ok());
        match (text, bits.map(f64::from_bits)) {
            ("Infinity" | "+Inf", _) => Ok(f64::INFINITY),
            ("-Infinity" | "-Inf", _) => Ok(f64::NEG_INFINITY),
            ("NaN", _) => Ok(f64::from_bits(USUAL_NAN)),
            (STALE, _) => Ok(storage::stale()),
            (_, Some(value)) if value.is_nan() => Ok(value),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

/// A native histogram: buckets as pairs of index and count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Histogram {
    count: Number,
    sum: Number,
    schema: i32,
    zero_threshold: Number,
    zero_count: Number,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    negative: Vec<(i32, Number)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    positive: Vec<(i32, Number)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    custom_bounds: Vec<Number>,
    #[serde(default, skip_serializing_if = "is_unknown")]
    reset: Hint,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

fn is_unknown(hint: &Hint) -> bool {
    *hint == Hint::Unknown
}

impl Histogram {
    fn of(histogram: &FloatHistogram) -> Self {
        let buckets = |buckets: &[Bucket]| {
            let buckets = buckets.iter();
            buckets
                .map(|bucket| (bucket.index, Number(bucket.count)))
                .collect()
        };
        Self {
            count: Number(histogram.count),
            sum: Number(histogram.sum),
            schema: histogram.schema,
            zero_threshold: Number(histogram.zero_threshold),
            zero_count: Number(histogram.zero_count),
            negative: buckets(&histogram.negative),
            positive: buckets(&histogram.positive),
            custom_bounds: histogram
                .custom_bounds
                .iter()
                .copied()
                .map(Number)
                .collect(),
            reset: match histogram.reset_hint {
                ResetHint::Unknown => Hint::Unknown,
                ResetHint::Reset => Hint::Reset,
                ResetHint::NotReset => Hint::NotReset,
                ResetHint::Gauge => Hint::Gauge,
            },
        }
    }

    /// The store judges whether it can be true.
    pub(super) fn read(&self) -> FloatHistogram {
        let buckets = |buckets: &[(i32, Number)]| {
            let buckets = buckets.iter();
            buckets
                .map(|(index, Number(count))| Bucket {
                    index: *index,
                    count: *count,
                })
                .collect()
        };
        let bounds: Vec<f64> = self.custom_bounds.iter().map(|bound| bound.0).collect();
        FloatHistogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold.0,
            zero_count: self.zero_count.0,
            count: self.count.0,
            sum: self.sum.0,
            positive: buckets(&self.positive),
            negative: buckets(&self.negative),
            custom_bounds: Arc::from(bounds),
            reset_hint: match self.reset {
                Hint::Unknown => ResetHint::Unknown,
                Hint::Reset => ResetHint::Reset,
                Hint::NotReset => ResetHint::NotReset,
                Hint::Gauge => ResetHint::Gauge,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_other_tools_write_is_read() {
        let text = r#"{"metric":{"__name__":"up"},"values":[1,-0.0,null,"Infinity"],"timestamps":[1,2,3,4]}"#;
        let line: Line = serde_json::from_str(text).unwrap();
        let expected = [1.0, -0.0, f64::from_bits(USUAL_NAN), f64::INFINITY].map(Number);
        assert_eq!(line.values, expected);
        assert_eq!(line.check(), Ok(()));
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            text.replace("[1,-", "[1.0,-")
        );
    }

    #[test]
    fn values_without_times_and_unknown_members_are_refused() {
        let read = |text: &str| -> Result<(), String> {
            let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
            line.check()
        };
        for text in [
            r#"{"metric":{},"values":[1]}"#,
            r#"{"metric":{},"values":[1],"timestamps":[1],"starts":[1,2]}"#,
            r#"{"metric":{},"value":[1]}"#,
            r#"{"values":[1],"timestamps":[1]}"#,
            r#"{"metric":{},"values":["NaN:0000000000000000"],"timestamps":[1]}"#,
            r#"{"metric":{},"values":[true],"timestamps":[1]}"#,
            "[]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_of_endless_labels_is_refused_while_it_is_read() {
        let read = |count: usize| {
            let labels: Vec<String> = (0..count)
                .map(|label| format!("\"{label}\":\"\""))
                .collect();
            line(
                format!("{{\"metric\":{{{}}}}}", labels.join(",")).as_bytes(),
                1 << 20,
            )
        };
        assert_eq!(read(LABELS_MAX).unwrap().metric.len(), LABELS_MAX);
        let why = read(LABELS_MAX + 1).unwrap_err();
        assert!(why.contains("1024 labels"), "{why}");
    }

    fn number() -> impl Strategy<Value = Number> {
        let special = prop::sample::select(vec![
            USUAL_NAN,
            storage::STALE_BITS,
            f64::NAN.to_bits(),
            (-0.0_f64).to_bits(),
        ]);
        prop_oneof![special, any::<u64>()].prop_map(|bits| Number(f64::from_bits(bits)))
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let buckets = || prop::collection::vec((any::<i32>(), number()), 0..4);
        let reset = prop::sample::select(vec![
            Hint::Unknown,
            Hint::Reset,
            Hint::NotReset,
            Hint::Gauge,
        ]);
        let numbers = [number(), number(), number(), number()];
        let bounds = prop::collection::vec(number(), 0..4);
        (numbers, any::<i32>(), buckets(), buckets(), bounds, reset).prop_map(
            |(
                [count, sum, zero_threshold, zero_count],
                schema,
                negative,
                positive,
                custom_bounds,
                reset,
            )| Histogram {
                count,
                sum,
                schema,
                zero_threshold,
                zero_count,
                negative,
                positive,
                custom_bounds,
                reset,
            },
        )
    }

    proptest! {
        #[test]
        fn every_bit_of_a_line_is_read_back(
            metric in prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
            samples in prop::collection::vec((number(), any::<i64>(), any::<i64>()), 0..5),
            native in prop::collection::vec((histogram(), any::<i64>()), 0..3),
        ) {
            let line = Line {
                metric,
                values: samples.iter().map(|sample| sample.0).collect(),
                timestamps: samples.iter().map(|sample| sample.1).collect(),
                starts: samples.iter().map(|sample| sample.2).collect(),
                histograms: native.iter().map(|one| one.0.clone()).collect(),
                histogram_timestamps: native.iter().map(|one| one.1).collect(),
                histogram_starts: Vec::new(),
            };
            let text = serde_json::to_string(&line).unwrap();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(&serde_json::from_str::<Line>(&text).unwrap(), &line);
            for (written, read) in native.iter().zip(&line.histograms) {
                prop_assert_eq!(&Histogram::of(&read.read()), &written.0);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            read(&bytes, 1 << 20, &mut crate::telemetry::Gathered::within(1 << 20, 0), |_| {}).ok();
        }
    }
}
