//! Samples that are more than a number: native histograms, and the one float whose bits the head uses itself.
//!
//! The same bytes are in the log, in the head and in parts. They hold the sample exactly: counts that are whole
//! numbers as such, all others bit by bit.

use std::sync::Arc;

use pitcrew_promql::histogram::{
    Bucket, CUSTOM_SCHEMA, FloatHistogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN,
};

use crate::bytes::{Malformed, Put, Reader};

const FLOAT: u8 = 0;
const HISTOGRAM: u8 = 1;

/// Whole numbers below this are stored as such: 2^53, up to which a float counts without gaps.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What a blob holds.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    /// A float with any bits.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

pub(crate) fn encode_float(value: f64, start_ms: i64) -> Box<[u8]> {
    let mut out = vec![FLOAT];
    out.put_zigzag(start_ms);
    out.put(&value.to_bits().to_le_bytes());
    out.into()
}

pub(crate) fn encode_histogram(histogram: &FloatHistogram, start_ms: i64) -> Box<[u8]> {
    let mut out = vec![HISTOGRAM];
    out.put_zigzag(start_ms);
    out.put(&[match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }]);
    out.put_zigzag(i64::from(histogram.schema));
    out.put(&histogram.zero_threshold.to_bits().to_le_bytes());
    put_number(&mut out, histogram.zero_count);
    put_number(&mut out, histogram.count);
    out.put(&histogram.sum.to_bits().to_le_bytes());
    put_buckets(&mut out, &histogram.positive);
    put_buckets(&mut out, &histogram.negative);
    out.put_count(histogram.custom_bounds.len());
    for bound in histogram.custom_bounds.iter() {
        out.put(&bound.to_bits().to_le_bytes());
    }
    out.into()
}

/// The sample and when its counter began.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Blob, i64), Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let start_ms = reader.zigzag()?;
    let blob = match kind {
        FLOAT => Blob::Float(reader.f64()?),
        HISTOGRAM => Blob::Histogram(Arc::new(histogram(&mut reader)?)),
        _ => return Err(Malformed::at("kind of sample")),
    };
    if reader.is_empty() {
        Ok((blob, start_ms))
    } else {
        Err(Malformed::at("end of sample"))
    }
}

/// Why a histogram can't be one, if so.
pub(crate) fn invalid_histogram(histogram: &FloatHistogram) -> Option<String> {
    let schema = histogram.schema;
    if schema != CUSTOM_SCHEMA && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&schema) {
        return Some(format!("unknown schema {schema}"));
    }
    let ascending =
        |buckets: &[Bucket]| buckets.is_sorted_by(|left, right| left.index < right.index);
    if !ascending(&histogram.positive) || !ascending(&histogram.negative) {
        return Some("buckets are not in ascending order".to_owned());
    }
    None
}

fn histogram(reader: &mut Reader<'_>) -> Result<FloatHistogram, Malformed> {
    let reset_hint = match reader.u8()? {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(Malformed::at("reset hint")),
    };
    let schema = i32::try_from(reader.zigzag()?).map_err(|_| Malformed::at("schema"))?;
    let zero_threshold = reader.f64()?;
    let zero_count = number(reader)?;
    let count = number(reader)?;
    let sum = reader.f64()?;
    let positive = buckets(reader)?;
    let negative = buckets(reader)?;
    let bounds = reader.count(8)?;
    let custom_bounds = (0..bounds)
        .map(|_| reader.f64())
        .collect::<Result<_, _>>()?;
    Ok(FloatHistogram {
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive,
        negative,
        custom_bounds,
        reset_hint,
    })
}

fn put_buckets(out: &mut Vec<u8>, buckets: &[Bucket]) {
    out.put_count(buckets.len());
    let mut before = 0;
    for bucket in buckets {
        out.put_zigzag(i64::from(bucket.index) - before);
        before = i64::from(bucket.index);
        put_number(out, bucket.count);
    }
}

