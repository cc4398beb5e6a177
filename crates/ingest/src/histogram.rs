//! Native histograms as both versions of remote write send them, and much alike whoever is scraped: spans of populated
//! buckets, and counts as differences (of integers) or as they are (of floats).

use std::sync::Arc;

use pitcrew_promql::histogram::{
    Bucket, CUSTOM_SCHEMA, FloatHistogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN,
};

use crate::{
    Histogram,
    protobuf::{Fields, Malformed, unzigzag},
};

/// Of one histogram's message: more buckets than anybody reads. In memory a bucket takes many times its bytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// A histogram that contradicts itself, or is too large.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadHistogram {
    #[error("it has {0} bytes, more than {BYTES_MAX}")]
    Large(usize),
    #[error("schema {0} is none: -4 to 8, or -53 for custom bounds")]
    Schema(i64),
    #[error("spans are of {spans} buckets, but there are {counts} counts")]
    Spans { spans: u64, counts: usize },
    #[error("a span begins before the end of the one before it, or beyond any bucket")]
    SpanOffset,
    #[error("a bucket's count is negative")]
    NegativeCount,
    #[error("buckets hold {buckets} observations, but the count is {count}")]
    Count { buckets: f64, count: f64 },
    #[error("custom bounds must ascend and be finite, with a bucket more than bounds at the most")]
    CustomBounds,
    #[error("custom bounds leave no room for a zero bucket or negative buckets")]
    CustomSides,
}

/// One side's spans and counts, before they are put together.
#[derive(Default)]
pub(crate) struct Side {
    spans: Vec<(i64, u64)>,
    pub(crate) deltas: Vec<i64>,
    pub(crate) counts: Vec<f64>,
}

impl Side {
    pub(crate) fn span(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let (mut offset, mut length) = (0, 0);
        let mut fields = Fields(bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => offset = field.zigzag()?,
                2 => length = field.unsigned()?,
                _ => {}
            }
        }
        self.spans.push((offset, length));
        Ok(())
    }

    fn buckets(&self) -> Result<Vec<Bucket>, BadHistogram> {
        let counts = self.counts();
        let spans = self.spans.iter();
        let spanned = spans.fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        if spanned != counts.len() as u64 {
            return Err(BadHistogram::Spans {
                spans: spanned,
                counts: counts.len(),
            });
        }
        let mut buckets = Vec::with_capacity(counts.len());
        let mut counts = counts.iter();
        let mut index = 0_i64;
        for (number, (offset, length)) in self.spans.iter().enumerate() {
            if number > 0 && *offset < 0 {
                return Err(BadHistogram::SpanOffset);
            }
            index = index.saturating_add(*offset);
            for _ in 0..*length {
                let count = *counts.next().expect("as many as are spanned");
                // NaN is not negative, and is no count either.
                if count.is_nan() || count < 0.0 {
                    return Err(BadHistogram::NegativeCount);
                }
                let index32 = i32::try_from(index).map_err(|_| BadHistogram::SpanOffset)?;
                if count != 0.0 {
                    buckets.push(Bucket {
                        index: index32,
                        count,
                    });
                }
                index += 1;
            }
        }
        Ok(buckets)
    }

    fn counts(&self) -> Vec<f64> {
        if self.deltas.is_empty() {
            return self.counts.clone();
        }
        let mut count = 0_i64;
        let deltas = self.deltas.iter();
        deltas
            .map(|delta| {
                count = count.saturating_add(*delta);
                count as f64
            })
            .collect()
    }
}

/// The outer error: it is no message; the inner one: it is one that can't be true.
pub(crate) fn histogram(bytes: &[u8]) -> Result<Result<Histogram, BadHistogram>, Malformed> {
    if bytes.len() > BYTES_MAX {
        return Ok(Err(BadHistogram::Large(bytes.len())));
    }
    let mut value = FloatHistogram::default();
    let (mut negative, mut positive) = (Side::default(), Side::default());
    let (mut schema, mut at_ms, mut start_ms) = (0, 0, 0);
    let mut bounds: Vec<f64> = Vec::new();
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => value.count = field.unsigned()? as f64,
            2 => value.count = field.double()?,
            3 => value.sum = field.double()?,
            4 => schema = field.zigzag()?,
            5 => value.zero_threshold = field.double()?,
            6 => value.zero_count = field.unsigned()? as f64,
            7 => value.zero_count = field.double()?,
            8 => negative.span(field.bytes()?)?,
            9 => field.each_unsigned(|delta| {
                negative.deltas.push(unzigzag(delta));
                Ok(())
            })?,
            10 => field.each_double(|count| negative.counts.push(count))?,
            11 => positive.span(field.bytes()?)?,
            12 => field.each_unsigned(|delta| {
                positive.deltas.push(unzigzag(delta));
                Ok(())
            })?,
            13 => field.each_double(|count| positive.counts.push(count))?,
            14 => value.reset_hint = reset_hint(field.unsigned()?),
            15 => at_ms = field.signed()?,
            16 => field.each_double(|bound| bounds.push(bound))?,
            17 => start_ms = field.signed()?,
            _ => {}
        }
    }
    let checked = complete(value, schema, &bounds, &negative, &positive);
    Ok(checked.map(|value| Histogram {
        at_ms: Some(at_ms),
        value,
        start_ms,
    }))
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

