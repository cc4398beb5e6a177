//! A log file: bytes are added at its end, all or nothing.
//!
//! What `append` returned from is in the hands of the operating system, so that the death of this process loses
//! nothing; what `sync` returned from survives a power cut.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{At, Error};

use super::frame;

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    file: Arc<File>,
    length: u64,
    unsynced: bool,
}

impl Log {
    /// Makes a new file with its header; it may replace one that a crash left behind.
    pub(crate) fn create(path: &Path, magic: [u8; 8], number: u64) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(path);
        let mut log = Log {
            path: path.to_owned(),
            file: Arc::new(file.at("create", path)?),
            length: 0,
            unsynced: true,
        };
        log.append(&frame::header(magic, number))
            .at("write", path)?;
        Ok(log)
    }

    /// Goes on after the last whole record. Whether whoever wrote it flushed it, nobody knows.
    pub(crate) fn go_on(path: &Path, length: u64) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).open(path).at("open", path)?;
        Ok(Log {
            path: path.to_owned(),
            file: Arc::new(file),
            length,
            unsynced: true,
        })
    }

    /// Adds bytes. After an error the file is as it was before.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all_at(bytes, self.length) {
            // Should this fail, too, the next append writes over what is there, and a torn end is cut at the
            // next start.
            return Err(self.file.set_len(self.length).err().unwrap_or(error));
        }
        self.length += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// As [`Log::append`].
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.append(bytes).at("write", &self.path)
    }

    /// Makes all of it survive a power cut.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.file.sync_all().at("flush", &self.path)?;
        self.unsynced = false;
        Ok(())
    }

    /// What was added from an offset on.
    pub(crate) fn read_from(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(self.length - offset).expect("a log fits the memory");
        let mut bytes = vec![0; length];
        let file = File::open(&self.path).at("open", &self.path)?;
        file.read_exact_at(&mut bytes, offset)
            .at("read", &self.path)?;
        Ok(bytes)
    }

    /// The file, if it has bytes that a power cut would lose. They count as flushed from now on: whoever takes it
    /// and fails can't try again, see [`super::Wal::doubt`].
    pub(crate) fn take_unsynced(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.unsynced).then(|| self.file.clone())
    }

    /// Another file in place of its own.
    #[cfg(test)]
    pub(crate) fn swap_file(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}
