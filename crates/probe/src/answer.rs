//! What one run of a test came to, and which errors are the target's and which the observer's own.
//!
//! The line drawn here decides what may be repaired: a failure blames the target, an unknown doesn't.

use std::io;

use pitcrew_model::{Evidence, Verdict};
use rustix::io::Errno;

use crate::Perfdata;

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub verdict: Verdict,
    pub evidence: Evidence,
    /// Figures, where the test has some.
    pub perfdata: Vec<Perfdata>,
}

impl Answer {
    pub fn new(verdict: Verdict, text: impl AsRef<str>) -> Self {
        Self {
            verdict,
            evidence: Evidence::new(text),
            perfdata: Vec::new(),
        }
    }

    pub fn pass(text: impl AsRef<str>) -> Self {
        Self::new(Verdict::Pass, text)
    }

    pub fn warn(text: impl AsRef<str>) -> Self {
        Self::new(Verdict::Warn, text)
    }

    pub fn fail(text: impl AsRef<str>) -> Self {
        Self::new(Verdict::Fail, text)
    }

    /// No answer about the target was obtained.
    pub fn unknown(text: impl AsRef<str>) -> Self {
        Self::new(Verdict::Unknown, text)
    }

    /// What an error of a socket says: about the target, or about the machine that asks.
    pub fn from_io(error: &io::Error) -> Self {
        if let Some(shortage) = own_shortage(error) {
            return Self::unknown(format!("can't ask: {shortage}"));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::fail("connection refused"),
            io::ErrorKind::ConnectionReset => Self::fail("connection reset"),
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Self::fail("connection closed"),
            io::ErrorKind::TimedOut => Self::fail("connection timed out"),
            io::ErrorKind::HostUnreachable => Self::fail("host unreachable"),
            _ => Self::fail(error.to_string()),
        }
    }
}

/// The observer's own lack, when that is what the error means.
fn own_shortage(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => "this process is out of file descriptors",
        Errno::NFILE => "this machine is out of file descriptors",
        Errno::ADDRNOTAVAIL => "no local port is free towards this address",
        Errno::NOBUFS | Errno::NOMEM => "this machine is out of memory for sockets",
        Errno::NETUNREACH | Errno::NETDOWN => "no route from here",
        Errno::ACCESS | Errno::PERM => "not permitted from here",
        Errno::AFNOSUPPORT => "this machine lacks that address family",
        Errno::INVAL => "not an address to connect to",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(errno: Errno) -> Verdict {
        Answer::from_io(&io::Error::from(errno)).verdict
    }

    #[test]
    fn the_observers_own_lack_is_never_the_targets_failure() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::ADDRNOTAVAIL,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::NETUNREACH,
            Errno::PERM,
        ] {
            assert_eq!(verdict_of(errno), Verdict::Unknown, "{errno}");
        }
    }

    #[test]
    fn what_the_peer_did_is_its_failure() {
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::PIPE,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
        ] {
            assert_eq!(verdict_of(errno), Verdict::Fail, "{errno}");
        }
    }
}
