//! What can be wrong with a record, with the byte where it begins; and what can't be written.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("it is not a record of Pitcrew: it does not begin as one")]
    NotARecord,
    #[error(
        "it is written in version {version} of the format and this Pitcrew reads up to version {known}: \
         replay it with the Pitcrew that recorded it, or a newer one"
    )]
    NewerVersion { version: u16, known: u16 },
    #[error("at byte {at}: {why}")]
    Damaged { at: u64, why: &'static str },
    #[error(
        "at byte {at}: frame {expected} is expected and frame {found} stands there: \
         parts of it are missing, repeated or in another order"
    )]
    Sequence { at: u64, expected: u64, found: u64 },
    /// Its checksums are right and still it makes no sense.
    #[error("at byte {at}: {why}")]
    Invalid { at: u64, why: String },
    #[error("at byte {at}: failed to read it: {source}")]
    Read { at: u64, source: io::Error },
}

/// Why something can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    #[error("one entry has {bytes} bytes and a frame holds {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("failed to write it as JSON: {source}")]
    Json {
        #[from]
        source: serde_json::Error,
    },
}
