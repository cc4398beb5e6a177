//! The lease on which the demo's processes live: a file that is touched while the demo runs. If the demo is
//! killed, nothing touches it any more and they end by themselves.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

/// Renewed many times within this.
const LASTS: Duration = Duration::from_secs(60);

pub(crate) fn renew(file: &Path) -> io::Result<()> {
    fs::write(file, "the demo is running\n")
}

pub(crate) fn holds(file: &Path) -> bool {
    let age = fs::metadata(file)
        .and_then(|metadata| metadata.modified())
        .map(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default()
        });
    age.is_ok_and(|age| age < LASTS)
}