fn buckets(reader: &mut Reader<'_>) -> Result<Vec<Bucket>, Malformed> {
    let count = reader.count(2)?;
    let mut before: i64 = 0;
    let mut buckets = Vec::with_capacity(count);
    for _ in 0..count {
        before = before
            .checked_add(reader.zigzag()?)
            .ok_or_else(|| Malformed::at("bucket"))?;
        let index = i32::try_from(before).map_err(|_| Malformed::at("bucket"))?;
        let count = number(reader)?;
        buckets.push(Bucket { index, count });
    }
    Ok(buckets)
}

/// Twice a whole number, or 1 and the bits of any other.
fn put_number(out: &mut Vec<u8>, value: f64) {
    let whole =
        (0.0..WHOLE_MAX).contains(&value) && value.fract() == 0.0 && value.is_sign_positive();
    if whole {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, not negative and below 2^53"
        )]
        out.put_varint((value as u64) << 1);
    } else {
        out.put_varint(1);
        out.put(&value.to_bits().to_le_bytes());
    }
}

fn number(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    match reader.varint()? {
        1 => reader.f64(),
        twice if twice % 2 == 0 && twice >> 1 < 1 << 53 => Ok((twice >> 1) as f64),
        _ => Err(Malformed::at("number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0u32..9).prop_map(f64::from),
            Just(-0.0),
            Just(WHOLE_MAX),
        ]
    }

    fn bits(histogram: &FloatHistogram) -> String {
        let numbers = |buckets: &[Bucket]| -> Vec<(i32, u64)> {
            buckets
                .iter()
                .map(|bucket| (bucket.index, bucket.count.to_bits()))
                .collect()
        };
        let h = histogram;
        let plain = [h.zero_threshold, h.zero_count, h.count, h.sum].map(f64::to_bits);
        let bounds: Vec<u64> = h
            .custom_bounds
            .iter()
            .map(|bound| bound.to_bits())
            .collect();
        let (positive, negative) = (numbers(&h.positive), numbers(&h.negative));
        format!(
            "{} {plain:?} {positive:?} {negative:?} {bounds:?} {:?}",
            h.schema, h.reset_hint
        )
    }

    proptest! {
        #[test]
        fn a_histogram_is_read_bit_for_bit(
            schema: i32,
            plain in (number(), number(), number(), number()),
            positive in vec((any::<i32>(), number()), 0..6),
            negative in vec((any::<i32>(), number()), 0..3),
            bounds in vec(number(), 0..4),
            hint in 0..4,
            start_ms: i64,
        ) {
            let buckets = |pairs: Vec<(i32, f64)>| {
                pairs.into_iter().map(|(index, count)| Bucket { index, count }).collect()
            };
            let histogram = FloatHistogram {
                schema,
                zero_threshold: plain.0,
                zero_count: plain.1,
                count: plain.2,
                sum: plain.3,
                positive: buckets(positive),
                negative: buckets(negative),
                custom_bounds: bounds.into(),
                reset_hint: [
                    ResetHint::Unknown,
                    ResetHint::Reset,
                    ResetHint::NotReset,
                    ResetHint::Gauge,
                ][usize::try_from(hint).unwrap()],
            };
            let (blob, start) = decode(&encode_histogram(&histogram, start_ms)).unwrap();
            let Blob::Histogram(read) = blob else { panic!("{blob:?}") };
            prop_assert_eq!(start, start_ms);
            prop_assert_eq!(bits(&read), bits(&histogram));
        }

        #[test]
        fn random_bytes_are_no_sample_or_one(bytes: Vec<u8>, kind in 0u8..2) {
            let bytes = [vec![kind, 0], bytes].concat();
            if let Ok((Blob::Histogram(histogram), start)) = decode(&bytes) {
                let again = encode_histogram(&histogram, start);
                let (Blob::Histogram(read), _) = decode(&again).unwrap() else { panic!() };
                prop_assert_eq!(bits(&read), bits(&histogram));
            }
        }
    }
}