pub(crate) fn complete(
    mut value: FloatHistogram,
    schema: i64,
    bounds: &[f64],
    negative: &Side,
    positive: &Side,
) -> Result<FloatHistogram, BadHistogram> {
    let is_custom = schema == i64::from(CUSTOM_SCHEMA);
    let exponential = i64::from(SCHEMA_MIN)..=i64::from(SCHEMA_MAX);
    if !is_custom && !exponential.contains(&schema) {
        return Err(BadHistogram::Schema(schema));
    }
    value.schema = i32::try_from(schema).map_err(|_| BadHistogram::Schema(schema))?;
    // The marker that ends a series comes as a histogram with nothing else in it.
    if pitcrew_promql::storage::is_stale(value.sum) {
        return Ok(value);
    }
    value.negative = negative.buckets()?;
    value.positive = positive.buckets()?;
    if is_custom {
        let ascends = bounds.is_sorted_by(|left, right| left < right);
        let reach = value
            .positive
            .last()
            .map_or(0, |bucket| i64::from(bucket.index));
        let fits = usize::try_from(reach).is_ok_and(|reach| reach <= bounds.len());
        let starts = value
            .positive
            .first()
            .is_none_or(|bucket| bucket.index >= 0);
        if !ascends || !fits || !starts || bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(BadHistogram::CustomBounds);
        }
        if value.zero_count != 0.0 || !value.negative.is_empty() {
            return Err(BadHistogram::CustomSides);
        }
        value.custom_bounds = Arc::from(bounds);
    }
    agree(
        &value,
        negative.deltas.is_empty() && positive.deltas.is_empty(),
    )?;
    Ok(value)
}

/// Integers must add up, unless NaN was observed, which is in no bucket; floats may be off by rounding.
fn agree(value: &FloatHistogram, are_floats: bool) -> Result<(), BadHistogram> {
    let (count, zero) = (value.count, value.zero_count);
    if count.is_nan() || count < 0.0 || zero.is_nan() || zero < 0.0 {
        return Err(BadHistogram::NegativeCount);
    }
    let sides = value.positive.iter().chain(&value.negative);
    let buckets = zero + sides.map(|bucket| bucket.count).sum::<f64>();
    let agrees = match (are_floats, value.sum.is_nan()) {
        (false, false) => buckets == count,
        (false, true) => buckets <= count,
        (true, _) => buckets <= count || (buckets - count) / buckets < 1e-6,
    };
    match agrees {
        true => Ok(()),
        false => Err(BadHistogram::Count { buckets, count }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protobuf::tests::Message;

    /// Three observations: two in bucket 1, one in bucket 4.
    pub(crate) fn message() -> Message {
        let span = |offset, length| Message::default().zigzag(1, offset).varint(2, length);
        Message::default()
            .varint(1, 3)
            .double(3, 7.5)
            .zigzag(4, 0)
            .double(5, 0.001)
            .message(11, span(1, 1))
            .message(11, span(2, 1))
            .zigzag(12, 2)
            .zigzag(12, -1)
            .varint(14, 2)
            .varint(15, 60_000)
    }

    fn bad(message: Message) -> BadHistogram {
        histogram(&message.0).unwrap().unwrap_err()
    }

    #[test]
    fn spans_and_differences_become_buckets() {
        let read = histogram(&message().0).unwrap().unwrap();
        assert_eq!(read.at_ms, Some(60_000));
        let expected = [(1, 2.0), (4, 1.0)].map(|(index, count)| Bucket { index, count });
        assert_eq!(read.value.positive, expected);
        assert_eq!(read.value.reset_hint, ResetHint::NotReset);
        assert_eq!((read.value.count, read.value.sum), (3.0, 7.5));
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_reason() {
        assert_eq!(
            bad(message().varint(1, 4)),
            BadHistogram::Count {
                buckets: 3.0,
                count: 4.0
            }
        );
        assert_eq!(bad(message().zigzag(4, 9)), BadHistogram::Schema(9));
        assert_eq!(
            bad(message().zigzag(12, 0)),
            BadHistogram::Spans {
                spans: 2,
                counts: 3
            }
        );
        let huge = Message::default().zigzag(1, 0).varint(2, u64::MAX);
        assert!(matches!(
            bad(message().message(8, huge)),
            BadHistogram::Spans { .. }
        ));
        let back = Message::default().zigzag(1, -1).varint(2, 1);
        assert_eq!(
            bad(message().message(11, back).zigzag(12, 0)),
            BadHistogram::SpanOffset
        );
        assert_eq!(bad(message().zigzag(4, -53)), BadHistogram::CustomBounds);
    }

    #[test]
    fn a_histogram_of_more_bytes_than_its_bound_is_refused_unread() {
        let of_buckets = |buckets: usize| {
            let span = Message::default().varint(2, buckets as u64);
            Message::default()
                .varint(1, buckets as u64)
                .message(11, span)
                .zigzag(12, 1)
                .bytes(12, &vec![0; buckets - 1])
        };
        let fits = histogram(&of_buckets(BYTES_MAX - 100).0).unwrap().unwrap();
        assert_eq!(fits.value.positive.len(), BYTES_MAX - 100);
        let large = of_buckets(BYTES_MAX);
        let bytes = large.0.len();
        assert_eq!(bad(large), BadHistogram::Large(bytes));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, flip in any::<prop::sample::Index>(), to: u8) {
            histogram(&bytes).ok();
            let mut bytes = message().0;
            let at = flip.index(bytes.len());
            bytes[at] = to;
            histogram(&bytes).ok();
        }
    }
}
