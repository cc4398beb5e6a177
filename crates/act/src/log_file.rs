//! Log files that outlive Pitcrew: the program appends to the file itself, no pipe between.
//!
//! A file that is being appended to by another process can't be renamed away, so it is rotated in place: its
//! beginning is copied to `NAME.log.1` and then cut off. Where the file system can cut off a beginning
//! (`FALLOC_FL_COLLAPSE_RANGE`: ext4, XFS) nothing is ever lost. Elsewhere the file is truncated right after
//! the last byte was copied; what is written in those microseconds is lost, which is the known price of
//! copy-and-truncate.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pitcrew_model::LogPolicy;
use rustix::fs::{FallocateFlags, fallocate};

use crate::answer::one_line;

const LAST_LINE_BYTES: u64 = 4_096;
const LAST_LINE_CHARS: usize = 200;

/// Opened so that two writers never overwrite each other.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

/// Size now, so that a later look can tell which words are of this run.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

/// The last line that is not blank, written after the first `from` bytes.
pub(crate) fn last_line(path: &Path, from: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    // A file shorter than it was has been rotated: all of it is new.
    let from = if len < from { 0 } else { from };
    let start = from.max(len.saturating_sub(LAST_LINE_BYTES));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_LINE_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(one_line(line, LAST_LINE_CHARS))
}

/// Rotates `path` when it is larger than the policy allows. At most `bytes_max` bytes are kept of what is
/// moved, its last ones, so that a program that writes without end can't fill the disk.
pub(crate) fn rotate(path: &Path, policy: &LogPolicy) -> io::Result<()> {
    let mut current = OpenOptions::new().read(true).write(true).open(path)?;
    let len = current.metadata()?.len();
    if len <= policy.bytes_max {
        return Ok(());
    }
    if policy.keep == 0 {
        return cut(&current, len);
    }
    for number in (1..policy.keep).rev() {
        rename_if_there(&numbered(path, number), &numbered(path, number + 1))?;
    }
    let mut older = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o640)
        .open(numbered(path, 1))?;
    let block = current.metadata()?.blksize().max(1);
    // Whole blocks only, so that the same bytes can be cut off; the rest stays in the current file.
    let whole = (len - 1) / block * block;
    let skipped = whole.saturating_sub(policy.bytes_max);
    current.seek(SeekFrom::Start(skipped))?;
    io::copy(&mut (&current).take(whole - skipped), &mut older)?;
    if whole > 0 && fallocate(&current, FallocateFlags::COLLAPSE_RANGE, 0, whole).is_ok() {
        return Ok(());
    }
    io::copy(&mut current, &mut older)?;
    current.set_len(0)
}

fn cut(current: &File, len: u64) -> io::Result<()> {
    let block = current.metadata()?.blksize().max(1);
    let whole = (len - 1) / block * block;
    if whole > 0 && fallocate(current, FallocateFlags::COLLAPSE_RANGE, 0, whole).is_ok() {
        return Ok(());
    }
    current.set_len(0)
}

fn numbered(path: &Path, number: u8) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn rotation_loses_no_line_and_keeps_only_as_many_files_as_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        let policy = LogPolicy {
            bytes_max: 20_000,
            keep: 2,
        };
        let mut file = open(&path).unwrap();
        for number in 0..3_000 {
            writeln!(file, "line {number:06}").unwrap();
            if number % 500 == 499 {
                rotate(&path, &policy).unwrap();
            }
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let all = read(&numbered(&path, 2)) + &read(&numbered(&path, 1)) + &read(&path);
        assert!(!numbered(&path, 3).exists());
        let numbers: Vec<u32> = all
            .lines()
            .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
            .collect();
        assert_eq!(numbers.last(), Some(&2_999));
        assert!(numbers.len() > 1_500, "{}", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_flood_leaves_its_tail_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        open(&path)
            .unwrap()
            .write_all(&vec![b'x'; 300_000])
            .unwrap();
        open(&path).unwrap().write_all(b"\nthe end\n").unwrap();
        for keep in [1, 0] {
            let policy = LogPolicy {
                bytes_max: 10_000,
                keep,
            };
            rotate(&path, &policy).unwrap();
            assert!(size(&path) + size(&numbered(&path, 1)) < 20_000);
        }
    }

    #[test]
    fn the_last_line_is_of_this_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        open(&path).unwrap().write_all(b"of before\n").unwrap();
        let from = size(&path);
        assert_eq!(last_line(&path, from), None);
        open(&path).unwrap().write_all(b"why\n\n").unwrap();
        assert_eq!(last_line(&path, from).as_deref(), Some("why"));
    }
}
