//! Chunks: the values of sibling series, side by side in as few streams as possible.
//!
//! Series of one metric measure alike, and a stream of a few thousand numbers compresses far better than one of
//! a few dozen. A column that never changes takes nine bytes. One whose values are all decimal numbers of a few
//! digits is kept as whole numbers; what doesn't fit (a marker of staleness) is listed beside it.

use crate::{
    bytes::{Malformed, Put, Reader},
    cache::Decoded,
    part::{
        decimals::{DIGITS_MAX, Decimals, float},
        numbers,
    },
};

/// A chunk is closed when it has so many values.
pub(crate) const VALUES: usize = 4096;
/// No chunk has more, whatever it says.
const VALUES_MAX: usize = 1 << 26;
/// Bytes of blobs in a chunk before it is closed.
pub(crate) const BLOB_BYTES: usize = 64 << 10;

const CONSTANT: u8 = 0;
/// Whole numbers, each as the distance from the one before.
const STEPS: u8 = 1;
/// Whole numbers, each as the distance from the first.
const OFFSETS: u8 = 2;
/// Whole numbers, each step as the distance from the step of the column before: buckets of one histogram move
/// together.
const LIKE_BEFORE: u8 = 3;
const FLOATS: u8 = 4;
/// Floats of which many are the one before: which ones, and the others.
const REPEATS: u8 = 5;

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

/// `values` and, unless empty, `starts`: columns of `rows` each.
pub(crate) fn encode_floats(rows: usize, values: &[f64], starts: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut integers, mut floats) = (Vec::new(), Vec::new());
    out.put_count(values.len() / rows);
    let mut before = vec![0; rows - 1];
    for column in values.chunks(rows) {
        put_column(&mut out, column, &mut before, &mut integers, &mut floats);
    }
    out.put(&[u8::from(!starts.is_empty())]);
    for column in starts.chunks(rows) {
        put_starts(&mut out, column, &mut integers);
    }
    numbers::put_integers(&mut out, &integers);
    numbers::put_floats(&mut out, &floats);
    out
}

/// `before`: the steps of the column before; becomes those of this one.
fn put_column(
    out: &mut Vec<u8>,
    column: &[f64],
    before: &mut Vec<i64>,
    integers: &mut Vec<i64>,
    floats: &mut Vec<f64>,
) {
    let first = column[0].to_bits();
    if column.iter().all(|value| value.to_bits() == first) {
        out.put(&[CONSTANT]);
        out.put(&first.to_le_bytes());
        before.fill(0);
        return;
    }
    let Some(decimals) = Decimals::of(column) else {
        before.fill(0);
        put_fractions(out, column, floats);
        return;
    };
    let base = decimals.wholes[0];
    let pairs = decimals.wholes.windows(2);
    let steps: Vec<i64> = pairs.map(|pair| pair[1] - pair[0]).collect();
    let offsets: Vec<i64> = decimals.wholes[1..]
        .iter()
        .map(|whole| whole - base)
        .collect();
    let siblings: Vec<i64> = steps
        .iter()
        .zip(&*before)
        .map(|(step, other)| step - other)
        .collect();
    let ways = [
        (STEPS, &steps),
        (OFFSETS, &offsets),
        (LIKE_BEFORE, &siblings),
    ];
    let (kind, distances) = *ways
        .iter()
        .min_by_key(|(_, numbers)| size(numbers))
        .expect("three");
    out.put(&[kind, decimals.digits]);
    out.put_zigzag(base);
    out.put_count(decimals.exceptions.len());
    for (row, bits) in &decimals.exceptions {
        out.put_count(*row);
        out.put(&bits.to_le_bytes());
    }
    integers.extend(distances);
    *before = steps;
}

fn put_fractions(out: &mut Vec<u8>, column: &[f64], floats: &mut Vec<f64>) {
    let repeats = |row: usize| row > 0 && column[row].to_bits() == column[row - 1].to_bits();
    let repeated = (0..column.len()).filter(|row| repeats(*row)).count();
    if repeated < column.len() / 8 {
        out.put(&[FLOATS]);
        floats.extend(column);
        return;
    }
    out.put(&[REPEATS]);
    let mut bits = vec![0u8; column.len().div_ceil(8)];
    for (row, value) in column.iter().enumerate() {
        if repeats(row) {
            bits[row / 8] |= 1 << (row % 8);
        } else {
            floats.push(*value);
        }
    }
    out.put(&bits);
}

/// About how many bits numbers take.
fn size(numbers: &[i64]) -> u64 {
    let bits = numbers
        .iter()
        .map(|number| 64 - number.unsigned_abs().leading_zeros());
    bits.map(u64::from).sum()
}

