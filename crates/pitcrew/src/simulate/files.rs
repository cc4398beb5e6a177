//! Files that are read and written for a simulation. What can't be written is said before hours are simulated.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use pitcrew_sim::trace::Trace;

use crate::failure::Failure;

/// A trace is held in memory as a whole; a year of a large fleet is below one megabyte.
const TRACE_BYTES_MAX: u64 = 512 << 20;

pub(crate) fn read_trace(file: &Path) -> Result<Trace, Failure> {
    let shown = file.display();
    let failed = |error: io::Error| Failure::Usage(format!("failed to read {shown}: {error}"));
    let bytes = fs::metadata(file).map_err(failed)?.len();
    if bytes > TRACE_BYTES_MAX {
        let (bytes, max) = (bytes >> 20, TRACE_BYTES_MAX >> 20);
        return Err(Failure::Usage(format!(
            "{shown} has {bytes} MiB, and a trace may have {max}: split it by time"
        )));
    }
    let bytes = fs::read(file).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|byte| *byte == b'\n').count();
        Failure::Usage(format!(
            "{shown}:{line}: the file is not UTF-8 from byte {at} on; a CSV file is expected"
        ))
    })?;
    let name = file.file_name().unwrap_or(file.as_os_str());
    Trace::parse(&name.to_string_lossy(), &text).map_err(Failure::usage)
}

pub(crate) fn check_can_be_written(file: &Path) -> Result<(), Failure> {
    let refused = |why: &str| {
        let shown = file.display();
        Err(Failure::Usage(format!("{shown} can't be written: {why}")))
    };
    if file.is_dir() {
        return refused("it is a directory");
    }
    match rustix::fs::access(directory(file), rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(error) => refused(&io::Error::from(error).to_string()),
    }
}

/// Whole or not at all.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::Refused(format!("failed to write {}: {error}", file.display()));
    let mut temporary = tempfile::Builder::new()
        .prefix(".pitcrew-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory(file))
        .map_err(failed)?;
    temporary.write_all(text.as_bytes()).map_err(failed)?;
    let persisted = temporary.persist(file);
    persisted.map(drop).map_err(|error| failed(error.error))
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
