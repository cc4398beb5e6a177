//! Streams of numbers: the one place that knows how they are compressed.

use pco::{
    ChunkConfig, DeltaSpec, ModeSpec, PagingSpec,
    data_types::Number,
    errors::PcoResult,
    wrapped::{FileCompressor, FileDecompressor},
};

use crate::bytes::{Malformed, Put, Reader};

/// Effort of compression, of 12. Beyond it seconds of work save a percent.
const LEVEL: usize = 8;

/// No cluster has more rows, whatever it says.
const TIMES_MAX: usize = 1 << 26;

/// Whole numbers whose neighbours have no relation left, as narrow as all of them fit: a code spells out a few of its
/// numbers in full.
pub(crate) fn put_integers(out: &mut Vec<u8>, numbers: &[i64]) {
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp);
    if let Some(narrow) = narrowed::<i16>(numbers) {
        out.put(&[16]);
        put(out, &narrow, &config);
    } else if let Some(narrow) = narrowed::<i32>(numbers) {
        out.put(&[32]);
        put(out, &narrow, &config);
    } else {
        out.put(&[64]);
        put(out, numbers, &config);
    }
}

fn narrowed<T: TryFrom<i64>>(numbers: &[i64]) -> Option<Vec<T>> {
    let narrowed = numbers.iter().map(|number| T::try_from(*number).ok());
    narrowed.collect()
}

/// What [`put_integers`] wrote, at most `most` of them.
pub(crate) fn integers(reader: &mut Reader<'_>, most: usize) -> Result<Vec<i64>, Malformed> {
    match reader.u8()? {
        16 => Ok(widened(&numbers::<i16>(reader, most)?)),
        32 => Ok(widened(&numbers::<i32>(reader, most)?)),
        64 => numbers(reader, most),
        _ => Err(Malformed::at("width of integers")),
    }
}

fn widened<T: Copy + Into<i64>>(numbers: &[T]) -> Vec<i64> {
    numbers.iter().map(|number| (*number).into()).collect()
}

/// Values of gauges.
pub(crate) fn put_floats(out: &mut Vec<u8>, numbers: &[f64]) {
    put(
        out,
        numbers,
        &ChunkConfig::default().with_compression_level(LEVEL),
    );
}

fn put<T: Number>(out: &mut Vec<u8>, numbers: &[T], config: &ChunkConfig) {
    out.put_count(numbers.len());
    if numbers.is_empty() {
        return;
    }
    let bytes =
        compress(numbers, config).expect("the settings are valid and memory takes what is written");
    out.put_count(bytes.len());
    out.put(&bytes);
}

fn compress<T: Number>(numbers: &[T], config: &ChunkConfig) -> PcoResult<Vec<u8>> {
    let paging = PagingSpec::Exact(vec![numbers.len()]);
    let config = config.clone().with_paging_spec(paging);
    let file = FileCompressor::default();
    let mut chunk = file.chunk_compressor(numbers, &config)?;
    let bytes = file.write_header(Vec::new())?;
    let bytes = chunk.write_meta(bytes)?;
    chunk.write_page(0, bytes)
}

/// At most `most` numbers.
pub(crate) fn numbers<T: Number + Default>(
    reader: &mut Reader<'_>,
    most: usize,
) -> Result<Vec<T>, Malformed> {
    let count = usize::try_from(reader.varint()?).map_err(|_| Malformed::at("count"))?;
    if count > most {
        return Err(Malformed::at("count of numbers"));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let length = reader.count(1)?;
    let bytes = reader.bytes(length)?;
    let mut numbers = vec![T::default(); count];
    match decompress(bytes, &mut numbers) {
        Ok(found) if found == count => Ok(numbers),
        _ => Err(Malformed::at("compressed numbers")),
    }
}

/// How many there were.
fn decompress<T: Number>(bytes: &[u8], numbers: &mut [T]) -> PcoResult<usize> {
    let (file, bytes) = FileDecompressor::new(bytes)?;
    let (mut chunk, bytes) = file.chunk_decompressor::<T, _>(bytes)?;
    let mut page = chunk.page_decompressor(bytes, numbers.len())?;
    Ok(page.read(numbers)?.n_processed)
}

/// Ascending timestamps; equal distances take a few bytes.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let first = times.first().copied().unwrap_or(0);
    let steps: Vec<i64> = times
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    out.put_zigzag(first);
    match steps.split_first() {
        Some((step, rest)) if rest.iter().all(|other| other == step) => {
            out.put(&[0]);
            out.put_zigzag(*step);
        }
        _ => {
            out.put(&[1]);
            put_integers(out, &steps);
        }
    }
}

/// Exactly `count` ascending timestamps.
pub(crate) fn times(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Malformed> {
    if count == 0 || count > TIMES_MAX {
        return Err(Malformed::at("count of timestamps"));
    }
    let first = reader.zigzag()?;
    let wanted = count - 1;
    let steps = match reader.u8()? {
        0 => vec![reader.zigzag()?; wanted],
        _ => integers(reader, wanted)?,
    };
    if steps.len() != wanted {
        return Err(Malformed::at("timestamps"));
    }
    let mut times = Vec::with_capacity(count);
    times.push(first);
    let mut time = first;
    for step in steps {
        time = time.wrapping_add(step);
        times.push(time);
    }
    if times.is_sorted_by(|left, right| left < right) {
        Ok(times)
    } else {
        Err(Malformed::at("timestamps"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn integers_are_read_as_they_were_written(
            numbers in prop_oneof![
                vec(-3i64..3, 0..600),
                vec(i64::from(i16::MIN)..=i64::from(i16::MAX), 0..300),
                vec(i64::from(i32::MIN)..=i64::from(i32::MAX), 0..300),
                any::<Vec<i64>>(),
            ],
        ) {
            let mut bytes = Vec::new();
            put_integers(&mut bytes, &numbers);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(integers(&mut reader, numbers.len()).unwrap(), numbers);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn random_bytes_are_at_most_malformed(bytes: Vec<u8>, width in prop_oneof![Just(16u8), Just(32), Just(64)]) {
            let bytes = [&[width][..], &bytes].concat();
            if let Ok(found) = integers(&mut Reader::new(&bytes), 1000) {
                prop_assert!(found.len() <= 1000);
            }
            if let Ok(found) = times(&mut Reader::new(&bytes), 1000) {
                prop_assert_eq!(found.len(), 1000);
            }
        }
    }
}
