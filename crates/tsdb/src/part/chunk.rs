//! Chunks: the values of sibling series over some of their rows, side by side in as few streams as possible.
//!
//! Series of one metric measure alike, and a stream of a few thousand numbers compresses far better than one of
//! a few dozen. A chunk ends with a page of rows, so that a query decodes little of the time it didn't ask for.

use crate::{
    bytes::{Malformed, Put, Reader},
    cache::Decoded,
    part::column::{self, Before, Header, Numbers, Streams},
};

/// A chunk is closed when it has so many values.
pub(crate) const VALUES: usize = 4096;
/// Rows of a chunk at most, an hour of scrapes.
const PAGE_ROWS: usize = 256;
/// No chunk has more, whatever it says.
const VALUES_MAX: usize = 1 << 26;
/// Bytes of blobs in a chunk before it is closed.
pub(crate) const BLOB_BYTES: usize = 64 << 10;

/// Values of several columns, column by column.
#[derive(Debug)]
pub(crate) enum Chunk {
    Floats {
        values: Vec<f64>,
        /// Empty where no counter's beginning is known.
        starts: Vec<i64>,
    },
    Blobs(Vec<Box<[u8]>>),
}

impl Decoded for Chunk {
    fn bytes(&self) -> usize {
        match self {
            Chunk::Floats { values, starts } => 8 * (values.len() + starts.len()),
            Chunk::Blobs(blobs) => blobs.iter().map(|blob| blob.len() + 16).sum(),
        }
    }
}

/// How many rows a page has, of pages as equal as they can be.
pub(crate) fn page_rows(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(PAGE_ROWS).max(1)).max(1)
}

/// `values` and, unless empty, `starts`: columns of `rows` each.
pub(crate) fn encode_floats(rows: usize, values: &[f64], starts: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut streams = Streams::default();
    out.put_count(values.len() / rows);
    let mut before = vec![0; rows - 1];
    for values in values.chunks(rows) {
        column::put(&mut out, values, &mut before, &mut streams);
    }
    out.put(&[u8::from(!starts.is_empty())]);
    for starts in starts.chunks(rows) {
        put_starts(&mut out, starts, &mut streams);
    }
    streams.put(&mut out);
    out
}

/// Beginnings that change are steps in a stream, whose number follows a one.
fn put_starts(out: &mut Vec<u8>, column: &[i64], streams: &mut Streams) {
    let changes = column.iter().any(|start| *start != column[0]);
    if changes {
        let pairs = column.windows(2);
        let steps: Vec<i64> = pairs.map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        out.put(&[1, streams.add(&steps)]);
    } else {
        out.put(&[0]);
    }
    out.put_zigzag(column[0]);
}

pub(crate) fn decode_floats(bytes: &[u8], rows: usize) -> Result<Chunk, Malformed> {
    let mut reader = Reader::new(bytes);
    let columns = reader.count(1)?;
    let total = columns
        .checked_mul(rows)
        .filter(|total| *total <= VALUES_MAX);
    let total = total.ok_or_else(|| Malformed::at("count of values"))?;
    if rows == 0 {
        return Err(Malformed::at("count of rows"));
    }
    let headers: Vec<Header<'_>> = (0..columns)
        .map(|_| Header::read(&mut reader, rows))
        .collect::<Result<_, _>>()?;
    let start_headers = match reader.u8()? {
        0 => Vec::new(),
        _ => (0..columns)
            .map(|_| start_header(&mut reader))
            .collect::<Result<_, _>>()?,
    };
    let mut numbers = Numbers::read(&mut reader, total)?;
    let mut values = vec![0.0; total];
    let mut before = Before::first(rows);
    for (header, values) in headers.into_iter().zip(values.chunks_mut(rows)) {
        header.decode(&mut numbers, &mut before, values)?;
    }
    let mut starts = Vec::with_capacity(start_headers.len() * rows);
    for (stream, mut start) in start_headers {
        starts.push(start);
        let Some(stream) = stream else {
            starts.resize(starts.len() + rows - 1, start);
            continue;
        };
        for step in numbers.take(stream, rows - 1)? {
            start = start.wrapping_add(*step);
            starts.push(start);
        }
    }
    if reader.is_empty() && numbers.is_empty() {
        Ok(Chunk::Floats { values, starts })
    } else {
        Err(Malformed::at("end of chunk"))
    }
}

