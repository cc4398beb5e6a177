//! How the values of one column are kept: by a kind, chosen by what they are, as a header and numbers for streams.
//!
//! A column that never changes takes two to nine bytes. One whose values are all decimal numbers of a few digits is kept as
//! whole numbers; what doesn't fit (a marker of staleness) is listed beside it. A sum of decimals is one but for its
//! last bits, which are kept apart. Numbers go into streams of numbers of about their size, since a code that fits
//! numbers of three bits and of twenty fits neither.

use crate::{
    bytes::{Malformed, Put, Reader},
    part::{
        decimals::{self, DIGITS_MAX, Decimals, Nearly, float_apart},
        numbers,
    },
};

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
/// A constant that is a whole number.
const WHOLE: u8 = 7;
/// Before the header of whole numbers: each value is so many floats from its decimal.
const NEARLY: u8 = 6;

/// The kind is in these bits of its byte, the stream of its numbers in those above.
const KIND_BITS: u8 = 4;

/// Streams of integers: by the mean bits of a column's numbers.
pub(super) const STREAMS: usize = 4;
const STREAM_BITS: [u64; STREAMS - 1] = [0, 4, 12];

/// Numbers of all columns of a chunk.
#[derive(Default)]
pub(super) struct Streams {
    integers: [Vec<i64>; STREAMS],
    floats: Vec<f64>,
}

impl Streams {
    /// Adds a column's numbers to those of their size. Which they are.
    pub(super) fn add(&mut self, numbers: &[i64]) -> u8 {
        let mean = size(numbers) / (numbers.len() as u64).max(1);
        let stream = STREAM_BITS.iter().filter(|bits| mean > **bits).count();
        self.integers[stream].extend(numbers);
        u8::try_from(stream).expect("there are four")
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for integers in &self.integers {
            numbers::put_integers(out, integers);
        }
        numbers::put_floats(out, &self.floats);
    }
}

/// About how many bits numbers take.
fn size(numbers: &[i64]) -> u64 {
    let bits = numbers
        .iter()
        .map(|number| 64 - number.unsigned_abs().leading_zeros());
    bits.map(u64::from).sum()
}

/// Writes a column's header and gives its numbers to the streams. `before`: the steps of the column before; becomes
/// those of this one.
pub(super) fn put(out: &mut Vec<u8>, column: &[f64], before: &mut Vec<i64>, streams: &mut Streams) {
    let first = column[0].to_bits();
    if column.iter().all(|value| value.to_bits() == first) {
        match Decimals::of(&column[..1]) {
            Some(decimals) if decimals.digits == 0 => {
                out.put(&[WHOLE]);
                out.put_zigzag(decimals.wholes[0]);
            }
            _ => {
                out.put(&[CONSTANT]);
                out.put(&first.to_le_bytes());
            }
        }
        before.fill(0);
        return;
    }
    if let Some(decimals) = Decimals::of(column) {
        put_decimals(out, &decimals, before, streams);
        return;
    }
    let repeats = |row: usize| row > 0 && column[row].to_bits() == column[row - 1].to_bits();
    let repeated = (0..column.len()).filter(|row| repeats(*row)).count();
    if let Some(nearly) = Nearly::of(column) {
        let apart = distances(&nearly.apart);
        let bits = size(&apart) + size(&distances(&nearly.decimals.wholes));
        if bits < WORTH_BITS * (column.len() - repeated) as u64 {
            out.put(&[NEARLY | streams.add(&apart) << KIND_BITS]);
            out.put_zigzag(nearly.apart[0]);
            put_decimals(out, &nearly.decimals, before, streams);
            return;
        }
    }
    before.fill(0);
    if repeated < column.len() / 8 {
        out.put(&[FLOATS]);
        streams.floats.extend(column);
        return;
    }
    out.put(&[REPEATS]);
    let mut bits = vec![0u8; column.len().div_ceil(8)];
    for (row, value) in column.iter().enumerate() {
        if repeats(row) {
            bits[row / 8] |= 1 << (row % 8);
        } else {
            streams.floats.push(*value);
        }
    }
    out.put(&bits);
}

