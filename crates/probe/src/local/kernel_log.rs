//! What the kernel complains of: lost disks, failing memory, a file system that gave up.
//!
//! `/dev/kmsg` gives each record once to each reader and never waits (Documentation/ABI/testing/dev-kmsg of the kernel's
//! sources). It stays open between two asks, so that only what is new is read, and what was an error is remembered for
//! as long as a test may want. What the kernel has overwritten before it was read is not known.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::format_duration;
use rustix::{
    fs::OFlags,
    time::{ClockId, clock_gettime},
};

use crate::{Answer, http::excerpt};

const DEVICE: &str = "/dev/kmsg";
/// Longer than any record.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// In one go: a kernel that writes without end must not hold the test.
const RECORDS_MAX: usize = 50_000;
const REMEMBERED_MAX: usize = 1_000;
/// Level `err` of syslog(2); lower numbers are worse.
const ERROR: u32 = 3;

#[derive(Clone, Default)]
pub(crate) struct KernelLog(Arc<Mutex<Errors>>);

#[derive(Default)]
struct Errors {
    device: Option<File>,
    /// Oldest first.
    remembered: VecDeque<Error>,
}

#[derive(Debug, PartialEq, Eq)]
struct Error {
    /// By the monotonic clock.
    at_us: u64,
    text: String,
}

impl KernelLog {
    pub(crate) fn judge(&self, within: Duration) -> Answer {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = errors.catch_up() {
            errors.device = None;
            return Answer::unknown(format!("{DEVICE} can't be read: {error}"));
        }
        judge(&errors.remembered, monotonic_us(), within)
    }
}

fn judge(errors: &VecDeque<Error>, now_us: u64, within: Duration) -> Answer {
    let since_us = u128::from(now_us).saturating_sub(within.as_micros());
    let recent = errors
        .iter()
        .filter(|error| u128::from(error.at_us) >= since_us);
    let words = format!("of the kernel in the last {}", format_duration(within));
    let (count, last) = recent.fold((0, None), |(count, _), error| (count + 1, Some(error)));
    match last {
        None => Answer::pass(format!("no error {words}")),
        Some(last) => Answer::fail(format!("{count} errors {words}, the last: {}", last.text)),
    }
}

impl Errors {
    fn catch_up(&mut self) -> io::Result<()> {
        let device = match &mut self.device {
            Some(device) => device,
            none => none.insert(open()?),
        };
        let mut record = [0; RECORD_BYTES_MAX];
        for _ in 0..RECORDS_MAX {
            match device.read(&mut record) {
                Ok(0) => break,
                Ok(length) => self.remembered.extend(parse(&record[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What comes next has been overwritten; the following read goes on after it.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let beyond = self.remembered.len().saturating_sub(REMEMBERED_MAX);
        self.remembered.drain(..beyond);
        Ok(())
    }
}

fn open() -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag fits");
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(DEVICE)
}

fn monotonic_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS…;TEXT`, then lines of properties. `None` of what is no error or not the kernel's.
fn parse(record: &[u8]) -> Option<Error> {
    let end = record.iter().position(|byte| *byte == b';')?;
    let prefix = std::str::from_utf8(&record[..end]).ok()?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let (facility, level) = (priority >> 3, priority & 7);
    let at_us = fields.nth(1)?.parse().ok()?;
    let text = record[end + 1..].split(|byte| *byte == b'\n').next()?;
    (facility == 0 && level <= ERROR).then(|| Error {
        at_us,
        text: excerpt(text, 200),
    })
}

#[cfg(test)]
mod tests {
    use pitcrew_model::Verdict;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_errors_and_only_the_kernels_count() {
        let error = parse(b"3,1,5000000,-;EXT4-fs error (device vda): bad\n SUBSYSTEM=block\n");
        let text = "EXT4-fs error (device vda): bad".to_owned();
        assert_eq!(
            error,
            Some(Error {
                at_us: 5_000_000,
                text
            })
        );
        assert!(parse(b"2,1,5,-,caller=T1;critical").is_some());
        assert_eq!(parse(b"4,1,5,-;a warning"), None);
        assert_eq!(parse(b"11,1,5,-;a program's error"), None);
        assert_eq!(parse(b"3,1;"), None);
    }

    #[test]
    fn an_error_is_told_for_as_long_as_the_test_wants_and_then_no_longer() {
        let errors = VecDeque::from([parse(b"3,1,5000000,-;gone").unwrap()]);
        let verdict = |now_us| judge(&errors, now_us, Duration::from_secs(60)).verdict;
        assert_eq!(verdict(65_000_000), Verdict::Fail);
        assert_eq!(verdict(65_000_001), Verdict::Pass);
    }

    #[test]
    fn the_log_of_this_machine_is_read_once_or_is_unknown_with_a_reason() {
        let log = KernelLog::default();
        let day = Duration::from_secs(86_400);
        let first = log.judge(day);
        let count = log.0.lock().unwrap().remembered.len();
        let again = log.judge(day);
        match first.verdict {
            Verdict::Unknown => assert!(first.evidence.as_str().contains(DEVICE), "{first:?}"),
            verdict => assert_eq!(again.verdict, verdict),
        }
        assert!(log.0.lock().unwrap().remembered.len() >= count);
    }

    proptest! {
        #[test]
        fn no_record_panics_the_reader(record: Vec<u8>, prefix in "[0-9,;-]{0,30}") {
            parse(&record);
            parse(&[prefix.as_bytes(), &record].concat());
        }
    }
}
