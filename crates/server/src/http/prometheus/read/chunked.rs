//! Remote read as a stream of chunks: what a Prometheus asks for first, since packed samples take a tenth of the bytes and
//! it need not hold all of them.
//!
//! Each frame has its length as a varint, a checksum (CRC-32C, big-endian) and a `ChunkedReadResponse` of one series:
//! readers look only at the first.

use pitcrew_promql::{labels::Labels, storage::Series};
use prost::encoding::encode_varint;

use super::{
    message::{Encoded, labels, put_bytes, put_varint, within},
    xor,
};
use crate::http::prometheus::arguments::Range;

pub(super) const MEDIA_TYPE: &str =
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Chunks of a frame; with the last one it may be a little more.
const FRAME_BYTES: usize = (1 << 20) - (4 << 10);

/// Chunks of floats, by the number of their encoding.
const XOR: u64 = 1;

/// The frames of a series for the query of that number. Nothing where it has no sample of that time.
pub(super) fn encoded(series: &Series, range: Range, query: usize) -> Option<Encoded> {
    let floats = &series.floats;
    let all = within(&floats.timestamps, range);
    let (times, values) = (&floats.timestamps[all.clone()], &floats.values[all]);
    let (mut frames, mut chunks) = (Vec::new(), Vec::new());
    let pieces = times.chunks(xor::SAMPLES_MAX);
    for (times, values) in pieces.zip(values.chunks(xor::SAMPLES_MAX)) {
        let samples = times.iter().copied().zip(values.iter().copied());
        let mut chunk = Vec::new();
        put_varint(1, times[0].cast_unsigned(), &mut chunk);
        put_varint(2, times[times.len() - 1].cast_unsigned(), &mut chunk);
        put_varint(3, XOR, &mut chunk);
        put_bytes(4, &xor::chunk(samples), &mut chunk);
        put_bytes(2, &chunk, &mut chunks);
        if chunks.len() >= FRAME_BYTES {
            put_frame(&series.labels, &chunks, query, &mut frames);
            chunks.clear();
        }
    }
    if !chunks.is_empty() {
        put_frame(&series.labels, &chunks, query, &mut frames);
    }
    (!frames.is_empty()).then(|| Encoded {
        labels: series.labels.clone(),
        message: frames,
    })
}

fn put_frame(of: &Labels, chunks: &[u8], query: usize, out: &mut Vec<u8>) {
    let mut series = labels(of);
    series.extend_from_slice(chunks);
    let mut message = Vec::with_capacity(series.len() + 16);
    put_bytes(1, &series, &mut message);
    if query > 0 {
        put_varint(2, query as u64, &mut message);
    }
    encode_varint(message.len() as u64, out);
    out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
}

#[cfg(test)]
mod tests {
    use pitcrew_promql::storage::{FloatColumn, HistogramColumn};

    use super::*;

    #[test]
    fn a_long_series_is_cut_into_frames_of_a_mebibyte_which_have_all_of_it() {
        const SAMPLES: i64 = 300_000;
        // What packs badly.
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let values = (0..SAMPLES).map(|_| {
            noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            f64::from_bits(noise >> 2)
        });
        let series = Series {
            labels: Labels::from_pairs([("__name__", "long")]),
            floats: FloatColumn {
                timestamps: (0..SAMPLES).map(|index| index * 1_000).collect(),
                values: values.collect(),
                starts: Vec::new(),
            },
            histograms: HistogramColumn::default(),
        };
        let range = Range {
            start_ms: 1_000,
            end_ms: i64::MAX,
        };
        let message = encoded(&series, range, 3).unwrap().message;
        let (mut rest, mut frames) = (&message[..], 0);
        while !rest.is_empty() {
            let length = prost::encoding::decode_varint(&mut rest).unwrap();
            let (sum, framed) = rest.split_at(4);
            let (frame, after) = framed.split_at(usize::try_from(length).unwrap());
            assert_eq!(sum, crc32c::crc32c(frame).to_be_bytes());
            assert!(frame.len() <= 1 << 20, "{}", frame.len());
            assert!(frame.ends_with(&[2 << 3, 3]), "the number of the query");
            (rest, frames) = (after, frames + 1);
        }
        assert_eq!(frames, 3);
    }
}