/// A float as it is takes 52 bits and its sign; for little less the work isn't done.
const WORTH_BITS: u64 = 44;

fn distances(numbers: &[i64]) -> Vec<i64> {
    let pairs = numbers.windows(2);
    pairs.map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}

fn put_decimals(
    out: &mut Vec<u8>,
    decimals: &Decimals,
    before: &mut Vec<i64>,
    streams: &mut Streams,
) {
    let base = decimals.wholes[0];
    let steps = distances(&decimals.wholes);
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
    let (kind, numbers) = *ways
        .iter()
        .min_by_key(|(_, numbers)| size(numbers))
        .expect("three");
    out.put(&[kind | streams.add(numbers) << KIND_BITS, decimals.digits]);
    out.put_zigzag(base);
    out.put_count(decimals.exceptions.len());
    for (row, bits) in &decimals.exceptions {
        out.put_count(*row);
        out.put(&bits.to_le_bytes());
    }
    *before = steps;
}

/// Decoded numbers of all columns of a chunk, of which each column takes its own.
pub(super) struct Numbers {
    integers: [Taken<i64>; STREAMS],
    floats: Taken<f64>,
}

struct Taken<T> {
    numbers: Vec<T>,
    from: usize,
}

impl<T> Taken<T> {
    fn of(numbers: Vec<T>) -> Self {
        Taken { numbers, from: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&[T], Malformed> {
        let end = self.from.checked_add(count);
        let taken = end.and_then(|end| self.numbers.get(self.from..end));
        let taken = taken.ok_or_else(|| Malformed::at("count of numbers"))?;
        self.from += count;
        Ok(taken)
    }

    fn is_empty(&self) -> bool {
        self.from == self.numbers.len()
    }
}

impl Numbers {
    /// `cells`: columns times rows.
    pub(super) fn read(reader: &mut Reader<'_>, cells: usize) -> Result<Self, Malformed> {
        // Of a cell a value, its distance from its decimal, and when its counter began.
        let mut integers = || numbers::integers(reader, 3 * cells).map(Taken::of);
        Ok(Numbers {
            integers: [integers()?, integers()?, integers()?, integers()?],
            floats: Taken::of(numbers::numbers(reader, cells)?),
        })
    }

    pub(super) fn take(&mut self, stream: u8, count: usize) -> Result<&[i64], Malformed> {
        let stream = self.integers.get_mut(usize::from(stream));
        stream.ok_or_else(|| Malformed::at("stream"))?.take(count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.integers.iter().all(Taken::is_empty) && self.floats.is_empty()
    }
}

/// The whole numbers of the column before.
pub(super) struct Before {
    wholes: Vec<i64>,
    /// Where the next ones go.
    spare: Vec<i64>,
}

impl Before {
    pub(super) fn first(rows: usize) -> Self {
        Before {
            wholes: vec![0; rows],
            spare: Vec::with_capacity(rows),
        }
    }
}

/// A column's header.
pub(super) enum Header<'a> {
    Constant(f64),
    Decimal(Decimal<'a>),
    /// Where the distances are, and the first one.
    Nearly(u8, i64, Decimal<'a>),
    Floats,
    Repeats(&'a [u8]),
}

pub(super) struct Decimal<'a> {
    kind: u8,
    stream: u8,
    digits: u8,
    base: i64,
    count: usize,
    /// Row and value of each of them.
    exceptions: Reader<'a>,
}

impl<'a> Header<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, rows: usize) -> Result<Self, Malformed> {
        let byte = reader.u8()?;
        let stream = byte >> KIND_BITS;
        Ok(match byte & ((1 << KIND_BITS) - 1) {
            CONSTANT => Header::Constant(reader.f64()?),
            WHOLE => Header::Constant(decimals::float(reader.zigzag()?, 0)),
            FLOATS => Header::Floats,
            REPEATS => Header::Repeats(reader.bytes(rows.div_ceil(8))?),
            NEARLY => {
                let first = reader.zigzag()?;
                let byte = reader.u8()?;
                Header::Nearly(stream, first, Decimal::read(byte, reader, rows)?)
            }
            _ => Header::Decimal(Decimal::read(byte, reader, rows)?),
        })
    }

    /// Fills `values`, one for each row. `before` becomes what it is for the next column.
    pub(super) fn decode(
        self,
        numbers: &mut Numbers,
        before: &mut Before,
        values: &mut [f64],
    ) -> Result<(), Malformed> {
        match self {
            Header::Decimal(decimal) => {
                decimal.decode(numbers, before, values)?;
                return decimal.put_exceptions(values);
            }
            Header::Nearly(stream, mut apart, decimal) => {
                let steps = numbers.take(stream, values.len() - 1)?.to_vec();
                decimal.decode(numbers, before, values)?;
                values[0] = float_apart(values[0], apart);
                for (value, step) in values[1..].iter_mut().zip(steps) {
                    apart = apart.wrapping_add(step);
                    *value = float_apart(*value, apart);
                }
                return decimal.put_exceptions(values);
            }
            Header::Constant(value) => values.fill(value),
            Header::Floats => values.copy_from_slice(numbers.floats.take(values.len())?),
            Header::Repeats(bits) => {
                let mut value = f64::NAN;
                for (row, out) in values.iter_mut().enumerate() {
                    if row == 0 || bits[row / 8] >> (row % 8) & 1 == 0 {
                        value = numbers.floats.take(1)?[0];
                    }
                    *out = value;
                }
            }
        }
        before.wholes.fill(0);
        Ok(())
    }
}

impl<'a> Decimal<'a> {
    fn read(byte: u8, reader: &mut Reader<'a>, rows: usize) -> Result<Self, Malformed> {
        let kind = byte & ((1 << KIND_BITS) - 1);
        if !matches!(kind, STEPS | OFFSETS | LIKE_BEFORE) {
            return Err(Malformed::at("kind of column"));
        }
        let digits = reader.u8()?;
        if digits > DIGITS_MAX {
            return Err(Malformed::at("digits"));
        }
        let base = reader.zigzag()?;
        let count = reader.count(9)?;
        let exceptions = reader.clone();
        for _ in 0..count {
            let row = reader.varint()?;
            reader.f64()?;
            if row >= rows as u64 {
                return Err(Malformed::at("row"));
            }
        }
        Ok(Decimal {
            kind,
            stream: byte >> KIND_BITS,
            digits,
            base,
            count,
            exceptions,
        })
    }

    fn decode(
        &self,
        numbers: &mut Numbers,
        Before {
            wholes: before,
            spare: wholes,
        }: &mut Before,
        values: &mut [f64],
    ) -> Result<(), Malformed> {
        let distances = numbers.take(self.stream, values.len() - 1)?;
        wholes.clear();
        let mut whole = self.base;
        wholes.push(whole);
        match self.kind {
            STEPS => wholes.extend(distances.iter().map(|step| {
                whole = whole.wrapping_add(*step);
                whole
            })),
            OFFSETS => wholes.extend(distances.iter().map(|offset| whole.wrapping_add(*offset))),
            _ => wholes.extend(distances.iter().zip(before.windows(2)).map(|(more, pair)| {
                let step = pair[1].wrapping_sub(pair[0]).wrapping_add(*more);
                whole = whole.wrapping_add(step);
                whole
            })),
        }
        decimals::floats(wholes, self.digits, values);
        std::mem::swap(before, wholes);
        Ok(())
    }

    fn put_exceptions(mut self, values: &mut [f64]) -> Result<(), Malformed> {
        for _ in 0..self.count {
            let row = usize::try_from(self.exceptions.varint()?).unwrap_or(usize::MAX);
            let value = values.get_mut(row).ok_or_else(|| Malformed::at("row"))?;
            *value = self.exceptions.f64()?;
        }
        Ok(())
    }
}
