//! Frames: the shell of every record in a log file.
//!
//! `[length u32][CRC-32C u32][kind u8][payload]`, little-endian; the length counts kind and payload, the
//! checksum covers them. A file begins with a header of 20 bytes: magic, a number, their checksum.

use std::io::{self, Read};

use crc32c::crc32c;

use crate::bytes::{Put, Reader, as_u32};

/// Bytes of length and checksum.
const PREFIX: usize = 8;
/// No record is longer: what claims to be isn't one.
pub(crate) const RECORD_MAX: usize = 16 << 20;
pub(crate) const HEADER: usize = 20;

/// The header of a log file.
pub(crate) fn header(magic: [u8; 8], number: u64) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.put(&number.to_le_bytes());
    let checksum = crc32c(&bytes);
    bytes.put(&checksum.to_le_bytes());
    bytes
}

/// The number of a header, if it is one.
pub(crate) fn header_number(magic: [u8; 8], bytes: &[u8]) -> Option<u64> {
    let (said, checksum) = bytes.split_at_checked(16)?;
    let number = Reader::new(&said[8..]).u64().ok()?;
    let whole = said.starts_with(&magic) && Reader::new(checksum).u32() == Ok(crc32c(said));
    whole.then_some(number)
}

/// Adds a record; `fill` writes its payload.
pub(crate) fn put_record(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put(&[0; PREFIX]);
    out.put(&[kind]);
    fill(out);
    let body = start + PREFIX;
    let length = as_u32(out.len() - body);
    let checksum = crc32c(&out[body..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..body].copy_from_slice(&checksum.to_le_bytes());
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    Record {
        kind: u8,
        payload: &'a [u8],
    },
    /// A record that isn't what was written; the next one is tried.
    Bad,
    /// The file ends within a record.
    Torn,
    End,
}

/// Reads records from after the header on.
pub(crate) struct Frames<R> {
    input: R,
    /// Where the next record begins.
    pub(crate) offset: u64,
    body: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(crate) fn new(input: R, offset: u64) -> Self {
        Frames {
            input,
            offset,
            body: Vec::new(),
        }
    }

    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        let mut prefix = [0; PREFIX];
        match fill(&mut self.input, &mut prefix)? {
            0 => return Ok(Next::End),
            PREFIX => {}
            _ => return Ok(Next::Torn),
        }
        let mut reader = Reader::new(&prefix);
        let (Ok(length), Ok(checksum)) = (reader.u32(), reader.u32()) else {
            return Ok(Next::Torn);
        };
        let length = length as usize;
        if length == 0 || length > RECORD_MAX {
            // Where the next record begins can't be known.
            return Ok(Next::Torn);
        }
        self.body.resize(length, 0);
        if fill(&mut self.input, &mut self.body)? < length {
            return Ok(Next::Torn);
        }
        self.offset += (PREFIX + length) as u64;
        if crc32c(&self.body) != checksum {
            return Ok(Next::Bad);
        }
        let (kind, payload) = self.body.split_first().expect("not empty");
        Ok(Next::Record {
            kind: *kind,
            payload,
        })
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_hold_no_record(bytes: Vec<u8>) {
            let mut frames = Frames::new(&bytes[..], 0);
            loop {
                match frames.next().unwrap() {
                    Next::Record { kind, .. } => prop_assert!(false, "a record of kind {}", kind),
                    Next::Bad => {}
                    Next::Torn | Next::End => break,
                }
            }
        }

        #[test]
        fn a_header_is_read_as_it_was_written(number: u64, bytes: Vec<u8>) {
            let written = header(*b"Metrics1", number);
            prop_assert_eq!(written.len(), HEADER);
            prop_assert_eq!(header_number(*b"Metrics1", &written), Some(number));
            prop_assert_eq!(header_number(*b"Metrics2", &written), None);
            prop_assert_eq!(header_number(*b"Metrics1", &bytes), None);
        }
    }
}
