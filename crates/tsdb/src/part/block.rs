//! Blocks: the pieces of a part's file, each with a checksum.
//!
//! `[length u32][CRC-32C u32][payload]`; the checksum covers the block's place, too, so that a block that landed
//! elsewhere is no other block's.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crc32c::{crc32c, crc32c_append};

use crate::{
    bytes::{Malformed, Put, Reader, as_u32},
    error::{At, Error},
};

/// Length and checksum before the payload.
const PREFIX: usize = 8;
/// What is read at first: most blocks are whole within it.
const FIRST_READ: usize = 4096;
/// No block is longer.
pub(crate) const BLOCK_MAX: usize = 1 << 30;

fn checksum(offset: u64, payload: &[u8]) -> u32 {
    crc32c_append(crc32c(&offset.to_le_bytes()), payload)
}

/// Writes blocks one behind the other. A file that isn't finished is deleted, so that failed attempts don't
/// fill the disk.
pub(crate) struct BlockWriter {
    path: Unfinished,
    file: BufWriter<File>,
    offset: u64,
}

/// A file that is deleted unless it got another name.
#[derive(Debug)]
pub(crate) struct Unfinished(pub(crate) PathBuf);

impl Unfinished {
    pub(crate) fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // One that stays behind is deleted by the next start. One that was renamed is no longer here.
        drop(fs::remove_file(&self.0));
    }
}

impl BlockWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        Ok(BlockWriter {
            path: Unfinished(path.to_owned()),
            file: BufWriter::with_capacity(1 << 18, File::create(path).at("create", path)?),
            offset: 0,
        })
    }

    /// Bytes that are no block.
    pub(crate) fn put_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).at("write", &self.path.0)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Where the block is from now on.
    pub(crate) fn put(&mut self, payload: &[u8]) -> Result<u64, Error> {
        let offset = self.offset;
        if payload.len() > BLOCK_MAX {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, "a block is too long");
            return Err(source).at("write", &self.path.0);
        }
        let mut prefix = Vec::with_capacity(PREFIX);
        prefix.put(&as_u32(payload.len()).to_le_bytes());
        prefix.put(&checksum(offset, payload).to_le_bytes());
        self.put_raw(&prefix)?;
        self.put_raw(payload)?;
        Ok(offset)
    }

    /// Flushes everything to the disk and gives the file its name.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), Error> {
        let aside = &self.path.0;
        self.file.flush().at("write", aside)?;
        self.file.get_ref().sync_all().at("flush", aside)?;
        fs::rename(aside, path).at("rename", aside)
    }
}

/// Reads blocks by their places.
#[derive(Debug)]
pub(crate) struct BlockFile {
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) length: u64,
}

impl BlockFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).at("open", path)?;
        let length = file.metadata().at("look at", path)?.len();
        Ok(BlockFile {
            path: path.to_owned(),
            file,
            length,
        })
    }

    /// Bytes that are no block.
    pub(crate) fn raw(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, offset)
            .at("read", &self.path)?;
        Ok(bytes)
    }

    /// A block's payload, behind the bytes of its length and checksum.
    fn block(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let left = self.length.saturating_sub(offset);
        let first = usize::try_from(left).map_or(FIRST_READ, |left| left.min(FIRST_READ));
        let mut bytes = self.raw(offset, first)?;
        let mut reader = Reader::new(&bytes);
        let prefix = reader.u32().and_then(|length| Ok((length, reader.u32()?)));
        let (length, said) = prefix.map_err(|malformed| self.damaged(offset, malformed))?;
        let whole = PREFIX + length as usize;
        if length as usize > BLOCK_MAX || whole as u64 > left {
            return Err(self.damaged(offset, "a block ends after the file"));
        }
        if whole > bytes.len() {
            let rest = self.raw(offset + bytes.len() as u64, whole - bytes.len())?;
            bytes.extend(rest);
        }
        bytes.truncate(whole);
        if checksum(offset, &bytes[PREFIX..]) != said {
            return Err(self.damaged(offset, "the checksum of a block is wrong"));
        }
        Ok(bytes)
    }

    /// Reads a block and makes something of it.
    pub(crate) fn decode<T>(
        &self,
        offset: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        let bytes = self.block(offset)?;
        decode(&bytes[PREFIX..]).map_err(|malformed| self.damaged(offset, malformed))
    }

    pub(crate) fn damaged(&self, offset: u64, problem: impl ToString) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset,
            problem: problem.to_string(),
        }
    }
}
