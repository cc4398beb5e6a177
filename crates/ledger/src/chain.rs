//! The hashes: of each record over all before it, of the head, and of each row of saved state.
//!
//! Every text that is hashed begins with a tag of its own purpose, and every part of changing length is
//! preceded by that length, so that no two different contents give the same bytes to hash.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use sha2::{Digest, Sha256};

const GENESIS_TAG: &[u8] = b"pitcrew ledger genesis 1\0";
const RECORD_TAG: &[u8] = b"pitcrew ledger record 1\0";
const HEAD_TAG: &[u8] = b"pitcrew ledger head 1\0";
const SAVED_TAG: &[u8] = b"pitcrew ledger saved 1\0";
const FILE_TAG: &[u8] = b"pitcrew file 1\0";

/// SHA-256; printed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name of a new ledger: 128 random bits as hex.
pub(crate) fn new_installation() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A place in the chain: the record `seq` has `hash`; 0 is the genesis, before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Link {
    /// Where the chain of this installation begins, so that no other ledger's records fit on it.
    pub(crate) fn genesis(installation: &str) -> Self {
        Self {
            seq: 0,
            hash: hash(GENESIS_TAG, &[installation.as_bytes()]),
        }
    }

    /// The link after this one, for a record's stored bytes.
    pub(crate) fn next(self, json: &[u8]) -> Self {
        let seq = self.seq + 1;
        Self {
            seq,
            hash: record_hash(self.hash, seq, json),
        }
    }
}

pub(crate) fn record_hash(previous: Hash, seq: u64, json: &[u8]) -> Hash {
    hash(RECORD_TAG, &[&previous.0, &seq.to_be_bytes(), json])
}

/// The last link, and what else must never go back: kept beside the records, so that a cut-off end shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) installation: Arc<str>,
    pub(crate) fence: u64,
    pub(crate) last: Link,
}

impl Head {
    pub(crate) fn checksum(&self) -> Hash {
        hash(
            HEAD_TAG,
            &[
                self.installation.as_bytes(),
                &self.fence.to_be_bytes(),
                &self.last.seq.to_be_bytes(),
                &self.last.hash.0,
            ],
        )
    }
}

/// Guards a row of saved state against a failing disk, not against a person: it depends on nothing secret.
pub(crate) fn saved_checksum(key: &str, json: &[u8]) -> Hash {
    hash(SAVED_TAG, &[key.as_bytes(), json])
}

/// The same for a file that servers share.
pub(crate) fn file_checksum(name: &str, content: &[u8]) -> Hash {
    hash(FILE_TAG, &[name.as_bytes(), content])
}

fn hash(tag: &[u8], parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(tag);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_depends_on_every_part() {
        let genesis = Link::genesis("a");
        assert_ne!(genesis, Link::genesis("b"));
        let first = genesis.next(b"{}");
        assert_eq!(first, genesis.next(b"{}"));
        assert_ne!(first, genesis.next(b"{ }"));
        assert_ne!(first, Link::genesis("b").next(b"{}"));
        assert_ne!(first.hash, record_hash(genesis.hash, 2, b"{}"));
        assert_ne!(saved_checksum("ab", b"c"), saved_checksum("a", b"bc"));
    }

    /// Computed with another implementation of SHA-256, so that a change of the format can't pass unseen.
    #[test]
    fn the_format_is_what_its_page_says() {
        let genesis = Link::genesis("00112233445566778899aabbccddeeff");
        assert_eq!(genesis.hash.to_string(), GENESIS_ELSEWHERE);
        assert_eq!(genesis.next(b"{}").hash.to_string(), FIRST_ELSEWHERE);
    }

    const GENESIS_ELSEWHERE: &str =
        "d400a41409d25f3e8e5cf978e3757637ca7d9ed008d5903ec6372a697afc90af";
    const FIRST_ELSEWHERE: &str =
        "5c2d95944c995c15f95c40f730fd563c8990385f2746717e7c7da09a5ff37c55";
}