fn put_starts(out: &mut Vec<u8>, column: &[i64], integers: &mut Vec<i64>) {
    let changes = column.iter().any(|start| *start != column[0]);
    out.put(&[u8::from(changes)]);
    out.put_zigzag(column[0]);
    if changes {
        integers.extend(column.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    }
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
    let headers: Vec<Column> = (0..columns)
        .map(|_| column_header(&mut reader, rows))
        .collect::<Result<_, _>>()?;
    let start_headers: Vec<(bool, i64)> = match reader.u8()? {
        0 => Vec::new(),
        _ => (0..columns)
            .map(|_| Ok((reader.u8()? != 0, reader.zigzag()?)))
            .collect::<Result<_, Malformed>>()?,
    };
    let integers = numbers::numbers::<i64>(&mut reader, 2 * total)?;
    let floats = numbers::numbers::<f64>(&mut reader, total)?;
    let mut integers = Stream(&integers);
    let mut floats = Stream(&floats);
    let mut values = Vec::with_capacity(total);
    let mut before = vec![0; rows - 1];
    for header in headers {
        header.decode(rows, &mut before, &mut integers, &mut floats, &mut values)?;
    }
    let mut starts = Vec::with_capacity(start_headers.len() * rows);
    for (changes, mut start) in start_headers {
        starts.push(start);
        if !changes {
            starts.resize(starts.len() + rows - 1, start);
            continue;
        }
        for step in integers.take(rows - 1)? {
            start = start.wrapping_add(*step);
            starts.push(start);
        }
    }
    if reader.is_empty() && integers.0.is_empty() && floats.0.is_empty() {
        Ok(Chunk::Floats { values, starts })
    } else {
        Err(Malformed::at("end of chunk"))
    }
}

/// What is left of decoded numbers.
struct Stream<'a, T>(&'a [T]);

impl<'a, T> Stream<'a, T> {
    fn take(&mut self, count: usize) -> Result<&'a [T], Malformed> {
        let split = self.0.split_at_checked(count);
        let (taken, rest) = split.ok_or_else(|| Malformed::at("count of numbers"))?;
        self.0 = rest;
        Ok(taken)
    }
}

enum Column {
    Constant(f64),
    Decimal {
        kind: u8,
        digits: u8,
        base: i64,
        exceptions: Vec<(usize, f64)>,
    },
    Floats,
    Repeats(Vec<u8>),
}

fn column_header(reader: &mut Reader<'_>, rows: usize) -> Result<Column, Malformed> {
    Ok(match reader.u8()? {
        CONSTANT => Column::Constant(reader.f64()?),
        FLOATS => Column::Floats,
        REPEATS => Column::Repeats(reader.bytes(rows.div_ceil(8))?.to_vec()),
        kind @ (STEPS | OFFSETS | LIKE_BEFORE) => {
            let digits = reader.u8()?;
            if digits > DIGITS_MAX {
                return Err(Malformed::at("digits"));
            }
            let base = reader.zigzag()?;
            let count = reader.count(9)?;
            let mut exceptions = Vec::with_capacity(count);
            for _ in 0..count {
                let row = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
                let value = reader.f64()?;
                if row >= rows {
                    return Err(Malformed::at("row"));
                }
                exceptions.push((row, value));
            }
            Column::Decimal {
                kind,
                digits,
                base,
                exceptions,
            }
        }
        _ => return Err(Malformed::at("kind of column")),
    })
}

impl Column {
    /// `before`: the steps of the column before; becomes those of this one.
    fn decode(
        self,
        rows: usize,
        before: &mut [i64],
        integers: &mut Stream<'_, i64>,
        floats: &mut Stream<'_, f64>,
        values: &mut Vec<f64>,
    ) -> Result<(), Malformed> {
        let from = values.len();
        match self {
            Column::Constant(value) => {
                before.fill(0);
                values.resize(from + rows, value);
            }
            Column::Floats => {
                before.fill(0);
                values.extend(floats.take(rows)?);
            }
            Column::Repeats(bits) => {
                before.fill(0);
                for row in 0..rows {
                    let repeats = row > 0 && bits[row / 8] >> (row % 8) & 1 == 1;
                    values.push(if repeats {
                        values[from + row - 1]
                    } else {
                        floats.take(1)?[0]
                    });
                }
            }
            Column::Decimal {
                kind,
                digits,
                base,
                exceptions,
            } => {
                values.push(float(base, digits));
                let mut whole = base;
                for (distance, step) in integers.take(rows - 1)?.iter().zip(before) {
                    let next = match kind {
                        STEPS => whole.wrapping_add(*distance),
                        OFFSETS => base.wrapping_add(*distance),
                        _ => whole.wrapping_add(*step).wrapping_add(*distance),
                    };
                    *step = next.wrapping_sub(whole);
                    whole = next;
                    values.push(float(whole, digits));
                }
                for (row, value) in exceptions {
                    values[from + row] = value;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::packed::{decode_blobs, encode_blobs};
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
