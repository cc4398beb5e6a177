//! Frames: the outer form of a record. 16 bytes that say what it is, then frames of 24 bytes of header and a body.
//!
//! The header has a checksum of its own: a wrong length is noticed before it is believed, and so a record that was
//! cut off can be told from one that was changed.

use super::{VERSION, error::RecordError};

pub(super) const MAGIC: [u8; 8] = *b"PtCwRec\n";
pub(super) const PREAMBLE_BYTES: usize = 16;
pub(super) const HEADER_BYTES: usize = 24;

/// A million targets that are found at once make some 300 MB.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    Entries,
    Gap,
    End,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Start => 1,
            Self::Entries => 2,
            Self::Gap => 3,
            Self::End => 4,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Start, Self::Entries, Self::Gap, Self::End]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// The first 16 bytes; they have this form in every version.
pub(super) fn preamble(version: u16) -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

pub(super) fn read_preamble(bytes: &[u8; PREAMBLE_BYTES]) -> Result<(), RecordError> {
    if bytes[..8] != MAGIC {
        return Err(RecordError::NotARecord);
    }
    if crc32fast::hash(&bytes[..12]).to_le_bytes() != bytes[12..] {
        return Err(RecordError::Damaged {
            at: 8,
            why: "the version is changed: its checksum is another",
        });
    }
    match u16::from_le_bytes([bytes[8], bytes[9]]) {
        VERSION => Ok(()),
        0 => Err(RecordError::NotARecord),
        version => Err(RecordError::NewerVersion {
            version,
            known: VERSION,
        }),
    }
}

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Of the body.
    pub(super) bytes: u32,
    pub(super) sequence: u64,
    pub(super) checksum: u32,
}

impl Header {
    pub(super) fn of(kind: Kind, sequence: u64, body: &[u8]) -> Self {
        Self {
            kind,
            bytes: u32::try_from(body.len()).expect("a body is checked against its limit before"),
            sequence,
            checksum: crc32fast::hash(body),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[4] = self.kind.number();
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..20]);
        bytes[20..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `at` is where it stands in the record, and `expected` the number that its frame must have.
    pub(super) fn read(
        bytes: &[u8; HEADER_BYTES],
        at: u64,
        expected: u64,
    ) -> Result<Self, RecordError> {
        let damaged = |why| RecordError::Damaged { at, why };
        let (number, rest) = (
            |from: usize| {
                u32::from_le_bytes([
                    bytes[from],
                    bytes[from + 1],
                    bytes[from + 2],
                    bytes[from + 3],
                ])
            },
            &bytes[5..8],
        );
        if crc32fast::hash(&bytes[..20]) != number(20) {
            return Err(damaged(
                "a frame's header is changed: its checksum is another",
            ));
        }
        let found = u64::from(number(8)) | u64::from(number(12)) << 32;
        if found != expected {
            return Err(RecordError::Sequence {
                at,
                expected,
                found,
            });
        }
        let kind = Kind::of(bytes[4]).filter(|_| rest == [0; 3]);
        let kind = kind.ok_or_else(|| damaged("a frame is of a kind that there is not"))?;
        let is_too_long = usize::try_from(number(0)).is_ok_and(|bytes| bytes > BODY_BYTES_MAX);
        if is_too_long {
            return Err(damaged("a frame is longer than frames are"));
        }
        Ok(Self {
            kind,
            bytes: number(0),
            sequence: found,
            checksum: number(16),
        })
    }
}
