//! Backup: the store as it is now, as a directory that can be opened as a store.
//!
//! Files that never change again are linked (copied to another file system); the catalogue is copied. Appending
//! goes on meanwhile: its log begins a new segment that is no part of the backup. Upkeep waits.

use std::{fs, io, path::Path};

use crate::{
    error::{At, Error},
    store::{Store, lock, read},
    wal,
};

impl Store {
    /// Writes a backup into a directory that doesn't exist yet. It holds everything that was appended before
    /// the call.
    pub fn backup(&self, directory: &Path) -> Result<(), Error> {
        let _upkeep = lock(&self.upkeep);
        fs::create_dir(directory).at("create", directory)?;
        for folder in ["log", "parts", "quarantine"] {
            let path = directory.join(folder);
            fs::create_dir(&path).at("create", &path)?;
        }
        let next = lock(&self.writer).wal.next_segment().create(&[])?;
        let (last, catalogue) = {
            let mut writer = lock(&self.writer);
            (writer.wal.rotate(next), writer.wal.catalogue_bytes())
        };
        self.sync()?;
        let parts = read(&self.parts).clone();
        for part in parts.iter() {
            link(&part.file.path, &directory.join("parts"))?;
        }
        let own = &self.options.directory;
        for number in wal::segments(own)?
            .into_iter()
            .filter(|number| *number <= last)
        {
            link(&wal::segment_path(own, number), &directory.join("log"))?;
        }
        copy_start(
            &wal::catalogue_path(own),
            &wal::catalogue_path(directory),
            catalogue,
        )?;
        for folder in ["log", "parts", ""] {
            wal::sync_directory(&directory.join(folder))?;
        }
        Ok(())
    }
}

fn link(file: &Path, folder: &Path) -> Result<(), Error> {
    let to = folder.join(file.file_name().unwrap_or_default());
    match fs::hard_link(file, &to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let length = fs::metadata(file).at("look at", file)?.len();
            copy_start(file, &to, length)
        }
        linked => linked.at("link", &to),
    }
}

/// Copies the first bytes: what came after them is no part of the backup.
fn copy_start(from: &Path, to: &Path, length: u64) -> Result<(), Error> {
    let source = fs::File::open(from).at("open", from)?;
    let mut target = fs::File::create_new(to).at("create", to)?;
    io::copy(&mut io::Read::take(source, length), &mut target).at("copy", to)?;
    target.sync_all().at("flush", to)
}
