//! Compressed bodies: unpacked up to a limit, whatever they claim.

use std::io::Read as _;

use axum::http::StatusCode;
use flate2::read::MultiGzDecoder;

use super::MESSAGE_BYTES_MAX;
use crate::http::problem::Problem;

/// The message that was packed as `encoding` says.
pub(super) fn unpacked(bytes: &[u8], encoding: &str) -> Result<Vec<u8>, Problem> {
    match encoding {
        "" | "identity" => Ok(bytes.to_vec()),
        "gzip" => gunzip(bytes),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the body as it is, or compressed by gzip",
        )),
    }
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut message = Vec::new();
    let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut reader = MultiGzDecoder::new(bytes).take(limit + 1);
    let read = reader.read_to_end(&mut message);
    read.map_err(|error| Problem::bad_request(format!("the body is no gzip: {error}")))?;
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(too_large());
    }
    Ok(message)
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the message is larger than {} MiB when it is decompressed; send it in parts",
            MESSAGE_BYTES_MAX >> 20
        ),
    )
}
