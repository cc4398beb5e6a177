//! Packed bytes: blobs of samples, labels, symbols, with their length before them.

use super::{block::BLOCK_MAX, chunk::Chunk};
use crate::{
    blob::{self, Blob},
    bytes::{Malformed, Put, Reader},
};

const LEVEL: i32 = 3;

pub(crate) fn encode_blobs<'a>(blobs: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut plain = Vec::new();
    plain.put_count(blobs.len());
    for blob in blobs {
        plain.put_count(blob.len());
        plain.put(blob);
    }
    compress(&plain)
}

pub(crate) fn decode_blobs(bytes: &[u8]) -> Result<Chunk, Malformed> {
    let plain = decompress(bytes)?;
    let mut reader = Reader::new(&plain);
    let count = reader.count(1)?;
    let mut blobs = Vec::with_capacity(count);
    for _ in 0..count {
        let length = reader.count(1)?;
        blobs.push(Box::from(reader.bytes(length)?));
    }
    Ok(Chunk::Blobs(blobs))
}

/// Bytes with their length before them, compressed.
pub(crate) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_count(plain.len());
    let packed = zstd::bulk::compress(plain, LEVEL).expect("the level exists and memory takes it");
    out.put(&packed);
    out
}

pub(crate) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(bytes);
    let length = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if length > BLOCK_MAX {
        return Err(Malformed::at("length"));
    }
    let plain = zstd::bulk::decompress(reader.rest(), length);
    let plain = plain.map_err(|_| Malformed::at("compressed bytes"))?;
    if plain.len() == length {
        Ok(plain)
    } else {
        Err(Malformed::at("length"))
    }
}

impl Chunk {
    /// The blobs of a range of cells, decoded.
    pub(crate) fn samples(blobs: &[Box<[u8]>]) -> Result<Vec<(Blob, i64)>, Malformed> {
        blobs.iter().map(|blob| blob::decode(blob)).collect()
    }
}
