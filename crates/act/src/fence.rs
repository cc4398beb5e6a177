//! The highest fence ever seen: an order of an older server is refused, also after a restart.
//!
//! `fence` in the directory of the supervisor is that number in decimal digits. It is written before the
//! first order that carries it is obeyed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

#[derive(Debug)]
pub(crate) struct Fence {
    file: PathBuf,
    highest: Mutex<u64>,
}

impl Fence {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let file = directory.join("fence");
        let highest = match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(|error| {
                let why = format!("{} holds no number: {error}", file.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            file,
            highest: Mutex::new(highest),
        })
    }

    /// The error says why an order with this fence must not be obeyed.
    pub(crate) fn admit(&self, fence: u64) -> Result<(), String> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        if fence < *highest {
            return Err(format!(
                "the order is of an older server (fence {fence}, {highest} was seen)"
            ));
        }
        if fence > *highest {
            write_durably(&self.file, fence.to_string().as_bytes())
                .map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
            *highest = fence;
        }
        Ok(())
    }
}

/// Replaces `file` whole or not at all, for its owner only, and returns when it is on the disk.
pub fn write_durably(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut writer = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    writer.write_all(bytes)?;
    writer.sync_all()?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_fence_is_refused_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let fence = Fence::open(directory.path()).unwrap();
        assert_eq!(fence.admit(7), Ok(()));
        assert_eq!(fence.admit(7), Ok(()));
        assert!(fence.admit(6).unwrap_err().contains("older server"));
        let again = Fence::open(directory.path()).unwrap();
        assert!(again.admit(6).is_err());
        assert_eq!(again.admit(8), Ok(()));
    }

    #[test]
    fn a_broken_fence_is_an_error_and_not_a_zero() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("fence"), "x").unwrap();
        let error = Fence::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("holds no number"), "{error}");
    }
}
