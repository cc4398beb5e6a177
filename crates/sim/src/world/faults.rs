//! What each kind of fault looks like to a test, and what cures it: the model's physics, pure tables.
//!
//! The rates are assumptions, not measurements, and the report says so. They lean against Pitcrew: where field
//! experience names a range, its lower end is taken.

use pitcrew_model::{Action, TestKind};

use super::{
    chance::{Chance, For},
    queue::Millis,
};
use crate::FaultKind;

pub(super) const SECOND: Millis = 1_000;
pub(super) const MINUTE: Millis = 60 * SECOND;

/// A slow target's answers miss their deadline after so long.
pub(super) const RAMP: Millis = 10 * MINUTE;
/// An overloaded neighbour gives in after so long.
pub(super) const SPREAD: Millis = MINUTE;
/// A release reaches one instance after the other.
pub(super) const ROLL_OUT: Millis = 10 * SECOND;

/// For the report.
pub(super) const ASSUMED: [&str; 4] = [
    "Cure rates in percent, of restart / start / command or webhook: crash 95/95/50, hang 90/0/50, errors 70/0/40, slow 60/0/30, intermittent 30/0/20, cascade 80/80/40, and of a reboot or a power cycle as of a restart; a hung host is cured by 90% of either, a dead one by 90% of the power cycles; permanent faults, hosts, domains and bad releases are cured by people only.",
    "A slow target misses its tests' deadlines after 10 minutes, and after a restart that did not cure it again; an intermittent one fails for 5 to 50 seconds and passes for 5 to 65.",
    "A cascade overloads its next target a minute after the one before, while that one suffers; a bad release reaches an instance every 10 seconds, and each one that is restarted, until it is rolled back.",
    "A process or unit test sees only that the process is gone, a bare TCP test only that nothing listens.",
];

pub(super) fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Crash => "crash",
        FaultKind::Hang => "hang",
        FaultKind::Errors => "errors",
        FaultKind::Slow => "slow",
        FaultKind::Intermittent => "intermittent",
        FaultKind::Permanent => "permanent",
        FaultKind::Host => "host",
        FaultKind::HostHung => "host_hung",
        FaultKind::HostDead => "host_dead",
        FaultKind::Domain => "domain",
        FaultKind::Cascade => "cascade",
        FaultKind::Deploy => "deploy",
    }
}

/// Whether a test of this kind fails on a target that is down by this kind of fault.
pub(super) fn shows(kind: FaultKind, test: &TestKind) -> bool {
    match kind {
        FaultKind::Crash
        | FaultKind::Permanent
        | FaultKind::Host
        | FaultKind::HostHung
        | FaultKind::HostDead
        | FaultKind::Domain
        | FaultKind::Intermittent
        | FaultKind::Cascade => true,
        // The process is there and its port is open; nothing comes back.
        FaultKind::Hang | FaultKind::Slow => match test {
            TestKind::Process | TestKind::Unit { .. } | TestKind::Host(_) => false,
            TestKind::Tcp(test) => test.send.is_some() || test.expect.is_some(),
            _ => true,
        },
        // It greets and negotiates as ever; what it is asked for fails.
        FaultKind::Errors | FaultKind::Deploy => match test {
            TestKind::Process
            | TestKind::Unit { .. }
            | TestKind::Host(_)
            | TestKind::Tls(_)
            | TestKind::Hello(_) => false,
            TestKind::Tcp(test) => test.send.is_some() || test.expect.is_some(),
            _ => true,
        },
    }
}

/// Whether a failed answer comes only with the test's deadline, not at once.
pub(super) fn times_out(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Hang
        | FaultKind::Slow
        | FaultKind::Host
        | FaultKind::HostHung
        | FaultKind::HostDead
        | FaultKind::Domain => true,
        FaultKind::Crash
        | FaultKind::Errors
        | FaultKind::Intermittent
        | FaultKind::Permanent
        | FaultKind::Cascade
        | FaultKind::Deploy => false,
    }
}

/// Whether the machine itself is off or out of reach, so that nothing on it can act or push.
pub(super) fn out_of_reach(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Host | FaultKind::HostDead | FaultKind::Domain
    )
}

