//! Prometheus' remote write: a compressed message of series with their samples, in two versions.
//!
//! A message is told to the sink as it is read. One that turns out to be broken in the middle has been told up to
//! there; the sender gets an error, sends it again or not, and a sink takes the same sample twice without harm.

mod v1;
mod v2;

use snap::raw::{Decoder, decompress_len};

use crate::{Malformed, Sink};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    One,
    /// `io.prometheus.write.v2.Request`.
    Two,
}

/// A request that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(
        "content type `{0}` is none of application/x-protobuf, with proto=prometheus.WriteRequest or io.prometheus.write.v2.Request"
    )]
    ContentType(String),
    #[error("the body is not compressed as a snappy block: {0}")]
    Snappy(#[source] snap::Error),
    #[error(
        "the body says that it is {bytes} bytes long when decompressed, more than the {bytes_max} that are taken"
    )]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the body is no such message: {0}")]
    Malformed(#[from] Malformed),
    #[error("series {series} refers to symbol {symbol}, of which there are {symbols}")]
    Symbol {
        series: usize,
        symbol: u64,
        symbols: usize,
    },
    #[error("series {series} has a label's name without a value")]
    OddLabels { series: usize },
    #[error("the labels of series {series} are longer than 16 MiB")]
    LongLabels { series: usize },
}

impl Version {
    /// From the header `Content-Type`.
    pub fn of_content_type(text: &str) -> Result<Self, RequestError> {
        let mut parts = text.split(';').map(str::trim);
        let unknown = || RequestError::ContentType(text.chars().take(200).collect());
        if !parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf"))
        {
            return Err(unknown());
        }
        let proto = parts.find_map(|part| part.strip_prefix("proto="));
        match proto.map(|name| name.trim_matches('"')) {
            None | Some("prometheus.WriteRequest") => Ok(Self::One),
            Some("io.prometheus.write.v2.Request") => Ok(Self::Two),
            Some(_) => Err(unknown()),
        }
    }
}

/// Decompresses a body into `buffer`, whose memory is used again.
pub fn decompress(body: &[u8], bytes_max: usize, buffer: &mut Vec<u8>) -> Result<(), RequestError> {
    let bytes = decompress_len(body).map_err(RequestError::Snappy)?;
    if bytes > bytes_max {
        return Err(RequestError::TooLarge { bytes, bytes_max });
    }
    buffer.resize(bytes, 0);
    let length = Decoder::new().decompress(body, buffer);
    buffer.truncate(length.map_err(RequestError::Snappy)?);
    Ok(())
}

/// Tells the sink all that is in a decompressed message.
pub fn read(version: Version, message: &[u8], sink: &mut impl Sink) -> Result<(), RequestError> {
    match version {
        Version::One => v1::read(message, sink).map_err(RequestError::Malformed),
        Version::Two => v2::read(message, sink),
    }
}

#[cfg(test)]
mod tests;
