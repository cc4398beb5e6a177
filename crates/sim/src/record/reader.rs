//! The side that reads: bytes in, entries out, until the end or the first thing that is wrong.
//!
//! A frame is checked and taken apart whole before its first entry is given. Nothing is believed about its length
//! before the header's checksum, and no memory is taken for bytes that have not come.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use super::{
    Entry, Placed, Start,
    body::Decoder,
    error::RecordError,
    frame::{HEADER_BYTES, Header, Kind, PREAMBLE_BYTES, read_preamble},
};

/// How a record ends, once all of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Whole,
    /// Its last frame is not whole: a crash, or a server that is writing it now. What came before is.
    Torn {
        /// Position of that frame.
        at: u64,
        bytes: u64,
    },
}

/// Gives the entries of a record in their order; after an error there are no more.
pub struct Reader<R> {
    input: R,
    at: u64,
    sequence: u64,
    /// Of the run that is being read; `None` between runs.
    decoder: Option<Decoder>,
    entries: VecDeque<Placed>,
    tail: Tail,
    is_through: bool,
}

/// What stands at a place of the input.
pub(super) enum Found {
    Frame(Header, Vec<u8>),
    End,
    /// So many bytes of a frame that is not whole.
    Part(u64),
    /// A frame whose body is not what its header says.
    Changed,
}

impl<R: Read> Reader<R> {
    pub fn new(mut input: R) -> Result<Self, RecordError> {
        let mut preamble = Vec::new();
        read_up_to(&mut input, 0, PREAMBLE_BYTES, &mut preamble)?;
        let preamble = preamble
            .try_into()
            .map_err(|_short| RecordError::NotARecord)?;
        read_preamble(&preamble)?;
        Ok(Self {
            input,
            at: u64::try_from(PREAMBLE_BYTES).unwrap_or(u64::MAX),
            sequence: 0,
            decoder: None,
            entries: VecDeque::new(),
            tail: Tail::Whole,
            is_through: false,
        })
    }

    /// How the record ended; [`Tail::Whole`] until it is read to its end.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Bytes read and understood so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    fn frame(&mut self) -> Result<(), RecordError> {
        let (header, body) = match read_frame(&mut self.input, self.at, self.sequence)? {
            Found::Frame(header, body) => (header, body),
            Found::End => {
                self.is_through = true;
                return Ok(());
            }
            Found::Part(bytes) => {
                self.tail = Tail::Torn { at: self.at, bytes };
                self.is_through = true;
                return Ok(());
            }
            Found::Changed => return Err(changed(self.at)),
        };
        let base = self.at + u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        let entries = self.take_apart(header.kind, &body, base)?;
        self.entries.extend(entries);
        self.at = base + u64::from(header.bytes);
        self.sequence += 1;
        Ok(())
    }

    fn take_apart(
        &mut self,
        kind: Kind,
        body: &[u8],
        base: u64,
    ) -> Result<Vec<Placed>, RecordError> {
        let at = self.at;
        let invalid = |why: String| RecordError::Invalid { at: base, why };
        let entry = match kind {
            Kind::Start => {
                let start: Start = serde_json::from_slice(body)
                    .map_err(|error| invalid(format!("the start of a run: {error}")))?;
                self.decoder = Some(Decoder::new(start.at));
                Entry::Start(Box::new(start))
            }
            Kind::Entries => {
                let decoder = self.decoder.as_mut();
                let decoder =
                    decoder.ok_or_else(|| invalid("entries that belong to no run".to_owned()))?;
                return decoder.entries(body, base);
            }
            Kind::Gap | Kind::End => {
                if self.decoder.take().is_none() {
                    return Err(invalid("the end of a run that never began".to_owned()));
                }
                if kind == Kind::Gap {
                    let why = std::str::from_utf8(body);
                    let why = why.map_err(|error| invalid(format!("not a text: {error}")))?;
                    Entry::Gap(why.to_owned())
                } else {
                    Entry::End
                }
            }
        };
        Ok(vec![Placed { at, entry }])
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Placed, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            if self.is_through {
                return None;
            }
            if let Err(error) = self.frame() {
                self.is_through = true;
                return Some(Err(error));
            }
        }
    }
}

/// Whatever stands at `at`, checked.
pub(super) fn read_frame(
    input: &mut impl Read,
    at: u64,
    sequence: u64,
) -> Result<Found, RecordError> {
    let mut counted = Counted { input, count: 0 };
    let Some(header) = read_header(&mut counted, at, sequence)? else {
        return Ok(match counted.count {
            0 => Found::End,
            bytes => Found::Part(bytes),
        });
    };
    let length = usize::try_from(header.bytes).expect("32 bits are an address");
    let mut body = Vec::new();
    read_up_to(&mut counted, at, length, &mut body)?;
    if body.len() < length {
        return Ok(Found::Part(counted.count));
    }
    if crc32fast::hash(&body) != header.checksum {
        return Ok(Found::Changed);
    }
    Ok(Found::Frame(header, body))
}

fn changed(at: u64) -> RecordError {
    RecordError::Damaged {
        at,
        why: "a frame's content is changed: its checksum is another",
    }
}

/// The header at `at`, checked; `None`: the rest is nothing, less than a header, or zeros.
pub(super) fn read_header(
    input: &mut impl Read,
    at: u64,
    sequence: u64,
) -> Result<Option<Header>, RecordError> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    read_up_to(input, at, HEADER_BYTES, &mut header)?;
    let Ok(bytes) = <[u8; HEADER_BYTES]>::try_from(header.as_slice()) else {
        return Ok(None);
    };
    if bytes == [0; HEADER_BYTES] {
        only_zeros(input, at)?;
        return Ok(None);
    }
    Header::read(&bytes, at, sequence).map(Some)
}

/// Counts what is read.
struct Counted<'a, R> {
    input: &'a mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.count += u64::try_from(read).unwrap_or(u64::MAX);
        Ok(read)
    }
}

/// A file that a machine's crash left longer than its content ends in zeros.
fn only_zeros(input: &mut impl Read, at: u64) -> Result<(), RecordError> {
    let mut some = Vec::new();
    loop {
        some.clear();
        read_up_to(input, at, 1 << 16, &mut some)?;
        if some.is_empty() {
            return Ok(());
        }
        if some.iter().any(|byte| *byte != 0) {
            return Err(RecordError::Damaged {
                at,
                why: "zeros stand where a frame should",
            });
        }
    }
}

/// Fewer only at the input's end.
fn read_up_to(
    input: &mut impl Read,
    at: u64,
    bytes: usize,
    into: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let limit = u64::try_from(bytes).unwrap_or(u64::MAX);
    let read = input.by_ref().take(limit).read_to_end(into);
    read.map(|_| ())
        .map_err(|source| RecordError::Read { at, source })
}