/// Whether an actuator can't get at it: a machine's controller has power and a network of its own, but is where the
/// machine is.
pub(super) fn can_not_be_done(kind: FaultKind, action: &Action) -> bool {
    match action {
        Action::PowerCycle => kind == FaultKind::Domain,
        _ => out_of_reach(kind),
    }
}

/// Whether a person who is called to one target ends it for all of them.
pub(super) fn is_shared(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Host
            | FaultKind::HostHung
            | FaultKind::HostDead
            | FaultKind::Domain
            | FaultKind::Deploy
    )
}

const HOST_COMES_BACK: u64 = 90;

/// How often, in percent, an action cures a fault.
///
/// | kind | restart | start | command, webhook | reboot | power cycle | why |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | crash | 95 | 95 | 50 | 95 | 95 | a fresh process meets the same input only sometimes |
/// | hang | 90 | 0 | 50 | 90 | 90 | a lock or a leak goes with its process; starting what runs does nothing |
/// | errors | 70 | 0 | 40 | 70 | 70 | much of it is state that a restart drops, some is a dependency |
/// | slow | 60 | 0 | 30 | 60 | 60 | a leak is back at its beginning, and often comes back |
/// | intermittent | 30 | 0 | 20 | 30 | 30 | mostly something beside the process |
/// | cascade | 80 | 80 | 40 | 80 | 80 | while its neighbours are back, the load is shared again |
/// | hung host | 0 | 0 | 0 | 90 | 90 | the kernel's state is dropped |
/// | dead host | 0 | 0 | 0 | 0 | 90 | nobody is left there who could reboot it |
/// | permanent, host, domain, deploy | 0 | 0 | 0 | 0 | 0 | a disk, a machine, a switch or the release itself |
pub(super) fn cure_percent(kind: FaultKind, action: &Action) -> u64 {
    let (restart, start, other) = match kind {
        FaultKind::Crash => (95, 95, 50),
        FaultKind::Hang => (90, 0, 50),
        FaultKind::Errors => (70, 0, 40),
        FaultKind::Slow => (60, 0, 30),
        FaultKind::Intermittent => (30, 0, 20),
        FaultKind::Cascade => (80, 80, 40),
        FaultKind::Permanent
        | FaultKind::Host
        | FaultKind::HostHung
        | FaultKind::HostDead
        | FaultKind::Domain
        | FaultKind::Deploy => (0, 0, 0),
    };
    match action {
        Action::Reboot if kind == FaultKind::HostHung => HOST_COMES_BACK,
        Action::PowerCycle if matches!(kind, FaultKind::HostHung | FaultKind::HostDead) => {
            HOST_COMES_BACK
        }
        Action::Restart | Action::Reboot | Action::PowerCycle => restart,
        Action::Start => start,
        Action::Command { .. } | Action::Webhook { .. } => other,
        Action::Stop | Action::Drain(_) | Action::Undrain(_) | Action::HandOver { .. } => 0,
    }
}

/// How long the `turn`th phase of an intermittent target lasts; it fails in the even ones. Phases of several
/// rounds, so that some are long enough to be believed and others flap.
pub(super) fn phase(chance: Chance, fault: u32, target: u32, turn: u32) -> Millis {
    let of = [u64::from(fault), u64::from(target), u64::from(turn)];
    let longest = if turn.is_multiple_of(2) { 45 } else { 60 };
    (5 + chance.below(longest, For::Phase, &of)) * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_needs_a_person_is_cured_by_an_order() {
        for kind in [
            FaultKind::Permanent,
            FaultKind::Host,
            FaultKind::Domain,
            FaultKind::Deploy,
        ] {
            for action in [Action::Restart, Action::Start, Action::Stop] {
                assert_eq!(cure_percent(kind, &action), 0, "{kind:?} {action}");
            }
        }
    }

    #[test]
    fn a_process_that_hangs_still_runs() {
        assert!(!shows(FaultKind::Hang, &TestKind::Process));
        assert!(shows(FaultKind::Crash, &TestKind::Process));
        assert!(shows(FaultKind::Hang, &TestKind::Push));
    }
}
