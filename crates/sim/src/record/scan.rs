//! Where a record ends, so that another run can be appended: by its frames alone, without taking them apart.

use std::io::Read;

use super::{
    error::RecordError,
    frame::{HEADER_BYTES, PREAMBLE_BYTES, read_preamble},
    reader::{Found, changed, read_frame},
};

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whole frames there are.
    pub frames: u64,
    /// Up to the end of the last of them.
    pub bytes: u64,
    /// Of a frame that is not whole, behind them: what a crash left. They are to be cut off.
    pub torn_bytes: u64,
}

/// Reads a record to its end and checks every frame's checksum and number.
pub fn scan(mut input: impl Read) -> Result<End, RecordError> {
    let mut preamble = [0; PREAMBLE_BYTES];
    input
        .read_exact(&mut preamble)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => RecordError::NotARecord,
            _ => RecordError::Read { at: 0, source },
        })?;
    read_preamble(&preamble)?;
    let mut end = End {
        frames: 0,
        bytes: u64::try_from(PREAMBLE_BYTES).unwrap_or(u64::MAX),
        torn_bytes: 0,
    };
    loop {
        match read_frame(&mut input, end.bytes, end.frames)? {
            Found::Frame(header, _) => {
                end.frames += 1;
                end.bytes += u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
                end.bytes += u64::from(header.bytes);
            }
            Found::End => return Ok(end),
            Found::Part(bytes) => {
                end.torn_bytes = bytes;
                return Ok(end);
            }
            // A machine that crashed may have kept a file's length and lost its last content; anywhere else it
            // is damage.
            Found::Changed(bytes) if is_at_end(&mut input, end.bytes)? => {
                end.torn_bytes = bytes;
                return Ok(end);
            }
            Found::Changed(_) => return Err(changed(end.bytes)),
        }
    }
}

fn is_at_end(input: &mut impl Read, at: u64) -> Result<bool, RecordError> {
    let read = input.take(1).read_to_end(&mut Vec::new());
    read.map(|count| count == 0)
        .map_err(|source| RecordError::Read { at, source })
}
