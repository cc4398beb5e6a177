//! A host's small disk, filled to its last block and freed again, from outside: the host is not asked.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;

use super::{Host, own::SMALL_DISK};

fn filler(host: &Host) -> anyhow::Result<PathBuf> {
    let disk = SMALL_DISK.trim_start_matches('/');
    Ok(PathBuf::from(host.root()?).join(disk).join("filler"))
}

pub(super) fn fill(host: &Host) -> anyhow::Result<()> {
    let path = filler(host)?;
    let mut file = File::create(&path)?;
    // Smaller pieces find room where larger ones no longer do.
    for piece in [1 << 16, 1 << 10, 1] {
        let zeros = vec![0; piece];
        loop {
            match file.write_all(&zeros).and_then(|()| file.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("failed to fill {}", path.display()));
                }
            }
        }
    }
    Ok(())
}

/// Nothing when it is free, or the host is off.
pub(super) fn free(host: &Host) -> anyhow::Result<()> {
    let Ok(path) = filler(host) else {
        return Ok(());
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
