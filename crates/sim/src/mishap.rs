//! Everything that can go wrong in a simulated production, as data: when, to whom, for how long.
//!
//! A plan of mishaps is drawn from a seed or read from a trace, and the world plays it. The plan knows nothing of
//! the policy, so that the same plan judges every policy.

use std::time::Duration;

use pitcrew_model::Scope;

/// Position of a target in the fleet.
pub type TargetIndex = u32;

#[derive(Clone, Debug, PartialEq)]
pub struct Mishap {
    /// Since the simulation's start.
    pub at: Duration,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Fault(Fault),
    /// One round of one test fails though nothing is wrong.
    Blip {
        target: TargetIndex,
        test: usize,
    },
    Observer {
        observer: usize,
        how: Sick,
        lasts: Duration,
    },
    /// Messages of one direction are not delivered.
    Cut {
        link: Link,
        lasts: Duration,
    },
    Network {
        how: Network,
        lasts: Duration,
    },
    Server(ServerTrouble),
    /// The server's clock jumps by so many milliseconds.
    ClockStep {
        ms: i64,
    },
    LedgerFull {
        lasts: Duration,
    },
    Discovery {
        how: Discovery,
        lasts: Duration,
    },
    Person(Hand),
}

/// What befalls one target, or with `scope` all that share a domain, a host or a deploy.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    pub targets: Vec<TargetIndex>,
    /// It ends by itself after so long; `None`: only a repair or a person ends it.
    pub heals_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process is gone.
    Crash,
    /// It accepts and never answers.
    Hang,
    /// It answers with errors.
    Errors,
    /// Slower and slower, until its answers miss their deadline.
    Slow,
    /// Fails some rounds and passes others.
    Intermittent,
    /// No step of any ladder helps.
    Permanent,
    /// A host is down, and all that runs on it, until somebody replaces a part.
    Host,
    /// A host whose kernel still obeys its agent while all that runs on it hangs.
    HostHung,
    /// A host that is panicked or off: only its power controller reaches it.
    HostDead,
    /// A domain's power, switch or rack: all its targets at once.
    Domain,
    /// One target's failure overloads its neighbours, one after the other.
    Cascade,
    /// A bad release: every instance that is restarted comes up broken, until it is rolled back.
    Deploy,
}

/// Of an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sick {
    Silent,
    /// Says that everything fails.
    LiesFailing,
    /// Says that everything passes.
    LiesPassing,
    /// Tells what was true so long ago.
    Stale(Duration),
    /// Fails its own control test, and says so.
    KnowsIt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    ObserverToServer(usize),
    /// It sees a domain's targets as failing, though they are well.
    ObserverToTargets {
        observer: usize,
        zone: usize,
    },
    ServerToActuators,
    /// Orders take effect and their outcomes don't come back.
    ActuatorsToServer,
}

/// Of every message to and from the server; percentages are of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub lost_percent: u8,
    pub duplicated_percent: u8,
    /// Each is late by up to this, so that they overtake one another.
    pub late_max: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTrouble {
    /// At the next decision that gives an order , on this side of its ledger write.
    Crash { side: Side, down: Duration },
    /// Stopped and continued.
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The ledger has nothing of it and the order never left.
    BeforeWrite,
    /// The ledger has the intent and the order never left.
    AfterWrite,
    /// The order left and its outcome was never heard.
    AfterSend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    Fails,
    Empty,
    /// So many percent of the targets are gone from the answer.
    Shrinks(u8),
    /// So many percent are gone, truly, and as many new ones came.
    Replaces(u8),
}

/// What people do meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub enum Hand {
    Pause {
        scope: Scope,
        lasts: Duration,
    },
    Hold {
        target: TargetIndex,
        lasts: Duration,
    },
    Restart {
        target: TargetIndex,
    },
    Stop {
        target: TargetIndex,
        lasts: Duration,
    },
    /// Approves or denies whatever waits for it.
    Decide {
        approve: bool,
    },
}
