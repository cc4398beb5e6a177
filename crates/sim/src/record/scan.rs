//! Where a record ends, so that another run can be appended: from header to header, the bodies are leapt over.

use std::io::{Read, Seek, SeekFrom};

use super::{
    error::RecordError,
    frame::{HEADER_BYTES, PREAMBLE_BYTES, read_preamble},
    reader::{Found, read_frame, read_header},
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

/// Checks the header of every frame and the body of the last one, which is all that a crash can have hurt.
pub fn scan(mut input: impl Read + Seek) -> Result<End, RecordError> {
    let failed = |source| RecordError::Read { at: 0, source };
    let total = input.seek(SeekFrom::End(0)).map_err(failed)?;
    input.rewind().map_err(failed)?;
    let mut preamble = [0; PREAMBLE_BYTES];
    if total < size(PREAMBLE_BYTES) {
        return Err(RecordError::NotARecord);
    }
    input.read_exact(&mut preamble).map_err(failed)?;
    read_preamble(&preamble)?;
    let (mut at, mut frames, mut last) = (size(PREAMBLE_BYTES), 0, None);
    while let Some(header) = read_header(&mut input, at, frames)? {
        let end = at + size(HEADER_BYTES) + u64::from(header.bytes);
        if end > total {
            break;
        }
        let leap = i64::from(header.bytes);
        input
            .seek_relative(leap)
            .map_err(|source| RecordError::Read { at, source })?;
        last = Some(at);
        (at, frames) = (end, frames + 1);
    }
    if let Some(last) = last {
        input.seek(SeekFrom::Start(last)).map_err(failed)?;
        if let Found::Changed = read_frame(&mut input, last, frames - 1)? {
            // A machine that crashed may have kept a file's length and lost its last content.
            (at, frames) = (last, frames - 1);
        }
    }
    Ok(End {
        frames,
        bytes: at,
        torn_bytes: total - at,
    })
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