/// The stream of the steps, if there are any, and the first one.
fn start_header(reader: &mut Reader<'_>) -> Result<(Option<u8>, i64), Malformed> {
    let stream = match reader.u8()? {
        0 => None,
        _ => Some(reader.u8()?),
    };
    Ok((stream, reader.zigzag()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::{
        numbers,
        packed::{decode_blobs, encode_blobs},
    };
    use proptest::{collection::vec, prelude::*};

    /// A series as they are met: constant, counters, decimals, anything.
    fn column(rows: usize) -> impl Strategy<Value = Vec<f64>> {
        let any_bits = any::<u64>().prop_map(f64::from_bits);
        let stale = Just(f64::from_bits(0x7ff0_0000_0000_0002));
        prop_oneof![
            any_bits.clone().prop_map(move |value| vec![value; rows]),
            vec(0i32..9, rows).prop_map(|values| values.into_iter().map(f64::from).collect()),
            vec(any::<i32>(), rows).prop_map(|values| values
                .into_iter()
                .map(|value| f64::from(value) / 1000.0)
                .collect()),
            vec(
                prop_oneof![8 => (0i32..9).prop_map(f64::from), 1 => stale, 1 => Just(-0.0)],
                rows
            ),
            vec(any_bits.clone(), rows),
            // Milliseconds as they are added up and as they are multiplied, nanoseconds added up.
            vec(0i32..5000, rows).prop_map(|steps| {
                let mut sum = 0.0;
                let add = |step| {
                    sum += f64::from(step) / 1000.0;
                    sum
                };
                steps.into_iter().map(add).collect()
            }),
            vec(0i32..5000, rows).prop_map(|values| values
                .into_iter()
                .map(|value| f64::from(value) * 0.001)
                .collect()),
            vec(prop_oneof![Just(0), 0i32..i32::MAX], rows).prop_map(|steps| {
                let mut sum = -1.0;
                let add = |step| {
                    sum += f64::from(step) / 1e9;
                    sum
                };
                steps.into_iter().map(add).collect()
            }),
            // A sum of durations: it stays where it is as long as nothing is served.
            vec(
                prop_oneof![3 => Just(None), 1 => any_bits.prop_map(Some)],
                rows
            )
            .prop_map(|values| {
                let mut last = 0.1;
                values
                    .into_iter()
                    .map(|value| {
                        last = value.unwrap_or(last);
                        last
                    })
                    .collect()
            }),
        ]
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn values_are_read_bit_for_bit(
            columns in (1usize..40).prop_flat_map(|rows| vec(column(rows), 1..9)),
            starts in prop_oneof![Just(None), any::<[i64; 3]>().prop_map(Some)],
        ) {
            let rows = columns[0].len();
            let values = columns.concat();
            let starts: Vec<i64> = starts
                .map(|starts| starts.iter().copied().cycle().take(values.len()).collect())
                .unwrap_or_default();
            let encoded = encode_floats(rows, &values, &starts);
            let Chunk::Floats { values: read, starts: read_starts } =
                decode_floats(&encoded, rows).unwrap() else { panic!() };
            prop_assert_eq!(bits(&read), bits(&values));
            prop_assert_eq!(read_starts, starts);
        }

        #[test]
        fn blobs_are_read_as_they_were_written(blobs: Vec<Vec<u8>>) {
            let encoded = encode_blobs(blobs.iter().map(|blob| &blob[..]));
            let Chunk::Blobs(read) = decode_blobs(&encoded).unwrap() else { panic!() };
            prop_assert_eq!(read.iter().map(|blob| blob.to_vec()).collect::<Vec<_>>(), blobs);
        }

        #[test]
        fn times_are_read_as_they_were_written(
            steps in prop_oneof![vec(1i64..100, 0..60), vec(Just(15_000), 0..60)],
            first in -1_000_000i64..1_000_000,
        ) {
            let mut times = vec![first];
            for step in steps {
                times.push(times[times.len() - 1] + step);
            }
            let mut bytes = Vec::new();
            numbers::put_times(&mut bytes, &times);
            let read = numbers::times(&mut Reader::new(&bytes), times.len()).unwrap();
            prop_assert_eq!(read, times);
        }

        #[test]
        fn a_flipped_bit_is_at_most_malformed(
            columns in (2usize..20).prop_flat_map(|rows| vec(column(rows), 1..4)),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let rows = columns[0].len();
            let mut encoded = encode_floats(rows, &columns.concat(), &[]);
            let at = at.index(encoded.len());
            encoded[at] ^= 1u8 << bit;
            // The checksum around it finds the flip; here nothing may panic.
            let decoded = decode_floats(&encoded, rows);
            if let Ok(Chunk::Floats { values, .. }) = decoded {
                prop_assert_eq!(values.len() % rows, 0);
            }
            let is_floats = matches!(decode_blobs(&encoded), Ok(Chunk::Floats { .. }));
            prop_assert!(!is_floats);
        }
    }
}
