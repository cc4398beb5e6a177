//! The hash of labels that decides what `limit_ratio` lets through.
//!
//! XXH64 over each name and value with its length before it, which is what Prometheus hashes: the same series
//! are picked by both.

use twox_hash::XxHash64;

use super::Labels;

pub(super) fn labels(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for label in labels.iter() {
        for text in [&label.name, &label.value] {
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    XxHash64::oneshot(0, &bytes)
}

/// One byte below 255; longer texts have 255 and three bytes of length.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < u8::MAX => bytes.push(short),
        _ => {
            bytes.push(u8::MAX);
            bytes.extend_from_slice(&length.to_le_bytes()[..3]);
        }
    }
}
